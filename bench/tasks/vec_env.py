"""A batched environment as a Stable-Baselines3 `VecEnv`, for everything that SB3 can do with one."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from bench.errors import UserError
from bench.tasks.base import Array
from bench.tasks.environments import Environments, TaskFault, Transition


class BatchedVecEnv(VecEnv):
    """SB3's semantics on top of `.batched`: finished episodes restart by themselves.

    The info of a finished episode has `terminal_observation`, `TimeLimit.truncated` and the `episode` entry (return
    `r`, length `l`, seconds `t`) that `Monitor` would add, so loggers and `evaluate_policy` need no further wrapper.
    """

    def __init__(self, batched: Environments) -> None:
        self.batched = batched
        self._returns = np.zeros(batched.n_columns)
        self._began = time.time()
        self._actions: Array = np.empty(0)
        self.learner_seeds: tuple[int, ...] | None = None  # of the learner that trains in it, if one does
        super().__init__(batched.n_columns, batched.task.observation_space, batched.task.action_space)

    def reset(self) -> VecEnvObs:
        """Start a new episode in every column; observations (C, O)."""
        self.batched.restart()
        self._returns[:] = 0
        return self.batched.observation.T.copy()

    def step_async(self, actions: Array) -> None:
        """Take note of the actions, (C,) integers or (C, A) floats."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """One step: observations (C, O), rewards (C,), dones (C,), infos. Raises `TaskFault`."""
        transition = self.batched.step(np.asarray(self._actions).T)
        self._returns += transition.reward
        done = transition.terminated | transition.truncated
        infos = self._infos(transition, done)
        if done.any():
            self.batched.restart(done)
            self._returns[done] = 0
        if self.batched.faults:
            raise TaskFault("; ".join(self.batched.faults.values()))
        return self.batched.observation.T.copy(), transition.reward.astype(np.float32), done, infos

    def _infos(self, transition: Transition, done: Array) -> list[dict[str, Any]]:
        infos: list[dict[str, Any]] = [
            {"TimeLimit.truncated": truncated} for truncated in transition.truncated.tolist()
        ]
        for name, values in transition.extras.items():
            for info, value in zip(infos, values.tolist(), strict=True):
                info[name] = value
        for column in np.flatnonzero(done).tolist():
            infos[column]["terminal_observation"] = transition.observation[:, column].copy()
            infos[column]["episode"] = {
                "r": round(float(self._returns[column]), 6),
                "l": int(self.batched.elapsed[column]),
                "t": round(time.time() - self._began, 6),
            }
        return infos

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Put the streams at the beginning of those of `seed`, `seed` + 1, … (one per replica); drawn when None.

        Raises `UserError` for other seeds than those of a learner that trains in it.
        """
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        seeds = tuple(seed + replica for replica in range(len(self.batched.seeds)))
        if self.learner_seeds is not None and self.learner_seeds != seeds:
            raise UserError(
                f"seed({seed}): a model trains in these environments, whose streams are those of its seeds "
                f"{list(self.learner_seeds)}; give it seeds={list(seeds)} when it is made"
            )
        self.batched.seed(seeds)
        return np.repeat(self.batched.seeds, self.batched.n_envs).tolist()

    def close(self) -> None:
        """Release what the environments hold."""
        self.batched.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The task's attribute, once per column."""
        value = None if attr_name == "render_mode" else getattr(self.batched.task, attr_name)
        return [value for _ in self._columns(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:  # noqa: ARG002
        """Refused: one frozen task serves all columns. Raises AttributeError."""
        raise AttributeError(f"{attr_name} cannot be set: one frozen task serves all columns")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """The task's method, called once per column."""
        method = getattr(self.batched.task, method_name)
        return [method(*method_args, **method_kwargs) for _ in self._columns(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """True for `Monitor`: what callers want of it, the `episode` entry of the info, is there."""
        return [wrapper_class is Monitor for _ in self._columns(indices)]

    def _columns(self, indices: VecEnvIndices) -> Iterable[int]:
        return self._get_indices(indices)
