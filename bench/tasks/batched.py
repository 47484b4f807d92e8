"""All environments of a block of seeds as one array."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.tasks.base import Array, Step, Task
from bench.tasks.environments import Environments, Transition


class BatchedEnv(Environments):
    """The environments of a batched task; see `Environments`.

    `state` (D, C) and `elapsed` (C,) may be read and written: restoring a state is copying columns. Before the first
    `restart` the state is NaN.
    """

    def __init__(
        self,
        task: Task,
        seeds: Sequence[int],
        n_envs: int,
        pool: str = "main",
        evaluation: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(task, seeds, n_envs, pool, evaluation)
        scratch = np.random.default_rng(0)  # only for shapes
        self.state: Array = np.full_like(task.start(scratch, self.n_columns), np.nan)
        self._noise_rows = len(task.noise(scratch, 1))

    def _observe(self) -> Array:
        return self.task.observe(self.state)

    def _restart(self, chosen: Array, share: int) -> None:
        if share > 1:
            self._check_runs(chosen, share)
        if not chosen.size:
            return
        starts = np.concatenate([self.task.start(self._reset[column], 1) for column in chosen[::share]], axis=1)
        self.state = self.state.copy()  # the task may have given out parts of it, as rewards for example
        self.state[:, chosen] = np.repeat(starts, share, axis=1)
        self.elapsed[chosen] = 0

    def _check_runs(self, columns: Array, share: int) -> None:
        """Refuse columns that are not whole runs of `share` environments."""
        whole = self.n_envs % share == 0 and columns.size % share == 0
        runs = columns.reshape(-1, share) if whole else columns[:, None]
        if not whole or (runs[:, 0] % share).any() or (np.diff(runs) != 1).any():
            raise ValueError(f"share={share} of {self.n_envs} environments: columns must be whole runs of {share}")

    def _step(self, actions: Array, live: Array | None) -> Transition:
        live = None if live is None or live.all() else live
        outcome = step_of(self.task, self.state, actions, self._noise(live), live)
        self.state = outcome.state
        self.elapsed += 1 if live is None else live
        truncated = self._truncated(outcome.terminated, live)
        return Transition(self._observe(), outcome.reward, outcome.terminated, truncated, outcome.extras)

    def _rest(self, faulty: Array) -> None:
        self.state = np.where(faulty, np.zeros_like(self.state), self.state)

    def _noise(self, live: Array | None) -> Array:
        """The noise of one step, (K, C), each replica's from its own stream."""
        noise = np.zeros((self._noise_rows, len(self.seeds), self.n_envs))
        if self._noise_rows:
            active = (
                range(len(self.seeds)) if live is None else np.flatnonzero(live.reshape(-1, self.n_envs).any(axis=1))
            )
            for replica in active:
                noise[:, replica] = self.task.noise(self._dynamics[replica], self.n_envs)
        return noise.reshape(self._noise_rows, self.n_columns)

    def _truncated(self, terminated: Array, live: Array | None) -> Array:
        if self.task.time_limit is None:
            return np.zeros_like(terminated)
        truncated = (self.elapsed >= self.task.time_limit) & ~terminated
        return truncated if live is None else truncated & live

    def get_state(self) -> dict[str, Any]:
        """States, elapsed steps and streams; see `Environments.get_state`."""
        return {
            "state": self.state.tolist(),
            "elapsed": self.elapsed.tolist(),
            "reset": [generator.bit_generator.state for generator in self._reset],
            "dynamics": [generator.bit_generator.state for generator in self._dynamics],
        }

    def set_state(self, saved: Mapping[str, Any]) -> None:
        """See `Environments.set_state`."""
        state = np.array(saved["state"], dtype=self.state.dtype)
        if state.shape != self.state.shape or len(saved["dynamics"]) != len(self.seeds):
            raise ValueError(f"the saved state is of shape {state.shape}, this environment's of {self.state.shape}")
        self.state = state
        self.elapsed = np.array(saved["elapsed"], dtype=np.int64)
        self._begun[:] = True
        for generator, position in zip(
            self._reset + self._dynamics, [*saved["reset"], *saved["dynamics"]], strict=True
        ):
            generator.bit_generator.state = position

    def _keep(self, columns: Array) -> None:
        self.state = self.state[:, columns]


def step_of(task: Task, state: Array, actions: Array, noise: Array, live: Array | None) -> Step:
    """One step of a task in the columns of the mask `live` (C,), None: in all.

    The others are not looked at: they keep their state, get 0 for rewards and extras, and do not terminate.
    """
    if live is None:
        return task.step(state, actions, noise)
    columns = np.flatnonzero(live)
    outcome = task.step(*(values.take(columns, axis=-1) for values in (state, actions, noise)))
    whole = state.copy()
    whole[:, columns] = outcome.state

    def spread(values: Array) -> Array:
        among = np.zeros(len(live), dtype=values.dtype)
        among[columns] = values
        return among

    extras = {name: spread(values) for name, values in outcome.extras.items()}
    return Step(whole, spread(outcome.reward), spread(outcome.terminated), extras)
