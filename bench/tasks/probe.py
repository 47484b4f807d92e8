"""Trying a task of somebody else before anything trains: two short plays with the same seeds and actions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from bench.errors import UserError, first_line
from bench.tasks.base import Array, Task
from bench.tasks.batched import BatchedEnv
from bench.tasks.environments import TaskFault
from bench.tasks.foreign import GymTask, InfiniteValue
from bench.tasks.spaces import check_spaces, shown

STEPS = 50  # of each play; what a task does later is found when it does it
COLUMNS = 3  # of a batched task
LARGE = 100.0  # beyond it a number is far from what networks learn well from
SMALL = 0.01  # a range of actions below it is nothing beside a policy's first standard deviation, which is 1

# What a play has seen, start or step: observations (C, O), and the rewards and flags that came with them.
Seen = tuple[Array, tuple[Any, ...]]


@dataclass(frozen=True)
class Findings:
    """What two plays have shown. `largest` is the largest number observed, `outside` one that its space excludes."""

    repeats: bool
    largest: float
    outside: float | None


def probe(task: Task, what: str) -> Findings:
    """Play `STEPS` random steps twice, in two environments with the same seeds and actions.

    What is infinite ends the plays and is no mistake yet: a seed that meets it fails by itself. `what` is what an error
    calls the task.

    Raises:
        UserError: for what cannot be used at all, such as an observation of another shape than the space says.
    """
    check_spaces(what, task.observation_space, task.action_space)
    play = _play if isinstance(task, GymTask) else _play_columns
    try:
        one, other = play(task), play(task)  # type: ignore[arg-type]  # each gets its own kind
    except TaskFault as fault:
        raise UserError(str(fault)) from fault
    except UserError:
        raise
    except Exception as error:  # whatever somebody else's task raises
        raise UserError(f"{what}: playing a few steps raised {type(error).__name__}: {first_line(error)}") from error
    seen = np.concatenate([np.zeros((0, *task.observation_space.shape)), *(observations for observations, _ in one)])
    margin = 1e-5 * np.maximum(1.0, np.abs(seen))
    excluded = (seen < task.observation_space.low - margin) | (seen > task.observation_space.high + margin)
    return Findings(
        repeats=len(one) == len(other) and all(map(_equal, one, other)),
        largest=float(np.abs(seen).max(initial=0.0)),
        outside=float(seen[excluded][0]) if excluded.any() else None,
    )


def warnings_of(task: Task, what: str, *, norm_obs: bool) -> Iterator[str]:
    """Yield what a user should know of a task before it trains, a line each. Raises `UserError`; see `probe`."""
    found = probe(task, what)
    if not found.repeats:
        yield (
            f"{what}: two plays with the same seeds and actions differ: it draws from something that no seed of the "
            f"suite sets, such as numpy.random or random; its runs cannot be reproduced"
        )
    if found.largest > LARGE and not norm_obs:
        yield f"{what}: observations reach {found.largest:.6g}, too far for a network; use norm_obs=true"
    if found.outside is not None:
        yield f"{what}: it observed {found.outside:.6g}, which is outside its observation space"
    action = task.action_space
    if isinstance(action, spaces.Box):
        reach, width = float(np.abs([action.low, action.high]).max()), float((action.high - action.low).min())
        if reach > LARGE or width < SMALL:
            yield (
                f"{what}: actions lie in {shown(action)}, where a policy begins with a standard deviation of 1; "
                f"rescale them, as gymnasium.wrappers.RescaleAction(env, -1, 1) does"
            )


def _play(task: GymTask) -> list[Seen]:
    """Return what one environment shows, a row each; an episode that ends is followed by another."""
    env, rng = task.make(), np.random.default_rng(0)
    seen: list[Seen] = []
    over = True
    try:
        while len(seen) < STEPS:
            if over:
                observation, _ = env.reset(seed=int(rng.integers(2**31)))
                seen.append((observation[None], ()))
                over = False
            else:
                observation, *outcome, _ = env.step(_actions(task, rng, 1)[..., 0])
                seen.append((observation[None], tuple(outcome)))
                over = any(outcome[1:])
    except InfiniteValue:
        pass
    finally:
        env.close()
    return seen


def _play_columns(task: Task) -> list[Seen]:
    """Return what a batched task shows in a few columns, after its first step was looked at."""
    rng = np.random.default_rng(0)
    _check_first_step(task, rng)
    env = BatchedEnv(task, [0], COLUMNS)
    env.restart()
    seen: list[Seen] = [(env.observation.T, ())]
    while len(seen) < STEPS and not env.faults:
        outcome = env.step(_actions(task, rng, COLUMNS))
        seen.append((outcome.observation.T, (outcome.reward, outcome.terminated, *outcome.extras.values())))
        env.restart(outcome.terminated | outcome.truncated)
    return seen[:-1] if env.faults else seen


def _check_first_step(task: Task, rng: np.random.Generator) -> None:
    """Hold what a batched task returns to what `bench.tasks.base` says. Raises `TaskFault`."""
    state = task.start(rng, COLUMNS)
    _check(task, "start", state, (np.shape(state)[0] if np.ndim(state) else 1, COLUMNS), np.floating)
    before = state.copy()
    outcome = task.step(state, _actions(task, rng, COLUMNS), task.noise(rng, COLUMNS))
    if not np.array_equal(state, before, equal_nan=True):
        raise TaskFault(f"{task}: step changes the state it is given; must return another")
    _check(task, "step's state", outcome.state, state.shape, np.floating)
    _check(task, "step's reward", outcome.reward, (COLUMNS,), np.floating, np.integer)
    _check(task, "step's terminated", outcome.terminated, (COLUMNS,), np.bool_)
    if tuple(outcome.extras) != task.extras:
        raise TaskFault(f"{task}: step's extras are {shown(tuple(outcome.extras))}; must be {task.extras}")
    for name, values in outcome.extras.items():
        _check(task, f"step's extra {name}", values, (COLUMNS,), np.floating, np.integer)
    _check(task, "observe", task.observe(state), (*task.observation_space.shape, COLUMNS), np.float32)


def _check(task: Task, what: str, given: Any, shape: tuple[int, ...], *types: Any) -> None:
    """Refuse what is not an array of this shape and of one of these types. Raises `TaskFault`."""
    is_array = isinstance(given, np.ndarray)
    if not is_array or given.shape != shape or not any(np.issubdtype(given.dtype, of) for of in types):
        found = f"an array {given.dtype} {given.shape}" if is_array else shown(given)
        names = " or ".join(of.__name__ for of in types)
        raise TaskFault(f"{task}: {what} is {found} for {COLUMNS} columns; must be an array {names} {shape}")


def _actions(task: Task, rng: np.random.Generator, n: int) -> Array:
    """Return actions drawn evenly from the task's space, (n,) whole numbers or (A, n) floats."""
    space = task.action_space
    if isinstance(space, spaces.Discrete):
        return rng.integers(space.n, size=n)
    low, high = np.maximum(space.low, -LARGE), np.minimum(space.high, LARGE)
    return rng.uniform(low[:, None], high[:, None], (*space.shape, n)).astype(space.dtype)


def _equal(one: Seen, other: Seen) -> bool:
    a, b = (one[0], *one[1]), (other[0], *other[1])
    return len(a) == len(b) and all(map(np.array_equal, a, b))
