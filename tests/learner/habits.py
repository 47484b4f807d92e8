"""What Stable-Baselines3's users are used to doing, each with its outcome here: the tables of docs/sb3.md.

A test is marked with the habit that it shows; `tests/learner/test_sb3_page.py` holds the page against these marks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from bench.errors import UserError
from bench.learner import PolicyGradient

Outcome = Literal["works", "refused", "differs"]
F = TypeVar("F", bound=Callable[..., Any])

SECTIONS = ("environments", "constructor", "training", "callbacks", "logs", "prediction", "seeds", "copies and files")


@dataclass(frozen=True)
class Habit:
    """A row of the page: what one does, its outcome, and what there is to say of it."""

    section: str
    what: str
    outcome: Outcome
    how: str

    @property
    def row(self) -> str:
        return f"| {self.what} | {self.outcome} | {self.how} |"


HABITS: dict[str, Habit] = {}  # by the name of the test


def habit(section: str, what: str, outcome: Outcome, how: str = "") -> Callable[[F], F]:
    """Mark a test as showing a habit."""
    assert section in SECTIONS

    def mark(test: F) -> F:
        HABITS[f"{test.__module__}.{test.__name__}.{what}"] = Habit(section, what, outcome, how)
        return test

    return mark


@contextmanager
def refused(match: str, kind: type[Exception] = UserError) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Expect an error of one line."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert "\n" not in str(caught.value)


SMALL: dict[str, Any] = {
    "n_steps": 16, "n_envs": 2, "batch_size": 16, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]},
}  # fmt: skip
BATCH = 32  # steps of a seed in a batch of `SMALL`


def small(env: object = "CartPole-v1", seeds: Any = 2, **settings: Any) -> PolicyGradient:
    """A model that is trained in no time."""
    return PolicyGradient("MlpPolicy", env, seeds=seeds, **{**SMALL, **settings})  # type: ignore[arg-type]


class Count(gymnasium.Env[Any, Any]):
    """Shows `first` and counts from there; ends after `length` steps; action 1 earns 1."""

    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, first: float = 0.0, length: int = 5, observation: Any = None, action: Any = None) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,)) if observation is None else observation
        self.action_space = spaces.Discrete(2) if action is None else action
        self.first, self.length, self.steps, self.played = first, length, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.steps = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.played += 1
        return self._seen(), float(np.sum(action)), self.steps >= self.length, False, {"is_success": True}

    def _seen(self) -> Any:
        if isinstance(self.observation_space, spaces.Box):
            return np.full(self.observation_space.shape, self.first + self.steps, self.observation_space.dtype)
        return self.observation_space.sample()


def register(name: str, entry_point: Any = Count, **how: Any) -> str:
    """Register an environment with Gymnasium; → its id."""
    id = f"tests/{name}-v0"
    if id not in gymnasium.registry:
        gymnasium.register(id, entry_point=entry_point, **how)
    return id
