"""Recording one block: claim its folder, gather what the learner reports, write it down at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import io
import resource
import shutil
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import yaml

from bench import interruption
from bench.config.identity import cell_hash, factors
from bench.config.schema import Config, to_mapping
from bench.errors import RunWarning, UserError
from bench.records import block as blocks
from bench.records import exact_values, files, partial, provenance
from bench.records import lease as claims
from bench.records.tables import EVALUATIONS, TRAINING, write_rows

if TYPE_CHECKING:  # importing anything of the learner's imports torch, which takes seconds
    from bench.observer import Row, Save, SeedOutcome, Trained

PROGRESS_EVERY = 0.5  # seconds between two writes of the progress file
CHECKPOINT_SHARE = 0.02  # of the time, at most, goes into checkpoints: after a slow one, the next waits for longer


class Busy(Exception):
    """Another process is training some of these seeds, or has just finished them."""


class Recorder:
    """The observer of one block. `begin`, the learner's calls, `finish` or `fail` or `release`, `close`."""

    def __init__(self, config: Config, directory: Path, overrides: Sequence[str] = ()) -> None:
        self.config = config
        self.directory = directory
        self._overrides = [provenance.private(override) for override in overrides]
        self._last_progress = 0.0
        self._savable = False
        self._last_checkpoint, self._checkpoint_cost = time.monotonic(), 0.0
        self._record: dict[str, Any] = {}
        self._stop_heartbeat = threading.Event()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._training: list[Row] = []
        self._evaluations: list[Row] = []
        self._wall_before = self._cpu_before = 0.0
        self._batch_ended: float | None = None
        self._update_seconds, self._timed_updates = 0.0, 0

    def begin(self) -> BinaryIO | None:
        """Claim the folder and say what is being run; → what training goes on from, None for a beginning.

        Raises:
            Busy: where the block is finished, or a live process is at work on it.
            UserError: where the block is damaged or the folder cannot be written.
        """
        try:
            self._claim = self._claimed()
            try:
                found = self._open()
            except BaseException:
                with contextlib.suppress(OSError):
                    self._claim.end()
                raise
        except OSError as error:
            where = f"results={self.config.results}"
            raise UserError(f"{where}: cannot write {error.filename}: {error.strerror}") from error
        threading.Thread(target=self._show_life, daemon=True).start()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._last_checkpoint = time.monotonic()
        return None if found is None else io.BytesIO(found.state)

    def _claimed(self) -> claims.Claim:
        """This process's claim on the seeds, made after looking at everything before it."""
        cell = self.directory.parent
        while True:
            known = claims.read(cell)
            if holder := claims.held(known, self.config.seeds):
                raise Busy(f"claim {holder.number} on {cell} holds some of its seeds")
            for block in blocks.in_cell(cell):
                if not block.taken(self.config.retry).isdisjoint(self.config.seeds):
                    raise Busy(f"{block.path} is {block.state}")
            if claim := claims.append(cell, self.config.seeds, known):
                return claim

    def _open(self) -> partial.Partial | None:
        """Make the folder this process's: what can be gone on from stays, what else a dead process left goes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        found = self._left_behind()
        self._record = self._beginning()
        if found is not None:
            place = {"at": _now(), "after_seconds": found.header.wall_seconds, "host": provenance.host()}
            self._record |= {"started": found.header.started, "resumed": [*found.header.resumed, place]}
            self._training, self._evaluations = list(found.training), list(found.evaluations)
            self._wall_before, self._cpu_before = found.header.wall_seconds, found.header.cpu_seconds
        # The record comes first: from here on the folder is this process's, and a crash leaves it stale.
        files.write_json(self.directory / blocks.RECORD, self._record)
        kept = {blocks.RECORD, partial.PARTIAL} if found else {blocks.RECORD}
        for left in self.directory.iterdir():
            if left.name not in kept:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        text = yaml.safe_dump(to_mapping(self._private_config()), sort_keys=False, allow_unicode=True)
        files.write_text(self.directory / blocks.CONFIG, text)
        return found

    def _left_behind(self) -> partial.Partial | None:
        """The moment an earlier process saved, if the same code can go on from it to the same numbers."""
        try:
            found = partial.read(self.directory / partial.PARTIAL)
        except partial.Damaged as error:
            self._set_aside(str(error))
            return None
        if found is None:
            return None
        header = found.header
        if header.git["commit"] != provenance.git()["commit"] or dict(header.versions) != provenance.versions():
            self._warn("begun by another version of the code or its packages, so trained from the beginning")
            return None
        if header.hash != cell_hash(self.config) or tuple(header.seeds) != self.config.seeds:
            self._set_aside("it is not of this cell and these seeds")
            return None
        return found

    def discard(self, reason: str) -> None:
        """The learner cannot go on from what was found: set it aside and begin anew."""
        self._set_aside(reason)
        self._begin_anew()
        self._record.pop("resumed", None)

    def _set_aside(self, reason: str) -> None:
        place = blocks.set_aside(self.directory / partial.PARTIAL)
        self._warn(f"damaged checkpoint ({reason}), set aside as {place}; trained from the beginning")

    def _warn(self, text: str) -> None:
        warnings.warn(f"{self.directory}: {text}", RunWarning, stacklevel=2)

    def _show_life(self) -> None:
        while not self._stop_heartbeat.wait(claims.HEARTBEAT):
            self._claim.touch()

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
            "hash": cell_hash(config),
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
            "claim": self._claim.number,
            "started": _now(),
        }

    def on_update(self, rows: Sequence[Row]) -> None:
        """Keep the diagnostics of one update, and count its time: our learner reports progress as a batch ends."""
        if self._batch_ended is not None:
            self._update_seconds += time.perf_counter() - self._batch_ended
            self._timed_updates += 1
            self._batch_ended = None
        self._training.extend(rows)

    def on_evaluation(self, rows: Sequence[Row]) -> None:
        """Keep the episodes of one evaluation."""
        self._evaluations.extend(rows)

    def on_progress(self, fraction: float, current_return: float | None) -> None:
        """Tell whoever watches, at most every half second; learners that cannot be saved are stopped here.

        Raises:
            Interrupted: where this process was asked to stop.
        """
        self._tell(fraction, current_return)
        self._batch_ended = None if self.config.is_peer else time.perf_counter()

    def _tell(self, fraction: float, current_return: float | None) -> None:
        now = time.monotonic()
        if now - self._last_progress < PROGRESS_EVERY:
            return
        self._last_progress = now
        if not self._savable and (asked := interruption.asked()) is not None:
            raise interruption.Interrupted(asked)
        data = {"fraction": fraction, "current_return": current_return}
        files.write_json(self.directory / blocks.PROGRESS, data)

    def on_checkpoint(self, save: Save | None) -> None:
        """Save the block now and then, and where a signal asks for it; then, stop.

        Raises:
            Interrupted: where this process was asked to stop.
            Busy: where another process, taking this one for dead, has taken the seeds over.
        """
        asked = interruption.asked()
        self._savable = save is not None
        if save is not None and (asked is not None or self._checkpoint_due()):
            self._save(save)
        if asked is not None:
            raise interruption.Interrupted(asked)

    def _checkpoint_due(self) -> bool:
        pause = max(self.config.checkpoint_minutes * 60, self._checkpoint_cost / CHECKPOINT_SHARE)
        return time.monotonic() - self._last_checkpoint >= pause

    def _save(self, save: Save) -> None:
        self._check_claim()
        began = time.monotonic()
        state = io.BytesIO()
        save(state)
        wall, cpu = self._spent()
        header = partial.Header(
            hash=cell_hash(self.config),
            seeds=self.config.seeds,
            git=provenance.git(),
            versions=provenance.versions(),
            started=self._record["started"],
            wall_seconds=wall,
            cpu_seconds=cpu,
            resumed=self._record.get("resumed", []),
        )
        moment = partial.Partial(header, state.getvalue(), self._evaluations, self._training)
        partial.write(self.directory / partial.PARTIAL, moment)
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = self._last_checkpoint - began

    def _check_claim(self) -> None:
        if claims.superseded(self._claim):
            raise Busy(f"{self.directory} was taken over by another process")

    def _spent(self) -> tuple[float, float]:
        """Wall and CPU seconds, those of earlier processes included."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return self._wall_before + wall, self._cpu_before + cpu

    def finish(self, trained: Trained) -> None:
        """Write every file, the record with their checksums last. Raises `OSError` where that fails, and `Busy`."""
        wall, cpu = self._spent()
        self._check_claim()
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
            seconds_per_update=round(self._update_seconds / self._timed_updates, 6) if self._timed_updates else None,
            exact_values=exact_values.of(self.config, trained),
            **_costs(wall, cpu, trained.outcomes),
            checksums={name: files.sha256(at / name) for name in blocks.FILES},
        )

    def fail(self, error: Exception) -> None:
        """Record that the whole block broke off, and why; it has no numbers and will be run again."""
        cause = provenance.private(f"{type(error).__name__}: {error}".splitlines()[0])
        trace = provenance.private("".join(traceback.format_exception(error)))
        with contextlib.suppress(OSError):  # a full disk may be what it is about: numbers without a record make room
            for name in set(blocks.FILES) - {blocks.CONFIG}:
                (self.directory / name).unlink(missing_ok=True)
            self._end(**_failure(self._record, cause), traceback=trace)

    def release(self) -> None:
        """Give the block up unfinished: an interruption, not a failure."""
        with contextlib.suppress(OSError):
            if not claims.superseded(self._claim):
                files.write_json(self.directory / blocks.RECORD, self._record | {"process": None})

    def _end(self, **entries: Any) -> None:
        begun = {key: value for key, value in self._record.items() if key != "process"}
        files.write_json(self.directory / blocks.RECORD, blocks.sealed(begun | entries | {"finished": _now()}))
        for name in (blocks.PROGRESS, *([partial.PARTIAL] if "checksums" in entries else [])):
            (self.directory / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let others have the seeds, however it ended."""
        self._stop_heartbeat.set()
        with contextlib.suppress(OSError):
            self._claim.end()


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
