"""The entry point: what it writes, what it says, how it fails."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from analysis.cli import main
from analysis.figures import gallery
from analysis.report import files
from bench import packs
from bench.records import block as blocks
from bench.records.files import WRITING
from tests.analysis.conftest import edit

EXPECTED = {
    *("comparison.md", "comparison.csv", "comparison.tex", "costs.csv", "runs.csv", "report.md", "index.html"),
    *(
        f"{figure}_{mode}.{kind}"
        for figure in ("learning_curves", "final_scores")
        for mode in ("deterministic", "stochastic")
        for kind in ("svg", "png", "pdf")
    ),
}


def pack(study: Path) -> None:
    """Hand a study on: its pack in place of its folders, whatever is in them."""
    found = sorted(path for path in (study / "runs").glob("*/*/*/*") if path.name not in blocks.OPTIONAL)
    packs.write(study / "runs.tar.xz", [(path.relative_to(study).as_posix(), path.read_bytes()) for path in found])
    shutil.rmtree(study / "runs")


def rising(seed: int, share: float) -> float:
    return 100.0 * share + seed


@pytest.fixture
def one_figure(monkeypatch, svg_only):  # noqa: ARG001
    """Reports with a single figure, as SVG, for tests that are not about figures."""
    figures = {"final_scores_stochastic": gallery.FIGURES["final_scores_stochastic"]}
    monkeypatch.setattr(files, "FIGURES", figures)
    monkeypatch.setattr(files, "MAIN_FIGURES", tuple(figures))


@pytest.mark.usefixtures("one_figure")
def test_a_report_shows_one_pool_of_seeds_and_says_which(results, capsys):
    """A folder that has first results and those that confirm: no arm stands there twice."""
    results.study("s", [{"task": "cartpole", "arm": arm, "seeds": range(3), "k": arm} for arm in "ab"])
    for pool, score in (("main", 100.0), ("confirmation", 200.0)):
        for arm in "ab":
            results.block("s", "cartpole", arm, range(3), lambda seed, _, s=score: s + seed, seed_pool=pool, k=arm)
    table = results.root / "s" / "report" / "comparison.csv"
    assert main(["study=s", f"results={results.root}"]) == 0
    assert "runs of the confirmation pool of seeds; seed_pool=main shows the others" in capsys.readouterr().out
    shown = pd.read_csv(table)
    assert sorted(shown["arm"].unique()) == ["a", "b"]
    assert shown["mean"].between(200, 202).all()
    assert main(["study=s", f"results={results.root}", "seed_pool=main"]) == 0
    shown = pd.read_csv(table)
    assert sorted(shown["arm"].unique()) == ["a", "b"]
    assert shown["mean"].between(100, 102).all()
    assert main(["study=s", f"results={results.root}", "seed_pool=tuning"]) == 2
    assert "unknown seed_pool 'tuning': allowed are confirmation, main" in capsys.readouterr().err


@pytest.mark.usefixtures("one_figure")
def test_the_answer_does_not_count_arms_without_a_run_as_beaten(results):
    results.study("s", [{"task": "cartpole", "arm": arm, "seeds": range(8), "k": k} for k, arm in enumerate("abc")])
    for k, arm in enumerate("ab"):
        results.block("s", "cartpole", arm, range(8), lambda seed, _, k=k: 300.0 - 100 * k + seed, k=k)
    main(["study=s", f"results={results.root}"])
    said = (results.root / "s" / "report" / "report.md").read_text()
    assert "cartpole: a has the highest mean, 302.50 [" in said
    assert "], n=8; not told apart from b; 1 arm without a score." in said  # by one difference, eight times


def _in_short(results, arms, seeds):
    for k, arm in enumerate(arms):
        results.block("s", "cartpole", arm, seeds, lambda seed, _, k=k: 300.0 - 0.1 * k + seed, k=k)
    main(["study=s", f"results={results.root}"])
    said = (results.root / "s" / "report" / "report.md").read_text()
    return next(line for line in said.splitlines() if line.startswith("- cartpole: "))


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize(
    ("arms", "seeds", "line"),
    [
        ("a", [3], "a has 302.00, n=1."),  # no interval, no rank
        ("ab", [3], "2 arms with a score and no rank: it takes two arms with two seeds each."),
        ("ab", [3, 4], "a has the highest mean, 302.50 [302.00, 303.00], n=2; not told apart from b."),
        ("abcdef", [3, 4], "a has the highest mean, 302.50 [302.00, 303.00], n=2; "
         "not told apart from b, c, d, e and 1 more."),
    ],
)  # fmt: skip
def test_words_of_ranking_need_seeds(results, arms, seeds, line):
    assert _in_short(results, arms, seeds) == f"- cartpole: {line}"


@pytest.fixture
def study(results):
    results.study("quick", [{"task": "cartpole", "arm": "ppo", "seeds": [0, 1, 2]}])
    results.block("quick", "cartpole", "ppo", [0, 1], rising)
    return results


def test_it_writes_the_report_beside_the_runs_and_ends_with_the_answer_and_one_path(study, capsys):
    assert main(["study=quick", f"results={study.root}"]) == 0
    folder = study.root / "quick" / "report"
    assert {path.name for path in folder.iterdir()} >= EXPECTED
    written = len(list(folder.iterdir()))
    assert capsys.readouterr().out.splitlines() == [
        "2 of 3 runs are done (1 missing): 1 arm on 1 task (cartpole).",
        "Highest final score: on cartpole ppo with 99.50 [99.00, 100.00], n=2 (1 missing).",
        f"wrote {written} files into {folder}",
        f"next: open {folder / 'index.html'} in a browser",
    ]


@pytest.mark.slow
def test_identical_results_give_identical_bytes(study):
    folder = study.root / "quick" / "report"
    written = []
    for _ in range(2):
        main(["study=quick", f"results={study.root}"])
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]


@pytest.mark.usefixtures("one_figure")
def test_results_that_came_without_policies_and_diagnostics_are_whole(study, capsys):
    block = study.block("quick", "cartpole", "grpo", [0, 1], rising, k=1)
    record = json.loads((block / "run.json").read_text())
    edit(block, checksums=record["checksums"] | {"policy.zip": "0" * 64})
    (block / "training.parquet").unlink()
    assert main(["study=quick", f"results={study.root}"]) == 0
    assert "not usable" not in capsys.readouterr().err
    page = (study.root / "quick" / "report" / "report.md").read_text()
    assert "Without diagnostics of their updates: 2 runs" in page


@pytest.mark.usefixtures("one_figure")
def test_a_damaged_block_is_a_warning_exit_code_1_and_the_rest_is_written(study, capsys):
    block = study.block("quick", "cartpole", "grpo", [0], rising, k=1)
    (block / "training.parquet").write_bytes(b"spoilt")
    assert main(["study=quick", f"results={study.root}"]) == 1
    assert "seeds-000: training.parquet does not match its checksum" in capsys.readouterr().err
    page = (study.root / "quick" / "report" / "report.md").read_text()
    assert "1 damaged" in page
    assert "training.parquet does not match its checksum" in page


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize("handed_on", [False, True])
def test_a_damaged_block_of_a_single_seed_is_damaged_in_the_report_and_not_missing(study, handed_on):
    study.study("quick", [{"task": "cartpole", "arm": "grpo", "seeds": [3], "k": 1}])
    block = study.block("quick", "cartpole", "grpo", [3], rising, k=1)
    (block / "curves.parquet").write_bytes(b"spoilt")
    if handed_on:
        pack(study.root / "quick")
    assert main(["study=quick", f"results={study.root}"]) == 1
    page = (study.root / "quick" / "report" / "report.md").read_text()
    assert "2 of 3 runs are done (1 damaged)" in page
    assert "- cartpole, grpo, seed 3: quick/runs/cartpole/grpo-" in page
    assert "seeds-003 is damaged" in page


@pytest.mark.usefixtures("one_figure")
def test_a_study_that_is_handed_on_has_the_same_report(study, capsys):
    folder = study.root / "quick" / "report"
    reports = []
    for handed_on in (False, True):
        if handed_on:
            pack(study.root / "quick")
        assert main(["study=quick", f"results={study.root}"]) == 0
        assert not capsys.readouterr().err
        reports.append({path.name: path.read_bytes() for path in folder.iterdir()})
    without = b"- Without diagnostics of their updates: 2 runs\n"
    assert without in reports[1]["report.md"]
    reports[1]["report.md"] = reports[1]["report.md"].replace(without, b"")
    for report in reports:
        del report["index.html"]  # which says the same
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    "words",
    [
        ["study=quick", "results={root}"],
        ["study=other,quick", "results={root}", "figures=final_scores"],
        ["compare", "{root}/other", "{root}/quick"],
        ["scores", "study=quick", "results={root}"],
        ["scoreboard", "results={root}"],
    ],
)
@pytest.mark.parametrize(
    ("schema", "which"), [(1, "an earlier version (schema 1)"), (1001, "a later version (schema 1001)")]
)
@pytest.mark.parametrize("handed_on", [False, True])
def test_results_of_another_version_are_one_line_and_exit_code_2(study, capsys, words, schema, which, handed_on):
    """One block of a study is enough; the first is named."""
    study.block("other", "cartpole", "ppo", [0, 1], rising)
    path = study.block("quick", "cartpole", "a2c", [0], rising, k=1)
    edit(path, schema=schema)
    if handed_on:
        pack(study.root / "quick")
    if words[0] == "scoreboard":  # which reads what git knows
        for arguments in (["init", "-q"], ["add", "."]):
            subprocess.run(["git", "-C", str(study.root), *arguments], check=True)
    assert main([word.format(root=study.root) for word in words]) == 2
    *progress, error = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {path}: written by {which}; this version reads schema 2: ")
    assert all(line.startswith("reading ") for line in progress)  # of the scoreboard


def test_a_plan_of_another_version_is_one_line_and_exit_code_2(study, capsys):
    path = study.root / "quick" / "study.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 7'))
    assert main(["study=quick", f"results={study.root}"]) == 2
    assert capsys.readouterr().err == f"error: {path}: schema 7, this version reads schema 1\n"


@pytest.mark.usefixtures("one_figure")
def test_a_failed_seed_is_in_the_report_with_its_cause(study):
    study.block("quick", "cartpole", "grpo", [0, 1], rising, k=1, failed={1: "loss is NaN at update 7"})
    main(["study=quick", f"results={study.root}"])
    page = (study.root / "quick" / "report" / "report.md").read_text()
    assert "- cartpole, grpo, seed 1: loss is NaN at update 7" in page
    assert "| grpo | 1 (1 failed) |" in page


def test_single_figures_for_a_papers_column(study, capsys):
    arguments = [
        "study=quick",
        f"results={study.root}",
        "figures=learning_curves_stochastic",
        "style=paper",
        "width=3.3",
    ]
    assert main(arguments) == 0
    folder = study.root / "quick" / "report"
    written = {path.name for path in folder.iterdir()}
    assert written == {f"learning_curves_stochastic-paper-3.3in.{kind}" for kind in ("svg", "png", "pdf")}
    with Image.open(folder / "learning_curves_stochastic-paper-3.3in.png") as image:
        assert image.width == int(3.3 * 200)
    assert capsys.readouterr().out.count("wrote ") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study=quick", "figures=spagetti"], "did you mean 'spaghetti'"),
        (["study=quick", "figures=spaghetti", "style=papr"], "did you mean 'paper'"),
        (["study=quick", "figures=spaghetti", "width=wide"], "width=wide: must be a number"),
        (["study=quick", "figures=spaghetti", "width=1"], "between 2 and 40"),
        (["study=quick", "width=3"], "for single figures"),
        (["study=quik"], "did you mean 'quick'"),
        (["stdy=quick"], "did you mean 'study=…'"),
        (["quick"], "unknown command 'quick': allowed are compare, scores, scoreboard, pull; a report is study=quick"),
        (["study="], "which study"),
        (["results=."], "which study"),
    ],
)
@pytest.mark.usefixtures("one_figure")
def test_a_mistake_is_one_line_and_exit_code_2(study, capsys, arguments, message):
    if "=" in arguments[0] and "results=." not in arguments:
        arguments = [*arguments, f"results={study.root}"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_study_without_any_run_is_a_mistake(results, capsys):
    results.study("empty", [])
    assert main(["study=empty", f"results={results.root}"]) == 2
    assert "no runs found" in capsys.readouterr().err


@pytest.mark.usefixtures("one_figure")
def test_an_unwritable_report_folder_is_one_line(study, capsys):
    (study.root / "quick" / "report").write_text("a file where the folder should be")
    assert main(["study=quick", f"results={study.root}"]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_the_analysis_needs_no_learner():
    code = "import sys, analysis.cli; print([m for m in ('torch', 'stable_baselines3', 'hydra') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_full_or_read_only_disk_is_one_line_and_the_next_run_completes(results, capsys, monkeypatch, number, place):
    results.block("s", "cartpole", "a", [0, 1], lambda seed, share: 100.0 + seed + share)
    report = results.root / "s" / "report"
    assert main(["study=s", f"results={results.root}"]) == 0
    whole = {path.name: path.read_bytes() for path in report.iterdir()}
    shutil.rmtree(report)
    report.mkdir()
    (report / "notes.txt").write_text("mine")
    written = []

    def write(path, content):
        written.append(path)
        path.write_bytes(content[: len(content) // 2] if len(written) > place else content)
        if len(written) > place:
            raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write", write)
        capsys.readouterr()
        assert main(["study=s", f"results={results.root}"]) == 2
    name = written[-1].name.removeprefix(WRITING)
    assert capsys.readouterr().err == f"error: cannot write {report / name}: {os.strerror(number)}\n"
    assert len(list(report.iterdir())) == place + 1  # nothing half written
    assert main(["study=s", f"results={results.root}"]) == 0
    assert {path.name: path.read_bytes() for path in report.iterdir()} == whole | {"notes.txt": b"mine"}


@pytest.mark.usefixtures("one_figure")
def test_what_a_killed_analysis_left_is_gone_after_the_next(results):
    results.block("s", "cartpole", "a", [0, 1], lambda seed, share: 100.0 + seed + share)
    report = results.root / "s" / "report"
    report.mkdir()
    (report / f"{WRITING}report.md").write_text("half a rep")
    assert main(["study=s", f"results={results.root}"]) == 0
    assert not list(report.glob(".*"))
