"""Collecting experience: fixed-length segments or complete episodes, of all replicas at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.config.schema import Arm
from bench.learner.actor import Actor, stacked
from bench.learner.distributions import env_actions
from bench.learner.vine import Snapshot, VineStreams, restored_values
from bench.tasks.batched import BatchedEnv
from bench.tasks.environments import Environments, Transition

Array = npt.NDArray[Any]

# Told of every step: actions, rewards, dones, infos (one per column). False stops the collection.
OnStep = Callable[[Array, Array, Array, list[dict[str, Any]]], bool]


@dataclass(frozen=True)
class Rollout:
    """T steps of S replicas with N environments.

    observations  (S, O, R, N): rows 0 … T−1 are the steps', row T what follows the last; behind it, final observations
                  of truncated episodes, which a reset would otherwise have hidden
    successor     (T, S, N): the row of each step's true successor
    actions       (S, K, T, N); rewards, terminated, truncated, live as in `bench.arms.advantage.Batch`, (T, S, N)
    episodes      per replica, the (return, length) of the episodes that ended in it
    snapshots     the environments at the steps whose states are to be restored; restored and extra_steps are the values
                  found there (T, S, N), and what they cost each replica
    """

    observations: Tensor
    successor: Tensor
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

    @property
    def env_steps(self) -> list[int]:
        """The steps taken by each replica, those from restored states included."""
        counts = [int(count) for count in self.live.sum((0, 2))]
        return counts if self.extra_steps is None else [a + b for a, b in zip(counts, self.extra_steps, strict=True)]


def collect(
    collector: "Collector", actor: Actor, arm: Arm, on_step: OnStep, vine_streams: VineStreams
) -> Rollout | None:
    """Return one batch of every replica as the arm collects them. None where `on_step` stopped it."""
    actor = actor.frozen()
    if arm.collect.name == "segments":
        assert arm.collect.n_steps is not None  # a configuration without it is refused
        return collector.segments(actor, arm.collect.n_steps, on_step)
    share = arm.group.size if arm.group.start == "shared" else 1
    if arm.baseline.name != "vine":
        return collector.whole_episodes(actor, share, on_step)
    rollout = collector.whole_episodes(actor, share, on_step, arm.vine.every)
    return None if rollout is None else _with_restored_values(rollout, collector, actor, arm, vine_streams)


def _with_restored_values(
    rollout: Rollout, collector: "Collector", actor: Actor, arm: Arm, streams: VineStreams
) -> Rollout:
    """Return the rollout with the values of the states it passed through, whose episodes count as steps."""
    task = collector.env.task
    values, steps = restored_values(task, actor, rollout.snapshots, arm.vine.rollouts, arm.gamma, streams)
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
        self._columns: dict[str, list[Array]] = {}
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
        columns = self.replicas * self.env.n_envs
        limit = self.env.task.time_limit
        observation = self.env.observation
        # A fixed number of rows, so that the shape of a batch never depends on what the neighbours did.
        finals = np.zeros((0 if limit is None else n_steps // limit + 1, len(observation), columns), np.float32)
        used = np.zeros(columns, dtype=np.int64)
        successor = _following_rows(n_steps, columns)
        self._begin()
        for t, noise in enumerate(actor.noise(self.streams, n_steps, self.env.n_envs).unbind()):
            transition, done = self._step(actor, observation, noise, None)
            observation = transition.observation
            if not self._after(done, on_step):
                return None
            if done.any():
                if transition.truncated.any():
                    truncated = np.flatnonzero(transition.truncated)
                    finals[used[truncated], :, truncated] = observation[:, truncated].T
                    successor[t, truncated] = n_steps + 1 + used[truncated]
                    used[truncated] += 1
                self.env.restart(np.flatnonzero(done))
                observation = self.env.observation
        return self._rollout(observation, finals, successor)

    def whole_episodes(
        self, actor: Actor, share: int, on_step: OnStep, snapshot_every: int | None = None
    ) -> Rollout | None:
        """Collect one complete episode of every environment, `share` neighbours from the same start. None if stopped.

        With `snapshot_every`, the states of every so many steps are kept, to be restored.
        """
        snapshots: list[Snapshot] = []
        columns = self.replicas * self.env.n_envs
        self.env.restart(share=share)
        live = np.ones(columns, dtype=bool)
        observation = self.env.observation
        noises = actor.noise_without_end(
            self.streams, self.env.n_envs, lambda: np.asarray(live.reshape(self.replicas, -1).any(axis=1))
        )
        self._begin()
        t = 0
        while live.any():
            if snapshot_every is not None and t % snapshot_every == 0:
                assert isinstance(self.env, BatchedEnv)  # check_task() refuses others
                snapshots.append(Snapshot(t, self.env.state.copy(), self.env.elapsed.copy(), live))
            transition, done = self._step(actor, observation, next(noises), live)
            observation = transition.observation
            t += 1
            if not self._after(done, on_step):
                return None
            live = live & ~done
        rollout = self._rollout(observation, np.zeros((0, *observation.shape), np.float32), _following_rows(t, columns))
        return replace(rollout, snapshots=snapshots)

    def _begin(self) -> None:
        names = ("observation", "action", "reward", "terminated", "truncated", "live")
        self._columns = {name: [] for name in names}
        self._episodes: list[list[tuple[float, int]]] = [[] for _ in range(self.replicas)]

    def _step(self, actor: Actor, observation: Array, noise: Tensor, live: Array | None) -> tuple[Transition, Array]:
        """Act once, in all columns or in those that live; → what came of it, and which columns ended."""
        actions = actor.policy(stacked(observation, self.replicas)).sample(noise)
        transition = self.env.step(env_actions(actions, self.env.task.action_space), live)
        stepped = self._everyone if live is None else live
        self.counter.add(transition.reward, stepped)
        for name, column in (
            ("observation", observation),
            ("action", actions.cpu().numpy()),
            ("reward", transition.reward),
            ("terminated", transition.terminated),
            ("truncated", transition.truncated),
            ("live", stepped),
        ):
            self._columns[name].append(column)
        return transition, transition.terminated | transition.truncated

    def _after(self, done: Array, on_step: OnStep) -> bool:
        """Note the episodes that ended and tell the callbacks."""
        infos: list[dict[str, Any]] = [{}] * len(done)
        ended = np.flatnonzero(done)
        for column, result in zip(ended, self.counter.finish(ended), strict=True):
            infos[column] = {"episode": {"r": result[0], "l": result[1]}}
            self._episodes[column // self.env.n_envs].append(result)
        return on_step(self._columns["action"][-1], self._columns["reward"][-1], done, infos)

    def _rollout(self, last: Array, finals: Array, successor: Array) -> Rollout:
        """Return everything recorded, the observation that followed the last step, and those that resets hid."""
        shape = (-1, self.replicas, self.env.n_envs)
        observations = np.concatenate([np.stack([*self._columns["observation"], last]), finals])
        rows, features = observations.shape[:2]
        by_name = {
            name: torch.from_numpy(np.stack(self._columns[name])).view(shape)
            for name in ("reward", "terminated", "truncated", "live")
        }
        return Rollout(
            observations=torch.from_numpy(observations)
            .view(rows, features, self.replicas, self.env.n_envs)
            .permute(2, 1, 0, 3)
            .contiguous(),
            successor=torch.from_numpy(successor).view(shape),
            actions=torch.from_numpy(np.stack(self._columns["action"], 2)),
            rewards=by_name["reward"].to(torch.float32),
            terminated=by_name["terminated"],
            truncated=by_name["truncated"],
            live=by_name["live"],
            episodes=self._episodes,
        )


def _following_rows(steps: int, columns: int) -> Array:
    """Return the row behind each step's own, (steps, columns)."""
    return np.repeat(np.arange(1, steps + 1)[:, None], columns, 1)
