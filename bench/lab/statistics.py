"""Figures with intervals: unbiased by construction (U-statistics), their errors by the jackknife.

A square such as ‖E ĝ‖² is estimated by products of *different* batches only, so that no variance leaks into a bias and
nothing needs to be subtracted afterwards. Estimates of squares may therefore come out below zero: that is what noise
around zero looks like.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.tasks.base import Array

CONFIDENCE = 0.95
FLIPS = 9_999
FLIP_LEVEL = 0.001  # low, since a table has dozens of rows


@dataclass(frozen=True)
class Figure:
    """A reported number, its standard error, and its interval."""

    value: float
    error: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, error: float, freedom: int) -> "Figure":
        """With Student's interval; without freedom there is no interval, unless the number is exact."""
        if freedom < 1 and error != 0:
            return cls(value, np.nan, np.nan, np.nan)
        half = 0.0 if error == 0 else float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * error
        return cls(float(value), float(error), float(value - half), float(value + half))

    def through(self, function: Callable[[float], float]) -> "Figure":
        """A monotonic function of a cosine, whose estimate may lie beyond ±1: the interval's ends are carried over."""
        value, low, high = (float(function(np.clip(end, -1, 1))) for end in (self.value, self.low, self.high))
        slope = float(function(np.clip(self.low, -1, 1)) - function(np.clip(self.high, -1, 1)))
        error = abs(slope) / (self.high - self.low) * self.error if self.high > self.low else 0.0
        return Figure(value, error, min(low, high), max(low, high))


def mean_figure(values: Array, strata: Array) -> Figure:
    """The mean over strata of equal weight of the means in them; `strata` (n,) names each value's."""
    names, counts = np.unique(strata, return_counts=True)
    means, variances = np.empty(len(names)), np.zeros(len(names))
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        inside = values[strata == name]
        means[place] = inside.mean()
        variances[place] = inside.var(ddof=1) / count if count > 1 else np.nan
    error = float(np.sqrt(variances.sum())) / len(names)
    return Figure.of(float(means.mean()), error, int(counts.sum() - len(names)))


def jackknife(without: Array) -> float:
    """The variance of a figure, from its values without each of n observations (n,); 0 where there is only one."""
    without = np.atleast_1d(without)
    n = len(without)
    return float((n - 1) / n * np.square(without - without.mean()).sum())


@dataclass(frozen=True)
class Products:
    """All inner products of n batch gradients and m blocks of the true gradient; m = 1 is the exact one.

    estimates (n, n) = ĝ_i · ĝ_j, cross (n, m) = ĝ_i · g_b, truth (m, m) = g_b · g_c; `directions` (n, n) are the
    cosines of the estimates.
    """

    estimates: Array
    cross: Array
    truth: Array

    @classmethod
    def of(cls, gradients: Array, truth: Array) -> "Products":
        """From gradients (n, P) and truth (m, P)."""
        return cls(gradients @ gradients.T, gradients @ truth.T, truth @ truth.T)

    @property
    def directions(self) -> Array:
        """Cosines; 0 for a gradient of zero, which has no direction."""
        norms = np.sqrt(np.diag(self.estimates))
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        cosines: Array = self.estimates * np.outer(inverse, inverse)
        return cosines


@dataclass(frozen=True)
class _Moments:
    """E ĝ·ĝ of different batches, E ‖ĝ‖², E ĝ·g, ‖g‖², and E cos: numbers, or one per observation left out."""

    mean_squared: Array
    norm_squared: Array
    with_truth: Array
    truth_squared: Array
    cosine: Array


def gradient_figures(products: Products) -> dict[str, Figure]:
    """What a set of batch gradients says about its estimator, relative to the true gradient where that has a length.

    squared_bias      ‖E ĝ − g‖² / ‖g‖²
    cosine_truth      cos(E ĝ, g); `angle` is its angle in degrees
    direction_error   min over c of ‖c E ĝ − g‖ / ‖g‖, the sine of that angle
    trace             tr Cov(ĝ) / ‖g‖²
    cosine            mean cosine of two batches' gradients (arXiv 1811.02553)
    signal_to_noise   ‖E ĝ‖² / tr Cov(ĝ)
    trace_absolute    tr Cov(ĝ)
    """
    whole, per_batch, per_block = _all_moments(products)
    freedom = len(products.estimates) - 1
    found = {
        name: Figure.of(
            float(figure(whole)),
            float(np.sqrt(jackknife(figure(per_batch)) + jackknife(figure(per_block)))),
            freedom,
        )
        for name, figure in _FIGURES.items()
    }
    cosine = found["cosine_truth"]
    found["cosine_truth"] = cosine.through(lambda value: value)
    found["angle"] = cosine.through(lambda value: np.degrees(np.arccos(value)))
    found["direction_error"] = cosine.through(
        lambda value: 1.0 if value <= 0 else np.sqrt(1 - value * value)
    )  # NaN stays
    return found


def _all_moments(products: Products) -> tuple[_Moments, _Moments, _Moments]:
    """Of everything, without each batch, and without each block of the truth."""
    n, m = products.cross.shape
    squares, squares_without = _pairs(products.estimates)
    cosine, cosine_without = _pairs(products.directions)
    truth, truth_without = _pairs(products.truth)
    diagonal = np.diag(products.estimates)
    norm = diagonal.mean()
    norm_without = (diagonal.sum() - diagonal) / (n - 1)
    cross = products.cross.mean()
    cross_without = (products.cross.sum() - products.cross.sum(1)) / ((n - 1) * m)
    whole = _Moments(squares, norm, cross, truth, cosine)
    per_batch = _Moments(squares_without, norm_without, cross_without, truth, cosine_without)
    if m == 1:  # exact
        return whole, per_batch, whole
    without_block = (products.cross.sum() - products.cross.sum(0)) / (n * (m - 1))
    return whole, per_batch, _Moments(squares, norm, without_block, truth_without, cosine)


def _pairs(products: Array) -> tuple[Array, Array]:
    """The mean of the products of different observations, and the same without each of them (n,)."""
    n = len(products)
    if n == 1:
        return products[0, 0], products[0]
    diagonal = np.diag(products)
    total = products.sum() - diagonal.sum()
    without = total - 2 * (products.sum(1) - diagonal)
    return total / (n * (n - 1)), without / max((n - 1) * (n - 2), 1)


def _cosine_truth(m: _Moments) -> Array:
    lengths = np.sqrt(np.maximum(m.mean_squared, 0) * np.maximum(m.truth_squared, 0))
    return _relative(m.with_truth, lengths)


def _relative(numerator: Array, denominator: Array) -> Array:
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    quotient: Array = np.divide(numerator, denominator, out=np.full(shape, np.nan), where=np.greater(denominator, 0))
    return quotient


_FIGURES: Mapping[str, Callable[[_Moments], Array]] = {
    "squared_bias": lambda m: _relative(m.mean_squared - 2 * m.with_truth + m.truth_squared, m.truth_squared),
    "cosine_truth": _cosine_truth,
    "trace": lambda m: _relative(m.norm_squared - m.mean_squared, m.truth_squared),
    "cosine": lambda m: m.cosine,
    "signal_to_noise": lambda m: _relative(m.mean_squared, m.norm_squared - m.mean_squared),
    "trace_absolute": lambda m: m.norm_squared - m.mean_squared,
}


def bonferroni(tests: int, level: float = 0.01) -> float:
    """The bound that the largest of `tests` |z| exceeds with a probability of at most `level`."""
    return float(stats.norm.ppf(1 - level / (2 * tests)))


def kind_figures(
    gradients: Array, scores: Array, batch: Array, kind: Array, names: Sequence[str]
) -> dict[str, dict[str, Figure]]:
    """Two measures of fairness between kinds of episodes (brothers), from the gradient of every episode (E, P).

    learning_share   ‖E[ĝ | kind]‖ as a share of the kinds' sum: how much of what is learned is about it
    variance_share   tr Cov(ĝ | kind) as a share of the kinds' sum: how much of the noise comes from it

    `batch` and `kind` (E,) say where an episode belongs. Episodes of a batch share a baseline, so lengths come from
    products of different batches, and errors from leaving out whole batches. Where a kind's mean is not told from
    zero, shares of what is learned are NaN: an estimate of a squared length below 0 counts as 0, and a share of exactly
    0 or 1 would look certain.

    `scores` (E, P) are Σ_t ∇log π of the same episodes, whose mean is 0 for every kind. Where a kind's is told from
    zero, the sample lacks the rare actions of an almost deterministic policy, on which both measures hang: all shares
    are NaN, since no spread of what is there tells of what is not.
    """
    batches = np.unique(batch)
    sums = np.stack([_sums(gradients[kind == k], batch[kind == k], batches) for k in range(len(names))])
    counts = np.stack([[((kind == k) & (batch == b)).sum() for b in batches] for k in range(len(names))])
    squares = np.square(gradients).sum(1)
    second = np.stack([[squares[(kind == k) & (batch == b)].sum() for b in batches] for k in range(len(names))])
    products = np.einsum("kbp,kcp->kbc", sums, sums)
    everything = np.ones(len(batches), dtype=bool)
    whole = _kind_shares(counts, second, products, everything)
    without = np.stack([_kind_shares(counts, second, products, batches != b) for b in batches])
    freedom = len(batches) - 1
    found = [
        [Figure.of(*of, freedom) for of in zip(row, _errors(left), strict=True)]
        for row, left in zip(whole, without.swapaxes(0, 1), strict=True)
    ]
    learning, variance = found
    unknown = [Figure.of(np.nan, np.nan, freedom)] * len(names)
    mean_scores = np.stack([_sums(scores[kind == k], batch[kind == k], batches) for k in range(len(names))])
    if any(_is_told_from_zero(of_kind @ of_kind.T) for of_kind in mean_scores):
        learning = variance = unknown
    elif not all(_is_told_from_zero(of_kind) for of_kind in products):
        learning = unknown
    return {name: {"learning_share": learning[k], "variance_share": variance[k]} for k, name in enumerate(names)}


def _is_told_from_zero(products: Array) -> bool:
    """Whether the mean of vectors with these inner products (B, B) is told from zero, by a sign-flip test.

    Their sum over different vectors is held against those with random signs, which leave vectors that are symmetric
    around zero as they are. Near zero that sum is skewed, so that its standard error would tell too often.
    """
    different = products - np.diag(np.diag(products))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, len(products)))
    flipped = ((signs @ different) * signs).sum(1)
    return bool((1 + (flipped >= different.sum()).sum()) / (1 + FLIPS) <= FLIP_LEVEL)


def _errors(without: Array) -> Array:
    """The jackknife's standard error of every column of (n, kinds)."""
    return np.sqrt([jackknife(column) for column in without.T])


def _sums(gradients: Array, batch: Array, batches: Array) -> Array:
    """The sum over each batch's episodes, (B, P)."""
    sums: Array = (batches[:, None] == batch).astype(float) @ gradients
    return sums


def _kind_shares(counts: Array, second: Array, products: Array, used: Array) -> Array:
    """Both shares of every kind from the batches `used`, (2, kinds)."""
    counts, second, products = counts[:, used], second[:, used], products[:, used][:, :, used]
    total = counts.sum(1)
    diagonal = np.trace(products, axis1=1, axis2=2)
    pairs = np.square(total) - np.square(counts).sum(1)
    lengths = _relative(products.sum((1, 2)) - diagonal, pairs)
    variances = second.sum(1) / total - lengths
    norms = np.sqrt(np.maximum(lengths, 0))
    return np.stack([_relative(norms, norms.sum()), _relative(variances, variances.sum())])
