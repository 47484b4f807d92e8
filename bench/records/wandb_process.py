"""What the processes that talk to Weights & Biases have in common; see `bench.records.wandb_client`, which starts them.

Such a process is passed a file with its orders, one a line, its folder of temporary files, and the number of the
process that leads it. On its standard output it says, by lines of JSON, how far it is. Where its standard input is
closed, be it that its leader wants to stop or that it was killed, it ends after what it is at, or at the latest after
`GRACE`, and leaves no process behind.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from bench.interruption import SIGNALS
from bench.records.wandb_client import GRACE

DEATH_SEEN_AFTER = 1.0  # seconds from a stream that is closed by its writer's death to that death


class Gone(Exception):
    """Nobody waits any more."""


class Leader:
    """What the leader wants, read by a thread: also while W&B hangs."""

    def __init__(self) -> None:
        sys.modules["pandas"] = None  # type: ignore[assignment] # W&B would import it to look for data frames
        for number in (*SIGNALS, signal.SIGHUP):  # sent to all processes of a job: the leader decides
            signal.signal(number, lambda *_: None)
        self._stream, self._answers = os.dup(sys.stdin.fileno()), os.fdopen(os.dup(sys.stdout.fileno()), "w")
        with open(os.devnull) as nothing:  # W&B's service inherits these
            os.dup2(nothing.fileno(), sys.stdin.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        with os.fdopen(int(sys.argv[1])) as file:
            self.orders = [json.loads(line) for line in file]
        self._process = int(sys.argv[3])
        self.ended = threading.Event()  # there will be no more to do
        self.gone = threading.Event()  # nobody waits any more
        self.news = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while not self._closed():
            pass
        self.gone.set()
        self.news.set()
        time.sleep(GRACE)
        self.leave(1)

    def _closed(self) -> bool:
        """Listen for a second; → whether the leader has closed the stream, or died: what it forked may hold it open."""
        if not select.select([self._stream], [], [], 1.0)[0]:
            return os.getppid() != self._process
        if not os.read(self._stream, 1024):
            return True
        self.ended.set()
        self.news.set()
        return False

    def say(self, **what: Any) -> None:
        """Tell the leader."""
        with contextlib.suppress(OSError):  # nobody listens any more
            print(json.dumps(what), file=self._answers, flush=True)

    def call(self, command: list[str]) -> tuple[int, str]:
        """Run a program; its exit code and what it printed.

        Raises:
            Gone: where the leader does not wait for its end.
        """
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        reading = threading.Thread(target=lambda: said.append(program.communicate()[0]), daemon=True)
        said: list[bytes] = []
        reading.start()
        while reading.is_alive():
            reading.join(0.1)
            if self.gone.is_set():
                program.kill()
                reading.join(GRACE)
                raise Gone
        return program.wait(), b"".join(said).decode(errors="replace")

    def leave(self, code: int = 0) -> None:
        """End at once: to take down what W&B has imported takes a while, and its service ends with this process."""
        until = time.monotonic() + DEATH_SEEN_AFTER
        while self.gone.is_set() and os.getppid() == self._process and time.monotonic() < until:
            time.sleep(0.05)  # it is dying, or will kill this process
        if os.getppid() != self._process:  # nobody else clears away what was written meanwhile
            shutil.rmtree(sys.argv[2], ignore_errors=True)
        os._exit(code)
