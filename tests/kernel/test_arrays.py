"""The mathematics of arrays: against SciPy and LAPACK, and at the edges."""

import mpmath
import numpy as np
import pytest
from scipy import special

from bench.kernel import arrays

RNG = np.random.default_rng(0)


def test_softmax_and_relative_entropy_are_those_of_scipy():
    logits = RNG.normal(0, 20, (5, 7))
    logits[2, 3] = -np.inf
    assert np.allclose(arrays.softmax(logits), special.softmax(logits, axis=-1), rtol=1e-14, atol=0)
    p = np.array([0.0, 0.0, 0.5, 0.25])
    q = np.array([0.0, 0.5, 0.0, 0.5])
    assert arrays.relative_entropy(p, q).tolist() == special.rel_entr(p, q).tolist()


def test_the_normal_distribution_is_exact_in_both_tails():
    z = np.concatenate([np.linspace(-12, 12, 241), [-2.9999, -3.0, 3.0, 5.0, -37.0]])
    below, density = arrays.normal_distribution(z)
    with mpmath.workdps(40):
        exact = np.array([float(mpmath.ncdf(value)) for value in z])
    assert np.allclose(below, exact, rtol=2e-13, atol=0)
    assert np.allclose(density, np.exp(-z * z / 2) / np.sqrt(2 * np.pi), rtol=1e-14, atol=0)
    assert arrays.normal_distribution([-np.inf, 0, np.inf])[0].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("size", [1, 2, 19, 60])
def test_linear_systems(size):
    matrix = RNG.normal(size=(size, size)) + np.eye(size)
    right = RNG.normal(size=(size, 3))
    assert np.allclose(arrays.solve(matrix, right), np.linalg.solve(matrix, right), rtol=1e-9)
    assert np.allclose(arrays.solve(matrix, right[:, 0]), arrays.solve(matrix, right)[:, 0], rtol=1e-12)
    assert arrays.condition(matrix) == pytest.approx(np.linalg.cond(matrix, 1))


def test_rows_are_exchanged_where_a_pivot_is_zero():
    assert arrays.solve(np.array([[0.0, 2.0], [4.0, 0.0]]), np.array([6.0, 8.0])).tolist() == [2, 3]


def test_a_singular_matrix_has_no_condition():
    assert arrays.condition(np.ones((3, 3))) == np.inf
    assert arrays.condition(np.array([[1.0, 2.0], [2.0, 4.0]])) == np.inf


def test_products_norms_and_powers():
    assert arrays.product(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 1.0])).tolist() == [12, 34]
    assert arrays.norm(np.array([[3.0, 0.0], [0.0, 4.0]])) == 5
    assert arrays.powers(0.5, 4).tolist() == [1, 0.5, 0.25, 0.125]
    assert [arrays.powers(0.0, n).tolist() for n in (0, 1, 2)] == [[], [1], [1, 0]]


def test_products_of_matrices():
    left, right = RNG.normal(size=(3, 5)), RNG.normal(size=(5, 4))
    assert np.allclose(arrays.matrix_product(left, right), left @ right, rtol=1e-14)
    assert arrays.matrix_product(left[:0], right).shape == (0, 4)
