"""What a task is: pure functions over columns, one column per environment.

A task holds no state. States live outside, columns last, so that ten seeds with eight environments each are one
`(D, 80)` array, and saving, restoring or sharing a state is copying columns.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from bench.tasks.spaces import check_actions

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
    """A Markov decision process, batched. Subclasses are frozen dataclasses whose fields are the task's knobs.

    A state is a (D, C) float array; where a row counts something, its floats are whole numbers, held exactly.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Let every subclass's `step` refuse actions outside the space, so that none has to look for itself."""
        super().__init_subclass__(**keywords)
        if "step" in vars(cls):
            setattr(cls, "step", _with_checked_actions(vars(cls)["step"]))  # noqa: B010 - a method, to the type checker

    @property
    @abstractmethod
    def observation_space(self) -> spaces.Box:
        """The space of one column's observation, (O,) float32."""

    @property
    @abstractmethod
    def action_space(self) -> spaces.Discrete | spaces.Box:
        """The space of one column's action."""

    @property
    @abstractmethod
    def time_limit(self) -> int | None:
        """Steps after which an episode is truncated; None where every episode terminates by itself."""

    @property
    def extras(self) -> tuple[str, ...]:
        """The names of the numbers in `Step.extras`."""
        return ()

    @property
    def horizon(self) -> int | None:
        """The most steps an episode can take; None where there is no bound."""
        return self.time_limit

    @property
    def restorable(self) -> bool:
        """Whether states can be copied and restored; not where somebody else's environment holds them."""
        return True

    @abstractmethod
    def start(self, rng: np.random.Generator, n: int) -> Array:
        """`n` start states, (D, n)."""

    def noise(self, rng: np.random.Generator, n: int) -> Array:  # noqa: ARG002 - the signature of tasks that have noise
        """The random numbers one step of `n` columns needs, (K, n); K is 0 where the task is deterministic."""
        return np.empty((0, n))

    @abstractmethod
    def step(self, state: Array, action: Array, noise: Array) -> Step:
        """One step: state (D, C), action (C,) integers or (A, C) floats, noise (K, C). It changes no argument.

        Raises ValueError for actions outside `action_space`, before the subclass's own method is called. Floats beyond
        the bounds of a Box are for the task to clip, as in Gymnasium.
        """

    @abstractmethod
    def observe(self, state: Array) -> Array:
        """The observations, (O, C) float32."""

    def describe(
        self, state: Array, action: Any = None, reward: float | None = None, extras: Mapping[str, float] | None = None
    ) -> str:
        """One line for people: a column's state (D,), and what led to it. At a start there is no action.

        This one, for tasks without words of their own, gives the observation's numbers.
        """
        seen = "  ".join(f"{number:+.3f}" for number in self.observe(state[:, None])[:, 0])
        return seen if action is None else f"{seen}  action {action}  {self.earned(reward, extras)}"

    @staticmethod
    def earned(reward: float | None, extras: Mapping[str, float] | None = None) -> str:
        """The reward and the numbers beside it, for `describe`."""
        return "  ".join(
            f"{name} {number:+.2f}" for name, number in {"reward": reward or 0.0, **(extras or {})}.items()
        )


def _with_checked_actions(step: Callable[..., Step]) -> Callable[..., Step]:
    """Return a task's `step` that looks at the actions first."""

    @functools.wraps(step)
    def checked(self: Task, state: Array, action: Array, noise: Array) -> Step:
        check_actions(self.action_space, action)
        return step(self, state, action, noise)

    return checked
