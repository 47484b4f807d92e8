"""What the learner can see and do: which spaces are supported, and which actions lie in one."""

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from bench.errors import UserError

SHOWN = 100  # characters of what somebody else's code gave, in a message
# The numbers a view of whole numbers has: a negative one becomes larger than any action.
_UNSIGNED = {np.dtype(f"i{size}"): np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def check_spaces(what: str, observation: Any, action: Any) -> None:
    """Refuse spaces that the learner cannot handle; `what` names the task.

    Raises:
        UserError: unless observations are a flat Box, and actions Discrete from 0 or a flat Box with finite bounds.
    """
    if not isinstance(observation, spaces.Box) or len(observation.shape) != 1 or not observation.shape[0]:
        raise UserError(
            f"{what}: observations are {shown(observation)}; must be a flat Box of at least one number "
            f"(gymnasium.wrappers.FlattenObservation makes one)"
        )
    if isinstance(action, spaces.Discrete) and action.start == 0:
        return
    why = _unfit(action)
    if why is not None:
        raise UserError(
            f"{what}: actions are {shown(action)}{why}; must be Discrete from 0 or a flat Box of real numbers with "
            f"finite bounds"
        )


def _unfit(action: Any) -> str | None:
    """Return why actions that are not Discrete from 0 are not supported, "" where their kind says it."""
    if not isinstance(action, spaces.Box) or len(action.shape) != 1 or not action.shape[0]:
        return ""
    if not np.issubdtype(action.dtype, np.floating):
        return " of whole numbers, towards 0 of which a policy's real numbers would be cut"
    if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
        return " without bounds"
    return None


def check_actions(space: spaces.Space[Any], actions: npt.ArrayLike) -> None:
    """Refuse actions outside a space, (C,) whole numbers or (A, C) real ones.

    Real numbers beyond the bounds of a Box are no mistake: what they do is the task's to say, as in Gymnasium.

    Raises:
        ValueError: with the first action that is outside.
    """
    given = np.asarray(actions)
    if isinstance(space, spaces.Discrete):
        unsigned = _UNSIGNED.get(given.dtype)
        if unsigned is not None and given.ndim and given.size:
            if np.maximum.reduce(given.view(unsigned), axis=None) < space.n:
                return
        elif given.dtype.kind in "biu" and ((given >= 0) & (given < space.n)).all():
            return
        raise ValueError(f"action {_first_outside(space, given)} is not one of the whole numbers 0 to {space.n - 1}")
    if given.ndim < 1 or given.shape[:1] != space.shape or given.dtype.kind not in "biuf":
        raise ValueError(f"actions {shown(given)} of shape {given.shape}: must be real numbers of shape {space.shape}")
    if np.isnan(given.sum()) and np.isnan(given).any():
        raise ValueError("an action is nan; must be a number")


def _first_outside(space: spaces.Discrete, given: npt.NDArray[Any]) -> str:
    """Return the first of the actions that is none."""
    actions = given.ravel().tolist()
    return shown(next((one for one in actions if not isinstance(one, int) or not 0 <= one < space.n), actions))


def shown(value: object) -> str:
    """Return what somebody else's code gave, in one line that is not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
