"""kill -9, whenever and whomever it strikes: the same sweep ends with the numbers of one that nobody touched."""

import dataclasses
import io
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from rich.console import Console

import bench
from bench.cells.grids import Cell
from bench.execution import execute
from bench.execution.launch import Outcome, sweep
from bench.execution.progress import Display
from bench.learner import train as learner
from bench.records import block as blocks
from bench.records import training as record

KILLS = 20
FORK = multiprocessing.get_context("fork")  # torch is loaded once
TINY = ("task=weekly_exam", "budget=8000", "seeds=2", "evaluation.episodes=5", "hidden=[32,32]", "wandb=disabled")


def cells(results: Path) -> list[Cell]:
    configs = [bench.compose([*TINY, f"advantage={name}", "checkpoint_minutes=0"]) for name in ("td0", "gae", "nstep")]
    return [Cell(dataclasses.replace(config, results=str(results)), {}) for config in configs]


def launch(some):
    """A pool that breaks, as a real one does, when one of its workers dies."""
    workers = [FORK.Process(target=execute.run, args=(cell.config,)) for cell in some]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a worker was killed")
    return [Outcome() for _ in some]


def lead(results: Path) -> None:
    os.setsid()
    sweep(cells(results), launch, Display(Console(file=io.StringIO())))


def numbers(results: Path) -> dict[str, list[bytes]]:
    names = (*blocks.NUMBERS, blocks.CHECKPOINT, blocks.POLICY)
    return {name: [path.read_bytes() for path in sorted(results.rglob(name))] for name in names}


def training(results: Path) -> list[int]:
    """The numbers of the processes that are in the middle of training."""
    found = (blocks.read(path.parent) for path in results.rglob(blocks.PROGRESS))
    running = [block for block in found if block is not None and block.state == "running"]
    return [int(block.record["process"].partition("-")[0]) for block in running]


def strike(number: int, *, group: bool) -> None:
    try:
        (os.killpg if group else os.kill)(number, signal.SIGKILL)
    except ProcessLookupError:  # it was quicker
        return


@pytest.mark.slow
def test_a_sweep_survives_twenty_kills(tmp_path, monkeypatch):
    """Workers, the parent alone (its workers train on), and all of them at once, at random moments."""
    monkeypatch.setattr(execute, "train", learner.train)
    monkeypatch.setattr(record, "CHECKPOINT_SHARE", 1e9)  # as often as asked for: after every update
    whole, struck = tmp_path / "whole", tmp_path / "struck"
    sweep(cells(whole), launch, Display(Console(file=io.StringIO())))
    rng = random.Random(5)
    kills: list[str] = []
    resumed = 0
    while len(kills) < KILLS:
        parent = FORK.Process(target=lead, args=(struck,))
        parent.start()
        while parent.is_alive() and len(kills) < KILLS:
            time.sleep(rng.uniform(0.1, 0.6))
            workers = training(struck)
            if workers:
                kills.append(rng.choice(["worker", "worker", "parent", "all"]))
                if kills[-1] == "worker":
                    strike(rng.choice(workers), group=False)
                else:
                    strike(parent.pid, group=kills[-1] == "all")
        strike(parent.pid, group=True)
        parent.join()
        resumed += sum(len(json.loads(path.read_text()).get("resumed", [])) for path in struck.rglob(blocks.RECORD))
        if len(kills) < KILLS and all(block.finished for block in found(struck)):
            assert numbers(struck) == numbers(whole)
            struck = tmp_path / f"struck-{len(kills)}"  # done before the twentieth: once more from the beginning
    while training(struck):  # orphans
        time.sleep(0.1)
    sweep(cells(struck), launch, Display(Console(file=io.StringIO())))
    assert len(found(struck)) == 3
    assert numbers(struck) == numbers(whole)
    assert resumed > 0, "nothing went on from a checkpoint"


def found(results: Path) -> list[blocks.Block]:
    return [block for cell in cells(results) for block in blocks.blocks(cell.config)]
