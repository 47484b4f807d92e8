"""What a sweep is doing, read from the files its workers write."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from bench.errors import UserError
from bench.records import block as blocks

SCREEN_EVERY = 0.5  # seconds
LINE_EVERY = 15.0  # seconds, where the output is no terminal
LOOKING_SHARE = 0.02  # of the time, at most, goes into looking at files: there may be thousands of blocks
MOST_SHOWN = 8  # blocks at work that are shown; a cluster trains hundreds at once


@dataclass(frozen=True)
class Item:
    """A cell being watched: what to call it, where its block will be, and how much work it is."""

    label: str
    path: Path
    cost: float


@dataclass(frozen=True)
class Running:
    """A cell at work."""

    path: Path
    label: str
    fraction: float
    current_return: float | None

    @property
    def value(self) -> str:
        """The return it has come to, in words."""
        return "" if self.current_return is None else f"return {self.current_return:.4g}"


@dataclass(frozen=True)
class Snapshot:
    """The state of a sweep at one moment."""

    done: int
    running: Sequence[Running]
    share: float  # of the work, 0 to 1


class Display:
    """Shows a sweep on `console`: redrawn in place on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def watching(self, items: Sequence[Item], done_before: int) -> Iterator[None]:
        """Show the items from a thread of its own while the body runs."""
        stop = threading.Event()
        show = self._draw if self.console.is_terminal else self._print_lines
        thread = threading.Thread(target=show, args=(_Watch(items, done_before), stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _draw(self, watch: "_Watch", stop: threading.Event) -> None:
        texts = [TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}")]
        with Progress(
            texts[0], BarColumn(24), texts[1], console=self.console, auto_refresh=False, transient=True
        ) as bars:
            whole = bars.add_task("", total=1.0, note="")
            shown: dict[Path, TaskID] = {}
            over = False
            while not over:
                over = stop.wait(watch.pause(SCREEN_EVERY))  # then what was reached is drawn, too
                snapshot = watch.snapshot()
                note = ", ".join(filter(None, (watch.left(snapshot.share), *_others(snapshot))))
                bars.update(whole, description=watch.count(snapshot), completed=snapshot.share, note=note)
                at_work = snapshot.running[:MOST_SHOWN]
                for path in shown.keys() - {running.path for running in at_work}:
                    bars.remove_task(shown.pop(path))
                for running in at_work:
                    if running.path not in shown:
                        shown[running.path] = bars.add_task(running.label, total=1.0, note="")
                    bars.update(shown[running.path], completed=running.fraction, note=running.value)
                bars.refresh()

    def _print_lines(self, watch: "_Watch", stop: threading.Event) -> None:
        over = stop.wait(watch.pause(LINE_EVERY))
        if over:
            return
        while not over:
            self.console.print(_line(watch), highlight=False, markup=False, soft_wrap=True)
            over = stop.wait(watch.pause(LINE_EVERY))
        self.console.print(_line(watch), highlight=False, markup=False, soft_wrap=True)


def _line(watch: "_Watch") -> str:
    """How far all is, and what is at work."""
    snapshot = watch.snapshot()
    running = [[f"{each.label} {each.fraction:.0%}", each.value] for each in snapshot.running[:MOST_SHOWN]]
    parts = [[watch.count(snapshot), watch.left(snapshot.share)], *running, _others(snapshot)]
    return "; ".join(", ".join(filter(None, part)) for part in parts if part)


def _others(snapshot: Snapshot) -> list[str]:
    """How many blocks at work are not shown; nothing where all are."""
    further = len(snapshot.running) - MOST_SHOWN
    return [f"{further} more at work"] if further > 0 else []


class _Watch:
    """Looks at the items' records again and again; one is read where it has changed, and not twice where it has ended.

    Asking a file when it was changed takes a fiftieth of reading it, and most blocks of a large sweep have not begun.
    """

    def __init__(self, items: Sequence[Item], done_before: int) -> None:
        self.total = len(items) + done_before
        self._waiting = {item: _stamp(item.path) for item in items}  # what an earlier attempt left is not news
        self._work = sum(item.cost for item in items)
        self._ended = 0.0
        self._began = time.monotonic()
        self._looked_for = 0.0

    def pause(self, usual: float) -> float:
        """Seconds until one looks again."""
        return max(usual, self._looked_for / LOOKING_SHARE)

    def snapshot(self) -> Snapshot:
        """Look at the files."""
        began = time.monotonic()
        running: list[Running] = []
        worked = 0.0
        for item, before in list(self._waiting.items()):
            stamp = _stamp(item.path)
            if stamp is None or stamp == before:
                continue
            block = _read(item.path)
            if block is None:
                continue
            if block.state == "running":
                state = _progress(item)
                running.append(state)
                worked += state.fraction * item.cost
            elif block.state != "stale":
                del self._waiting[item]
                self._ended += item.cost
        self._looked_for = time.monotonic() - began
        return Snapshot(self.total - len(self._waiting), running, (self._ended + worked) / self._work)

    def count(self, snapshot: Snapshot) -> str:
        """How many blocks are done."""
        return f"{snapshot.done}/{self.total} blocks"

    def left(self, share: float) -> str:
        """The time left at the speed so far."""
        elapsed = time.monotonic() - self._began
        if share < 0.01:
            return "estimating the time left"
        seconds = round(elapsed * (1 - share) / share)
        hours, minutes = divmod(seconds // 60, 60)
        return f"{hours}:{minutes:02d}:{seconds % 60:02d} left"


def _stamp(block: Path) -> tuple[int, ...] | None:
    """What is another after the block's record was replaced; None where there is none."""
    try:
        found = os.stat(os.path.join(block, blocks.RECORD))
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path) -> blocks.Block | None:
    try:
        return blocks.read(path)
    except UserError:  # named at the end, not here
        return None


def _progress(item: Item) -> Running:
    """What the worker wrote last."""
    fraction, current = blocks.progress(item.path)
    return Running(item.path, item.label, fraction or 0.0, current)
