"""The verdict table: by hand, as a whole on a grid, and what it may and may not conclude."""

import itertools
import math
from typing import get_args

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from analysis import stats
from bench.verdicts import words
from bench.verdicts.words import Direction, Word

INF = math.inf
S = 0.25  # halves and quarters of it are exact in binary
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
ONE_SIDED = ("higher", "lower")

# In units of S: interval → word for `higher` and `lower`, for `not_lower`, for `equal`. The interval is oriented.
HAND_MADE = [
    ((1.1, 3), "supported", "supported", "different"),
    ((1, 3), "open", "supported", "open"),  # a bound at a margin is on neither side
    ((-3, -1.1), "reversed", "reversed", "different"),
    ((-3, -1), "open", "open", "open"),
    ((0.1, 0.9), "real, smaller than of interest", "supported", "supported"),
    ((0, 0.9), "no difference of interest", "supported", "supported"),
    ((0.1, 1), "open", "supported", "open"),
    ((-0.9, 0.9), "no difference of interest", "supported", "supported"),
    ((-0.9, 0), "no difference of interest", "supported", "supported"),
    ((-0.9, -0.1), "no difference of interest", "supported", "supported"),
    ((0, 0), "no difference of interest", "supported", "supported"),
    ((-0.9, 1), "open", "supported", "open"),
    ((-1, 0.9), "open", "open", "open"),
    ((-1, 1), "open", "open", "open"),
    ((-0.9, 2), "open", "supported", "open"),
    ((-2, 0.9), "open", "open", "open"),
    ((0.75, 1.25), "at the margin", "supported", "at the margin"),  # half-width S/4
    ((0.5, 1), "at the margin", "supported", "at the margin"),
    ((1, 1.5), "at the margin", "supported", "at the margin"),
    ((1, 1), "at the margin", "supported", "at the margin"),
    ((0.75, 1.26), "open", "supported", "open"),
    ((-1.25, -0.75), "at the margin", "at the margin", "at the margin"),
    ((-1, -0.5), "at the margin", "at the margin", "at the margin"),
    ((-1.5, -1), "at the margin", "at the margin", "at the margin"),
    ((-1, -1), "at the margin", "at the margin", "at the margin"),
    ((-1.26, -0.75), "open", "open", "open"),
    ((1.1, INF), "supported", "supported", "different"),
    ((-INF, -1.1), "reversed", "reversed", "different"),
    ((-0.9, INF), "open", "supported", "open"),
    ((-INF, 0.9), "open", "open", "open"),
    ((-INF, INF), "open", "open", "open"),
]


@pytest.mark.parametrize(("interval", "one_sided", "not_lower", "equal"), HAND_MADE)
def test_every_line_of_the_table(interval, one_sided, not_lower, equal):
    low, high = (S * end for end in interval)
    expected = {"higher": one_sided, "lower": one_sided, "not_lower": not_lower, "equal": equal}
    assert {direction: words.verdict(low, high, direction, S).word for direction in DIRECTIONS} == expected


def conditions(low: float, high: float, direction: Direction) -> dict[str, bool]:
    """The table as it is written, each line with what the lines before it leave."""
    near = (high - low) / 2 <= S / 4
    if direction == "equal":
        lines = {
            "different": low > S or high < -S,
            "supported": low > -S and high < S,
            "at the margin": near and (low <= S <= high or low <= -S <= high),
        }
    elif direction == "not_lower":
        lines = {
            "reversed": high < -S,
            "supported": low > -S,
            "at the margin": near and low <= -S <= high,
        }
    else:
        lines = {
            "supported": low > S,
            "reversed": high < -S,
            "real, smaller than of interest": low > 0 and high < S,
            "no difference of interest": low > -S and high < S,
            "at the margin": near and (low <= S <= high or low <= -S <= high),
        }
    lines["open"] = True
    first = next(word for word, holds in lines.items() if holds)
    return {word: word == first for word in lines}


ENDS = [-INF, *(S * np.arange(-24, 25) / 8).tolist(), INF]
INTERVALS = [(low, high) for low, high in itertools.product(ENDS, ENDS) if low <= high and low < INF and high > -INF]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_interval_has_one_word_and_lies_in_the_set_it_asserts(direction):
    for low, high in INTERVALS:
        found = words.verdict(low, high, direction, S)
        assert conditions(low, high, direction)[found.word], (low, high, found)
        line = found.asserts
        assert line.low <= low
        assert high <= line.high
        assert [end for end in (low, high) if math.isfinite(end) and found.wrong(end)] == []


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_lines_that_fit_one_interval_agree(direction):
    """Lines of different words fit together only where one asserts more than the other, which then comes first."""
    lows, highs = np.array(INTERVALS).T
    decided = [line for line in words.table(direction, S) if line.word is not Word.OPEN]
    for first, second in itertools.combinations(decided, 2):
        if (first.fits(lows, highs) & second.fits(lows, highs)).any():
            assert (first.word, second.word) == (Word.SMALLER, Word.NO_DIFFERENCE)
            assert second.low <= first.low
            assert first.high <= second.high


@given(st.lists(st.integers(-24, 24), min_size=4, max_size=4).map(sorted), st.sampled_from(DIRECTIONS))
def test_a_narrower_interval_supports_all_that_a_wider_one_shows(ends, direction):
    widest, low, high, end = (S * each / 8 for each in ends)
    wide, narrow = words.verdict(widest, end, direction, S), words.verdict(low, high, direction, S)
    assert wide.asserts.low <= low
    assert high <= wide.asserts.high
    if wide.word not in (Word.OPEN, Word.AT_THE_MARGIN):
        assert wide.asserts.low <= narrow.asserts.low
        assert narrow.asserts.high <= wide.asserts.high


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_interval_that_holds_the_truth_is_never_wrong(direction):
    for low, high in INTERVALS:
        found = words.verdict(low, high, direction, S)
        for effect in (-S, 0.0, S):
            if low <= effect <= high:
                assert not found.wrong(effect)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_at_a_margin_only_what_takes_no_side_is_right(direction):
    for line in words.table(direction, S):
        for margin in words.margins(direction, S):
            if line.holds(margin):
                assert line.word is Word.OPEN or (line.word, line.margin) == (Word.AT_THE_MARGIN, margin)


@pytest.mark.parametrize(
    ("interval", "direction", "right", "wrong"),
    [
        ((1.1, 2), "higher", [1.01, 9], [1, 0, -2]),
        ((-2, -1.1), "higher", [-1.01, -9], [-1, 0, 2]),
        ((0.1, 0.9), "higher", [0.01, 0.99], [0, 1, -0.5]),
        ((-0.9, 0.9), "higher", [-0.99, 0, 0.99], [1, -1]),
        ((0.75, 1.25), "higher", [0.5, 1, 1.5], [0.49, 1.51, -1]),
        ((-1.25, -0.75), "higher", [-0.5, -1, -1.5], [-0.49, -1.51, 1]),
        ((-0.9, 2), "not_lower", [-0.99, 0, 9], [-1, -2]),
        ((1.1, 2), "equal", [1.01, 9], [1, 0, -2]),
        ((-2, -1.1), "equal", [-1.01, -9], [-1, 0, 2]),
        ((-0.9, 0.9), "equal", [-0.99, 0.99], [1, -1]),
        ((-2, 2), "higher", [0, 1, -1, 9], []),
    ],
)
def test_a_word_is_wrong_where_its_set_does_not_hold_the_truth(interval, direction, right, wrong):
    found = words.verdict(S * interval[0], S * interval[1], direction, S)
    assert [found.wrong(S * effect) for effect in right] == [False] * len(right)
    assert [found.wrong(S * effect) for effect in wrong] == [True] * len(wrong)


@pytest.mark.parametrize(
    ("interval", "direction", "text"),
    [
        ((1.1, 2), "equal", "different: higher"),
        ((-2, -1.1), "equal", "different: lower"),
        ((-0.9, -0.1), "higher", "no difference of interest; a small one the other way"),
        ((-0.9, 0), "lower", "no difference of interest"),
        ((-2, 0.9), "higher", "open: not supported"),
        ((-2, 0.9), "lower", "open: not supported"),
        ((-2, 1), "higher", "open"),
        ((-2, 0.9), "equal", "open"),
        ((-2, 0.9), "not_lower", "open"),
        ((0.75, 1.25), "equal", "at the upper margin"),
        ((-1.25, -0.75), "not_lower", "at the lower margin"),
        ((1.1, 2), "higher", "supported"),
    ],
)
def test_how_a_verdict_reads(interval, direction, text):
    assert words.verdict(S * interval[0], S * interval[1], direction, S).text == text


@pytest.mark.parametrize(("interval", "one_sided", "not_lower", "equal"), HAND_MADE)
def test_arms_that_learned_nothing_are_not_called_alike(interval, one_sided, not_lower, equal):
    """What two arms that stay where they began would give, too, is not said; differences are."""
    low, high = (S * end for end in interval)
    for direction, word in zip(DIRECTIONS, (one_sided, one_sided, not_lower, equal), strict=True):
        alike = word == "no difference of interest" or (word == "supported" and direction in ("not_lower", "equal"))
        found = words.verdict(low, high, direction, S, no_equality="nothing was learned")
        assert found.word == ("uninformative" if alike else word)
        if alike:
            assert found.text == "uninformative: nothing was learned"
            assert not found.wrong(9.0)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_runs_that_say_nothing_are_uninformative_whatever_the_interval(direction):
    for interval, *_ in HAND_MADE:
        low, high = (S * end for end in interval)
        found = words.verdict(low, high, direction, S, says_nothing="all runs at one bound", no_equality="else")
        assert (found.word, found.asserts) == (Word.UNINFORMATIVE, None)
        assert found.text == "uninformative: all runs at one bound"


def test_no_interval_and_no_margin_are_refused():
    for low, high in ((1.0, 0.0), (math.nan, 1.0), (0.0, math.nan)):
        with pytest.raises(ValueError, match="no interval"):
            words.verdict(low, high, "higher", S)
    for margin in (0.0, -1.0, math.nan, INF):
        with pytest.raises(ValueError, match="margin"):
            words.table("higher", margin)


def test_lower_is_higher_turned_round():
    assert words.oriented((0.2, 0.1, 0.4), "lower") == (-0.2, -0.4, -0.1)
    for direction in ("higher", "not_lower", "equal"):
        assert words.oriented((0.2, 0.1, 0.4), direction) == (0.2, 0.1, 0.4)


def test_an_arm_has_learned_when_its_gain_is_large_and_not_chance():
    assert words.learned((0.3, 0.1, 0.5))
    assert not words.learned((0.25, 0.2, 0.3))
    assert not words.learned((0.3, 0.0, 0.6))
    assert not words.learned((0.3, -0.1, 0.7))
    assert not words.learned((math.nan, -INF, INF))


def sample(centre: float, sd: float, pairs: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=pairs)
    return centre + sd * (values - values.mean()) / values.std(ddof=1)


def decided(values, direction: Direction, rows: int = 1, **reasons: str) -> words.Row:
    design = stats.one_look(len(values))
    return words.decide(values, direction, 0.05, design, alpha=0.05, share=1 / rows, **reasons)


def test_p_of_a_verdict_in_a_fixed_design_is_that_of_a_t_test_times_the_rows():
    values = sample(0.3, 0.2, 20)
    beyond = scipy.stats.ttest_1samp(values, 0.05).pvalue
    assert decided(values, "higher").p == pytest.approx(beyond, rel=2e-3)
    assert decided(values, "higher", rows=10).p == pytest.approx(10 * beyond, rel=2e-3)
    assert decided(-values, "lower").p == pytest.approx(beyond, rel=2e-3)
    assert decided(values, "equal").p == pytest.approx(beyond, rel=2e-3)
    assert decided(-values, "higher").p == pytest.approx(beyond, rel=2e-3)  # of being reversed
    assert decided(values, "not_lower").p == pytest.approx(scipy.stats.ttest_1samp(values, -0.05).pvalue, rel=2e-3)


def test_p_of_being_alike_is_that_of_the_nearer_margin():
    values = sample(0.01, 0.05, 20)
    nearer = scipy.stats.ttest_1samp(values, 0.05).pvalue
    for direction in ("equal", "higher"):
        row = decided(values, direction)
        assert row.verdict.word == ("supported" if direction == "equal" else "no difference of interest")
        assert row.p == pytest.approx(nearer, rel=2e-3)


def test_p_of_a_small_real_difference_is_that_of_the_nearer_of_0_and_the_margin():
    values = sample(0.02, 0.02, 20)
    row = decided(values, "higher")
    assert row.verdict.word == "real, smaller than of interest"
    assert row.p == pytest.approx(scipy.stats.ttest_1samp(values, 0.0).pvalue, rel=2e-3)


def test_p_is_the_level_at_which_the_verdict_is_lost_in_a_design_of_looks():
    values, design = sample(0.3, 0.2, 80), stats.looks_up_to()
    row = words.decide(values, "higher", 0.05, design, alpha=0.05, share=1 / 80)
    assert 0 < row.p < 0.05
    for level, word in ((row.p, "supported"), (row.p * 0.997, "open")):
        again = words.decide(values, "higher", 0.05, design, alpha=level, share=1 / 80)
        assert again.verdict.word == word


def test_what_is_open_or_says_nothing_has_no_p_and_only_what_is_open_has_a_plan():
    is_open = decided(sample(0.1, 0.4, 20), "higher")
    assert (is_open.verdict.word, is_open.p) == ("open", None)
    assert is_open.needed == math.ceil(((1.959964 + 0.84) * 0.4 / 0.05) ** 2)
    at_the_margin = decided(sample(0.05, 0.01, 20), "higher")
    assert (at_the_margin.verdict.word, at_the_margin.p, at_the_margin.needed) == ("at the margin", None, None)
    nothing = decided(sample(0.3, 0.1, 20), "higher", says_nothing="all runs at one bound")
    assert (nothing.verdict.word, nothing.p, nothing.needed) == ("uninformative", None, None)
    supported = decided(sample(0.3, 0.1, 20), "higher")
    assert supported.needed is None


def test_the_plan_counts_the_last_boundary_and_the_nearest_margin_of_the_direction():
    values = sample(0.06, 0.4, 20)
    found = {
        direction: words.decide(values, direction, 0.05, stats.looks_up_to(), alpha=0.05, share=1 / 80).needed
        for direction in ("higher", "not_lower", "lower", "equal")
    }
    for direction, distance in (("higher", 0.01), ("lower", 0.01), ("equal", 0.01), ("not_lower", 0.11)):
        guarded = next(  # by trying each number: the last boundary's width with two pairs a whole range away, and power
            n for n in range(2, 10**6)
            if 3.650 * math.sqrt(((n - 1) * 0.16 + 2) / (n + 1) / n) + 0.84 * 0.4 / math.sqrt(n) <= distance
        )  # fmt: skip
        assert found[direction] == pytest.approx(guarded, rel=2e-3)


@pytest.mark.parametrize("pairs", [0, 1])
def test_without_two_pairs_a_row_is_open(pairs):
    row = words.decide([0.9] * pairs, "higher", 0.05, stats.looks_up_to(), alpha=0.05, share=1.0)
    assert (row.pairs, row.verdict.word, row.p, row.needed) == (pairs, "open", None, None)
    assert (row.low, row.high) == (-INF, INF)


def test_pairs_that_are_all_equal_decide_nothing_at_the_first_look():
    """Twenty pairs without a difference may hide a collapse in every sixth run."""
    for direction in DIRECTIONS:
        row = words.decide([0.0] * 20, direction, 0.05, stats.looks_up_to(), alpha=0.05, share=1.0)
        assert row.verdict.word == "open"
    late = words.decide([0.0] * 160, "equal", 0.05, stats.looks_up_to(), alpha=0.05, share=1.0)
    assert late.verdict.word == "supported"
