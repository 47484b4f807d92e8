"""Tables: hand-made numbers in, the right text out, in every format."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load, tables


def flat(seed: int, _share: float) -> float:
    return 100.0 + 10 * seed


@pytest.fixture
def estimates(results) -> pd.DataFrame:
    cells = [{"task": task, "arm": "a", "seeds": range(5)} for task in ("cartpole", "weekly_exam")]
    results.study("s", [*cells, {"task": "cartpole", "arm": "b_1", "seeds": range(3), "k": 1}])
    results.block("s", "cartpole", "a", range(5), flat, failed={4: "loss is NaN"})
    results.block("s", "weekly_exam", "a", range(5), flat)
    results.block("s", "cartpole", "b_1", [0, 1], flat, k=1)
    return tables.comparison(load.read(["s"], results.root).runs, reps=500)


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
    together = estimates[estimates["task"] == tables.ALL_TASKS]
    assert set(together["arm"]) == {"a"}
    by_task = [(115 - 22.2) / (500 - 22.2), (120 - 54.1) / (71.36 - 54.1)]
    assert row(estimates, tables.ALL_TASKS, "a")["mean"] == pytest.approx(np.mean(by_task))


def test_an_arm_without_any_run_is_a_dash_not_a_zero(results):
    results.study(
        "s", [{"task": "cartpole", "arm": "a", "seeds": [0]}, {"task": "cartpole", "arm": "b", "seeds": [0], "k": 1}]
    )
    results.block("s", "cartpole", "a", [0], flat)
    table = tables.comparison_table(tables.comparison(load.read(["s"], results.root).runs, reps=50))
    assert table.sections[0].rows[1] == ("b", "0 (1 missing)", "–", "–", "–", "–")


def test_adding_an_arm_moves_no_other_arms_interval(results):
    results.block("s", "cartpole", "a", range(5), flat)
    alone = row(tables.comparison(load.read(["s"], results.root).runs, reps=200), "cartpole", "a")
    results.block("s", "cartpole", "b", range(5), flat, k=1)
    beside = row(tables.comparison(load.read(["s"], results.root).runs, reps=200), "cartpole", "a")
    pd.testing.assert_series_equal(alone, beside, check_names=False)


@pytest.mark.parametrize(
    ("interval", "decimals", "text"),
    [
        ((487.31, 480.06, 492.99), 1, "487.3 [480.1, 493.0]"),
        ((-110.0, -112.5, -108.25), 1, "−110.0 [−112.5, −108.2]"),
        ((-0.01, -0.04, 0.04), 1, "0.0 [0.0, 0.0]"),
        ((np.nan, np.nan, np.nan), 1, "–"),
    ],
)
def test_interval_text(interval, decimals, text):
    assert tables.interval_text(interval, decimals) == text


NASTY = tables.Table(
    "100 % of a_b & c",
    ("arm", "n"),
    (tables.Section("task_1 <b>", (("a|b_c", "1"), ("[x]*{\\}$^~#", "–"))),),
)


def test_markdown_has_one_table_per_section_and_escapes_its_signs():
    lines = tables.markdown(NASTY).splitlines()
    assert lines[2] == r"**task_1 \<b\>**"
    assert lines[4:6] == ["| arm | n |", "|---|---:|"]
    assert lines[6] == r"| a\|b_c | 1 |"
    assert lines[7].startswith(r"| [x]\*{\\}$^~\# |")


def test_csv_keeps_every_digit(estimates):
    back = pd.read_csv(io.StringIO(tables.csv(estimates)))
    pd.testing.assert_frame_equal(back, estimates, check_dtype=False, check_exact=True)


def test_latex_has_booktabs_rules_and_escapes_its_signs():
    text = tables.latex(NASTY)
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"100 \% of a\_b \& c" in text
    assert r"{}[x]*\{\textbackslash{}\}\$\textasciicircum{}\textasciitilde{}\# & -- \\" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.slow
def test_latex_compiles_and_fits_the_page(tmp_path: Path, quick_like):
    estimates = tables.comparison(load.read(["quick"], quick_like.root).runs, reps=50)
    body = "".join(tables.latex(tables.comparison_table(estimates, [mode])) for mode in load.MODES) + tables.latex(
        NASTY
    )
    source = "\\documentclass{article}\\usepackage{booktabs,textcomp}\\begin{document}\n" + body + "\\end{document}\n"
    (tmp_path / "paper.tex").write_text(source)
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Overfull" not in run.stdout
