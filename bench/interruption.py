"""Stopping where nothing is lost: a signal asks, and the run stops after saving itself between two updates.

The first signal only asks. A second one stops at once: the last checkpoint is then what is left. A sweep hands the
wish on to its workers through a file that is made only then, since a pool hands no signals on. Outside of runs, a
signal ends the command by an exception, so that what it has begun is cleared away.
"""

import contextlib
import os
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from bench.errors import exit_code

WISH = "BENCH_STOP"  # the file whose existence asks all processes of a command to stop, handed on in the environment
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # Slurm and submitit warn with the last two

DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)  # what Python does with them by itself

Handler = Callable[[int, FrameType | None], Any] | int | None


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and can go on from where it was saved. `signal` is what asked."""

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal = signal_number


class _State:
    """What this process has been asked, and the handlers it found."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.leads = False
        self.wish: Path | None = None  # the file of this process's own wish
        self.found: dict[int, Handler] = {}
        self.ends: Handler = None  # the handler that ends the command


_state = _State()


def asked() -> int | None:
    """The signal that asked this process, or the command it works for, to stop; None where none has."""
    if _state.asked is not None:
        return _state.asked
    wish = os.environ.get(WISH)
    try:
        return int(Path(wish).read_text()) if wish else None
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def heeding() -> Iterator[None]:
    """Take signals as wishes while the body runs; then, the handlers that were there are told of one that came.

    Does nothing inside another such body, or outside the main thread.
    """
    if _state.found or threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.found = {number: signal.signal(number, _ask) for number in SIGNALS}
    try:
        yield
    finally:
        found, _state.found = _state.found, {}
        came, _state.asked = _state.asked, None
        for number, handler in found.items():
            signal.signal(number, handler)
        if _serves() and found[signal.SIGINT] in DEFAULTS:  # a worker that waits for work ends with its pool
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if came is not None:
            _tell(found[came], came)


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Be the process whose wish to stop is its workers' wish too, while the body runs."""
    _state.wish = wish = _state.wish or _no_file()  # one for all sweeps of a command: a pool's workers outlive a sweep
    before = os.environ.get(WISH)
    os.environ[WISH] = str(wish)
    _state.leads = True
    try:
        with heeding():
            yield
    finally:
        _state.leads = False
        os.environ.pop(WISH)
        if before is not None:
            os.environ[WISH] = before
        with contextlib.suppress(OSError):
            wish.unlink(missing_ok=True)


def _no_file() -> Path:
    """A path among the temporary files where nothing is; where no folder for them can be written, one that cannot."""
    try:
        folder = tempfile.gettempdir()
    except OSError:
        folder = os.sep
    return Path(folder) / f"bench-{uuid.uuid4().hex}"


def run_command(command: Callable[[list[str]], int], words: Sequence[str]) -> int:
    """As `exit_code`; where a signal ends the command, 128 + that signal, after one line that says so."""
    came: list[int] = []
    try:
        with _ending(came):
            return exit_code(command, words)
    except (KeyboardInterrupt, Exception) as error:
        # Where a library was being imported, it may turn `Interrupted` into an exception of another kind.
        if not came and not isinstance(error, KeyboardInterrupt):
            raise
        print("interrupted: what is done is kept, the same command goes on from there", file=sys.stderr)
        return 128 + (came[0] if came else getattr(error, "signal", signal.SIGINT))


def let_go() -> None:
    """Let Ctrl-C end this process without a word from now on: all is done, and Python only shuts down."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def _ending(came: list[int]) -> Iterator[None]:
    """Let each signal that would end the process raise `Interrupted` in the body, and keep it in `came`."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of handlers
        came.append(number)
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in SIGNALS}
    replaced = {number: handler for number, handler in found.items() if handler in DEFAULTS}
    for number in replaced:
        signal.signal(number, end)
    _state.ends = end
    try:
        yield
    finally:
        _state.ends = None
        for number, handler in replaced.items():
            signal.signal(number, handler)


def _serves() -> bool:
    """Whether this process works for another one, which says what a signal does."""
    return WISH in os.environ and not _state.leads


def _ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of handlers
    if _state.asked is not None:
        raise Interrupted(number)
    _state.asked = number
    if _state.leads:
        with contextlib.suppress(OSError):
            Path(os.environ[WISH]).write_text(str(int(number)))
    if not _serves():
        name = signal.Signals(number).name
        print(f"{name}: saving what is being trained, then stopping; again to stop at once", file=sys.stderr)


def _tell(handler: Handler, number: int) -> None:
    """Let a cluster's own handler see the signal, which may submit the job again; those that only end it need not."""
    if callable(handler) and handler not in (*DEFAULTS, _state.ends):
        handler(number, None)
