"""How far runs lie apart: Gini's mean difference, and its difference between two arms as one value per pair."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def gini(values: ArrayLike) -> float:
    """Gini's mean difference: the mean of |x_i − x_j| over all pairs of runs, how far two runs of an arm end apart.

    Args:
        values: (runs,), at least two.

    Raises:
        ValueError: for fewer runs, or values that are not finite.
    """
    sample = _sample(values, 2)
    return float(_distances(sample).sum() / (len(sample) * (len(sample) - 1)))


def gini_effect(first: ArrayLike, second: ArrayLike) -> float:
    """Gini's mean difference of the first arm less that of the second."""
    return gini(first) - gini(second)


def gini_pseudo_values(first: ArrayLike, second: ArrayLike | None = None) -> Array:
    """`gini_effect` as one value per pair: jackknife pseudo-values n θ̂ − (n − 1) θ̂₍₋ᵢ₎, pair i removed from both arms.

    Their mean is the effect itself; their standard error is the jackknife's. Without a second arm, they are those of
    `gini` of the first.

    Args:
        first, second: (pairs,), the same seed in the same place; at least three.

    Returns:
        (pairs,).

    Raises:
        ValueError: for fewer pairs, arms that differ in their number, or values that are not finite.
    """
    if second is None:
        return _pseudo_values(_sample(first, 3))
    arms = [_sample(values, 3) for values in (first, second)]
    if len(arms[0]) != len(arms[1]):
        raise ValueError(f"{len(arms[0])} and {len(arms[1])} runs: arms must have the same seeds")
    return _pseudo_values(arms[0]) - _pseudo_values(arms[1])


def _pseudo_values(sample: Array) -> Array:
    runs = len(sample)
    each = _distances(sample)
    total = each.sum()
    without = (total - 2 * each) / ((runs - 1) * (runs - 2))
    return np.asarray(total / (runs - 1) - (runs - 1) * without)


def _distances(sample: Array) -> Array:
    """(runs,): the sum of each run's distances to all others, by sorting: the lower ones count up, the higher down."""
    order = np.argsort(sample, kind="stable")
    ordered = sample[order] - np.median(sample)  # near 0, where sums lose least
    runs, below = len(sample), np.cumsum(ordered)
    sums = np.empty(runs)
    sums[order] = ordered * (2 * np.arange(1, runs + 1) - runs) + below[-1] - 2 * below
    return sums


def _sample(values: ArrayLike, least: int) -> Array:
    sample = np.asarray(values, float)
    if sample.ndim != 1 or len(sample) < least:
        raise ValueError(f"shape {sample.shape}: at least {least} runs are needed")
    if not np.isfinite(sample).all():
        raise ValueError("values must be finite: a failed run counts with the worst value of its metric")
    return sample
