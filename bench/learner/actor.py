"""Actors: a stack of networks, the distribution its outputs mean, and the scale of what it sees."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.learner.distributions import Categorical, Distribution
from bench.learner.network import Stack
from bench.learner.normalisation import RunningMeanStd

Array = npt.NDArray[Any]
NOISE_CHUNK = 64  # steps of action noise drawn at once, at least, while the episodes' length is unknown


@dataclass(frozen=True)
class Actor:
    """The policies of S replicas; `obs_rms` is None where observations are taken as they are.

    `hold` is the number of steps that action noise is held for, None for as long as the rollout lasts.
    """

    stack: Stack
    distribution: type[Distribution]
    obs_rms: RunningMeanStd | None
    hold: int | None = 1

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.stack.flat.device

    def policy(self, observations: Tensor) -> Distribution:
        """Return π(·|s) for observations (S, O, B)."""
        outputs, _ = self.outputs(self.seen(observations.to(self.device)))
        return self.distribution(outputs, self.stack.extras)

    def outputs(self, seen: Tensor) -> tuple[Tensor, tuple[Tensor, Any]]:
        """Return what the distribution is made from (S, out, B), and what `stack.backward` needs."""
        outputs, saved = self.stack.forward(seen)
        if self.distribution.reads_features:
            outputs = torch.cat([outputs, self.stack.features(saved)], 1)
        return outputs, saved

    def probabilities(self, observations: Array) -> Array:
        """Return π(a|s) of every replica, (S, n, A) float64, for observations (O, n) of a task with Discrete actions.

        The policy `bench.tasks.exact` solves: `task.solve(lambda seen: actor.probabilities(seen)[replica])`.
        """
        policy = self.policy(torch.from_numpy(observations).expand(self.stack.replicas, -1, -1))
        if not isinstance(policy, Categorical):
            raise TypeError("only Discrete actions have probabilities")
        return policy.probabilities().swapaxes(1, 2)

    def seen(self, observations: Tensor) -> Tensor:
        """Return observations (S, O, …) on the scale the networks see."""
        return observations if self.obs_rms is None else self.obs_rms.standardise(observations)

    def noise(self, streams: Sequence[np.random.Generator], n_steps: int, n_envs: int) -> Tensor:
        """Draw what `Distribution.sample` needs for `n_steps` of N environments, (n_steps, S, K, N)."""
        hold = n_steps if self.hold is None else self.hold
        shape = (math.ceil(n_steps / hold), max(1, self.stack.extra), n_envs)
        drawn = torch.from_numpy(np.stack([self.distribution.draw(stream, shape) for stream in streams], 1))
        return (drawn if hold == 1 else drawn.repeat_interleave(hold, 0)[:n_steps]).to(self.device)

    def noise_without_end(
        self, streams: Sequence[np.random.Generator], n_envs: int, drawing: Callable[[], Array] | None = None
    ) -> Iterator[Tensor]:
        """Yield the noise of one step after another, (S, K, N), drawn in chunks.

        `drawing` says which replicas (S,) still draw, so that nobody's stream depends on how long others take; the
        others are given zeros.
        """
        if self.hold is None:
            yield from itertools.repeat(self.noise(streams, 1, n_envs)[0])
        chunk = (self.hold or 1) * math.ceil(NOISE_CHUNK / (self.hold or 1))
        everyone = np.ones(len(streams), dtype=bool)
        while True:
            rows = np.flatnonzero(everyone if drawing is None else drawing()).tolist()
            drawn = self.noise([streams[row] for row in rows], chunk, n_envs)
            noise = drawn.new_zeros(chunk, len(streams), *drawn.shape[2:])
            noise[:, rows] = drawn
            yield from noise

    def select(self, rows: Sequence[int]) -> "Actor":
        """Return copies of these replicas only."""
        obs_rms = None if self.obs_rms is None else self.obs_rms.select(rows)
        return replace(self, stack=self.stack.select(rows), obs_rms=obs_rms)

    def state_dict(self) -> dict[str, Any]:
        """Return parameters and scale, for a checkpoint; the keys are those of files that users have."""
        return {"flat": self.stack.flat, "moments": None if self.obs_rms is None else self.obs_rms.state_dict()}

    def with_state(self, state: Mapping[str, Any]) -> "Actor":
        """Return an actor of this kind with the replicas that `state_dict` described."""
        saved = state["moments"]
        obs_rms = None if saved is None else RunningMeanStd.of(saved, self.device)
        return replace(self, stack=self.stack.like(state["flat"].to(self.device, copy=True)), obs_rms=obs_rms)


def joined(actors: Sequence[Actor]) -> Actor:
    """Return one actor of the replicas of several."""
    first = actors[0]
    stack = first.stack.like(torch.cat([actor.stack.flat for actor in actors]))
    scales = [actor.obs_rms for actor in actors if actor.obs_rms is not None]
    return replace(first, stack=stack, obs_rms=RunningMeanStd.joined(scales) if scales else None)


def stacked(observation: Array, replicas: int) -> Tensor:
    """Return observations (O, S·N), replica-major, as the networks' input (S, O, N)."""
    columns: Tensor = torch.from_numpy(observation).unflatten(1, (replicas, -1))
    return columns.transpose(0, 1)
