"""The readings of a design against tables made by hand."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from analysis.claims import readings as four
from analysis.claims.readings import SideBySide
from analysis.load.designed import Designed
from analysis.report import designs as design_report
from analysis.tables import design_tables, designs
from analysis.tables.designs import ALL_ROUND, BEST, DEFAULT, OVER_TASKS, STRATUM, WITHOUT, Readings
from bench.design.choices import HALVES
from bench.verdicts.row import JudgedRow
from bench.verdicts.words import Word
from tests.analysis.designs import designed, rows

# Two tasks, four settings, the same score for both seeds of the tuning pool; fresh seeds score .1 less.
TABLE = {"a": (0.9, 0.5, 0.1, 0.6), "b": (0.1, 0.4, 0.8, 0.6)}
TASKS = list(TABLE)


def _score(task: str, _: str, setting: int, __: int) -> float:
    return TABLE[task][setting]


def _fresh(task: str, _: str, setting: int, seed: int) -> float:
    """Ten seeds on either side of the mean, .1 below the tuning pool."""
    return TABLE[task][setting] - 0.1 + (0.02 if seed % 2 else -0.02)


@pytest.fixture
def table() -> Designed:
    default = rows(lambda *_: 0.3, TASKS, ["arm"], [0], 20, pool="main").assign(learning_rate=1e-3)
    return designed(
        rows(_score, TASKS, ["arm"], range(4), 2, pool="tuning"),
        rows(_fresh, TASKS, ["arm"], range(4), 20, pool="main"),
        default,
    )


def _of(table: pd.DataFrame, task: str, reading: str) -> pd.Series:
    (row,) = [row for _, row in table.iterrows() if (row["task"], row["reading"]) == (task, reading)]
    return row


def test_what_was_chosen_and_what_it_is_worth(table: Designed) -> None:
    found = designs.chosen(table)
    best = _of(found, "a", BEST)
    assert (best["setting"], best["seeds"], best["tried"], best["n"]) == (0, 2, 0.9, 20)
    assert best["fresh"] == pytest.approx(0.8)
    half = scipy.stats.t.ppf(0.975, 19) * 0.02 * math.sqrt(20 / 19) / math.sqrt(20)
    assert (best["fresh_low"], best["fresh_high"]) == pytest.approx((0.8 - half, 0.8 + half))
    assert best["optimism"] == pytest.approx(0.1)
    assert _of(found, "a", WITHOUT)["setting"] == 2  # the best of b
    assert _of(found, "a", WITHOUT)["fresh"] == pytest.approx(0.0)
    assert [_of(found, task, ALL_ROUND)["setting"] for task in TASKS] == [3, 3]  # means .5, .45, .45, .6
    assert _of(found, "b", DEFAULT)["fresh"] == pytest.approx(0.3)
    assert _of(found, "b", DEFAULT)["setting"] == -1
    assert set(found["reading"]) == {DEFAULT, BEST, *HALVES, WITHOUT, ALL_ROUND}
    assert _of(found, "a", BEST)["values"] == "learning_rate=0.000178 gae_lambda=0.825"  # at one eighth of both ranges


def test_means_over_tasks_are_taken_seed_by_seed(table: Designed) -> None:
    (mean, low, high), seeds = designs.fresh_over_tasks(table, "arm", BEST)
    assert seeds == 20
    assert mean == pytest.approx((0.8 + 0.7) / 2)
    half = scipy.stats.t.ppf(0.975, 19) * 0.02 / math.sqrt(19)  # both tasks swing together
    assert (low, high) == pytest.approx((mean - half, mean + half))
    difference, _ = designs.paired(table, "arm", WITHOUT, BEST)
    assert difference == pytest.approx(((0.1 - 0.9 + 0.1 - 0.8) / 2,) * 3)  # swings of pairs cancel
    assert designs.optimism_over_tasks(table, "arm")[0][0] == pytest.approx(0.1)


def test_seeds_that_a_task_lacks_are_in_no_mean(table: Designed) -> None:
    gone = (table.fresh["task"] == "b") & (table.fresh["seed"] >= 15)
    fewer = replace(table, fresh=table.fresh[~gone])
    assert designs.fresh_over_tasks(fewer, "arm", BEST)[1] == 15


def test_without_fresh_seeds_nothing_is_judged(table: Designed) -> None:
    tried = replace(table, fresh=table.fresh.iloc[:0], default=table.default.iloc[:0])
    readings = Readings(tried)
    assert set(readings.chosen["n"]) == {0}
    assert np.isnan(designs.fresh_over_tasks(tried, "arm", BEST)[0]).all()
    assert design_tables.left_out_table(readings) is None
    (section,) = design_tables.gains_table(readings).sections
    assert section.rows[0][1] == "–"


def test_the_expected_best_of_k_by_hand(table: Designed) -> None:
    """Seeds agree, so nothing is lost by choosing: of one, the mean; k = 1 is the most that four settings allow."""
    found = designs.expected_best(table).set_index(["task", "k"])
    assert found.loc[("a", 1), "best"] == pytest.approx(2.1 / 4)
    assert found.loc[(OVER_TASKS, 1), "best"] == pytest.approx((2.1 + 1.9) / 8)
    assert set(found.reset_index()["k"]) == {1}


def test_the_expected_best_of_two_of_eight() -> None:
    """Of the scores 1/8 … 8/8 the larger of two is 2 · 9/3 / 8 on average."""
    found = designs.expected_best(
        designed(rows(lambda _, __, s, ___: (s + 1) / 8, ["a"], ["x"], range(8), 2, pool="t"))
    )
    assert found.set_index("k")["best"].to_dict() == pytest.approx({1: 4.5 / 8, 2: 6 / 8})


@pytest.mark.parametrize(("settings", "expected"), [(3, [1]), (4, [1]), (8, [1, 2]), (96, [1, 2, 4, 8, 16, 24])])
def test_how_many_settings_an_interval_allows(settings: int, expected: list[int]) -> None:
    assert designs.tried_numbers(settings) == expected


def test_performance_and_sensitivity_by_hand(table: Designed) -> None:
    (row,) = designs.sensitivities(table).to_dict("records")
    assert row["performance"] == pytest.approx((0.9 + 0.8) / 2)
    assert row["sensitivity"] == pytest.approx((0.9 + 0.8) / 2 - 0.6)
    assert row["fresh_performance"] == pytest.approx(0.75)
    assert row["fresh_sensitivity"] == pytest.approx(0.75 - 0.5)
    one = designed(rows(_score, ["a"], ["arm"], range(4), 2, pool="tuning"))
    assert designs.sensitivities(one).empty  # of one task the best is the all-round setting


def test_one_seed_a_setting_cannot_be_cross_fitted() -> None:
    single = designed(rows(_score, TASKS, ["arm"], range(4), 1, pool="tuning"))
    assert designs.expected_best(single).empty
    assert designs.sensitivities(single).empty
    assert not designs.responses(single).empty


def test_shares_of_a_range(table: Designed) -> None:
    found = replace(table, space={**table.space, "clip_range": {"choice": [0.3, 0.1, 0.2]}})
    assert designs.scaled(found, "learning_rate", [1e-4, 1e-3, 1e-2]) == pytest.approx([0, 0.5, 1])
    assert designs.scaled(found, "learning_rate", [0.0, 1.0]) == pytest.approx([-math.inf, 2])
    assert designs.scaled(found, "gae_lambda", [0.8, 0.85]) == pytest.approx([0, 0.25])
    assert designs.scaled(found, "clip_range", [0.1, 0.2, 0.3]) == pytest.approx([0, 0.5, 1])
    assert designs.edges(found, "clip_range", 96) == pytest.approx([-0.5, 0.25, 0.75, 1.5])
    assert len(designs.edges(found, "gae_lambda", 96)) == 7
    assert len(designs.edges(found, "gae_lambda", 10)) == 3


def test_a_response_is_the_mean_over_the_other_settings() -> None:
    """Sixteen settings in two bins of eight, scores 0 … 15 over 16: means 3.5/16 and 11.5/16."""
    found = designs.responses(designed(rows(lambda _, __, s, ___: s / 16, ["a"], ["x"], range(16), 2, pool="tuning")))
    mine = found[found["key"] == "learning_rate"]
    assert mine["score"].tolist() == pytest.approx([3.5 / 16, 11.5 / 16])
    assert mine["settings"].tolist() == [8, 8]
    assert mine["at"].tolist() == [0.25, 0.75]
    error = math.sqrt(6.0 / 8) / 16  # the variance of 0 … 7 is 6
    half = scipy.stats.t.ppf(0.975, 7) * error
    assert mine["score_low"].iloc[0] == pytest.approx(3.5 / 16 - half)
    assert STRATUM not in set(found["key"])


def test_strata_are_a_response_of_their_own_and_weigh_as_the_design_says() -> None:
    strata = {setting: "few" if setting < 8 else "many" for setting in range(16)}
    tried = rows(
        lambda _, __, s, ___: 0.2 if s < 8 else 0.6, ["a"], ["x"], range(16), 2, pool="tuning", strata=strata
    )  # fmt: skip
    found = designs.responses(designed(tried, weights={"few": 3.0, "many": 1.0}))
    assert found.loc[found["key"] == STRATUM, "score"].tolist() == pytest.approx([0.2, 0.6])
    assert designed(tried, weights={"few": 3.0, "many": 1.0}).weight_of(pd.Index([0, 1, 9])).tolist() == [1.5, 1.5, 1.0]


def test_what_a_key_foretells() -> None:
    """The score is linear in the logarithm of the rate; λ, in other numbers, has nothing to do with it."""
    order = np.random.default_rng(0).permutation(24)
    tried = rows(
        lambda _, __, s, ___: s / 24, ["a"], ["x", "y"], range(24), 2, pool="tuning", keys={"y": ["learning_rate"]}
    )
    tried["gae_lambda"] = tried["gae_lambda"].where(tried["arm"] == "y", 0.8 + 0.2 * order[tried["setting"]] / 24)
    found = designs.fits(designed(tried)).set_index(["arm", "first", "second"])["r_squared"]
    assert found["x", "learning_rate", ""] == pytest.approx(1)
    assert found["x", "gae_lambda", ""] < 0.3
    assert found["x", "learning_rate", "gae_lambda"] == pytest.approx(1)
    assert ("y", "gae_lambda", "") not in found.index  # it does not read it


def test_arms_are_read_on_the_settings_that_all_have() -> None:
    """An arm that cannot be cut into segments lacks that stratum; the other's best there is no best of the design."""
    strata = {setting: "episodes" if setting < 4 else "segments" for setting in range(8)}
    both = rows(lambda _, __, s, ___: s / 10, TASKS, ["critic"], range(8), 2, pool="tuning", strata=strata)
    few = rows(lambda _, __, s, ___: s / 10, TASKS, ["group"], range(4), 2, pool="tuning", strata=strata)
    found = designed(pd.concat([both, few], ignore_index=True))
    assert found.shared == [0, 1, 2, 3]
    assert {choice.setting for choice in found.chosen("critic") if choice.reading == BEST} == {3}
    assert len(found.scores["a", "critic"]) == 8


def test_tables_for_people(table: Designed) -> None:
    readings = Readings(table)
    (row,) = design_tables.gains_table(readings).sections[0].rows
    assert row[:2] == ("arm", "0.30 [0.30, 0.30]")
    assert row[3].startswith("0.75 [")
    assert row[-1] == "0.00"  # seeds agree, so equally good settings would not flatter themselves
    left = design_tables.left_out_table(readings)
    assert left is not None
    assert left.sections[0].rows[0][4] == "−0.75 [−0.75, −0.75]"
    assert "These 2 tasks say nothing about another one" in left.caption
    assert design_tables.space_table(table).sections[0].rows == (
        ("learning_rate", "log-uniform 0.0001, 0.01", "1"),
        ("gae_lambda", "uniform 0.8, 1", "1"),
    )


def _side(name: str, task: str, *texts: str) -> SideBySide:
    words = [next((word for word in Word if text.startswith(word)), None) for text in texts]
    blank = JudgedRow("f", name, "what it says", "", "s", task, "x", "y", "final", "higher", 0.05, 0.05, 20)
    judged = [
        replace(blank, word=word, text=text, effect=0.1, low=0.06, high=0.14)
        for word, text in zip(words, texts, strict=True)
    ]
    return SideBySide(dict(zip(four.READINGS, judged, strict=True)), {})


def test_a_few_claims_stand_one_by_one() -> None:
    found = [_side("faster", "a", *["supported"] * 4), _side("faster", "b", "supported", "reversed", "open", "open")]
    (section,) = design_tables.claims_table(found).sections
    assert section.heading == "faster: what it says (final, higher)"
    assert section.rows[0] == ("a", *["supported 0.10 [0.06, 0.14]"] * 4, "robust")
    assert section.rows[1][-1] == "turns around"


def test_of_many_claims_it_is_counted_how_many_tasks_say_what() -> None:
    found = [_side(f"claim {place}", task, *["supported"] * 4) for place in range(12) for task in "ab"]
    found += [_side("other", "a", *["supported"] * 4), _side("other", "b", "open", "supported", "reversed", "open")]
    (section,) = design_tables.claims_table(found).sections
    assert len(section.rows) == 13
    assert section.rows[0] == ("claim 0", *["supported"] * 4, "robust on 2")
    assert section.rows[-1] == (
        "other", "supported on 1 of 2 tasks, open on 1", "supported",
        "supported on 1 of 2 tasks, reversed on 1", "supported on 1 of 2 tasks, open on 1",
        "robust on 1, turns around on 1",
    )  # fmt: skip


def test_each_statement_has_a_line_that_says_where_it_stands(table: Designed) -> None:
    found = [
        _side("faster", "a", *["supported"] * 4),
        _side("faster", "b", "supported", "reversed", "open", "open"),
        _side("faster", "c", *["open"] * 4),
        _side("faster", "d", *["no difference of interest"] * 4),
    ]
    arm = replace(found[0].first, statement="")  # held against the control: no file states anything
    found.append(SideBySide(dict.fromkeys(four.READINGS, arm), {}))
    (first, *_) = design_report.parts(Readings(table, tuple(found)))
    assert first.items == (
        "Claims on a task each, at four readings: 3 robust, 1 turns around, 1 not shown to be robust.",
        "what it says: robust on a and d; turns around on b; not shown to be robust on c.",
    )
