"""Processes that talk to Weights & Biases: what of the environment they see, and that they end, whatever W&B does.

W&B's client waits for days for a server that does not answer. So no command calls it: a process does, which is killed
when its time is over, with all that it has started.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.paths import ROOT

GRACE = 5.0  # seconds, after an interruption, for the run that is being written

# The variables of W&B's that mean here what they mean there: those that the suite heeds itself, and those it hands on.
HEEDED = ("WANDB_MODE", "WANDB_PROJECT", "WANDB_TAGS", "WANDB_RUN_GROUP")
HANDED_ON = (
    *("WANDB_ENTITY", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_APP_URL", "WANDB_IDENTITY_TOKEN_FILE"),
    *("WANDB_CREDENTIALS_FILE", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_HTTP_TIMEOUT"),
    *("WANDB_INSECURE_DISABLE_SSL", "WANDB_ERROR_REPORTING", "WANDB__EXTRA_HTTP_HEADERS", "WANDB__PROXIES"),
)
# What its client is told beside: few repetitions, so that an outage is known in seconds; nothing about the machine.
_OURS = {
    "WANDB_ERROR_REPORTING": "false",  # or it would look up a name even offline
    "WANDB__DISABLE_MACHINE_INFO": "true",
    "WANDB__DISABLE_META": "true",
    "WANDB__DISABLE_STATS": "true",
    **{
        f"WANDB__{what}_{name}": number
        for what in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")
        for name, number in (("RETRY_MAX", "2"), ("RETRY_WAIT_MIN_SECONDS", "1"), ("RETRY_WAIT_MAX_SECONDS", "4"))
    },
}


def check_timeout(seconds: float) -> None:
    """Refuse a time that is none. Raises `UserError`."""
    if seconds <= 0:
        raise UserError(f"timeout={seconds:g}: must be more than 0 seconds")


def unheeded(environ: Mapping[str, str]) -> list[str]:
    """The variables of W&B's that are set and change nothing here."""
    return sorted(name for name in environ if name.startswith("WANDB_") and name not in (*HEEDED, *HANDED_ON))


def environment(temporary: Path) -> dict[str, str]:
    """What such a process sees of the environment: a sweep's agent, for one, says there whose run it takes it for.

    It writes its temporary files and its logs to `temporary`.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") or name in HANDED_ON}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**kept, **_OURS, "PYTHONPATH": path, "TMPDIR": str(temporary), "WANDB_DIR": str(temporary)}


class Client:
    """A process, the lines of JSON that it was given, and what it says: lines of JSON, too.

    It is started with this very package, and nothing from the current folder, in which W&B may have a folder.

    Raises:
        OSError: where it cannot be started.
    """

    def __init__(self, module: str, orders: Iterable[Any], temporary: Path | None = None) -> None:
        self._own = None if temporary else tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        self.temporary = temporary or Path(self._own.name if self._own else "")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._said: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._is_over = False
        try:
            with tempfile.TemporaryFile("w+") as file:
                file.writelines(json.dumps(order) + "\n" for order in orders)
                file.seek(0)
                self.process = self._start(module, file.fileno())
        except BaseException:
            self._clear()
            raise
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _start(self, module: str, orders: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(orders), str(self.temporary), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(self.temporary),
            pass_fds=(orders,),
            start_new_session=True,  # Ctrl-C at a terminal does not reach it, and it can be killed with its children
        )

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._said.put(json.loads(line))
        self._said.put(None)

    def heard(self, seconds: float) -> Iterator[Mapping[str, Any]]:
        """What it says within so many seconds, until it has said all."""
        with contextlib.suppress(queue.Empty):
            while not self._is_over:
                said = self._said.get(timeout=seconds)
                self._is_over = said is None
                if said is not None:
                    yield said
                    seconds = 0

    @property
    def talks(self) -> bool:
        """Whether it may still say something that was not heard."""
        return not self._is_over

    def tell(self, what: bytes | None) -> None:
        """Write to it; None closes the stream, after which it ends."""
        stream = self.process.stdin
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):  # it has died, or the stream is closed already
            if what is None:
                stream.close()
            else:
                stream.write(what)
                stream.flush()

    def close(self, grace: float = 0.0) -> None:
        """Be rid of it, after so many seconds in which it may end by itself."""
        self.tell(None)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace)
        finally:
            with contextlib.suppress(ProcessLookupError):  # its service, in a session of its own, ends with it
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._listener.join()
            self._clear()

    def _clear(self) -> None:
        self._errors.close()
        if self._own is not None:
            self._own.cleanup()

    def last_words(self) -> str:
        """What it printed last, as far as an exception of Python's it died of."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"its process ended with code {self.process.wait()}"
