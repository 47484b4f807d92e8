"""What a task is: pure functions over columns, one column per environment.

A task holds no state. States live outside, columns last, so that ten seeds with eight environments each are one
`(D, 80)` array, and saving, restoring or sharing a state is copying columns.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Step:
    """One transition of C columns. `state` is the true successor: nothing has been reset.

    state (D, C); reward (C,) float64; terminated (C,) bool. A time limit is not the task's business: whoever counts
    the steps (`BatchedEnv`) says `truncated`. `extras` holds further per-column numbers, such as a true score beside
    the reward.
    """

    state: Array
    reward: Array
    terminated: Array
    extras: dict[str, Array]


class Task(ABC):
    """A Markov decision process, batched. Subclasses are frozen dataclasses whose fields are the task's knobs."""

    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Discrete | gymnasium.spaces.Box
    time_limit: int | None  # steps after which an episode is truncated; None: it always terminates by itself
    extras: ClassVar[tuple[str, ...]] = ()  # names of the numbers in `Step.extras`

    @abstractmethod
    def start(self, rng: np.random.Generator, n: int) -> Array:
        """`n` start states, (D, n)."""

    def noise(self, rng: np.random.Generator, n: int) -> Array:
        """The random numbers one step of `n` columns needs, (K, n); K is 0 where the task is deterministic."""
        return np.empty((0, n))

    @abstractmethod
    def step(self, state: Array, action: Array, noise: Array) -> Step:
        """One step: state (D, C), action (C,) integers or (A, C) floats, noise (K, C). Arguments are left as they are."""

    @abstractmethod
    def observe(self, state: Array) -> Array:
        """The observations, (O, C) float32."""
