"""Work in several processes gives what it gives in one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import parallel


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(processes):
    offset = 10  # what forked processes see of this one
    assert list(parallel.each(lambda item: item + offset, range(7), processes)) == list(range(10, 17))


@pytest.mark.skipif(parallel.cores() < 2, reason="one core, or no safe fork")
def test_the_work_is_done_elsewhere():
    assert os.getpid() not in set(parallel.each(lambda _: os.getpid(), range(4), 2))


def test_an_error_reaches_whoever_asks():
    with pytest.raises(ZeroDivisionError):
        list(parallel.each(lambda item: 1 / item, [1, 0, 2], 2))


WORK = """
import multiprocessing, time
from bench import parallel
results = parallel.each(lambda item: time.sleep(0.05), range(10_000), 2)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
list(results)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no safe fork")
def test_processes_end_when_the_one_that_forked_them_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, text=True)
    with parent:
        workers = [int(number) for number in parent.stdout.readline().split()]
        parent.kill()
    deadline = time.monotonic() + 60
    while any(map(runs, workers)):
        assert time.monotonic() < deadline, "they are still there"
        time.sleep(0.05)
    assert len(workers) == 2


UNASKED = """
import multiprocessing, signal, sys, time
from bench import parallel
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
def work():
    results = zip(range(10_000), parallel.each(lambda item: time.sleep(3600), range(10_000), 2))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    if sys.argv[1] == "asked":
        next(results)
    sys.stdin.read()
try:
    work()
except KeyboardInterrupt:
    print("told", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no safe fork")
@pytest.mark.parametrize("asked", ["asked", "unasked"])
def test_a_signal_ends_the_processes_whether_or_not_a_result_was_asked_for(asked):
    command = [sys.executable, "-c", UNASKED, asked]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(number) for number in parent.stdout.readline().split()]
        time.sleep(0.5)
        parent.send_signal(signal.SIGINT)
        assert parent.stdout.readline() == "told\n"
        assert parent.wait(60) == 0
    assert len(workers) == 2
    assert not any(map(runs, workers))


def runs(number: int) -> bool:
    """Whether a process is there, and is not one that has ended and waits for somebody to ask how."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
