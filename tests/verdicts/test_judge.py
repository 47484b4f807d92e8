"""The judge, on runs made by hand: metrics, failed runs, noise, and what says nothing."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats

from bench.verdicts import judge as judges
from bench.verdicts.judge import Judgement, NotJudged, Question, judge
from bench.verdicts.metrics import METRICS, Measured, Runs
from bench.verdicts.sequential import looks_up_to, one_look
from bench.verdicts.words import Word

S = 0.05
ZS = np.random.default_rng(0).normal(size=20)
ZS = (ZS - ZS.mean()) / ZS.std(ddof=1)  # 20 pairs of mean 0 and standard deviation 1


def runs(
    values: Sequence[float | None] | np.ndarray,
    metric: str = "final",
    halves: Sequence[Sequence[float]] | None = None,
    *,
    exact: bool = False,
    start: float = 0.0,
    **others: Sequence[float],
) -> Runs:
    """Runs with these values of a metric, None for one that failed; they learned, if not told otherwise."""
    measured: list[Measured | None] = []
    for place, value in enumerate(values):
        if value is None:
            measured.append(None)
            continue
        known = {"start": start, "final": 0.9, metric: float(value)}
        known |= {name: each[place] for name, each in others.items()}
        name = "final" if metric in ("spread", "improvement") else metric
        apart = {} if halves is None else {name: [half[place] for half in halves]}
        measured.append(Measured(known, apart))
    return Runs(tuple(range(len(measured))), tuple(measured), exact)


def question(metric: str = "final", direction: str = "higher", **others: object) -> Question:
    return Question(metric, direction, **{"margin": S, "share": 1.0, **others})  # type: ignore[arg-type]


def fixed(asked: Question, *arms: Runs) -> Judgement:
    return judge(asked, arms, one_look(len(arms[0].seeds)))


def test_one_look_is_students_interval_at_the_rows_share_of_the_level():
    first, second = 0.5 + 0.2 * ZS, 0.4 + 0.1 * np.roll(ZS, 3)
    for share in (1.0, 1 / 7):
        found = fixed(question(share=share), runs(first), runs(second))
        paired = scipy.stats.ttest_rel(first, second).confidence_interval(1 - 0.05 * share)
        assert (found.row.low, found.row.high) == pytest.approx((paired.low, paired.high))
        assert found.row.effect == pytest.approx(0.1)
        assert found.sd == pytest.approx(np.std(first - second, ddof=1))
    assert (found.failed, found.noise) == (0, None)


def test_p_is_the_level_at_which_the_interval_touches_the_margin():
    found = fixed(question(share=1 / 4), runs(0.5 + 0.1 * ZS), runs(np.zeros(20)))
    assert found.row.verdict.word is Word.SUPPORTED
    touching = 2 * scipy.stats.t.sf((0.5 - S) / (0.1 / math.sqrt(20)), 19)
    assert touching * 4 < 1e-12  # no smaller level is tried
    assert found.row.p == pytest.approx(1e-12)
    weaker = fixed(question(share=1 / 4), runs(0.15 + 0.1 * ZS), runs(np.zeros(20)))
    touching = 2 * scipy.stats.t.sf((0.15 - S) / (0.1 / math.sqrt(20)), 19)
    assert weaker.row.p == pytest.approx(4 * touching, rel=2e-3)


def test_runs_that_failed_count_with_the_worst_value_and_are_counted():
    first, second = [0.9, 0.8, None, 0.9], [0.5, 0.5, 0.5, None]
    found = fixed(question(), runs(first), runs(second))
    assert found.row.effect == pytest.approx(np.mean([0.4, 0.3, -0.5, 0.9]))
    assert (found.failed, found.row.pairs) == (2, 4)
    for metric, worst in (("drawdown", 1.0), ("steps", 1.0), ("area", 0.0), ("true_final", 0.0), ("overstated", 1.0)):
        own = fixed(question(metric), runs([0.2, None, 0.4], metric), runs([0.1, 0.1, 0.2], metric))
        assert own.row.effect == pytest.approx(np.mean([0.1, worst - 0.1, 0.2])), metric


def test_a_metric_without_a_worst_value_needs_a_range_once_a_run_fails():
    first, second = runs([0.1, 0.3, None], "largest_kl"), runs([0.01, 0.02, 0.03], "largest_kl")
    with pytest.raises(NotJudged, match="1 failed runs, which have no worst value of largest_kl without a range"):
        fixed(question("largest_kl"), first, second)
    found = fixed(question("largest_kl", limits=(0.02, 0.2)), first, second)
    assert found.row.effect == pytest.approx(np.mean([0.1 - 0.02, 0.2 - 0.02, 0.2 - 0.03]))
    ratio = fixed(question("largest_kl", limits=(0.02, 0.2), logarithm=True), first, second)
    assert ratio.row.effect == pytest.approx(np.mean(np.log([0.1 / 0.02, 0.2 / 0.02, 0.2 / 0.03])))
    with pytest.raises(NotJudged, match="has no logarithm"):
        fixed(question("largest_kl", logarithm=True), runs([0.0, 0.1], "largest_kl"), runs([0.1, 0.1], "largest_kl"))


def test_the_span_is_the_range_of_what_is_judged():
    assert question().span == question("improvement").span == 1.0
    assert question("spread").span == 2.0
    assert question("largest_kl").span is None
    assert question("final", logarithm=True).span is None
    assert question("final", limits=(-0.5, 1.5)).span == 2.0
    assert question("spread", limits=(0.0, 1.5)).span == 3.0
    assert question("largest_kl", limits=(0.01, 1.0), logarithm=True).span == pytest.approx(math.log(100))


def test_a_larger_range_makes_the_intervals_of_looks_wider():
    first, second = runs(0.5 + 0.2 * ZS), runs(np.full(20, 0.4))
    narrow, wide = (
        judge(question(limits=limits), [first, second], looks_up_to(40)).row for limits in (None, (-1.0, 2.0))
    )
    quantile = scipy.stats.t.isf(scipy.stats.norm.sf(2.4390), 19)  # not what is tested: the ratio is
    assert quantile > 2
    sds = [math.sqrt((19 * 0.04 + 2 * span**2) / 21) for span in (1.0, 3.0)]
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(sds[1] / sds[0])


def test_spread_is_ginis_difference_by_pseudo_values():
    first, second = [0.0, 0.4, 1.0], [0.2, 0.2, 0.5]
    exact = [runs(each, exact=True) for each in (first, second)]
    found = fixed(question("spread"), *exact)
    gini = (0.4 + 1.0 + 0.6) / 3 - (0.0 + 0.3 + 0.3) / 3
    assert found.row.effect == pytest.approx(gini)
    removed = [(1.0 - 0.4) - 0.3, 1.0 - 0.3, 0.4 - 0.0]  # |x − y| of the two runs that are left, arm by arm
    pseudo = [3 * gini - 2 * each for each in removed]
    half = scipy.stats.t.isf(0.025, 2) * np.std(pseudo, ddof=1) / math.sqrt(3)
    assert (found.row.low, found.row.high) == pytest.approx((gini - half, gini + half))
    with pytest.raises(NotJudged, match="2 pairs of runs"):
        fixed(question("spread"), *(runs(each[:2], exact=True) for each in (first, second)))


def test_spread_that_would_measure_dice_says_so_and_unknown_noise_is_not_judged():
    level = 0.3 + 0.1 * ZS
    quiet = runs(level, "final", [level + 0.01 * np.roll(ZS, 5), level - 0.01 * np.roll(ZS, 5)])
    dice = runs(level, "final", [level + 0.2 * np.roll(ZS, 5), level - 0.2 * np.roll(ZS, 5)])
    assert fixed(question("spread"), quiet, quiet).row.verdict.word is not Word.UNINFORMATIVE
    found = fixed(question("spread"), quiet, dice)  # the noisier arm counts
    covariance = np.cov(level + 0.2 * np.roll(ZS, 5), level - 0.2 * np.roll(ZS, 5))[0, 1]
    assert found.noise == pytest.approx(1 - covariance / 0.01)
    assert found.row.verdict.word is Word.UNINFORMATIVE
    assert "it would measure dice" in found.row.verdict.text
    with pytest.raises(NotJudged, match="spread needs exact returns or single episodes"):
        fixed(question("spread"), quiet, runs(level))


def test_improvement_counts_pairs_that_are_won():
    found = fixed(question("improvement", margin=0.1), runs([0.5, 0.3, 0.1, 0.9]), runs([0.4, 0.3, 0.2, 0.1]))
    assert found.row.effect == (0.5 + 0.0 - 0.5 + 0.5) / 4
    constant = fixed(question("improvement", margin=0.1, constant=0.3), runs([0.5, 0.3, 0.1, 0.9]))
    assert constant.row.effect == (0.5 + 0.0 - 0.5 + 0.5) / 4


def test_an_arm_may_be_held_against_a_constant():
    found = fixed(question(constant=0.2), runs(0.5 + 0.01 * ZS))
    assert (found.row.effect, found.row.verdict.word) == (pytest.approx(0.3), Word.SUPPORTED)
    spread = fixed(question("spread", constant=0.1), runs([0.0, 0.4, 1.0], exact=True))
    assert spread.row.effect == pytest.approx(2 / 3 - 0.1)


def test_the_share_of_noise_is_that_of_the_differences():
    """Differences 0, 1, 2, 3 by one half and 1, 0, 3, 2 by the other: 1 − 1/(4/3)."""
    halves = [[0.0, 1.0, 2.0, 3.0], [1.0, 0.0, 3.0, 2.0]]
    first, second = runs([0.5] * 4, "area", halves), runs([0.5] * 4, "area", [[0.0] * 4] * 2)
    assert fixed(question("area"), first, second).noise == pytest.approx(0.25)
    assert fixed(question("area"), first, runs([0.5] * 4, "area")).noise is None
    assert (
        fixed(question("area"), runs([0.5] * 4, "area", exact=True), runs([0.2] * 4, "area", exact=True)).noise == 0.0
    )
    still = runs([0.5] * 4, "area", [[0.5] * 4] * 2)
    assert fixed(question("area"), still, still).noise == 0.0  # nothing varies, so nothing is noise
    kl = [runs([0.5, 0.6], "largest_kl"), runs([0.2, 0.1], "largest_kl")]
    assert fixed(question("largest_kl"), *kl).noise is None


def test_arms_that_learned_nothing_are_not_called_alike():
    still = [runs(0.2 + 0.01 * ZS, start=0.2), runs(0.2 + 0.01 * np.roll(ZS, 1), start=0.2)]
    for direction in ("higher", "lower", "equal", "not_lower"):
        found = fixed(question(direction=direction), *still)
        assert found.row.verdict.text == "uninformative: no arm has learned anything"
    rising = [still[0], runs(0.2 + 0.01 * np.roll(ZS, 1), start=-0.2)]  # one that did is enough
    assert fixed(question(direction="equal"), *rising).row.verdict.word is Word.SUPPORTED
    apart = [runs(0.2 + 0.01 * ZS, start=0.2), runs(0.1 + 0.01 * ZS, start=0.1)]
    assert fixed(question(), *apart).row.verdict.word is Word.SUPPORTED  # a difference remains one


def test_a_noisy_drawdown_does_not_show_that_two_arms_are_alike():
    level = 0.1 + 0.01 * ZS
    noise = 0.02 * np.roll(ZS, 7)
    sampled = [
        runs(level, "drawdown", [level + noise, level - noise]),
        runs(np.full(20, 0.1), "drawdown", [[0.1] * 20] * 2),
    ]
    found = fixed(question("drawdown"), *sampled)
    assert found.noise is not None
    assert found.noise > 0.2
    assert found.row.verdict.text.startswith("uninformative: a drawdown is measured too small")
    exact = [runs(level, "drawdown", exact=True), runs(np.full(20, 0.1), "drawdown", exact=True)]
    assert fixed(question("drawdown"), *exact).row.verdict.word is Word.NO_DIFFERENCE
    far = [runs(level + 0.5, "drawdown", [level + noise + 0.5, level - noise + 0.5]), sampled[1]]
    assert fixed(question("drawdown"), *far).row.verdict.word is Word.SUPPORTED  # it errs downwards


def test_runs_that_are_all_at_one_bound_say_nothing():
    for metric, bound in (("final", 1.0), ("final", 0.0), ("steps", 1.0), ("drawdown", 0.0), ("area", 1.2)):
        arms = [runs([bound] * 5, metric, exact=True), runs([bound] * 5, metric, exact=True)]
        assert "at the same bound" in fixed(question(metric), *arms).row.verdict.text, metric
    beyond = [runs([1.2] * 5), runs([1.1] * 5)]
    assert "at the same bound" in fixed(question(), *beyond).row.verdict.text
    assert fixed(question(limits=(0.0, 1.5)), *beyond).row.verdict.word is Word.SUPPORTED  # with a range of its own
    assert fixed(question(constant=0.0, direction="equal"), runs([1.0] * 5)).row.verdict.text == "different: higher"


@pytest.mark.parametrize("metric", [name for name in METRICS if name not in ("spread", "improvement")])
def test_what_was_not_recorded_is_told_and_not_made_up(metric):
    known = runs([0.1, 0.2, 0.3], metric)
    lacking = Runs((0, 1, 2), tuple(Measured({"start": 0.0}) for _ in range(3)), exact=False)
    with pytest.raises(NotJudged, match=metric):
        fixed(question(metric), known, lacking)
    some = Runs((0, 1, 2), (*known.measured[:2], Measured({"start": 0.0})), exact=False)
    with pytest.raises(NotJudged, match=metric):
        fixed(question(metric), known, some)


@pytest.mark.parametrize("pairs", [0, 1])
def test_fewer_than_two_pairs_are_not_judged(pairs):
    arms = [runs([0.5] * pairs), runs([0.4] * pairs)]
    with pytest.raises(NotJudged, match=f"{pairs} pair"):
        judge(question(), arms, one_look(max(pairs, 1)))


def test_two_arms_of_equal_runs_have_no_difference_and_no_width():
    found = fixed(question(), runs(0.5 + 0.1 * ZS), runs(0.5 + 0.1 * ZS))
    assert (found.row.low, found.row.high, found.row.verdict.word) == (0.0, 0.0, Word.NO_DIFFERENCE)
    guarded = judge(question(), [runs(0.5 + 0.1 * ZS)] * 2, looks_up_to(40))
    assert guarded.row.verdict.word is Word.OPEN  # looks leave room for what has not happened yet


def test_the_margins_of_noise_are_those_of_the_page():
    assert (judges.SPREAD_NOISE, judges.DRAWDOWN_NOISE, judges.ALPHA, judges.MARGIN) == (0.1, 0.2, 0.05, 0.05)
