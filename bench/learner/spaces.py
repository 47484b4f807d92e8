"""Gymnasium spaces as JSON, so that a saved model holds nothing to execute."""

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Array = npt.NDArray[Any]


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return a Box or Discrete space as plain data. Raises ValueError for others.

    JSON has no infinity: an infinite bound is written as the largest number of its type, as it always was, and that
    number itself, which hardly any space has as a bound, as text.
    """
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.Box):
        bounds = {name: _bound_to_json(getattr(space, name)) for name in ("low", "high")}
        return {"type": "Box", "dtype": str(space.dtype), **bounds}
    raise ValueError(f"{space} cannot be saved: only Box and Discrete spaces can")


def space_from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """Return the space that `space_to_json` described."""
    if data["type"] == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    dtype: Any = np.dtype(data["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"a Box of {dtype}")
    return spaces.Box(_bound_from_json(data["low"], dtype), _bound_from_json(data["high"], dtype), dtype=dtype.type)


def _bound_to_json(bound: Array) -> list[Any]:
    written: list[Any] = np.nan_to_num(bound).tolist()
    largest = np.flatnonzero(_is_largest(bound))
    for index in largest:
        written[index] = repr(written[index])
    return written


def _bound_from_json(written: list[Any], dtype: Any) -> Array:
    bound = np.array([float(each) if isinstance(each, str) else each for each in written], dtype)
    infinite = _is_largest(bound) & [not isinstance(each, str) for each in written]
    return np.where(infinite, np.copysign(np.inf, bound), bound).astype(dtype) if infinite.any() else bound


def _is_largest(bound: Array) -> Array:
    """Return which numbers are the largest of their type, up to the sign; none of whole numbers."""
    if bound.dtype.kind != "f":
        return np.zeros(bound.shape, bool)
    return np.asarray(np.abs(bound) == np.finfo(bound.dtype).max)
