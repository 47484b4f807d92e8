"""Recording one block: claim its folder, gather what the learner reports, write it down at the end."""

from __future__ import annotations

import dataclasses
import datetime
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.config import Config, factors, to_mapping
from bench.errors import UserError
from bench.runs import block as blocks
from bench.runs import files, provenance
from bench.runs.curves import EVALUATIONS, TRAINING, write_rows

if TYPE_CHECKING:  # importing anything of the learner's imports torch, which takes seconds
    from bench.learner.observer import Row, SeedOutcome, Trained

PROGRESS_EVERY = 0.5  # seconds between two writes of the progress file


class Busy(Exception):
    """Another process is training some of these seeds, or has just finished them."""


class Recorder:
    """The observer of one block. `begin`, then the learner's calls, then `finish` or `fail` or `release`."""

    def __init__(self, config: Config, directory: Path, overrides: Sequence[str] = ()) -> None:
        self.config = config
        self.directory = directory
        self._overrides = [provenance.private(override) for override in overrides]
        self._training: list[Row] = []
        self._evaluations: list[Row] = []
        self._last_progress = 0.0
        self._record: dict[str, Any] = {}

    def begin(self) -> None:
        """Claim the folder and say what is being run. What a dead process left there is removed now, not before.

        Raises:
            Busy: where the block is finished, or a live process is at work on it.
            UserError: where the block is damaged or the folder cannot be written.
        """
        study = blocks.study_directory(self.config)
        try:
            with files.locked(study):
                self._claim()
        except OSError as error:
            where = f"results={self.config.results}"
            raise UserError(f"{where}: cannot write {error.filename}: {error.strerror}") from error
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def _claim(self) -> None:
        for block in blocks.in_cell(self.directory.parent):
            if block.taken and not block.seeds.isdisjoint(self.config.seeds):
                raise Busy(f"{block.path} is {block.state}")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._record = self._beginning()
        # The record comes first: from here on the folder is this process's, and a crash leaves it stale.
        files.write_json(self.directory / blocks.RECORD, self._record)
        for left in self.directory.iterdir():
            if left.name != blocks.RECORD:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        text = yaml.safe_dump(to_mapping(self._private_config()), sort_keys=False, allow_unicode=True)
        files.write_text(self.directory / blocks.CONFIG, text)

    def _private_config(self) -> Config:
        return dataclasses.replace(self.config, results=provenance.private(self.config.results))

    def _beginning(self) -> dict[str, Any]:
        config = self.config
        seed = {"status": "running", "cause": None, "env_steps": 0, "updates": 0, "unused_budget": 0}
        return {
            "schema": blocks.SCHEMA,
            "status": "running",
            "study": config.study.name,
            "task": config.task.name,
            "arm": config.arm_name,
            "hash": config.hash,
            "factors": factors(config),
            "seeds": {str(number): dict(seed) for number in config.seeds},
            "seed_pool": config.seed_pool,
            "budget": config.budget,
            "score": dataclasses.asdict(config.task.score),
            "command": provenance.command(),
            "overrides": self._overrides,
            "git": provenance.git(),
            "versions": provenance.versions(),
            "host": provenance.host(),
            "process": provenance.process(),
            "started": _now(),
        }

    def on_update(self, rows: Sequence[Row]) -> None:
        """Keep the diagnostics of one update."""
        self._training.extend(rows)

    def on_evaluation(self, rows: Sequence[Row]) -> None:
        """Keep the episodes of one evaluation."""
        self._evaluations.extend(rows)

    def on_progress(self, fraction: float, current_return: float | None) -> None:
        """Tell whoever watches, at most every half second."""
        now = time.monotonic()
        if now - self._last_progress < PROGRESS_EVERY:
            return
        self._last_progress = now
        data = {"fraction": fraction, "current_return": current_return}
        files.write_json(self.directory / blocks.PROGRESS, data)

    def finish(self, trained: Trained) -> None:
        """Write every file, the record with their checksums last. Raises `OSError` where that fails."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        at = self.directory
        files.write_atomic(at / EVALUATIONS, lambda path: write_rows(EVALUATIONS, self._evaluations, path))
        files.write_atomic(at / TRAINING, lambda path: write_rows(TRAINING, self._training, path))
        files.write_atomic(at / blocks.POLICY, trained.save_policy)
        files.write_atomic(at / blocks.CHECKPOINT, trained.save_checkpoint)
        outcomes = {str(seed): dataclasses.asdict(trained.outcomes[seed]) for seed in self.config.seeds}
        self._end(
            status="done" if any(outcome["status"] == "done" for outcome in outcomes.values()) else "failed",
            seeds=outcomes,
            parameters=dict(trained.parameters),
            **_costs(wall, cpu, trained.outcomes),
            checksums={name: files.sha256(at / name) for name in blocks.FILES},
        )

    def fail(self, error: Exception) -> None:
        """Record that the whole block broke off, and why; it has no numbers and will be run again."""
        cause = provenance.private(f"{type(error).__name__}: {error}".splitlines()[0])
        trace = provenance.private("".join(traceback.format_exception(error)))
        self._end(**_failure(self._record, cause), traceback=trace)

    def release(self) -> None:
        """Give the block up unfinished: an interruption, not a failure."""
        files.write_json(self.directory / blocks.RECORD, self._record | {"process": None})

    def _end(self, **entries: Any) -> None:
        del self._record["process"]
        self._record |= entries | {"finished": _now()}
        files.write_json(self.directory / blocks.RECORD, self._record)
        (self.directory / blocks.PROGRESS).unlink(missing_ok=True)


def abandon(block: blocks.Block, cause: str) -> None:
    """Record for a process that died without a word that its block failed. Raises `OSError`."""
    files.write_json(block.path / blocks.RECORD, {**block.record, **_failure(block.record, cause), "finished": _now()})


def _failure(record: Mapping[str, Any], cause: str) -> dict[str, Any]:
    seeds = {seed: entry | {"status": "failed", "cause": cause} for seed, entry in record["seeds"].items()}
    return {"status": "failed", "seeds": seeds}


def _costs(wall: float, cpu: float, outcomes: Mapping[int, SeedOutcome]) -> dict[str, Any]:
    """What the block took. The peak is the whole process's, which may have run other blocks before."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "threads": provenance.THREADS,
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "steps_per_second": round(sum(outcome.env_steps for outcome in outcomes.values()) / max(wall, 1e-9), 1),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
