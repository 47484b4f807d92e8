"""The process that writes and sends the W&B runs of what is being trained: `python -m bench.records.mirror_process`.

Its leader, `bench.records.mirroring`, starts it and passes the watches; see `bench.records.wandb_process`. A line says
that training has ended: the process then looks once more, and ends.
"""

import contextlib
import time
from pathlib import Path

from bench.errors import UserError, first_line
from bench.records import block as blocks
from bench.records import files, mirror, partial, sending
from bench.records.files import Damaged
from bench.records.mirror import Extra
from bench.records.mirroring import LIVE, SENT_IN, Watch
from bench.records.wandb_file import Run
from bench.records.wandb_process import Gone, Leader

LOOK_EVERY = 1.0  # seconds between two looks at the files
LOOK_SHARE = 0.02  # of the time, at most, goes into looking: where that takes long, the next look waits for longer
SEND_SHARE = 0.1  # of the time, at most, goes into sending while training goes on
SEND_AGAIN = 300.0  # seconds after which what W&B did not take is sent again


class _Mirror:
    """Looks for blocks that have been finished, writes their runs, and sends those that are to be sent."""

    def __init__(self, leader: Leader) -> None:
        extra, *watches = leader.orders
        self.leader = leader
        self.extra = Extra(tuple(extra["tags"]), extra["group"])
        self.watches = [Watch.of(order) for order in watches]
        self.waiting: list[sending.Waiting] = []
        self.live: dict[Path, int] = {}  # by block that is being trained, when the moment was saved that W&B has of it
        self.send_at = self.send_live_at = 0.0

    def run(self) -> None:
        """Look again and again, until the leader says that training has ended; or is gone."""
        if not self.leader.news.is_set():  # or else somebody waits
            with contextlib.suppress(ImportError):  # it will be raised again, and then it is said
                import wandb.proto.wandb_internal_pb2  # noqa: F401 - it takes a second
        last = False
        while not (last or self.leader.gone.is_set()):
            last = self.leader.ended.is_set()
            began = time.monotonic()
            self._look()
            pause = max(LOOK_EVERY, (time.monotonic() - began) / LOOK_SHARE)
            if self.waiting and not self.leader.gone.is_set() and (last or time.monotonic() >= self.send_at):
                self._send()
            if not last:
                self._send_live()
                self.leader.news.wait(pause)
        if not self.leader.gone.is_set():
            self.leader.say(done=True)

    def _look(self) -> None:
        for watch in self.watches:
            for block in watch.finished():
                if self.leader.gone.is_set():
                    return
                self._write(watch, block)
        self.watches = [watch for watch in self.watches if watch.seeds]

    def _write(self, watch: Watch, block: blocks.Block) -> None:
        """Write the runs of a block that is finished."""
        watch.forget(block)
        try:
            for _ in mirror.write(block, watch.study, self.extra):
                self.leader.say(written=1)
                if self.leader.gone.is_set():
                    return
            if watch.mode in SENT_IN:
                project = mirror.project(block)
                unsent = mirror.missing(block, watch.study, mirror.SENT)
                self.waiting += [sending.Waiting(watch.study, block, seed, project, self.extra) for seed in unsent]
        except UserError as error:  # of this block alone
            self.leader.say(mode=watch.mode, trouble=first_line(error))
        except Exception as error:  # whatever wandb raises: the files are the truth
            self.leader.say(mode=watch.mode, trouble=first_line(error))
            for other in self.watches:
                other.seeds.clear()

    def _send_live(self) -> None:
        """Send what blocks that are being trained have saved since; what fails is tried again, and said by nobody.

        When they are finished, their own runs are sent, of which it is said if they are not.
        """
        if time.monotonic() < self.send_live_at:
            return
        began, runs, moments = time.monotonic(), list[Run](), dict[Path, int]()
        for block in (block for watch in self.watches if watch.mode == LIVE for block in watch.begun()):
            with contextlib.suppress(OSError, Damaged, UserError):  # it is finished by now, or named when it is
                saved = (block.path / partial.PARTIAL).stat().st_mtime_ns
                if self.live.get(block.path) != saved and (moment := partial.read(block.path / partial.PARTIAL)):
                    runs += mirror.live(block, moment, self.extra)
                    moments[block.path] = saved
        if runs:
            with contextlib.suppress(Exception):  # whatever wandb raises
                sending.send_live(runs, self.leader.call)
                self.live |= moments
            self.send_live_at = time.monotonic() + (time.monotonic() - began) / SEND_SHARE

    def _send(self) -> None:
        began = time.monotonic()
        try:
            with contextlib.ExitStack() as locks:
                for study in dict.fromkeys(
                    run.study for run in self.waiting
                ):  # who sends a run twice has it there twice
                    locks.enter_context(files.locked(study / mirror.FOLDER / mirror.SENDING))
                self.waiting = [run for run in self.waiting if not run.is_sent()]
                for run in sending.send(tuple(self.waiting), self.leader.call):
                    mirror.mark(mirror.SENT, run.block, run.seed, run.study)
                    self.waiting.remove(run)
                    self.leader.say(sent=1)
            self.leader.say(unsent=None)
            pause = (time.monotonic() - began) / SEND_SHARE
        except Gone:
            return
        except Exception as error:  # whatever wandb raises
            self.leader.say(unsent=first_line(error))
            pause = SEND_AGAIN
        self.send_at = time.monotonic() + pause


def main() -> None:
    """Write runs until the leader has had enough."""
    leader = Leader()
    _Mirror(leader).run()
    leader.leave()


if __name__ == "__main__":
    main()
