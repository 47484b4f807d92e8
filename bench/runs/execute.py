"""Running a cell: train the seeds that are missing, as one block, and record it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import Config
from bench.runs import block as blocks
from bench.runs.mirror import mirror
from bench.runs.record import Busy, Recorder

if TYPE_CHECKING:  # importing anything of the learner's imports torch, which takes seconds
    from bench.learner.observer import Observer, Trained


def missing(config: Config) -> tuple[int, ...]:
    """The seeds of the cell that are neither finished nor being trained.

    Raises:
        UserError: where a block of the cell is damaged.
    """
    taken: set[int] = set()
    for block in blocks.blocks(config):
        if block.finished:
            blocks.check(block)
        if block.taken:
            taken |= block.seeds
    return tuple(seed for seed in config.seeds if seed not in taken)


def run(config: Config, overrides: Sequence[str] = ()) -> Path:
    """Train what is missing of the cell and return its block's folder; where nothing is, the block with its last seed.

    The same call again trains nothing; more seeds become a new block of the same cell.

    Raises:
        UserError: where a block of the cell is damaged or the results folder cannot be written.
        Exception: what training raised, after it was recorded.
    """
    while seeds := missing(config):
        directory = blocks.cell_directory(config) / blocks.seeds_name(seeds)
        with contextlib.suppress(Busy):  # somebody was quicker: look again at what is left
            run_block(dataclasses.replace(config, seeds=seeds), directory, overrides)
            mirror(config, directory)
            return directory
    return next(block.path for block in blocks.blocks(config) if block.taken and config.seeds[-1] in block.seeds)


def run_block(config: Config, directory: Path, overrides: Sequence[str] = ()) -> None:
    """Train all of the configuration's seeds as one block in `directory`.

    Raises:
        Busy: where some of the seeds are finished there, or being trained.
        UserError, Exception: as `run` does.
    """
    recorder = Recorder(config, directory, overrides)
    recorder.begin()
    try:
        recorder.finish(train(config, config.seeds, recorder))
    except Exception as error:
        recorder.fail(error)
        raise
    except BaseException:
        recorder.release()
        raise


def train(config: Config, seeds: Sequence[int], observer: Observer) -> Trained:
    """Our learner or a library's, imported when it is needed: torch takes seconds."""
    if config.is_peer:
        from bench.learner import peers

        return peers.train(config, seeds, observer)
    from bench.learner import train as learner

    return learner.train(config, seeds, observer)
