"""Trying an environment of somebody else before anything trains: two short plays with the same seeds and actions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from bench.errors import UserError
from bench.tasks.base import Array
from bench.tasks.environments import TaskFault
from bench.tasks.foreign import CheckedEnv, GymTask, InfiniteValue

STEPS = 50  # of each play; what an environment does later is found when it does it
LARGE = 100.0  # beyond it a number is far from what networks learn well from
SMALL = 0.01  # a range of actions below it is nothing beside a policy's first standard deviation, which is 1


@dataclass(frozen=True)
class Findings:
    """What two plays have shown. `largest` is the largest number observed, `outside` one that its space excludes."""

    repeats: bool
    largest: float
    outside: float | None


def probe(task: GymTask) -> Findings:
    """Play `STEPS` random steps twice, in two environments with the same seeds and actions.

    What is infinite ends the plays and is no mistake yet: a seed that meets it fails by itself.

    Raises:
        UserError: for what cannot be used at all, such as an observation of another shape than the space says.
    """
    space = task.observation_space  # refused where it is not supported
    try:
        one, other = _play(task), _play(task)
    except TaskFault as fault:
        raise UserError(str(fault)) from fault
    seen = np.array([value for observation, _ in one for value in observation], dtype=np.float64)
    low, high = (np.tile(bound, len(one)) for bound in (space.low, space.high))
    margin = 1e-5 * np.maximum(1.0, np.abs(seen))
    outside = seen[(seen < low - margin) | (seen > high + margin)]
    return Findings(
        repeats=len(one) == len(other) and all(map(_equal, one, other)),
        largest=float(np.abs(seen).max(initial=0.0)),
        outside=float(outside[0]) if outside.size else None,
    )


def warnings_of(task: GymTask, *, norm_obs: bool) -> Iterator[str]:
    """Yield what a user should know of an environment before it trains, a line each. Raises `UserError`."""
    found = probe(task)
    if not found.repeats:
        yield (
            f"task.id={task.id}: two plays with the same seeds and actions differ: it draws from something that "
            f"reset(seed=…) does not set, such as numpy.random or random; its runs cannot be reproduced"
        )
    if found.largest > LARGE and not norm_obs:
        yield f"task.id={task.id}: observations reach {found.largest:.6g}, too far for a network; use norm_obs=true"
    if found.outside is not None:
        yield f"task.id={task.id}: it observed {found.outside:.6g}, which is outside its observation space"
    action = task.action_space
    if isinstance(action, spaces.Box):
        reach, width = float(np.abs([action.low, action.high]).max()), float((action.high - action.low).min())
        if reach > LARGE or width < SMALL:
            yield (
                f"task.id={task.id}: actions lie in {action}, where a policy begins with a standard deviation of 1; "
                f"use gymnasium.wrappers.RescaleAction(env, -1, 1)"
            )


def _play(task: GymTask) -> list[tuple[Array, tuple[float, bool, bool]]]:
    """Return the observations of a play, each with the reward and the flags that came with it."""
    env, rng = task.make(), np.random.default_rng(0)
    seen: list[tuple[Array, tuple[float, bool, bool]]] = []
    try:
        over = True
        while len(seen) < STEPS:
            if over:
                observation, _ = env.reset(seed=int(rng.integers(2**31)))
                outcome, over = (0.0, False, False), False
            else:
                observation, reward, terminated, truncated, _ = env.step(_action(env, rng))
                outcome, over = (reward, terminated, truncated), terminated or truncated
            seen.append((observation, outcome))
    except InfiniteValue:
        pass
    finally:
        env.close()
    return seen


def _action(env: CheckedEnv, rng: np.random.Generator) -> Array:
    """Return an action drawn evenly from the environment's space."""
    space = env.action_space
    if isinstance(space, spaces.Box):
        return rng.uniform(np.maximum(space.low, -LARGE), np.minimum(space.high, LARGE)).astype(space.dtype)
    assert isinstance(space, spaces.Discrete)  # check_spaces() refuses others
    return np.asarray(rng.integers(space.n))[()]


def _equal(one: tuple[Array, tuple[float, bool, bool]], other: tuple[Array, tuple[float, bool, bool]]) -> bool:
    return np.array_equal(one[0], other[0]) and one[1] == other[1]
