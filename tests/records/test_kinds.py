"""Returns of each brother: what records say of them, and what they are judged by."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import bench
from bench.execution.reproduce import agreement
from bench.records import block as blocks
from bench.records.files import sha256
from bench.records.tables import CURVES, EPISODES, with_columns, write_rows
from bench.tasks.delayed_exam import DelayedExam
from bench.tasks.registry import kind_bounds
from bench.tasks.weekly_exam import WeeklyExam
from bench.verdicts import metrics

SMALL = ("budget=400", "evaluation.points=4", "evaluation.episodes=3", "hidden=[16,16]", "group.groups=2",
         "group.size=2", "seeds=2", "wandb=disabled")  # fmt: skip


def trained(folder: Path, *further: str) -> blocks.Block:
    path = bench.run(bench.compose([f"results={folder}", *SMALL, *further]))
    found = blocks.read(path)
    assert found is not None
    return found


def test_bounds_are_the_exact_scores_of_each_brother():
    """Mean scores a week, elder and younger: uniform 67.62 and 40.51, optimal 81.83 and 60.89; sixteen weeks."""
    bounds = kind_bounds(WeeklyExam())
    points = {kind: (score.random * 100 / 16, score.reference * 100 / 16) for kind, score in bounds.items()}
    assert points["elder"] == pytest.approx((67.62, 81.83), abs=0.005)
    assert points["younger"] == pytest.approx((40.51, 60.89), abs=0.005)
    assert kind_bounds(DelayedExam()) == {}  # there is nobody to tell apart


def test_a_record_has_the_returns_of_each_brother_and_metrics_made_of_them(tmp_path):
    block = trained(tmp_path, "task=weekly_exam")
    curves = blocks.table(block, CURVES, ("seed", "step", "mode"))
    both = [curves[f"exact_return_of_{kind}"].to_numpy() for kind in ("elder", "younger")]
    np.testing.assert_allclose(np.mean(both, axis=0), curves["exact_return"].to_numpy(), rtol=0, atol=1e-12)
    bounds = block.record["kinds"]
    of_seed = metrics.of_block(block, curves, None, exact=True)[1]
    assert of_seed is not None
    mine = (curves["seed"].to_numpy() == 1) & (np.array(curves["mode"].to_pylist()) == "stochastic")
    areas = {}
    for kind, returns in zip(("elder", "younger"), both, strict=True):
        low, high = bounds[kind]["random"], bounds[kind]["reference"]
        score = (returns[mine] - low) / (high - low)  # of steps 0, 100, 200, 300, 400
        areas[kind] = (score[0] / 2 + score[1] + score[2] + score[3] + score[4] / 2) / 4
        assert of_seed.values[f"final_{kind}"] == pytest.approx(score[4])
        assert of_seed.values[f"area_{kind}"] == pytest.approx(areas[kind])
    assert of_seed.values["behind"] == pytest.approx(areas["elder"] - areas["younger"])


def test_other_tasks_have_none(tmp_path):
    block = trained(tmp_path, "task=delayed_exam", "task.delay=1")
    assert "kinds" not in block.record
    assert not [name for name in blocks.table(block, CURVES, ()).column_names if "return_of" in name]


def test_tables_are_held_against_the_columns_that_were_recorded(tmp_path):
    """A block from before there were returns of brothers: the same bytes, as long as the other columns are."""
    block = trained(tmp_path / "now", "task=weekly_exam", "sample_solved=true")
    earlier = trained(tmp_path / "then", "task=weekly_exam", "sample_solved=true")
    for file in (CURVES, EPISODES):
        names = [name for name in pq.read_schema(block.path / file).names if "return_of" not in name]
        (earlier.path / file).write_bytes(with_columns(block.path / file, names))
        earlier.record["checksums"][file] = sha256(earlier.path / file)
    assert agreement(block.path, earlier) == {
        "curves.parquet": True,
        "episodes.parquet": True,
        "training.parquet": True,
    }
    rows = pq.read_table(block.path / CURVES).to_pylist()
    write_rows(CURVES, [{**rows[0], "return": rows[0]["return"] + 1}, *rows[1:]], block.path / CURVES)
    assert not agreement(block.path, earlier)["curves.parquet"]
