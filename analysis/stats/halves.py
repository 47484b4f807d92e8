"""Metrics that the noise of evaluations does not make: from two disjoint halves of the episodes, or from exact values.

An evaluation of few episodes is the policy's score plus dice. The best of several noisy points is mostly good luck, so
a loss measured from it is there even where nothing was lost; with a second half of the episodes it is not.
"""

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.scores import Array


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
    halves = _halves(first, second)
    if halves.shape[-1] < 2:
        return float("nan")
    varies = float(np.var(halves.mean(axis=0), ddof=1))
    return 1 - float(np.cov(halves)[0, 1]) / varies if varies > 0 else float("nan")


def cross_fitted_drawdown(first: ArrayLike, second: ArrayLike) -> Array:
    """What a run has lost again of its best, the best point chosen by one half of the episodes, the loss by the other.

    With k(t) the first of the points u ≤ t where J_A(u) is largest, the mean over t of J_B(k(t)) − J_B(t); the halves
    are exchanged and the two averaged. It errs downwards: a best point chosen by noise is not quite the best.

    Args:
        first, second: (…, points), the normalised scores of a run's grid from each half of the episodes.

    Returns:
        (…), in the scores' units, below 0 where chance makes it so; NaN for a run without a value at some point.

    Raises:
        ValueError: if the shapes differ, or there is no point.
    """
    halves = _halves(first, second)
    if halves.shape[-1] == 0:
        raise ValueError("a curve needs at least one point")
    lost = [_lost(chosen, measured) for chosen, measured in (halves, halves[::-1])]
    return np.asarray((lost[0] + lost[1]) / 2)


def drawdown(values: ArrayLike) -> Array:
    """The mean over a curve of best so far less value, of exact scores: no noise, so nothing to cross-fit.

    Args:
        values: (…, points), normalised.

    Returns:
        (…), at least 0; NaN for a run without a value at some point.

    Raises:
        ValueError: if there is no point.
    """
    return cross_fitted_drawdown(values, values)


def _lost(chosen: Array, measured: Array) -> Array:
    points = np.arange(chosen.shape[-1])
    best = np.maximum.accumulate(chosen, axis=-1)
    new = np.concatenate([np.ones_like(chosen[..., :1], bool), chosen[..., 1:] > best[..., :-1]], axis=-1)
    first_best = np.maximum.accumulate(np.where(new, points, 0), axis=-1)
    losses = np.take_along_axis(measured, first_best, axis=-1) - measured
    known = ~(np.isnan(chosen) | np.isnan(measured)).any(axis=-1)
    return np.asarray(np.where(known, losses.mean(axis=-1), np.nan))


def _halves(first: ArrayLike, second: ArrayLike) -> Array:
    """(2, …): both halves. Raises `ValueError` if their shapes differ."""
    one, other = np.asarray(first, float), np.asarray(second, float)
    if one.shape != other.shape or one.ndim == 0:
        raise ValueError(f"shapes {one.shape} and {other.shape}: halves must be arrays of one shape")
    return np.stack([one, other])
