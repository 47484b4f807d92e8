"""Runs come back from Weights & Biases as they went."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.cli import main
from analysis.load import pull
from bench.errors import UserError
from tests.analysis.load.mirrored import mirrored as written
from tests.analysis.load.wandb_server import WandbServer


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory) -> tuple[Path, list[pull.Run]]:
    """The results with a study of one cell, two seeds done and one failed, and its mirror."""
    root = tmp_path_factory.mktemp("pull") / "results"
    return root, written(root)


@pytest.fixture(scope="module")
def results(mirrored) -> Path:
    return mirrored[0]


@pytest.fixture(scope="module")
def runs(mirrored) -> list[pull.Run]:
    return mirrored[1]


@pytest.fixture
def served(runs, monkeypatch) -> Iterator[None]:
    """The project on a server, which W&B's own client reads."""
    with WandbServer(runs) as server:
        use(server, monkeypatch)
        yield


def use(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


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
    monkeypatch.setattr(pull, "_runs", lambda _: iter([foreign, *runs[1:]]))
    assert main(["pull", "any/thing", "study=rest", f"results={results}"]) == 1
    assert "warning: foreign: not one of this suite's runs" in capsys.readouterr().err
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
        (
            dataclasses.replace(history_of(), history=({"eval/stochastic_return": 1.0},)),
            "mirrored by an earlier version",
        ),
    ],
)
def test_a_run_that_is_not_ours_is_refused_with_its_reason(run, reason):
    with pytest.raises(pull._Foreign, match=reason):
        pull._checked(run)


def test_a_run_without_an_outcome_is_unfinished(tmp_path, monkeypatch, runs):
    stopped = [dataclasses.replace(runs[0], summary={}), *runs[1:]]
    monkeypatch.setattr(pull, "_runs", lambda _: iter(stopped))
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
    monkeypatch.setattr(pull, "_runs", lambda _: iter([dataclasses.replace(runs[0], config={})]))
    with pytest.raises(UserError, match="none of its runs"):
        pull.pull("any/thing", results, "new")


def test_a_project_that_does_not_exist_is_one_line(results, monkeypatch):
    with WandbServer(None) as server:
        use(server, monkeypatch)
        with pytest.raises(UserError, match="somebody/project"):
            pull.pull("somebody/project", results, "new")


def test_the_records_of_the_mirror_rebuild_run_json(results, runs, monkeypatch):
    monkeypatch.setattr(pull, "_runs", lambda _: iter(runs))
    pull.pull("any/thing", results, "again")
    read = [
        json.loads(next((results / study).glob("runs/*/*/seeds-*/run.json")).read_text()) for study in ("mine", "again")
    ]
    differing = {key for key in read[0] if read[0][key] != read[1].get(key)}
    assert differing == {"study", "checksums", "record_checksum"}
