"""What many settings of an arm say together: the best of k, the all-round one, the mean over a space.

The best of many noisy means looks better than it is (with 64 settings of three seeds by up to a quarter of the scale).
So a setting is chosen on one seed and scored on the others, each seed in turn: *cross-fitted*.

Scores are arrays whose last two axes are settings and seeds, every failed run with the worst score, none left out.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
import scipy.integrate
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from bench.verdicts.estimates import Array
from bench.verdicts.sequential import Interval

FOR_EACH_TRIED = 4  # settings that an interval needs: beyond k = n / 4 its resamples repeat the same few
TOO_LITTLE = 1e-9  # of a setting's residual that is its own: a fit that goes through it says nothing of others


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
    """`expected_best` ranked by one seed and valued by the mean of the others, each seed in turn.

    Args:
        scores: (settings, seeds), or (tasks, settings, seeds): the mean over tasks that are tuned apart.
        tried: k.
    """
    given = _of_tasks(scores)
    seeds = range(given.shape[-1])
    found = [expected_best(own[:, seed], _others(own, seed), tried) for own in given for seed in seeds]
    return float(np.mean(found))


def expected_best_intervals(
    scores: ArrayLike, tried: Sequence[int], reps: int, confidence: float, rng: np.random.Generator
) -> list[Interval]:
    """`expected_best_cross_fitted` for several k, with percentile bootstrap intervals over settings.

    Returns:
        For each k estimate, lower and upper bound; the bounds are NaN for more than n / `FOR_EACH_TRIED` tried.
    """
    given = _of_tasks(scores)
    _, settings, seeds = given.shape
    counts = rng.multinomial(settings, np.full(settings, 1 / settings), size=reps)
    found = np.mean(
        [
            _expected_of_counts(counts, own[:, seed], _others(own, seed), tried)
            for own in given
            for seed in range(seeds)
        ],
        axis=0,
    )
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    few = np.asarray(tried) * FOR_EACH_TRIED <= settings
    low, high = np.where(few, low, np.nan), np.where(few, high, np.nan)
    return [(expected_best_cross_fitted(given, k), float(low[i]), float(high[i])) for i, k in enumerate(tried)]


def _expected_of_counts(counts: NDArray[np.int_], ranking: Array, values: Array, tried: Sequence[int]) -> Array:
    """`expected_best` of resamples, (reps, settings) with how often each setting is in them: (reps, k)."""
    settings = len(ranking)
    order = np.argsort(ranking, kind="stable")
    starts = np.flatnonzero(np.diff(ranking[order], prepend=np.nan) != 0)  # settings of equal rank stand together
    number = np.add.reduceat(counts[:, order], starts, axis=1)
    total = np.add.reduceat(counts[:, order] * values[order], starts, axis=1)
    below = np.array([[comb(i, k) / comb(settings, k) for k in tried] for i in range(settings + 1)])
    ends = np.cumsum(number, axis=1)
    chance = below[ends] - below[ends - number]
    mean = np.divide(total, number, out=np.zeros(total.shape), where=number > 0)
    return np.asarray((chance * mean[..., None]).sum(axis=1))


def best_cross_fitted(scores: ArrayLike) -> Array:
    """The score of the best setting, chosen by one seed and scored by the others: (…, settings, seeds) → (…).

    Of equals the mean is taken.
    """
    given = _with_seeds(scores)
    found = [_of_best(given[..., seed], _others(given, seed)) for seed in range(given.shape[-1])]
    return np.asarray(np.mean(found, axis=0))


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


def half_samples(
    statistic: Callable[[NDArray[np.intp]], float],
    strata: Sequence[str],
    reps: int,
    confidence: float,
    rng: np.random.Generator,
) -> Interval:
    """A statistic of all settings with a delete-half jackknife interval: estimate ± z √mean (θ_half − θ̄_half)².

    (Shao and Wu 1989, "A General Theory for Jackknife Variance Estimation"; with half of the settings deleted the
    factor (n − d)/d is 1.) Unlike a bootstrap, it has no setting twice, which a maximum over settings would see. Halves
    are drawn in each stratum for itself.

    Args:
        statistic: of the places of settings.
        strata: the stratum of each setting.
        reps: halves.
        confidence: e.g. 0.95.
        rng: the source of the halves.

    Returns:
        Estimate, lower and upper bound; the bounds are NaN where a stratum has a single setting.
    """
    names = np.asarray(strata)
    estimate = statistic(np.arange(len(names)))
    places = [np.flatnonzero(names == name) for name in dict.fromkeys(strata)]
    if any(len(own) < 2 for own in places):
        return estimate, float("nan"), float("nan")
    halves = [np.concatenate([rng.permutation(own)[: len(own) // 2] for own in places]) for _ in range(reps)]
    half = float(scipy.stats.norm.ppf((1 + confidence) / 2)) * float(np.std([statistic(own) for own in halves]))
    return estimate, estimate - half, estimate + half


@dataclass(frozen=True)
class Fit:
    """A polynomial of second degree in one or two settings, with what it is worth for settings it has not seen.

    Attributes:
        coefficients: of `quadratic`'s columns.
        r_squared: cross-validated: 1 − Σ w (y − ŷ₋ᵢ)² / Σ w (y − ȳ₋ᵢ)², each setting left out of what foretells it.
            0 or less says that the mean foretells it better; NaN where settings are too few or all scores equal.
    """

    coefficients: Array
    r_squared: float

    def at(self, points: ArrayLike) -> Array:
        """The fit at (n, settings) points."""
        return np.asarray(quadratic(points) @ self.coefficients)


def quadratic(points: ArrayLike) -> Array:
    """The columns 1, xᵢ and xᵢxⱼ of (n, d) points."""
    x = np.asarray(points, float)
    pairs = [x[:, i] * x[:, j] for i in range(x.shape[1]) for j in range(i, x.shape[1])]
    return np.column_stack([np.ones(len(x)), x, *pairs])


def fit(points: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Fit:
    """Weighted least squares, cross-validated by leaving one setting out (its residual is eᵢ / (1 − hᵢ)).

    Args:
        points: (n, d), the settings' values, scaled alike.
        scores: (n,).
        weights: (n,), positive.
    """
    y, weight = np.asarray(scores, float), np.asarray(weights, float)
    columns = quadratic(points)
    root = np.sqrt(weight)[:, None]
    found = np.linalg.lstsq(root * columns, root[:, 0] * y, rcond=None)[0]
    orthogonal, _ = np.linalg.qr(root * columns)
    left = 1 - (orthogonal**2).sum(axis=1)
    of_mean = 1 - weight / weight.sum()
    centre = float(np.average(y, weights=weight))
    if len(y) <= columns.shape[1] or left.min() < TOO_LITTLE or np.ptp(y) == 0:
        return Fit(found, float("nan"))
    errors = ((y - columns @ found) / left) ** 2
    return Fit(found, float(1 - (weight * errors).sum() / (weight * ((y - centre) / of_mean) ** 2).sum()))


def weighted_mean(values: ArrayLike, weights: ArrayLike, confidence: float) -> Interval:
    """A weighted mean of settings with Student's interval, its variance n/(n − 1) Σ w² (x − x̄)² / (Σ w)².

    Equal weights give the usual interval of a mean; the bounds are NaN for a single setting, all three for none.
    """
    given, weight = np.asarray(values, float), np.asarray(weights, float)
    n = len(given)
    if not n:
        return float("nan"), float("nan"), float("nan")
    centre = float(np.average(given, weights=weight))
    if n == 1:
        return centre, float("nan"), float("nan")
    variance = n / (n - 1) * float((weight**2 * (given - centre) ** 2).sum()) / float(weight.sum()) ** 2
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1)) * sqrt(variance)
    return centre, centre - half, centre + half


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


@functools.cache
def expected_maximum(k: int) -> float:
    """c_k, the mean of the largest of k independent standard normal variables: ∫ x k φ(x) Φ(x)^(k−1) dx."""

    def density(x: float) -> float:
        return float(x * k * scipy.stats.norm.pdf(x) * scipy.stats.norm.cdf(x) ** (k - 1))

    return float(scipy.integrate.quad(density, -12, 12)[0])


def expected_optimism(settings: Sequence[Sequence[float]]) -> float:
    """c_k σ/√n: by how much the best of k equally good settings flatters itself, each tried on n seeds.

    σ is the standard deviation over seeds, pooled over the settings (n scores each); NaN for n < 2.
    """
    scores = np.asarray(settings, float)
    if scores.ndim != 2 or scores.shape[1] < 2:
        return float("nan")
    k, n = scores.shape
    return expected_maximum(k) * float(np.sqrt(scores.var(axis=1, ddof=1).mean() / n))


def optimism(tuning: Sequence[float], fresh: Sequence[float], confidence: float) -> Interval:
    """Mean on the tuning pool minus mean on fresh seeds, with Welch's t-interval: five seeds are too few to resample.

    NaN where one of the pools has no score, bounds where it has a single one.
    """
    first, second = np.asarray(tuning, float), np.asarray(fresh, float)
    if not first.size or not second.size:
        return float("nan"), float("nan"), float("nan")
    difference = float(first.mean() - second.mean())
    if first.size < 2 or second.size < 2:
        return difference, float("nan"), float("nan")
    parts = [float(own.var(ddof=1)) / len(own) for own in (first, second)]
    if sum(parts) == 0:
        return difference, difference, difference
    freedom = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, (len(first), len(second)), strict=True))
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) * sqrt(sum(parts))
    return difference, difference - half, difference + half


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


def _of_tasks(scores: ArrayLike) -> Array:
    given = _with_seeds(scores)
    return given[None] if given.ndim == 2 else given


def _with_seeds(scores: ArrayLike) -> Array:
    given = np.asarray(scores, float)
    if given.ndim < 2 or given.shape[-1] < 2:
        raise ValueError(f"scores of shape {given.shape}: to choose by one seed and score by others, there must be two")
    if not np.isfinite(given).all():
        raise ValueError("every setting needs a score; a failed run has the worst one")
    return given
