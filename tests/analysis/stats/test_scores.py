"""Numbers that sum up scores, against scipy, hand-made cases and invariants."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import stats

finite = st.floats(-1e3, 1e3, allow_subnormal=False)
score_arrays = arrays(float, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=finite)


@given(score_arrays)
def test_iqm_is_scipys_trimmed_mean_of_the_pooled_scores(scores):
    assert float(stats.iqm(scores)) == pytest.approx(scipy.stats.trim_mean(scores, 0.25, axis=None), abs=1e-9)


def test_iqm_trims_nothing_at_three_and_one_of_each_side_at_four():
    assert float(stats.iqm([0.0, 1.0, 5.0])) == 2.0
    assert float(stats.iqm([0.0, 1.0, 5.0, 100.0])) == 3.0


def test_iqm_of_an_80_20_mix_hides_what_the_mean_shows():
    mixture = np.array([490.0] * 16 + [150.0] * 4)
    assert float(stats.iqm(mixture)) == 490.0
    assert float(stats.mean(mixture)) == 422.0


@given(score_arrays, st.randoms(use_true_random=False))
def test_missing_runs_are_left_out_never_zero(scores, random):
    with_gaps = np.concatenate([scores, np.full_like(scores, np.nan)])
    order = list(range(len(with_gaps)))
    random.shuffle(order)
    assert float(stats.iqm(with_gaps[order])) == pytest.approx(float(stats.iqm(scores)), abs=1e-9)
    assert float(stats.mean(with_gaps[order])) == pytest.approx(float(stats.mean(scores)), abs=1e-9)


def test_every_task_counts_the_same_in_the_mean_however_many_runs_it_has():
    scores = np.array([[0.0, 1.0], [0.0, np.nan], [0.0, np.nan]])
    assert float(stats.mean(scores)) == 0.5


@pytest.mark.parametrize("statistic", [stats.iqm, stats.mean])
def test_leading_axes_are_resamples(statistic):
    batch = np.random.default_rng(0).normal(size=(6, 7, 3))
    batch[2, 4, 1] = np.nan
    np.testing.assert_allclose(statistic(batch), [float(statistic(one)) for one in batch])


@given(
    arrays(float, st.integers(1, 8), elements=st.integers(0, 4)),
    arrays(float, st.integers(1, 8), elements=st.integers(0, 4)),
)
def test_probability_of_improvement_is_mann_whitneys_u(x, y):
    expected = scipy.stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))
    assert float(stats.probability_of_improvement(x, y)) == pytest.approx(expected)
    assert float(stats.probability_of_improvement(y, x)) == pytest.approx(1 - expected)


def test_probability_of_improvement_averages_tasks_and_leaves_out_missing_runs():
    x = np.array([[2.0, 0.0], [np.nan, 0.0]])
    y = np.array([[1.0, 0.0], [1.0, np.nan]])
    assert float(stats.probability_of_improvement(x, y)) == 0.75  # 1 on the first task, a tie on the second


def test_probability_of_improvement_needs_the_same_tasks():
    with pytest.raises(ValueError, match="tasks"):
        stats.probability_of_improvement(np.zeros((2, 1)), np.zeros((2, 3)))


def test_a_performance_profile_counts_the_runs_above_each_threshold():
    scores = np.array([[0.0, 1.0], [0.5, 1.0], [1.0, np.nan]])
    profile = stats.performance_profile(scores, [-1.0, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(profile, [1.0, (2 / 3 + 1) / 2, (1 / 3 + 1) / 2, 0.0])


@given(score_arrays)
def test_the_area_under_a_profile_is_the_mean(scores):
    low, high = scores.min(), scores.max()
    taus = np.unique(scores)
    profile = stats.performance_profile(scores, taus[:-1])  # a step function that changes at the scores
    assert low + float(np.sum(profile * np.diff(taus))) == pytest.approx(float(stats.mean(scores)), abs=1e-6)
    assert high >= low


def test_median_optimality_gap_and_failure_rate_by_hand():
    scores = np.array([[0.0, 2.0, 0.5], [1.0, np.nan, 0.5]])
    assert float(stats.median(scores)) == 0.5  # of 0.5, 2 and 0.5
    assert float(stats.median(scores[:, :2])) == 1.25
    assert float(stats.optimality_gap(scores)) == pytest.approx(1 - (0.5 + 1.0 + 0.5) / 3)
    assert float(stats.failure_rate(scores, 0.6)) == pytest.approx((0.5 + 0 + 1) / 3)
    assert np.isnan(stats.median([np.nan]))
