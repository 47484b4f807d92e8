"""Numbers that sum up scores: means, medians, shares, profiles. Pure functions of arrays.

Scores are arrays of runs × tasks; a one-dimensional array is one task. NaN marks a run that is missing (never started,
unfinished, failed): numbers are taken over the runs present, and whoever prints them prints how many those are.
The last two axes are reduced, so that thousands of resamples are evaluated at once.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float, float]  # estimate, low, high


def as_scores(scores: ArrayLike) -> Array:
    """`scores` as float array of (…, runs, tasks); one dimension becomes one task. Raises `ValueError` for a scalar."""
    array = np.asarray(scores, float)
    if array.ndim == 0:
        raise ValueError("scores must be runs x tasks, not a single number")
    return array[:, None] if array.ndim == 1 else array


def iqm(scores: ArrayLike) -> Array:
    """Interquartile mean: the mean of the n pooled scores without the floor(n/4) lowest and highest (arXiv 2108.13264).

    Args:
        scores: (…, runs, tasks), or (runs,) for one task.

    Returns:
        Array of the leading axes (a 0-d array for a plain runs × tasks array); NaN where no run is present.
    """
    array = as_scores(scores)
    pooled = np.sort(array.reshape(*array.shape[:-2], -1), axis=-1)  # NaN goes last
    if not np.isnan(pooled[..., -1:]).any():
        cut = pooled.shape[-1] // 4
        return np.asarray(pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1))
    present = np.count_nonzero(~np.isnan(pooled), axis=-1, keepdims=True)
    position = np.arange(pooled.shape[-1])
    kept = (position >= present // 4) & (position < present - present // 4)
    return ratio(np.where(kept, pooled, 0.0).sum(axis=-1), kept.sum(axis=-1))


def mean(scores: ArrayLike) -> Array:
    """The mean over tasks of each task's mean over its present runs; shapes as in `iqm`."""
    array = as_scores(scores)
    present = ~np.isnan(array)
    if present.all():
        return np.asarray(array.mean(axis=-2).mean(axis=-1))
    return _over_tasks(ratio(np.where(present, array, 0.0).sum(axis=-2), present.sum(axis=-2)))


def median(scores: ArrayLike) -> Array:
    """The median over tasks of each task's mean over its present runs (arXiv 2108.13264); shapes as in `iqm`."""
    array = as_scores(scores)
    present = ~np.isnan(array)
    by_task = np.sort(ratio(np.where(present, array, 0.0).sum(axis=-2), present.sum(axis=-2)), axis=-1)  # NaN last
    known = np.count_nonzero(~np.isnan(by_task), axis=-1)[..., None]
    middle = [np.take_along_axis(by_task, np.maximum(known - shift, 0) // 2, axis=-1)[..., 0] for shift in (1, 0)]
    return np.asarray(np.where(known[..., 0] > 0, (middle[0] + middle[1]) / 2, np.nan))


def optimality_gap(scores: ArrayLike, threshold: float = 1.0) -> Array:
    """How far runs fall short of `threshold` on average, better ones counting as equal to it (arXiv 2108.13264)."""
    return threshold - mean(np.minimum(as_scores(scores), threshold))


def failure_rate(scores: ArrayLike, threshold: float) -> Array:
    """The share of runs with a score below `threshold`, averaged over tasks; shapes as in `iqm`."""
    array = as_scores(scores)
    return mean(np.where(np.isnan(array), np.nan, array < threshold))


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> Array:
    """P(X > Y): the mean over tasks of Mann-Whitney's U/(n·m), ties counting one half (arXiv 2108.13264).

    Args:
        x, y: (…, runs, tasks) or (runs,); the numbers of runs may differ, the tasks may not.

    Returns:
        Array of the leading axes; tasks without a run on either side are left out, NaN where none is left.

    Raises:
        ValueError: if the numbers of tasks differ.
    """
    first, second = as_scores(x), as_scores(y)
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(f"x has {first.shape[-1]} tasks and y {second.shape[-1]}")
    left, right = first[..., :, None, :], second[..., None, :, :]
    wins = (left > right) + 0.5 * (left == right)
    pairs = ~np.isnan(left) & ~np.isnan(right)
    return _over_tasks(ratio((wins * pairs).sum(axis=(-3, -2)), pairs.sum(axis=(-3, -2))))


def performance_profile(scores: ArrayLike, taus: ArrayLike) -> Array:
    """The share of runs with a score above each τ, averaged over tasks (arXiv 2108.13264, equation 2).

    Args:
        scores: (…, runs, tasks) or (runs,).
        taus: (thresholds,).

    Returns:
        (…, thresholds), non-increasing in τ.
    """
    array = as_scores(scores)
    above = array[..., None] > np.asarray(taus, float)
    present = np.count_nonzero(~np.isnan(array), axis=-2)[..., None]
    by_task = ratio(above.sum(axis=-3), np.broadcast_to(present, (*above.shape[:-3], *above.shape[-2:])))
    return _over_tasks(np.swapaxes(by_task, -1, -2))


def ratio(total: ArrayLike, count: ArrayLike) -> Array:
    """`total / count`, NaN where nothing was counted."""
    total, count = np.asarray(total, float), np.asarray(count)
    quotient: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return quotient


def _over_tasks(by_task: Array) -> Array:
    """The mean of (…, tasks) over the tasks that have a value."""
    present = ~np.isnan(by_task)
    return ratio(np.where(present, by_task, 0.0).sum(axis=-1), present.sum(axis=-1))
