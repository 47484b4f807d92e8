"""W&B shows what the files say, and its troubles stop nobody."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.config.identity import cell_hash
from bench.execution import execute
from bench.records import block as blocks
from bench.records import mirror
from bench.records.tables import EPISODES, TRAINING


def folders(config) -> list[Path]:
    return sorted((blocks.study_directory(config) / "wandb").glob("*run-*"))


def read_back(folder: Path) -> list[dict]:
    """The records of an offline run, by W&B's own reader."""
    (path,) = folder.glob("*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_offline_run_equals_the_files(cell, learner):
    learner.causes = {1: "loss is NaN"}
    config = cell("seeds=2", "wandb=offline", "study.name=mine")
    path = execute.run(config)
    assert [folder.name.partition("-run-")[2].partition("-")[2] for folder in folders(config)] == [
        f"{cell_hash(config)}-000",
        f"{cell_hash(config)}-001",
    ]
    training = pq.read_table(path / TRAINING).to_pylist()
    evaluations = pq.read_table(path / EPISODES).to_pylist()
    for seed, folder in enumerate(folders(config)):
        records = read_back(folder)
        (run,) = [record["run"] for record in records if record["type"] == "run"]
        cell = f"critic-gae-clip-{cell_hash(config)}"
        assert (run["run_group"], run["job_type"]) == (cell, "weekly_exam")
        assert run["display_name"] == f"weekly_exam {cell} {seed}"
        assert set(run["tags"]) == {"mine", "weekly_exam", "critic-gae-clip"}
        assert run["config"]["update"]["seed"] == seed
        assert run["config"]["update"]["baseline"] == "critic"
        history = {item["step"]: item for item in (r["history"]["item"] for r in records if r["type"] == "history")}
        mine = [row for row in training if row["seed"] == seed]
        grid = (0, 500, 1000)
        expected: dict = {}
        for row in mine:  # at the next evaluation, or where the last update was
            expected.setdefault(next((step for step in grid if step >= row["step"]), row["step"]), []).append(row)
        assert {step for step, row in history.items() if "train/kl" in row} == set(expected)
        for step, some in expected.items():
            assert history[step]["train/kl"] == pytest.approx(statistics.fmean(row["train/kl"] for row in some))
            assert history[step]["update"] == max(row["update"] for row in some)
        assert run["config"]["update"]["settings"]["gamma"] == config.gamma
        for mode in ("deterministic", "stochastic"):
            for step in (0, 500, 1000):
                returns = [
                    row["return"]
                    for row in evaluations
                    if (row["seed"], row["step"], row["mode"]) == (seed, step, mode)
                ]
                assert history[step][f"eval/{mode}_return"] == pytest.approx(sum(returns) / len(returns), rel=1e-15)
                spread = statistics.variance(returns)
                assert history[step][f"eval/{mode}_return_variance"] == pytest.approx(spread, rel=1e-12)
                assert history[step][f"eval/{mode}_episodes"] == len(returns) == 2
        ends: dict = {}
        for record in records:
            if record["type"] == "summary":
                ends |= record["summary"].get("update", {})
        assert ends["status"] == ("done" if seed == 0 else "failed")
        assert ("final_deterministic" in ends) == (seed == 0)
        assert ends["largest_kl"] == json.loads((path / blocks.RECORD).read_text())["seeds"][str(seed)]["largest_kl"]
        if seed == 0:
            assert ends["final_deterministic"] == history[1000]["eval/deterministic_return"]
        for file in folder.rglob("*"):
            assert not file.is_file() or str(Path.home()).encode() not in file.read_bytes()


def test_what_was_mirrored_is_not_mirrored_twice(cell):
    config = cell("seeds=[3,4]")
    block = blocks.read(execute.run(config))
    study = blocks.study_directory(config)
    assert mirror.missing(block, study) == [3, 4]
    assert list(mirror.write(block, study, "offline")) == [3, 4]
    before = folders(config)
    assert list(mirror.write(block, study, "offline")) == mirror.missing(block, study) == []
    assert folders(config) == before
    assert len(before) == 2


def test_a_run_that_could_not_be_opened_leaves_nothing(cell, monkeypatch):
    import wandb

    def unreachable(dir, id, **_):
        (Path(dir) / "wandb" / f"run-20200101_000000-{id}").mkdir(parents=True)
        raise wandb.errors.CommError("no route to host")

    config = cell("seeds=1")
    block = blocks.read(execute.run(config))
    study = blocks.study_directory(config)
    with monkeypatch.context() as patch:
        patch.setattr(wandb, "init", unreachable)
        with pytest.raises(wandb.errors.CommError, match="no route to host"):
            list(mirror.write(block, study, "offline"))
    assert folders(config) == []
    assert list(mirror.write(block, study, "offline")) == [0]


def test_online_without_a_key_says_so(cell, monkeypatch):
    import wandb

    monkeypatch.setattr(wandb, "login", lambda prompt: prompt)  # False: it has no key and may not ask
    config = cell("seeds=1")
    block = blocks.read(execute.run(config))
    with pytest.raises(RuntimeError, match="no API key"):
        list(mirror.write(block, blocks.study_directory(config), "online"))


def test_a_rehearsal_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(mirror.tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    mirror.rehearse()
    assert not [path for path in tmp_path.rglob("*") if "rehearsal" in path.name or path.name == "wandb"]
