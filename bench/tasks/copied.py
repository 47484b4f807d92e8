"""Environments that a user has made, as a task: every column gets a copy of its own."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit

from bench.errors import UserError, first_line
from bench.tasks.foreign import CheckedEnv, GymTask


@dataclass(frozen=True, eq=False)
class CopiedTask(GymTask):
    """Copies of environments that a user has made: each seed gets one of each, in their order.

    An environment that cannot be copied is made again from what `gymnasium.make` noted of it. `time_limit` None means
    that of its `TimeLimit`, if it has one. Restarts seed the copies, as they do those of a `GymTask`.

    Raises `UserError` for an environment that can be neither copied nor made again, for one that opens windows, for
    several of different spaces, and for spaces that are not supported, see `GymTask`.
    """

    originals: Sequence["gymnasium.Env[Any, Any]"] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.time_limit is None:
            object.__setattr__(self, "time_limit", limit_of(self.originals[0]))
        kinds = {(str(each.observation_space), str(each.action_space)) for each in self.originals}
        if len(kinds) > 1:
            raise UserError(f"env: its environments have different spaces, {' and '.join(map(str, sorted(kinds)))}")
        _ = self._spaces

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"env={self.id}"

    def make(self, place: int = 0) -> CheckedEnv:
        """Return a copy of the original at a place of each seed's environments. Raises `UserError`."""
        original = self.originals[place % len(self.originals)]
        if original.render_mode == "human":
            raise UserError(f"{self.name}: it opens windows (render_mode=human); make it without a render_mode")
        return CheckedEnv(_copied(original, self.name), self.name)


def copied_task(originals: Sequence["gymnasium.Env[Any, Any]"]) -> CopiedTask:
    """Return the task of copies of these environments. Raises `UserError`; see `CopiedTask`."""
    spec = originals[0].spec
    return CopiedTask(type(originals[0].unwrapped).__name__ if spec is None else spec.id, originals=tuple(originals))


def limit_of(env: "gymnasium.Env[Any, Any]") -> int | None:
    """Return the most steps of an episode that the wrappers around an environment allow; None where none limits it."""
    limits: list[int] = []
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TimeLimit):
            limits.append(env._max_episode_steps)
        env = env.env
    return min(limits, default=None)


def _copied(env: "gymnasium.Env[Any, Any]", name: str) -> "gymnasium.Env[Any, Any]":
    try:
        return copy.deepcopy(env)
    except Exception as error:  # whatever an object of somebody else's raises that cannot be copied
        reason = f"{type(error).__name__}: {first_line(error)}"
    try:
        if env.spec is not None:
            return gymnasium.make(env.spec)
    except Exception as error:  # whatever Gymnasium or somebody else's environment raises
        reason = f"{reason}; made again: {type(error).__name__}: {first_line(error)}"
    raise UserError(
        f"{name}: each seed needs a copy of its own, and it cannot be copied ({reason}); register it with Gymnasium, "
        f"and give its id"
    )
