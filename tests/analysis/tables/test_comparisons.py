"""Arms beside the control: judged as claims are, with reference lines and arms that were never run."""

import math

import numpy as np
import pytest
import scipy.stats

from analysis import load
from analysis.claims import comparisons
from analysis.claims.comparisons import Compared
from analysis.tables.comparisons import control_table, rows_frame
from bench.verdicts.words import Word
from tests.analysis.conftest import BOUNDS

LOW, HIGH = BOUNDS["cartpole"]
GAINS = [0.10, 0.12, 0.14, 0.16, 0.18, 0.20]  # of the better arm over the control, by seed


@pytest.fixture
def compared(results) -> dict[str, Compared]:
    """Four arms: the control, one that is better, one that collects otherwise, and one that was never run."""
    scores = {"control": [0.5] * 6, "better": [0.5 + gain for gain in GAINS], "ppo": [0.9] * 6}
    for arm, collect in (("control", "episodes"), ("better", "episodes"), ("ppo", "segments")):
        curve = lambda seed, share, arm=arm: LOW + 1 + (HIGH - LOW) * scores[arm][seed] * share  # noqa: E731
        results.block("s", "cartpole", arm, range(6), curve, collect=collect, k=list(scores).index(arm))
    cells = [{"task": "cartpole", "arm": "never", "seeds": range(6), "collect": "episodes", "k": 3}]
    results.study("s", cells, control="control")
    records = load.read(["s"], results.root)
    return {each.row.arm: each for each in comparisons.against_control(records)}


def test_an_arm_is_judged_at_its_share_of_the_planned_comparisons(compared):
    row = compared["better"].row
    half = scipy.stats.t.isf(0.05 / 2 / 2, 5) * np.std(GAINS, ddof=1) / math.sqrt(6)  # the arm never run is one of two
    assert (row.effect, row.low, row.high) == pytest.approx((0.15, 0.15 - half, 0.15 + half), abs=1e-6)
    assert (row.word, row.pairs, row.level, row.margin, row.metric) == (Word.SUPPORTED, 6, 0.025, 0.05, "final")
    assert compared["better"].effect == pytest.approx(0.15 / np.std(GAINS, ddof=1), abs=1e-4)
    assert compared["better"].improvement == 1.0


def test_an_arm_that_collects_otherwise_is_a_reference_line_not_judged(compared):
    row = compared["ppo"].row
    assert (row.word, row.text) == (None, "reference line: collect=segments, the control's is episodes")


def test_an_arm_without_runs_is_missing_and_counts_in_the_family(compared):
    row = compared["never"].row
    assert (row.word, row.text, row.level) == (None, "missing: 0 pairs of runs", 0.025)


def test_the_table_has_a_row_for_each_and_no_other_p(compared):
    table = control_table(list(compared.values()), "control")
    assert table.header == ("arm", "verdict", "effect", "pairs", "p", "needs", "noise", "d", "P(better)")
    (section,) = table.sections
    rows = {row[0]: row for row in section.rows}
    assert rows["better"][1:4] == ("supported", "0.150 [0.102, 0.198]", "6")
    assert rows["ppo"][2:7] == ("–",) * 5
    assert rows["never"][2:] == ("–",) * 7
    assert "With 6 pairs, a collapse in fewer than 1 of 3 runs could have gone unseen." in table.caption
    frame = rows_frame([each.row for each in compared.values()])
    assert dict(zip(frame["arm"], frame["verdict"], strict=True)) == {
        "better": "supported", "ppo": "reference line", "never": "missing",
    }  # fmt: skip
    assert dict(zip(frame["arm"], frame["looks"], strict=True)) == {"better": "6", "ppo": "", "never": ""}
