"""Permutation tests and their adjustment, against enumeration and scipy."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import stats

differences = arrays(float, st.integers(1, 9), elements=st.integers(-4, 4))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(differences)
def test_the_sign_flip_test_enumerates_every_pattern(values):
    sums = [abs(np.dot(signs, values)) for signs in itertools.product((-1, 1), repeat=len(values))]
    assert stats.sign_flip_test(values, rng()) == np.mean([s >= abs(values.sum()) - 1e-9 for s in sums])


def test_the_sign_flip_test_agrees_with_scipys_permutation_test():
    sample = rng(3).normal(0.4, 1, 12)
    oracle = scipy.stats.permutation_test(
        (sample,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    assert stats.sign_flip_test(sample, rng()) == pytest.approx(oracle.pvalue)


@pytest.mark.parametrize("pairs", [1, 5, 10, 20])
def test_the_smallest_p_is_set_by_the_number_of_pairs(pairs):
    assert stats.sign_flip_test(np.ones(pairs), rng()) == 2.0 ** (1 - pairs)


def test_beyond_enumeration_the_sampled_p_agrees_with_the_t_test():
    sample = rng(4).normal(0.25, 1, 60)
    p = stats.sign_flip_test(sample, rng(5))
    assert p == pytest.approx(scipy.stats.ttest_1samp(sample, 0).pvalue, rel=0.1)
    assert stats.sign_flip_test(np.ones(60), rng(5), reps=999) == 1 / 1000  # never zero


def test_equal_arms_have_p_1_and_no_pair_has_none():
    assert stats.sign_flip_test([0.0, 0.0, np.nan], rng()) == 1.0
    assert np.isnan(stats.sign_flip_test([np.nan], rng()))


def test_a_missing_pair_is_left_out():
    values = [0.5, 1.0, -0.2, 0.7]
    assert stats.sign_flip_test([*values, np.nan], rng()) == stats.sign_flip_test(values, rng())


def test_the_sign_flip_test_keeps_its_level_under_the_null():
    samples = rng(6).standard_t(3, (2000, 10))
    rejected = np.mean([stats.sign_flip_test(sample, rng()) <= 0.05 for sample in samples])
    assert rejected == pytest.approx(0.05, abs=0.015)


def normal(n: int, generator: np.random.Generator) -> np.ndarray:
    return generator.normal(size=(1500, n))


def mixture(n: int, generator: np.random.Generator) -> np.ndarray:
    return np.where(generator.random((1500, n)) < 0.8, 490.0, 150.0)


# The true coverage of a nominal 95 % percentile bootstrap of a mean: few seeds promise far more than they keep.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "truth", "n", "coverage"),
    [
        *[(normal, 0.0, 3, 0.76), (normal, 0.0, 5, 0.85), (normal, 0.0, 10, 0.90), (normal, 0.0, 20, 0.93)],
        *[(mixture, 422.0, 3, 0.47), (mixture, 422.0, 5, 0.66), (mixture, 422.0, 10, 0.87), (mixture, 422.0, 20, 0.90)],
    ],
)
def test_the_interval_of_a_mean_covers_as_often_as_it_should(draw, truth, n, coverage):
    generator = rng(n)
    intervals = [stats.interval(sample, stats.mean, 1000, 0.95, generator) for sample in draw(n, generator)]
    covered = np.mean([low - 1e-9 <= truth <= high + 1e-9 for _, low, high in intervals])
    assert covered == pytest.approx(coverage, abs=0.03)


def test_holm_by_hand():
    np.testing.assert_allclose(stats.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(stats.holm([0.9, 0.8]), [1.0, 1.0])


@given(arrays(float, st.integers(1, 10), elements=st.floats(0, 1)))
def test_holm_is_monotone_between_raw_and_bonferroni(p_values):
    adjusted = stats.holm(p_values)
    assert (adjusted >= p_values - 1e-15).all()
    assert (adjusted <= np.minimum(p_values * len(p_values), 1) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


def test_holm_counts_a_planned_comparison_that_could_not_be_made():
    np.testing.assert_allclose(stats.holm([0.01, np.nan, 0.02]), [0.03, np.nan, 0.04])
