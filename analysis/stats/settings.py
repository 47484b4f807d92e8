"""What many settings of an arm say together: the best of k, the all-round one, the mean over a space.

The best of many noisy means looks better than it is (with 64 settings of three seeds by up to a quarter of the scale).
So a setting is chosen on one seed and scored on the others, each seed in turn: *cross-fitted*.

Scores are arrays whose last two axes are settings and seeds, every failed run with the worst score, none left out.
"""

from collections.abc import Mapping, Sequence
from math import comb, sqrt

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from bench.verdicts.estimates import Array
from bench.verdicts.sequential import Interval

FOR_EACH_TRIED = 4  # settings that an interval needs: beyond k = n / 4 its resamples repeat the same few


def expected_best(ranking: ArrayLike, values: ArrayLike, tried: int) -> float:
    """The expected value of the setting that ranks best among `tried` of n, drawn without replacement.

        Σ_i C(i − 1, k − 1) / C(n, k) · y₍ᵢ₎,   settings in increasing order of their ranking

    (Dodge et al. 2019, arXiv 1909.03004, there with replacement.) Settings of equal rank are equally likely to be
    taken, whatever their order.

    Args:
        ranking: (n,), what is chosen by.
        values: (n,), what the chosen one brings; the same as `ranking` only where that has no noise.
        tried: k, 1 to n.

    Raises:
        ValueError: for another k, for two lengths, or numbers that are not finite.
    """
    order, brings = np.asarray(ranking, float), np.asarray(values, float)
    n = len(order)
    if order.shape != brings.shape or order.ndim != 1:
        raise ValueError(f"{order.shape} rankings of {brings.shape} values: both must be (settings,)")
    if not (np.isfinite(order).all() and np.isfinite(brings).all()):
        raise ValueError("every setting needs a score; a failed run has the worst one")
    if not 1 <= tried <= n:
        raise ValueError(f"tried={tried}: must be 1 to {n}, the number of settings")
    # P(the best of k drawn is among the first i) = C(i, k) / C(n, k); a tie shares what its places have together.
    below = np.array([comb(i, tried) / comb(n, tried) for i in range(n + 1)])
    _, place, counts = np.unique(order, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    chance = (below[ends] - below[ends - counts]) / counts
    return float((chance[place] * brings).sum())


def expected_best_cross_fitted(scores: ArrayLike, tried: int) -> float:
    """`expected_best` ranked by one seed and valued by the mean of the others, each seed in turn: (n, seeds)."""
    given = _with_seeds(scores)
    return float(
        np.mean([expected_best(given[:, seed], _others(given, seed), tried) for seed in range(given.shape[-1])])
    )


def expected_best_interval(
    scores: ArrayLike, tried: int, reps: int, confidence: float, rng: np.random.Generator
) -> Interval:
    """`expected_best_cross_fitted` with a percentile bootstrap interval over settings: (n, seeds).

    Returns:
        Estimate, lower and upper bound; the bounds are NaN for more than n / `FOR_EACH_TRIED` tried.
    """
    given = _with_seeds(scores)
    estimate = expected_best_cross_fitted(given, tried)
    if tried * FOR_EACH_TRIED > len(given):
        return estimate, float("nan"), float("nan")
    found = [expected_best_cross_fitted(given[rng.integers(len(given), size=len(given))], tried) for _ in range(reps)]
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return estimate, float(low), float(high)


def best_cross_fitted(scores: ArrayLike) -> Array:
    """The score of the best setting, chosen by one seed and scored by the others: (…, settings, seeds) → (…).

    Of equals the mean is taken.
    """
    given = _with_seeds(scores)
    found = [_of_best(given[..., seed], _others(given, seed)) for seed in range(given.shape[-1])]
    return np.asarray(np.mean(found, axis=0))


def all_round(scores: ArrayLike) -> int:
    """The setting that is best on average over tasks and seeds: (tasks, settings, seeds) → its index.

    Of equals it is the first.

    (Adkins, Bowling and White 2024, arXiv 2412.07165, call it the cross-environment setting of an arm.)
    """
    return int(np.argmax(_over_tasks(scores).mean(axis=-1)))


def sensitivity(scores: ArrayLike) -> float:
    """How much an arm loses by one setting for all tasks: mean over tasks of the per-task best less the all-round one.

    Both are chosen by one seed and scored by the others, each seed in turn. (The definition of arXiv 2412.07165, which
    normalises by percentiles of all scores; here scores come normalised by fixed bounds.)

    Args:
        scores: (tasks, settings, seeds), normalised.
    """
    given = _with_seeds(scores)
    over_tasks = _over_tasks(scores)
    return float(best_cross_fitted(given).mean() - best_cross_fitted(over_tasks))


def best_common(scores: Sequence[ArrayLike]) -> int:
    """The one setting that is best for several arms on average, over all tasks: its index, of equals the first.

    Args:
        scores: for each arm (tasks, settings, seeds), normalised, the same settings in the same places.

    Raises:
        ValueError: for arms with other numbers of settings.
    """
    means = [_over_tasks(own).mean(axis=-1) for own in scores]
    if len({len(own) for own in means}) != 1:
        raise ValueError(f"arms with {sorted({len(own) for own in means})} settings have none in common")
    return int(np.argmax(np.mean(means, axis=0)))


def chosen_without(scores: ArrayLike) -> NDArray[np.intp]:
    """For each task, the setting that is best on average over the *other* tasks: (tasks, settings, seeds) → (tasks,).

    Raises:
        ValueError: for a single task.
    """
    means = _three_axes(scores).mean(axis=-1)
    if len(means) < 2:
        raise ValueError("to leave one task out, there must be two")
    return np.array([np.argmax(np.delete(means, task, axis=0).mean(axis=0)) for task in range(len(means))])


def over_space(
    differences: ArrayLike, strata: Sequence[str], weights: Mapping[str, float], confidence: float
) -> Interval:
    """The mean difference of two arms over a space of settings, with Student's interval: the unit is a setting.

    Settings of a stratum are independent draws. The mean is Σ w_h d̄_h, its variance Σ w_h² s_h²/n_h, its degrees of
    freedom Satterthwaite's, which are n − 1 for one stratum. Seeds make no unit: they belong to a setting's difference.

    Args:
        differences: (settings,), each the mean over its seeds of the paired difference.
        strata: the stratum of each.
        weights: of the strata, scaled here to the sum 1.
        confidence: e.g. 0.95.

    Returns:
        Estimate, lower and upper bound; the bounds are NaN where a stratum has a single setting.

    Raises:
        ValueError: for a stratum without weight or without settings, and for lengths that differ.
    """
    given = np.asarray(differences, float)
    if given.shape != (len(strata),):
        raise ValueError(f"{given.shape} differences of {len(strata)} settings")
    if set(strata) != set(weights):
        raise ValueError(f"settings are of strata {sorted(set(strata))}, weights of {sorted(weights)}")
    total = sum(weights.values())
    names = np.asarray(strata)
    parts = [(weights[name] / total, given[names == name]) for name in weights]
    estimate = float(sum(weight * own.mean() for weight, own in parts))
    if any(len(own) < 2 for _, own in parts):
        return estimate, float("nan"), float("nan")
    variances = [(weight**2 * own.var(ddof=1) / len(own), len(own) - 1) for weight, own in parts]
    variance = sum(own for own, _ in variances)
    if variance == 0:
        return estimate, estimate, estimate
    freedom = variance**2 / sum(own**2 / count for own, count in variances)
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) * sqrt(variance)
    return estimate, estimate - half, estimate + half


def _of_best(ranking: Array, values: Array) -> Array:
    """The mean value of the settings that rank best: (…, settings) twice → (…)."""
    best = ranking == ranking.max(axis=-1, keepdims=True)
    return np.asarray((best * values).sum(axis=-1) / best.sum(axis=-1))


def _others(scores: Array, seed: int) -> Array:
    """The mean over all other seeds: (…, seeds) → (…)."""
    return np.asarray(np.delete(scores, seed, axis=-1).mean(axis=-1))


def _over_tasks(scores: ArrayLike) -> Array:
    return np.asarray(_three_axes(scores).mean(axis=0))


def _three_axes(scores: ArrayLike) -> Array:
    given = np.asarray(scores, float)
    if given.ndim != 3:
        raise ValueError(f"scores of shape {given.shape}: must be (tasks, settings, seeds)")
    if not np.isfinite(given).all():
        raise ValueError("every setting needs a score; a failed run has the worst one")
    return given


def _with_seeds(scores: ArrayLike) -> Array:
    given = np.asarray(scores, float)
    if given.ndim < 2 or given.shape[-1] < 2:
        raise ValueError(f"scores of shape {given.shape}: to choose by one seed and score by others, there must be two")
    if not np.isfinite(given).all():
        raise ValueError("every setting needs a score; a failed run has the worst one")
    return given
