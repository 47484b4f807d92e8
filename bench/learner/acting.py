"""An actor in its environments: what it sees, what its networks say, and what it does, step after step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.kernel.actions import CATEGORICAL, GAUSSIAN, ActionCalls
from bench.kernel.engine import by_kernel
from bench.kernel.functions import exp
from bench.learner.actor import Actor, stacked
from bench.learner.distributions import Categorical, DiagonalGaussian

Array = npt.NDArray[Any]


@dataclass
class Acts:
    """T steps of S actors in N environments each, column = replica · N + environment.

    observations  (T, O, S·N) float32
    outputs       (T, S, A, N): what the distributions are made of, see `bench.learner.distributions`
    actions       (T, S, K, N)
    """

    observations: Array
    outputs: Tensor
    actions: Tensor

    def __post_init__(self) -> None:
        self._at = self.observations.ctypes.data, self.outputs.data_ptr(), self.actions.data_ptr()
        memory = (torch.from_numpy(self.observations), self.outputs, self.actions)
        self._steps = tuple(each.stride(0) * each.element_size() for each in memory)

    def addresses(self, step: int) -> tuple[int, int, int]:
        """Return where the numbers of a step begin: observations, outputs, actions."""
        observations, outputs, actions = self._at
        by_observation, by_output, by_action = self._steps
        return observations + step * by_observation, outputs + step * by_output, actions + step * by_action


class Acting:
    """An actor in N environments of each replica, while its weights do not change."""

    def __init__(self, actor: Actor, n_envs: int) -> None:
        stack, kind = actor.stack, actor.distribution
        self._actor, self._replicas, self._n_envs = actor, stack.replicas, n_envs
        self._living = self._replicas * n_envs  # columns that have not ended
        self._discrete = issubclass(kind, Categorical)
        self._calls: ActionCalls | None = None
        if by_kernel() and (self._discrete or issubclass(kind, DiagonalGaussian)):
            code, std = (CATEGORICAL, None) if self._discrete else (GAUSSIAN, exp(stack.extras))
            self._calls = ActionCalls(stack.passes, stack.flat, n_envs, code, std)

    def room(self, steps: int) -> Acts:
        """Return memory for so many steps."""
        stack, columns = self._actor.stack, (self._replicas, self._n_envs)
        features = (stack.inputs, *stack.hidden)[-1] if self._actor.distribution.reads_features else 0
        actions = (1, torch.int64) if self._discrete else (stack.outputs, stack.flat.dtype)
        return Acts(
            np.empty((steps, stack.inputs, self._replicas * self._n_envs), np.float32),
            stack.flat.new_zeros(steps, columns[0], stack.outputs + features, columns[1]),
            stack.flat.new_zeros(steps, columns[0], actions[0], columns[1], dtype=actions[1]),
        )

    def act(self, acts: Acts, step: int, noise: Tensor, likeliest: int = 0, live: Array | None = None) -> None:
        """Write outputs and actions of a step whose observations stand in `acts`; see `Distribution.sample` for noise.

        Of each replica's environments, the first `likeliest` are given the likeliest action. Columns outside the mask
        `live` (C,) have ended for good: what stands there is finite, and means nothing.
        """
        if self._calls is not None:
            if live is not None and (living := int(np.count_nonzero(live))) != self._living:
                self._calls.restrict(live.reshape(self._replicas, self._n_envs))
                self._living = living
            self._call(self._calls, acts, step, noise, likeliest)
            return
        acts.outputs[step], _ = self._actor.outputs(self._seen(acts, step))
        policy = self._actor.distribution(acts.outputs[step], self._actor.stack.extras)
        acts.actions[step] = policy.sample(noise)
        if likeliest:
            acts.actions[step, :, :, :likeliest] = policy.mode()[:, :, :likeliest]

    def _call(self, calls: ActionCalls, acts: Acts, step: int, noise: Tensor, likeliest: int) -> None:
        observations, outputs, actions = acts.addresses(step)
        strides: Sequence[int] = (self._n_envs, self._replicas * self._n_envs, 1)
        if self._actor.obs_rms is not None:
            seen = self._seen(acts, step)
            observations, strides = seen.data_ptr(), seen.stride()
        calls(observations, strides, noise.data_ptr(), outputs, actions, likeliest)

    def _seen(self, acts: Acts, step: int) -> Tensor:
        actor = self._actor
        return actor.seen(stacked(acts.observations[step], self._replicas).to(actor.device))
