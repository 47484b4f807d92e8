"""The table of final scores: hand-made curves, the report's own numbers, and how much of it is shown."""

import json
from pathlib import Path

import pytest

from analysis import load
from analysis.tables import final_scores as of_reports
from bench.commands import results as command
from bench.commands.main import main
from tests.analysis.conftest import ResultsWriter


@pytest.fixture
def root(results: ResultsWriter) -> Path:
    """Two arms whose returns rise linearly to `high` + seed and to 10 + seed; stochastic ones lie 1 lower."""
    cells = [{"task": "cartpole", "arm": arm, "baseline": arm, "seeds": [0, 1, 2]} for arm in ("low", "high")]
    results.study("s", cells)
    results.block("s", "cartpole", "low", [0, 1, 2], lambda seed, share: 11 * share + seed, baseline="low")
    results.block("s", "cartpole", "high", [0, 1], lambda seed, share: 101 * share + seed, baseline="high")
    return results.root


def test_means_intervals_and_numbers_of_seeds(root: Path, capsys) -> None:
    """Only the last of six points counts: 10, 11 and 12 on average 11; 100 and 101, whose resamples have 100 to 101."""
    assert main(["results", "study=s", f"results={root}"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "final scores of s: stochastic policy, mean over n seeds, 95 % bootstrap interval",
        "task      arm    mean   95 % interval       n",
        "cartpole  low    11.0    [10.0, 12.0]       3",
        "cartpole  high  100.5  [100.0, 101.0]  2 of 3",
    ]
    assert main(["results", "study=s", f"results={root}", "mode=deterministic"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == ["cartpole", "low", "12.0", "[11.0,", "13.0]", "3"]


@pytest.mark.parametrize("mode", ["stochastic", "deterministic"])
def test_the_numbers_are_those_of_the_report(results: ResultsWriter, mode: command.Mode) -> None:
    """A seed that failed and one that is missing among them: the same resamples of the same runs."""
    cells = [{"task": "cartpole", "arm": "ppo", "baseline": "critic", "seeds": list(range(9))}]
    results.study("s", cells)
    results.block("s", "cartpole", "ppo", [0, 1, 2, 3], lambda seed, share: share * (seed - 7) ** 2, baseline="critic")
    results.block("s", "cartpole", "ppo", [4, 6, 7], lambda seed, share: share * (seed - 7) ** 2, baseline="critic")
    found = command.final_scores(results.root / "s", mode=mode)
    (row,) = found.rows
    table = of_reports.comparison(load.read(["s"], results.root).runs)
    (report,) = table[table["mode"] == mode].to_dict("records")
    assert row.score == (report["mean"], report["mean_low"], report["mean_high"])
    assert (row.n, row.planned, report["n"], report["missing"]) == (7, 9, 7, 2)


def test_of_many_cells_the_first_are_shown_and_the_others_counted(results: ResultsWriter, capsys) -> None:
    cells = [{"task": "cartpole", "arm": f"arm{number}", "baseline": str(number), "seeds": [0]} for number in range(43)]
    results.study("s", cells)
    assert main(["results", "study=s", f"results={results.root}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 40 + 1
    assert lines[-1] == "and 3 more: all=true shows them"
    assert main(["results", "study=s", f"results={results.root}", "all=true"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + 43


def test_a_damaged_file_is_named_and_its_score_left_out(root: Path, capsys) -> None:
    (curves,) = root.glob("s/runs/cartpole/high-*/*/curves.parquet")
    curves.write_bytes(curves.read_bytes()[:-9])
    assert main(["results", "study=s", f"results={root}"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("warning: damaged block ")
    assert said.err.count("\n") == 1
    assert said.out.splitlines()[-1].split() == ["cartpole", "high", "–", "–", "0", "of", "3"]
    (record,) = root.glob("s/runs/cartpole/low-*/*/run.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"budget": 7}))
    assert main(["results", "study=s", f"results={root}"]) == 1
    assert "run.json does not match its own checksum" in capsys.readouterr().err


def test_mistakes_are_one_line(root: Path, capsys) -> None:
    for words, line in (
        (["study=t"], "unknown study in"),
        (["s"], "unknown argument of results 's'"),
        (["study=s", "mode=greedy"], "unknown mode 'greedy': allowed are stochastic, deterministic"),
    ):
        assert main(["results", f"results={root}", *words]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"error: {line}")
        assert said.err.count("\n") == 1
