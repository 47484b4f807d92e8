"""All environments of a block of seeds as one array, with the random streams that belong to each of them."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from bench.streams import stream
from bench.tasks.base import Array, Task


@dataclass(frozen=True)
class Transition:
    """What a step of C columns tells. `observation` is that of the true successor, before any restart.

    observation (O, C) float32; reward (C,) float64; terminated and truncated (C,) bool, never both: a step that
    terminates at the time limit is terminated. (Gymnasium's TimeLimit raises both flags there; what follows a terminal
    state is worth nothing either way, and SB3's `TimeLimit.truncated` is exclusive as here.)
    """

    observation: Array
    reward: Array
    terminated: Array
    truncated: Array
    extras: dict[str, Array]


class BatchedEnv:
    """S replicas (seeds) × N environments of a task in lockstep; column = replica · N + environment.

    Every environment draws its start states from a stream of its own and every replica its dynamics noise from
    another, so a replica meets the same starts and the same noise alone, beside others and in any order. Nothing is
    reset by itself. `state` (D, C) and `elapsed` (C,), the steps since the last restart, may be read and written:
    restoring a state is copying columns. Before the first `restart` the state is NaN.

    `evaluation` is a place on the evaluation grid: it gives the streams of that evaluation instead of the training's
    (stream keys: place, 0, environment for starts; place, 1 for noise).
    """

    def __init__(
        self, task: Task, seeds: Sequence[int], n_envs: int, pool: str = "main", evaluation: int | None = None
    ) -> None:
        self.task = task
        self.n_envs = n_envs
        self.pool = pool
        self.evaluation = evaluation
        scratch = np.random.default_rng(0)  # only for shapes
        self.state: Array = np.full_like(task.start(scratch, len(seeds) * n_envs), np.nan)
        self.elapsed: Array = np.zeros(self.state.shape[1], dtype=np.int64)
        self._noise_rows = len(task.noise(scratch, 1))
        self.seed(seeds)

    def seed(self, seeds: Sequence[int]) -> None:
        """Put the streams at the beginning of those of `seeds`, one seed per replica. States stay as they are."""
        if len(seeds) * self.n_envs != self.n_columns:
            raise ValueError(f"{len(seeds)} seeds for {self.n_columns} columns of {self.n_envs} environments each")
        self.seeds = tuple(seeds)
        self._reset = [self._stream("reset", seed, env) for seed in seeds for env in range(self.n_envs)]
        self._dynamics = [self._stream("dynamics", seed) for seed in seeds]

    def _stream(self, kind: str, seed: int, *keys: int) -> np.random.Generator:
        if self.evaluation is not None:
            return stream(seed, "evaluation", self.evaluation, int(kind == "dynamics"), *keys, pool=self.pool)
        return stream(seed, "reset" if kind == "reset" else "dynamics", *keys, pool=self.pool)

    @property
    def n_columns(self) -> int:
        """C = replicas × environments."""
        return self.elapsed.size

    @property
    def observation(self) -> Array:
        """The observations of the current states, (O, C) float32."""
        return self.task.observe(self.state)

    def restart(self, columns: Any = None, share: int = 1) -> None:
        """Start new episodes in `columns` (indices or a mask; all when None), one draw from each column's own stream.

        With `share` = k > 1, each run of k consecutive environments gets copies of the state its first one draws: the
        same question in the same state. Raises ValueError where `columns` splits such a run.
        """
        chosen = np.arange(self.n_columns)
        if columns is not None:
            chosen = chosen[columns]
        if share > 1:
            self._check_runs(chosen, share)
        if not chosen.size:
            return
        starts = np.concatenate([self.task.start(self._reset[column], 1) for column in chosen[::share]], axis=1)
        self.state[:, chosen] = np.repeat(starts, share, axis=1)
        self.elapsed[chosen] = 0

    def _check_runs(self, columns: Array, share: int) -> None:
        """Refuse columns that are not whole runs of `share` environments."""
        whole = self.n_envs % share == 0 and columns.size % share == 0
        runs = columns.reshape(-1, share) if whole else columns[:, None]
        if not whole or (runs[:, 0] % share).any() or (np.diff(runs) != 1).any():
            raise ValueError(f"share={share} of {self.n_envs} environments: columns must be whole runs of {share}")

    def step(self, actions: Array, live: Array | None = None) -> Transition:
        """One step of every column; actions (C,) integers or (A, C) floats.

        Columns outside the mask `live` (C,) wait: they keep their state and get reward 0 and both flags False. A
        replica of which nothing is live draws no noise.
        """
        outcome = self.task.step(self.state, actions, self._noise(live))
        state, reward, terminated, extras = outcome.state, outcome.reward, outcome.terminated, outcome.extras
        if live is not None:
            state, reward, terminated = (
                np.where(live, state, self.state),
                np.where(live, reward, 0.0),
                terminated & live,
            )
            extras = {name: np.where(live, values, 0.0) for name, values in extras.items()}
        self.state = state
        self.elapsed += 1 if live is None else live
        return Transition(self.observation, reward, terminated, self._truncated(terminated, live), extras)

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
        """States, elapsed steps and streams as plain lists and numbers (JSON, or `torch.load` with `weights_only`)."""
        return {
            "state": self.state.tolist(),
            "elapsed": self.elapsed.tolist(),
            "reset": [generator.bit_generator.state for generator in self._reset],
            "dynamics": [generator.bit_generator.state for generator in self._dynamics],
        }

    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Go on, bit for bit, from where `get_state` was called. Raises ValueError for another number of columns."""
        state = np.array(saved["state"], dtype=self.state.dtype)
        if state.shape != self.state.shape or len(saved["dynamics"]) != len(self.seeds):
            raise ValueError(f"the saved state is of shape {state.shape}, this environment's of {self.state.shape}")
        self.state = state
        self.elapsed = np.array(saved["elapsed"], dtype=np.int64)
        for generator, position in zip(
            self._reset + self._dynamics, [*saved["reset"], *saved["dynamics"]], strict=True
        ):
            generator.bit_generator.state = position

    def select(self, replicas: Sequence[int]) -> Self:
        """The environments of only these replicas (indices, in this order), for when others have used their budget.

        States are copied, streams are shared: drawing from one draws from the other.
        """
        columns = (np.asarray(replicas)[:, None] * self.n_envs + np.arange(self.n_envs)).ravel()
        selected = copy.copy(self)
        selected.state, selected.elapsed = self.state[:, columns], self.elapsed[columns]
        selected.seeds = tuple(self.seeds[replica] for replica in replicas)
        selected._reset = [self._reset[column] for column in columns]
        selected._dynamics = [self._dynamics[replica] for replica in replicas]
        return selected
