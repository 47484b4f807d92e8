"""The statistics: estimates, intervals and tests. Pure functions of arrays and a passed random generator.

Scores are arrays of runs × tasks; a one-dimensional array is one task. NaN marks a run that is missing (never started,
unfinished, failed): estimates are taken over the runs present, and whoever prints them prints how many those are.
Statistics reduce the last two axes, so that thousands of resamples are evaluated at once.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Array], ArrayLike]
Interval = tuple[float, float, float]  # estimate, low, high

_CHUNK = 1 << 19  # resampled scores held at once: 4 MB, which stays in the processor's cache


def generator(*names: object) -> np.random.Generator:
    """A random generator that depends on `names` only: adding an arm to a report moves no other arm's interval."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


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
    return _ratio(np.where(kept, pooled, 0.0).sum(axis=-1), kept.sum(axis=-1))


def mean(scores: ArrayLike) -> Array:
    """The mean over tasks of each task's mean over its present runs; shapes as in `iqm`."""
    array = as_scores(scores)
    present = ~np.isnan(array)
    if present.all():
        return np.asarray(array.mean(axis=-2).mean(axis=-1))
    return _over_tasks(_ratio(np.where(present, array, 0.0).sum(axis=-2), present.sum(axis=-2)))


def median(scores: ArrayLike) -> Array:
    """The median over tasks of each task's mean over its present runs (arXiv 2108.13264); shapes as in `iqm`."""
    array = as_scores(scores)
    present = ~np.isnan(array)
    by_task = np.sort(_ratio(np.where(present, array, 0.0).sum(axis=-2), present.sum(axis=-2)), axis=-1)  # NaN last
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


def _ratio(total: ArrayLike, count: ArrayLike) -> Array:
    """`total / count`, NaN where nothing was counted."""
    total, count = np.asarray(total, float), np.asarray(count)
    quotient: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return quotient


def _over_tasks(by_task: Array) -> Array:
    """The mean of (…, tasks) over the tasks that have a value."""
    present = ~np.isnan(by_task)
    return _ratio(np.where(present, by_task, 0.0).sum(axis=-1), present.sum(axis=-1))


def interval(
    scores: ArrayLike,
    statistic: Statistic,
    reps: int,
    confidence: float,
    rng: np.random.Generator,
    paired_with: ArrayLike | None = None,
) -> Interval:
    """Stratified percentile bootstrap: runs are resampled within each task, independently between tasks.

    Args:
        scores: runs × tasks, or (runs,).
        statistic: maps (reps, runs, tasks) to (reps,); one that returns anything else there is called per resample.
        reps: number of resamples.
        confidence: e.g. 0.95.
        rng: the source of the resamples.
        paired_with: a second runs × tasks array with the same seed in each row. The estimate is then
            statistic(scores) − statistic(paired_with), both over the same resampled seeds; a seed that is missing in
            one of them is left out of both.

    Returns:
        Estimate, lower and upper bound; all NaN where no run is present.

    Raises:
        ValueError: for no resamples, a confidence outside (0, 1), or shapes that cannot be paired.
    """
    return intervals(scores, [statistic], reps, confidence, rng, paired_with)[0]


def intervals(
    scores: ArrayLike,
    statistics: Sequence[Statistic],
    reps: int,
    confidence: float,
    rng: np.random.Generator,
    paired_with: ArrayLike | None = None,
) -> list[Interval]:
    """`interval` of several statistics over the same resamples, which take most of the time."""
    if reps < 1:
        raise ValueError(f"reps={reps}: at least one resample is needed")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must lie between 0 and 1")
    arrays = [as_scores(scores)]
    if paired_with is not None:
        arrays = _paired(arrays[0], as_scores(paired_with))
    if np.isnan(arrays[0]).all():
        return [(float("nan"), float("nan"), float("nan"))] * len(statistics)
    estimates = [_contrast(statistic, [array[None] for array in arrays])[0] for statistic in statistics]
    bounds = percentiles(_resampled(arrays, statistics, reps, rng).T, confidence)
    return [(float(at), float(low), float(high)) for at, low, high in zip(estimates, *bounds, strict=True)]


def _paired(scores: Array, other: Array) -> list[Array]:
    if scores.shape != other.shape:
        raise ValueError(f"paired scores must have one shape, not {scores.shape} and {other.shape}")
    missing = np.isnan(scores) | np.isnan(other)
    return [np.where(missing, np.nan, scores), np.where(missing, np.nan, other)]


def _contrast(statistic: Statistic, batches: list[Array]) -> Array:
    """The statistic of the first batch of resamples, minus that of the second where there is one."""
    values = [_batched(statistic, batch) for batch in batches]
    return values[0] if len(values) == 1 else values[0] - values[1]


def _batched(statistic: Statistic, batch: Array) -> Array:
    values = np.asarray(statistic(batch), float)
    if values.shape == batch.shape[:1]:
        return values
    return np.array([float(np.asarray(statistic(scores))) for scores in batch])


def _resampled(arrays: list[Array], statistics: Sequence[Statistic], reps: int, rng: np.random.Generator) -> Array:
    """(statistics, reps): each statistic, or its paired difference, of every resample."""
    order = np.argsort(np.isnan(arrays[0]), axis=0, kind="stable")  # present runs first, in every task
    arrays = [np.take_along_axis(array, order, axis=0) for array in arrays]
    present = np.count_nonzero(~np.isnan(arrays[0]), axis=0)
    chunk = max(1, _CHUNK // arrays[0].size)
    values = []
    for start in range(0, reps, chunk):
        rows = resample_rows(present, len(arrays[0]), min(chunk, reps - start), rng)
        flat = rows * arrays[0].shape[1] + np.arange(arrays[0].shape[1])
        batches = [np.take(array, flat) for array in arrays]
        values.append([_contrast(statistic, batches) for statistic in statistics])
    return np.concatenate(values, axis=1)


def difference_interval(
    x: ArrayLike, y: ArrayLike, statistic: Statistic, reps: int, confidence: float, rng: np.random.Generator
) -> Interval:
    """statistic(x) − statistic(y) with its percentile bootstrap interval, the two arms resampled independently.

    For arms that share no seeds or collect differently; `interval(..., paired_with=...)` is for those that do not.
    """
    arrays = [as_scores(x), as_scores(y)]
    if any(np.isnan(array).all() for array in arrays):
        return float("nan"), float("nan"), float("nan")
    first, second = (_batched(statistic, array[None])[0] for array in arrays)
    first_values, second_values = (_resampled([array], [statistic], reps, rng)[0] for array in arrays)
    low, high = percentiles(first_values - second_values, confidence)
    return float(first - second), float(low), float(high)


def bca_interval(
    scores: ArrayLike, statistic: Statistic, reps: int, confidence: float, rng: np.random.Generator
) -> Interval:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987), stratified as `interval` is.

    The acceleration is the jackknife's over the runs of every task. Where the resamples say nothing about bias (all
    equal, or all on one side of the estimate) the percentile interval is returned.
    """
    array = as_scores(scores)
    if np.isnan(array).all():
        return float("nan"), float("nan"), float("nan")
    estimate = float(_batched(statistic, array[None])[0])
    values = _resampled([array], [statistic], reps, rng)[0]
    below = (np.count_nonzero(values < estimate) + 0.5 * np.count_nonzero(values == estimate)) / reps
    tail = (1 - confidence) / 2
    if 0 < below < 1 and np.ptp(values) > 0:
        bias = scipy.stats.norm.ppf(below)
        shifted = bias + scipy.stats.norm.ppf([tail, 1 - tail])
        levels = scipy.stats.norm.cdf(bias + shifted / (1 - _acceleration(array, statistic) * shifted))
    else:
        levels = np.array([tail, 1 - tail])
    bounds = np.asarray(np.quantile(values, levels))
    return estimate, float(bounds[0]), float(bounds[1])


def _acceleration(scores: Array, statistic: Statistic) -> float:
    """Skewness of the influence of single runs: Σ u³/n³ / (6 (Σ u²/n²)^(3/2)), u from leaving one run out."""
    cubes = squares = 0.0
    for task in range(scores.shape[1]):
        present = np.flatnonzero(~np.isnan(scores[:, task]))
        if len(present) < 2:
            continue
        batch = np.repeat(scores[None], len(present), axis=0)
        batch[np.arange(len(present)), present, task] = np.nan
        left_out = _batched(statistic, batch)
        influence = (len(present) - 1) * (left_out.mean() - left_out)
        cubes += float((influence**3).sum()) / len(present) ** 3
        squares += float((influence**2).sum()) / len(present) ** 2
    return cubes / (6 * squares**1.5) if squares > 0 else 0.0


def resample_rows(present: NDArray[np.intp], runs: int, reps: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(reps, runs, tasks): rows drawn with replacement from each task's first `present` ones.

    A task with fewer runs keeps its number of runs: its rows beyond `present` stay as they are, that is, missing.
    """
    shape = (reps, runs, len(present))
    if (present == runs).all():
        small = np.uint8 if runs <= 256 else np.int64  # small integers are drawn six times faster
        return rng.integers(0, runs, shape, dtype=small).astype(np.intp)
    drawn = rng.integers(0, np.maximum(present, 1), shape)
    position = np.arange(runs)[:, None]
    return np.where(position < present, drawn, position).astype(np.intp)


def percentiles(values: Array, confidence: float) -> Array:
    """(2, …): the central `confidence` share of `values` over their first axis."""
    tail = (1 - confidence) / 2
    return np.asarray(np.quantile(values, [tail, 1 - tail], axis=0))


def mean_band(curves: ArrayLike, reps: int, confidence: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """The mean of learning curves over seeds with its pointwise percentile bootstrap band.

    Whole curves are resampled, so the band keeps the dependence between neighbouring points.

    Args:
        curves: seeds × points; NaN where a seed has no value.

    Returns:
        Mean, lower and upper bound, each (points,); NaN where no seed has a value.
    """
    array = np.asarray(curves, float)
    seeds = len(array)
    present = ~np.isnan(array)
    filled = np.where(present, array, 0.0)
    centre = _ratio(filled.sum(axis=0), present.sum(axis=0))
    drawn = rng.integers(0, seeds, (reps, seeds))
    weights = np.zeros((reps, seeds))
    np.add.at(weights, (np.arange(reps)[:, None], drawn), 1.0)
    means = _ratio(weights @ filled, weights @ present)
    if present.all():
        low, high = percentiles(means, confidence)
    else:
        low, high = _nan_percentiles(means, confidence)
    return centre, low, high


def _nan_percentiles(values: Array, confidence: float) -> Array:
    """`percentiles` that leave out resamples without any value at a point."""
    out = np.full((2, values.shape[1]), np.nan)
    for column in np.flatnonzero(~np.isnan(values).all(axis=0)):
        out[:, column] = percentiles(values[~np.isnan(values[:, column]), column], confidence)
    return out


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
    return _over_tasks(_ratio((wins * pairs).sum(axis=(-3, -2)), pairs.sum(axis=(-3, -2))))


def improvement_interval(
    x: ArrayLike, y: ArrayLike, reps: int, confidence: float, rng: np.random.Generator
) -> Interval:
    """`probability_of_improvement` with its percentile bootstrap interval, both arms resampled within each task."""
    arrays = [as_scores(x), as_scores(y)]
    estimate = float(probability_of_improvement(*arrays))
    if np.isnan(estimate):
        return estimate, estimate, estimate
    chunk = max(1, _CHUNK // (len(arrays[0]) * arrays[1].size))
    values = np.concatenate(
        [
            probability_of_improvement(*(resample(array, min(chunk, reps - start), rng) for array in arrays))
            for start in range(0, reps, chunk)
        ]
    )
    low, high = percentiles(values, confidence)
    return estimate, float(low), float(high)


def resample(scores: Array, reps: int, rng: np.random.Generator) -> Array:
    """(reps, runs, tasks): runs drawn with replacement from each task's present ones."""
    ordered = np.take_along_axis(scores, np.argsort(np.isnan(scores), axis=0, kind="stable"), axis=0)
    rows = resample_rows(np.count_nonzero(~np.isnan(scores), axis=0), len(scores), reps, rng)
    drawn: Array = np.take(ordered, rows * scores.shape[1] + np.arange(scores.shape[1]))
    return drawn


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
    by_task = _ratio(above.sum(axis=-3), np.broadcast_to(present, (*above.shape[:-3], *above.shape[-2:])))
    return _over_tasks(np.swapaxes(by_task, -1, -2))


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down adjusted p-values (Holm 1979): max over j ≤ i of (m − j + 1)·p₍ⱼ₎, at most 1.

    A comparison that was planned but could not be made is NaN: it stays NaN and still counts in the family's size m,
    so that a failed cell never makes the other comparisons look more certain.
    """
    raw = np.asarray(p_values, float)
    order = np.argsort(raw, axis=None)  # NaN goes last
    factor = raw.size - np.arange(raw.size)
    adjusted = np.minimum(np.maximum.accumulate(factor * raw.ravel()[order]), 1.0)
    result = np.empty(raw.size)
    result[order] = adjusted
    return result.reshape(raw.shape)
