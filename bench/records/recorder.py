"""Recording one block of whatever is measured of a cell: who works on it, what it came to, what it cost.

`begin` takes the lease of the seeds and makes the folder this process's; `progress` tells whoever watches; `finish`
writes the tables, then the record with their checksums, so that a block which says it is done is complete.
"""

import contextlib
import datetime
import resource
import stat
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml

from bench import interruption
from bench.errors import RunWarning, UserError
from bench.kernel.engine import description
from bench.paths import expanded, refuse_links
from bench.records import block as blocks
from bench.records import files, lease, provenance
from bench.records.tables import COSTS, QUANTITIES, STATES

PROGRESS_EVERY = 0.5  # seconds between two writes of the progress file
OWN = (*blocks.FILES, QUANTITIES, STATES, COSTS, blocks.RECORD, blocks.PROGRESS)  # names of what is written to a block

Outcomes = Mapping[int, Mapping[str, Any]]  # by seed, its entry in `run.json`

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # of libyaml: a fifth of the time


class Busy(Exception):
    """Another process works on some of these seeds, or has just finished them."""


@dataclass(frozen=True)
class Subject:
    """What a block is of.

    Attributes:
        results: the folder of all studies, as the user wrote it.
        directory: the block's.
        seeds: the outcome of each before anything was done.
        entries: what `run.json` says of the block from its beginning.
        config: the content of `config.yaml`, from which the block can be made again.
        retry: which finished seeds are worked on again.
    """

    results: str
    directory: Path
    seeds: Outcomes
    entries: Mapping[str, Any]
    config: Mapping[str, Any]
    retry: blocks.Retry = "nothing"


class Recorder:
    """Writes one block. `begin`, then `progress`, then `finish`, `fail` or `release`, then `close`: see `recording`."""

    resumable: ClassVar[Sequence[str]] = ()  # files that a later process goes on from, until the block is finished

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.directory = subject.directory
        self.savable = False  # whether the work is saved when this process is asked to stop
        self.record: dict[str, Any] = {}
        self._tables: Sequence[str] = ()
        self._last_progress = 0.0
        self._lease_seen = 0.0  # when it was last looked at, by the clock on the wall, which goes on in a suspension

    def begin(self) -> None:
        """Take the lease of the seeds and say what is being run; what a dead process left in the folder goes.

        Raises:
            Busy: where some of the seeds are finished, or a living process is at work on them.
            UserError: where a block of the cell is damaged, or the folder cannot be written.
        """
        try:
            refuse_links(self.directory, len(self.directory.parts) - len(expanded(self.subject.results).parts))
            taken = lease.take(self.directory.parent, self.subject.seeds.keys())
            if taken is None:
                raise Busy(f"{self.directory}: another process works on some of its seeds")
            self._lease = taken
            try:
                self._refuse_finished()
                self._open()
            except BaseException:
                self._lease.end()
                raise
        except OSError as error:
            where = f"results={self.subject.results}"
            what = error.filename or self.directory
            raise UserError(f"{where}: cannot write {what}: {error.strerror or error}") from error
        self._lease.keep()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def _refuse_finished(self) -> None:
        """Raise `Busy` where another process has finished one of the seeds just before the lease was free."""
        for block in blocks.in_cell(self.directory.parent):
            if block.finished and not block.taken(self.subject.retry).isdisjoint(self.subject.seeds):
                raise Busy(f"{block.path} is {block.state}")

    def _open(self) -> None:
        """Make the folder this process's."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.record = {
            "schema": blocks.SCHEMA,
            "status": "running",
            **self.subject.entries,
            "seeds": {str(seed): dict(outcome) for seed, outcome in self.subject.seeds.items()},
            "command": provenance.command(),
            "git": provenance.git(),
            "versions": provenance.versions(),
            "host": provenance.host(),
            "engine": description(),
            "process": provenance.process(),
            "started": now(),
        }
        kept = {blocks.RECORD, *(self.resumable if self.resume() else ())}
        # The record comes first: from here on the folder is this process's, and a crash leaves it stale.
        files.write_json(self.directory / blocks.RECORD, self.record)
        for left in self.directory.iterdir():
            if left.name not in kept:
                self._clear(left)
        text = yaml.dump(self.subject.config, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
        files.write_text(self.directory / blocks.CONFIG, text)

    def _clear(self, left: Path) -> None:
        """Remove what an earlier process has written here; what is not this suite's is set aside."""
        name = left.name.removeprefix(files.WRITING)
        if name in (*OWN, *self.resumable) and stat.S_ISREG(left.lstat().st_mode):
            left.unlink()
        else:
            aside = blocks.set_aside(left)
            warnings.warn(f"{left} is no file of a block: set aside as {aside}", RunWarning, stacklevel=2)

    def resume(self) -> bool:
        """Take up what an earlier process left to go on from, and say so in the record; → whether there was anything.

        Raises:
            OSError: where what is damaged cannot be set aside.
        """
        return False

    def progress(self, fraction: float, current_return: float | None = None) -> None:
        """Tell whoever watches, at most every half second; work that cannot be saved is stopped here.

        Raises:
            Interrupted: where this process was asked to stop.
            Busy: where it was stopped for so long that another has taken its seeds over.
        """
        now = time.monotonic()
        if now - self._last_progress < PROGRESS_EVERY:
            return
        self._last_progress = now
        if not self.savable and (asked := interruption.asked()) is not None:
            raise interruption.Interrupted(asked)
        if abs(time.time() - self._lease_seen) > lease.HEARTBEAT:
            self.check_lease()
        data = {"fraction": fraction, "current_return": current_return}
        files.write_json(self.directory / blocks.PROGRESS, data, lasting="nothing")

    def check_lease(self) -> None:
        """Raise `Busy` where another process, taking this one for dead, has taken its seeds over."""
        if not self._lease.stands():
            raise Busy(f"{self.directory} was taken over by another process")
        self._lease_seen = time.time()

    def spent(self) -> tuple[float, float]:
        """Wall and CPU seconds."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu

    def finish(self, tables: Mapping[str, Callable[[Path], None]], outcomes: Outcomes, **entries: Any) -> None:
        """Write every table, then the record: how each seed ended, costs, further entries, checksums.

        Raises:
            OSError: where that fails.
            Busy: where another process has taken the seeds over.
        """
        spent = costs(*self.spent())
        self.check_lease()
        self._tables = tuple(tables)
        ended = {
            "status": "done" if any(outcome["status"] == "done" for outcome in outcomes.values()) else "failed",
            "seeds": {str(seed): dict(outcome) for seed, outcome in outcomes.items()},
        }
        record = self._ended(ended | spent | entries)
        blocks.write(self.directory, record, tables, (blocks.CONFIG,), before_each=self.check_lease)
        self._remove(blocks.PROGRESS, *self.resumable)

    def fail(self, error: Exception) -> None:
        """Record that the whole block broke off, and why; it has no numbers and will be run again."""
        cause = provenance.private(f"{type(error).__name__}: {error}".splitlines()[0])
        trace = provenance.private("".join(traceback.format_exception(error)))
        with contextlib.suppress(OSError):  # a full disk may be what it is about: numbers without a record make room
            if self._lease.stands():
                self._remove(*self._tables)
                failed = self._ended(_failure(self.record, cause) | {"traceback": trace})
                files.write_json(self.directory / blocks.RECORD, blocks.sealed(failed))
                self._remove(blocks.PROGRESS)

    def release(self) -> None:
        """Give the block up unfinished: an interruption, not a failure."""
        with contextlib.suppress(OSError):
            if self._lease.stands():
                files.write_json(self.directory / blocks.RECORD, self.record | {"process": None})

    def _ended(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """The record of a block that nobody works on any more."""
        begun = {key: value for key, value in self.record.items() if key != "process"}
        return {**begun, **entries, "finished": now()}

    def _remove(self, *names: str) -> None:
        for name in names:
            (self.directory / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let others have the seeds, however it ended."""
        self._lease.end()


AnyRecorder = TypeVar("AnyRecorder", bound=Recorder)


@contextlib.contextmanager
def recording(recorder: AnyRecorder) -> Iterator[AnyRecorder]:
    """A block that has begun; the body finishes it, or it is recorded as failed or given up as what the body raised.

    Signals are heeded meanwhile. Raises what `begin` and the body do.
    """
    with interruption.heeding():
        recorder.begin()
        try:
            yield recorder
        except Busy:
            recorder.release()
            raise
        except Exception as error:  # whatever the body raises is recorded, and goes on its way
            recorder.fail(error)
            raise
        except BaseException:
            recorder.release()
            raise
        finally:
            recorder.close()


def abandon(block: blocks.Block, cause: str) -> None:
    """Record for a process that died without a word that its block failed. Raises `OSError`."""
    files.write_json(block.path / blocks.RECORD, {**block.record, **_failure(block.record, cause), "finished": now()})


def _failure(record: Mapping[str, Any], cause: str) -> dict[str, Any]:
    seeds = {seed: entry | {"status": "failed", "cause": cause} for seed, entry in record["seeds"].items()}
    return {"status": "failed", "seeds": seeds}


def costs(wall: float, cpu: float) -> dict[str, Any]:
    """What a block took. The peak is the whole process's, which may have run other blocks before."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "threads": provenance.THREADS,
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
    }


def now() -> str:
    """The time, as records have it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
