"""Readings of many settings against enumeration, hand-made tables and closed forms."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

from analysis.stats import settings
from bench.design import choices


@pytest.mark.parametrize("tried", range(1, 8))
def test_expected_best_is_the_mean_over_all_choices(tried: int) -> None:
    rng = np.random.default_rng(tried)
    ranking, values = rng.permutation(7).astype(float), rng.normal(size=7)
    best = [values[max(chosen, key=ranking.__getitem__)] for chosen in itertools.combinations(range(7), tried)]
    assert settings.expected_best(ranking, values, tried) == pytest.approx(np.mean(best), abs=1e-12)


def test_expected_best_of_the_first_numbers_has_a_closed_form() -> None:
    """Of 1 … n the largest of k is k (n + 1) / (k + 1) on average."""
    numbers = np.arange(1.0, 65.0)
    for tried in (1, 2, 5, 16, 64):
        expected = float(Fraction(tried * 65, tried + 1))
        assert settings.expected_best(numbers, numbers, tried) == pytest.approx(expected, abs=1e-10)


def test_ties_share_their_chance_whatever_their_order() -> None:
    """One of three equal leaders: all choices with any of them, the leader drawn at random."""
    ranking, values = np.array([5.0, 1.0, 5.0, 5.0]), np.array([3.0, 100.0, 6.0, 9.0])
    # Of the six pairs, three hold the last of the ranking and one leader, three two leaders: mean 6 in each.
    assert settings.expected_best(ranking, values, 2) == pytest.approx(6.0)
    for order in itertools.permutations(range(4)):
        assert settings.expected_best(ranking[list(order)], values[list(order)], 2) == pytest.approx(6.0)
    assert settings.expected_best(np.zeros(4), values, 3) == pytest.approx(values.mean())


def test_choosing_by_noise_brings_nothing() -> None:
    """Two seeds that have nothing to do with each other: the cross-fitted best is an average setting."""
    scores = np.random.default_rng(0).normal(size=(4_000, 2))
    naive = settings.expected_best(scores.mean(axis=1), scores.mean(axis=1), 50)
    assert naive > 1.5  # the largest of 50 draws, of standard deviation √½
    assert abs(settings.expected_best_cross_fitted(scores, 50)) < 4 * math.sqrt(50 / 4_000)
    with_itself = np.repeat(scores[:200, :1], 2, axis=1)
    assert settings.expected_best_cross_fitted(with_itself, 5) == pytest.approx(
        settings.expected_best(scores[:200, 0], scores[:200, 0], 5)
    )


def test_the_interval_of_one_tried_is_that_of_a_mean() -> None:
    scores = np.random.default_rng(3).normal(size=(100, 2))
    one, _, many = settings.expected_best_intervals(scores, [1, 25, 26], 4_000, 0.95, np.random.default_rng(0))
    means = scores.mean(axis=1)
    half = 1.96 * means.std(ddof=1) / 10
    assert one == pytest.approx((means.mean(), means.mean() - half, means.mean() + half), abs=0.02)
    assert many[0] == settings.expected_best_cross_fitted(scores, 26)
    assert np.isnan(many[1:]).all()


def test_resamples_are_valued_as_if_they_were_written_out() -> None:
    """Settings with ties, each resample once by its counts and once as the list it stands for."""
    rng = np.random.default_rng(11)
    scores = np.round(rng.random((12, 3)), 1)
    counts = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=400)
    written = [settings.expected_best_cross_fitted(scores[np.repeat(np.arange(12), own)], 3) for own in counts]
    ((_, low, high),) = settings.expected_best_intervals(scores, [3], 400, 0.9, np.random.default_rng(0))
    assert (low, high) == pytest.approx(np.quantile(written, [0.05, 0.95]))


def test_the_best_by_one_seed_scored_by_the_other() -> None:
    scores = np.array([[1.0, 0.2], [0.0, 0.8], [0.5, 0.6]])  # settings × seeds
    assert settings.best_cross_fitted(scores) == pytest.approx((0.2 + 0.0) / 2)
    tie = np.array([[1.0, 0.2], [1.0, 0.6]])
    assert settings.best_cross_fitted(tie) == pytest.approx((0.4 + 1.0) / 2)
    assert settings.best_cross_fitted(np.stack([scores, scores + 1])).tolist() == pytest.approx([0.1, 1.1])


# Two tasks, three settings, two seeds. Setting 0 is best on the first task, 1 on the second, 2 is good on both.
TASKS = np.array([[[0.9, 0.9], [0.1, 0.1], [0.8, 0.8]], [[0.0, 0.0], [1.0, 1.0], [0.7, 0.7]]])


def test_sensitivity_by_hand() -> None:
    assert settings.sensitivity(TASKS) == pytest.approx((0.9 + 1.0) / 2 - (0.8 + 0.7) / 2)
    assert settings.sensitivity(TASKS[:1]) == pytest.approx(0)  # one task: its best is all-round
    assert settings.sensitivity(np.full((3, 5, 2), 0.4)) == pytest.approx(0)


def test_half_samples_of_a_mean_have_its_standard_error() -> None:
    """Var of the mean of n/2 of n without replacement is s²/n, as that of the mean of all is."""
    values = np.random.default_rng(4).normal(size=60)
    rng = np.random.default_rng(0)
    found = settings.half_samples(lambda own: float(values[own].mean()), ["all"] * 60, 4_000, 0.95, rng)
    half = 1.96 * values.std(ddof=1) / math.sqrt(60)
    assert found == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=0.01)


def test_half_samples_keep_to_their_strata() -> None:
    """Where all variance is between strata, halves of each leave none."""
    values = np.array([1.0] * 6 + [5.0] * 4)
    found = settings.half_samples(
        lambda own: float(values[own].mean()), ["a"] * 6 + ["b"] * 4, 50, 0.95, np.random.default_rng(0)
    )
    assert found == pytest.approx((2.6, 2.6, 2.6))
    alone = settings.half_samples(lambda own: float(own.sum()), ["a", "b", "b"], 5, 0.95, np.random.default_rng(0))
    assert alone[0] == 3.0
    assert np.isnan(alone[1:]).all()


def test_a_parabola_is_found_and_foretold() -> None:
    x = np.linspace(0, 1, 12)[:, None]
    found = settings.fit(x, 2 - 3 * x[:, 0] + 4 * x[:, 0] ** 2, np.ones(12))
    assert found.coefficients == pytest.approx([2, -3, 4])
    assert found.r_squared == pytest.approx(1)
    assert found.at([[0.5], [2.0]]) == pytest.approx([1.5, 12])


@pytest.mark.parametrize("keys", [1, 2])
def test_what_a_fit_foretells_is_what_leaving_one_out_finds(keys: int) -> None:
    rng = np.random.default_rng(keys)
    x, y, weights = rng.random((15, keys)), rng.normal(size=15), rng.random(15) + 0.2
    missed, spread = 0.0, 0.0
    for out in range(15):
        kept = np.arange(15) != out
        powers = [(i, j) for i in range(keys + 1) for j in range(i, keys + 1)]  # products of 1 and the keys
        wide = np.column_stack([np.ones(15), x])
        columns = np.column_stack([wide[:, i] * wide[:, j] for i, j in powers])
        normal = (columns[kept] * weights[kept, None]).T @ columns[kept]
        beta = np.linalg.solve(normal, (columns[kept] * weights[kept, None]).T @ y[kept])
        missed += weights[out] * (y[out] - columns[out] @ beta) ** 2
        spread += weights[out] * (y[out] - np.average(y[kept], weights=weights[kept])) ** 2
    assert settings.fit(x, y, weights).r_squared == pytest.approx(1 - missed / spread)


def test_a_fit_of_noise_foretells_nothing() -> None:
    rng = np.random.default_rng(8)
    assert settings.fit(rng.random((40, 2)), rng.normal(size=40), np.ones(40)).r_squared < 0.1


@pytest.mark.parametrize("scores", [[1.0, 2.0, 3.0], [0.0] * 9])
def test_a_fit_that_could_not_miss_is_worth_nothing(scores: list[float]) -> None:
    """Three points lie on a parabola whatever they are; equal scores leave nothing to be foretold."""
    x = np.linspace(0, 1, len(scores))[:, None]
    assert math.isnan(settings.fit(x, scores, np.ones(len(scores))).r_squared)


def test_a_mean_of_equal_weights_has_students_interval() -> None:
    values = np.random.default_rng(5).normal(size=9)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    found = settings.weighted_mean(values, np.full(9, 0.3), 0.9)
    assert found == pytest.approx((values.mean(), expected.low, expected.high))
    assert settings.weighted_mean([1.0, 4.0], [3.0, 1.0], 0.9)[0] == 1.75
    assert np.isnan(settings.weighted_mean([2.0], [1.0], 0.9)[1:]).all()
    assert np.isnan(settings.weighted_mean([], [], 0.9)).all()


def test_over_one_stratum_it_is_students_interval() -> None:
    values = np.random.default_rng(1).normal(size=12)
    found = settings.over_space(values, ["a"] * 12, {"a": 5.0}, 0.95)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found == pytest.approx((values.mean(), expected.low, expected.high))


def test_strata_count_by_their_weights_and_not_by_their_settings() -> None:
    values, strata = [1.0, 1.0, 1.0, 1.0, 3.0, 3.0], ["a"] * 4 + ["b"] * 2
    assert settings.over_space(values, strata, {"a": 1, "b": 1}, 0.95) == (2.0, 2.0, 2.0)
    assert settings.over_space(values, strata, {"a": 3, "b": 1}, 0.95) == (1.5, 1.5, 1.5)
    estimate, low, high = settings.over_space([1.0, 2.0, 5.0], ["a", "a", "b"], {"a": 1, "b": 1}, 0.95)
    assert estimate == pytest.approx(3.25)
    assert math.isnan(low)
    assert math.isnan(high)


def test_welchs_interval_of_a_difference_is_that_of_two_strata() -> None:
    """With weights 1 and 1 twice the mean is the sum; with the second stratum turned it is Welch's difference."""
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=9), 3 * rng.normal(size=5)
    welch = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    found = settings.over_space([*first, *-second], ["a"] * 9 + ["b"] * 5, {"a": 1, "b": 1}, 0.9)
    assert [2 * number for number in found[1:]] == pytest.approx([welch.low, welch.high])


def test_the_expected_maximum_of_normal_variables() -> None:
    # 1/√π for two, 3/(2√π) for three (exact), and the table of normal order statistics
    known = {1: 0.0, 2: 1 / math.sqrt(math.pi), 3: 1.5 / math.sqrt(math.pi), 5: 1.16296, 10: 1.53875, 50: 2.24907}
    for k, expected in known.items():
        assert settings.expected_maximum(k) == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("k", [5, 10])
def test_the_optimism_of_the_best_of_equally_good_settings(k: int) -> None:
    """Simulated tuning, chosen by the rule that chooses: the mean optimism is c_k σ/√n."""
    rng, n, deviation, reps = np.random.default_rng(k), 5, 2.0, 2000
    measured, expected = [], []
    for _ in range(reps):
        scores = rng.normal(10.0, deviation, (k, n))
        best = scores[choices.best(dict(enumerate(scores.mean(axis=1))))]
        fresh = rng.normal(10.0, deviation, 20)
        measured.append(settings.optimism(best.tolist(), fresh.tolist(), 0.95)[0])
        expected.append(settings.expected_optimism(scores.tolist()))
    truth = {5: 1.16296, 10: 1.53875}[k] * deviation / math.sqrt(n)
    error = np.std(measured) / math.sqrt(reps)
    assert abs(np.mean(measured) - truth) < 4 * error
    assert np.mean(expected) == pytest.approx(truth, rel=0.02)  # σ is estimated, 1/(4 k (n − 1)) too small


def test_the_expected_optimism_of_a_table_made_by_hand() -> None:
    # variances 2 and 2, so σ/√n = √2/√2, times c_2
    assert settings.expected_optimism([[1, 3], [2, 4]]) == pytest.approx(1 / math.sqrt(math.pi))
    assert math.isnan(settings.expected_optimism([[1.0], [2.0]]))
    assert math.isnan(settings.expected_optimism([]))


def test_the_interval_of_optimism_is_welchs() -> None:
    difference, low, high = settings.optimism([1, 2, 3], [0, 1, 2, 3, 5], 0.95)
    error = math.sqrt(1 / 3 + 3.7 / 5)  # sample variances 1 and 3.7
    freedom = error**4 / ((1 / 3) ** 2 / 2 + (3.7 / 5) ** 2 / 4)
    half = scipy.stats.t.ppf(0.975, freedom) * error
    assert (difference, low, high) == pytest.approx((-0.2, -0.2 - half, -0.2 + half))
    assert settings.optimism([500.0] * 5, [500.0] * 20, 0.95) == (0, 0, 0)
    assert settings.optimism([3.0], [1.0, 2.0], 0.95)[0] == 1.5
    assert np.isnan(settings.optimism([3.0], [1.0, 2.0], 0.95)[1:]).all()
    assert np.isnan(settings.optimism([], [1.0, 2.0], 0.95)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: settings.expected_best([1, 2], [1, 2], 3), "tried=3: must be 1 to 2"),
        (lambda: settings.expected_best([1, 2], [1, 2], 0), "tried=0: must be 1 to 2"),
        (lambda: settings.expected_best([], [], 1), "tried=1: must be 1 to 0"),
        (lambda: settings.expected_best([1, 2], [1], 1), "both must be"),
        (lambda: settings.expected_best([1, math.nan], [1, 2], 1), "a failed run has the worst one"),
        (lambda: settings.best_cross_fitted([[1], [2]]), "there must be two"),
        (lambda: settings.sensitivity([[1, 2], [2, 3]]), r"must be \(tasks, settings, seeds\)"),
        (lambda: settings.sensitivity([[[1, math.inf]]]), "a failed run has the worst one"),
        (lambda: settings.over_space([1, 2], ["a", "b"], {"a": 1}, 0.95), "settings are of strata"),
        (lambda: settings.over_space([1, 2], ["a"], {"a": 1}, 0.95), "differences of 1 settings"),
    ],
)
def test_what_cannot_be_read_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
