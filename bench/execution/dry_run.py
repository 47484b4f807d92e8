"""What a command would do, and how long it would take at the speed that was measured here."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cells.grids import Cell
from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError
from bench.execution import execute
from bench.execution.launch import Job, jobs
from bench.records import block as blocks
from bench.records import partial, provenance
from bench.records.files import Damaged

if TYPE_CHECKING:  # importing anything of the learner's imports torch, which takes seconds
    from bench.observer import Row, Save

OURS = "policy_gradient"
MEASURED_FOR = 3.0  # seconds of training where nothing was recorded yet
CELLS_MEASURED = 3  # at most, but one of each program; the others are taken to be like them


@dataclasses.dataclass(frozen=True)
class Speed:
    """Seconds per unit of `work`, of one block that was trained on this machine."""

    hash: str
    task: str
    program: str  # algorithm.name
    seconds: float


def dry_run(cells: Sequence[Cell], processes: int | None) -> str:
    """The blocks a sweep of these cells would train, what is done, and the time it would take, as text.

    `processes` blocks train at once; None where that is a cluster's affair. Raises `UserError` for a damaged block.
    """
    retried = [cell for cell in cells if cell.config.retry == "damaged"]
    hurt = {cell_hash(cell.config): found for cell in retried if (found := execute.damage(cell.config))}
    todo = jobs([cell for cell in cells if cell_hash(cell.config) not in hurt])
    again = [_afresh(cell, hurt[cell_hash(cell.config)]) for cell in cells if cell_hash(cell.config) in hurt]
    todo += [job for job in again if job.cell.config.seeds]
    done = {cell_hash(cell.config): _counts(cell.config, hurt.get(cell_hash(cell.config), ())) for cell in cells}
    finished = sum(counts[0] for counts in done.values())
    running = sum(counts[1] for counts in done.values())
    lines = [f"{len(done)} cells in {blocks.study_directory(cells[0].config)}: {finished} seeds of cells done"]
    if running:
        lines[0] += f", {running} running in another process"
    lines += [f"to be set aside: {what}" for found in hurt.values() for what in found.values()]
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


def work(program: str, budget: int, passes: int, seeds: int) -> float:
    """How much a block is to do, in no particular unit: ten seeds in lockstep take about three times one."""
    return budget * (10 + passes) * (3 + seeds) / 4 if program == OURS else budget * seeds


def _work(config: Config) -> float:
    passes = config.update.epochs + (config.critic.epochs if config.has_critic else 0)
    return work(config.algorithm.name, config.budget, passes, len(config.seeds))


def _afresh(cell: Cell, damaged: Container[Path]) -> Job:
    """What there is to train of a cell once its damaged blocks are set aside."""
    taken = {seed for block in _intact(cell.config, damaged) for seed in block.taken()}
    left = tuple(seed for seed in cell.config.seeds if seed not in taken)
    path = blocks.cell_directory(cell.config) / blocks.seeds_name(left or cell.config.seeds)
    return Job(dataclasses.replace(cell, config=dataclasses.replace(cell.config, seeds=left)), path, None)


def _intact(config: Config, damaged: Container[Path]) -> list[blocks.Block]:
    folders = [path for path in blocks.folders(blocks.cell_directory(config)) if path not in damaged]
    return [block for path in folders if (block := blocks.read(path)) is not None]


def _counts(config: Config, damaged: Container[Path]) -> tuple[int, int]:
    """How many of the seeds asked for are finished, and being trained."""
    found = _intact(config, damaged)
    finished = {seed for block in found if block.finished for seed in block.seeds}
    running = {seed for block in found if block.state == "running" for seed in block.seeds}
    return len(finished.intersection(config.seeds)), len(running.intersection(config.seeds))


def _share_done(job: Job) -> float:
    """How much of a block an earlier process has saved, 0 to 1."""
    try:
        saved = partial.read(job.path / partial.PARTIAL)
    except Damaged:
        return 0.0
    if saved is None or not saved.training:
        return 0.0
    last = {row["seed"]: float(row["step"]) for row in saved.training}
    return min(1.0, sum(last.values()) / (len(job.cell.config.seeds) * job.cell.config.budget))


def _seconds(config: Config, speeds: Sequence[Speed]) -> float:
    """The time of a block, from the most alike: the same cell's, else its program's on the task, or anywhere."""
    same_cell = [speed for speed in speeds if speed.hash == cell_hash(config)]
    same_program = [speed for speed in speeds if speed.program == config.algorithm.name]
    same_task = [speed for speed in same_program if speed.task == config.task.name]
    alike = same_cell or same_task or same_program  # never another program's, whose work has another unit
    return _work(config) * statistics.median(speed.seconds for speed in alike)


def _speeds(todo: Sequence[Job]) -> tuple[list[Speed], str]:
    """Speeds to reckon with, and where they are from."""
    configs = [job.cell.config for job in todo]
    asked = {config.algorithm.name for config in configs}
    recorded = [speed for speed in _recorded(blocks.study_directory(configs[0])) if speed.program in asked]
    known = {speed.program for speed in recorded}
    measured = [_measured(config) for config in _typical([c for c in configs if c.algorithm.name not in known])]
    count = "1 block" if len(recorded) == 1 else f"{len(recorded)} blocks"
    sources = [f"speed of {count} trained on this machine"] if recorded else []
    if measured:
        sources.append(f"speed measured just now on {', '.join(dict.fromkeys(speed.task for speed in measured))}")
    return [*recorded, *measured], ", ".join(sources)


def _typical(configs: Sequence[Config]) -> list[Config]:
    """One cell of each program, and of its further tasks as many as are worth the time."""
    of_program = {config.algorithm.name: config for config in reversed(configs)}
    first = list(reversed(of_program.values()))
    seen = {(config.algorithm.name, config.task.name) for config in first}
    others = {(config.algorithm.name, config.task.name): config for config in configs}
    further = [config for key, config in others.items() if key not in seen]
    return [*first, *further[: max(0, CELLS_MEASURED - len(first))]]


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
        program = record["factors"].get("algorithm", OURS)
        units = work(program, record["budget"], passes, len(block.seeds))
        yield Speed(record["hash"], record["task"], program, record["wall_seconds"] / units)


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
    return Speed(cell_hash(config), config.task.name, config.algorithm.name, watch.seconds_per_budget / _work(config))


def _clock(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
