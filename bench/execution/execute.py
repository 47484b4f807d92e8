"""Running a cell: train the seeds that are missing, as one block, and record it."""

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from bench import packs
from bench.config.parse import parse
from bench.config.schema import Config
from bench.errors import DamagedCheckpoint, UserError
from bench.kernel.engine import computing_with
from bench.observer import Observer, Trained
from bench.records import block as blocks
from bench.records import files
from bench.records.files import Damaged
from bench.records.mirroring import MirrorWarning, mirroring, watches
from bench.records.partial import PARTIAL
from bench.records.recorder import Busy, recording
from bench.records.training import TrainingRecorder

TOGETHER = 256  # runs of a design in one block: more are hardly faster, and take more memory
LOOK_AGAIN = 0.5  # seconds after which one looks again at what somebody else was quicker with


def missing(config: Config) -> tuple[int, ...]:
    """The seeds of the cell that want training: those that are neither finished nor being trained.

    With `retry=failed`, those of them that failed, be it alone or with their block, and no others.

    Raises:
        UserError: where a block of the cell is damaged.
    """
    taken: set[int] = set()
    failed: set[int] = set()
    for block in blocks.blocks(config):
        if block.finished:
            blocks.check(block)
            if not config.dry_run:
                _tidy(block)
        taken |= block.taken(config.retry)
        failed |= block.causes.keys()
    wanted = failed if config.retry == "failed" else set(config.seeds)
    return tuple(seed for seed in config.seeds if seed in wanted - taken)


def _tidy(block: blocks.Block) -> None:
    """Remove what a process that was killed as it finished the block has left of its work."""
    with contextlib.suppress(OSError):
        for name in (PARTIAL, blocks.PROGRESS):
            for left in (block.path / name, block.path / f"{files.WRITING}{name}"):
                if left.is_file() or left.is_symlink():
                    left.unlink()


def parts(config: Config) -> list[tuple[int, ...]]:
    """The missing seeds as the blocks they will be: those begun before, which can be gone on with, and the rest.

    Ours are one block, in lockstep; of a design's many runs, blocks of `TOGETHER`. A library's train one after another:
    a block each, so that what is finished stays.

    Raises:
        UserError: where a block of the cell is damaged.
    """
    left = set(missing(config))
    begun = []
    for block in blocks.blocks(config):
        if (block.path / PARTIAL).exists() and not block.finished and block.seeds <= left:
            begun.append(tuple(sorted(block.seeds)))
            left -= block.seeds
    fresh = sorted(left)
    if config.is_peer:
        return [*begun, *((seed,) for seed in fresh)]
    together = len(fresh) if config.design is None else TOGETHER
    return [*begun, *(tuple(fresh[start : start + together]) for start in range(0, len(fresh), together or 1))]


def recorded_config(path: Path) -> Config:
    """The settings of the block in `path`. Raises `UserError` where they cannot be read, or nothing was trained."""
    if blocks.is_measured(path):
        raise UserError(f"{path}: a stage that was measured, by 'python -m bench lab'; give a block that was trained")
    try:
        return parse(files.parse_yaml(packs.read_bytes(path / blocks.CONFIG)))
    except OSError as error:
        raise blocks.damaged(path, f"{blocks.CONFIG} cannot be read ({error.strerror})") from error
    except Damaged as error:
        raise blocks.damaged(path, f"{blocks.CONFIG} cannot be read ({error})") from error
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:  # of another type altogether
        raise blocks.damaged(path, f"{blocks.CONFIG} does not fit ({type(error).__name__}: {error})") from error


def set_aside(config: Config) -> list[str]:
    """Move the cell's damaged blocks out of the way; → a line for each. Raises `UserError` where that fails."""
    lines = []
    for path, what in damage(config).items():
        try:
            place = blocks.set_aside(path)
        except OSError as error:
            raise UserError(f"cannot move {path}: {error.strerror}") from error
        lines.append(f"{what}; set aside as {place}")
    return lines


def damage(config: Config) -> dict[Path, str]:
    """The cell's damaged blocks, and what is wrong with each."""
    found = {}
    for path in blocks.folders(blocks.cell_directory(config)):
        try:
            block = blocks.read(path)
            if block is not None and block.finished:
                blocks.check(block)
        except blocks.DamagedBlock as error:
            found[path] = str(error).partition("; nothing was changed")[0]
    return found


def run(config: Config, overrides: Sequence[str] = ()) -> Path:
    """Train what is missing of the cell, have it mirrored to W&B, and return the folder that `train_missing` does.

    Raises:
        UserError, Interrupted, Exception: as `train_missing` does.
    """

    def warn(text: str) -> None:
        warnings.warn(text, MirrorWarning, stacklevel=2)

    if config.design is not None and config.design.stratum is None:
        name = config.design.name
        raise UserError(f"design={name}: a design is many cells; 'python -m bench design={name} …' trains them")
    wanted = watches([config])
    with mirroring(wanted if wanted and missing(config) else [], warn):
        return train_missing(config, overrides)


def train_missing(config: Config, overrides: Sequence[str] = ()) -> Path:
    """Train what is missing of the cell and return its block's folder; where nothing is, the block with its last seed.

    The same call again trains nothing; more seeds become a new block of the same cell; what was interrupted goes on.

    Raises:
        UserError: where a block of the cell is damaged or the results folder cannot be written.
        Interrupted: where a signal asked to stop; the block is saved.
        Exception: what training raised, after it was recorded.
    """
    trained, tried = None, set[int]()
    while wanted := [part for part in parts(config) if tried.isdisjoint(part)]:
        directory = blocks.directory(config, wanted[0])
        try:
            run_block(dataclasses.replace(config, seeds=wanted[0]), directory, overrides)
        except Busy:  # somebody was quicker: look again at what is left
            time.sleep(LOOK_AGAIN)
            continue
        tried.update(wanted[0])  # a seed that fails again is not retried again
        trained = directory
    if trained is not None:
        return trained
    return next(block.path for block in blocks.blocks(config) if config.seeds[-1] in block.taken())


def run_block(config: Config, directory: Path, overrides: Sequence[str] = ()) -> None:
    """Train all of the configuration's seeds as one block in `directory`, or go on where it was interrupted.

    Raises:
        Busy: where some of the seeds are finished there, or being trained.
        UserError, Interrupted, Exception: as `run` does.
    """
    engine = nullcontext() if config.is_peer else computing_with(config.engine)
    with engine, recording(TrainingRecorder(config, directory, overrides)) as recorder:
        try:
            trained = train(config, config.seeds, recorder, recorder.checkpoint)
        except DamagedCheckpoint as error:
            recorder.discard(str(error))
            trained = train(config, config.seeds, recorder)
        recorder.finish_training(trained)


def train(config: Config, seeds: Sequence[int], observer: Observer, checkpoint: BinaryIO | None = None) -> Trained:
    """Train with our learner or a library's."""
    if config.is_peer:
        from bench.peers import train as peers  # torch takes seconds

        return peers.train(config, seeds, observer)
    from bench.learner import train as learner  # torch takes seconds

    return learner.train(config, seeds, observer, checkpoint)
