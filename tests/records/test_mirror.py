"""W&B shows what the files say, and its troubles stop nobody."""

import datetime
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.config.identity import cell_hash
from bench.errors import UserError
from bench.execution import execute
from bench.records import block as blocks
from bench.records import mirror, wandb_file
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
    seal = json.loads((path / blocks.RECORD).read_text())["record_checksum"]
    ids = [f"{cell_hash(config)}-{seed:03d}-{seal[:8]}" for seed in range(2)]
    assert [folder.name.partition("-run-")[2].partition("-")[2] for folder in folders(config)] == ids
    training = pq.read_table(path / TRAINING).to_pylist()
    evaluations = pq.read_table(path / EPISODES).to_pylist()
    for seed, folder in enumerate(folders(config)):
        records = read_back(folder)
        (run,) = [record["run"] for record in records if record["type"] == "run"]
        cell = f"critic-gae-clip-{cell_hash(config)}"
        assert (run["run_group"], run["job_type"]) == (cell, "weekly_exam")
        assert run["display_name"] == f"weekly_exam {cell} {seed}"
        assert run["run_id"] == ids[seed]
        assert not run.get("host")
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
        assert ends["block"] == seal
        assert run["config"]["update"]["sent"] == {"rows": len(history), "points": 6, "updates": len(expected)}
        assert ends["status"] == ("done" if seed == 0 else "failed")
        assert ("final_deterministic" in ends) == (seed == 0)
        assert ends["largest_kl"] == json.loads((path / blocks.RECORD).read_text())["seeds"][str(seed)]["largest_kl"]
        if seed == 0:
            assert ends["final_deterministic"] == history[1000]["eval/deterministic_return"]
        assert {file.name for file in folder.iterdir()} == {mirror.COMPLETE, f"run-{ids[seed]}.wandb"}  # and no log
        content = (folder / f"run-{ids[seed]}.wandb").read_bytes()
        for private in (str(Path.home()), str(blocks.study_directory(config))):
            assert private.encode() not in content


def test_what_was_mirrored_is_not_mirrored_twice(cell):
    config = cell("seeds=[3,4]")
    block = blocks.read(execute.run(config))
    study = blocks.study_directory(config)
    assert mirror.missing(block, study) == [3, 4]
    assert list(mirror.write(block, study)) == [3, 4]
    before = folders(config)
    assert list(mirror.write(block, study)) == mirror.missing(block, study) == []
    assert folders(config) == before
    assert len(before) == 2


def test_a_run_is_complete_where_it_has_the_checksum_of_its_block(cell, learner):
    """A seed that failed and is trained again is another block, whose run is beside the first."""
    learner.causes = {1: "loss is NaN"}
    config = cell("seeds=3")
    first = blocks.read(execute.run(config))
    study = blocks.study_directory(config)
    assert list(mirror.write(first, study)) == [0, 1, 2]
    learner.causes = {}
    again = blocks.read(execute.run(cell("seeds=3", "retry=failed")))
    assert mirror.missing(again, study) == [1]
    assert list(mirror.write(again, study)) == [1]
    assert mirror.missing(first, study) == mirror.missing(again, study) == []
    seed_1 = [folder for folder in folders(config) if f"{cell_hash(config)}-001" in folder.name]
    assert len(seed_1) == 2
    assert {(folder / mirror.COMPLETE).read_text() for folder in seed_1} == {
        block.record["record_checksum"] for block in (first, again)
    }
    (seed_1[0] / mirror.COMPLETE).write_text("0" * 64)
    assert sorted([*mirror.missing(first, study), *mirror.missing(again, study)]) == [1]


def test_a_run_that_could_not_be_written_leaves_nothing(cell, monkeypatch):
    config = cell("seeds=1")
    block = blocks.read(execute.run(config))
    study = blocks.study_directory(config)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            list(mirror.write(block, study))
    assert [path.name for path in (study / "wandb").iterdir()] == [".lock"]
    assert list(mirror.write(block, study)) == [0]


def test_tags_and_group_of_the_environment_are_heeded_and_none_is_too_long_for_wandb(cell):
    extra = mirror.Extra.of({"WANDB_TAGS": f" mine,,weekly_exam,{'x' * 90} ", "WANDB_RUN_GROUP": "thesis"})
    block = blocks.read(execute.run(cell("seeds=1")))
    (plain,), (run,) = mirror.runs(block, [0]).values(), mirror.runs(block, [0], extra).values()
    assert (plain.group, run.group) == (f"critic-gae-clip-{block.record['hash']}", "thesis")
    assert plain.tags == ["adhoc", "weekly_exam", "critic-gae-clip"]
    assert run.tags == [*plain.tags, "mine", "x" * 64]
    assert mirror.Extra.of({"WANDB_TAGS": "", "WANDB_RUN_GROUP": ""}) == mirror.Extra()


def test_what_the_environment_keeps_secret_is_not_sent(cell, monkeypatch):
    block = blocks.read(execute.run(cell("seeds=1")))
    monkeypatch.setenv("MY_TOKEN", "correct-horse")
    extra = mirror.Extra.of({"WANDB_TAGS": "of correct-horse"})
    with pytest.raises(UserError, match="MY_TOKEN"):
        mirror.runs(block, [0], extra)
    monkeypatch.setenv("WANDB_API_KEY", "weekly_exam")  # which is in any run
    with pytest.raises(UserError, match="WANDB_API_KEY"):
        mirror.runs(block, [0])


def test_the_ids_are_the_blocks_whatever_a_sweeps_agent_says(cell, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sw1")
    monkeypatch.setenv("WANDB_RUN_ID", "x")
    config = cell("seeds=3")
    block = blocks.read(execute.run(config))
    assert list(mirror.write(block, blocks.study_directory(config))) == [0, 1, 2]
    found = [read_back(folder) for folder in folders(config)]
    ids = [record["run"]["run_id"] for records in found for record in records if record["type"] == "run"]
    assert ids == [mirror.run_id(block, seed) for seed in range(3)]
    assert len(set(ids)) == 3


AT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def test_records_of_any_length_are_read_back(tmp_path):
    """In W&B's file a record may end anywhere in a block of 32768 bytes, or fill several."""
    lengths = [0, 1, *range(32_600, 32_760, 4), 100_000]
    rows = [{"step": place, "text": "x" * length} for place, length in enumerate(lengths)]
    run = wandb_file.Run(
        "id", "p", "name", "group", "job", ["tag"], {"a": {"b": [1, None]}}, AT, AT, rows, {"end": "é"}
    )
    assert run.folder == "offline-run-20260102_030405-id"
    (tmp_path / run.file).write_bytes(wandb_file.content(run))
    records = read_back(tmp_path)
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [len(item["text"]) for item in items] == lengths
    assert [(item["step"], item["_step"], item["_timestamp"]) for item in items] == [
        (place, place, AT.timestamp()) for place in range(len(lengths))
    ]
    (begun,) = [record["run"] for record in records if record["type"] == "run"]
    assert begun["config"]["update"]["a"] == {"b": [1, None]}
    assert begun["start_time"] == "2026-01-02T03:04:05Z"
    assert records[-1]["type"] == "exit"
    (summary,) = [record["summary"]["update"] for record in records if record["type"] == "summary"]
    assert (summary["step"], summary["end"]) == (len(lengths) - 1, "é")
