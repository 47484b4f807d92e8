"""Batched tasks of somebody else, each wrong in one way, and what is said of each before anything trains."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from bench.errors import UserError
from bench.tasks import TASKS, Array, Step, Task
from bench.tasks.probe import warnings_of


@dataclass(frozen=True)
class Walker(Task):
    """Nothing wrong: it moves by chance and by its action, and ends after five steps."""

    observation_space = spaces.Box(-5.0, 5.0, (1,))
    action_space = spaces.Discrete(2)
    time_limit = None

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.stack([rng.random(n), np.zeros(n)])

    def noise(self, rng: np.random.Generator, n: int) -> Array:
        return rng.random((1, n))

    def step(self, state: Array, action: Array, noise: Array) -> Step:
        place = np.clip(state[0] + 0.1 * np.atleast_2d(action)[0] * noise[0], -5, 5)
        return Step(np.stack([place, state[1] + 1]), place, state[1] >= 4, {})

    def observe(self, state: Array) -> Array:
        return state[:1].astype(np.float32)


def walker(**changed: Any) -> Task:
    return type("Walker", (Walker,), changed)()  # type: ignore[no-any-return]


def stepping(**changed: Any) -> Task:
    """A walker whose steps tell other things: functions of what they told."""

    def step(self: Walker, state: Array, action: Array, noise: Array) -> Step:
        told = vars(Walker.step(self, state, action, noise))
        return Step(**told | {name: value(told[name]) for name, value in changed.items()})

    return walker(step=step)


def pushing(self: Walker, state: Array, action: Array, noise: Array) -> Step:
    state[0] += 0.1
    return Walker.step(self, state, action, noise)


def rolling(self: Walker, rng: np.random.Generator, n: int) -> Array:  # noqa: ARG001 - the mistake shown
    return np.random.random((2, n))  # noqa: NPY002


REFUSED = {
    "a row": (walker(start=lambda *_: np.zeros(3)), "start is an array float64 (3,) for 3 columns"),
    "whole numbers": (walker(start=lambda *_: np.zeros((2, 3), int)), "must be an array floating (2, 3)"),
    "no start": (walker(start=lambda *_: None), "start is None for 3 columns"),
    "state of another shape": (stepping(state=lambda state: state[:1]), "step's state is an array float64 (1, 3)"),
    "reward of all": (stepping(reward=lambda reward: float(reward.sum())), "step's reward is "),
    "a reward in a row": (stepping(reward=lambda reward: reward[None]), "(1, 3) for 3 columns; must be"),
    "flags as numbers": (stepping(terminated=lambda ends: ends * 1.0), "must be an array bool (3,)"),
    "an extra unasked": (stepping(extras=lambda _: {"height": 1}), "step's extras are ('height',); must be ()"),
    "another observation": (walker(observe=lambda _, state: state), "observe is an array float64 (2, 3)"),
    "double precision": (walker(observe=lambda _, state: state[:1]), "must be an array float32 (1, 3)"),
    "columns first": (walker(observe=lambda _, state: state[:1].T), "observe is an array float64 (3, 1)"),
    "its argument": (walker(step=pushing), "step changes the state it is given"),
    "crash": (walker(step=lambda *_: 1 / 0), "playing a few steps raised ZeroDivisionError: division by zero"),
    "no bounds": (walker(action_space=spaces.Box(-np.inf, np.inf, (1,))), "without bounds"),
    "a dictionary": (walker(observation_space=spaces.Dict()), "must be a flat Box"),
}  # fmt: skip
WARNED = {
    "far": (
        walker(observe=lambda _, state: state[:1].astype(np.float32) * 1e6),
        ["use norm_obs=true", "outside its observation space"],
    ),
    "outside": (
        walker(observe=lambda _, state: (state[:1] + 7).astype(np.float32)),
        ["which is outside its observation space"],
    ),
    "dice of the process": (walker(start=rolling), ["two plays with the same seeds and actions differ"]),
    "wide actions": (walker(action_space=spaces.Box(-1e4, 1e4, (1,))), ["RescaleAction(env, -1, 1)"]),
    "no end of numbers": (stepping(reward=lambda reward: reward * np.nan), []),  # its seeds will fail by themselves
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(name: str) -> None:
    task, message = REFUSED[name]
    with pytest.raises(UserError) as refused:
        list(warnings_of(task, "task.plugin=mine:Walker", norm_obs=False))
    assert message in str(refused.value)
    assert "Walker" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", WARNED)
def test_what_is_odd_is_told(name: str) -> None:
    task, messages = WARNED[name]
    told = list(warnings_of(task, "task.plugin=mine:Walker", norm_obs=False))
    assert [message in line for message, line in zip(messages, told, strict=True)] == [True] * len(messages)
    assert all(line.startswith("task.plugin=mine:Walker: ") for line in told)


def test_scaled_observations_may_be_large() -> None:
    assert not [line for line in warnings_of(WARNED["far"][0], "x", norm_obs=True) if "norm_obs" in line]


def test_there_is_nothing_to_say_of_a_sound_task() -> None:
    assert not list(warnings_of(Walker(), "x", norm_obs=False))


@pytest.mark.parametrize("name", [name for name in TASKS if name != "gym"])
def test_there_is_nothing_to_say_of_our_own(name: str) -> None:
    assert not list(warnings_of(TASKS[name](), name, norm_obs=False))
