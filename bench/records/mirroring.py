"""Having blocks mirrored to W&B while others train, by a process of its own: W&B takes seconds to import and to start.

The files are the truth. A mirror that cannot be made is a warning, never a failed run; `wandb-sync` makes up for it.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import interruption
from bench.config.schema import Config
from bench.errors import RunWarning, UserError, counted, first_line
from bench.paths import ROOT
from bench.records import block as blocks
from bench.records import mirror, provenance

PROCESS = "bench.records.mirror_process"
SILENCE = 60.0  # seconds without a run that is written, after training, after which no more is waited for
GRACE = 5.0  # seconds, after an interruption, for the run that is being written
SAID_AFTER, SAID_EVERY = 1.0, 15.0  # seconds of waiting before a line says so, and between two such lines

INTERRUPTED = "interrupted"

Say = Callable[[str], None]

_given_up: set[str] = set()  # modes that failed once under this process: waiting for every cell again would take hours


class MirrorWarning(RunWarning):
    """Why W&B does not have a block."""


@dataclass
class Watch:
    """Blocks that are about to be trained: those with some of `seeds` in a cell's folder, whose names are not `known`.

    `mode` is the setting `wandb`, `study` and `cell` are folders.
    """

    mode: str
    study: Path
    cell: Path
    seeds: set[int]
    known: set[str]

    def line(self) -> str:
        """It as a line of JSON."""
        fields = (self.mode, str(self.study), str(self.cell), sorted(self.seeds), sorted(self.known))
        return json.dumps(fields) + "\n"

    @classmethod
    def parsed(cls, line: str) -> "Watch":
        """The watch of a line."""
        mode, study, cell, seeds, known = json.loads(line)
        return cls(mode, Path(study), Path(cell), set(seeds), set(known))

    def finished(self) -> Iterator[blocks.Block]:
        """Those of the blocks that are finished by now."""
        for path in blocks.folders(self.cell):
            if path.name in self.known:
                continue
            with contextlib.suppress(UserError):  # the sweep names it when it ends
                block = blocks.read(path)
                if block is not None and block.finished and not block.seeds.isdisjoint(self.seeds):
                    yield block

    def is_lacking(self) -> bool:
        """Whether W&B lacks a run of one of them."""
        return any(mirror.missing(block, self.study) for block in self.finished())

    def forget(self, block: blocks.Block) -> None:
        """Look for this block no more."""
        self.known.add(block.path.name)
        self.seeds -= block.seeds


def watches(configs: Iterable[Config]) -> list[Watch]:
    """One watch for each of the cells that are about to be trained and whose mode has not failed before.

    Raises:
        UserError: for a damaged block.
    """
    found: dict[tuple[str, Path], Watch] = {}
    for config in configs:
        mode = config.wandb
        if mode == "disabled" or mode in _given_up:
            continue
        cell = blocks.cell_directory(config)
        if (mode, cell) not in found:
            known = {block.path.name for block in blocks.in_cell(cell) if block.finished}
            found[mode, cell] = Watch(mode, blocks.study_directory(config), cell, set(), known)
        found[mode, cell].seeds.update(config.seeds)
    return list(found.values())


@contextlib.contextmanager
def mirroring(wanted: Sequence[Watch], warn: Say, say: Say = lambda _: None) -> Iterator[None]:
    """Have the wanted blocks mirrored as they are finished while the body runs; then, wait for what is still missing.

    Where nothing is wanted this starts nothing. `say` is called with what is being waited for, `warn` with what W&B
    does not have in the end, and why. After an interruption the wait is `GRACE`.
    """
    if not wanted:
        yield
        return
    try:
        process = MirrorProcess(wanted)
    except OSError as error:  # no more processes, or no more memory
        yield
        _warn(wanted, dict.fromkeys((watch.mode for watch in wanted), first_line(error)), warn)
        return
    try:
        try:
            yield
        except Exception:  # what was finished before is mirrored all the same
            process.finish(say)
            raise
        process.finish(say)
    except BaseException:
        process.stop()
        raise
    finally:
        process.close()
        _warn(wanted, process.troubles, warn)


def _warn(wanted: Sequence[Watch], troubles: Mapping[str, str], warn: Say) -> None:
    """Say of every study what W&B does not have of it, and why: `troubles` are by mode."""
    _given_up.update(mode for mode, why in troubles.items() if why != INTERRUPTED)
    lacking = [watch for watch in wanted if watch.mode in troubles and watch.is_lacking()]
    for mode, study in dict.fromkeys((watch.mode, watch.study) for watch in lacking):
        results = "" if study.parent == Path("results") else f" results={provenance.private(str(study.parent))}"
        again = f"python -m bench wandb-sync study={study.name}{results}"
        warn(f"wandb={mode}: not mirrored ({troubles[mode]}); '{again}' makes up for it")


class MirrorProcess:
    """The process, and what it has said."""

    def __init__(self, wanted: Sequence[Watch]) -> None:
        self._modes = [watch.mode for watch in wanted]
        self.troubles: dict[str, str] = {}  # by mode, why W&B does not have everything
        self._written = 0
        self._done = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        with tempfile.TemporaryFile("w+") as file:
            file.writelines(watch.line() for watch in wanted)
            file.seek(0)
            self._process = self._start(file.fileno())
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _start(self, watches: int) -> subprocess.Popen[bytes]:
        """Start it with this very package, and nothing from the current folder, in which W&B may have a folder."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            [sys.executable, "-P", "-m", PROCESS, str(watches)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=(watches,),
            start_new_session=True,  # Ctrl-C at a terminal does not reach it
        )

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                said = json.loads(line)
                self._written += said.get("written", 0)
                self._done |= "done" in said
                if "trouble" in said:
                    self.troubles[said["mode"]] = said["trouble"]

    def finish(self, say: Say) -> None:
        """Say that training has ended, and wait until everything is written, or nothing has been for too long."""
        self._tell(b"ended\n")
        written, moved = self._written, time.monotonic()
        say_at = moved + SAID_AFTER
        while self._talks(0.1):
            now = time.monotonic()
            if self._written != written:
                written, moved = self._written, now
            if interruption.asked() is not None:
                self.stop()
                return
            if now - moved > SILENCE:
                self._blame(f"no run was written for {SILENCE:g} seconds")
                return
            if now >= say_at:
                said = counted(written, "run")
                say(f"waiting for W&B: {said} written so far; given up after {SILENCE:g} seconds without another")
                say_at = now + SAID_EVERY
        if not self._done:
            self._blame(self._last_words())

    def stop(self) -> None:
        """Let it end after the run that it is writing."""
        self._tell(None)
        self._talks(GRACE + 1)
        if not self._done:
            self._blame(INTERRUPTED)

    def close(self) -> None:
        """Be rid of it."""
        self._tell(None)
        try:
            if self._done:  # it is about to end
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(GRACE)
        finally:
            self._process.kill()
            self._process.wait()
            self._listener.join()
            self._errors.close()

    def _tell(self, what: bytes | None) -> None:
        """Write to it; None closes the stream."""
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):  # it has died, or the stream is closed already
            if what is None:
                stream.close()
            else:
                stream.write(what)
                stream.flush()

    def _talks(self, seconds: float) -> bool:
        """Whether it may still say something, after at most so many seconds."""
        self._listener.join(seconds)
        return self._listener.is_alive()

    def _blame(self, why: str) -> None:
        """Keep why it did not get to its end, for the modes that have no reason of their own."""
        self.troubles = dict.fromkeys(self._modes, why) | self.troubles

    def _last_words(self) -> str:
        """What it printed last, as far as an exception of Python's it died of."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"its process ended with code {self._process.wait()}"
