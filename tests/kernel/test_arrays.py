"""The mathematics of arrays: against SciPy and LAPACK, and at the edges."""

import mpmath
import numpy as np
import pytest
from scipy import special, stats

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
    assert arrays.matrix_product(left[:, :0], right[:0]).tolist() == np.zeros((3, 4)).tolist()
    for inner in (1, 7, 8, 9, 64, 100):
        left, right = RNG.normal(size=(2, inner)), RNG.normal(size=(inner, 9))
        assert np.allclose(arrays.matrix_product(left, right), left @ right, rtol=1e-12)


def test_weighted_sums():
    weights, values = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5, 4))
    assert np.allclose(arrays.weighted_sums(weights, values), np.einsum("ij,ijk->ik", weights, values), rtol=1e-13)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 4.0, 100.0, 1e6, 1e9])
def test_sine_and_cosine_are_within_their_bound(name, size):
    """Also next to multiples of π/2, where one of them nearly vanishes."""
    x = np.random.default_rng(1).uniform(-size, size, 500)
    x = np.concatenate([x, np.round(x / np.pi * 2) * np.pi / 2, [0.0]])
    found = getattr(arrays, name)(x)
    with mpmath.workprec(200):
        exact = [getattr(mpmath, name)(mpmath.mpf(value)) for value in x.tolist()]
        units = [
            abs(mpmath.mpf(ours) - value) / mpmath.mpf(float(np.spacing(abs(float(value)))))
            for ours, value in zip(found.tolist(), exact, strict=True)
        ]
    assert max(units) <= 1


def test_sine_and_cosine_at_the_edges():
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 2e9]
    assert np.nan_to_num(arrays.sin(edges), nan=7).tolist() == [0, 0, 7, 7, 7, 7]
    assert np.signbit(arrays.sin(edges[:2])).tolist() == [False, True]
    assert np.nan_to_num(arrays.cos(edges), nan=7).tolist() == [1, 1, 7, 7, 7, 7]
    assert arrays.sin([]).shape == (0,)
    assert arrays.cos(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert arrays.sin(np.pi / 6).shape == ()


def test_the_arc_cosine():
    x = np.concatenate([np.linspace(-1, 1, 401), 1 - np.logspace(-16, -1, 60), np.logspace(-300, -1, 60)])
    with mpmath.workdps(40):
        exact = [float(mpmath.acos(mpmath.mpf(float(value)))) for value in x]
    assert [arrays.arccos(float(value)) for value in x] == pytest.approx(exact, rel=1e-15, abs=0)
    assert arrays.arccos(1.0) == 0.0
    assert np.isnan([arrays.arccos(value) for value in (1.0000001, -2.0, np.nan)]).all()


@pytest.mark.parametrize("share", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 10, 11, 100, 101, 999, 10_000])
def test_quantiles_of_students_distribution(freedom, share):
    assert arrays.student_quantile(share, freedom) == pytest.approx(stats.t.ppf(0.5 + share / 2, freedom), rel=1e-12)


def test_quantiles_of_students_distribution_in_closed_form():
    """One degree of freedom is Cauchy's distribution, two have P(|T| < t) = t / √(2 + t²)."""
    assert arrays.student_quantile(0.5, 1) == pytest.approx(1, rel=1e-15)
    assert arrays.student_quantile(0.8, 2) == pytest.approx(0.8 * (2 / (1 - 0.64)) ** 0.5, rel=1e-14)
