"""Running many cells: what is done is skipped, failures do not stop the others, dead workers are noticed."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import interruption
from bench.cells.grids import Cell
from bench.cells.labels import labels
from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError, counted, first_line
from bench.execution import progress
from bench.execution.execute import parts, set_aside
from bench.records import block as blocks
from bench.records import index
from bench.records.mirroring import mirroring, watches
from bench.records.recorder import abandon

OURS = "policy_gradient"
DEATH = "the process died without a word: killed, or out of memory"
DEATH_SEEN_AFTER = 10.0  # seconds in which the system clears away the processes of a broken pool


@dataclass(frozen=True)
class Outcome:
    """What a worker says about a cell beside its record: why there is none, and what went wrong on the way."""

    error: str | None = None
    warnings: tuple[str, ...] = ()
    stopped: str | None = None  # the signal that asked


Launch = Callable[[Sequence[Cell]], Sequence[Outcome]]
HowLong = Callable[[Sequence["Job"]], str]


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


Sweep = Callable[[Sequence[Cell]], Report]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A cell with the seeds of one block, that block's folder, its record before the sweep touched it, and its name."""

    cell: Cell
    path: Path
    before: blocks.Block | None
    label: str

    def block(self) -> blocks.Block | None:
        """The block this sweep made; None before it was begun."""
        block = blocks.read(self.path)
        return None if block is None or (self.before and block.record == self.before.record) else block


def sweep(cells: Sequence[Cell], launch: Launch, display: progress.Display, how_long: HowLong | None = None) -> Report:
    """Run every cell that has seeds to train, longest first, and say how it went.

    Before it starts, `how_long` says what it will take.

    Raises:
        UserError: before anything starts, for a damaged block, one of another version, or a folder that cannot be
            written.
        Interrupted: where a signal asked to stop, after what was being trained is saved.
    """
    for folder in {blocks.study_directory(cell.config): None for cell in cells}:
        blocks.refuse_other_versions(folder)
    index.refuse_changed([cell.config for cell in cells])
    aside = [line for cell in cells if cell.config.retry == "damaged" for line in set_aside(cell.config)]
    todo = jobs(cells)
    for study in {cell.config.study.name: None for cell in cells}:
        index.plan([cell.config for cell in cells if cell.config.study.name == study])
    done = sum(_done(cell.config) for cell in cells)
    report = Report(len(cells), done, blocks.study_directory(cells[0].config), warnings=aside)
    if todo:
        display.say(_announcement(todo, how_long))
        tasks = [progress.Item(job.label, job.path, cost(job.cell.config)) for job in todo]
        watching = display.watching(tasks, done_before=report.skipped)
        mirrored = mirroring(watches(job.cell.config for job in todo), report.warnings.append, display.say)
        try:
            with interruption.leading(), mirrored, watching, _stopping_when_idle(todo):
                _launch_all(todo, launch, report)
        except KeyboardInterrupt:
            for warning in report.warnings:  # nobody will see the report
                display.say(f"warning: {warning}")
            raise
    called = labels([cell.config for cell in cells])
    for cell in cells:
        report.failures += _failures(cell.config, called[cell_hash(cell.config), cell.config.arm_name])
        report.elsewhere += any(block.state == "running" for block in blocks.blocks(cell.config))
    return report


def _announcement(todo: Sequence[Job], how_long: HowLong | None) -> str:
    """How much is to be trained, and how long that takes."""
    return f"{counted(len(todo), 'block')} to train" + ("" if how_long is None else f", {how_long(todo)}")


def cost(config: Config) -> float:
    """How long a cell takes, in the unit of `work`: enough to begin with the longest."""
    passes = config.update.epochs + (config.critic.epochs if config.has_critic else 0)
    return work(config.algorithm.name, config.budget, passes, len(config.seeds))


def work(program: str, budget: int, passes: int, seeds: int) -> float:
    """How much a block is to do, in no particular unit.

    Ten seeds take about three times one in lockstep, and ten times where a library trains one after another.
    """
    return budget * (10 + passes) * (3 + seeds) / 4 if program == OURS else budget * 30 * seeds


def jobs(cells: Sequence[Cell]) -> list[Job]:
    """One job per block to train, longest first; cells that differ by their label only are the same jobs.

    Raises:
        UserError: for a damaged block.
    """
    found: dict[Path, Job] = {}
    called = labels([cell.config for cell in cells])
    for cell in cells:
        label = called[cell_hash(cell.config), cell.config.arm_name]
        for seeds in parts(cell.config):
            path = blocks.directory(cell.config, seeds)
            part = cell
            if seeds != cell.config.seeds:
                overrides = [*cell.overrides, f"seeds=[{','.join(map(str, seeds))}]"]
                part = replace(cell, config=replace(cell.config, seeds=seeds), overrides=overrides)
            found.setdefault(
                path.parent.with_name(cell_hash(cell.config)) / path.name, Job(part, path, blocks.read(path), label)
            )
    return sorted(found.values(), key=lambda job: -cost(job.cell.config))


def _done(config: Config) -> bool:
    """Whether every seed asked for is finished."""
    finished = {seed for block in blocks.blocks(config) if block.finished for seed in block.seeds}
    return finished.issuperset(config.seeds)


def _launch_all(jobs: list[Job], launch: Launch, report: Report) -> None:
    """Launch the jobs; where a worker dies and takes the pool down, launch what it left, the suspects one by one."""
    suspects: list[Job] = []
    while jobs and (crash := _attempt(jobs, launch, report)):
        begun = [job for job in jobs if _left_behind(job)]
        if not begun:  # nothing was running, so nothing of ours broke it
            raise UserError(f"nothing could be launched ({type(crash).__name__}: {first_line(crash)})") from crash
        suspects += begun
        jobs = [job for job in jobs if job.block() is None]
    for job in suspects:
        if _attempt([job], launch, report):
            block = _left_behind(job)
            if block is not None:
                abandon(block, DEATH)


@contextlib.contextmanager
def _stopping_when_idle(todo: Sequence[Job]) -> Iterator[None]:
    """Once a signal has asked to stop and nothing is being trained any more, leave what was not begun unlaunched."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            if interruption.asked() is not None and not any(_running(job) for job in todo):
                if not over.wait(1.0):  # what had just been taken from the queue has stopped by itself
                    signal.raise_signal(signal.SIGINT)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    asked: int | None = None
    try:
        yield
    except BaseException:
        asked = interruption.asked()
        if asked is None:
            raise
    finally:
        over.set()
        thread.join()
    asked = asked or interruption.asked()
    if asked is not None:
        raise interruption.Interrupted(asked)


def _running(job: Job) -> bool:
    try:
        block = job.block()
    except UserError:  # named when the sweep ends
        return False
    return block is not None and block.state == "running"


def _attempt(jobs: Sequence[Job], launch: Launch, report: Report) -> Exception | None:
    """Launch jobs and gather what they say; the exception with which a pool broke down."""
    try:
        outcomes = launch([job.cell for job in jobs])
    except Exception as error:  # whatever a launcher raises when its pool breaks down
        if (asked := interruption.asked()) is not None:
            raise interruption.Interrupted(asked) from error
        return error
    for job, outcome in zip(jobs, outcomes, strict=True):
        report.warnings += [warning for warning in outcome.warnings if warning not in report.warnings]
        block = job.block()
        if outcome.stopped is not None and interruption.asked() is None:
            report.failures.append(f"{job.label}: stopped by {outcome.stopped}; the same command goes on from there")
        if outcome.error is not None and (block is None or block.state != "failed"):
            report.failures.append(f"{job.label}: {outcome.error}")
    return None


def _left_behind(job: Job) -> blocks.Block | None:
    """The job's block if its process died over it, waiting for the system to notice the death."""
    deadline = time.monotonic() + DEATH_SEEN_AFTER
    while (block := job.block()) is not None and block.state == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    return block if block is not None and block.state == "stale" else None


def _failures(config: Config, label: str) -> list[str]:
    """One line per cause of failed seeds among those asked for."""
    causes: dict[str, list[int]] = {}
    found = blocks.blocks(config)
    done = {seed for block in found for seed in block.taken("failed")}
    for block in found:
        if config.design is not None and block.finished:
            continue  # a setting that diverges is a result
        if block.state in ("done", "failed"):
            for seed, cause in block.causes.items():
                if seed in config.seeds and seed not in done and seed not in causes.get(cause, []):
                    causes.setdefault(cause, []).append(seed)
    return [f"{label} seeds {','.join(map(str, seeds))}: {cause}" for cause, seeds in causes.items()]
