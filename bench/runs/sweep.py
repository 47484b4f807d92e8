"""Running many cells: what is done is skipped, failures do not stop the others, dead workers are noticed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.config import Config
from bench.runs import block as blocks
from bench.runs import index, progress
from bench.runs.execute import missing
from bench.runs.plan import Cell
from bench.runs.record import abandon

DEATH = "the process died without a word: killed, or out of memory"
DEATH_SEEN_AFTER = 10.0  # seconds in which the system clears away the processes of a broken pool


@dataclass(frozen=True)
class Outcome:
    """What a worker says about a cell beside its record: why there is none, and what went wrong on the way."""

    error: str | None = None
    warnings: tuple[str, ...] = ()


Launch = Callable[[Sequence[Cell]], Sequence[Outcome]]


@dataclass
class Report:
    """How a sweep ended: one line per failure and per warning.

    `skipped` cells were done before; of `elsewhere` cells, another process is still training seeds.
    """

    cells: int
    skipped: int
    directory: Path
    elsewhere: int = 0
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """A cell, the block it will become, and that block's record before the sweep touched it."""

    cell: Cell
    path: Path
    before: blocks.Block | None

    @property
    def label(self) -> str:
        return _label(self.cell.config)

    def block(self) -> blocks.Block | None:
        """The block this sweep made; None before it was begun."""
        block = blocks.read(self.path)
        return None if block is None or (self.before and block.record == self.before.record) else block


def sweep(cells: Sequence[Cell], launch: Launch, display: progress.Display) -> Report:
    """Run every cell that has seeds to train, longest first, and say how it went.

    Raises:
        UserError: before anything starts, for a damaged block or a folder that cannot be written.
    """
    jobs = _jobs(cells)
    for study in {cell.config.study.name: None for cell in cells}:
        index.update([cell.config for cell in cells if cell.config.study.name == study])
    done = sum(_done(cell.config) for cell in cells)
    report = Report(len(cells), done, blocks.study_directory(cells[0].config))
    if jobs:
        tasks = [progress.Item(job.label, job.path, cost(job.cell.config)) for job in jobs]
        with display.watching(tasks, done_before=report.skipped):
            _launch_all(jobs, launch, report)
    for cell in cells:
        report.failures += _failures(cell.config)
        report.elsewhere += any(block.state == "running" for block in blocks.blocks(cell.config))
    return report


def cost(config: Config) -> float:
    """How long a cell takes, in steps of no particular unit: enough to begin with the longest."""
    if config.is_peer:  # its seeds train one after another
        return config.budget * 30 * len(config.seeds)
    passes = config.update.epochs + (config.critic.epochs if config.has_critic else 0)
    return config.budget * (10 + passes)


def _jobs(cells: Sequence[Cell]) -> list[_Job]:
    """One job per cell with seeds to train; cells that differ by their label only are the same job."""
    jobs: dict[Path, _Job] = {}
    for cell in cells:
        seeds = missing(cell.config)
        if seeds:
            path = blocks.cell_directory(cell.config) / blocks.seeds_name(seeds)
            jobs.setdefault(path.parent.with_name(cell.config.hash) / path.name, _Job(cell, path, blocks.read(path)))
    return sorted(jobs.values(), key=lambda job: -cost(job.cell.config))


def _done(config: Config) -> bool:
    """Whether every seed asked for is finished."""
    finished = {seed for block in blocks.blocks(config) if block.finished for seed in block.seeds}
    return finished.issuperset(config.seeds)


def _launch_all(jobs: list[_Job], launch: Launch, report: Report) -> None:
    """Launch the jobs; where a worker dies and takes the pool down, launch what it left, the suspects one by one."""
    suspects: list[_Job] = []
    while jobs and (crash := _attempt(jobs, launch, report)):
        begun = [job for job in jobs if _left_behind(job)]
        if not begun:  # nothing was running, so nothing of ours broke it
            raise crash
        suspects += begun
        jobs = [job for job in jobs if job.block() is None]
    for job in suspects:
        if _attempt([job], launch, report):
            block = _left_behind(job)
            if block is not None:
                abandon(block, DEATH)


def _attempt(jobs: Sequence[_Job], launch: Launch, report: Report) -> Exception | None:
    """Launch jobs and gather what they say; the exception with which a pool broke down."""
    try:
        outcomes = launch([job.cell for job in jobs])
    except Exception as error:
        return error
    for job, outcome in zip(jobs, outcomes, strict=True):
        report.warnings += [warning for warning in outcome.warnings if warning not in report.warnings]
        block = job.block()
        if outcome.error is not None and (block is None or block.state != "failed"):
            report.failures.append(f"{job.label}: {outcome.error}")
    return None


def _left_behind(job: _Job) -> blocks.Block | None:
    """The job's block if its process died over it, waiting for the system to notice the death."""
    deadline = time.monotonic() + DEATH_SEEN_AFTER
    while (block := job.block()) is not None and block.state == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    return block if block is not None and block.state == "stale" else None


def _failures(config: Config) -> list[str]:
    """One line per cause of failed seeds among those asked for."""
    causes: dict[str, list[int]] = {}
    for block in blocks.blocks(config):
        if block.state in ("done", "failed"):
            for seed, cause in block.causes.items():
                if seed in config.seeds:
                    causes.setdefault(cause, []).append(seed)
    return [f"{_label(config)} seeds {','.join(map(str, seeds))}: {cause}" for cause, seeds in causes.items()]


def _label(config: Config) -> str:
    return f"{config.task.name} {config.arm_name}"
