"""Having blocks mirrored to W&B while others train, by a process of its own: W&B takes seconds to import and to answer.

The files are the truth. A mirror that cannot be made is a warning, never a failed run; `wandb-sync` makes up for it.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import interruption
from bench.config.schema import Config
from bench.errors import RunWarning, UserError, counted, first_line
from bench.records import block as blocks
from bench.records import index, mirror, provenance
from bench.records.wandb_client import GRACE, Client, unheeded

PROCESS = "bench.records.mirror_process"
SAID_AFTER, SAID_EVERY = 1.0, 15.0  # seconds of waiting before a line says so, and between two such lines

INTERRUPTED = "interrupted"
LIVE = "live"  # the mode in which W&B is also sent what a block has saved so far
SENT_IN = ("online", LIVE)  # the modes in which runs are sent

Say = Callable[[str], None]

_given_up: set[str] = set()  # modes that failed once under this process: waiting for every cell again would take hours
_named: set[str] = set()  # variables of the environment that were said to be not heeded


class MirrorWarning(RunWarning):
    """Why W&B does not have a block."""


@dataclass
class Watch:
    """Blocks that are about to be trained: those with some of `seeds` in a cell's folder, whose names are not `known`.

    `mode` is the setting `wandb`, `study` and `cell` are folders, `timeout` the seconds that one waits in the end.
    """

    mode: str
    study: Path
    cell: Path
    seeds: set[int]
    known: set[str]
    timeout: float = 60.0

    def order(self) -> dict[str, Any]:
        """It as JSON."""
        lists = {"seeds": sorted(self.seeds), "known": sorted(self.known)}
        return dataclasses.asdict(self) | {"study": str(self.study), "cell": str(self.cell)} | lists

    @classmethod
    def of(cls, order: Mapping[str, Any]) -> "Watch":
        """The watch of an order."""
        of_folders = {"study": Path(order["study"]), "cell": Path(order["cell"])}
        return cls(**{**order, **of_folders, "seeds": set(order["seeds"]), "known": set(order["known"])})

    def finished(self) -> Iterator[blocks.Block]:
        """Those of the blocks that are finished by now."""
        for path in blocks.folders(self.cell):
            if path.name in self.known:
                continue
            with contextlib.suppress(UserError):  # the sweep names it when it ends
                block = blocks.read(path)
                if block is not None and block.finished and not block.seeds.isdisjoint(self.seeds):
                    yield block

    def begun(self) -> Iterator[blocks.Block]:
        """Those of the blocks that are being trained."""
        for path in blocks.folders(self.cell):
            with contextlib.suppress(UserError):  # the sweep names it when it ends
                block = blocks.read(path)
                if block is not None and block.state == "running" and not block.seeds.isdisjoint(self.seeds):
                    yield block

    def is_lacking(self) -> bool:
        """Whether W&B lacks a run of one of them."""
        mark = mirror.SENT if self.mode in SENT_IN else mirror.COMPLETE
        try:
            return any(mirror.missing(block, self.study, mark) for block in self.finished())
        except UserError:  # a damaged one
            return True

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
            study = blocks.study_directory(config)
            found[mode, cell] = Watch(mode, study, cell, set(), known, config.wandb_timeout)
        found[mode, cell].seeds.update(config.seeds)
    return list(found.values())


@contextlib.contextmanager
def mirroring(wanted: Sequence[Watch], warn: Say, say: Say = lambda _: None) -> Iterator[None]:
    """Have the wanted blocks mirrored as they are finished while the body runs; then, wait for what is still missing.

    Where nothing is wanted this starts nothing. `say` is called with what is being waited for, `warn` with what W&B
    does not have in the end, and why. The wait is the longest `timeout` of all, and after an interruption `GRACE`.
    """
    if not wanted:
        yield
        return
    name_unheeded(warn)
    try:
        process = MirrorProcess(wanted)
    except OSError as error:  # no more processes, or no more memory
        yield
        _warn(wanted, dict.fromkeys((watch.mode for watch in wanted), first_line(error)), warn)
        return
    timeout = max(watch.timeout for watch in wanted)
    try:
        try:
            yield
        except Exception:  # what was finished before is mirrored all the same
            process.finish(say, timeout)
            raise
        process.finish(say, timeout)
    except BaseException:
        process.stop()
        raise
    finally:
        process.close()
        _warn(wanted, process.troubles, warn)


def name_unheeded(warn: Say) -> None:
    """Say once which variables of W&B's are set and change nothing."""
    names = [name for name in unheeded(os.environ) if name not in _named]
    _named.update(names)
    if names:
        warn(f"not heeded: {', '.join(names)}; every seed is a run of its own, named after its block and beside it")


def sync(
    results: Path, study: str, *, upload: bool, timeout: float, say: Say = lambda _: None
) -> tuple[int, int, int, Path]:
    """Make up for every mirror that is missing, and send those that W&B does not have; each run once.

    → how many runs were written, how many were there before, how many were sent, and the folder they are in. It is
    given up after `timeout` seconds in which none was written or sent.

    Raises:
        UserError: where there is no such study, a block of it is damaged, or W&B does not take a run.
    """
    folder = index.study_folder(results, study)
    mode = "online" if upload else "offline"
    wanted, total = [], 0
    for cell in index.STUDY.read(folder)["cells"]:
        finished = [block for block in blocks.in_cell(folder / cell["path"]) if block.finished]
        for block in finished:
            blocks.check(block)
        total += sum(len(block.seeds) for block in finished)
        seeds = {seed for block in finished for seed in block.seeds}
        wanted.append(Watch(mode, folder, folder / cell["path"], seeds, set(), timeout))
    try:
        process = MirrorProcess(wanted)
    except OSError as error:
        raise UserError(f"{folder}: not mirrored ({first_line(error)})") from error
    try:
        process.finish(say, timeout, renewed=True)
    except BaseException:
        process.stop()
        raise
    finally:
        process.close()
    for why in process.troubles.values():
        done = f"{counted(process.written, 'run')} written, {process.sent} sent"
        raise UserError(f"{folder}: not mirrored ({why}); {done}, nothing is lost, the same command goes on")
    return process.written, total - process.written, process.sent, folder / mirror.FOLDER


def _warn(wanted: Sequence[Watch], troubles: Mapping[str, str], warn: Say) -> None:
    """Say of every study what W&B does not have of it, and why: `troubles` are by mode."""
    _given_up.update(mode for mode, why in troubles.items() if why != INTERRUPTED)
    lacking = [watch for watch in wanted if watch.mode in troubles and watch.is_lacking()]
    for mode, study in dict.fromkeys((watch.mode, watch.study) for watch in lacking):
        results = "" if study.parent == Path("results") else f" results={provenance.private(str(study.parent))}"
        offline = "" if mode in SENT_IN else f" wandb={mode}"
        again = f"python -m bench wandb-sync study={study.name}{results}{offline}"
        warn(f"wandb={mode}: not mirrored ({troubles[mode]}); '{again}' makes up for it")


class MirrorProcess:
    """The process, and what it has said."""

    def __init__(self, wanted: Sequence[Watch]) -> None:
        self._modes = [watch.mode for watch in wanted]
        self._unwritten: dict[str, str] = {}  # by mode, why runs were not written
        self._unsent: str | None = None  # why runs were not sent, the last time this was tried
        self._ended: str | None = None  # why it did not get to its end
        self.written = self.sent = 0
        self._done = False
        extra = dataclasses.asdict(mirror.Extra.of(os.environ))
        self.client = Client(PROCESS, [extra, *(watch.order() for watch in wanted)])

    @property
    def troubles(self) -> dict[str, str]:
        """By mode, why W&B does not have everything."""
        ended = {} if self._ended is None else dict.fromkeys(self._modes, self._ended)
        sending = [mode for mode in self._modes if mode in SENT_IN]
        unsent = {} if self._unsent is None else dict.fromkeys(sending, self._unsent)
        return ended | unsent | self._unwritten

    def _hear(self, seconds: float) -> bool:
        """Note what it says; → whether a run was written or sent."""
        before = self.written + self.sent
        for said in self.client.heard(seconds):
            self.written += said.get("written", 0)
            self.sent += said.get("sent", 0)
            self._done |= "done" in said
            self._unsent = said.get("unsent", self._unsent)
            if "trouble" in said:
                self._unwritten.setdefault(said["mode"], said["trouble"])
        return self.written + self.sent > before

    def finish(self, say: Say, timeout: float, *, renewed: bool = False) -> None:
        """Say that there is no more to come, and wait until all is written and sent, for `timeout` seconds at most.

        Where they are `renewed`, each run that is written or sent begins them anew.
        """
        self.client.tell(b"ended\n")
        until = time.monotonic() + timeout
        say_at = time.monotonic() + SAID_AFTER
        while self.client.talks:
            moved = self._hear(0.1)
            now = time.monotonic()
            if moved and renewed:
                until = now + timeout
            if interruption.asked() is not None:
                self.stop()
                return
            if now > until and self.client.talks:
                self._ended = f"it did not take everything within {timeout:g} seconds"
                return
            if now >= say_at:
                said = f"{counted(self.written, 'run')} written, {self.sent} sent so far"
                say(f"waiting for W&B: {said}; given up after {timeout:g} seconds{' without another' * renewed}")
                say_at = now + SAID_EVERY
        if not self._done:
            self._ended = self.client.last_words()

    def stop(self) -> None:
        """Let it end after the run that it is writing."""
        self.client.tell(None)
        until = time.monotonic() + GRACE + 1
        while self.client.talks and time.monotonic() < until:
            self._hear(0.1)
        if not self._done:
            self._ended = INTERRUPTED

    def close(self) -> None:
        """Be rid of it."""
        self.client.close(GRACE if self._done else 0.0)  # it is about to end
