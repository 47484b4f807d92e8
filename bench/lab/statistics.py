"""Quantities with intervals: unbiased by construction (U-statistics), their errors by the jackknife.

A square such as ‖E ĝ‖² is estimated by products of *different* batches only, so that no variance leaks into a bias and
nothing needs to be subtracted afterwards. Estimates of squares may therefore come out below zero: that is what noise
around zero looks like.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.kernel import arrays
from bench.tasks.base import Array

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Quantity:
    """A measured number, its standard error, and its interval, from that many degrees of freedom."""

    value: float
    error: float
    low: float
    high: float
    freedom: int = 0

    @classmethod
    def of(cls, value: float, error: float, freedom: int) -> "Quantity":
        """Give it Student's interval; without freedom there is no interval, unless the number is exact."""
        if freedom < 1 and error != 0:
            return cls(value, np.nan, np.nan, np.nan, freedom)
        half = 0.0 if error == 0 else arrays.student_quantile(CONFIDENCE, freedom) * error
        return cls(float(value), float(error), float(value - half), float(value + half), freedom)

    def through(self, function: Callable[[float], float]) -> "Quantity":
        """Apply a monotonic function to a cosine, whose estimate may lie beyond ±1, and to its interval's ends."""
        value, low, high = (float(function(np.clip(end, -1, 1))) for end in (self.value, self.low, self.high))
        slope = float(function(np.clip(self.low, -1, 1)) - function(np.clip(self.high, -1, 1)))
        width = self.high - self.low
        error = 0.0 if width == 0 else abs(slope) / width * self.error  # unknown where the cosine is
        return Quantity(value, error, min(low, high), max(low, high), self.freedom)


@dataclass(frozen=True)
class Estimate:
    """An estimate with what each independent observation moves it by, so that its variance is the sum of the squares.

    Estimates from the same observations can be subtracted and divided: what they have in common then drops out of the
    error. That is why estimators are compared on the same states, futures and batches.

    Attributes:
        value: the estimate.
        influences: (observations,), standardised so that their squares sum to the variance.
        freedom: degrees of freedom of that variance.
    """

    value: float
    influences: Array
    freedom: int

    @property
    def error(self) -> float:
        """The standard error."""
        return float(np.sqrt(np.square(self.influences).sum()))

    @property
    def unknown(self) -> "Estimate":
        """The same, not known."""
        return Estimate(math.nan, self.influences * math.nan, self.freedom)

    @property
    def quantity(self) -> "Quantity":
        """The number with its interval."""
        return Quantity.of(self.value, self.error, self.freedom)

    def __sub__(self, other: "Estimate") -> "Estimate":
        """Return the difference of two estimates from the same observations."""
        return Estimate(self.value - other.value, self.influences - other.influences, min(self.freedom, other.freedom))

    def over(self, other: "Estimate") -> "Estimate":
        """Return the ratio, linearised; NaN where `other` is not above zero."""
        if not other.value > 0:
            return self.unknown
        ratio = self.value / other.value
        return Estimate(ratio, (self.influences - ratio * other.influences) / other.value, self.freedom)


def mean_estimate(values: Array, strata: Array) -> Estimate:
    """Return the mean over strata of equal weight of the means in them; `strata` (n,) names each value's."""
    names, counts = np.unique(strata, return_counts=True)
    means, influences = np.empty(len(names)), np.empty(len(values))
    for index, (name, count) in enumerate(zip(names, counts, strict=True)):
        inside = strata == name
        means[index] = values[inside].mean()
        scale = math.sqrt(count * (count - 1)) if count > 1 else math.nan
        influences[inside] = (values[inside] - means[index]) / scale / len(names)
    return Estimate(float(means.mean()), influences, int(counts.sum() - len(names)))


def mean_quantity(values: Array, strata: Array) -> Quantity:
    """Return `mean_estimate` with its interval."""
    return mean_estimate(values, strata).quantity


def influences(without: Array) -> Array:
    """Return the influences (n,) of n observations on a statistic, from its values without each; 0 where n is 1."""
    without = np.atleast_1d(without)
    n = len(without)
    found: Array = math.sqrt((n - 1) / n) * (without - without.mean())
    return found


def jackknife(without: Array) -> float:
    """Return the variance of a statistic, from its values without each of n observations (n,); 0 where n is 1."""
    return float(np.square(influences(without)).sum())


@dataclass(frozen=True)
class Vectors:
    """Independent vectors (n, P): gradients of batches, or blocks of the true gradient; n = 1 is an exact one."""

    rows: Array

    @cached_property
    def total(self) -> Array:
        """Their sum, (P,)."""
        total: Array = self.rows.sum(0)
        return total

    @cached_property
    def squares(self) -> Array:
        """Their squared lengths, (n,)."""
        return np.array([np.square(row).sum() for row in self.rows])

    @cached_property
    def pairs(self) -> tuple[Array, Array]:
        """The mean product of two different ones, and the same without each, (n,); of one, its own."""
        n, along = len(self.rows), self.along(self.total)
        if n == 1:
            return self.squares[0], self.squares
        pairs = np.square(self.total).sum() - self.squares.sum()
        without = pairs - 2 * (along - self.squares)
        return np.asarray(pairs / (n * (n - 1))), without / max((n - 1) * (n - 2), 1)

    @property
    def directions(self) -> "Vectors":
        """The same of unit length; a gradient of zero has no direction and stays."""
        norms = np.sqrt(self.squares)
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        return Vectors(self.rows * inverse[:, None])

    def along(self, vector: Array) -> Array:
        """Return their products with a vector (P,), (n,)."""
        return arrays.matrix_product(self.rows, vector[:, None])[:, 0]


@dataclass(frozen=True)
class _Moments:
    """E ĝ·ĝ of different batches, E ‖ĝ‖², E ĝ·g, ‖g‖², and E cos: numbers, or one per observation left out."""

    mean_squared: Array
    norm_squared: Array
    with_truth: Array
    truth_squared: Array
    cosine: Array


def gradient_estimates(gradients: Vectors, truth: Vectors) -> dict[str, Estimate]:
    """Judge an estimator by a set of its batch gradients, relative to the true gradient where that has a length.

    squared_bias      ‖E ĝ − g‖² / ‖g‖²
    trace             tr Cov(ĝ) / ‖g‖²
    least_error       min over c of E ‖c ĝ − g‖² / ‖g‖² = 1 − (E ĝ · g)² / (E ‖ĝ‖² ‖g‖²): both together, whatever the
                      scale of the estimator, which the optimiser undoes
    cosine            mean cosine of two batches' gradients (arXiv 1811.02553)
    signal_to_noise   ‖E ĝ‖² / tr Cov(ĝ)
    trace_absolute    tr Cov(ĝ)
    cosine_truth      cos(E ĝ, g)
    """
    whole, per_batch, per_block = _all_moments(gradients, truth)
    freedom = len(gradients.rows) - 1
    return {
        name: Estimate(
            float(statistic(whole)),
            np.concatenate([influences(statistic(per_batch)), influences(statistic(per_block))]),
            freedom,
        )
        for name, statistic in _STATISTICS.items()
    }


ABSOLUTE = ("cosine", "signal_to_noise", "trace_absolute")  # of these, what does not ask for the true gradient


def angles(cosine: Quantity) -> dict[str, Quantity]:
    """Return what follows from cos(E ĝ, g): the angle in degrees, and its sine, min over c of ‖c E ĝ − g‖ / ‖g‖."""
    return {
        "cosine_truth": cosine.through(lambda value: value),
        "angle": cosine.through(lambda value: arrays.arccos(value) * 180 / math.pi),
        "direction_error": cosine.through(lambda value: 1.0 if value <= 0 else np.sqrt(1 - value * value)),
    }  # NaN stays


def _all_moments(gradients: Vectors, truth: Vectors) -> tuple[_Moments, _Moments, _Moments]:
    """Return the moments of everything, without each batch, and without each block of the truth."""
    n, m = len(gradients.rows), len(truth.rows)
    squares, squares_without = gradients.pairs
    cosine, cosine_without = gradients.directions.pairs
    true, true_without = truth.pairs
    norm = np.asarray(gradients.squares.mean())
    norm_without = (gradients.squares.sum() - gradients.squares) / (n - 1)
    crossed = (gradients.total * truth.total).sum()
    cross_without = (crossed - gradients.along(truth.total)) / ((n - 1) * m)
    cross = np.asarray(crossed / (n * m))
    whole = _Moments(squares, norm, cross, true, cosine)
    per_batch = _Moments(squares_without, norm_without, cross_without, true, cosine_without)
    if m == 1:  # exact
        return whole, per_batch, whole
    without_block = (crossed - truth.along(gradients.total)) / (n * (m - 1))
    return whole, per_batch, _Moments(squares, norm, without_block, true_without, cosine)


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


def _least_error(m: _Moments) -> Array:
    share = relative(m.with_truth * m.with_truth, m.norm_squared * np.maximum(m.truth_squared, 0))
    return np.asarray(1 - share)


_STATISTICS: Mapping[str, Callable[[_Moments], Array]] = {
    "squared_bias": lambda m: relative(m.mean_squared - 2 * m.with_truth + m.truth_squared, m.truth_squared),
    "trace": lambda m: relative(m.norm_squared - m.mean_squared, m.truth_squared),
    "least_error": _least_error,
    "cosine": lambda m: m.cosine,
    "signal_to_noise": lambda m: relative(m.mean_squared, m.norm_squared - m.mean_squared),
    "trace_absolute": lambda m: m.norm_squared - m.mean_squared,
    "cosine_truth": _cosine_truth,
}
