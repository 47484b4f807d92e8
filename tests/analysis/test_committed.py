"""The committed results: small, and their reports are what the analysis makes of them."""

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from analysis.cli import main
from bench.paths import ROOT

MOST_BYTES, MOST_FILES = (
    18_000_000,
    400,
)  # of which 3.6 MB are 396,000 numbers of 240 policies, 2.3 MB the honest policy


def committed(folder: Path) -> list[Path]:
    """The files below a folder that git knows."""
    listed = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "-z", "."], capture_output=True, text=True, check=True
    )
    return [folder / name for name in listed.stdout.split("\0") if name]


def test_they_are_small() -> None:
    found = committed(ROOT / "results")
    assert len(found) < MOST_FILES
    assert sum(path.stat().st_size for path in found) < MOST_BYTES


def words(path: Path) -> list[str]:
    """The lines of a report, but for the commit of a claims file, which may be younger than the report."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if ".yaml: commit " not in line]


@pytest.mark.usefixtures("svg_only")  # no other format is committed
@pytest.mark.parametrize("study", ["honest", pytest.param("article", marks=pytest.mark.slow)])
def test_a_report_drawn_again_says_and_shows_the_same(study: str, tmp_path: Path) -> None:
    """From packs alone: means and variances, what the records say of each seed, and what the laboratory measured."""
    shutil.copytree(ROOT / "results" / study, tmp_path / study, ignore=shutil.ignore_patterns("report"))
    assert main([f"study={study}", f"results={tmp_path}"]) == 0
    report = tmp_path / study / "report"
    known = committed(ROOT / "results" / study / "report")
    assert words(report / "report.md") == words(ROOT / "results" / study / "report" / "report.md")
    assert {path.name for path in known if path.suffix == ".svg"} >= {"learning_curves_stochastic.svg"}
    for path in known:
        assert (report / path.name).is_file()
        if path.suffix == ".csv":
            pd.testing.assert_frame_equal(pd.read_csv(report / path.name), pd.read_csv(path), rtol=1e-9)
