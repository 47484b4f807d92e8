"""Looks at the data: boundaries against an integration of another kind, intervals by hand, and the edges."""

import math

import numpy as np
import pytest
import scipy.stats

from analysis import stats

LOOKS = (20, 40, 80, 160, 320, 640)
# Level of a row, most pairs, z and q at every look; computed by other code than the one under test.
TABLE = [
    (0.05, 640, [3.010, 2.970, 2.776, 2.577, 2.392, 2.233], [3.461, 3.168, 2.854, 2.609, 2.405, 2.239]),
    (0.05 / 48, 640, [4.036, 4.028, 3.883, 3.741, 3.615, 3.514], [5.170, 4.520, 4.089, 3.831, 3.655, 3.532]),
    (0.05 / 80, 640, [4.154, 4.149, 4.007, 3.869, 3.748, 3.650], [5.401, 4.687, 4.234, 3.969, 3.792, 3.671]),
    (0.05 / 100, 640, [4.205, 4.200, 4.060, 3.924, 3.804, 3.709], [5.503, 4.760, 4.296, 4.028, 3.851, 3.730]),
    (
        0.05,
        1280,
        [3.211, 3.173, 2.981, 2.778, 2.578, 2.393, 2.233],
        [3.760, 3.414, 3.077, 2.817, 2.594, 2.399, 2.236],
    ),
]


def simpson(values: np.ndarray, step: float) -> float:
    """Integral over an odd number of equally spaced points."""
    return float(step / 3 * (values[0] + values[-1] + 4 * values[1:-1:2].sum() + 2 * values[2:-1:2].sum()))


def boundaries_on_a_grid(alpha: float, looks: tuple[int, ...], points: int = 1201) -> list[float]:
    """The boundaries by Simpson's rule on a grid per look and bisection, errors from the complementary function."""
    found: list[float] = []
    grid, density, step = np.zeros(1), np.ones(1), 0.0
    before, used = 0.0, 0.0
    erfc = np.vectorize(math.erfc)
    for pairs in looks:
        time = pairs / looks[-1]
        sd = math.sqrt(time - before)
        goal = alpha * math.log(1 + (math.e - 1) * time)

        def leaves(z: float, grid=grid, density=density, step=step, sd=sd, time=time) -> float:
            tail = density * erfc((z * math.sqrt(time) - grid) / sd / math.sqrt(2))  # both sides, by symmetry
            return simpson(tail, step) if step else float(tail[0])

        low, high = 0.0, 12.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if leaves(middle) > goal - used else (low, middle)
        found.append(middle)
        edge = middle * math.sqrt(time)
        onward = np.linspace(-edge, edge, points)
        kernel = np.exp(-((onward[:, None] - grid) ** 2) / (2 * sd**2)) / math.sqrt(2 * math.pi * sd**2)
        density = np.array([simpson(row, step) for row in kernel * density]) if step else kernel[:, 0]
        grid, step = onward, onward[1] - onward[0]
        before, used = time, goal
    return found


def student_tail(q: float, freedom: int) -> float:
    """P(|T| > q) by Simpson's rule over u = 1/t, from the density alone."""
    u = np.linspace(0, 1 / q, 4001)[1:]
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    values = constant * (1 + 1 / (u**2 * freedom)) ** (-(freedom + 1) / 2) / u**2
    return 2 * simpson(np.concatenate([[0.0], values]), u[1] - u[0])


@pytest.mark.parametrize(("alpha", "most", "z", "q"), TABLE)
def test_the_boundaries_are_those_of_the_table_and_of_another_integration(alpha, most, z, q):
    looks = stats.looks_up_to(most).looks
    np.testing.assert_allclose(stats.boundaries(alpha, looks), z, atol=6e-4)
    np.testing.assert_allclose(stats.boundaries(alpha, looks), boundaries_on_a_grid(alpha, looks), atol=1e-5)
    np.testing.assert_allclose(stats.quantiles(alpha, looks), q, atol=6e-4)


@pytest.mark.parametrize(("alpha", "most"), [(0.05, 640), (0.05 / 100, 1280)])
def test_students_quantiles_have_the_level_of_the_boundaries(alpha, most):
    looks = stats.looks_up_to(most).looks
    for z, q, pairs in zip(stats.boundaries(alpha, looks), stats.quantiles(alpha, looks), looks, strict=True):
        assert student_tail(q, pairs - 1) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-6)


@pytest.mark.parametrize("looks", [(20, 40), (20, 40, 80), (80, 160, 320, 640), (10, 11, 30)])
def test_a_multivariate_normal_stays_inside_with_what_is_left_of_alpha(looks):
    """The z of the looks are jointly normal with correlation √(n_j/n_k)."""
    alpha = 0.05
    z = np.array(stats.boundaries(alpha, looks))
    pairs = np.array(looks, float)
    correlation = np.sqrt(np.minimum.outer(pairs, pairs) / np.maximum.outer(pairs, pairs))
    for k in range(1, len(looks) + 1):
        inside = scipy.stats.multivariate_normal.cdf(
            z[:k], np.zeros(k), correlation[:k, :k], lower_limit=-z[:k], abseps=1e-8, releps=1e-8, maxpts=200_000
        )
        assert 1 - inside == pytest.approx(alpha * math.log(1 + (math.e - 1) * looks[k - 1] / looks[-1]), abs=5e-5)


def test_alpha_is_spent_from_none_to_all():
    assert stats.spent(0.05, 0.0) == 0.0
    assert stats.spent(0.05, 1.0) == pytest.approx(0.05)
    assert stats.spent(0.05, 0.5) == pytest.approx(0.05 * 0.62011, abs=1e-6)  # ln((e + 1)/2)


def test_with_one_look_the_design_is_the_fixed_one():
    values = np.random.default_rng(1).normal(0.1, 0.3, 20)
    design = stats.one_look(20)
    assert stats.boundaries(0.05, design.looks)[0] == pytest.approx(1.959964, abs=1e-6)
    assert stats.quantiles(0.05, design.looks)[0] == pytest.approx(2.093024, abs=1e-6)
    expected = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert stats.repeated_interval(values, design, 0.05, 1.0)[1:] == pytest.approx(tuple(expected), abs=1e-9)
    assert stats.looks_up_to(20).looks == (20,)


def test_a_late_first_look_spends_there_all_that_is_due_up_to_it():
    late = stats.looks_up_to(640, first=80)
    assert late.looks == (80, 160, 320, 640)
    z = stats.boundaries(0.05, late.looks)
    assert math.erfc(z[0] / math.sqrt(2)) == pytest.approx(stats.spent(0.05, 80 / 640), rel=1e-8)
    assert z[0] < stats.boundaries(0.05, LOOKS)[2]  # nothing was spent before


@pytest.mark.parametrize("looks", [LOOKS, (80, 160, 320, 640), (20,), (7, 8, 100)])
def test_boundaries_fall_as_the_level_rises(looks):
    levels = np.geomspace(1e-14, 0.5, 60)
    found = np.array([stats.boundaries(float(level), looks) for level in levels])
    assert (np.diff(found, axis=0) < 0).all()
    assert (np.diff([stats.quantiles(float(level), looks) for level in levels], axis=0) < 0).all()


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, math.nan])
def test_a_level_lies_between_0_and_1(level):
    with pytest.raises(ValueError, match="alpha"):
        stats.boundaries(level, LOOKS)


@pytest.mark.parametrize("looks", [(), (0, 20), (20, 20), (40, 20)])
def test_looks_are_positive_and_increase(looks):
    with pytest.raises(ValueError, match="looks"):
        stats.Design(looks)


@pytest.mark.parametrize(("most", "first"), [(641, 20), (10, 20), (640, 30), (20, 40), (0, 20)])
def test_looks_double_from_20(most, first):
    with pytest.raises(ValueError, match="max_pairs"):
        stats.looks_up_to(most, first)


def test_a_family_is_shared_by_weights():
    assert stats.shares([1, 1, 1, 1]) == [0.25] * 4
    weights = [0.04 / 16] * 16 + [0.01 / 64] * 64
    found = stats.shares(weights)
    assert sum(found) == pytest.approx(1.0)
    assert 0.05 * found[0] == pytest.approx(0.0025)
    assert 0.05 * found[-1] == pytest.approx(0.01 / 64)
    assert stats.shares([]) == []
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="weights"):
            stats.shares([1.0, wrong])


@pytest.mark.parametrize(
    ("pairs", "half"), [(20, 0.37), (40, 0.16), (80, 0.074), (160, 0.035), (320, 0.017), (640, 0.008)]
)
def test_the_guard_leaves_a_least_half_width(pairs, half):
    quantile = stats.quantiles(0.05 / 80, LOOKS)[LOOKS.index(pairs)]
    assert stats.half_width(0.0, pairs, quantile, 1.0) == pytest.approx(half, rel=0.04)


def test_the_guard_is_two_more_pairs_a_range_away():
    values = np.array([0.1, 0.4, -0.2, 0.3, 0.0])
    more = np.concatenate([values, values.mean() + np.array([2.0, -2.0])])
    sd = math.sqrt(((more - values.mean()) ** 2).sum() / 6)  # n + 2 pairs, n + 1 degrees of freedom
    assert stats.half_width(values.std(ddof=1), 5, 3.0, 2.0) == pytest.approx(3 * sd / math.sqrt(5))
    assert stats.half_width(values.std(ddof=1), 5, 3.0) == pytest.approx(3 * values.std(ddof=1) / math.sqrt(5))


def test_an_interval_at_a_look_by_hand():
    values = np.tile([0.1, 0.3], 20)  # mean 0.2, squares sum up to 40 · 0.01
    sd = math.sqrt((0.4 + 2) / 41)
    half = 3.168 * sd / math.sqrt(40)
    found = stats.repeated_interval(values, stats.looks_up_to(), 0.05, 1.0)
    assert found == pytest.approx((0.2, 0.2 - half, 0.2 + half), abs=1e-4)


def test_pairs_that_are_all_equal_are_no_certainty_unless_the_design_is_fixed():
    guarded = stats.repeated_interval(np.full(20, 0.5), stats.looks_up_to(), 0.05, 1.0)
    assert guarded[1] < 0.5 < guarded[2]
    assert stats.repeated_interval(np.full(20, 0.5), stats.one_look(20), 0.05, 1.0) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("design", [stats.looks_up_to(), stats.one_look(1)])
def test_fewer_than_two_pairs_say_nothing(design):
    assert stats.repeated_interval([0.3], design, 0.05, 1.0) == (0.3, -math.inf, math.inf)
    estimate, low, high = stats.repeated_interval([], design, 0.05, 1.0)
    assert (math.isnan(estimate), low, high) == (True, -math.inf, math.inf)
    assert stats.quantiles(0.05, (1, 2))[0] == math.inf


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_no_pair_is_dropped(wrong):
    with pytest.raises(ValueError, match="finite"):
        stats.repeated_interval([*[0.0] * 19, wrong], stats.looks_up_to(), 0.05, 1.0)
    with pytest.raises(ValueError, match="value_range"):
        stats.repeated_interval([0.0] * 20, stats.looks_up_to(), 0.05, abs(wrong))


@pytest.mark.parametrize("value_range", [0.0, -1.0])
def test_a_range_is_positive(value_range):
    with pytest.raises(ValueError, match="value_range"):
        stats.repeated_interval([0.0] * 20, stats.looks_up_to(), 0.05, value_range)


def test_there_are_no_verdicts_between_looks():
    with pytest.raises(ValueError, match="21 pairs"):
        stats.repeated_interval([0.0] * 21, stats.looks_up_to(), 0.05, 1.0)


def test_the_least_level_of_a_fixed_design_is_the_t_tests_p():
    values = np.random.default_rng(2).normal(0.2, 0.2, 20)
    design = stats.one_look(20)
    found = stats.least_level(lambda level: stats.repeated_interval(values, design, level, 1.0)[1] > 0, 0.05)
    assert found == pytest.approx(scipy.stats.ttest_1samp(values, 0.0).pvalue, rel=2e-3)


def test_the_least_level_has_a_floor_and_must_hold_at_first():
    assert stats.least_level(lambda _: True, 0.05) == 1e-12
    assert stats.least_level(lambda level: level >= 0.05, 0.05) == 0.05
    with pytest.raises(ValueError, match="does not hold"):
        stats.least_level(lambda _: False, 0.05)


def test_pairs_needed_by_hand():
    assert stats.pairs_needed(0.15, 0.2, (0.05, -0.05), 3.65) == 81  # ((3.65 + .84) · .2/.1)² = 80.6
    assert stats.pairs_needed(0.15, 0.2, (-0.05,), 3.65) == 21  # a quarter
    assert stats.pairs_needed(0.15, 0.0, (0.05,), 3.65) == 2
    assert stats.pairs_needed(0.05, 0.2, (0.05, -0.05), 3.65) is None
    assert stats.pairs_needed(math.nan, 0.2, (0.05,), 3.65) is None
    assert stats.pairs_needed(0.1, math.nan, (0.05,), 3.65) is None
    for spread, span in ((0.2, 1.0), (0.0, 1.0), (0.01, 2.0)):  # with the guard, by trying each number
        enough = next(
            n
            for n in range(2, 10_000)
            if 3.65 * math.sqrt(((n - 1) * spread**2 + 2 * span**2) / (n + 1) / n) + 0.84 * spread / math.sqrt(n) <= 0.1
        )
        assert stats.pairs_needed(0.15, spread, (0.05, -0.05), 3.65, span) == enough


def test_the_plan_of_pairs_has_the_power_it_promises():
    """A one-sided boundary at distance d is cleared at the planned n with probability 0.8."""
    pairs = stats.pairs_needed(0.1, 0.5, (0.0,), 1.96)
    assert pairs == 196
    means = np.random.default_rng(3).normal(0.1, 0.5 / math.sqrt(pairs), 100_000)
    assert np.mean(means - 1.96 * 0.5 / math.sqrt(pairs) > 0) == pytest.approx(0.8, abs=0.005)


def test_what_could_have_gone_unseen():
    assert stats.unseen_rate(20) == pytest.approx(0.168, abs=5e-4)
    assert stats.unseen_rate(160) == pytest.approx(0.0228, abs=5e-5)
    assert (1 - stats.unseen_rate(20)) ** 20 == pytest.approx(0.025)
    assert (stats.unseen_rate(1), stats.unseen_rate(0)) == (0.975, 1.0)
    assert stats.unseen(20) == "a collapse in fewer than 1 of 6 runs could have gone unseen"
    assert stats.unseen(160) == "a collapse in fewer than 1 of 44 runs could have gone unseen"
