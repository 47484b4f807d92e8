"""Metrics of runs: areas and steps by hand, losses that dice do not make, and what single episodes tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.records import metrics

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
    assert metrics.cross_fitted_drawdown(first, second) == pytest.approx((by_first + by_second) / 2)


def test_the_first_of_several_best_points_counts():
    """By the first half the points 0 and 1 are equally good; had the later one counted, nothing would be lost."""
    by_first, by_second = (0 + 0.8 + 0.8) / 3, 0.0
    found = metrics.cross_fitted_drawdown([1.0, 1.0, 1.0], [0.8, 0.0, 0.0])
    assert found == pytest.approx((by_first + by_second) / 2)


@given(halves_of_a_curve)
def test_a_cross_fitted_drawdown_is_its_definition(halves):
    expected = (loss_by_definition(*halves) + loss_by_definition(*halves[::-1])) / 2
    assert metrics.cross_fitted_drawdown(*halves) == pytest.approx(expected, abs=1e-12)
    assert metrics.drawdown(halves[0]) == pytest.approx(
        np.mean([max(halves[0][: t + 1]) - halves[0][t] for t in range(halves.shape[1])]), abs=1e-12
    )


def test_many_runs_at_once_are_each_run_alone():
    first, second = np.random.default_rng(0).normal(size=(2, 3, 4, 6))
    found = metrics.cross_fitted_drawdown(first, second)
    assert found.shape == (3, 4)
    assert found[2, 1] == metrics.cross_fitted_drawdown(first[2, 1], second[2, 1])


def test_an_exact_drawdown_by_hand_is_neither_clamped_nor_divided():
    assert metrics.drawdown([0.0, 0.5, 0.25, 1.0, -2.0]) == pytest.approx((0.25 + 3.0) / 5)
    assert metrics.drawdown([0.0, 0.1, 0.2]) == 0.0
    assert metrics.drawdown([0.7]) == 0.0
    assert metrics.drawdown([-1.0, -2.0]) == 0.5  # also below what counts as nothing learned


def test_noise_alone_looks_like_a_loss_only_without_cross_fitting():
    """A run that stays where it is, seen through evaluations whose standard error is .1."""
    first, second = np.random.default_rng(1).normal(0.5, 0.1 * np.sqrt(2), (2, 2000, 30))
    assert metrics.drawdown((first + second) / 2).mean() > 0.1
    assert metrics.cross_fitted_drawdown(first, second).mean() == pytest.approx(0.0, abs=0.005)


def test_a_loss_is_measured_and_errs_downwards():
    """A run that rises to 1 and falls to .4 half-way: exactly (.6 · 15)/30 is lost on average."""
    truth = np.where(np.arange(30) < 15, np.linspace(0, 1, 30) * 29 / 14, 0.4)
    exact = float(metrics.drawdown(truth))
    assert exact == pytest.approx(0.3, abs=1e-9)
    first, second = truth + np.random.default_rng(2).normal(0, 0.1, (2, 2000, 30))
    found = metrics.cross_fitted_drawdown(first, second).mean()
    assert exact - 0.05 < found < exact


def test_a_missing_point_leaves_its_run_without_a_value_and_an_empty_curve_is_refused():
    found = metrics.cross_fitted_drawdown([[0.0, np.nan], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]])
    assert np.isnan(found[0])
    assert found[1] == 0.0
    with pytest.raises(ValueError, match="at least one point"):
        metrics.drawdown([])
    with pytest.raises(ValueError, match="one shape"):
        metrics.cross_fitted_drawdown([0.0, 1.0], [0.0])


STEPS = [0, 100, 200, 400]


def test_the_area_is_the_mean_height():
    assert float(metrics.area_under_curve(STEPS, [3.0] * 4)) == 3.0
    # trapezoids of width 100, 100 and 200
    assert float(metrics.area_under_curve(STEPS, [0.0, 1.0, 1.0, 2.0])) == (0.5 * 100 + 1 * 100 + 1.5 * 200) / 400
    with pytest.raises(ValueError, match="two points"):
        metrics.area_under_curve([0], [1.0])


def test_steps_to_threshold_is_the_first_crossing_censored_where_there_is_none_and_nan_where_missing():
    values = [[0.0, 1.0, 0.5, 2.0], [0.0, 0.1, 0.2, 0.3], [1.0, 0.0, 0.0, 0.0], [np.nan] * 4]
    np.testing.assert_array_equal(metrics.steps_to_threshold(STEPS, values, 1.0), [100, np.inf, 0, np.nan])


def test_the_metrics_of_a_curve_by_hand():
    found = metrics.of_curve(STEPS, [0.1, 0.7, 0.9, 0.5], budget=400)
    area = (0.4 * 100 + 0.8 * 100 + 0.7 * 200) / 400
    assert found == {"start": 0.1, "area": pytest.approx(area), "steps_to_threshold": 200.0, "steps": 0.5}
    never = metrics.of_curve(STEPS, [0.0, 0.1, 0.2, 0.3], budget=400)
    assert (never["steps_to_threshold"], never["steps"]) == (np.inf, 1.0)


def played(returns, modes=("stochastic", "deterministic"), **columns) -> dict[str, np.ndarray]:
    """Columns of episodes of seed 7, by step and episode: (points, episodes) returns at steps 0, 100, …"""
    points, episodes = np.shape(returns)
    step, episode = (each.ravel() for each in np.meshgrid(np.arange(points) * 100, np.arange(episodes), indexing="ij"))
    count = len(modes)
    return {
        "seed": np.full(count * len(step), 7),
        "step": np.tile(step, count),
        "episode": np.tile(episode, count),
        "mode": np.repeat(np.array(modes, object), len(step)),
        "return": np.tile(np.ravel(returns), count).astype(float),
        **{name: np.tile(np.ravel(values), count).astype(float) for name, values in columns.items()},
    }


def test_what_single_episodes_tell_by_hand():
    """Scores from 10 (random) to 20 (reference), three evaluations of four episodes: the halves are 0, 2 and 1, 3."""
    returns = [[10, 10, 10, 10], [20, 16, 18, 14], [12, 14, 12, 14]]
    true = [[10, 10, 10, 10], [10, 10, 10, 10], [11, 11, 13, 11]]
    rows = played(returns, true_return=true)
    shuffled = np.random.default_rng(0).permutation(len(rows["seed"]))  # their order does not matter
    for order in (np.arange(len(shuffled)), shuffled):
        (found,) = metrics.of_episodes({name: each[order] for name, each in rows.items()}, SCORE, 200).values()
        halves = found["halves"]
        assert halves["final"] == pytest.approx([0.2, 0.4])
        assert halves["final_deterministic"] == pytest.approx([0.2, 0.4])
        assert halves["true_final"] == pytest.approx([0.2, 0.1])
        first, second = [0.0, 0.9, 0.2], [0.0, 0.5, 0.4]  # their curves
        assert halves["area"] == pytest.approx([(0.45 + 0.55) / 2, (0.25 + 0.45) / 2])
        assert halves["steps"] == [0.5, 1.0]
        # Both choose the point in the middle, and lose .1 and .7 at the end.
        assert found["drawdown"] == pytest.approx((first[1] - first[2] + second[1] - second[2]) / 2 / 3)
        # Within a half its two episodes: 10, 20, 12 and 10, 18, 12; then 10, 16, 14 and 10, 14, 14.
        assert halves["drawdown"] == pytest.approx([(0.8 + 0.6) / 2 / 3, (0.2 + 0.0) / 2 / 3])


SCORE = {"random": 10.0, "reference": 20.0}


@pytest.mark.parametrize(
    ("returns", "known"),
    [
        ([[10.0], [20.0]], set()),  # one episode makes no halves
        ([[10.0, 10.0], [20.0, 20.0]], {"final", "final_deterministic", "area", "steps"}),  # two make no quarters
        ([[10.0, 10.0, 10.0, np.inf], [20.0] * 4], {"final", "final_deterministic", "steps"}),
        ([[10.0, 10.0, 10.0, np.nan], [20.0] * 4], {"final", "final_deterministic", "steps"}),
        ([[15.0, 15.0]], {"final", "final_deterministic"}),  # a single point is no curve
    ],
)
def test_what_cannot_be_known_from_so_few_episodes_is_left_out(returns, known):
    budget = 100 if len(returns) > 1 else 0.5
    rows = played(returns)
    if len(returns) == 1:
        rows["step"] = rows["step"] + 1
    (found,) = metrics.of_episodes(rows, SCORE, budget).values()
    assert found["halves"].keys() - {"drawdown"} == known
    assert all(np.isfinite(pair).all() for pair in found["halves"].values())
    assert found["drawdown"] is None or np.isfinite(found["drawdown"])


def test_no_episodes_are_no_seeds_and_equal_bounds_no_numbers():
    nothing = {name: np.array([]) for name in ("seed", "step", "mode", "episode", "return")}
    assert metrics.of_episodes(nothing, SCORE, 100) == {}
    (found,) = metrics.of_episodes(played([[1.0, 2.0]]), {"random": 1.0, "reference": 1.0}, 100).values()
    assert found == {"drawdown": None, "halves": {}}
    (found,) = metrics.of_episodes(played([[1.0, 2.0]], modes=("deterministic",)), SCORE, 100).values()
    assert found == metrics.empty()


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_halves_are_those_of_an_unoptimised_count(episodes, points, seed):
    returns = np.random.default_rng(seed).integers(-5, 25, (points, episodes)).astype(float)
    (found,) = metrics.of_episodes(played(returns), SCORE, 100 * (points - 1)).values()
    for half in (0, 1) if episodes > 1 and points > 1 else ():
        curve = [np.mean([value for k, value in enumerate(row) if k % 2 == half]) / 10 - 1 for row in returns]
        assert found["halves"]["final"][half] == pytest.approx(curve[-1])
        assert found["halves"]["area"][half] == pytest.approx(
            np.mean(curve) if points == 1 else np.trapezoid(curve) / (points - 1)
        )
