"""Quantities with intervals: unbiased by construction (U-statistics), their errors by the jackknife.

A square such as ‖E ĝ‖² is estimated by products of *different* batches only, so that no variance leaks into a bias and
nothing needs to be subtracted afterwards. Estimates of squares may therefore come out below zero: that is what noise
around zero looks like.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.kernel import arrays
from bench.tasks.base import Array

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Quantity:
    """A measured number, its standard error, and its interval."""

    value: float
    error: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, error: float, freedom: int) -> "Quantity":
        """Give it Student's interval; without freedom there is no interval, unless the number is exact."""
        if freedom < 1 and error != 0:
            return cls(value, np.nan, np.nan, np.nan)
        half = 0.0 if error == 0 else arrays.student_quantile(CONFIDENCE, freedom) * error
        return cls(float(value), float(error), float(value - half), float(value + half))

    def through(self, function: Callable[[float], float]) -> "Quantity":
        """Apply a monotonic function to a cosine, whose estimate may lie beyond ±1, and to its interval's ends."""
        value, low, high = (float(function(np.clip(end, -1, 1))) for end in (self.value, self.low, self.high))
        slope = float(function(np.clip(self.low, -1, 1)) - function(np.clip(self.high, -1, 1)))
        error = abs(slope) / (self.high - self.low) * self.error if self.high > self.low else 0.0
        return Quantity(value, error, min(low, high), max(low, high))


def mean_quantity(values: Array, strata: Array) -> Quantity:
    """Return the mean over strata of equal weight of the means in them; `strata` (n,) names each value's."""
    names, counts = np.unique(strata, return_counts=True)
    means, variances = np.empty(len(names)), np.zeros(len(names))
    for index, (name, count) in enumerate(zip(names, counts, strict=True)):
        inside = values[strata == name]
        means[index] = inside.mean()
        variances[index] = inside.var(ddof=1) / count if count > 1 else np.nan
    error = float(np.sqrt(variances.sum())) / len(names)
    return Quantity.of(float(means.mean()), error, int(counts.sum() - len(names)))


def jackknife(without: Array) -> float:
    """Return the variance of a statistic, from its values without each of n observations (n,); 0 where n is 1."""
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
        """Multiply gradients (n, P) and truth (m, P)."""
        return cls(
            arrays.matrix_product(gradients, gradients.T),
            arrays.matrix_product(gradients, truth.T),
            arrays.matrix_product(truth, truth.T),
        )

    @property
    def directions(self) -> Array:
        """The cosines; 0 for a gradient of zero, which has no direction."""
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


def gradient_quantities(products: Products) -> dict[str, Quantity]:
    """Judge an estimator by a set of its batch gradients, relative to the true gradient where that has a length.

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
        name: Quantity.of(
            float(statistic(whole)),
            float(np.sqrt(jackknife(statistic(per_batch)) + jackknife(statistic(per_block)))),
            freedom,
        )
        for name, statistic in _QUANTITIES.items()
    }
    cosine = found["cosine_truth"]
    found["cosine_truth"] = cosine.through(lambda value: value)
    found["angle"] = cosine.through(lambda value: arrays.arccos(value) * 180 / math.pi)
    found["direction_error"] = cosine.through(
        lambda value: 1.0 if value <= 0 else np.sqrt(1 - value * value)
    )  # NaN stays
    return found


def _all_moments(products: Products) -> tuple[_Moments, _Moments, _Moments]:
    """Return the moments of everything, without each batch, and without each block of the truth."""
    n, m = products.cross.shape
    squares, squares_without = pairs(products.estimates)
    cosine, cosine_without = pairs(products.directions)
    truth, truth_without = pairs(products.truth)
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


def pairs(products: Array) -> tuple[Array, Array]:
    """Return the mean of the products (n, n) of different observations, and the same without each of them, (n,)."""
    n = len(products)
    if n == 1:
        return products[0, 0], products[0]
    diagonal = np.diag(products)
    total = products.sum() - diagonal.sum()
    without = total - 2 * (products.sum(1) - diagonal)
    return total / (n * (n - 1)), without / max((n - 1) * (n - 2), 1)


def _cosine_truth(m: _Moments) -> Array:
    lengths = np.sqrt(np.maximum(m.mean_squared, 0) * np.maximum(m.truth_squared, 0))
    return relative(m.with_truth, lengths)


def relative(numerator: Array, denominator: Array) -> Array:
    """Return the quotient; NaN where the denominator is not above zero."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    quotient: Array = np.divide(numerator, denominator, out=np.full(shape, np.nan), where=np.greater(denominator, 0))
    return quotient


_QUANTITIES: Mapping[str, Callable[[_Moments], Array]] = {
    "squared_bias": lambda m: relative(m.mean_squared - 2 * m.with_truth + m.truth_squared, m.truth_squared),
    "cosine_truth": _cosine_truth,
    "trace": lambda m: relative(m.norm_squared - m.mean_squared, m.truth_squared),
    "cosine": lambda m: m.cosine,
    "signal_to_noise": lambda m: relative(m.mean_squared, m.norm_squared - m.mean_squared),
    "trace_absolute": lambda m: m.norm_squared - m.mean_squared,
}
