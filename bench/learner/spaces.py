"""Gymnasium spaces as JSON, so that a saved model holds nothing to execute."""

from typing import Any

import numpy as np
from gymnasium import spaces


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return a Box or Discrete space as plain data. Raises ValueError for others."""
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.Box):
        bounds = {name: np.nan_to_num(getattr(space, name)).tolist() for name in ("low", "high")}
        return {"type": "Box", "dtype": str(space.dtype), **bounds}
    raise ValueError(f"{space} cannot be saved: only Box and Discrete spaces can")


def space_from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """Return the space that `space_to_json` described."""
    if data["type"] == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    dtype: Any = np.dtype(data["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"a Box of {dtype}")
    return spaces.Box(np.array(data["low"], dtype), np.array(data["high"], dtype), dtype=dtype.type)
