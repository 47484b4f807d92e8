"""Scalars for TensorBoard, read by its own reader; and what is said where its package is missing."""

import dataclasses
import sys
import warnings
from pathlib import Path

import pytest

from bench.cells.composition import compose
from bench.config.identity import cell_hash
from bench.errors import RunWarning, UserError
from bench.execution import checks, execute
from bench.records import scalars
from tests.fake_learner import FakeLearner

SMALL = ["task=weekly_exam", "budget=1000", "seeds=2", "wandb=disabled", "tensorboard=true"]


def cell(tmp_path: Path, *words: str):
    return dataclasses.replace(compose([*SMALL, *words]), results=str(tmp_path))


@pytest.fixture
def learner(monkeypatch) -> FakeLearner:
    fake = FakeLearner()
    monkeypatch.setattr(execute, "train", fake)
    return fake


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show of a folder: by name, step and value."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {name: [(each.step, each.value) for each in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_without_the_package_it_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"^tensorboard=true needs TensorBoard: pip install tensorboard$"):
        checks.check(cell(tmp_path))
    checks.check(cell(tmp_path, "tensorboard=false"))


def test_it_changes_no_cell():
    plain, with_scalars = compose(SMALL[:-1]), compose(SMALL)
    assert (plain.tensorboard, with_scalars.tensorboard) == (False, True)
    assert cell_hash(plain) == cell_hash(with_scalars)


@pytest.mark.usefixtures("learner")
def test_each_seed_has_a_folder_with_the_rows_of_its_record(tmp_path):
    pytest.importorskip("tensorboard", reason="scalars need the extra tensorboard")
    config = cell(tmp_path)
    block = execute.run(config)
    folders = sorted(path.name for path in scalars.folder(config, 0).parent.iterdir())
    assert folders == ["seed-000", "seed-001"]
    training = pytest.importorskip("pyarrow.parquet").read_table(block / "training.parquet").to_pylist()
    curves = pytest.importorskip("pyarrow.parquet").read_table(block / "curves.parquet").to_pylist()
    for seed in (0, 1):
        shown = read(scalars.folder(config, seed))
        own = [row for row in training if row["seed"] == seed]
        assert shown["train/kl"] == [(row["step"], pytest.approx(row["train/kl"], rel=1e-6)) for row in own]
        for mode, ending in (("deterministic", ""), ("stochastic", "_stochastic")):
            points = [row for row in curves if (row["seed"], row["mode"]) == (seed, mode)]
            means = [(row["step"], pytest.approx(row["return"], rel=1e-6)) for row in points]
            assert shown[f"eval/mean_reward{ending}"] == means
            assert shown[f"eval/mean_ep_length{ending}"] == [(row["step"], 16.0) for row in points]


def test_what_is_trained_again_after_a_kill_is_there_once(tmp_path, learner, monkeypatch):
    """The first process dies after its second update, of which its checkpoint knows nothing."""
    pytest.importorskip("tensorboard", reason="scalars need the extra tensorboard")
    config = cell(tmp_path, "checkpoint_minutes=0")
    monkeypatch.setattr("bench.records.training.CHECKPOINT_SHARE", 1e9)  # a checkpoint whenever there can be one
    calls = 0

    def dies():
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    learner.after_progress = dies
    with pytest.raises(KeyboardInterrupt):
        execute.run(config)
    learner.after_progress = lambda: None
    execute.run(config)
    assert learner.begun_at == [0, 1]
    shown = read(scalars.folder(config, 0))
    assert [step for step, _ in shown["train/kl"]] == [1, 501, 1001]
    assert [step for step, _ in shown["eval/mean_reward"]] == [0, 500, 1000]


@pytest.mark.usefixtures("learner")
def test_a_folder_that_cannot_be_written_costs_a_warning_and_no_run(tmp_path):
    pytest.importorskip("tensorboard", reason="scalars need the extra tensorboard")
    config = cell(tmp_path)
    (tmp_path / "adhoc").mkdir()
    (tmp_path / "adhoc" / scalars.FOLDER).write_text("a file")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunWarning)
        block = execute.run(config)
    assert (block / "curves.parquet").exists()
    (warning,) = [each for each in caught if issubclass(each.category, RunWarning)]
    assert "no more scalars are written" in str(warning.message)
