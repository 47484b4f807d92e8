"""Of any number of processes, on any number of machines, one trains a seed."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest

from bench.execution import execute
from bench.records import block as blocks
from bench.records import lease as claims
from bench.records import partial, provenance
from bench.records import recorder as record
from bench.records.recorder import Recorder


def another(seeds, *, host="elsewhere", process="1-x-1", over=False) -> str:
    """A claim of another machine's process, as it would be on disk."""
    return json.dumps({"seeds": list(seeds), "host": host, "process": process, "over": over})


def write(cell, number, text):
    path = claims.place(cell, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def dead_process() -> str:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return f"{child.pid}-x-1"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(claims, "CONFIRMED_AFTER", 0.3)


def test_a_number_is_given_once(tmp_path):
    known = claims.read(tmp_path)
    first = claims.append(tmp_path, [0, 1], known)
    assert first is not None
    assert first.number == 1
    assert claims.append(tmp_path, [0, 1], known) is None
    assert [claim.seeds for claim in claims.read(tmp_path)] == [{0, 1}]
    assert os.listdir(tmp_path / claims.FOLDER) == ["000001.json"]


def _race(cell, start, wins):
    start.wait()
    for _ in range(20):
        known = claims.read(cell)
        claim = claims.append(cell, [os.getpid()], known)
        wins.put(claim.number if claim else None)


def test_many_that_claim_at_once_get_different_numbers(tmp_path):
    context = multiprocessing.get_context("fork")
    start, wins = context.Event(), context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path, start, wins)) for _ in range(6)]
    for racer in racers:
        racer.start()
    start.set()
    numbers = [wins.get(timeout=30) for _ in range(6 * 20)]
    for racer in racers:
        racer.join()
    won = sorted(number for number in numbers if number is not None)
    assert won == list(range(1, len(won) + 1))
    assert len(claims.read(tmp_path)) == len(won)


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(claims.os, "link", refuse)
    assert claims.append(tmp_path, [3], []) is not None
    assert claims.append(tmp_path, [3], []) is None
    assert [claim.seeds for claim in claims.read(tmp_path)] == [{3}]


def test_only_the_last_claim_on_a_seed_counts(tmp_path):
    here = provenance.host()["id"]
    write(tmp_path, 1, another([0, 1], host=here, process=provenance.process()))
    write(tmp_path, 2, another([0], host=here, process=dead_process()))
    assert claims.held(claims.read(tmp_path), [0]) is None
    assert claims.held(claims.read(tmp_path), [1]).number == 1
    assert claims.held(claims.read(tmp_path), [2]) is None


@pytest.mark.usefixtures("impatient")
def test_another_machine_is_believed_until_it_is_silent_for_the_stated_time(tmp_path):
    path = write(tmp_path, 1, another([0]))
    assert claims.held(claims.read(tmp_path), [0]) is not None
    long_ago = time.time() - claims.STALE_AFTER - 1
    os.utime(path, (long_ago, long_ago))
    assert claims.held(claims.read(tmp_path), [0]) is None
    write(tmp_path, 1, another([0], over=True))
    assert claims.held(claims.read(tmp_path), [0]) is None


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_makes_nobody_dead(tmp_path, monkeypatch, jump):
    """The holder goes on touching its claim; only the clock of whoever looks has gone wrong."""
    path = write(tmp_path, 1, another([0]))
    now = time.time()
    monkeypatch.setattr(claims.time, "time", lambda: now + jump)
    over = threading.Event()

    def live():
        while not over.wait(0.05):
            os.utime(path)

    holder = threading.Thread(target=live)
    holder.start()
    try:
        assert claims.held(claims.read(tmp_path), [0]) is not None
    finally:
        over.set()
        holder.join()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seeds": 3}'])
def test_an_unreadable_claim_keeps_its_number_and_holds_nothing(tmp_path, text):
    write(tmp_path, 4, text)
    known = claims.read(tmp_path)
    assert claims.held(known, range(100)) is None
    assert claims.append(tmp_path, [0], known).number == 5


def test_a_process_that_was_taken_for_dead_writes_nothing_more(learner, cell):
    """Another machine has taken its seeds over, as after a long suspension."""
    config = cell("seeds=2", "checkpoint_minutes=0")
    taken: list[bytes] = []

    def take_over():
        if not taken:
            folder = blocks.cell_directory(config)
            write(folder, 2, another([0, 1]))
            taken.append((folder / "seeds-000-001" / blocks.RECORD).read_bytes())

    learner.after_progress = take_over
    directory = blocks.cell_directory(config) / "seeds-000-001"
    with pytest.raises(execute.Busy, match="taken over"):
        execute.run_block(config, directory)
    assert (directory / blocks.RECORD).read_bytes() == taken[0]
    assert not (directory / "evaluations.parquet").exists()


@pytest.mark.usefixtures("impatient")
def test_a_stale_claim_is_taken_over_and_its_checkpoint_gone_on_with(learner, cell, monkeypatch):
    monkeypatch.setattr(record, "CHECKPOINT_SHARE", 1e9)  # as often as asked for
    config = cell("seeds=2", "checkpoint_minutes=0")
    directory = blocks.cell_directory(config) / "seeds-000-001"
    uninterrupted = execute.run(cell("seeds=2", "results=whole"))

    class Killed(BaseException):
        pass

    def die():
        if (directory / partial.PARTIAL).exists() and partial.read(directory / partial.PARTIAL).state == bytes([2]):
            raise Killed

    learner.after_progress = die
    recorder = Recorder(config, directory)
    recorder.begin()
    with pytest.raises(Killed):
        learner(config, config.seeds, recorder)
    recorder.close()
    learner.after_progress = lambda: None
    # As another machine, silent for longer than the stated time, would have left it.
    left = json.loads((directory / blocks.RECORD).read_text())
    (directory / blocks.RECORD).write_text(json.dumps(left | {"host": {"id": "elsewhere"}}))
    claim = write(directory.parent, 1, another([0, 1]))
    long_ago = time.time() - claims.STALE_AFTER - 1
    for path in (claim, directory / blocks.RECORD, directory / blocks.PROGRESS):
        os.utime(path, (long_ago, long_ago))
    assert blocks.read(directory).state == "stale"
    assert execute.run(config) == directory
    assert learner.begun_at == [0, 0, 2]
    for name in ("evaluations.parquet", "training.parquet"):
        assert (directory / name).read_bytes() == (uninterrupted / name).read_bytes()
