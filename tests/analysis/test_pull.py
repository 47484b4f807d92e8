"""Runs come back from Weights & Biases as they went: from a folder of offline runs, and from a server."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from analysis.cli import main
from analysis.load import pull
from analysis.load import records as load
from bench.errors import UserError
from bench.execution import execute
from tests.analysis.wandb_server import WandbServer
from tests.fake_learner import FakeLearner


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A study of one cell, two seeds done and one failed, with its offline mirror."""
    root = tmp_path_factory.mktemp("pull") / "results"
    patch = pytest.MonkeyPatch()
    learner = FakeLearner()
    learner.causes = {2: "loss is NaN"}
    patch.setattr(execute, "train", learner)
    config = bench.compose(["task=weekly_exam", "budget=1000", "seeds=3", "wandb=offline", "study.name=mine"])
    execute.run(dataclasses.replace(config, results=str(root)))
    patch.undo()
    return root


@pytest.fixture(scope="module")
def log(results) -> Path:
    """The offline runs, as W&B keeps them."""
    return results / "mine" / "wandb"


@pytest.fixture(scope="module")
def runs(log) -> list[pull.Run]:
    """The offline runs, as read once."""
    return list(pull._offline(log, []))


def assert_equal(root: Path, pulled: str) -> None:
    """Everything the mirror was sent is the same in both studies, to the last bit."""
    mine, other = (load.read([study], root) for study in ("mine", pulled))
    assert not other.problems
    for table in ("runs", "training", "curves"):
        first, second = (getattr(records, table).drop(columns="study", errors="ignore") for records in (mine, other))
        assert set(first) == set(second)
        first, second = (table.where(table.notna(), np.nan) for table in (first, second[list(first)]))
        pd.testing.assert_frame_equal(first, second, rtol=1e-13, check_dtype=False)  # means of means
    (block,) = (root / pulled).glob("runs/*/*/seeds-*")
    (original,) = (root / "mine").glob("runs/*/*/seeds-*")
    assert block.relative_to(root / pulled) == original.relative_to(root / "mine")
    assert (block / "training.parquet").read_bytes() == (original / "training.parquet").read_bytes()


def test_an_offline_folder_equals_the_files(results, log, capsys):
    assert main(["pull", str(log), "study=offline", f"results={results}"]) == 0
    said = capsys.readouterr().out
    assert "3 runs in 1 blocks" in said
    assert f"wrote {results / 'offline'}" in said
    assert_equal(results, "offline")
    causes = load.read(["offline"], results).runs.set_index("seed")["cause"]
    assert causes[2] == "loss is NaN"


def test_a_project_on_a_server_equals_the_files(results, runs, monkeypatch):
    with WandbServer(runs) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        pulled = pull.pull("somebody/policy-gradient-bench", results, "online")
    assert (pulled.runs, pulled.problems) == (3, [])
    assert_equal(results, "online")


def test_what_is_not_ours_or_damaged_is_named_and_the_rest_is_brought(results, log, tmp_path, capsys):
    folder = shutil.copytree(log, tmp_path / "wandb")
    first = min(folder.glob("*/*.wandb"), key=lambda path: path.name)
    first.write_bytes(first.read_bytes()[:20] + b"spoilt")
    assert main(["pull", str(folder), "study=rest", f"results={results}"]) == 1
    assert f"warning: {first.relative_to(folder)}: " in capsys.readouterr().err
    assert load.read(["rest"], results).runs["seed"].tolist() == [1, 2]


def history_of(**config) -> pull.Run:
    return pull.Run("x", "task", "arm", {"hash": "0123abcd", "seed": 0, "study": "s", "record": {}, **config}, {}, ())


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (pull.Run("x", "", "", {"lr": 1}, {}, ()), "no 'hash' in its configuration"),
        (dataclasses.replace(history_of(), task="../../etc"), "not names of a cell"),
        (dataclasses.replace(history_of(), arm=".hidden"), "not names of a cell"),
        (history_of(hash="/../evil"), "not names of a cell"),
        (history_of(seed="0"), "its record or its seed"),
        (history_of(record="none"), "its record or its seed"),
    ],
)
def test_a_run_that_is_not_ours_is_refused_with_its_reason(run, reason):
    with pytest.raises(pull._Foreign, match=reason):
        pull._checked(run)


def test_a_run_without_an_outcome_is_unfinished(tmp_path, monkeypatch, runs):
    stopped = [dataclasses.replace(runs[0], summary={}), *runs[1:]]
    monkeypatch.setattr(pull, "_runs", lambda *_: iter(stopped))
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
        ("{log}", "mine", "exists already"),
        ("{log}", "../mine", "must be a name, not a path"),
        ("{log}/nothing", "new", "neither a folder nor entity/project"),
        ("{results}", "new", "none of its runs"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(results, log, capsys, source, study, message):
    before = sorted(path.name for path in results.iterdir())
    assert main(["pull", source.format(log=log, results=results), f"study={study}", f"results={results}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in results.iterdir()) == before


def test_a_project_that_does_not_exist_is_one_line(results, monkeypatch):
    with WandbServer(None) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        with pytest.raises(UserError, match="somebody/project"):
            pull.pull("somebody/project", results, "new")


def test_the_records_of_the_mirror_rebuild_run_json(results, runs, monkeypatch):
    monkeypatch.setattr(pull, "_runs", lambda *_: iter(runs))
    pull.pull("any/thing", results, "again")
    read = [
        json.loads(next((results / study).glob("runs/*/*/seeds-*/run.json")).read_text()) for study in ("mine", "again")
    ]
    differing = {key for key in read[0] if read[0][key] != read[1].get(key)}
    assert differing == {"study", "checksums", "record_checksum"}
