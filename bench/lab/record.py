"""A measured stage on disk, in the layout of training's blocks: claimed, written in one step, never overwritten.

`results/<study>/lab/<task>/<stage>-<hash8>/seeds-000/` holds

- `run.json`: status, what was measured (`factors`), the precision of the truth, provenance, costs, checksums
- `config.yaml`: the laboratory's settings and the configuration of the arm that trained the policy
- `figures.parquet`: every figure with its standard error and interval, one row each
- `states.parquet`: bias and variance of every estimator in every state they were measured in
- `costs.parquet`: environment steps and seconds of every estimator for a batch, seconds being the machine's

`results/<study>/lab.json` lists the cells that were planned, as `study.json` does for training.
"""

import dataclasses
import datetime
import functools
import hashlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from bench import interruption
from bench.config.identity import cell_hash, factors, identity
from bench.config.schema import to_mapping
from bench.errors import UserError
from bench.lab.measure import Measured, Row
from bench.lab.settings import Plan, Settings
from bench.records import block as blocks
from bench.records import files, provenance
from bench.records import lease as claims
from bench.records.recorder import PROGRESS_EVERY, Busy

INDEX = "lab.json"
SCHEMA = 1
FIGURES, STATES, COSTS = "figures.parquet", "states.parquet", "costs.parquet"
_BOOKKEEPING = ("tasks", "stages", "policy", "overrides", "by_task", "seed")  # said otherwise in a cell's identity


@dataclass(frozen=True)
class Cell:
    """One stage of one task, to be measured with one seed."""

    plan: Plan
    settings: Settings
    stage: str
    study: str
    results: str

    @property
    def task(self) -> str:
        """The task's name."""
        return self.plan.config.task.name

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"{self.task} {self.stage}"

    @property
    def identity(self) -> dict[str, Any]:
        """What can change a figure, and nothing else."""
        settings = dataclasses.asdict(self.settings)
        for key in _BOOKKEEPING:
            del settings[key]
        policy = self.settings.policy
        return settings | {
            "stage": self.stage,
            "truth": self.plan.kind,
            "trained": identity(self.plan.config),
            "variants": [[cell_hash(variant.arm), variant.critic] for variant in self.plan.variants],
            "policy": None if policy is None else files.sha256(Path(policy).expanduser() / blocks.POLICY),
        }

    @property
    def hash(self) -> str:
        """Eight hex digits of the identity."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def study_directory(self) -> Path:
        """The folder of everything the study writes."""
        return Path(self.results).expanduser() / self.study

    @property
    def directory(self) -> Path:
        """The folder of its block."""
        cell = self.study_directory / "lab" / self.task / f"{self.stage}-{self.hash}"
        return cell / blocks.seeds_name([self.settings.seed])


def update_index(cells: Sequence[Cell]) -> None:
    """Add cells to the study's index; those planned before stay. Raises `UserError`."""
    study = cells[0].study_directory
    try:
        with files.locked(study):
            known = {entry["path"]: entry for entry in read_index(study)}
            for cell in cells:
                path = cell.directory.relative_to(study).as_posix()
                known[path] = {"task": cell.task, "stage": cell.stage, "hash": cell.hash, "path": path}
            files.write_json(study / INDEX, {"schema": SCHEMA, "name": cells[0].study, "cells": list(known.values())})
    except OSError as error:
        raise UserError(f"results={cells[0].results}: cannot write {error.filename}: {error.strerror}") from error


def read_index(study: Path) -> list[dict[str, Any]]:
    """The cells of a study's index; none where nothing was planned. Raises `UserError` for a damaged one."""
    path = study / INDEX
    if not path.exists():
        return []
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["schema"] != SCHEMA:
            raise ValueError(f"schema {index['schema']}")
        cells: list[dict[str, Any]] = index["cells"]
        for cell in cells:
            cell["task"], cell["stage"], cell["hash"], cell["path"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"damaged index {path} ({type(error).__name__}: {error}); nothing was changed") from error
    return cells


def done(cell: Cell) -> bool:
    """Whether it is measured. Raises `UserError` where its block is damaged."""
    block = blocks.read(cell.directory)
    if block is None or not block.finished:
        return False
    blocks.check(block)
    return True


class Recorder:
    """Writes one cell's block. `begin`, then `on_progress`, then `finish`, `fail` or `release`, then `close`."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.directory = cell, cell.directory
        self._last_progress = 0.0
        self._record: dict[str, Any] = {}

    def begin(self) -> None:
        """Claim the folder; what a dead process left there goes. Raises `Busy` and `UserError`."""
        try:
            self._claim = self._claimed()
            self.directory.mkdir(parents=True, exist_ok=True)
            self._record = self._beginning()
            files.write_json(self.directory / blocks.RECORD, self._record)
            for left in self.directory.iterdir():
                if left.name != blocks.RECORD:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            text = yaml.safe_dump(self._settings(), sort_keys=False, allow_unicode=True)
            files.write_text(self.directory / blocks.CONFIG, text)
        except OSError as error:
            where = f"results={self.cell.results}"
            raise UserError(f"{where}: cannot write {error.filename}: {error.strerror}") from error
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def _claimed(self) -> claims.Claim:
        place, seeds = self.directory.parent, [self.cell.settings.seed]
        while True:
            known = claims.read(place)
            if claims.held(known, seeds) or done(self.cell):
                raise Busy(f"{self.directory} is being measured, or is done")
            if claim := claims.append(place, seeds, known):
                return claim

    def _settings(self) -> dict[str, Any]:
        config = dataclasses.replace(self.cell.plan.config, results=provenance.private(self.cell.results))
        settings = json.loads(json.dumps(dataclasses.asdict(self.cell.settings)))
        return {"lab": settings | {"stages": [self.cell.stage]}, "trained": to_mapping(config)}

    def _beginning(self) -> dict[str, Any]:
        cell = self.cell
        return {
            "schema": blocks.SCHEMA,
            "status": "running",
            "study": cell.study,
            "task": cell.task,
            "stage": cell.stage,
            "hash": cell.hash,
            "truth": cell.plan.kind,
            "left_out": dict(cell.plan.left_out),
            "factors": factors(cell.plan.config),
            "seeds": {str(cell.settings.seed): {"status": "running", "cause": None}},
            "command": provenance.command(),
            "git": provenance.git(),
            "versions": provenance.versions(),
            "host": provenance.host(),
            "process": provenance.process(),
            "claim": self._claim.number,
            "started": _now(),
        }

    def on_progress(self, fraction: float) -> None:
        """Tell whoever watches. Raises `Interrupted` where this process was asked to stop."""
        if (asked := interruption.asked()) is not None:
            raise interruption.Interrupted(asked)
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_EVERY:
            self._last_progress = now
            self._claim.touch()
            files.write_json(self.directory / blocks.PROGRESS, {"fraction": fraction, "current_return": None})

    def finish(self, measured: Measured, env_steps: int) -> None:
        """Write every table, the record with their checksums last. Raises `OSError`, and `Busy` if taken over."""
        if claims.superseded(self._claim):
            raise Busy(f"{self.directory} was taken over by another process")
        for name, rows in ((FIGURES, measured.figures), (STATES, measured.states), (COSTS, measured.costs)):
            files.write_atomic(self.directory / name, functools.partial(write_rows, rows))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._end(
            status="done",
            seeds={seed: {"status": "done", "cause": None, "env_steps": env_steps} for seed in self._record["seeds"]},
            notes=measured.notes,
            threads=provenance.THREADS,
            wall_seconds=round(time.perf_counter() - self._wall, 3),
            cpu_seconds=round(time.process_time() - self._cpu, 3),
            peak_memory_bytes=peak if sys.platform == "darwin" else peak * 1024,
            checksums={name: files.sha256(self.directory / name) for name in (blocks.CONFIG, FIGURES, STATES, COSTS)},
        )

    def fail(self, error: Exception) -> None:
        """Record that nothing was measured, and why; the same command measures it again."""
        cause = provenance.private(f"{type(error).__name__}: {error}".splitlines()[0])
        seeds = {seed: {"status": "failed", "cause": cause} for seed in self._record["seeds"]}
        self._end(status="failed", seeds=seeds)

    def release(self) -> None:
        """Give it up unfinished."""
        files.write_json(self.directory / blocks.RECORD, self._record | {"process": None})

    def close(self) -> None:
        """Let others have it."""
        self._claim.end()

    def _end(self, **entries: Any) -> None:
        del self._record["process"]
        self._record |= entries | {"finished": _now()}
        files.write_json(self.directory / blocks.RECORD, blocks.sealed(self._record))
        (self.directory / blocks.PROGRESS).unlink(missing_ok=True)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Rows as Parquet, the columns in the order of the first: the same numbers give the same bytes."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: pa.array([row.get(name) for row in rows], _type(rows, name)) for name in names}
    pq.write_table(pa.table(columns), path, compression="zstd", version="2.6", store_schema=False)


def _type(rows: Sequence[Mapping[str, Any]], name: str) -> pa.DataType:
    """The type of a column's numbers or texts; float64 for one that is empty."""
    kinds = {str: pa.string(), int: pa.int64()}
    return kinds.get(type(next((row[name] for row in rows if row.get(name) is not None), 0.0)), pa.float64())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
