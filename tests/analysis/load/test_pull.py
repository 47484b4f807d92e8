"""Runs come back from Weights & Biases as they went."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.cli import main
from analysis.load import pull
from bench.errors import UserError
from bench.records import mirror, wandb_file
from tests.analysis.load.mirrored import mirrored as written
from tests.analysis.load.mirrored import read, stored
from tests.wandb_server import HANG, WandbServer


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory) -> tuple[Path, list[wandb_file.Run]]:
    """The results with a study of one cell, two seeds done and one failed, and its mirror."""
    root = tmp_path_factory.mktemp("pull") / "results"
    return root, written(root)


@pytest.fixture(scope="module")
def results(mirrored) -> Path:
    return mirrored[0]


@pytest.fixture(scope="module")
def sent(mirrored) -> list[wandb_file.Run]:
    return mirrored[1]


@pytest.fixture(scope="module")
def runs(sent) -> list[pull.Run]:
    return [read(run) for run in sent]


@pytest.fixture
def served(sent, monkeypatch) -> Iterator[WandbServer]:
    """The project on a server, which W&B's own client reads."""
    with WandbServer(map(stored, sent)) as server:
        use(server, monkeypatch)
        yield server


def use(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def reads(monkeypatch: pytest.MonkeyPatch, runs: Iterable[pull.Run]) -> None:
    """Let these be the runs of any project."""
    monkeypatch.setattr(pull, "_runs", lambda *_: iter(runs))


def assert_equal(root: Path, pulled: str) -> None:
    """Everything the mirror was sent is the same in both studies, to the last bit."""
    mine, other = (load.read([study], root) for study in ("mine", pulled))
    assert not other.problems
    for table in ("runs", "training", "curves"):
        first, second = (getattr(records, table).drop(columns="study", errors="ignore") for records in (mine, other))
        if table == "training":
            first = between_evaluations(first, mine.curves)
        assert set(first) == set(second)
        first, second = (table.where(table.notna(), np.nan) for table in (first, second[list(first)]))
        pd.testing.assert_frame_equal(first, second, rtol=1e-13, check_dtype=False)  # means of means
    (block,) = (root / pulled).glob("runs/*/*/seeds-*")
    (original,) = (root / "mine").glob("runs/*/*/seeds-*")
    assert block.relative_to(root / pulled) == original.relative_to(root / "mine")
    assert (block / "curves.parquet").read_bytes() == (original / "curves.parquet").read_bytes()


def between_evaluations(updates: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Means of the updates between two evaluations, at the later one; the number of the last update."""
    grid = np.unique(curves["step"])
    place = np.searchsorted(grid, updates["step"])
    step = np.where(place < len(grid), grid[place.clip(max=len(grid) - 1)], updates["step"])
    labels = [name for name in updates if not pd.api.types.is_numeric_dtype(updates[name])]
    groups = updates.assign(step=step).groupby([*labels, "seed", "step"], observed=True, dropna=False)
    means = groups.mean(numeric_only=True)
    means["update"] = groups["update"].last()
    return means.reset_index()


@pytest.mark.usefixtures("served")
def test_a_project_on_a_server_equals_the_files(results, capsys):
    assert main(["pull", "somebody/policy-gradient-bench", "study=pulled", f"results={results}"]) == 0
    said = capsys.readouterr().out
    assert "3 runs in 1 blocks" in said
    assert f"wrote {results / 'pulled'}" in said
    assert_equal(results, "pulled")
    causes = load.read(["pulled"], results).runs.set_index("seed")["cause"]
    assert causes[2] == "loss is NaN"


def test_single_episodes_come_back_without_a_variance():
    logged = {"step": 5, "eval/stochastic_return": 1.5, "eval/stochastic_length": 9.0, "eval/stochastic_episodes": 1}
    assert pull._evaluated(3, logged) == [
        {
            "seed": 3,
            "step": 5,
            "mode": "stochastic",
            "episodes": 1,
            "return": 1.5,
            "return_variance": None,
            "length": 9.0,
            "length_variance": None,
        }
    ]


def test_what_is_not_ours_is_named_and_the_rest_is_brought(results, runs, monkeypatch, capsys):
    foreign = dataclasses.replace(runs[0], name="foreign", config={"lr": 1})
    reads(monkeypatch, [foreign, *runs[1:]])
    assert main(["pull", "any/thing", "study=rest", f"results={results}"]) == 1
    assert "warning: foreign: not one of this suite's runs" in capsys.readouterr().err
    assert load.read(["rest"], results).runs["seed"].tolist() == [1, 2]


def changed_config(**entries):
    """A change of a run's configuration; None leaves an entry out."""

    def change(run: pull.Run) -> pull.Run:
        config = {key: value for key, value in {**run.config, **entries}.items() if value is not None}
        return dataclasses.replace(run, config=config)

    return change


def changed_record(**entries):
    def change(run: pull.Run) -> pull.Run:
        return changed_config(record={**run.config["record"], **entries})(run)

    return change


def changed_summary(**entries):
    def change(run: pull.Run) -> pull.Run:
        return dataclasses.replace(run, summary={**run.summary, **entries})

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda run: dataclasses.replace(run, config={"lr": 1}), "no 'hash' in its configuration"),
        (changed_record(task="../../etc"), "not names of a cell"),
        (changed_record(arm=".hidden"), "not names of a cell"),
        (changed_config(hash="/../evil"), "not that of a cell"),
        (changed_config(seed="0"), "its record or its seed"),
        (changed_config(seed=2**31), "its record or its seed"),
        (changed_config(record="none"), "its record or its seed"),
        (changed_config(sent=None), "mirrored by an earlier version"),
        (changed_config(sent={"points": "all"}), "mirrored by an earlier version"),
        (lambda run: dataclasses.replace(run, name="x"), "another has taken its place"),
        (changed_summary(block="0" * 64), "another has taken its place"),
        (changed_config(seed=1), "another has taken its place"),
        (changed_summary(status="great"), "seed '0' is"),
        (changed_summary(updates="many"), "seed '0' is"),
        (changed_record(budget="large"), "budget"),
        (changed_record(score=None), "score"),
    ],
)
def test_a_run_that_is_not_ours_is_named_with_its_reason_and_loses_itself_alone(
    runs, tmp_path, monkeypatch, change, reason
):
    reads(monkeypatch, [change(runs[0]), *runs[1:]])
    pulled = pull.pull("any/thing", tmp_path, "rest")
    (problem,) = pulled.problems
    assert reason in problem.cause
    assert pulled.runs == 2
    assert load.read(["rest"], tmp_path).runs["seed"].tolist() == [1, 2]


def without(*places: int):
    """A history that lacks some rows."""

    def change(history):
        return tuple(row for place, row in enumerate(history) if place not in places)

    return change


def row_changed(place: int, **entries):
    """A history with other entries in one row; None leaves one out."""

    def change(history):
        rows = [dict(row) for row in history]
        rows[place] = {key: value for key, value in {**rows[place], **entries}.items() if value is not None}
        return tuple(rows)

    return change


ROWS = 4  # of each history: the evaluations at 0, 500 and 1000, and the last update


@pytest.mark.parametrize(
    ("change", "said", "points", "updates"),
    [
        (without(0), [], 4, 3),
        (without(1), [], 4, 2),
        (without(2), [], 4, 2),
        (without(3), [], 6, 2),
        (without(0, 1, 2, 3), [], 0, 0),
        (row_changed(1, step=None), ["row 2 of its history is left out: it has no step"], 4, 2),
        (row_changed(1, step="500"), ["row 2 of its history is left out: 'step' is '500'"], 4, 2),
        (row_changed(1, step=500.5), ["row 2 of its history is left out: 'step' is 500.5"], 4, 2),
        (row_changed(1, step=-5), ["row 2 of its history is left out: 'step' is -5"], 4, 2),
        (lambda history: tuple({**row, "train/other": None} for row in history), [], 6, 3),
        (
            row_changed(2, **{"train/kl": {"_type": "histogram"}}),
            ["row 3 of its history is left out: 'train/kl' is"],
            4,
            2,
        ),
        (row_changed(2, **{"train/kl": True}), ["row 3 of its history is left out: 'train/kl' is True"], 4, 2),
        (row_changed(2, step="NaN"), ["row 3 of its history is left out: 'step' is nan"], 4, 2),
        (row_changed(2, **{"train/kl": [1]}), ["row 3 of its history is left out: 'train/kl' is"], 4, 2),
        (
            row_changed(0, **{"eval/stochastic_episodes": None}),
            ["row 1 of its history is left out: it has no eval/stochastic_episodes"],
            4,
            3,
        ),
        (
            lambda history: (*history, {**history[2], "eval/stochastic_return": 7.0}),
            ["row 5 of its history is left out: it differs from an earlier row of step 1000"],
            6,
            3,
        ),
        (lambda history: (*history, {"step": 2000, "update": 9}), [], 6, 4),
    ],
)
def test_what_is_missing_of_a_history_is_named_and_the_rest_is_kept(
    runs, tmp_path, monkeypatch, change, said, points, updates
):
    assert len(runs[1].history) == ROWS
    reads(monkeypatch, [runs[0], dataclasses.replace(runs[1], history=change(runs[1].history)), runs[2]])
    pulled = pull.pull("any/thing", tmp_path, "rest")
    found = [problem.cause for problem in pulled.problems]
    expected = [*said]
    if (points, updates) != (6, 3):
        expected.append(
            f"seed 1 counts as unfinished: W&B has {points} of the 6 points of its curves and {updates} of the 3 rows"
        )
    assert len(found) == len(expected)
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)
    assert {problem.path for problem in pulled.problems} <= {runs[1].name}
    records = load.read(["rest"], tmp_path)
    statuses = records.runs.set_index("seed")["status"].to_dict()
    assert statuses == {0: "done", 1: "done" if (points, updates) == (6, 3) else "unfinished", 2: "failed"}
    assert (records.evaluations["seed"] == 1).sum() == points
    assert (records.training["seed"] == 1).sum() == updates


def test_a_row_that_was_sent_twice_is_one_row(runs, tmp_path, monkeypatch):
    reads(monkeypatch, [dataclasses.replace(run, history=(*run.history, run.history[1])) for run in runs])
    assert pull.pull("any/thing", tmp_path, "rest").problems == []


def test_a_seed_that_was_trained_again_is_a_block_beside_the_first(runs, tmp_path, monkeypatch):
    again = {**runs[2].config["record"], "finished": "2026-12-01T00:00:00.000+00:00"}
    sum = "f" * 64
    retried = dataclasses.replace(
        runs[2],
        name=mirror.id_of(runs[2].config["hash"], 2, sum),
        config={**runs[2].config, "record": again},
        summary={**runs[2].summary, "status": "done", "cause": None, "block": sum},
    )
    reads(monkeypatch, [*runs, retried])
    pulled = pull.pull("any/thing", tmp_path, "rest")
    assert (pulled.blocks, pulled.problems) == (2, [])
    assert load.read(["rest"], tmp_path).runs.set_index("seed")["status"].to_dict() == {0: "done", 1: "done", 2: "done"}


def test_a_block_that_was_trained_again_as_its_files_were_damaged_counts_once(runs, tmp_path, monkeypatch):
    seal = "f" * 64
    again = [
        dataclasses.replace(
            run,
            name=mirror.id_of(run.config["hash"], run.config["seed"], seal),
            config={**run.config, "record": {**run.config["record"], "finished": "2026-12-01T00:00:00.000+00:00"}},
            summary={**run.summary, "block": seal},
        )
        for run in runs
    ]
    reads(monkeypatch, [*runs, *again])
    pulled = pull.pull("any/thing", tmp_path, "rest")
    assert (pulled.blocks, pulled.problems) == (2, [])
    assert {path.name for path in tmp_path.glob("rest/runs/*/*/*")} == {"seeds-000-002", "seeds-000-002-retry-1"}
    assert load.read(["rest"], tmp_path).runs["seed"].tolist() == [0, 1, 2]


def test_numbers_that_no_file_holds_lose_their_block_alone(runs, tmp_path, monkeypatch):
    huge = dataclasses.replace(
        runs[0],
        history=row_changed(1, update=2**40)(runs[0].history),
        config={**runs[0].config, "record": {**runs[0].config["record"], "threads": 3}},
    )
    reads(monkeypatch, [huge, *runs[1:]])
    pulled = pull.pull("any/thing", tmp_path, "rest")
    (problem,) = pulled.problems
    assert "seeds-000: not written" in str(problem)
    assert (pulled.runs, pulled.blocks) == (2, 1)
    assert load.read(["rest"], tmp_path).runs["seed"].tolist() == [1, 2]


def test_what_the_server_does_not_give_of_one_run_is_named(served, sent, tmp_path):
    served.answers[f"history {sent[1].id}"] = 500
    pulled = pull.pull("somebody/policy-gradient-bench", tmp_path, "rest")
    (problem,) = pulled.problems
    assert problem.path == sent[1].id
    assert problem.cause.startswith("not read: ")
    assert "500" in problem.cause
    assert load.read(["rest"], tmp_path).runs["seed"].tolist() == [0, 2]


def test_a_run_that_the_server_does_not_answer_for_is_given_up_and_the_others_are_read(served, sent, tmp_path):
    served.answers[f"history {sent[1].id}"] = HANG
    pulled = pull.pull("somebody/policy-gradient-bench", tmp_path, "rest", timeout=8.0)
    assert [str(problem) for problem in pulled.problems] == [f"{sent[1].id}: not read: no answer within 4 seconds"]
    assert load.read(["rest"], tmp_path).runs["seed"].tolist() == [0, 2]


@pytest.mark.parametrize("answer", [HANG, 500, 404])
def test_a_server_that_does_not_answer_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, answer):
    with WandbServer([]) as server:
        server.answers["all"] = answer
        use(server, monkeypatch)
        words = ["pull", "somebody/project", "study=new", f"results={tmp_path}", "timeout=4"]
        assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: somebody/project: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_a_pull_while_the_server_does_not_answer(tmp_path):
    with WandbServer([]) as server:
        server.answers["all"] = HANG
        words = ["-m", "analysis", "pull", "somebody/project", "study=new", f"results={tmp_path / 'results'}"]
        command = subprocess.Popen(
            [sys.executable, *words], env={**os.environ, **server.environment}, stderr=subprocess.PIPE, text=True
        )
        while not server.asked:
            assert command.poll() is None
            time.sleep(0.05)
        command.send_signal(signal.SIGTERM)
        _, said = command.communicate(timeout=60)
    assert command.returncode == 128 + signal.SIGTERM
    assert said.startswith("interrupted: ")
    assert not (tmp_path / "results" / ".new.pull").exists()


def test_a_run_without_an_outcome_is_unfinished(tmp_path, monkeypatch, runs):
    stopped = [dataclasses.replace(runs[0], summary={}), *runs[1:]]
    reads(monkeypatch, stopped)
    pull.pull("any/thing", tmp_path, "s")
    statuses = load.read(["s"], tmp_path).runs.set_index("seed")["status"]
    assert statuses.value_counts().to_dict() == {"done": 1, "failed": 1, "unfinished": 1}


def test_numbers_that_are_not_finite_come_back_as_numbers():
    assert np.isnan(pull._number("NaN"))
    assert pull._number("-Infinity") == -np.inf
    assert pull._number("text") == "text"


@pytest.mark.parametrize(
    ("source", "study", "message"),
    [
        ("any/thing", "mine", "exists already"),
        ("any/thing", "../mine", "must be a name, not a path"),
        ("any/thing", "", "must be a name, not a path"),
        ("thing", "new", "must be entity/project"),
        ("{results}", "new", "send them first: python -m bench wandb-sync study=NAME"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(results, capsys, source, study, message):
    before = sorted(path.name for path in results.iterdir())
    assert main(["pull", source.format(results=results), f"study={study}", f"results={results}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in results.iterdir()) == before


def test_a_project_without_our_runs_is_one_line(results, runs, monkeypatch):
    reads(monkeypatch, [dataclasses.replace(runs[0], config={})])
    with pytest.raises(UserError, match="none of its runs"):
        pull.pull("any/thing", results, "new")


def test_a_project_that_does_not_exist_is_one_line(results, monkeypatch):
    with WandbServer(None) as server:
        use(server, monkeypatch)
        with pytest.raises(UserError, match=r"somebody/project: .*not find project"):
            pull.pull("somebody/project", results, "new")


def test_the_records_of_the_mirror_rebuild_run_json(results, runs, monkeypatch):
    reads(monkeypatch, runs)
    pull.pull("any/thing", results, "again")
    read = [
        json.loads(next((results / study).glob("runs/*/*/seeds-*/run.json")).read_text()) for study in ("mine", "again")
    ]
    differing = {key for key in read[0] if read[0][key] != read[1].get(key)}
    assert differing == {"study", "checksums", "record_checksum"}
