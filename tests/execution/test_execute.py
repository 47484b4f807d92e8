"""A cell is trained once, whatever happens on the way."""

import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from bench.config.identity import cell_hash
from bench.config.parse import parse
from bench.errors import UserError
from bench.execution import execute
from bench.execution.reproduce import train_again
from bench.records import block as blocks
from bench.records import provenance
from bench.records.tables import CURVES, EPISODES, TRAINING


def record(path: Path) -> dict:
    return json.loads((path / blocks.RECORD).read_text())


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_block_holds_what_the_design_says(learner, cell):
    learner.causes = {2: "loss is NaN"}
    config = cell("seeds=3", "study.name=mine")
    path = execute.run(config, ["task=weekly_exam"])
    expected = f"mine/runs/weekly_exam/critic-gae-clip-{cell_hash(config)}/seeds-000-002"
    assert path == Path(config.results) / expected
    assert sorted(file.name for file in path.iterdir()) == sorted([blocks.RECORD, *blocks.FILES])
    run = record(path)
    assert run["status"] == "done"
    divergences = pq.read_table(path / TRAINING, filters=[("seed", "==", 0)])["train/kl"].to_numpy()
    outcome = dict(run["seeds"]["0"])
    halves = outcome.pop("halves")  # numbers of both halves of the episodes: tests/records/test_metrics.py
    assert {key: len(pair) for key, pair in halves.items()} == dict.fromkeys(
        ("area", "final", "final_deterministic", "steps"), 2
    )
    assert np.isfinite(outcome.pop("drawdown"))
    assert outcome == {
        "status": "done",
        "cause": None,
        "env_steps": 90,
        "updates": 2,
        "unused_budget": 10,
        "largest_kl": pytest.approx(np.quantile(divergences, 0.99)),
        "explained_variance": None,
        "first_above_random": None,
    }
    assert run["seeds"]["2"]["status"] == "failed"
    assert run["seeds"]["2"]["cause"] == "loss is NaN"
    assert run["factors"]["baseline"] == "critic"
    assert run["parameters"] == {"actor": 7, "critic": 5}
    assert run["overrides"] == ["task=weekly_exam"]
    assert set(run["checksums"]) == set(blocks.FILES)
    assert run["score"] == {"random": config.task.score.random, "reference": config.task.score.reference}
    for key in ("study", "task", "arm", "hash", "seed_pool", "budget", "command", "git", "versions", "host", "threads"):
        assert key in run
    for key in ("wall_seconds", "cpu_seconds", "steps_per_second", "peak_memory_bytes", "started", "finished"):
        assert run[key] is not None


def test_the_written_configuration_is_the_cell(cell):
    path = execute.run(cell("seeds=[4,7]"))
    config = parse(yaml.safe_load((path / blocks.CONFIG).read_text()))
    assert config.seeds == (4, 7)
    assert cell_hash(config) == record(path)["hash"]


def test_a_finished_block_is_not_run_again_or_touched(learner, cell):
    path = execute.run(cell("seeds=2"))
    before = snapshot(path)
    assert execute.run(cell("seeds=2")) == path
    assert execute.run(cell("seeds=1")) == path
    assert learner.calls == [(0, 1)]
    assert snapshot(path) == before


def test_a_finished_block_with_failed_seeds_is_finished(learner, cell):
    learner.causes = {0: "NaN", 1: "NaN"}
    path = execute.run(cell("seeds=2"))
    assert record(path)["status"] == "failed"
    execute.run(cell("seeds=2"))
    assert learner.calls == [(0, 1)]


def test_added_seeds_are_a_new_block_of_the_same_cell(learner, cell):
    first = execute.run(cell("seeds=10"))
    before = snapshot(first)
    second = execute.run(cell("seeds=20"))
    assert learner.calls == [tuple(range(10)), tuple(range(10, 20))]
    assert (first.name, second.name) == ("seeds-000-009", "seeds-010-019")
    assert first.parent == second.parent
    assert snapshot(first) == before
    third = execute.run(cell("seeds=[3,25,30]"))
    assert third.name == "seeds-025+030"


def test_a_cell_is_found_by_its_hash_whatever_it_is_called(cell):
    path = execute.run(cell("seeds=2"))
    assert execute.run(cell("seeds=2", "name=other")) == path
    assert execute.run(cell("seeds=3", "name=other")).parent == path.parent


def test_another_setting_is_another_cell_beside_it(cell):
    one, other = execute.run(cell("seeds=2")), execute.run(cell("seeds=2", "gamma=0.9"))
    assert one.parent != other.parent
    assert one.parents[1] == other.parents[1]


def test_the_same_command_gives_the_same_bytes(cell):
    one = execute.run(cell("seeds=3"))
    other = execute.run(cell("seeds=3", "results=again"))
    for name in (*blocks.NUMBERS, blocks.POLICY, blocks.CHECKPOINT):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_single_episodes_are_kept_unless_they_are_not_wanted(cell):
    with_episodes, without = cell("seeds=2"), cell("seeds=2", "keep_episodes=false", "results=again")
    assert cell_hash(with_episodes) == cell_hash(without)
    one, other = execute.run(with_episodes), execute.run(without)
    assert not (other / EPISODES).exists()
    assert set(record(other)["checksums"]) == set(blocks.FILES) - {EPISODES}
    assert (one / CURVES).read_bytes() == (other / CURVES).read_bytes()
    block = blocks.read(other)
    blocks.check(block)
    assert block.left_out == []
    assert train_again(block) == {CURVES: True, TRAINING: True}
    assert train_again(blocks.read(one)) == {CURVES: True, EPISODES: True, TRAINING: True}


def test_curves_are_the_means_of_the_episodes(cell):
    path = execute.run(cell("seeds=2"))
    episodes = pq.read_table(path / EPISODES).to_pandas().groupby(["seed", "step", "mode"])["return"]
    curves = pq.read_table(path / CURVES).to_pandas().set_index(["seed", "step", "mode"])
    assert len(curves) == 2 * 3 * 2
    assert curves["episodes"].tolist() == [2] * 12
    np.testing.assert_allclose(curves["return"], episodes.mean(), rtol=1e-15)
    np.testing.assert_allclose(curves["return_variance"], episodes.var(ddof=1), rtol=1e-12)


def test_a_failure_is_recorded_and_run_again(learner, cell):
    def breaks():
        raise MemoryError("out of memory\nsecond line")

    learner.before = breaks
    with pytest.raises(MemoryError):
        execute.run(cell("seeds=2"))
    path = blocks.cell_directory(cell("seeds=2")) / "seeds-000-001"
    run = record(path)
    assert run["status"] == "failed"
    assert run["seeds"]["1"]["cause"] == "MemoryError: out of memory"
    assert "breaks" in run["traceback"]
    assert not blocks.read(path).finished
    learner.before = lambda: None
    assert execute.run(cell("seeds=2")) == path
    assert record(path)["status"] == "done"
    assert "traceback" not in record(path)


def test_an_interrupted_block_is_unfinished_and_run_again(learner, cell):
    def interrupt():
        raise KeyboardInterrupt

    learner.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        execute.run(cell("seeds=2"))
    path = blocks.cell_directory(cell("seeds=2")) / "seeds-000-001"
    assert blocks.read(path).state == "stale"
    learner.before = lambda: None
    execute.run(cell("seeds=2"))
    assert blocks.read(path).state == "done"


def test_what_a_killed_process_left_is_replaced_when_the_new_run_begins(learner, cell):
    config = cell("seeds=2")
    path = blocks.cell_directory(config) / "seeds-000-001"
    execute.run(config)
    left = {**record(path), "status": "running", "process": "999999999-x-1"}
    del left["checksums"]
    (path / blocks.RECORD).write_text(json.dumps(left))
    (path / ".writing-checkpoint.pt").write_text("half")
    seen: list[list[str]] = []
    learner.before = lambda: seen.append(sorted(file.name for file in path.iterdir()))
    assert blocks.read(path).state == "stale"
    execute.run(config)
    assert seen == [[blocks.CONFIG, blocks.RECORD]]
    assert blocks.read(path).state == "done"


def test_a_block_somebody_is_at_is_left_alone(learner, cell):
    inner: list[object] = []

    def meanwhile():
        inner.append(execute.missing(cell("seeds=3")))

    learner.before = meanwhile
    execute.run(cell("seeds=2"))
    assert inner == [(2,)]


def test_two_that_begin_at_once_share_the_seeds(learner, cell):
    """The second looked for missing seeds before the first had begun."""
    config = cell("seeds=2")
    path = blocks.cell_directory(config) / "seeds-000-001"
    execute.run(config)
    with pytest.raises(execute.Busy):
        execute.run_block(cell("seeds=[1]"), path.with_name("seeds-001"))
    assert not path.with_name("seeds-001").exists()
    assert learner.calls == [(0, 1)]


@pytest.mark.parametrize("damage", ["record", "numbers", "gone"])
def test_a_damaged_block_is_named_and_nothing_is_lost(damage, cell):
    path = execute.run(cell("seeds=2"))
    if damage == "record":
        (path / blocks.RECORD).write_text('{"schema": 1,')
    elif damage == "numbers":
        (path / EPISODES).write_bytes((path / EPISODES).read_bytes()[:-10])
    else:
        (path / TRAINING).unlink()
    before = snapshot(path)
    for seeds in ("seeds=2", "seeds=4"):
        with pytest.raises(UserError, match=f"damaged block {path}"):
            execute.run(cell(seeds))
    assert snapshot(path) == before
    shutil.move(path, path.parents[3] / "aside")
    assert execute.run(cell("seeds=2")) == path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(cell, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results").chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UserError, match=r"cannot write .*: Permission denied"):
        execute.run(cell("seeds=2"))


def test_a_folder_that_cannot_be_is_refused(learner, cell, tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UserError, match=r"results=.*: cannot write .*"):
        execute.run(cell("seeds=2"))
    assert learner.calls == []


def test_no_file_tells_who_ran_it(cell, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("bench.paths.getpass.getuser", lambda: "results")
    monkeypatch.setenv(provenance.COMMAND, f"python -m bench results={tmp_path}/results wandb=disabled")
    path = execute.run(cell("seeds=2"), [f"results={tmp_path}/results"])
    assert record(path)["command"] == "python -m bench results=~/USER wandb=disabled"
    assert record(path)["overrides"] == ["results=~/USER"]
    for content in snapshot(path).values():
        assert str(tmp_path).encode() not in content


def test_a_librarys_seeds_are_a_block_each_and_those_begun_together_go_on_together(cell):
    """They train one after another: the third's end must not be the first's."""
    config = cell("algorithm=sb3_ppo", "seeds=[0,3,1]", "budget=4096")
    assert execute.parts(config) == [(0,), (1,), (3,)]
    assert execute.parts(cell("seeds=[0,3,1]")) == [(0, 1, 3)]
    execute.run(config)
    found = blocks.blocks(config)
    assert [(sorted(block.seeds), block.state) for block in found] == [([0], "done"), ([1], "done"), ([3], "done")]
    assert execute.parts(config) == []
