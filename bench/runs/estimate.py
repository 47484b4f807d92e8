"""What a command would do, and how long it would take at the speed that was measured here."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import Config
from bench.errors import UserError
from bench.runs import block as blocks
from bench.runs import execute, partial, provenance
from bench.runs.plan import Cell
from bench.runs.sweep import Job, cost, jobs

if TYPE_CHECKING:  # importing anything of the learner's imports torch, which takes seconds
    from bench.learner.observer import Row, Save

MEASURED_FOR = 3.0  # seconds of training where nothing was recorded yet
TASKS_MEASURED = 3  # at most; the others are taken to be like them


@dataclasses.dataclass(frozen=True)
class Speed:
    """Seconds per unit of `work`, of one block that was trained on this machine."""

    hash: str
    task: str
    seconds: float


def dry_run(cells: Sequence[Cell], processes: int | None) -> str:
    """The blocks a sweep of these cells would train, what is done, and the time it would take, as text.

    `processes` blocks train at once; None where that is a cluster's affair. Raises `UserError` for a damaged block.
    """
    todo = jobs(cells)
    done = {cell.config.hash: _counts(cell.config) for cell in cells}
    finished = sum(counts[0] for counts in done.values())
    running = sum(counts[1] for counts in done.values())
    lines = [f"{len(done)} cells in {blocks.study_directory(cells[0].config)}: {finished} seeds of cells done"]
    if running:
        lines[0] += f", {running} running in another process"
    if not todo:
        return "\n".join([*lines, "nothing to train"])
    seconds, source = _reckoned(todo)
    for job, needed in zip(todo, seconds, strict=True):
        verb = "go on" if _share_done(job) else "train"
        seeds = blocks.seeds_name(job.cell.config.seeds).removeprefix("seeds-")
        lines.append(f"{verb:6} {job.label} seeds {seeds}: {_clock(needed)}")
    return "\n".join([*lines, _in_words(seconds, source, processes)])


def how_long(todo: Sequence[Job], processes: int | None) -> str:
    """The time that blocks will take, in words: the last line of `dry_run`."""
    return _in_words(*_reckoned(todo), processes)


def _reckoned(todo: Sequence[Job]) -> tuple[list[float], str]:
    """The seconds that each block still takes, and where the speed is from."""
    speeds, source = _speeds(todo)
    return [_seconds(job.cell.config, speeds) * (1 - _share_done(job)) for job in todo], source


def _in_words(seconds: Sequence[float], source: str, processes: int | None) -> str:
    total = sum(seconds)
    if processes is None:
        return f"about {_clock(total)} of computing, {_clock(max(seconds))} of it the longest block ({source})"
    return f"about {_clock(max(total / processes, max(seconds)))} with {processes} at once ({source})"


def work(budget: int, passes: int, seeds: int) -> float:
    """How much a block is to do, in no particular unit: ten seeds in lockstep take about three times one."""
    return budget * (10 + passes) * (3 + seeds) / 4


def _work(config: Config) -> float:
    return work(1, 0, len(config.seeds)) / 10 * cost(config)


def _counts(config: Config) -> tuple[int, int]:
    """How many of the seeds asked for are finished, and being trained."""
    found = blocks.blocks(config)
    finished = {seed for block in found if block.finished for seed in block.seeds}
    running = {seed for block in found if block.state == "running" for seed in block.seeds}
    return len(finished.intersection(config.seeds)), len(running.intersection(config.seeds))


def _share_done(job: Job) -> float:
    """How much of a block an earlier process has saved, 0 to 1."""
    try:
        saved = partial.read(job.path / partial.PARTIAL)
    except partial.Damaged:
        return 0.0
    if saved is None or not saved.training:
        return 0.0
    last = {row["seed"]: float(row["step"]) for row in saved.training}
    return min(1.0, sum(last.values()) / (len(job.cell.config.seeds) * job.cell.config.budget))


def _seconds(config: Config, speeds: Sequence[Speed]) -> float:
    """The time of a block, from the most alike: the same cell's, else the same task's, else any."""
    same_cell = [speed.seconds for speed in speeds if speed.hash == config.hash]
    same_task = [speed.seconds for speed in speeds if speed.task == config.task.name]
    return _work(config) * statistics.median(same_cell or same_task or [speed.seconds for speed in speeds])


def _speeds(todo: Sequence[Job]) -> tuple[list[Speed], str]:
    """Speeds to reckon with, and where they are from."""
    recorded = list(_recorded(blocks.study_directory(todo[0].cell.config)))
    if recorded:
        return recorded, f"speed of {len(recorded)} blocks trained on this machine"
    tasks = {job.cell.config.task.name: job.cell.config for job in todo}
    measured = [_measured(config) for config in list(tasks.values())[:TASKS_MEASURED]]
    return measured, f"speed measured just now on {', '.join(speed.task for speed in measured)}"


def _recorded(study: Path) -> Iterator[Speed]:
    """The speeds of the study's finished blocks that this machine trained, from their records alone."""
    for path in sorted((study / "runs").glob("*/*/seeds-*")):
        try:
            block = blocks.read(path)
        except UserError:  # a damaged one
            continue
        if block is None or not block.finished or block.record["host"]["id"] != provenance.host()["id"]:
            continue
        record = block.record
        passes = sum(record["factors"].get(f"{of}.epochs", 0) for of in ("update", "critic"))
        units = work(record["budget"], passes, len(block.seeds))
        yield Speed(record["hash"], record["task"], record["wall_seconds"] / units)


class _Enough(BaseException):
    """Trained for long enough to know the speed; no `Exception`, which would be a seed's failure and start the next."""


class _Stopwatch:
    """An observer that stops training after a while, with the time per share of the budget."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seconds_per_budget = 0.0

    def on_update(self, rows: Sequence["Row"]) -> None:
        """Nothing is kept."""

    def on_evaluation(self, rows: Sequence["Row"]) -> None:
        """Nothing is kept."""

    def on_checkpoint(self, save: "Save | None") -> None:
        """Nothing is saved."""

    def on_progress(self, fraction: float, current_return: float | None) -> None:  # noqa: ARG002
        """Take the time. Raises `_Enough` when it is up."""
        passed = time.perf_counter() - self.began
        if fraction > 0:
            self.seconds_per_budget = passed / fraction
            if passed > MEASURED_FOR:
                raise _Enough


def _measured(config: Config) -> Speed:
    """The speed of a cell, by training it for some seconds without recording anything."""
    import bench.learner  # noqa: F401 - torch takes seconds, which are not part of the speed

    watch = _Stopwatch()
    with contextlib.suppress(_Enough):
        execute.train(config, config.seeds, watch)
    return Speed(config.hash, config.task.name, watch.seconds_per_budget / _work(config))


def _clock(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
