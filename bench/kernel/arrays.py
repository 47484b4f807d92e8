"""Mathematics of NumPy arrays in double precision with the same bits on every machine: no BLAS, no LAPACK, no libm.

What is used of NumPy itself (sums, elementwise arithmetic, square roots) was found to have the same bits whatever the
processor and the number of threads are, on x86-64 and on arm64.
"""

import ctypes
import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.kernel.engine import by_kernel
from bench.kernel.library import library

Array = npt.NDArray[Any]
SERIES, FRACTION = 60, 80  # terms of the series and of the continued fraction of the normal distribution
ARC_TERMS = 12  # of the arc tangent, below 10⁻²³ after them


def exp(x: npt.ArrayLike) -> Array:
    """Return eˣ."""
    return _mapped("exp", x)


def log(x: npt.ArrayLike) -> Array:
    """Return the natural logarithm: −inf at 0, NaN below."""
    return _mapped("log", x)


def sin(x: npt.ArrayLike) -> Array:
    """Return the sine of angles in radians; NaN beyond 2³⁰."""
    return _mapped("sin", x)


def cos(x: npt.ArrayLike) -> Array:
    """Return the cosine of angles in radians; NaN beyond 2³⁰."""
    return _mapped("cos", x)


def _mapped(name: str, x: npt.ArrayLike) -> Array:
    result = np.array(x, dtype=np.float64, order="C")
    if not by_kernel():
        return np.asarray(getattr(np, name)(result))
    if result.size:
        memory = ctypes.addressof(ctypes.c_char.from_buffer(result.data))  # a third of the time of `ctypes.data`
        getattr(library(), f"{name}_f64")(result.size, memory, memory)
    return result


def softmax(logits: Array) -> Array:
    """Return the softmax over the last axis; logits of −inf have no probability."""
    likelihood = exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Array = likelihood / likelihood.sum(axis=-1, keepdims=True)
    return probabilities


def relative_entropy(p: Array, q: Array) -> Array:
    """Return the terms p log(p/q) of KL(p ‖ q): 0 where p is 0, inf where only q is."""
    terms = np.where(p > 0, np.inf, 0.0)
    both = (p > 0) & (q > 0)
    terms[both] = p[both] * log(p[both] / q[both])
    return terms


def normal_distribution(z: npt.ArrayLike) -> tuple[Array, Array]:
    """Return the distribution function and the density of the standard normal distribution.

    Φ(z) = ½ + φ(z) (z + z³/3 + z⁵/15 + …) near 0, and Mills' ratio as a continued fraction far from it (Abramowitz and
    Stegun, 26.2.11 and 26.2.14).
    """
    z = np.asarray(z, dtype=np.float64)
    size = np.abs(z)
    density = exp(-0.5 * size * size) / np.sqrt(2 * np.pi)
    near = np.minimum(size, 5.0)
    term = total = near
    for n in range(1, SERIES):
        term = term * near * near / (2 * n + 1)
        total = total + term
    ratio = np.maximum(size, 1.0)
    far = ratio
    for n in range(FRACTION, 0, -1):
        far = ratio + n / far
    tail = np.where(size < 3, 0.5 - density * total, density / far)
    return np.where(z < 0, tail, 1 - tail), density


def arccos(x: float) -> float:
    """Return the angle, in radians, whose cosine x is; NaN beyond ±1.

    The tangent of its half is halved three times more, tan(a/2) = tan a / (1 + √(1 + tan² a)), and then put into the
    series of the arc tangent.
    """
    if not -1 <= x <= 1:
        return math.nan
    if x < 0:
        return math.pi - arccos(-x)
    tangent = math.sqrt((1 - x) / (1 + x))
    for _ in range(3):
        tangent /= 1 + math.sqrt(1 + tangent * tangent)
    odd = np.arange(ARC_TERMS) * 2 + 1
    signs = np.where(odd % 4 == 1, 1.0, -1.0)
    series = (signs * powers(tangent * tangent, ARC_TERMS) / odd)[::-1].sum()  # the smallest terms first
    return float(16 * tangent * series)


@functools.cache
def student_quantile(share: float, freedom: int) -> float:
    """Return t with P(|T| < t) = share, for Student's T with `freedom` degrees of freedom, at least one.

    By bisection of the distribution function, a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < share:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _within(middle, freedom) < share else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Return P(|T| < t) for Student's T."""
    square = 1 / (1 + t * t / freedom)  # cos²θ, where tan θ = t/√ν
    cosine, sine = math.sqrt(square), t / math.sqrt(freedom + t * t)
    odd = freedom % 2
    steps = np.arange(1, (freedom - 1 - odd) // 2 + 1) if freedom > 1 else np.zeros(0)
    # Even: 1, cos²/2, 1·3 cos⁴/(2·4), …; odd: cos θ times 1, 2 cos²/3, 2·4 cos⁴/(3·5), …
    factors = square * (2 * steps - 1 + odd) / (2 * steps + odd)
    total = 1 + float(np.multiply.accumulate(factors).sum())
    if not odd:
        return sine * total
    return (arccos(cosine) + (sine * cosine * total if freedom > 1 else 0.0)) * 2 / math.pi


def product(matrix: Array, vector: Array) -> Array:
    """Return the product of a matrix, or of a stack of them, and a vector."""
    result: Array = (matrix * vector).sum(axis=-1)
    return result


def matrix_product(left: Array, right: Array) -> Array:
    """Return the product of two matrices, (n, k) by (k, m)."""
    if not by_kernel():
        return np.asarray(np.matmul(left, right))
    rows, columns = np.ascontiguousarray(left, np.float64), np.ascontiguousarray(right.T, np.float64)
    result = np.empty((len(rows), len(columns)))
    memory = (each.ctypes.data for each in (rows, columns, result))
    library().inner_f64(len(rows), len(columns), rows.shape[1], *memory)
    return result


def weighted_sums(weights: Array, values: Array) -> Array:
    """Return Σ_j weights[i, j] values[i, j] for weights (n, k) and values (n, k, m): (n, m)."""
    return np.stack([(weight[:, None] * value).sum(axis=0) for weight, value in zip(weights, values, strict=True)])


def norm(x: Array) -> float:
    """Return the Euclidean norm of all numbers."""
    return float(np.sqrt(np.square(x).sum()))


def powers(base: npt.ArrayLike, count: int) -> Array:
    """Return base⁰, base¹, …, by repeated multiplication, (count, …)."""
    bases = np.asarray(base, dtype=np.float64)
    factors = np.repeat(bases[None], max(count, 1), axis=0)
    factors[0] = 1.0
    return np.multiply.accumulate(factors)[:count]


def solve(matrix: Array, right: Array) -> Array:
    """Return x with matrix · x = right, by Gaussian elimination with partial pivoting.

    Args:
        matrix: (n, n), not singular; n of some hundreds at most.
        right: (n,) or (n, k).
    """
    a, x = np.array(matrix, dtype=np.float64), np.array(right, dtype=np.float64)
    size = len(a)
    for column in range(size):
        pivot = column + int(np.abs(a[column:, column]).argmax())
        a[[column, pivot]], x[[column, pivot]] = a[[pivot, column]], x[[pivot, column]]
        factors = a[column + 1 :, column] / a[column, column]
        a[column + 1 :] -= factors[:, None] * a[column]
        x[column + 1 :] -= factors.reshape(-1, *[1] * (x.ndim - 1)) * x[column]
    for row in reversed(range(size)):
        known = (a[row, row + 1 :].reshape(-1, *[1] * (x.ndim - 1)) * x[row + 1 :]).sum(axis=0)
        x[row] = (x[row] - known) / a[row, row]
    return x


def condition(matrix: Array) -> float:
    """Return the condition number of a matrix in the 1-norm; inf where it is singular."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = solve(matrix, np.eye(len(matrix)))
    number = float(np.abs(matrix).sum(axis=0).max() * np.abs(inverse).sum(axis=0).max())
    return number if np.isfinite(number) else float("inf")
