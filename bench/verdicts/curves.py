"""What a whole learning curve comes to."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def area_under_curve(steps: ArrayLike, values: ArrayLike) -> NDArray[np.float64]:
    """The mean height of a curve: its trapezoidal area over its length, in the curve's own units.

    Args:
        steps: (points,), increasing.
        values: (…, points).

    Raises:
        ValueError: for fewer than two points.
    """
    at, curve = np.asarray(steps, float), np.asarray(values, float)
    if len(at) < 2:
        raise ValueError(f"a curve needs at least two points, not {len(at)}")
    return np.asarray(np.trapezoid(curve, at, axis=-1) / (at[-1] - at[0]))
