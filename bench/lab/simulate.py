"""Rolling a policy out from any states: restored ones, with their elapsed time, or fresh starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.lab.policies import Critic, Policy
from bench.learner.distributions import env_actions
from bench.tasks.base import Array, Task


@dataclass(frozen=True)
class Episodes:
    """C episodes up to their end, time first; row 0 is the state they were begun in.

    states (T + 1, D, C); actions (K, T, C); rewards (T, C) float64; terminated, truncated, live (T, C) bool. Rows in
    which a column is not live hold its last state, no reward and no flags. `steps` counts what was simulated.
    """

    states: Array
    actions: Tensor
    rewards: Array
    terminated: Array
    truncated: Array
    live: Array

    @property
    def steps(self) -> int:
        """Environment steps taken."""
        return int(self.live.sum())

    @property
    def length(self) -> int:
        """T, the length of the longest."""
        return len(self.rewards)

    def take(self, columns: Array) -> "Episodes":
        """Only these columns."""
        return Episodes(
            self.states[:, :, columns],
            self.actions[:, :, torch.from_numpy(np.asarray(columns))],
            *(getattr(self, name)[:, columns] for name in _PER_STEP),
        )

    def padded(self, length: int, offset: int = 0) -> "Episodes":
        """The same in `length` rows, the first of them in row `offset`; what is added is not live."""
        before, after = offset, length - offset - self.length
        rows = ((before, after), (0, 0))
        return Episodes(
            np.pad(self.states, ((before, after), (0, 0), (0, 0)), mode="edge"),
            torch.nn.functional.pad(self.actions, (0, 0, before, after)),
            *(np.pad(getattr(self, name), rows) for name in _PER_STEP),
        )

    def after(self, prefix: "Episodes", step: int) -> "Episodes":
        """These episodes as continuations of the first `step` rows of `prefix`, column by column."""
        whole = self.padded(step + self.length, step)
        whole.states[:step] = prefix.states[:step]
        whole.actions[:, :step] = prefix.actions[:, :step]
        for name in _PER_STEP:
            getattr(whole, name)[:step] = getattr(prefix, name)[:step]
        return whole

    def values(self, critic: Critic) -> Array:
        """V of every row's state, (T + 1, C); 0 where the row is neither live nor follows a live one."""
        asked = np.concatenate([self.live, np.zeros_like(self.live[:1])])
        asked[1:] |= self.live
        values = np.zeros(asked.shape)
        values[asked] = critic.values(self.states.transpose(1, 0, 2)[:, asked])
        return values


_PER_STEP = ("rewards", "terminated", "truncated", "live")


def beside(parts: Sequence[Episodes]) -> Episodes:
    """The columns of several, in order, in as many rows as the longest has."""
    length = max(part.length for part in parts)
    same = [part.padded(length) for part in parts]
    return Episodes(
        np.concatenate([part.states for part in same], 2),
        torch.cat([part.actions for part in same], 2),
        *(np.concatenate([getattr(part, name) for part in same], 1) for name in _PER_STEP),
    )


def simulate(
    policy: Policy,
    states: Array,
    elapsed: Array,
    rng: np.random.Generator,
    *,
    first_actions: Tensor | None = None,
    time_limit: int | None = None,
    reward_scale: float = 1.0,
) -> Episodes:
    """Follow `policy` from `states` (D, C), reached after `elapsed` (C,) steps, until every column's episode ends.

    `first_actions` (K, C) are taken first, whatever the policy would do. `time_limit` stands in for the task's own.
    Rewards are divided by `reward_scale`. Only columns that live are stepped.
    """
    task, limit = policy.task, time_limit if time_limit is not None else policy.task.time_limit
    columns = np.arange(states.shape[1])
    record = _Record(states)
    now, elapsed = states, elapsed.copy()
    while columns.size:
        actions = policy.sample(now, rng) if first_actions is None else first_actions
        first_actions = None
        step = task.step(now, env_actions(actions[None], task.action_space), task.noise(rng, columns.size))
        elapsed[columns] += 1
        terminated = step.terminated
        truncated = np.zeros_like(terminated) if limit is None else (elapsed[columns] >= limit) & ~terminated
        record.add(columns, actions, step.state, step.reward / reward_scale, terminated, truncated)
        going = ~(terminated | truncated)
        columns, now = columns[going], step.state[:, going]
    return record.episodes()


class _Record:
    """Rows of episodes, of which ever fewer columns go on."""

    def __init__(self, states: Array) -> None:
        self.states: list[Array] = [states]
        self.actions: list[Tensor] = []
        self.rows: dict[str, list[Array]] = {name: [] for name in _PER_STEP}

    def add(
        self, columns: Array, actions: Tensor, states: Array, rewards: Array, terminated: Array, truncated: Array
    ) -> None:
        """One step of `columns`; the others keep their states."""
        size = self.states[0].shape[1]
        following = self.states[-1].copy()
        following[:, columns] = states
        self.states.append(following)
        row = actions.new_zeros((len(actions), size))
        row[:, torch.from_numpy(columns)] = actions
        self.actions.append(row)
        live = np.ones(len(columns), dtype=bool)
        for name, values in zip(_PER_STEP, (rewards, terminated, truncated, live), strict=True):
            whole = np.zeros(size, dtype=values.dtype)
            whole[columns] = values
            self.rows[name].append(whole)

    def episodes(self) -> Episodes:
        """What was recorded."""
        rows = (np.stack(self.rows[name]) for name in _PER_STEP)
        return Episodes(np.stack(self.states), torch.stack(self.actions, 1), *rows)


def starts(task: Task, rng: np.random.Generator, groups: int, share: int) -> Array:
    """Start states (D, groups · share), `share` neighbours from the same one."""
    return np.repeat(task.start(rng, groups), share, axis=1)
