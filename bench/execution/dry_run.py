"""What a command would do, and how long it would take at the speed that was recorded here."""

import dataclasses
import statistics
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cells.grids import Cell
from bench.cells.labels import labels
from bench.config.design import setting_of
from bench.config.identity import cell_hash, factors
from bench.config.schema import Config
from bench.errors import counted, shortened
from bench.execution import execute
from bench.execution.launch import OURS, Job, cost, jobs, work
from bench.records import block as blocks
from bench.records import index, partial, provenance
from bench.records.files import Damaged

MOST_LINES = 60  # blocks that are listed, the longest first
# How steps are collected: in an update of few steps, a step costs more.
_BATCH = ("collect", "collect.n_envs", "collect.n_steps", "group.groups", "group.size")


@dataclasses.dataclass(frozen=True)
class Speed:
    """Seconds per unit of `work`, of one block that was trained on this machine."""

    hash: str
    task: str
    program: str  # algorithm.name
    seconds: float
    batch: tuple[Any, ...] = ()  # the factors `_BATCH`


def dry_run(cells: Sequence[Cell], processes: int | None) -> str:
    """The blocks a sweep of these cells would train, what is done, and the time it would take, as text.

    `processes` blocks train at once; None where that is a cluster's affair. Raises `UserError` for a damaged block.
    """
    folders = list(dict.fromkeys(blocks.study_directory(cell.config) for cell in cells))
    for folder in folders:
        blocks.refuse_other_versions(folder)
    index.refuse_changed([cell.config for cell in cells])
    retried = [cell for cell in cells if cell.config.retry == "damaged"]
    called = labels([cell.config for cell in cells])
    hurt = {cell_hash(cell.config): found for cell in retried if (found := execute.damage(cell.config))}
    todo = jobs([cell for cell in cells if cell_hash(cell.config) not in hurt])
    again = [
        _afresh(cell, hurt[cell_hash(cell.config)], called[cell_hash(cell.config), cell.config.arm_name])
        for cell in cells
        if cell_hash(cell.config) in hurt
    ]
    todo += [job for job in again if job.cell.config.seeds]
    done = {cell_hash(cell.config): _counts(cell.config, hurt.get(cell_hash(cell.config), ())) for cell in cells}
    finished = sum(counts[0] for counts in done.values())
    running = sum(counts[1] for counts in done.values())
    where = ", ".join(map(str, folders))
    lines = [f"{counted(len(done), 'cell')} in {where}: {counted(finished, 'seed')} of cells done"]
    lines[1:] = _designs([cell.config for cell in cells])
    if running:
        lines[0] += f", {running} running in another process"
    lines += shortened([f"to be set aside: {what}" for found in hurt.values() for what in found.values()], MOST_LINES)
    if not todo:
        return "\n".join([*lines, "nothing to train"])
    needed = _needed(todo)
    return "\n".join([*lines, *shortened(list(map(_line, needed)), MOST_LINES), _in_words(needed, processes)])


def _designs(configs: Sequence[Config]) -> list[str]:
    """A line for each design of settings: how many settings and runs it asks for."""
    lines = []
    for name in dict.fromkeys(each.design.name for each in configs if each.design is not None):
        mine = [each for each in configs if each.design is not None and each.design.name == name]
        settings = len({setting_of(run) for each in mine for run in each.seeds})
        strata = counted(len({each.design.stratum for each in mine if each.design is not None}), "stratum", "strata")
        arms, runs = len({(each.task_name, each.arm_name) for each in mine}), sum(len(each.seeds) for each in mine)
        what = f"{counted(settings, 'setting')} in {strata}, {counted(arms, 'arm')} (arm and task)"
        lines.append(f"design {name}: {what}, {runs:,} runs")
    return lines


def _line(needed: "Needed") -> str:
    """A block that is to be trained, and what it takes."""
    seeds = blocks.seeds_name(needed.job.cell.config.seeds).removeprefix("seeds-")
    time = f"{needed.steps:,} environment steps" if needed.seconds is None else _clock(needed.seconds)
    return f"{'go on' if needed.begun else 'train':6} {needed.job.label} seeds {seeds}: {time}"


def how_long(todo: Sequence[Job], processes: int | None) -> str:
    """What blocks will take, in words: the last line of `dry_run`."""
    return _in_words(_needed(todo), processes)


@dataclasses.dataclass(frozen=True)
class Needed:
    """What a block still takes: environment steps over all seeds, and seconds where its program has a speed."""

    job: Job
    begun: bool
    steps: int
    seconds: float | None


def _needed(todo: Sequence[Job]) -> list[Needed]:
    speeds = _recorded(blocks.study_directory(todo[0].cell.config))
    found = []
    for job in todo:
        config, left = job.cell.config, 1 - _share_done(job)
        seconds = _seconds(config, speeds)
        steps = round(config.budget * len(config.seeds) * left)
        found.append(Needed(job, left < 1, steps, None if seconds is None else seconds * left))
    return found


def _in_words(needed: Sequence[Needed], processes: int | None) -> str:
    """The time of the blocks whose program has a recorded speed, and the steps of the others."""
    seconds = [each.seconds for each in needed if each.seconds is not None]
    known, unknown = (sum(each.steps for each in needed if (each.seconds is None) == none) for none in (False, True))
    said = []
    if seconds:
        time = f"about {_side_by_side(seconds, processes)}"
        said.append(f"{known:,} environment steps: {time} at the speed recorded on this machine")
    if unknown:
        said.append(f"no recorded speed on this machine yet: {unknown:,} environment steps")
    return "; ".join(said)


def _side_by_side(seconds: Sequence[float], processes: int | None) -> str:
    if processes is None:
        return f"{_clock(sum(seconds))} of computing, {_clock(max(seconds))} of it the longest block"
    return f"{_clock(max(sum(seconds) / processes, max(seconds)))} with {processes} at once"


def _afresh(cell: Cell, damaged: Container[Path], label: str) -> Job:
    """What there is to train of a cell once its damaged blocks are set aside."""
    taken = {seed for block in _intact(cell.config, damaged) for seed in block.taken()}
    left = tuple(seed for seed in cell.config.seeds if seed not in taken)
    path = blocks.cell_directory(cell.config) / blocks.seeds_name(left or cell.config.seeds)
    return Job(dataclasses.replace(cell, config=dataclasses.replace(cell.config, seeds=left)), path, None, label)


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


def _seconds(config: Config, speeds: Sequence[Speed]) -> float | None:
    """The time of a block, from the blocks that are most like it; None where its program has no speed.

    These are the same cell's, else its program's: on its task in such batches, else on its task, else on any. Another
    program's are never taken, since its work has another unit.
    """
    same_cell = [speed for speed in speeds if speed.hash == cell_hash(config)]
    same_program = [speed for speed in speeds if speed.program == config.algorithm.name]
    same_task = [speed for speed in same_program if speed.task == config.task_name]
    same_batch = [speed for speed in same_task if speed.batch == _batch(factors(config))]
    alike = same_cell or same_batch or same_task or same_program
    return cost(config) * statistics.median(speed.seconds for speed in alike) if alike else None


def _recorded(study: Path) -> list[Speed]:
    """The speeds of the study's finished blocks that this machine trained, from their records alone."""
    speeds = []
    for path in blocks.walk(study)[0]:
        try:
            block = blocks.read(path)
        except blocks.DamagedBlock:
            continue
        if block is None or not block.finished or block.converted:
            continue
        if block.record["host"]["id"] != provenance.host()["id"]:
            continue
        record = block.record
        passes = sum(record["factors"].get(f"{of}.epochs", 0) for of in ("update", "critic"))
        program = record["factors"].get("algorithm", OURS)
        units = work(program, record["budget"], passes, len(block.seeds))
        seconds = record["wall_seconds"] / units
        speeds.append(Speed(record["hash"], record["task"], program, seconds, _batch(record["factors"])))
    return speeds


def _batch(known: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(known.get(name) for name in _BATCH)


def _clock(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
