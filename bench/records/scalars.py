"""The scalars of a training as TensorBoard's event files, a folder for each seed, written while it trains.

A file is opened for each batch of rows and closed again: nothing is left open or unwritten where a process dies, and
thousands of seeds need neither a thread nor a file handle each. Scalars have the names that Stable-Baselines3's logger
and its `EvalCallback` give them.
"""

import importlib
import io
import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import RunWarning, UserError, first_line, install
from bench.observer import EXACT, Row
from bench.paths import refuse_links
from bench.records.block import study_directory

FOLDER = "tensorboard"  # of a study
VERSION = "brain.Event:2"  # of the format, said in the first event of a file
EVALUATED: Mapping[str, str] = {"return": "mean_reward", "length": "mean_ep_length"}
OF_MODE = {"deterministic": "", "stochastic": "_stochastic"}  # EvalCallback's names stand for the deterministic policy
_NO_SCALARS = ("seed", "step", "mode", "episode")

Scalar = tuple[int, str, int, float]  # seed, name, step, value


def check() -> None:
    """Raise `UserError`, with what to install, where TensorBoard's package is missing."""
    try:
        _modules()
    except ImportError as error:
        raise UserError(f"tensorboard=true needs TensorBoard: {install('tensorboard')}") from error


def _modules() -> tuple[Any, Any, Any]:
    """TensorBoard's messages of events and summaries, and what writes them as records."""
    names = ("compat.proto.event_pb2", "compat.proto.summary_pb2", "summary.writer.record_writer")
    events, summaries, records = (importlib.import_module(f"tensorboard.{name}") for name in names)
    return events, summaries, records


def folder(config: Config, seed: int) -> Path:
    """The folder with the scalars of one seed of a cell."""
    cell = f"{config.arm_name}-{cell_hash(config)}"
    return study_directory(config) / FOLDER / config.task_name / cell / f"seed-{seed:03d}"


class Scalars:
    """Writes the rows of a training. What cannot be written is warned of once: the records are the truth."""

    def __init__(self, config: Config, purge: int) -> None:
        """`purge` is the first step that counts anew: a process that died may have written beyond its checkpoint."""
        self._config, self._purge = config, purge
        self._begun: set[int] = set()
        self._name = f"events.out.tfevents.{time.time_ns() // 1_000_000}.{os.getpid()}"
        self._broken = False

    def update(self, rows: Sequence[Row]) -> None:
        """Write the diagnostics of an update, a row for each seed."""
        self._write(
            (int(row["seed"]), name, int(row["step"]), float(value))
            for row in rows
            for name, value in row.items()
            if "/" in name
        )

    def evaluation(self, rows: Sequence[Row]) -> None:
        """Write the means of an evaluation over its episodes, by seed and mode."""
        values: dict[tuple[int, str, int], list[float]] = {}
        for row in rows:
            for name, value in row.items():
                if name not in _NO_SCALARS:
                    shown = f"{self._called(name)}{OF_MODE[str(row['mode'])]}"
                    values.setdefault((int(row["seed"]), shown, int(row["step"])), []).append(float(value))
        self._write((*key, math.fsum(found) / len(found)) for key, found in values.items())

    def _called(self, name: str) -> str:
        """The name of a mean over an evaluation. What is exact has the same, unless episodes are sampled beside it."""
        plain = name if self._config.sample_solved else name.removeprefix(EXACT)
        return f"eval/{EVALUATED.get(plain, f'mean_{plain}')}"

    def _write(self, scalars: Iterator[Scalar]) -> None:
        if self._broken:
            return
        by_seed: dict[int, list[Scalar]] = {}
        for scalar in scalars:
            by_seed.setdefault(scalar[0], []).append(scalar)
        try:
            for seed, own in by_seed.items():
                self._append(seed, own)
        except Exception as error:  # a full disk, or whatever TensorBoard's package raises
            self._broken = True
            where = study_directory(self._config) / FOLDER
            text = f"{where}: no more scalars are written ({first_line(error)}); the records have them all"
            warnings.warn(text, RunWarning, stacklevel=2)

    def _append(self, seed: int, scalars: Sequence[Scalar]) -> None:
        events, summaries, records = _modules()
        file = folder(self._config, seed) / self._name
        content = io.BytesIO()
        writer, now = records.RecordWriter(content), time.time()
        if seed not in self._begun:
            refuse_links(file.parent, 4)  # of the seed, its cell, its task, all scalars
            file.parent.mkdir(parents=True, exist_ok=True)
            start = events.SessionLog(status=events.SessionLog.START)
            for event in (events.Event(file_version=VERSION), events.Event(step=self._purge, session_log=start)):
                event.wall_time = now
                writer.write(event.SerializeToString())
        for _, name, step, value in scalars:
            summary = summaries.Summary(value=[summaries.Summary.Value(tag=name, simple_value=value)])
            writer.write(events.Event(wall_time=now, step=step, summary=summary).SerializeToString())
        with file.open("ab") as stream:
            stream.write(content.getvalue())
        self._begun.add(seed)
