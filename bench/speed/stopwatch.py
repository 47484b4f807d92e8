"""Timing the training of any Stable-Baselines3 on-policy algorithm, phase by phase."""

import statistics
import time
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from bench.speed.workload import LEARNING_STEPS, N_ENVS, Measurement, Workload


class Stopwatch(BaseCallback):
    """Seconds in rollouts and in updates, the first `iteration` steps excluded; and the returns of the last tenth.

    Work between two phases counts for the one before it.
    """

    def __init__(self, workload: Workload, iteration: int) -> None:
        super().__init__()
        self.workload, self.iteration = workload, iteration
        self.rollouts = self.updates = 0.0
        self.returns: list[float] = []
        self.steps_before = 0  # of all seeds while warming up, where the algorithm counts them by itself
        self._warm = False
        self._since = time.perf_counter()

    def measurement(self) -> Measurement:
        """Return what training came to."""
        judged = self.workload.steps >= LEARNING_STEPS and self.returns
        return Measurement(
            env_steps=len(self.workload.seeds) * self.workload.steps,
            seconds=self.rollouts + self.updates,
            rollout_seconds=self.rollouts,
            update_seconds=self.updates,
            mean_return=statistics.fmean(self.returns) if judged else None,
        )

    def _on_rollout_start(self) -> None:
        self.updates += self._lap()
        if not self._warm and self.n_calls * N_ENVS >= self.iteration:
            self.rollouts, self.updates, self._warm = 0.0, 0.0, True
            self.steps_before = sum(getattr(self.model, "env_steps", ()))

    def _on_rollout_end(self) -> None:
        self.rollouts += self._lap()

    def _on_training_end(self) -> None:
        self.updates += self._lap()

    def _on_step(self) -> bool:
        if self.n_calls * N_ENVS > 0.9 * self.workload.steps:
            dones: Any = self.locals["dones"]
            ended = np.flatnonzero(dones).tolist()
            self.returns += [float(self.locals["infos"][column]["episode"]["r"]) for column in ended]
        return True

    def _lap(self) -> float:
        before, self._since = self._since, time.perf_counter()
        return self._since - before
