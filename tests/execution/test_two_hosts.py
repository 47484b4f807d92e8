"""Two machines on one folder, one of which is stopped and continued: nothing is lost, or written by both."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import bench
from bench.execution import execute
from bench.records import block as blocks
from bench.records import lease, partial
from bench.records import training as record
from bench.records.tables import EPISODES

STALE_AFTER = 2.0  # seconds, in place of minutes
CELL = (
    "task=weekly_exam", "budget=20000", "seeds=2", "evaluation.episodes=5", "hidden=[32,32]", "wandb=disabled",
    "checkpoint_minutes=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    """What the cell leaves where nobody stops it."""
    results = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "CHECKPOINT_SHARE", 1e9)
        return numbers(execute.train_missing(bench.compose([*CELL, f"results={results}"])))


@pytest.fixture
def start(tmp_path):
    """Train the cell on a host of this name."""
    processes: list[subprocess.Popen[str]] = []

    def start(host: str) -> subprocess.Popen[str]:
        words = [host, str(STALE_AFTER), *CELL, f"results={tmp_path}"]
        command = [sys.executable, "-m", "tests.execution.two_hosts", *words]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def numbers(block: Path) -> dict[str, bytes]:
    """The bytes of all that is trained; the world is solved, so that there are no episodes of evaluations."""
    names = {*blocks.NUMBERS, blocks.POLICY, blocks.CHECKPOINT} - {EPISODES}
    return {name: (block / name).read_bytes() for name in sorted(names)}


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def stopped(process: subprocess.Popen[str], block: Path) -> None:
    """Stop it, and wait until its leases are of a machine that is taken for dead."""
    process.send_signal(signal.SIGSTOP)
    touched = list((block.parent / lease.FOLDER).glob("[0-9]*"))
    assert touched
    eventually(lambda: all(lease.age(path) > STALE_AFTER for path in touched))


def ended(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


def assert_whole(block: Path, undisturbed: dict[str, bytes], host: str) -> None:
    """One block, of one host, with the bytes of one that nobody disturbed, and nothing beside it."""
    assert {path.name for path in block.parent.iterdir()} == {lease.FOLDER, block.name}
    assert not list((block.parent / lease.FOLDER).glob("[0-9]*"))
    found = blocks.read(block)
    assert found.state == "done"
    blocks.check(found)
    assert found.record["host"]["id"] == host
    assert numbers(block) == undisturbed
    assert {path.name for path in block.iterdir()} == {blocks.RECORD, blocks.CONFIG, *undisturbed}


@pytest.mark.parametrize("continued", ["while the other trains", "after the other has ended"])
def test_who_is_stopped_loses_its_seeds_and_writes_nothing_when_it_goes_on(tmp_path, start, undisturbed, continued):
    first = start("a")
    eventually(lambda: list(tmp_path.rglob(partial.PARTIAL)))
    block = next(tmp_path.rglob(partial.PARTIAL)).parent
    stopped(first, block)
    second = start("b")
    if continued == "while the other trains":
        eventually(lambda: json.loads((block / blocks.RECORD).read_text())["host"]["id"] == "b")
    else:
        ended(second)
        assert_whole(block, undisturbed, "b")
    first.send_signal(signal.SIGCONT)
    ended(first)
    ended(second)
    assert_whole(block, undisturbed, "b")
    assert len(blocks.read(block).record["resumed"]) == 1


@pytest.mark.slow
def test_whenever_it_is_stopped(tmp_path, start, undisturbed):
    """At moments all over the training and its end, again and again, until one host has finished."""
    rng, hosts = random.Random(3), ["a", "b"]
    started = [start(hosts[0])]
    eventually(lambda: list(tmp_path.rglob(blocks.RECORD)) or started[0].poll() is not None)
    block = next(tmp_path.rglob(blocks.RECORD)).parent
    while (running := started[-1]).poll() is None and len(started) <= 8:
        time.sleep(rng.uniform(0.02, 0.4))
        if not list((block.parent / lease.FOLDER).glob("[0-9]*")):
            break
        stopped(running, block)
        started.append(start(hosts[len(started) % 2]))
        assert started[-1].stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0.0, 1.5))
        running.send_signal(signal.SIGCONT)
    for process in started:  # who goes on before anybody has claimed its block keeps it, and the last one leaves it
        ended(process)
    found = blocks.read(block)
    assert found.state == "done"
    blocks.check(found)
    assert numbers(block) == undisturbed
