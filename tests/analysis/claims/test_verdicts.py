"""Verdicts: every row of the table through the whole of the analysis, on studies made to fall under it."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import yaml

from analysis import load
from analysis.claims import verdicts
from analysis.claims.arms import arms
from analysis.cli import main
from analysis.tables.comparisons import claims_table
from bench.records.files import sha256
from bench.verdicts import hypotheses, selection
from bench.verdicts.row import JudgedRow
from bench.verdicts.words import Word
from tests.analysis.conftest import ResultsWriter, edit

FILE = """
title: T
defaults: {source: here, studies: [s], tasks: [cartpole], among: {}, metric: final, sesoi: 0.05, seeds: 10}
claims:
  it:
    statement: The arm is better
    arm: {k: 1}
    against: {k: 0}
    direction: higher
"""
SPAN = 500 - 22.2
ZS = np.random.default_rng(0).normal(size=10)
ZS = (ZS - ZS.mean()) / ZS.std(ddof=1)
STUDENT = scipy.stats.t.isf(0.025, 9) / math.sqrt(10)  # half-width of ten pairs of standard deviation 1, one row


def judge(results, tmp_path: Path, text: str = FILE) -> verdicts.Judged:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    (judged,) = verdicts.judge(hypotheses.read(path), load.read(["s"], results.root))
    return judged


def judged_row(results, tmp_path: Path, text: str = FILE) -> JudgedRow:
    (row,) = judge(results, tmp_path, text).rows
    return row


def pair(results, differences, *, task: str = "cartpole", base: float = 0.5, rises: bool = True, **block) -> None:
    """Two arms whose final normalised scores differ by these numbers; they learn if they rise, from 0."""
    for k, shift in ((0, np.zeros(len(differences))), (1, np.asarray(differences))):

        def curve(seed: int, share: float, shift=shift) -> float:
            return float(23.2 + SPAN * (base + shift[seed]) * (share if rises else 1.0))

        results.block("s", task, f"arm{k}", range(len(differences)), curve, k=k, **block)


def with_interval(low: float, high: float) -> np.ndarray:
    """Ten differences whose interval, of a family of one row, is this."""
    return (low + high) / 2 + (high - low) / 2 / STUDENT * ZS


TABLE = [  # the direction of a claim, an interval, the word and how it is told; s = 0.05
    ("higher", 0.051, 0.12, Word.SUPPORTED, "supported"),
    ("higher", -0.12, -0.051, Word.REVERSED, "reversed"),
    ("higher", 0.001, 0.049, Word.SMALLER, "real, smaller than of interest"),
    ("higher", -0.049, 0.049, Word.NO_DIFFERENCE, "no difference of interest"),
    ("higher", -0.049, -0.001, Word.NO_DIFFERENCE, "no difference of interest; a small one the other way"),
    ("higher", 0.04, 0.06, Word.AT_THE_MARGIN, "at the upper margin"),
    ("higher", -0.06, -0.04, Word.AT_THE_MARGIN, "at the lower margin"),
    ("higher", 0.02, 0.06, Word.OPEN, "open"),
    ("higher", -0.1, 0.02, Word.OPEN, "open: not supported"),
    ("lower", 0.051, 0.12, Word.REVERSED, "reversed"),
    ("lower", -0.12, -0.051, Word.SUPPORTED, "supported"),
    ("lower", -0.049, -0.001, Word.SMALLER, "real, smaller than of interest"),
    ("lower", -0.049, 0.049, Word.NO_DIFFERENCE, "no difference of interest"),
    ("lower", 0.04, 0.06, Word.AT_THE_MARGIN, "at the lower margin"),
    ("lower", -0.02, 0.1, Word.OPEN, "open: not supported"),
    ("not_lower", -0.12, -0.051, Word.REVERSED, "reversed"),
    ("not_lower", -0.049, 0.3, Word.SUPPORTED, "supported"),
    ("not_lower", 0.06, 0.1, Word.SUPPORTED, "supported"),
    ("not_lower", -0.06, -0.04, Word.AT_THE_MARGIN, "at the lower margin"),
    ("not_lower", -0.1, 0.1, Word.OPEN, "open"),
    ("equal", 0.051, 0.12, Word.DIFFERENT, "different: higher"),
    ("equal", -0.12, -0.051, Word.DIFFERENT, "different: lower"),
    ("equal", -0.049, 0.049, Word.SUPPORTED, "supported"),
    ("equal", 0.04, 0.06, Word.AT_THE_MARGIN, "at the upper margin"),
    ("equal", -0.06, -0.04, Word.AT_THE_MARGIN, "at the lower margin"),
    ("equal", -0.06, 0.02, Word.OPEN, "open"),
]


@pytest.mark.parametrize(("direction", "low", "high", "word", "text"), TABLE)
def test_every_row_of_the_table_through_the_whole_path(results, tmp_path, direction, low, high, word, text):
    pair(results, with_interval(low, high))
    row = judged_row(results, tmp_path, FILE.replace("higher", direction))
    if direction == "lower":
        low, high = -high, -low
    assert (row.low, row.high) == pytest.approx((low, high), abs=1e-5)
    assert (row.word, row.text, row.pairs, row.looks) == (word, text, 10, (10,))
    assert (row.p is None) == (word in (Word.OPEN, Word.AT_THE_MARGIN))
    assert (row.needed is None) == (word is not Word.OPEN)
    assert (row.level, row.failed, row.arm, row.against) == (0.05, 0, "arm1", "arm0")


def test_p_and_the_pairs_needed_are_those_of_the_verdict(results, tmp_path):
    pair(results, with_interval(0.06, 0.1))
    se = 0.02 / STUDENT / math.sqrt(10)
    touching = 2 * scipy.stats.t.sf((0.08 - 0.05) / se, 9)  # the level at which the interval would begin at the margin
    assert judged_row(results, tmp_path).p == pytest.approx(touching, rel=2e-3)
    row = judged_row(results, tmp_path, FILE.replace("0.05", "0.07"))  # the margin is .01 away
    z = scipy.stats.norm.isf(0.025)
    assert row.needed == math.ceil(((z + 0.84) * se * math.sqrt(10) / 0.01) ** 2)


def test_the_rows_of_a_file_share_its_level_those_withdrawn_or_of_other_studies_too(results, tmp_path):
    pair(results, with_interval(0.06, 0.1))
    more = (
        FILE
        + """
  elsewhere: {statement: S, studies: [t], tasks: [a, b], arm: {k: 1}, against: {k: 0}, direction: higher}
  not_any_more: {statement: S, arm: {k: 1}, against: {k: 0}, direction: higher, withdrawn: it was never meant}
"""
    )
    path = tmp_path / "claims.yaml"
    path.write_text(more)
    judged = verdicts.judge(hypotheses.read(path), load.read(["s"], results.root))
    assert [each.name for each in judged] == ["it", "not_any_more"]
    (row,), (withdrawn,) = (each.rows for each in judged)
    half = 0.02 / STUDENT * scipy.stats.t.isf(0.05 / 4 / 2, 9) / math.sqrt(10)
    assert row.level == 0.05 / 4
    assert (row.low, row.high) == pytest.approx((0.08 - half, 0.08 + half), abs=1e-5)
    assert (withdrawn.word, withdrawn.verdict, withdrawn.text) == (None, "withdrawn", "withdrawn: it was never meant")
    assert math.isnan(withdrawn.effect)


def test_weights_divide_the_level_among_groups(results, tmp_path):
    pair(results, with_interval(0.06, 0.1))
    weighted = (
        FILE.replace("claims:", "weights: {head: 0.04, rest: 0.01}\nclaims:")
        + """
    group: head
  more: {statement: S, group: rest, tasks: [a, b, c, d], arm: {k: 1}, against: {k: 0}, direction: higher}
"""
    )
    path = tmp_path / "claims.yaml"
    path.write_text(weighted)
    judged = verdicts.judge(hypotheses.read(path), load.read(["s"], results.root))
    assert [row.level for each in judged for row in each.rows] == pytest.approx([0.04] + [0.01 / 4] * 4)


def test_fewer_pairs_than_asked_for_decide_nothing_and_say_so(results, tmp_path):
    pair(results, 0.2 + 0.01 * ZS[:6])
    row = judged_row(results, tmp_path)
    assert (row.word, row.pairs, row.p, row.needed) == (Word.OPEN, 6, None, 10)
    assert row.text == "open: 6 of the 10 pairs asked for (supported so far)"


def test_a_pair_that_is_not_finished_is_not_dropped(results, tmp_path):
    """Ten of eleven pairs are there, and eight of the first ten."""
    pair(results, 0.2 + 0.01 * ZS)
    results.block("s", "cartpole", "arm1", [10], lambda *_: 0.0, status="running", k=1)
    asked = FILE.replace("seeds: 10", "seeds: 11")
    assert judged_row(results, tmp_path, asked).text == "open: 10 of the 11 pairs asked for (supported so far)"
    first = next((results.root / "s" / "runs" / "cartpole").glob("arm1-*/seeds-000-009"))
    record = json.loads((first / "run.json").read_text())
    edit(first, seeds={seed: record["seeds"][seed] for seed in record["seeds"] if int(seed) > 1})
    for name, kept in (
        ("curves", "curves.parquet"),
        ("episodes", "episodes.parquet"),
        ("training", "training.parquet"),
    ):
        table = pd.read_parquet(first / f"{name}.parquet")
        table[table["seed"] > 1].to_parquet(first / kept, index=False)
        sums = json.loads((first / "run.json").read_text())["checksums"]
        edit(first, checksums=sums | {kept: sha256(first / kept)})
    assert judged_row(results, tmp_path).text == "open: 8 of the 10 pairs asked for (supported so far)"


def test_more_pairs_than_asked_for_do_not_count(results, tmp_path):
    pair(results, [*with_interval(0.06, 0.1), -0.4, -0.4])
    row = judged_row(results, tmp_path)
    assert (row.word, row.pairs, row.effect) == (Word.SUPPORTED, 10, pytest.approx(0.08, abs=1e-6))


@pytest.mark.parametrize("pairs", [0, 1])
def test_one_pair_or_none_is_missing(results, tmp_path, pairs):
    if pairs:
        pair(results, [0.2])
    results.study("s", [{"task": "cartpole", "arm": f"arm{k}", "seeds": range(10), "k": k} for k in (0, 1)])
    row = judged_row(results, tmp_path)
    assert row.word is None
    assert row.text == ("missing: 1 pair of runs" if pairs else "missing: k=1: not run; k=0: not run")


def test_arms_of_equal_runs_differ_by_nothing(results, tmp_path):
    pair(results, np.zeros(10))
    row = judged_row(results, tmp_path)
    assert (row.effect, row.low, row.high, row.word) == (0.0, 0.0, 0.0, Word.NO_DIFFERENCE)


def test_arms_that_learned_nothing_are_not_called_alike(results, tmp_path):
    pair(results, with_interval(-0.01, 0.01), rises=False)
    for direction in ("higher", "equal", "not_lower"):
        row = judged_row(results, tmp_path, FILE.replace("higher", direction))
        assert (row.word, row.text) == (Word.UNINFORMATIVE, "uninformative: no arm has learned anything")


def test_two_arms_at_the_same_bound_say_nothing(results, tmp_path):
    pair(results, np.zeros(10), base=1.0)
    assert judge(results, tmp_path).verdict == "uninformative"


def test_a_run_that_failed_by_itself_counts_as_the_random_policy(results, tmp_path):
    """Also where a return is not finite; one that the machine broke off is not there."""
    differences = with_interval(0.06, 0.1)
    for k, shift in ((0, np.zeros(10)), (1, differences)):
        curve = lambda seed, share, shift=shift: 23.2 + SPAN * (0.5 + shift[seed]) * share  # noqa: E731
        failed = {3: "loss is NaN"} if k else {}
        results.block("s", "cartpole", f"arm{k}", range(10), curve, failed=failed, k=k)
    expected = np.array(differences)
    expected[3] = 0.0 - 0.5
    row = judged_row(results, tmp_path)
    assert (row.failed, row.pairs) == (1, 10)
    assert row.effect == pytest.approx(expected.mean(), abs=1e-6)
    assert "10 (1 failed run)" in claims_table([judge(results, tmp_path)], "T").sections[0].rows[0]
    infinite = lambda seed, share: math.inf if seed == 7 and share > 0.5 else 23.2 + SPAN * 0.5 * share  # noqa: E731
    results.block("s", "other", "arm0", range(10), infinite, k=0)
    results.block("s", "other", "arm1", range(10), lambda _, share: 23.2 + SPAN * 0.6 * share, k=1)
    row = judged_row(results, tmp_path, FILE.replace("[cartpole]", "[other]"))
    assert (row.failed, row.pairs) == (1, 10)


def test_a_run_that_failed_first_has_failed_for_good(results, tmp_path):
    """Trained again with `retry=failed`, it has a score in other tables, and none here."""
    pair(results, with_interval(0.06, 0.1))
    first = next((results.root / "s" / "runs" / "cartpole").glob("arm1-*/seeds-*"))
    edit(first, started="2026-02-01T00:00:00+00:00")
    elsewhere = ResultsWriter(tmp_path / "elsewhere")
    failed = elsewhere.block("s", "cartpole", "arm1", [2], lambda *_: 0.0, failed={2: "loss is NaN"}, k=1)
    failed.rename(first.parent / failed.name)
    row = judged_row(results, tmp_path)
    assert (row.failed, row.pairs) == (1, 10)


def test_a_claim_over_several_tasks_is_told_task_by_task(results, tmp_path):
    text = FILE.replace("tasks: [cartpole]", "tasks: [cartpole, other, third]")
    pair(results, with_interval(0.06, 0.1))
    for task, k, value in (("other", 0, 0.5), ("other", 1, 0.1)):  # on a task whose bounds are 0 and 1
        results.block("s", task, f"arm{k}", range(10), lambda seed, _, v=value: v + 1 + 0.001 * seed, k=k)
    judged = judge(results, tmp_path, text)
    assert [row.verdict for row in judged.rows] == ["supported", "reversed", "missing"]
    assert judged.verdict == "supported on 1 of 3 tasks, reversed on 1, missing on 1"
    assert judged.rows[2].text == "missing: no runs of this task"


def test_foreign_files_change_nothing_and_damaged_ones_are_missing_pairs(results, tmp_path):
    pair(results, with_interval(0.06, 0.1))
    (results.root / "s" / "runs" / "cartpole" / "note.txt").write_text("mine")
    assert judged_row(results, tmp_path).word is Word.SUPPORTED
    block = next((results.root / "s" / "runs" / "cartpole").glob("arm1-*/seeds-*"))
    (block / "curves.parquet").write_bytes(b"PAR1")
    assert judged_row(results, tmp_path).text.startswith("missing: ")


def test_what_earlier_studies_lack_is_said_plainly(results, tmp_path):
    """Curves alone: a drawdown would be of dice, and nobody knows whether a spread is."""
    pair(results, with_interval(0.06, 0.1), counted=False)
    for block in (results.root / "s" / "runs" / "cartpole").glob("*/seeds-*"):
        (block / "episodes.parquet").unlink()
        edit(block, checksums=json.loads((block / "run.json").read_text())["checksums"] | {"policy.zip": "0" * 64})
    row = judged_row(results, tmp_path, FILE.replace("metric: final", "metric: drawdown"))
    assert row.text == "missing: drawdown needs exact returns or single episodes, which these results came without"
    row = judged_row(results, tmp_path, FILE.replace("metric: final", "metric: spread"))
    assert row.text.startswith("missing: spread needs exact returns or single episodes")
    row = judged_row(results, tmp_path, FILE.replace("metric: final", "metric: true_final"))
    assert row.text == "missing: true_final was not recorded: this task has no true score beside its reward"
    assert judged_row(results, tmp_path).noise is None


@pytest.mark.usefixtures("svg_only")
def test_the_files_for_other_programs_have_a_row_for_each_claim_and_task(results, tmp_path, monkeypatch):
    pair(results, with_interval(0.06, 0.1))
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "mine.yaml").write_text(FILE.replace("[cartpole]", "[cartpole, other]"))
    monkeypatch.setattr(hypotheses, "FOLDER", folder)
    cells = [{"task": "cartpole", "arm": f"arm{k}", "seeds": range(10), "k": k} for k in (0, 1)]
    results.study("s", cells, control="arm0")
    assert main(["study=s", f"results={results.root}"]) == 0
    report = results.root / "s" / "report"
    first, second = json.loads((report / "claims.json").read_text())
    half = 0.02 / STUDENT * scipy.stats.t.isf(0.05 / 2 / 2, 9) / math.sqrt(10)
    assert (first["low"], first["high"]) == pytest.approx((0.08 - half, 0.08 + half), abs=1e-5)
    assert {key: first[key] for key in ("file", "name", "task", "verdict", "pairs", "looks", "asked", "failed")} == {
        "file": "mine", "name": "it", "task": "cartpole", "verdict": "supported", "pairs": 10, "looks": [10],
        "asked": 10, "failed": 0,
    }  # fmt: skip
    assert (second["verdict"], second["effect"], second["text"]) == ("missing", None, "missing: no runs of this task")
    table = pd.read_csv(report / "claims.csv")
    assert table["verdict"].tolist() == ["supported", "missing"]
    assert table["low"][0] == pytest.approx(first["low"], abs=1e-12)
    assert list(table.columns) == list(first)
    assert r"\textbf" not in (report / "claims.tex").read_text()
    (control,) = json.loads((report / "control.json").read_text())
    assert (control["name"], control["against"], control["verdict"]) == ("arm1", "arm0", "supported")
    assert (control["low"], control["level"]) == (pytest.approx(0.06, abs=1e-5), 0.05)
    text = (report / "report.md").read_text()
    assert "Of 2 rows of claim and task: 1 supported, 1 missing." in text
    assert "![forest](forest.svg)" in text
    assert "With 10 pairs, a collapse in fewer than 1 of 4 runs could have gone unseen." in text
    for old in ("refuted", "undecided", "mixed", "Holm over the", "bootstrap interval, d"):
        assert old not in text


def test_an_arm_that_was_not_run_is_missing_and_named(results, tmp_path):
    results.block("s", "cartpole", "arm1", range(10), lambda *_: 100.0, k=1)
    judged = judge(results, tmp_path)
    assert judged.verdict == "missing"
    assert judged.rows[0].text == "missing: k=0: not run"


def test_a_selector_that_fits_several_arms_is_missing_not_a_choice(results, tmp_path):
    pair(results, with_interval(0.06, 0.1))
    results.block("s", "cartpole", "third", range(10), lambda *_: 100.0, k=1, gamma=0.9)
    assert "several arms" in judged_row(results, tmp_path).text


def test_arms_that_collect_otherwise_are_not_compared_unless_the_claim_is_about_that(results, tmp_path):
    for k, collect in ((0, "episodes"), (1, "segments")):
        results.block("s", "cartpole", f"arm{k}", range(10), lambda s, _, k=k: 100.0 + 50 * k + s, k=k, collect=collect)
    assert "reference line" in judged_row(results, tmp_path).text
    about = FILE.replace("{k: 1}", "{k: 1, collect: segments}").replace("{k: 0}", "{k: 0, collect: episodes}")
    assert judge(results, tmp_path, about).verdict == "supported"


def test_arms_that_differ_in_more_than_the_claim_names_are_not_compared(results, tmp_path):
    for k in (0, 1):
        results.block(
            "s", "cartpole", f"arm{k}", range(10), lambda s, _, k=k: 100.0 + 90 * k + s, k=k, epochs=1 + 9 * k
        )
    row = judged_row(results, tmp_path)
    assert row.text == "missing: the arms also differ in epochs (10, 1)"
    named = FILE.replace("{k: 1}", "{k: 1, epochs: 10}")
    assert judge(results, tmp_path, named).verdict == "supported"


def test_what_only_one_of_the_arms_has_comes_with_what_is_named(results, tmp_path):
    results.block("s", "cartpole", "arm0", range(10), lambda s, _: 100.0 + s, k=0)
    results.block("s", "cartpole", "arm1", range(10), lambda s, _: 200.0 + s, k=1, lr=0.1)  # arm0 has no such setting
    assert judge(results, tmp_path).verdict == "supported"


@pytest.mark.parametrize(("selector", "found"), [("null", "arm0"), ("[0.1, 0.2]", "arm1"), ("[null, 0.3]", "arm0")])
def test_a_selector_may_ask_for_what_is_not_there_or_for_one_of_several(results, selector, found):
    results.block("s", "cartpole", "arm0", range(2), lambda *_: 1.0, k=0)
    results.block("s", "cartpole", "arm1", range(2), lambda *_: 1.0, k=1, lr=0.1)
    records = load.read(["s"], results.root)
    of_task = arms(records.runs, records.factors)
    assert [arm.label for arm in of_task if selection.selects({"lr": yaml.safe_load(selector)}, arm.factors)] == [found]


def test_an_arm_may_be_held_against_a_constant(results, tmp_path):
    pair(results, with_interval(0.06, 0.1))
    fixed = FILE.replace("{k: 0}", "{constant: 0.3}").replace("higher", "equal")
    row = judged_row(results, tmp_path, fixed)
    assert (row.text, row.against, row.effect) == ("different: higher", "0.3", pytest.approx(0.28, abs=1e-6))
    row = judged_row(results, tmp_path, fixed.replace("{k: 1}", "{k: 0}").replace("0.3", "0.5"))
    assert (row.verdict, row.effect) == ("supported", pytest.approx(0.0, abs=1e-12))


def test_claims_planned_for_another_study_are_not_judged(results, tmp_path):
    pair(results, with_interval(0.06, 0.1))
    path = tmp_path / "claims.yaml"
    path.write_text(FILE.replace("[s]", "[t]"))
    records = load.read(["s"], results.root)
    assert verdicts.judge(hypotheses.read(path), records) == []


def test_what_another_study_has_on_the_same_task_is_no_arm_of_a_claim(results, tmp_path):
    """Two arms that fit one selector: that of a study the claim does not name was read beside it, and is not its."""
    pair(results, with_interval(0.06, 0.1))
    results.block("beside", "cartpole", "other", range(10), lambda *_: 400.0, k=1, gamma=0.9)
    path = tmp_path / "claims.yaml"
    path.write_text(FILE)
    alone, beside, behind = (load.read(names, results.root) for names in (["s"], ["s", "beside"], ["beside", "s"]))
    judged = [verdicts.judge(hypotheses.read(path), each) for each in (alone, beside, behind)]
    assert [claim.verdict for found in judged for claim in found] == ["supported"] * 3
    assert [row.effect for (found,) in judged for row in found.rows] == [judged[0][0].rows[0].effect] * 3


def test_a_cell_that_two_studies_have_is_an_arm_of_the_claims_of_both(results, tmp_path):
    """Wherever it was trained: of a cell found in two folders only one run is kept."""
    pair(results, with_interval(0.06, 0.1))
    first = next((results.root / "s" / "runs" / "cartpole").glob("arm1-*"))
    for study in ("s", "other"):
        results.study(study, [{"task": "cartpole", "arm": "arm1", "seeds": range(10), "k": 1}])
    (results.root / "other" / "runs" / "cartpole").mkdir(parents=True)
    first.rename(results.root / "other" / "runs" / "cartpole" / first.name)
    path = tmp_path / "claims.yaml"
    path.write_text(FILE)
    records = load.read(["other", "s"], results.root)
    (judged,) = verdicts.judge(hypotheses.read(path), records)
    assert judged.verdict == "supported"


def test_a_laboratory_metric_is_missing_until_it_is_measured(results, tmp_path):
    pair(results, with_interval(0.06, 0.1))
    row = judged_row(results, tmp_path, FILE.replace("metric: final", "metric: variance"))
    assert row.text == "missing: not measured; python -m bench lab study=s measures it"


def test_the_files_commit_is_shown_and_must_predate_the_runs(results, tmp_path):
    pair(results, with_interval(0.06, 0.1))
    for block in (results.root / "s").rglob("seeds-*"):
        edit(block, started="2026-01-01T00:00:00+00:00")
    results.block("s", "other", "arm0", range(3), lambda *_: 1.0, k=0)  # of no claim, so its time does not count
    for block in (results.root / "s" / "runs" / "other").rglob("seeds-*"):
        edit(block, started="2025-01-01T00:00:00+00:00")
    records = load.read(["s"], results.root)
    path = tmp_path / "claims.yaml"
    path.write_text(FILE)
    assert hypotheses.read(path).commit == ""

    def planned() -> str:
        ((row,),) = (each.rows for each in verdicts.judge(hypotheses.read(path), records))
        return row.planned

    assert planned() == ""

    def git(*arguments: str, date: str = "2025-06-01T00:00:00+00:00") -> None:
        identity = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        environment = {**identity, "GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date, "PATH": "/usr/bin:/bin"}
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True, env=environment)

    git("init")
    git("add", "claims.yaml")
    git("commit", "-m", "claims")
    assert len(hypotheses.read(path).commit) == 40
    assert planned() == "planned"
    path.write_text(FILE + "\n")
    assert hypotheses.read(path).commit == ""  # changed since
    git("commit", "-am", "later", date="2026-02-01T00:00:00+00:00")
    assert planned() == "not planned: committed after the first run"


def test_a_claim_that_was_written_knowing_the_main_pool_is_not_judged_on_it(results, tmp_path):
    """The effect is shown, as what it is; once there are runs on its own pool they alone count."""
    pair(results, with_interval(0.06, 0.1))
    confirmed = FILE.replace("seeds: 10}", "seeds: 10, seed_pool: confirmation}")
    row = judged_row(results, tmp_path, confirmed)
    assert (row.word, row.verdict, row.p) == (None, "not run yet", None)
    assert row.text == "not run yet: first results say supported"
    assert (row.effect, row.planned) == (pytest.approx(0.08, abs=1e-6), "not planned: written knowing these runs")
    for k, shift in ((0, 0.0), (1, -0.2)):
        curve = lambda seed, share, shift=shift: 23.2 + SPAN * (0.5 + shift + 0.001 * seed) * share  # noqa: E731
        block = results.block("s", "cartpole", f"arm{k}", range(10), curve, k=k, seed_pool="confirmation")
        edit(block, seed_pool="confirmation")
    row = judged_row(results, tmp_path, confirmed)
    assert (row.word, row.effect) == (Word.REVERSED, pytest.approx(-0.2, abs=1e-6))
    assert judged_row(results, tmp_path).word is Word.SUPPORTED  # the main pool's, and nothing else


@pytest.mark.parametrize("against", ["{name: arm1}", "{k: [1, 7]}"])
def test_two_selectors_of_one_arm_are_no_comparison(results, tmp_path, against):
    pair(results, with_interval(0.06, 0.1))
    row = judged_row(results, tmp_path, FILE.replace("{k: 0}", against))
    assert row.word is None
    assert row.text.endswith("are one arm, arm1")


def with_episodes(block: Path, returns: Callable[[int, int], float]) -> None:
    """Give a block other episodes: the return of each by its seed and number."""
    table = pd.read_parquet(block / "episodes.parquet")
    values = [returns(seed, episode) for seed, episode in zip(table["seed"], table["episode"], strict=True)]
    table.assign(**{"return": values}).to_parquet(block / "episodes.parquet", index=False)
    sums = json.loads((block / "run.json").read_text())["checksums"]
    edit(block, checksums=sums | {"episodes.parquet": sha256(block / "episodes.parquet")})


def test_the_share_of_noise_is_that_of_two_halves_of_the_episodes(results, tmp_path):
    """Differences 0, 1, 2, 3 by one half and 1, 0, 3, 2 by the other: 1 - 1 / (4/3)."""
    halves = ((0, 1, 2, 3), (1, 0, 3, 2))
    for k in (0, 1):
        block = results.block("s", "cartpole", f"arm{k}", range(4), lambda seed, _: 100.0 + seed, k=k, counted=False)
        with_episodes(block, lambda seed, episode, k=k: 100.0 + k * halves[episode][seed])
    for metric in ("final", "area"):
        found = judged_row(results, tmp_path, FILE.replace("metric: final", f"metric: {metric}"))
        assert found.noise == pytest.approx(0.25)
    assert judged_row(results, tmp_path, FILE.replace("metric: final", "metric: log_parameters")).noise is None
    dice = judged_row(results, tmp_path, FILE.replace("metric: final", "metric: spread"))
    assert dice.noise == pytest.approx(0.25)  # of the noisier arm's final scores
    assert dice.text.endswith("of the 10 pairs asked for (uninformative: it would measure dice, 25% of the variance of "
                              "final scores is noise of evaluations so far)")  # fmt: skip


def test_without_the_episodes_the_share_of_noise_is_not_known_and_of_exact_scores_it_is_0(results, tmp_path):
    for k in (0, 1):
        block = results.block("s", "cartpole", f"arm{k}", range(3), lambda seed, _: 100.0 + seed, k=k, counted=False)
        results.block("s", "weekly_exam", f"arm{k}", range(3), lambda seed, _: 60.0 + seed, exact=True, k=k)
        (block / "episodes.parquet").unlink()
        edit(block, checksums=json.loads((block / "run.json").read_text())["checksums"] | {"policy.zip": "0" * 64})
    judged = judge(results, tmp_path, FILE.replace("[cartpole]", "[cartpole, weekly_exam]"))
    assert [row.noise for row in judged.rows] == [None, 0.0]
    table = claims_table([judged], "T")
    assert table.header[-1] == "noise"
    assert [row[-1] for row in table.sections[0].rows] == ["–", "0.00"]


def test_arms_with_exact_returns_are_judged_by_them_beside_others_without(results, tmp_path):
    """A third arm of the task is sampled, so tables show means of episodes: the two that are compared are exact."""
    pair(results, with_interval(0.06, 0.1), exact=True)
    results.block("s", "cartpole", "third", range(10), lambda seed, _: 100.0 + seed, k=2)
    records = load.read(["s"], results.root)
    assert (records.exact, records.partly_exact) == (frozenset(), {"cartpole"})
    row = judged_row(results, tmp_path, FILE.replace("metric: final", "metric: drawdown"))
    assert (row.noise, row.low, row.high) == (0.0, pytest.approx(0.0, abs=1e-12), pytest.approx(0.0, abs=1e-12))
    assert judged_row(results, tmp_path).noise == 0.0
    sampled = judged_row(results, tmp_path, FILE.replace("{k: 0}", "{k: 2}"))
    assert sampled.effect == pytest.approx(0.58 - (99.0 + 4.5 - 22.2) / SPAN, abs=1e-6)  # exact ones lie 0.1 higher


def test_a_block_whose_episodes_are_damaged_keeps_its_scores(results, tmp_path):
    for k in (0, 1):
        block = results.block("s", "cartpole", f"arm{k}", range(3), lambda seed, _: 100.0 + seed, k=k, counted=False)
        (block / "episodes.parquet").write_bytes(b"PAR1")
    records = load.read(["s"], results.root)
    assert set(records.runs["status"]) == {"done"}
    assert [str(problem) for problem in records.problems] == [
        f"{problem.path}: its curves are used, its episodes are not: episodes.parquet does not match its checksum"
        for problem in records.problems
    ]
    assert len(records.problems) == 2
    assert judged_row(results, tmp_path).noise is None
