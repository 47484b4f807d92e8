"""Intervals against closed forms, scipy, hand-made cases and invariants."""

import time

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import stats

finite = st.floats(-1e3, 1e3, allow_subnormal=False)
score_arrays = arrays(float, st.tuples(st.integers(2, 8), st.integers(1, 4)), elements=finite)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("statistic", [stats.iqm, stats.mean])
def test_no_run_at_all_is_nan(statistic):
    assert np.isnan(statistic([np.nan, np.nan]))
    assert np.isnan(stats.interval([np.nan], statistic, 100, 0.95, rng())).all()


def test_one_run_has_no_interval():
    """Resampling a single run says nothing of how far others lie."""
    for scores in ([3.0], [[3.0, 1.0], [np.nan, 2.0]]):
        estimate, *bounds = stats.interval(scores, stats.mean, 100, 0.95, rng())
        assert estimate == np.nanmean(np.nanmean(scores, axis=0))
        assert np.isnan(bounds).all()
    estimate, *bounds = stats.difference_interval([3.0], [1.0, 2.0], stats.mean, 100, 0.95, rng())
    assert estimate == 1.5
    assert np.isnan(bounds).all()
    estimate, *bounds = stats.improvement_interval([3.0], [1.0, 2.0], 100, 0.95, rng())
    assert estimate == 1.0
    assert np.isnan(bounds).all()


@given(score_arrays)
def test_an_interval_holds_its_estimate_and_stays_in_the_data(scores):
    estimate, low, high = stats.interval(scores, stats.mean, 500, 0.999, rng())
    assert scores.min() - 1e-9 <= low <= high <= scores.max() + 1e-9
    assert low <= estimate + 1e-9
    assert estimate <= high + 1e-9


@pytest.mark.parametrize("statistic", [stats.iqm, stats.mean])
@pytest.mark.parametrize("value", [0.1, -200.0, 500.0])
@pytest.mark.parametrize("shape", [(2, 1), (7, 1), (20, 3)])
def test_all_equal_scores_give_a_degenerate_interval(statistic, value, shape):
    estimate, low, high = stats.interval(np.full(shape, value), statistic, 200, 0.95, rng())
    assert low == estimate == high


def test_the_interval_of_a_mean_agrees_with_scipys_bootstrap():
    sample = rng(1).normal(size=30)
    _, low, high = stats.interval(sample, stats.mean, 20_000, 0.95, rng(2))
    oracle = scipy.stats.bootstrap((sample,), np.mean, n_resamples=20_000, method="percentile", rng=rng(3))
    np.testing.assert_allclose([low, high], list(oracle.confidence_interval), atol=0.01)


def test_runs_are_resampled_within_each_task_and_independently_between_tasks():
    scores = np.array([[0.0, 100.0], [1.0, 101.0]])
    seen = []

    def record(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return batch.mean(axis=(-2, -1))

    stats.interval(scores, record, 4000, 0.95, rng())
    resamples = np.concatenate(seen[1:])
    assert set(np.unique(resamples[..., 0])) == {0.0, 1.0}
    assert set(np.unique(resamples[..., 1])) == {100.0, 101.0}
    drawn = (resamples - scores[0]).reshape(-1, 4)  # (run 0 task 0, run 0 task 1, run 1 task 0, run 1 task 1)
    correlation = np.corrcoef(drawn, rowvar=False)
    assert np.abs(correlation - np.eye(4)).max() < 0.06


def test_unequal_numbers_of_runs_keep_their_numbers_in_every_resample():
    scores = np.array([[0.0, 5.0], [1.0, np.nan], [np.nan, np.nan]])
    seen = []

    def record(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return stats.mean(batch)

    stats.interval(scores, record, 100, 0.95, rng())
    assert (np.count_nonzero(~np.isnan(np.concatenate(seen)), axis=1) == [2, 1]).all()


def test_a_statistic_that_knows_no_batches_gives_the_same_interval():
    scores = rng(5).normal(size=(9, 1))
    vectorised = stats.interval(scores, stats.mean, 300, 0.9, rng())
    np.testing.assert_allclose(stats.interval(scores, np.mean, 300, 0.9, rng()), vectorised)


def test_a_paired_difference_resamples_both_arms_alike():
    scores = rng(6).normal(size=(20, 2))
    estimate, low, high = stats.interval(scores + 3.0, stats.mean, 200, 0.95, rng(), paired_with=scores)
    np.testing.assert_allclose([estimate, low, high], 3.0)


def test_a_paired_difference_of_means_is_the_mean_of_the_differences():
    first, second = rng(7).normal(size=(2, 15))
    paired = stats.interval(first, stats.mean, 500, 0.95, rng(8), paired_with=second)
    np.testing.assert_allclose(paired, stats.interval(first - second, stats.mean, 500, 0.95, rng(8)), atol=1e-12)


def test_a_seed_missing_in_one_arm_is_left_out_of_both():
    first, second = [1.0, 2.0, np.nan, 4.0], [0.0, 0.0, 0.0, np.nan]
    assert stats.interval(first, stats.mean, 100, 0.95, rng(), paired_with=second)[0] == 1.5


def test_paired_arms_must_have_one_shape():
    with pytest.raises(ValueError, match="one shape"):
        stats.interval([1.0, 2.0], stats.mean, 10, 0.95, rng(), paired_with=[1.0])


@pytest.mark.parametrize(("reps", "confidence"), [(0, 0.95), (10, 0.0), (10, 1.0)])
def test_impossible_intervals_are_refused(reps, confidence):
    with pytest.raises(ValueError, match="="):
        stats.interval([1.0, 2.0], stats.mean, reps, confidence, rng())


def test_one_generator_state_gives_one_interval_and_names_give_the_state():
    scores = rng(9).normal(size=(10, 2))
    names = ("cartpole", "ppo", "mean")
    same = [stats.interval(scores, stats.iqm, 200, 0.95, stats.generator(*names)) for _ in range(2)]
    other = stats.interval(scores, stats.iqm, 200, 0.95, stats.generator("cartpole", "ppo", "iqm"))
    assert same[0] == same[1] != other


@pytest.mark.slow
def test_fifty_thousand_resamples_of_ten_arms_take_less_than_two_seconds():
    arms = rng().random((10, 20, 5))
    start = time.perf_counter()
    for scores in arms:
        stats.interval(scores, stats.iqm, 50_000, 0.95, rng())
    assert time.perf_counter() - start < 2.0


def test_a_band_is_the_pointwise_interval_of_the_mean():
    curves = rng(10).normal(size=(20, 5))
    centre, low, high = stats.mean_band(curves, 20_000, 0.95, rng(11))
    np.testing.assert_allclose(centre, curves.mean(axis=0))
    for point in range(5):
        _, expected_low, expected_high = stats.interval(curves[:, point], stats.mean, 20_000, 0.95, rng(12))
        np.testing.assert_allclose([low[point], high[point]], [expected_low, expected_high], atol=0.02)


def test_a_band_leaves_out_missing_seeds_and_shows_points_without_any():
    curves = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan]])
    centre, low, high = stats.mean_band(curves, 500, 0.95, rng())
    np.testing.assert_array_equal(centre, [2.0, 2.0, np.nan])
    np.testing.assert_array_equal(low, [1.0, np.nan, np.nan])  # one seed has no interval
    np.testing.assert_array_equal(high, [3.0, np.nan, np.nan])
