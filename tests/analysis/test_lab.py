"""The laboratory's section of a report, from a small study that really was measured."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis import lab
from analysis.cli import main as analyse
from bench.cli import main


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stage of the exam question."""
    place = tmp_path_factory.mktemp("results")
    arguments = [
        "task=exam_question", "stages=start", "jobs=1", "baselines=none,critic,rloo,grpo", "critics=exact,learned",
        "advantages=td0,gae,monte_carlo", "anchors=4", "times=1", "futures=4", "batches=16", "batch_multiples=1,2",
        "group_sizes=2", f"results={place}",
    ]  # fmt: skip
    assert main(["lab", *arguments]) == 0
    return place


@pytest.fixture(scope="module")
def found(results: Path) -> lab.Laboratory:
    laboratory = lab.read(results / "lab")
    assert laboratory is not None
    return laboratory


def test_the_report_of_a_measured_study(results: Path) -> None:
    assert analyse(["study=lab", f"results={results}"]) == 0
    folder = results / "lab" / "report"
    for name in lab.FIGURES:
        assert (folder / f"{name}_exam_question.png").stat().st_size > 5000, name
    text = (folder / "report.md").read_text()
    for fragment in ("| critic-gae |", "| none-monte_carlo |", "Where a baseline hurts", "time_limited truth, exact"):
        assert fragment in text
    assert "<h2>The estimators, measured</h2>" in (folder / "index.html").read_text()


def test_a_damaged_stage_is_named_and_told_by_the_exit_code(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results, tmp_path / "results")
    (file,) = (tmp_path / "results").rglob("figures.parquet")
    second = file.parents[1].with_name("middle-0") / file.parent.name
    shutil.copytree(file.parent, second)
    (second / "figures.parquet").write_bytes(b"damaged")
    assert analyse(["study=lab", f"results={tmp_path / 'results'}"]) == 1
    assert "middle-0" in capsys.readouterr().err


def test_the_closing_table_divides_by_the_signal(found: lab.Laboratory) -> None:
    table = lab.closing_table(found, "exam_question", {"none-monte_carlo": (0.6, 0.5, 0.7)})
    (section,) = table.sections
    row = next(row for row in section.rows if row[0] == "none-monte_carlo")
    figures = found.of("exam_question", "advantage").query("arm == 'none-monte_carlo'").set_index("quantity")["value"]
    assert row[3].startswith(f"{figures['variance'] / figures['signal']:.3f}"[:4])
    assert row[-1] == "0.60 [0.50, 0.70]"
    assert {row[-1] for row in section.rows if row[0] != "none-monte_carlo"} == {"–"}


def test_in_a_single_step_all_targets_are_one(found: lab.Laboratory) -> None:
    """A negative control: TD, GAE and Monte Carlo cannot differ where an episode has one step."""
    rows = found.figures[(found.figures["baseline"] == "critic") & (found.figures["critic"] == "exact")]
    rows = rows[~rows["swept"]]
    keys = ["level", "weights", "episodes", "step", "kind", "quantity"]
    wide = rows[rows["level"] != "kind"].pivot_table(index=keys, columns="advantage", values="value", dropna=False)
    wide = wide.dropna(how="all")
    pd.testing.assert_series_equal(wide["td0"], wide["monte_carlo"], check_names=False)
    pd.testing.assert_series_equal(wide["gae"], wide["monte_carlo"], check_names=False)


def test_what_is_missing_is_named(results: Path) -> None:
    index = results / "lab" / lab.INDEX
    before = index.read_text()
    planned = '{"task": "weekly_exam", "stage": "end", "hash": "0", "path": "lab/weekly_exam/end-0/seeds-000"}'
    index.write_text(before.replace('"cells": [', f'"cells": [{planned},', 1))
    laboratory = lab.read(results / "lab")
    index.write_text(before)
    assert laboratory is not None
    assert laboratory.missing == ("weekly_exam end",)


def test_a_study_without_a_laboratory_has_no_section(tmp_path: Path) -> None:
    assert lab.read(tmp_path) is None
