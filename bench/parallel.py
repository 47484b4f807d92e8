"""Work that falls into independent parts, on all cores the process may use."""

import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_work: tuple[Callable[[Any], Any], Sequence[Any]] | None = None  # what forked processes find here when they start


def cores() -> int:
    """How many processes work side by side: one where processes cannot be forked safely (macOS, Windows)."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def each(function: Callable[[T], R], items: Sequence[T], processes: int | None = None) -> Iterator[R]:
    """`function` of every item, in order; work starts at once, in processes that share this one's memory.

    They are ended with the iterator: where it is not used up, because a signal came or an item failed, what is not done
    is left undone.

    Args:
        function: of one item; what it returns must pickle, what it reads need not.
        items: the parts of the work.
        processes: at most; None for `cores()`.
    """
    global _work
    workers = min(processes or cores(), len(items))
    if workers < 2:
        return map(function, items)
    _work = (function, items)
    try:
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _follow_parent)
        futures = [pool.submit(_run, place) for place in range(len(items))]  # forks them all
    finally:
        _work = None
    return _Results(futures, pool, set(multiprocessing.active_children()) - others)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, which ends its processes by SIGTERM, and end when it is killed: nobody else would."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch(sentinel: int = parent.sentinel) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(place: int) -> Any:
    assert _work is not None  # set where the process was forked
    function, items = _work
    return function(items[place])


class _Results(Iterator[R]):
    """What the processes of a pool found. A generator would not do: one that was never asked does not end its pool."""

    def __init__(self, futures: Sequence["Future[R]"], pool: ProcessPoolExecutor, processes: set[BaseProcess]) -> None:
        self._left = iter(futures)
        self._end = weakref.finalize(self, _end, pool, processes)

    def __next__(self) -> R:
        try:
            return next(self._left).result()
        except BaseException:  # that there is no other result, too
            self._end()
            raise


def _end(pool: ProcessPoolExecutor, processes: set[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    pool.shutdown(cancel_futures=True)
