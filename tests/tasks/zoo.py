"""Small environments of somebody else, each odd in one way, and what the suite is to make of each.

`ZOO` maps a name to an environment and its outcome, `TRAPS` to what a `Trap` does in the episodes of some seeds, and
the cause that is to be named; `registered` registers an environment as a Gymnasium id.
"""

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from bench.seeding import stream

LIMIT = 6  # the registered one
BOX = spaces.Box(-1.0, 1.0, (2,))


class Sound(gymnasium.Env[Any, Any]):
    """Nothing odd: it observes two random numbers, pays 1 for action 1, and ends by itself after four steps."""

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 1}  # noqa: RUF012 - Gymnasium's declaration
    observation_space: spaces.Space[Any] = BOX
    action_space: spaces.Space[Any] = spaces.Discrete(2)
    length = 4

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed, options=options)
        self.steps = 0
        return self.look(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.look(), self.pay(action), self.steps >= self.length, False, {}

    def look(self) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def pay(self, action: Any) -> Any:
        return float(np.sum(action))


def sound(**changed: Any) -> type[Sound]:
    """`Sound` with other members: values, or methods."""
    return type("Odd", (Sound,), changed)


def answering(**changed: Any) -> type[Sound]:
    """`Sound` whose steps answer with other values: `observation`, `reward`, `terminated`, `truncated`, `info`."""

    def step(self: Sound, action: Any) -> Any:
        names = ("observation", "reward", "terminated", "truncated", "info")
        answer = dict(zip(names, Sound.step(self, action), strict=True))
        return tuple((answer | {key: value(self) for key, value in changed.items()}).values())

    return sound(step=step)


def anywhere(self: Sound) -> Any:
    """An observation from everywhere in the space."""
    space: Any = self.observation_space
    return (space.low + (space.high - space.low) * self.np_random.random(space.shape)).astype(space.dtype)


def observing(space: spaces.Space[Any], look: Callable[[Sound], Any] = anywhere) -> type[Sound]:
    """`Sound` with another space of observations."""
    return sound(observation_space=space, look=look)


def acting(space: spaces.Space[Any]) -> type[Sound]:
    """`Sound` with another space of actions."""
    return sound(action_space=space)


class Vector(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """Several environments at once."""

    def __init__(self, **_: Any) -> None:
        self.num_envs = 2


class OldReset(Sound):
    """The API of Gym before 0.26: `reset` returns the observation alone."""

    def reset(self, **keywords: Any) -> Any:
        return super().reset(**keywords)[0]


class OldestReset(Sound):
    """The API of Gym before 0.21: `reset` takes no seed."""

    def reset(self) -> Any:  # type: ignore[override]  # as it was
        return super().reset()


class Aliased(Sound):
    """Every observation is the one array that it goes on writing into."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.memory = np.zeros(2, np.float32)

    def look(self) -> Any:
        self.memory[:] = self.steps / 10
        return self.memory


class SecretDice(Sound):
    """It rolls dice of the whole process, which no reset seeds."""

    def look(self) -> Any:
        return np.array([random.random(), np.random.random()], np.float32)  # noqa: NPY002 - the mistake shown


class Windowed(Sound):
    """It opens a window unless it is told not to."""

    def __init__(self, render_mode: str | None = "human") -> None:
        super().__init__(render_mode)


class Spaceless(gymnasium.Env[Any, Any]):
    """It does not say what it observes."""

    action_space = spaces.Discrete(2)


class Picky(Sound):
    """It takes only actions of its own space, of its own type, and writes into them."""

    action_space = spaces.Box(np.array([0.1, -0.3]), np.array([0.7, 0.9]), dtype=np.float64)

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        answer = super().step(action)
        action[:] = np.nan
        return answer


def broken(_: Sound) -> Any:
    raise RuntimeError("the simulator\nhas crashed")


def quitting(_: Sound) -> Any:
    sys.exit(3)


def unmade(_: Sound) -> None:
    raise OSError("no such level")


@dataclass(frozen=True)
class Outcome:
    """`refused` before anything trains, or `warned` of, or `fails` with this cause; else it trains as it is."""

    refused: str | None = None
    warned: str | None = None
    fails: str | None = None


TRAINS = Outcome()
FLAT, ACTIONS = "must be a flat Box", "must be Discrete from 0 or a flat Box of real numbers with finite bounds"
ZOO: dict[str, tuple[type[Any], Outcome]] = {
    "sound": (Sound, TRAINS),
    # Spaces.
    "dict": (observing(spaces.Dict({"a": BOX}), Sound.look), Outcome(refused="observations are Dict('a': Box(")),
    "tuple": (observing(spaces.Tuple([BOX]), Sound.look), Outcome(refused=FLAT)),
    "discrete observations": (observing(spaces.Discrete(3), Sound.look), Outcome(refused=f"are Discrete(3); {FLAT}")),
    "image": (observing(spaces.Box(0, 255, (8, 8, 3), np.uint8)), Outcome(refused=FLAT)),
    "nothing to see": (observing(spaces.Box(0, 1, (0,))), Outcome(refused="at least one number")),
    "memory of bytes": (observing(spaces.Box(0, 255, (4,), np.uint8)), Outcome(warned="too far for a network")),
    "whole numbers observed": (observing(spaces.Box(0, 9, (2,), np.int64)), TRAINS),
    "float64 bounds": (observing(spaces.Box(-1e300, 1e300, (2,), np.float64), Sound.look), TRAINS),
    "half precision": (observing(spaces.Box(-1, 1, (2,), np.float16), Sound.look), TRAINS),
    "large": (observing(spaces.Box(0, 1e6, (2,))), Outcome(warned="use norm_obs=true")),
    "unbounded but large": (
        observing(spaces.Box(-np.inf, np.inf, (2,)), lambda _: np.full(2, 2e5, np.float32)),
        Outcome(warned="observations reach 200000, too far for a network; use norm_obs=true"),
    ),
    "multi-discrete": (acting(spaces.MultiDiscrete([2, 2])), Outcome(refused=f"MultiDiscrete([2 2]); {ACTIONS}")),
    "multi-binary": (acting(spaces.MultiBinary(2)), Outcome(refused=ACTIONS)),
    "actions from 1": (acting(spaces.Discrete(2, start=1)), Outcome(refused=f"Discrete(2, start=1); {ACTIONS}")),
    "one action": (acting(spaces.Discrete(1)), TRAINS),
    "whole Box": (
        acting(spaces.Box(-3, 3, (1,), np.int32)),
        Outcome(refused=f"whole numbers, towards 0 of which a policy's real numbers would be cut; {ACTIONS}"),
    ),
    "unbounded actions": (acting(spaces.Box(-np.inf, np.inf, (1,))), Outcome(refused=f"without bounds; {ACTIONS}")),
    "half bounded actions": (acting(spaces.Box(0, np.inf, (1,))), Outcome(refused="without bounds")),
    "a matrix of actions": (acting(spaces.Box(-1, 1, (2, 2))), Outcome(refused=ACTIONS)),
    "no actions": (acting(spaces.Box(-1, 1, (0,))), Outcome(refused=ACTIONS)),
    "large actions": (acting(spaces.Box(-1e6, 1e6, (1,))), Outcome(warned="RescaleAction(env, -1, 1) does")),
    "tiny actions": (acting(spaces.Box(-1e-4, 1e-4, (1,))), Outcome(warned="RescaleAction(env, -1, 1) does")),
    "picky": (Picky, TRAINS),
    # What a step returns.
    "wrong shape": (
        answering(observation=lambda _: np.zeros((1, 2))),
        Outcome(refused="the observation is array([[0., 0.]]) of shape (1, 2); must be numbers of shape (2,) at"),
    ),
    "observes None": (answering(observation=lambda _: None), Outcome(refused="the observation is None")),
    "observes text": (answering(observation=lambda _: "here"), Outcome(refused="the observation is 'here'")),
    "observes a ragged list": (answering(observation=lambda _: [1.0, [2.0]]), Outcome(refused="[1.0, [2.0]]; must be")),
    "observes a list": (answering(observation=lambda _: [0.5, -0.5]), TRAINS),
    "aliased": (Aliased, TRAINS),
    "outside": (answering(observation=lambda _: [3.0, 0.0]), Outcome(warned="observed 3, which is outside its obs")),
    "pays whole numbers": (answering(reward=lambda _: 1), TRAINS),
    "pays an array": (answering(reward=lambda _: np.array([1.0], np.float32)), TRAINS),
    "pays two numbers": (answering(reward=lambda _: np.ones(2)), Outcome(refused="the reward is array([1., 1.]); ")),
    "pays None": (answering(reward=lambda _: None), Outcome(refused="the reward is None; must be one number at")),
    "pays text": (answering(reward=lambda _: "1"), Outcome(refused="the reward is '1'")),
    "pays nan": (answering(reward=lambda _: np.nan), Outcome(fails="the reward is nan at step 1 of an episode")),
    "pays inf": (answering(reward=lambda _: -np.inf), Outcome(fails="the reward is -inf at step 1 of an episode")),
    "pays too much": (answering(reward=lambda _: 1e300), Outcome(fails="the reward is 1e+300 at step 1")),
    "observes nan": (answering(observation=lambda _: [0, np.nan]), Outcome(fails="the observation is nan at step 1")),
    "starts at nan": (
        sound(look=lambda self: np.full(2, np.nan if self.steps == 0 else 0.0)),
        Outcome(fails="the observation is nan at the start of an episode"),
    ),
    "flags in a list": (answering(terminated=lambda _: [False]), Outcome(refused="terminated is [False]; must be")),
    "no flag": (answering(truncated=lambda _: None), Outcome(refused="truncated is None; must be True or False")),
    "flags of NumPy": (answering(truncated=lambda _: np.bool_(False)), TRAINS),
    "flag 2": (answering(terminated=lambda _: 2), Outcome(refused="terminated is 2; must be True or False")),
    "flags in arrays": (answering(terminated=lambda self: np.array(self.steps >= 4)), TRAINS),
    "pays a tensor": (answering(reward=lambda _: torch.tensor(1.0)), TRAINS),
    "observes complex numbers": (answering(observation=lambda _: [1j, 0]), Outcome(refused="must be numbers of shape")),
    "info is text": (answering(info=lambda _: "lives: 3"), TRAINS),
    "info lies": (answering(info=lambda _: {"TimeLimit.truncated": True, "episode": 1}), TRAINS),
    "four values": (sound(step=lambda self, _: (self.look(), 0.0, False, {})), Outcome(refused="step returned 4 val")),
    "nothing": (sound(step=lambda *_: None), Outcome(refused="step returned None; must be five, (observation,")),
    "step raises": (answering(reward=broken), Outcome(refused="step raised RuntimeError: the simulator at step 1 of")),
    "step leaves": (answering(reward=quitting), Outcome(refused="step raised SystemExit: 3 at step 1 of")),
    "close raises": (sound(close=broken), TRAINS),
    "no spaces": (Spaceless, Outcome(refused="has no attribute 'observation_space'")),
    "old reset": (OldReset, Outcome(refused="reset returned array([")),
    "reset without seed": (OldestReset, Outcome(refused="reset raised TypeError: ")),
    "cannot be made": (sound(__init__=unmade), Outcome(refused="cannot be made (OSError: no such level)")),
    "windows": (Windowed, Outcome(refused="opens windows (render_mode=human)")),
    "vector": (Vector, Outcome(refused="cannot be made (TypeError: The environment must inherit from ")),
    # Ends.
    "truncates early": (answering(terminated=lambda _: False, truncated=lambda self: self.steps >= 2), TRAINS),
    "never ends by itself": (answering(terminated=lambda _: False), TRAINS),
    "truncates late": (answering(terminated=lambda _: False, truncated=lambda self: self.steps >= 9), TRAINS),
    "both flags": (answering(truncated=lambda self: self.steps >= 4), TRAINS),
    "one step": (sound(length=1), TRAINS),
    "secret dice": (SecretDice, Outcome(warned="two plays with the same seeds and actions differ")),
}  # fmt: skip


class Trap(Sound):
    """It does what it does at step 2 of the episodes whose seed is among `seeds`."""

    seeds: ClassVar[set[int]] = set()
    trap: ClassVar[Callable[[Any], Any]] = float

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.trapped = seed in self.seeds
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        answer = super().step(action)
        return type(self).trap(answer) if self.trapped and self.steps == 2 else answer


def first_resets(seed: int, *keys: int) -> set[int]:
    """The seed that the first environment of a replica is first reset with, in training or at a grid point."""
    purpose: Any = "evaluation" if keys else "reset"
    return {int(stream(seed, purpose, *keys, 0).integers(2**31))}


def crash(_: Any) -> Any:
    raise ZeroDivisionError("division by zero")


TRAPS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "nan reward": (lambda answer: (answer[0], np.nan, *answer[2:]), "the reward is nan"),
    "infinite reward": (lambda answer: (answer[0], np.inf, *answer[2:]), "the reward is inf"),
    "infinite observation": (lambda answer: (answer[0] + np.inf, *answer[1:]), "the observation is inf"),
    "wrong shape": (lambda answer: (answer[0][:1], *answer[1:]), "of shape (1,); must be numbers of shape (2,)"),
    "crash": (crash, "step raised ZeroDivisionError: division by zero"),
}


@contextlib.contextmanager
def registered(env: Any, limit: int | None = LIMIT, **settings: Any) -> Iterator[str]:
    """Register the environment as a Gymnasium id while the body runs."""
    id = "zoo/Animal-v0"
    gymnasium.register(id, entry_point=env, max_episode_steps=limit, **settings)
    try:
        yield id
    finally:
        gymnasium.registry.pop(id)
