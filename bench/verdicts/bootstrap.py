"""Intervals by the percentile bootstrap, runs resampled within each task. Every function takes a random generator."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.verdicts.estimates import Array, Interval, as_scores, mean, probability_of_improvement, ratio

Statistic = Callable[[Array], ArrayLike]

REPS = 10_000  # resamples of the intervals in tables and claims; figures draw many and take fewer
CONFIDENCE = 0.95
_CHUNK = 1 << 19  # resampled scores held at once: 4 MB, which stays in the processor's cache


def generator(*names: object) -> np.random.Generator:
    """A random generator that depends on `names` only: adding an arm to a report moves no other arm's interval."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


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
        Estimate, lower and upper bound; all NaN where no run is present, the bounds where a task has a single one:
        resampling it says nothing of how far others lie.

    Raises:
        ValueError: for no resamples, a confidence outside (0, 1), or shapes that cannot be paired.
    """
    return intervals(scores, [statistic], reps, confidence, rng, paired_with)[0]


def mean_interval(scores: ArrayLike, *names: object, reps: int = REPS) -> Interval:
    """The mean of `scores` with its interval; its resamples depend on `names` only, see `generator`."""
    return interval(scores, mean, reps, CONFIDENCE, generator(*names))


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
    if (np.count_nonzero(~np.isnan(arrays[0]), axis=0) == 1).any():
        return [(float(at), float("nan"), float("nan")) for at in estimates]
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
    if any((np.count_nonzero(~np.isnan(array), axis=0) == 1).any() for array in arrays):
        return float(first - second), float("nan"), float("nan")
    first_values, second_values = (_resampled([array], [statistic], reps, rng)[0] for array in arrays)
    low, high = percentiles(first_values - second_values, confidence)
    return float(first - second), float(low), float(high)


def improvement_interval(
    x: ArrayLike, y: ArrayLike, reps: int, confidence: float, rng: np.random.Generator
) -> Interval:
    """`probability_of_improvement` with its percentile bootstrap interval, both arms resampled within each task."""
    arrays = [as_scores(x), as_scores(y)]
    estimate = float(probability_of_improvement(*arrays))
    if np.isnan(estimate):
        return estimate, estimate, estimate
    if any((np.count_nonzero(~np.isnan(array), axis=0) == 1).any() for array in arrays):
        return estimate, float("nan"), float("nan")
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
        Mean, lower and upper bound, each (points,); NaN where no seed has a value, the bounds where a single one has.
    """
    array = np.asarray(curves, float)
    seeds = len(array)
    present = ~np.isnan(array)
    filled = np.where(present, array, 0.0)
    centre = ratio(filled.sum(axis=0), present.sum(axis=0))
    drawn = rng.integers(0, seeds, (reps, seeds))
    weights = np.zeros((reps, seeds))
    np.add.at(weights, (np.arange(reps)[:, None], drawn), 1.0)
    means = ratio(weights @ filled, weights @ present)
    if present.all():
        low, high = percentiles(means, confidence)
    else:
        low, high = _nan_percentiles(means, confidence)
    alone = present.sum(axis=0) < 2
    return centre, np.where(alone, np.nan, low), np.where(alone, np.nan, high)


def _nan_percentiles(values: Array, confidence: float) -> Array:
    """`percentiles` that leave out resamples without any value at a point."""
    out = np.full((2, values.shape[1]), np.nan)
    for column in np.flatnonzero(~np.isnan(values).all(axis=0)):
        out[:, column] = percentiles(values[~np.isnan(values[:, column]), column], confidence)
    return out
