"""Collecting experience: fixed-length segments or complete episodes, of all replicas at once."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from bench.arms.numbers import Numbers
from bench.config.schema import Arm
from bench.learner.acting import Acting, Acts
from bench.learner.actor import NOISE_CHUNK, Actor
from bench.learner.distributions import env_actions
from bench.learner.vine import Snapshot, VineStreams, restored_values
from bench.tasks.batched import BatchedEnv
from bench.tasks.environments import Environments, Transition

Array = npt.NDArray[Any]
NONE = np.zeros(0, dtype=np.int64)  # columns

# Told of every step what Stable-Baselines3's callbacks find in their `locals`, column by column: actions (C,) or
# (C, K), new_obs (C, O), rewards (C,), dones (C,) and infos. False stops the collection.
OnStep = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Rollout:
    """T steps of S replicas with N environments.

    observations  (S, O, R, N): rows 0 … T−1 are the steps', row T what follows the last; behind it, final observations
                  of truncated episodes, which a reset would otherwise have hidden
    successor     (T, S, N): the row of each step's true successor
    outputs       (S, A, T, N): what the policies that acted were made from, see `bench.learner.distributions`
    actions       (S, K, T, N); rewards, terminated, truncated, live as in `bench.arms.advantage.Batch`, (T, S, N)
    episodes      per replica, the (return, length) of the episodes that ended in it
    snapshots     the environments at the steps whose states are to be restored; restored and extra_steps are the values
                  found there (T, S, N), and what they cost each replica
    """

    observations: Tensor
    successor: Tensor
    outputs: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    live: Tensor
    episodes: list[list[tuple[float, int]]]
    snapshots: list[Snapshot] = field(default_factory=list)
    restored: Tensor | None = None
    extra_steps: Sequence[int] | None = None

    def to(self, device: torch.device) -> "Rollout":
        """Return the rollout with its tensors there, itself where they are."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def select(self, rows: Sequence[int]) -> "Rollout":
        """Return what these replicas did."""
        first = ("observations", "outputs", "actions")  # the tensors with replicas on the first axis
        chosen: dict[str, Any] = {
            name: value[list(rows)] if name in first else value[:, list(rows)]
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        extra = None if self.extra_steps is None else [self.extra_steps[row] for row in rows]
        return replace(self, **chosen, episodes=[self.episodes[row] for row in rows], extra_steps=extra)

    @property
    def env_steps(self) -> list[int]:
        """The steps taken by each replica, those from restored states included."""
        counts = [int(count) for count in self.live.sum((0, 2))]
        return counts if self.extra_steps is None else [a + b for a, b in zip(counts, self.extra_steps, strict=True)]


def collect(
    collector: "Collector", actor: Actor, arm: Arm, numbers: Numbers, on_step: OnStep, vine_streams: VineStreams
) -> Rollout | None:
    """Return one batch of every replica as the arm collects them. None where `on_step` stopped it.

    `numbers` are those of the replicas.
    """
    if arm.collect.name == "segments":
        assert arm.collect.n_steps is not None  # a configuration without it is refused
        return collector.segments(actor, arm.collect.n_steps, on_step)
    share = arm.group.size if arm.group.start == "shared" else 1
    if arm.baseline.name != "vine":
        return collector.whole_episodes(actor, share, on_step)
    rollout = collector.whole_episodes(actor, share, on_step, arm.vine.every)
    return None if rollout is None else _with_restored_values(rollout, collector, actor, arm, numbers, vine_streams)


def _with_restored_values(
    rollout: Rollout, collector: "Collector", actor: Actor, arm: Arm, numbers: Numbers, streams: VineStreams
) -> Rollout:
    """Return the rollout with the values of the states it passed through, whose episodes count as steps."""
    task = collector.env.task
    gamma = numbers["gamma"][:, 0]
    values, steps = restored_values(task, actor, rollout.snapshots, arm.vine.rollouts, gamma, streams)
    restored = torch.zeros_like(rollout.rewards)
    restored[: len(values)] = values
    return replace(rollout, snapshots=[], restored=restored, extra_steps=steps)


class EpisodeCounter:
    """Return and length of each column's running episode."""

    def __init__(self, columns: int) -> None:
        self.returns, self.lengths = np.zeros(columns), np.zeros(columns, dtype=np.int64)

    def add(self, reward: Array, live: Array) -> None:
        """Count one step of the live columns."""
        self.returns += reward
        self.lengths += live

    def finish(self, columns: Array) -> list[tuple[float, int]]:
        """Return the results of the episodes that just ended in `columns`; their counts restart."""
        results = [(float(self.returns[c]), int(self.lengths[c])) for c in columns]
        self.returns[columns], self.lengths[columns] = 0.0, 0
        return results


class Collector:
    """Steps the active replicas' environments with their policies, keeping what each column is in the middle of."""

    def __init__(self, env: Environments, action_streams: Sequence[np.random.Generator]) -> None:
        self.env, self.streams = env, list(action_streams)
        self.counter = EpisodeCounter(self.replicas * env.n_envs)
        self._began = time.monotonic()
        self._everyone = np.ones(self.replicas * env.n_envs, dtype=bool)

    @property
    def replicas(self) -> int:
        """S."""
        return len(self.streams)

    def select(self, rows: Sequence[int]) -> "Collector":
        """Return a collector of these replicas only, going on where they are."""
        chosen = Collector(self.env.select(rows), [self.streams[row] for row in rows])
        columns = np.concatenate([np.arange(self.env.n_envs) + row * self.env.n_envs for row in rows])
        chosen.counter.returns, chosen.counter.lengths = self.counter.returns[columns], self.counter.lengths[columns]
        return chosen

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy goes on with; what belongs to the batch being collected holds addresses of memory."""
        passing = ("_acting", "_observation", "_recorded", "_episodes", "_taken", "_dones")
        return {name: value for name, value in vars(self).items() if name not in passing}

    def get_state(self) -> dict[str, Any]:
        """Return environments and running episodes as plain lists and numbers."""
        return {
            "env": self.env.get_state(),
            "returns": self.counter.returns.tolist(),
            "lengths": self.counter.lengths.tolist(),
        }

    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Go on from `get_state`. Raises ValueError for other columns, UserError where environments cannot."""
        self.env.set_state(saved["env"])
        self.counter.returns = np.array(saved["returns"], dtype=np.float64)
        self.counter.lengths = np.array(saved["lengths"], dtype=np.int64)

    def segments(self, actor: Actor, n_steps: int, on_step: OnStep) -> Rollout | None:
        """Collect `n_steps` of every environment, going on with the episodes it is in. None if `on_step` stopped it."""
        hidden: list[_Hidden] = []
        if (self.counter.lengths != self.env.elapsed).any():  # somebody else has played on, an evaluation perhaps
            self.env.restart()
            self.counter = EpisodeCounter(self.env.n_columns)
        self._begin(actor, n_steps)
        for t, noise in enumerate(actor.noise(self.streams, n_steps, self.env.n_envs).unbind()):
            transition, done = self._step(noise, None)
            if done.size:
                if transition.truncated.any():
                    truncated = np.flatnonzero(transition.truncated)
                    hidden.append(_Hidden(t, truncated, transition.observation[:, truncated]))
                self.env.restart(done)
                self._observation = self.env.observation
            if not self._tell(transition, done, on_step):
                return None
        return self._rollout(hidden)

    def whole_episodes(
        self, actor: Actor, share: int, on_step: OnStep, snapshot_every: int | None = None
    ) -> Rollout | None:
        """Collect one complete episode of every environment, `share` neighbours from the same start. None if stopped.

        With `snapshot_every`, the states of every so many steps are kept, to be restored.
        """
        snapshots: list[Snapshot] = []
        self.env.restart(share=share)
        self.counter = EpisodeCounter(self.env.n_columns)  # whoever stopped the last batch left episodes unfinished
        live = np.ones(self.env.n_columns, dtype=bool)
        noises = actor.noise_without_end(
            self.streams, self.env.n_envs, lambda: np.asarray(live.reshape(self.replicas, -1).any(axis=1))
        )
        self._begin(actor, NOISE_CHUNK)
        for t, noise in enumerate(noises):
            if snapshot_every is not None and t % snapshot_every == 0:
                assert isinstance(self.env, BatchedEnv)  # check_task() refuses others
                snapshots.append(Snapshot(t, self.env.state.copy(), self.env.elapsed.copy(), live.copy()))
            transition, done = self._step(noise, live)
            if not self._tell(transition, done, on_step):
                return None
            live[done] = False
            if not live.any():
                break
        return replace(self._rollout([]), snapshots=snapshots)

    def _begin(self, actor: Actor, steps: int) -> None:
        """Make room for the first `steps` steps."""
        self._acting, self._observation = Acting(actor, self.env.n_envs), self.env.observation
        self._recorded = [_Recorded(self._acting.room(steps))]
        self._episodes: list[list[tuple[float, int]]] = [[] for _ in range(self.replicas)]

    def _step(self, noise: Tensor, live: Array | None) -> tuple[Transition, Array]:
        """Act once, in all columns or in those that live; → what came of it, and the columns whose episodes ended."""
        recorded = self._recorded[-1]
        if recorded.full:
            recorded = _Recorded(self._acting.room(recorded.steps))
            self._recorded.append(recorded)
        step, acts = recorded.steps, recorded.acts
        acts.observations[step] = self._observation
        self._acting.act(acts, step, noise, live=live)
        self._taken = env_actions(acts.actions[step], self.env.task.action_space)
        transition = self.env.step(self._taken, live)
        stepped = self._everyone if live is None else live
        self.counter.add(transition.reward, stepped)
        recorded.add(transition, stepped)
        self._observation = transition.observation
        self._dones = transition.terminated | transition.truncated
        return transition, np.flatnonzero(self._dones) if self._dones.any() else NONE

    def _tell(self, transition: Transition, done: Array, on_step: OnStep) -> bool:
        """Note the episodes that ended and tell the callbacks."""
        infos: list[dict[str, Any]] = [{} for _ in range(self.env.n_columns)]
        for column, result in zip(done.tolist(), self.counter.finish(done), strict=True):
            infos[column] = {
                "episode": {"r": result[0], "l": result[1], "t": round(time.monotonic() - self._began, 6)},
                "terminal_observation": transition.observation[:, column].copy(),
                "TimeLimit.truncated": bool(transition.truncated[column]),
            }
            self._episodes[column // self.env.n_envs].append(result)
        return on_step(
            {
                "actions": self._actions(),
                "new_obs": self._observation.T,
                "rewards": transition.reward,
                "dones": self._dones,
                "infos": infos,
            }
        )

    def _actions(self) -> Array:
        """The last actions, (C,), or (C, K) before they were clipped to the Box."""
        if isinstance(self.env.task.action_space, spaces.Discrete):
            return self._taken
        recorded = self._recorded[-1]
        drawn: Array = recorded.acts.actions[recorded.steps - 1].transpose(0, 1).flatten(1).cpu().numpy()
        return drawn.T

    def _rollout(self, hidden: "Sequence[_Hidden]") -> Rollout:
        """Return everything recorded, the observation that followed the last step, and those that restarts hid."""
        recorded, shape = self._recorded, (self.replicas, self.env.n_envs)
        steps = sum(each.steps for each in recorded)
        finals, successor = _successors(steps, self._observation, hidden)
        observations = np.concatenate(
            [*(each.acts.observations[: each.steps] for each in recorded), self._observation[None], finals]
        )

        def joined(name: str) -> Tensor:
            rows = np.concatenate([getattr(each, name)[: each.steps] for each in recorded])
            return torch.from_numpy(rows).view(-1, *shape)

        return Rollout(
            observations=torch.from_numpy(observations).unflatten(2, shape).permute(2, 1, 0, 3).contiguous(),
            successor=torch.from_numpy(successor).unflatten(1, shape),
            outputs=torch.cat([each.acts.outputs[: each.steps] for each in recorded]).permute(1, 2, 0, 3),
            actions=torch.cat([each.acts.actions[: each.steps] for each in recorded]).permute(1, 2, 0, 3),
            rewards=joined("rewards"),
            terminated=joined("terminated"),
            truncated=joined("truncated"),
            live=joined("live"),
            episodes=self._episodes,
        )


class _Recorded:
    """What came of some steps: memory for as many as `acts` has room for."""

    def __init__(self, acts: Acts) -> None:
        shape = acts.observations.shape[::2]
        self.acts, self.steps = acts, 0
        self.rewards = np.empty(shape, np.float32)
        self.terminated, self.truncated, self.live = (np.empty(shape, bool) for _ in range(3))

    @property
    def full(self) -> bool:
        """Whether there is no room for another step."""
        return self.steps == len(self.rewards)

    def add(self, transition: Transition, live: Array) -> None:
        """Note what came of the step whose observations and actions stand in `acts`."""
        step = self.steps
        self.rewards[step], self.live[step] = transition.reward, live
        self.terminated[step], self.truncated[step] = transition.terminated, transition.truncated
        self.steps += 1


@dataclass(frozen=True)
class _Hidden:
    """The final observations (O, k) of the columns (k,) that step t truncated, before they were restarted."""

    t: int
    columns: Array
    observations: Array


def _successors(steps: int, last: Array, hidden: Sequence[_Hidden]) -> tuple[Array, Array]:
    """Return rows for hidden observations, (F, O, C), and the row of each step's successor, (steps, C).

    Row `steps` is the last observation's, those behind it are the hidden ones'. A column's are one below the other.
    """
    used = np.zeros(last.shape[1], dtype=np.int64)
    successor = np.repeat(np.arange(1, steps + 1)[:, None], last.shape[1], 1)
    for each in hidden:
        successor[each.t, each.columns] = steps + 1 + used[each.columns]
        used[each.columns] += 1
    finals = np.zeros((used.max(), *last.shape), np.float32)
    for each in hidden:
        finals[successor[each.t, each.columns] - steps - 1, :, each.columns] = each.observations.T
    return finals, successor
