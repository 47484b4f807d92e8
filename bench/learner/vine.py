"""Monte Carlo values of states a rollout passed through: they are restored, and fresh episodes run (baseline=vine)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.learner.acting import Acting
from bench.learner.actor import Actor
from bench.learner.distributions import env_actions
from bench.tasks.base import Task
from bench.tasks.batched import step_of

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Snapshot:
    """The environments at step t of a rollout: state (D, C), elapsed (C,) and which columns are live (C,)."""

    t: int
    state: Array
    elapsed: Array
    live: Array


@dataclass(frozen=True)
class VineStreams:
    """The random streams of each replica's restored episodes, apart from those of its rollout."""

    action: Sequence[np.random.Generator]
    dynamics: Sequence[np.random.Generator]


def restored_values(
    task: Task, actor: Actor, snapshots: Sequence[Snapshot], rollouts: int, gamma: float | Array, streams: VineStreams
) -> tuple[Tensor, list[int]]:
    """Return V̂ of every live state of the snapshots, and the steps it took each of S replicas.

    V̂(s) is the mean discounted return of `rollouts` episodes of the current policy from s; each replica may have a
    discount of its own, (S,). The values are (T, S, N),
    with T one more than the last snapshot's step and zeros elsewhere.
    """
    replicas = len(streams.action)
    live = np.stack([snapshot.live for snapshot in snapshots]).reshape(len(snapshots), replicas, -1)
    indices = [np.argwhere(live[:, replica]) for replica in range(replicas)]  # per replica, (snapshot, environment)
    columns = _Columns.of(snapshots, indices, rollouts)
    returns, steps = columns.play(task, actor, gamma, streams)
    values = np.zeros((snapshots[-1].t + 1, replicas, live.shape[2]))
    times = np.array([snapshot.t for snapshot in snapshots])
    for replica, index in enumerate(indices):
        means = returns[replica, : rollouts * len(index)].reshape(len(index), rollouts).mean(1)
        values[times[index[:, 0]], replica, index[:, 1]] = means
    return torch.from_numpy(values).to(torch.float32), steps


@dataclass
class _Columns:
    """Episodes under way, (…, S·M) replica by replica; replicas with fewer are padded with columns that do not live."""

    state: Array
    elapsed: Array
    live: Array
    widths: Sequence[int]  # columns of each replica that are episodes

    @classmethod
    def of(cls, snapshots: Sequence[Snapshot], indices: Sequence[Array], rollouts: int) -> "_Columns":
        """Return the beginnings of `rollouts` episodes from each replica's states, (snapshot, environment)."""
        width = rollouts * max(len(index) for index in indices)
        states = np.stack([snapshot.state for snapshot in snapshots])  # (A, D, C)
        elapsed = np.stack([snapshot.elapsed for snapshot in snapshots])
        n_envs = elapsed.shape[1] // len(indices)
        which = np.zeros((len(indices), width, 2), dtype=np.int64)
        live = np.zeros((len(indices), width), dtype=bool)
        for replica, index in enumerate(indices):
            repeated = np.repeat(index, rollouts, axis=0)
            which[replica, : len(repeated)] = repeated
            which[replica, :, 1] += replica * n_envs
            live[replica, : len(repeated)] = True
        snapshot, column = which.reshape(-1, 2).T
        widths = [rollouts * len(index) for index in indices]
        return cls(states[snapshot, :, column].T, elapsed[snapshot, column], live.ravel(), widths)

    def play(self, task: Task, actor: Actor, gamma: float | Array, streams: VineStreams) -> tuple[Array, list[int]]:
        """Return the discounted returns (S, M) of all episodes, played to their ends, and each replica's steps."""
        acting = Acting(actor, self.live.size // len(self.widths))
        acts = acting.room(1)
        factor = np.repeat(np.broadcast_to(gamma, len(self.widths)), self.live.size // len(self.widths))
        returns, discount = np.zeros(self.live.size), np.ones(self.live.size)
        steps = np.zeros(len(self.widths), dtype=np.int64)
        while self.live.any():
            steps += self.live.reshape(len(self.widths), -1).sum(1)
            noise, dynamics = self._noise(task, actor, streams)
            acts.observations[0] = task.observe(self.state)
            acting.act(acts, 0, noise, live=self.live)
            returns += discount * self._step(task, env_actions(acts.actions[0], task.action_space), dynamics)
            discount *= factor
        return returns.reshape(len(self.widths), -1), steps.tolist()

    def _step(self, task: Task, actions: Array, dynamics: Array) -> Array:
        """Take one step of the live columns and return their rewards, 0 elsewhere."""
        outcome = step_of(task, self.state, actions, dynamics, self.live)
        self.state = outcome.state
        self.elapsed = self.elapsed + self.live
        self.live = self.live & ~outcome.terminated
        if task.time_limit is not None:
            self.live &= self.elapsed < task.time_limit
        return outcome.reward

    def _noise(self, task: Task, actor: Actor, streams: VineStreams) -> tuple[Tensor, Array]:
        """Draw one step's noise of actions (S, K, M) and dynamics (D, S·M): only what a replica's own episodes need."""
        live = self.live.reshape(len(self.widths), -1)
        noise: Tensor | None = None
        dynamics = np.zeros((len(task.noise(np.random.default_rng(0), 1)), *live.shape))
        for replica in np.flatnonzero(live.any(axis=1)).tolist():
            width = self.widths[replica]
            drawn = actor.noise([streams.action[replica]], 1, width)[0]
            noise = drawn.new_zeros(len(live), drawn.shape[1], live.shape[1]) if noise is None else noise
            noise[replica, :, :width] = drawn[0]
            dynamics[:, replica, :width] = task.noise(streams.dynamics[replica], width)
        assert noise is not None  # something lives, or there would be no step
        return noise, dynamics.reshape(len(dynamics), self.live.size)
