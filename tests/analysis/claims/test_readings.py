"""Four readings of a claim, on made-up scores whose answers are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from analysis.claims import readings
from analysis.claims.readings import BEST, COMMON, DEFAULT, SPACE
from bench.verdicts.judge import Question
from bench.verdicts.row import JudgedRow
from bench.verdicts.words import Word
from tests.analysis.designs import Score, designed, rows

ARMS = ("gae", "td0")
ROW = JudgedRow("f", "gae_is_higher", "s", "", "made_up", "cartpole", *ARMS, "final", "higher", 0.05, 0.05, 20)
QUESTION = Question("final", "higher", 0.05, 1.0)


def _noise(*where: object) -> float:
    """The same small number for the same run, whatever else there is."""
    return float(np.random.default_rng([sum(map(ord, str(each))) for each in where]).normal(0, 0.01))


def _turning(task: str, arm: str, setting: int, seed: int) -> float:
    """GAE is .3 higher where the setting's number is low and .3 lower where it is high; each arm's best is .9 high."""
    height = 0.9 - 0.03 * abs(setting - (4 if arm == "gae" else 15))
    return height + _noise(task, arm, setting, seed, "n")


def _both(score: Score, default: Word | None = Word.SUPPORTED, seeds: int = 2) -> readings.SideBySide:
    tried = rows(score, ["cartpole"], ARMS, range(20), seeds, pool="tuning")
    fresh = rows(lambda t, a, s, seed: score(t, a, s, 100 + seed), ["cartpole"], ARMS, range(20), 20, pool="main")
    row = replace(ROW, word=default, text=str(default))
    return readings.of_row(designed(tried, fresh), row, QUESTION, ARMS)


def test_a_verdict_that_a_setting_decides() -> None:
    """At its own best each arm comes to .9; on average over the space, 20 settings, they differ by little.

    |s − 4| summed over 0 … 19 is 10 + 120 = 130, |s − 15| is 120 + 10: the mean difference is 0, and its values per
    setting, .03 (|s − 15| − |s − 4|), lie between −.33 and .33.
    """
    found = _both(_turning)
    assert found.chosen[BEST] == (4, 15)
    best, space = found.rows[BEST], found.rows[SPACE]
    assert best.word is Word.NO_DIFFERENCE
    assert best.pairs == 20
    assert space.pairs == 20  # settings, and not 40 runs
    per_setting = [
        np.mean([_turning("cartpole", "gae", s, seed) - _turning("cartpole", "td0", s, seed) for seed in range(2)])
        for s in range(20)
    ]
    expected = scipy.stats.ttest_1samp(per_setting, 0).confidence_interval(0.95)
    assert (space.low, space.high) == pytest.approx((expected.low, expected.high))
    assert space.word is Word.OPEN
    assert found.standing == readings.TURNS  # supported at the default, no difference at their own best


def test_what_holds_at_every_setting_is_robust() -> None:
    found = _both(lambda t, a, s, seed: (0.8 if a == "gae" else 0.4) + _noise(t, a, s, seed))
    assert {row.word for row in found.rows.values()} == {Word.SUPPORTED}
    assert found.standing == readings.ROBUST
    assert len({*found.chosen[COMMON]}) == 1
    assert len(found.halves) == 2
    for half in found.halves:
        assert half.effect == pytest.approx(0.4, abs=0.02)


def test_of_an_open_default_nothing_is_shown() -> None:
    found = _both(lambda t, a, s, seed: (0.8 if a == "gae" else 0.4) + _noise(t, a, s, seed), default=Word.OPEN)
    assert found.standing == readings.NOT_SHOWN


def test_failed_settings_count_as_random_policies() -> None:
    """GAE scores .8 in 18 of 20 settings and fails in two; TD(0) scores .4 in all: the mean difference is .32."""
    found = _both(lambda _, a, s, __: math.nan if a == "gae" and s in (3, 7) else 0.8 if a == "gae" else 0.4)
    assert found.rows[SPACE].effect == pytest.approx((18 * 0.4 - 2 * 0.4) / 20)
    assert found.rows[SPACE].failed == 4
    assert found.chosen[BEST] == (0, 0)


def test_a_lower_claim_is_turned_as_its_verdicts_are() -> None:
    score: Score = lambda t, a, s, seed: (0.8 if a == "gae" else 0.4) + _noise(t, a, s, seed)  # noqa: E731
    tried = rows(score, ["cartpole"], ARMS, range(20), 2, pool="tuning")
    fresh = rows(score, ["cartpole"], ARMS, range(20), 20, pool="main")
    lower = replace(ROW, direction="lower", word=Word.REVERSED, text="reversed")
    found = readings.of_row(designed(tried, fresh), lower, replace(QUESTION, direction="lower"), ARMS)
    assert found.rows[SPACE].effect == pytest.approx(-0.4, abs=0.01)
    assert {row.word for row in found.rows.values()} == {Word.REVERSED}
    assert found.standing == readings.ROBUST


def test_strata_count_as_the_design_says() -> None:
    """The arms differ by .4 in ten settings of a stratum of weight 3, by 0 in ten of weight 1: .3 in all."""
    strata = {number: "a" if number < 10 else "b" for number in range(20)}
    tried = rows(
        lambda _, a, s, __: 0.8 if a == "gae" and s < 10 else 0.4, ["cartpole"], ARMS, range(20), 2, pool="tuning",
        strata=strata,
    )  # fmt: skip
    found = readings.of_row(designed(tried, weights={"a": 3, "b": 1}), ROW, QUESTION, ARMS)
    space = found.rows[SPACE]
    assert (space.effect, space.low, space.high) == pytest.approx((0.3, 0.3, 0.3))
    assert found.rows[BEST].text == "missing: not judged on fresh seeds yet"
    assert found.standing == readings.NOT_SHOWN


def test_each_reading_is_a_family_of_all_its_rows() -> None:
    """At the share of one row of forty the interval over the space is that of level .05/40."""
    tried = rows(_turning, ["cartpole"], ARMS, range(20), 2, pool="tuning")
    found = readings.of_row(designed(tried), ROW, replace(QUESTION, share=1 / 40), ARMS).rows[SPACE]
    whole = readings.of_row(designed(tried), ROW, QUESTION, ARMS).rows[SPACE]
    ratio = scipy.stats.t.ppf(1 - 0.025 / 40, 19) / scipy.stats.t.ppf(0.975, 19)
    assert (found.high - found.low) / (whole.high - whole.low) == pytest.approx(ratio)


def test_arms_that_learned_nothing_are_not_called_alike() -> None:
    found = _both(lambda t, _, s, seed: 0.1 + _noise(t, s, seed))
    assert found.rows[SPACE].word is Word.UNINFORMATIVE
    assert "no arm has learned anything" in found.rows[SPACE].text
    assert found.rows[BEST].word is Word.UNINFORMATIVE


def test_unfinished_settings_are_said_to_be() -> None:
    tried = rows(_turning, ["cartpole"], ARMS, range(20), 2, pool="tuning")
    tried.loc[(tried["arm"] == "td0") & (tried["setting"] == 3), ["status", "score"]] = ["unfinished", math.nan]
    found = readings.of_row(designed(tried), ROW, QUESTION, ARMS)
    assert found.rows[SPACE].text == "missing: the settings of td0 are not finished"
    assert found.rows[DEFAULT] is ROW


def test_a_spread_is_no_number_of_a_setting() -> None:
    tried = rows(_turning, ["cartpole"], ARMS, range(20), 2, pool="tuning")
    row = replace(ROW, metric="spread")
    found = readings.of_row(designed(tried), row, Question("spread", "higher", 0.03, 1.0), ARMS)
    assert found.rows[SPACE].text.startswith("missing: spread is no number of a run")


def _rows(*texts: str) -> list[JudgedRow]:
    words = {text: next((word for word in Word if text.startswith(word)), None) for text in texts}
    return [replace(ROW, word=words[text], text=text) for text in texts]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("supported",) * 4, "robust"),
        (("no difference of interest",) * 4, "robust"),
        (("no difference of interest; a small one the other way", "no difference of interest") * 2, "robust"),
        (("different: higher",) * 4, "robust"),
        (("open",) * 4, "not shown to be robust"),
        (("uninformative: no arm has learned anything",) * 4, "not shown to be robust"),
        (("missing: not judged on fresh seeds yet",) * 4, "not shown to be robust"),
        (("supported", "supported", "supported", "open"), "not shown to be robust"),
        (("supported", "real, smaller than of interest", "supported", "supported"), "not shown to be robust"),
        (("supported", "reversed", "open", "open"), "turns around"),
        (("supported", "no difference of interest", "supported", "supported"), "turns around"),
        (("reversed", "no difference of interest", "reversed", "reversed"), "not shown to be robust"),
        (("supported", "different: lower", "open", "open"), "turns around"),
        (("different: higher", "different: lower", "open", "open"), "turns around"),
        (("different: higher", "open", "open", "open"), "not shown to be robust"),
        (("at the upper margin",) * 4, "robust"),
        (("at the upper margin", "at the lower margin") * 2, "not shown to be robust"),
    ],
)
def test_how_a_claim_stands(texts: tuple[str, ...], expected: str) -> None:
    found = _rows(*texts)
    if texts[0].startswith("at the"):
        found = [replace(row, word=Word.AT_THE_MARGIN) for row in found]
    assert readings.standing(found) == expected
