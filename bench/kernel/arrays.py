"""Mathematics of NumPy arrays in double precision with the same bits on every machine: no BLAS, no LAPACK, no libm.

What is used of NumPy itself (sums, elementwise arithmetic, square roots, two-operand einsum) was found to have the same
bits whatever the processor's registers and the number of threads are.
"""

from ctypes import c_int64, c_void_p
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.kernel.library import library

Array = npt.NDArray[Any]
SERIES, FRACTION = 60, 80  # terms of the series and of the continued fraction of the normal distribution


def exp(x: npt.ArrayLike) -> Array:
    """Return eˣ."""
    return _mapped("exp", x)


def log(x: npt.ArrayLike) -> Array:
    """Return the natural logarithm: −inf at 0, NaN below."""
    return _mapped("log", x)


def _mapped(name: str, x: npt.ArrayLike) -> Array:
    given = np.ascontiguousarray(x, dtype=np.float64)
    result = np.empty_like(given)
    getattr(library(), f"{name}_f64")(c_int64(given.size), c_void_p(given.ctypes.data), c_void_p(result.ctypes.data))
    return result.reshape(np.shape(x))


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


def product(matrix: Array, vector: Array) -> Array:
    """Return the product of a matrix, or of a stack of them, and a vector."""
    result: Array = (matrix * vector).sum(axis=-1)
    return result


def matrix_product(left: Array, right: Array) -> Array:
    """Return the product of two matrices, (n, k) by (k, m)."""
    result: Array = np.einsum("nk,mk->nm", left, np.ascontiguousarray(right.T))
    return result


def norm(x: Array) -> float:
    """Return the Euclidean norm of all numbers."""
    return float(np.sqrt(np.square(x).sum()))


def powers(base: float, count: int) -> Array:
    """Return base⁰, base¹, …, by repeated multiplication, (count,)."""
    return np.multiply.accumulate(np.r_[1.0, np.full(max(count - 1, 0), base)])[:count]


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
