"""What two halves of the episodes give: shares of noise, and losses that dice do not make."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import stats

halves_of_a_curve = arrays(float, st.tuples(st.just(2), st.integers(1, 8)), elements=st.integers(-3, 3))


def loss_by_definition(chosen, measured) -> float:
    """Python's own `index` finds the first of several best points."""
    best = [chosen.tolist().index(max(chosen[: t + 1])) for t in range(len(chosen))]
    return float(np.mean([measured[best[t]] - measured[t] for t in range(len(chosen))]))


def test_a_cross_fitted_drawdown_by_hand():
    """The first half's best points are 0, 1, 1; the second half's 0, 0, 2."""
    first, second = [0.0, 1.0, 0.5], [0.2, 0.1, 0.4]
    by_first = (0 + 0 + (0.1 - 0.4)) / 3
    by_second = (0 + (0.0 - 1.0) + 0) / 3
    assert stats.cross_fitted_drawdown(first, second) == pytest.approx((by_first + by_second) / 2)


def test_the_first_of_several_best_points_counts():
    """By the first half the points 0 and 1 are equally good; had the later one counted, nothing would be lost."""
    by_first, by_second = (0 + 0.8 + 0.8) / 3, 0.0
    found = stats.cross_fitted_drawdown([1.0, 1.0, 1.0], [0.8, 0.0, 0.0])
    assert found == pytest.approx((by_first + by_second) / 2)


@given(halves_of_a_curve)
def test_a_cross_fitted_drawdown_is_its_definition(halves):
    expected = (loss_by_definition(*halves) + loss_by_definition(*halves[::-1])) / 2
    assert stats.cross_fitted_drawdown(*halves) == pytest.approx(expected, abs=1e-12)
    assert stats.drawdown(halves[0]) == pytest.approx(
        np.mean([max(halves[0][: t + 1]) - halves[0][t] for t in range(halves.shape[1])]), abs=1e-12
    )


def test_many_runs_at_once_are_each_run_alone():
    first, second = np.random.default_rng(0).normal(size=(2, 3, 4, 6))
    found = stats.cross_fitted_drawdown(first, second)
    assert found.shape == (3, 4)
    assert found[2, 1] == stats.cross_fitted_drawdown(first[2, 1], second[2, 1])


def test_an_exact_drawdown_by_hand_is_neither_clamped_nor_divided():
    assert stats.drawdown([0.0, 0.5, 0.25, 1.0, -2.0]) == pytest.approx((0.25 + 3.0) / 5)
    assert stats.drawdown([0.0, 0.1, 0.2]) == 0.0
    assert stats.drawdown([0.7]) == 0.0
    assert stats.drawdown([-1.0, -2.0]) == 0.5  # also below what counts as nothing learned


def test_noise_alone_looks_like_a_loss_only_without_cross_fitting():
    """A run that stays where it is, seen through evaluations whose standard error is .1."""
    first, second = np.random.default_rng(1).normal(0.5, 0.1 * np.sqrt(2), (2, 2000, 30))
    assert stats.drawdown((first + second) / 2).mean() > 0.1
    assert stats.cross_fitted_drawdown(first, second).mean() == pytest.approx(0.0, abs=0.005)


def test_a_loss_is_measured_and_errs_downwards():
    """A run that rises to 1 and falls to .4 half-way: exactly (.6 · 15)/30 is lost on average."""
    truth = np.where(np.arange(30) < 15, np.linspace(0, 1, 30) * 29 / 14, 0.4)
    exact = float(stats.drawdown(truth))
    assert exact == pytest.approx(0.3, abs=1e-9)
    first, second = truth + np.random.default_rng(2).normal(0, 0.1, (2, 2000, 30))
    found = stats.cross_fitted_drawdown(first, second).mean()
    assert exact - 0.05 < found < exact


def test_a_missing_point_leaves_its_run_without_a_value_and_an_empty_curve_is_refused():
    found = stats.cross_fitted_drawdown([[0.0, np.nan], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]])
    assert np.isnan(found[0])
    assert found[1] == 0.0
    with pytest.raises(ValueError, match="at least one point"):
        stats.drawdown([])
    with pytest.raises(ValueError, match="one shape"):
        stats.cross_fitted_drawdown([0.0, 1.0], [0.0])


def test_a_share_of_noise_by_hand():
    """Means 0, 1, 2 have variance 1; the halves' covariance is ((−1.5) · (−.5) + 0 + 1.5 · .5)/2 = .75."""
    assert stats.noise_share([-0.5, 1.0, 2.5], [0.5, 1.0, 1.5]) == pytest.approx(0.25)
    assert stats.noise_share([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]) == pytest.approx(0.0)
    assert stats.noise_share([1.0, -0.5], [-0.5, 1.5]) > 1  # chance


def test_a_share_of_noise_is_found_again():
    """Runs of variance 3 under halves of error variance 2, whose mean has 1: a quarter is noise."""
    rng = np.random.default_rng(3)
    runs = rng.normal(0, np.sqrt(3), 50_000)
    first, second = runs + rng.normal(0, np.sqrt(2), (2, 50_000))
    assert stats.noise_share(first, second) == pytest.approx(0.25, abs=0.01)
    assert stats.noise_share(*rng.normal(size=(2, 50_000))) == pytest.approx(1.0, abs=0.02)


def test_a_share_that_cannot_be_known_is_none():
    for first, second in (([], []), ([1.0], [2.0]), ([1.0, 1.0], [1.0, 1.0]), ([1.0, np.nan], [1.0, 2.0])):
        assert np.isnan(stats.noise_share(first, second))
    with pytest.raises(ValueError, match="one shape"):
        stats.noise_share([1.0, 2.0], [1.0])
