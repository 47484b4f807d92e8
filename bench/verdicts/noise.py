"""How much of what is compared is the scatter of evaluations."""

import numpy as np
from numpy.typing import ArrayLike


def noise_share(first: ArrayLike, second: ArrayLike) -> float:
    """The share of the variance between runs that is evaluation noise: 1 − Cov(half 1, half 2)/Var(mean of halves).

    Args:
        first, second: (seeds,), the metric from one half of each run's episodes and from the other.

    Returns:
        An estimate, below 0 or above 1 where chance makes it so; NaN for fewer than two seeds, a missing value, or runs
        that do not vary.

    Raises:
        ValueError: if the halves differ in their number of seeds.
    """
    one, other = np.asarray(first, float), np.asarray(second, float)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"shapes {one.shape} and {other.shape}: halves must be arrays of one shape")
    if len(one) < 2:
        return float("nan")
    varies = float(np.var((one + other) / 2, ddof=1))
    return 1 - float(np.cov(one, other)[0, 1]) / varies if varies > 0 else float("nan")
