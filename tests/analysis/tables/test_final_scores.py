"""Final scores: hand-made numbers in, the right estimates and the right text out."""

import dataclasses
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.claims import comparisons
from analysis.tables import formats
from analysis.tables.final_scores import aggregate_table, compared_name, compared_tasks, comparison, comparison_table
from tests.analysis.conftest import BOUNDS
from tests.analysis.tables.test_formats import NASTY


def flat(seed: int, _share: float) -> float:
    return 100.0 + 10 * seed


@pytest.fixture
def estimates(results) -> pd.DataFrame:
    cells = [{"task": task, "arm": "a", "seeds": range(5)} for task in ("cartpole", "weekly_exam")]
    results.study("s", [*cells, {"task": "cartpole", "arm": "b_1", "seeds": range(3), "k": 1}])
    results.block("s", "cartpole", "a", range(5), flat, failed={4: "loss is NaN"})
    results.block("s", "weekly_exam", "a", range(5), flat)
    results.block("s", "cartpole", "b_1", [0, 1], flat, k=1)
    return comparison(load.read(["s"], results.root).runs, reps=500)


def row(estimates: pd.DataFrame, task: str, arm: str, mode: str = "deterministic") -> pd.Series:
    chosen = (estimates["task"] == task) & (estimates["arm"] == arm) & (estimates["mode"] == mode)
    return estimates[chosen].iloc[0]


def test_estimates_are_over_the_runs_with_a_score(estimates):
    found = row(estimates, "cartpole", "a")
    assert (found["n"], found["failed"], found["missing"]) == (4, 1, 0)
    assert found["mean"] == found["iqm"] == pytest.approx(115.0)  # 100, 110, 120, 130
    assert 100 <= found["mean_low"] < 115 < found["mean_high"] <= 130


def test_a_planned_seed_that_was_never_run_is_counted_as_missing(estimates):
    assert row(estimates, "cartpole", "b_1")[["n", "missing"]].tolist() == [2, 1]


def test_aggregates_are_normalised_and_only_for_arms_on_every_task(estimates):
    together = estimates[estimates["task"] == "all tasks (normalised)"]
    assert set(together["arm"]) == {"a"}
    by_task = [(115 - 22.2) / (500 - 22.2), (120 - 54.1) / (71.36 - 54.1)]
    assert row(estimates, "all tasks (normalised)", "a")["mean"] == pytest.approx(np.mean(by_task))


def test_aggregates_leave_out_a_task_that_shares_no_arm_with_the_others(results):
    """As of an experiment of its own; the tasks that are compared are named."""
    for task in ("cartpole", "weekly_exam"):
        for k, arm in enumerate("ab"):
            results.block("s", task, arm, [0, 1], lambda *_: 60.0, k=k)
    results.block("s", "apart", "c", [0, 1], lambda *_: 1.0, k=2)
    runs = load.read(["s"], results.root).runs
    assert compared_tasks(runs) == ["cartpole", "weekly_exam"]
    found = comparison(runs, reps=50)
    together = found[found["task"] == "cartpole, weekly_exam (normalised)"]
    assert set(together["arm"]) == {"a", "b"}
    expected = np.mean([(60 - 22.2) / (500 - 22.2), (60 - 54.1) / (71.36 - 54.1)])
    assert together.query("mode == 'deterministic'")["mean"].to_numpy() == pytest.approx(expected)
    bridge = pd.concat([runs, runs[runs["task"] == "apart"].assign(arm="a")])
    assert compared_name(bridge) == "all tasks"


def test_failing_is_the_share_of_runs_below_the_midpoint_of_random_and_reference(results):
    results.block("s", "cartpole", "a", range(4), lambda seed, _: [100.0, 260.0, 263.0, 490.0][seed])  # midpoint 261.1
    found = comparison(load.read(["s"], results.root).runs, reps=50)
    assert row(found, "cartpole", "a")["failing"] == 0.5
    assert comparison_table(found).sections[0].rows[0][4] == "50 %"


def test_a_true_score_beside_the_return_is_summarised_like_it(results):
    for k, (arm, worth) in enumerate([("cheats", 60.0), ("honest", 70.0)]):
        true = lambda seed, _, worth=worth: worth + seed  # noqa: E731
        results.block("s", "weekly_exam", arm, range(4), lambda seed, _, k=k: 90.0 - k + seed, true=true, k=k)
    results.block("s", "cartpole", "cheats", range(4), flat, k=0)
    runs = load.read(["s"], results.root).runs
    assert [measure.label for measure in load.measures(runs)] == ["cartpole", "weekly_exam", "weekly_exam (true score)"]
    found = comparison(runs, reps=200)
    assert row(found, "weekly_exam (true score)", "honest")["mean"] == pytest.approx(71.5)
    assert row(found, "weekly_exam", "cheats")["mark"] == "highest"
    assert row(found, "weekly_exam (true score)", "honest")["mark"] == "highest"
    records = load.read(["s"], results.root)
    compared = comparisons.against_control(dataclasses.replace(records, control="honest"))
    found = {each.measure.label: each.row for each in compared}
    low, high = BOUNDS["weekly_exam"]
    assert found["weekly_exam"].effect == pytest.approx(1.0 / (high - low))
    assert found["weekly_exam (true score)"].effect == pytest.approx(-10.0 / (high - low))
    assert {row.level for row in found.values()} == {0.05 / 2}


def test_an_arm_without_any_run_is_a_dash_not_a_zero(results):
    results.study(
        "s", [{"task": "cartpole", "arm": "a", "seeds": [0]}, {"task": "cartpole", "arm": "b", "seeds": [0], "k": 1}]
    )
    results.block("s", "cartpole", "a", [0], flat)
    table = comparison_table(comparison(load.read(["s"], results.root).runs, reps=50))
    assert table.sections[0].rows[1] == ("b", "0 (1 missing)", *("–",) * 6)


def test_adding_an_arm_moves_no_other_arms_interval(results):
    results.block("s", "cartpole", "a", range(5), flat)
    alone = row(comparison(load.read(["s"], results.root).runs, reps=200), "cartpole", "a")
    results.block("s", "cartpole", "b", range(5), flat, k=1)
    beside = row(comparison(load.read(["s"], results.root).runs, reps=200), "cartpole", "a")
    assert (alone.pop("mark"), beside.pop("mark")) == ("", "highest")
    pd.testing.assert_series_equal(alone, beside, check_names=False)


def test_csv_keeps_every_digit(estimates):
    back = pd.read_csv(io.StringIO(formats.csv(estimates)), keep_default_na=False, na_values=["nan"])
    pd.testing.assert_frame_equal(back, estimates, check_dtype=False, check_exact=True)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.slow
def test_latex_compiles_and_fits_the_page(tmp_path: Path, quick_like):
    estimates = comparison(load.read(["quick"], quick_like.root).runs, reps=50)
    tables = [comparison_table(estimates, [mode]).of("arm", "n", "mean") for mode in load.MODES]
    body = "".join(formats.latex(table, "scores") for table in [*tables, NASTY])
    source = (
        "\\documentclass[twocolumn]{article}\\usepackage{booktabs,textcomp}\\begin{document}\n"
        + body
        + "\\end{document}\n"
    )
    (tmp_path / "paper.tex").write_text(source)
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Overfull" not in run.stdout


def test_the_highest_mean_is_bold_and_what_is_not_told_apart_is_italic(results):
    """`near` is higher by 3 in four pairs and lower by 3 in six."""
    curves = {"low": lambda s, _: 50.0 + s, "near": lambda s, _: 97.0 + 6 * (s % 5 < 2), "top": lambda *_: 100.0}
    for k, (arm, curve) in enumerate(curves.items()):
        results.block("s", "cartpole", arm, range(10), curve, k=k)
    runs = load.read(["s"], results.root).runs
    rows = comparison_table(comparison(runs, reps=500)).sections[0].rows
    assert [type(row[2]).__name__ for row in rows] == ["str", "Tied", "Best"]


def test_aggregates_need_several_tasks(results):
    results.block("s", "cartpole", "a", [0, 1], lambda *_: 262.1)  # stochastic: halfway
    assert aggregate_table(load.read(["s"], results.root).runs) is None
    results.block("s", "weekly_exam", "a", [0, 1], lambda *_: 72.36)  # stochastic: the reference
    table = aggregate_table(load.read(["s"], results.root).runs)
    expected = [("a", "4", *(f"{value} [{value}, {value}]" for value in ("0.750", "0.750", "0.750", "0.250")))]
    assert list(table.sections[0].rows) == expected
