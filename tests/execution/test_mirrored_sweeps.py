"""One process writes the W&B runs of a whole sweep, while it trains."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench.cells.grids import Cell
from bench.execution import execute
from bench.execution.launch import Outcome, sweep
from bench.execution.progress import Display
from bench.interruption import Interrupted
from bench.records import block as blocks
from bench.records import mirror, mirroring
from tests import stand_in_wandb


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(mirroring, "_given_up", set())


@pytest.fixture
def started(monkeypatch) -> list[mirroring.MirrorProcess]:
    """The processes that were started."""
    processes: list[mirroring.MirrorProcess] = []

    class Counted(mirroring.MirrorProcess):
        def __init__(self, wanted) -> None:
            super().__init__(wanted)
            processes.append(self)

    monkeypatch.setattr(mirroring, "MirrorProcess", Counted)
    return processes


def launch(cells):
    for cell in cells:
        execute.train_missing(cell.config)
    return [Outcome() for _ in cells]


def cells(cell, *modes: str) -> list[Cell]:
    return [Cell(cell("seeds=2", f"gamma=0.{number}", f"wandb={mode}"), {}) for number, mode in enumerate(modes, 1)]


def complete(study: Path) -> list[str]:
    return sorted(made.parent.name.partition("-run-")[2] for made in study.glob(f"wandb/*run-*/{mirror.COMPLETE}"))


def test_one_process_mirrors_the_cells_that_want_it(cell, started, tmp_path, monkeypatch):
    stand_in_wandb.stand_in(tmp_path / "library", monkeypatch, "pass")
    some = cells(cell, "offline", "disabled", "offline")
    report = sweep(some, launch, Display(Console(file=io.StringIO())))
    assert report.warnings == []
    assert len(started) == 1
    assert len(complete(report.directory)) == 4
    sweep(some, launch, Display(Console(file=io.StringIO())))
    assert len(started) == 1  # there was nothing to train


def test_without_a_cell_that_wants_it_nothing_is_started(cell, started):
    sweep(cells(cell, "disabled", "disabled"), launch, Display(Console(file=io.StringIO())))
    assert started == []


def test_what_w_and_b_does_not_have_is_in_the_report_once(cell, tmp_path, monkeypatch):
    stand_in_wandb.missing(tmp_path / "library", monkeypatch)
    some = cells(cell, "offline", "offline", "offline")
    report = sweep(some, launch, Display(Console(file=io.StringIO())))
    again = f"'python -m bench wandb-sync study=adhoc results={tmp_path}/results wandb=offline' makes up for it"
    assert report.warnings == [f"wandb=offline: not mirrored (no wandb here); {again}"]
    assert report.failures == []


def test_an_interrupted_sweep_says_what_is_not_mirrored_and_ends(cell, learner, tmp_path, monkeypatch):
    stand_in_wandb.stand_in(tmp_path / "library", monkeypatch, "time.sleep(1000)")
    monkeypatch.setattr(mirroring, "GRACE", 0.1)
    out = io.StringIO()

    def interrupt():
        if len(learner.calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    learner.before = interrupt
    some = cells(cell, "offline", "offline")
    with pytest.raises(Interrupted):
        sweep(some, launch, Display(Console(file=out, width=300)))
    assert [block.state for each in some for block in blocks.blocks(each.config)] == ["done", "stale"]
    assert "warning: wandb=offline: not mirrored (interrupted); 'python -m bench wandb-sync" in out.getvalue()


def test_a_command_line_leaves_a_complete_run_of_every_seed(tmp_path):
    """From a folder with a module of W&B's name, which is none of ours."""
    (tmp_path / "wandb.py").write_text("raise ImportError('from the current folder')")
    words = ["task=exam_question", "advantage=td0,gae,nstep", "budget=64", "seeds=2", "hidden=[8,8]", "wandb=offline"]
    few = ["evaluation.points=1", "evaluation.episodes=1", "hydra.launcher.n_jobs=1"]
    command = [sys.executable, "-m", "bench", *words, *few]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "warning" not in done.stderr
    names = complete(tmp_path / "results" / "adhoc")
    assert len(names) == 6
    assert [name.split("-")[-2] for name in names].count("001") == 3
