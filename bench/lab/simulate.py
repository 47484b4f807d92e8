"""Rolling a policy out from any states: restored ones, with their elapsed time, or fresh starts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.kernel import arrays
from bench.lab.policies import Critic, Policy
from bench.learner.distributions import env_actions
from bench.tasks.base import Array, Step, Task

TruthKind = Literal["time_limited", "continuing"]
NEGLIGIBLE = 1e-3  # a continuing return is followed until γ^k is smaller


@dataclass(frozen=True)
class Episodes:
    """C episodes up to their end, time first; row 0 is the state they were begun in.

    states (T + 1, D, C); actions (K, T, C); rewards (T, C) float64; terminated, truncated, live (T, C) bool. Rows in
    which a column is not live hold its last state, no reward and no flags.
    """

    states: Array
    actions: Tensor
    rewards: Array
    terminated: Array
    truncated: Array
    live: Array

    @property
    def steps(self) -> int:
        """The environment steps that were taken."""
        return int(self.live.sum())

    @property
    def length(self) -> int:
        """T, the length of the longest episode."""
        return len(self.rewards)

    def take(self, columns: Array) -> "Episodes":
        """Return only these columns."""
        return Episodes(
            self.states[:, :, columns],
            self.actions[:, :, torch.from_numpy(np.asarray(columns))],
            *(getattr(self, name)[:, columns] for name in _PER_STEP),
        )

    def padded(self, length: int, offset: int = 0) -> "Episodes":
        """Return the same in `length` rows, the first of them in row `offset`; what is added is not live."""
        before, after = offset, length - offset - self.length
        rows = ((before, after), (0, 0))
        return Episodes(
            np.pad(self.states, ((before, after), (0, 0), (0, 0)), mode="edge"),
            torch.nn.functional.pad(self.actions, (0, 0, before, after)),
            *(np.pad(getattr(self, name), rows) for name in _PER_STEP),
        )

    def after(self, prefix: "Episodes", step: int) -> "Episodes":
        """Return these episodes as continuations of the first `step` rows of `prefix`, column by column."""
        whole = self.padded(step + self.length, step)
        whole.states[:step] = prefix.states[:step]
        whole.actions[:, :step] = prefix.actions[:, :step]
        for name in _PER_STEP:
            getattr(whole, name)[:step] = getattr(prefix, name)[:step]
        return whole

    def beside(self, other: "Episodes") -> "Episodes":
        """Return these columns and those of `other`, in as many rows as the longer has."""
        length = max(self.length, other.length)
        left, right = self.padded(length), other.padded(length)
        return Episodes(
            np.concatenate([left.states, right.states], 2),
            torch.cat([left.actions, right.actions], 2),
            *(np.concatenate([getattr(left, name), getattr(right, name)], 1) for name in _PER_STEP),
        )

    def values(self, critic: Critic) -> Array:
        """Return V of every row's state, (T + 1, C); 0 where the row is neither live nor follows a live one."""
        asked = np.concatenate([self.live, np.zeros_like(self.live[:1])])
        asked[1:] |= self.live
        values = np.zeros(asked.shape)
        values[asked] = critic.values(self.states.transpose(1, 0, 2)[:, asked])
        return values

    def returns(self, gamma: float) -> Array:
        """Return the discounted sums of rewards from row 0, (C,)."""
        returns: Array = (arrays.powers(gamma, self.length)[:, None] * self.rewards).sum(0)
        return returns


_PER_STEP = ("rewards", "terminated", "truncated", "live")


@dataclass(frozen=True)
class RewardProcess:
    """A policy in its task, which together are a Markov reward process, and which of its values count as true.

    Rewards are divided by `reward_scale` and discounted by `gamma`. The truth is the value of what is left until the
    time limit, which ends the episode (`time_limited`), or the value in a world without that limit (`continuing`).
    """

    policy: Policy
    gamma: float
    truth: TruthKind = "time_limited"
    reward_scale: float = 1.0
    taken: list[int] = field(default_factory=list)  # steps of every call, which tell what a measurement costs
    beat: Callable[[], None] = lambda: None  # called at every step, where a run may be interrupted

    @property
    def steps(self) -> int:
        """All environment steps that were taken."""
        return sum(self.taken)

    @property
    def task(self) -> Task:
        """The task in which the policy acts."""
        return self.policy.task

    def horizon(self, step: int) -> int | None:
        """Return the elapsed time at which a future that matters from `step` on is over; None where none is known."""
        if self.truth == "time_limited" or self.task.time_limit is None:
            return self.task.time_limit
        return step + math.ceil(math.log(NEGLIGIBLE) / math.log(self.gamma))

    def from_start(
        self, rng: np.random.Generator, groups: int, size: int = 1, *, time_limit: int | None = None
    ) -> Episodes:
        """Roll out fresh episodes: `groups` start states, and `size` neighbours from each."""
        return self.from_states(starts(self.task, rng, groups, size), rng, time_limit=time_limit)

    def from_states(
        self,
        states: Array,
        rng: np.random.Generator,
        *,
        elapsed: int = 0,
        first_actions: Tensor | None = None,
        time_limit: int | None = None,
        antithetic: bool = False,
    ) -> Episodes:
        """Roll out from `states` (D, C), reached after `elapsed` steps, until every column's episode ends.

        `first_actions` (K, C) are taken first, whatever the policy would do. `time_limit` stands in for the task's own.
        Only columns that live are stepped. With `antithetic`, the policy's random numbers in every second column mirror
        those in the one before: means over both are known better than from independent ones.
        """
        task, limit = self.task, time_limit if time_limit is not None else self.task.time_limit
        columns, now = np.arange(states.shape[1]), states
        steps = []
        while columns.size:
            self.beat()
            actions = self._actions(now, columns, rng, antithetic) if first_actions is None else first_actions
            first_actions = None
            step = task.step(now, env_actions(actions[None], task.action_space), task.noise(rng, columns.size))
            elapsed += 1
            over = limit is not None and elapsed >= limit
            truncated = ~step.terminated if over else np.zeros_like(step.terminated)
            steps.append((columns, actions, step, truncated))
            going = ~(step.terminated | truncated)
            columns, now = columns[going], step.state[:, going]
        self.taken.append(sum(len(row[0]) for row in steps))
        return _episodes(states, steps, self.reward_scale)

    def _actions(self, states: Array, columns: Array, rng: np.random.Generator, antithetic: bool) -> Tensor:
        if not antithetic:
            return self.policy.sample(states, rng)
        living, place = np.unique(columns // 2, return_inverse=True)
        noise = self.policy.noise(rng, len(living))[:, place]
        second = columns % 2 == 1
        noise[:, second] = self.policy.mirrored(noise[:, second])
        return self.policy.act(states, noise)


_Row = tuple[Array, Tensor, Step, Array]  # the columns that take it, their actions, the step, and which are truncated


def _episodes(begun: Array, steps: Sequence[_Row], reward_scale: float) -> Episodes:
    """Put together the steps of ever fewer columns; those that have ended keep their states."""
    length, size = len(steps), begun.shape[1]
    states = np.repeat(begun[None], length + 1, axis=0)
    actions = steps[0][1].new_zeros((len(steps[0][1]), length, size))
    rewards = np.zeros((length, size))
    terminated, truncated, live = np.zeros((3, length, size), dtype=bool)
    for t, (columns, acted, step, cut) in enumerate(steps):
        states[t + 1] = states[t]
        states[t + 1][:, columns] = step.state
        actions[:, t, torch.from_numpy(columns)] = acted
        rewards[t, columns] = step.reward / reward_scale
        terminated[t, columns], truncated[t, columns], live[t, columns] = step.terminated, cut, True
    return Episodes(states, actions, rewards, terminated, truncated, live)


def starts(task: Task, rng: np.random.Generator, groups: int, size: int) -> Array:
    """Draw start states (D, groups · size), `size` neighbours the same."""
    return np.repeat(task.start(rng, groups), size, axis=1)
