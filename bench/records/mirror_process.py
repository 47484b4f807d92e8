"""The process that writes the W&B runs of what is being trained: `python -m bench.records.mirror_process`.

Its leader, `bench.records.mirroring`, starts it and passes a file with the watches. On standard input, a line says that
training has ended: the process then looks once more, and ends. Where standard input is closed, be it that the leader
wants to stop or that it was killed, the process ends after the run that it is writing, or at the latest after `GRACE`.
On standard output it says, by lines of JSON, how far it is.
"""

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from typing import Any, TextIO

from bench.errors import first_line
from bench.interruption import SIGNALS
from bench.records import mirror
from bench.records.mirroring import GRACE, Watch

LOOK_EVERY = 1.0  # seconds between two looks at the files
LOOK_SHARE = 0.02  # of the time, at most, goes into looking: where that takes long, the next look waits for longer


class _Leader:
    """What the leader wants, read by a thread: also while W&B hangs."""

    def __init__(self, stream: int) -> None:
        self.process = os.getppid()
        self.ended = threading.Event()  # nothing more will be trained
        self.gone = threading.Event()  # nobody waits any more
        self.news = threading.Event()
        threading.Thread(target=self._listen, args=(stream,), daemon=True).start()

    def _listen(self, stream: int) -> None:
        while not self._closed(stream):
            pass
        self.gone.set()
        self.news.set()
        time.sleep(GRACE)
        os._exit(1)

    def _closed(self, stream: int) -> bool:
        """Listen for a second; → whether the leader has closed the stream, or died: what it forked may hold it open."""
        if not select.select([stream], [], [], 1.0)[0]:
            return os.getppid() != self.process
        if not os.read(stream, 1024):
            return True
        self.ended.set()
        self.news.set()
        return False


class _Mirror:
    """Looks for blocks that have been finished, and writes their runs."""

    def __init__(self, watches: list[Watch], leader: _Leader, answers: TextIO) -> None:
        self.watches = watches
        self.leader = leader
        self.answers = answers
        self.given_up: set[str] = set()  # modes that failed once: waiting for every block again would take hours

    def run(self) -> None:
        """Look again and again, until the leader says that training has ended; or is gone."""
        if not self.leader.news.is_set():  # or else somebody waits
            with contextlib.suppress(Exception):  # whatever wandb raises: it will do so again, and then it is said
                mirror.rehearse()
        last = False
        while not (last or self.leader.gone.is_set()):
            last = self.leader.ended.is_set()
            began = time.monotonic()
            self._look()
            if not last:
                self.leader.news.wait(max(LOOK_EVERY, (time.monotonic() - began) / LOOK_SHARE))
        if not self.leader.gone.is_set():
            self._say(done=True)
        with contextlib.suppress(Exception):
            mirror.end()

    def _look(self) -> None:
        for watch in self.watches:
            if watch.mode not in self.given_up and not self.leader.gone.is_set():
                self._mirror(watch)
        self.watches = [watch for watch in self.watches if watch.seeds and watch.mode not in self.given_up]

    def _mirror(self, watch: Watch) -> None:
        """Write the runs of what is finished, as long as somebody wants them."""
        for block in watch.finished():
            try:
                for _ in mirror.write(block, watch.study, watch.mode):
                    self._say(written=1)
                    if self.leader.gone.is_set():
                        return
            except Exception as error:  # whatever wandb raises: the files are the truth
                self._say(mode=watch.mode, trouble=first_line(error))
                self.given_up.add(watch.mode)
                return
            watch.forget(block)

    def _say(self, **what: Any) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            print(json.dumps(what), file=self.answers, flush=True)


def main() -> None:
    """Write runs until the leader has had enough. The one argument is the file with the watches, an open one."""
    sys.modules["pandas"] = None  # type: ignore[assignment] # W&B would import it to see that no value is a data frame
    for number in (*SIGNALS, signal.SIGHUP):  # sent to all processes of a job: the leader decides
        signal.signal(number, lambda *_: None)
    orders, answers = os.dup(sys.stdin.fileno()), os.fdopen(os.dup(sys.stdout.fileno()), "w")
    with open(os.devnull) as nothing:  # W&B's service inherits these
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    leader = _Leader(orders)
    with os.fdopen(int(sys.argv[1])) as file:
        watches = [Watch.parsed(line) for line in file]
    _Mirror(watches, leader, answers).run()
    os._exit(0)  # everything is written: to take down what W&B has imported takes a while


if __name__ == "__main__":
    main()
