"""Timing the training of any Stable-Baselines3 on-policy algorithm, phase by phase."""

import time
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback


class Stopwatch(BaseCallback):
    """Time spent in rollouts and in updates, the first `iteration` steps excluded, and the episodes that ended.

    Wall-clock and CPU seconds, (wall, CPU). Work between two phases counts for the one before it. `episodes` holds
    (steps per seed so far, environment, return) of every episode, the first iteration's included.
    """

    def __init__(self, n_envs: int, iteration: int) -> None:
        super().__init__()
        self.n_envs, self.iteration = n_envs, iteration
        self.rollouts, self.updates = np.zeros(2), np.zeros(2)
        self.episodes: list[tuple[int, int, float]] = []
        self.began: float | None = None  # UNIX time at which what counts began
        self.steps_before = 0  # of all seeds, where the algorithm counts them by itself
        self._since = _now()

    def _on_rollout_start(self) -> None:
        self._lap(self.updates)
        if self.began is None and self.n_calls * self.n_envs >= self.iteration:
            # What was measured up to here was warming up.
            self.rollouts, self.updates, self.began = np.zeros(2), np.zeros(2), time.time()
            self.steps_before = sum(getattr(self.model, "env_steps", ()))

    def _on_rollout_end(self) -> None:
        self._lap(self.rollouts)

    def _on_training_end(self) -> None:
        self._lap(self.updates)

    def _on_step(self) -> bool:
        dones: Any = self.locals["dones"]
        if dones.any():
            for column in np.flatnonzero(dones).tolist():
                result = self.locals["infos"][column]["episode"]["r"]
                self.episodes.append((self.n_calls * self.n_envs, column, float(result)))
        return True

    def _lap(self, phase: Any) -> None:
        now = _now()
        phase += now - self._since
        self._since = now


def _now() -> Any:
    return np.array([time.perf_counter(), time.process_time()])
