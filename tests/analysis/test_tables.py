"""Tables: hand-made numbers in, the right text out, in every format."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.claims import comparisons
from analysis.load import records as load
from analysis.tables import formats, tables


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
    assert tables.compared_tasks(runs) == ["cartpole", "weekly_exam"]
    found = tables.comparison(runs, reps=50)
    together = found[found["task"] == "cartpole, weekly_exam (normalised)"]
    assert set(together["arm"]) == {"a", "b"}
    expected = np.mean([(60 - 22.2) / (500 - 22.2), (60 - 54.1) / (71.36 - 54.1)])
    assert together.query("mode == 'deterministic'")["mean"].to_numpy() == pytest.approx(expected)
    bridge = pd.concat([runs, runs[runs["task"] == "apart"].assign(arm="a")])
    assert tables.compared_name(bridge) == "all tasks"


def test_failing_is_the_share_of_runs_below_the_midpoint_of_random_and_reference(results):
    results.block("s", "cartpole", "a", range(4), lambda seed, _: [100.0, 260.0, 263.0, 490.0][seed])  # midpoint 261.1
    found = tables.comparison(load.read(["s"], results.root).runs, reps=50)
    assert row(found, "cartpole", "a")["failing"] == 0.5
    assert tables.comparison_table(found).sections[0].rows[0][4] == "50 %"


def test_a_true_score_beside_the_return_is_summarised_like_it(results):
    for k, (arm, worth) in enumerate([("cheats", 60.0), ("honest", 70.0)]):
        true = lambda seed, _, worth=worth: worth + seed  # noqa: E731
        results.block("s", "weekly_exam", arm, range(4), lambda seed, _, k=k: 90.0 - k + seed, true=true, k=k)
    results.block("s", "cartpole", "cheats", range(4), flat, k=0)
    runs = load.read(["s"], results.root).runs
    assert [measure.label for measure in load.measures(runs)] == ["cartpole", "weekly_exam", "weekly_exam (true score)"]
    found = tables.comparison(runs, reps=200)
    assert row(found, "weekly_exam (true score)", "honest")["mean"] == pytest.approx(71.5)
    assert row(found, "weekly_exam", "cheats")["mark"] == "best"
    assert row(found, "weekly_exam (true score)", "honest")["mark"] == "best"
    differences = comparisons.against_control(runs, "honest", reps=200).set_index("task")["difference"]
    assert differences["weekly_exam"] == pytest.approx(1.0)
    assert differences["weekly_exam (true score)"] == pytest.approx(-10.0)


def test_an_arm_without_any_run_is_a_dash_not_a_zero(results):
    results.study(
        "s", [{"task": "cartpole", "arm": "a", "seeds": [0]}, {"task": "cartpole", "arm": "b", "seeds": [0], "k": 1}]
    )
    results.block("s", "cartpole", "a", [0], flat)
    table = tables.comparison_table(tables.comparison(load.read(["s"], results.root).runs, reps=50))
    assert table.sections[0].rows[1] == ("b", "0 (1 missing)", *("–",) * 6)


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
    assert formats.interval_text(interval, decimals) == text


NASTY = formats.Table(
    "100 % of a_b & c",
    ("arm", "n"),
    (formats.Section("task_1 <b>", (("a|b_c", "1"), ("[x]*{\\}$^~#", "–"))),),
)


def test_markdown_has_one_table_per_section_and_escapes_its_signs():
    lines = formats.markdown(NASTY).splitlines()
    assert lines[2] == r"**task_1 \<b\>**"
    assert lines[4:6] == ["| arm | n |", "|---|---:|"]
    assert lines[6] == r"| a\|b_c | 1 |"
    assert lines[7].startswith(r"| [x]\*{\\}$^~\# |")


def test_csv_keeps_every_digit(estimates):
    back = pd.read_csv(io.StringIO(formats.csv(estimates)), keep_default_na=False, na_values=["nan"])
    pd.testing.assert_frame_equal(back, estimates, check_dtype=False, check_exact=True)


def test_latex_has_booktabs_rules_and_escapes_its_signs():
    text = formats.latex(NASTY)
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"100 \% of a\_b \& c" in text
    assert r"{}[x]*\{\textbackslash{}\}\$\textasciicircum{}\textasciitilde{}\# & -- \\" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.slow
def test_latex_compiles_and_fits_the_page(tmp_path: Path, quick_like):
    estimates = tables.comparison(load.read(["quick"], quick_like.root).runs, reps=50)
    body = "".join(formats.latex(tables.comparison_table(estimates, [mode])) for mode in load.MODES) + formats.latex(
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


@pytest.fixture
def compared(results) -> pd.DataFrame:
    """Three arms: the control, one that is 5 better on every seed, one that collects otherwise."""
    results.block("s", "cartpole", "control", range(6), lambda seed, _: 100.0 + seed, collect="episodes")
    results.block("s", "cartpole", "better", range(6), lambda seed, _: 105.0 + seed, collect="episodes", k=1)
    results.block("s", "cartpole", "ppo", range(6), lambda seed, _: 400.0 + seed, collect="segments", k=2)
    results.study("s", [{"task": "cartpole", "arm": "never", "seeds": range(6), "collect": "episodes", "k": 3}])
    return load.read(["s"], results.root).runs


def test_a_paired_difference_to_the_control_has_its_exact_p_and_counts_planned_comparisons(compared):
    found = comparisons.against_control(compared, "control", reps=200).set_index("arm").loc["better"]
    assert found["pairs"] == 6
    assert found["difference"] == found["difference_low"] == found["difference_high"] == pytest.approx(5.0)
    assert found["p"] == 2 / 2**6
    assert found["p_holm"] == 2 * found["p"]  # the arm that was never run is in the family too
    assert found["correlation"] == pytest.approx(1.0)
    assert found["improvement"] == pytest.approx(35.5 / 36)  # one tie


def test_an_arm_that_collects_otherwise_is_a_reference_line_not_a_test(compared):
    found = comparisons.against_control(compared, "control", reps=50)
    row = found.set_index("arm").loc["ppo"]
    assert row["reason"] == "reference line: collect=segments, the control's is episodes"
    assert np.isnan(row["p"])
    text = tables.control_table(found, "control").sections[0].rows
    assert ("ppo", "–", row["reason"], "–", "–", "–", "–") in text


def test_a_comparison_without_pairs_is_a_dash(compared):
    rows = tables.control_table(comparisons.against_control(compared, "control", reps=50), "control").sections[0].rows
    assert next(row for row in rows if row[0] == "never")[1:] == ("0", "–", "–", "–", "–", "–")


def test_power_is_that_of_the_adjusted_level_and_the_fewest_pairs(compared):
    found = comparisons.power(comparisons.against_control(compared, "control", reps=50))
    assert (found.comparisons, found.pairs) == (2, 6)
    assert found.correlation == pytest.approx(1.0)
    assert found.detectable > 1.4


def test_the_best_arm_is_bold_and_what_may_equal_it_is_italic(results):
    for k, (arm, level, spread) in enumerate([("low", 50, 1), ("near", 99, 4), ("top", 100, 4)]):
        results.block("s", "cartpole", arm, range(10), lambda s, _, a=level, b=spread: a + b * (s % 3), k=k)
    runs = load.read(["s"], results.root).runs
    rows = tables.comparison_table(tables.comparison(runs, reps=500)).sections[0].rows
    assert [type(row[2]).__name__ for row in rows] == ["str", "Tied", "Best"]


def test_costs_are_per_run_and_per_block_where_they_must_be(compared):
    row = tables.costs(compared).set_index("arm").loc["better"]
    assert row["wall_seconds"] == pytest.approx(30.0 / 6)
    assert row["steps_per_second"] == 30_000
    assert row["parameters"] == 4610 + 4545
    text = tables.cost_table(tables.costs(compared)).sections[0].rows[0]
    assert text == ("better", "1,000", "10", "5.00", "4.67", "30,000", "9,155", "400")


def test_html_escapes_and_marks():
    table = formats.Table("a < b", ("arm", "n"), (formats.Section("", (("<script>", formats.Best("1")),)),))
    text = formats.html(table)
    assert "<script>" not in text
    assert "<strong>1</strong>" in text
    assert "a &lt; b" in text
