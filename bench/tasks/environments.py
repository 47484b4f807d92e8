"""What the learner steps: all environments of a block of seeds, with the random streams that belong to each of them."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from bench.seeding import stream
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


class Environments(ABC):
    """S replicas (seeds) × N environments of a task in lockstep; column = replica · N + environment.

    Every environment draws its starts from a stream of its own and every replica its noise from another, so a replica
    meets the same starts and the same noise alone, beside others and in any order. Nothing restarts by itself.
    `elapsed` (C,) counts the steps since a column's last restart.

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
        self.elapsed: Array = np.zeros(len(seeds) * n_envs, dtype=np.int64)
        self.seed(seeds)

    def seed(self, seeds: Sequence[int]) -> None:
        """Put the streams at the beginning of those of `seeds`, one seed per replica. States stay as they are."""
        if len(seeds) * self.n_envs != self.n_columns:
            raise ValueError(f"{len(seeds)} seeds for {self.n_columns} columns of {self.n_envs} environments each")
        self.seeds = tuple(seeds)
        self._reset = [self._stream("reset", seed, env) for seed in seeds for env in range(self.n_envs)]
        self._dynamics = [self._stream("dynamics", seed) for seed in seeds]

    def _stream(self, kind: Literal["reset", "dynamics"], seed: int, *keys: int) -> np.random.Generator:
        if self.evaluation is not None:
            return stream(seed, "evaluation", self.evaluation, int(kind == "dynamics"), *keys, pool=self.pool)
        return stream(seed, kind, *keys, pool=self.pool)

    @property
    def n_columns(self) -> int:
        """C = replicas × environments."""
        return self.elapsed.size

    @property
    @abstractmethod
    def observation(self) -> Array:
        """The observations of the current states, (O, C) float32; a fresh array."""

    @abstractmethod
    def restart(self, columns: Any = None, share: int = 1) -> None:
        """Start new episodes in `columns` (indices or a mask; all when None), one draw from each column's own stream.

        With `share` = k > 1, each run of k consecutive environments gets copies of the state its first one draws: the
        same question in the same state. Raises ValueError where `columns` splits such a run.
        """

    @abstractmethod
    def step(self, actions: Array, live: Array | None = None) -> Transition:
        """One step of every column; actions (C,) integers or (A, C) floats.

        Columns outside the mask `live` (C,) wait: they keep their state and get reward 0 and both flags False. A
        replica of which nothing is live draws no noise.
        """

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Everything `set_state` needs, as plain lists and numbers (JSON, or `torch.load` with `weights_only`)."""

    @abstractmethod
    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Go on, bit for bit, from where `get_state` was called. Raises ValueError for another number of columns."""

    def select(self, replicas: Sequence[int]) -> Self:
        """The environments of only these replicas (indices, in this order), for when others have used their budget.

        States are copied, streams are shared: drawing from one draws from the other.
        """
        selected = copy.copy(self)
        columns = (np.asarray(replicas)[:, None] * self.n_envs + np.arange(self.n_envs)).ravel()
        selected.seeds = tuple(self.seeds[replica] for replica in replicas)
        selected._reset = [self._reset[column] for column in columns]
        selected._dynamics = [self._dynamics[replica] for replica in replicas]
        selected.elapsed = self.elapsed[columns]
        selected._keep(columns)
        return selected

    @abstractmethod
    def _keep(self, columns: Array) -> None:
        """Replace what is held per column by a copy of these columns."""
