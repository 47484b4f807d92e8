"""A signal asks; the block is saved, and goes on from there with the same numbers."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench import interruption
from bench.execution import execute
from bench.interruption import Interrupted
from bench.paths import ROOT
from bench.records import block as blocks
from bench.records import partial
from bench.records import training as record
from bench.records.tables import CURVES


def once(action):
    """Call `action` the first time only."""
    calls: list[int] = []

    def act():
        calls.append(1)
        if len(calls) == 1:
            action()

    return act


@pytest.mark.parametrize("number", interruption.SIGNALS, ids=lambda number: number.name)
def test_a_signal_saves_the_block_and_it_goes_on_with_the_same_bytes(learner, cell, number, capfd):
    learner.solves = True
    whole = execute.run(cell("seeds=3", "results=whole"))
    before = signal.getsignal(number)
    learner.after_progress = once(lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match=number.name):
        execute.run(cell("seeds=3"))
    assert signal.getsignal(number) is before
    assert f"{number.name}: saving what is being trained" in capfd.readouterr().err
    path = blocks.cell_directory(cell("seeds=3")) / "seeds-000-002"
    assert blocks.read(path).state == "stale"
    assert (path / partial.PARTIAL).exists()
    assert execute.run(cell("seeds=3")) == path
    assert learner.begun_at == [0, 0, 1]
    for name in blocks.NUMBERS:
        assert (path / name).read_bytes() == (whole / name).read_bytes()
    exact = blocks.table(blocks.load(path), CURVES, ("exact_return",))["exact_return"].to_pylist()
    assert exact == [seed + index / 3 for seed in range(3) for index in range(3) for _ in range(2)]
    assert not (path / partial.PARTIAL).exists()
    run = blocks.read(path).record
    assert len(run["resumed"]) == 1
    assert run["wall_seconds"] >= run["resumed"][0]["after_seconds"] > 0


def test_a_second_signal_stops_at_once(learner, cell):
    def twice():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the second signal should have ended this")

    learner.after_progress = twice
    with pytest.raises(Interrupted):
        execute.run(cell("seeds=2"))
    path = blocks.cell_directory(cell("seeds=2")) / "seeds-000-001"
    assert blocks.read(path).state == "stale"
    assert not (path / partial.PARTIAL).exists()


def test_a_clusters_own_handler_is_told_after_the_block_is_saved(learner, cell):
    """submitit submits the job again in such a handler, and ends the process."""
    path = blocks.cell_directory(cell("seeds=2")) / "seeds-000-001"
    seen: list[tuple[str, bool]] = []

    def handler(*_):
        seen.append((blocks.read(path).state, (path / partial.PARTIAL).exists()))

    before = signal.signal(signal.SIGUSR2, handler)
    try:
        learner.after_progress = once(lambda: os.kill(os.getpid(), signal.SIGUSR2))
        with pytest.raises(Interrupted):
            execute.run(cell("seeds=2"))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert seen == [("stale", True)]


def test_outside_the_main_thread_signals_are_left_alone(learner, cell):
    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []
    learner.before = lambda: inside.append(signal.getsignal(signal.SIGTERM))
    thread = threading.Thread(target=execute.run, args=(cell("seeds=2"),))
    thread.start()
    thread.join()
    assert inside == [before]


def test_a_leaders_wish_reaches_its_workers(cell):
    """Through a file: the worker itself got no signal."""
    with interruption.leading():
        assert interruption.asked() is None
        os.kill(os.getpid(), signal.SIGTERM)
        interruption._state.asked = None  # as in another process
        assert interruption.asked() == signal.SIGTERM
        with pytest.raises(Interrupted, match="SIGTERM"):
            execute.run(cell("seeds=2"))
    assert interruption.asked() is None
    execute.run(cell("seeds=2"))


def test_a_worker_that_waits_for_work_leaves_ctrl_c_to_its_leader(monkeypatch, tmp_path):
    monkeypatch.setenv(interruption.WISH, str(tmp_path / "wish"))
    before = signal.getsignal(signal.SIGINT)
    try:
        with interruption.heeding():
            assert signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, before)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        with interruption.heeding():
            assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("package", ["bench", "analysis"])
def test_ctrl_c_while_python_shuts_down_ends_the_process_without_a_word(package):
    program = f"""
import atexit, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.argv = ["{package}", "--help"]
from {package}.__main__ import script
sys.exit(script())
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def test_a_checkpoint_is_taken_by_the_clock_and_never_costs_more_than_its_share(cell, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(record.time, "monotonic", lambda: now[0])
    written: list[float] = []

    def write(*_):
        written.append(now[0])
        now[0] += 3.0  # a slow disk

    monkeypatch.setattr(record.partial, "write", write)
    config = cell("seeds=1", "checkpoint_minutes=1")
    recorder = record.TrainingRecorder(config, blocks.cell_directory(config) / "seeds-000")
    recorder.begin()
    for second in range(0, 601, 10):
        now[0] = max(now[0], float(second))
        recorder.on_checkpoint(lambda _: None)
    recorder.close()
    assert written == [60.0, 220.0, 380.0, 540.0]  # after the first minute, every 3 s / 2 % = 150 s


def test_a_learner_that_cannot_be_saved_stops_all_the_same(cell, monkeypatch):
    def unsavable(_, seeds, observer, checkpoint=None):  # noqa: ARG001 - the learner's signature
        os.kill(os.getpid(), signal.SIGTERM)
        observer.on_progress(0.5, None)
        raise AssertionError("should have stopped")

    monkeypatch.setattr(execute, "train", unsavable)
    with pytest.raises(Interrupted):
        execute.run(cell("seeds=2"))
    path = blocks.cell_directory(cell("seeds=2")) / "seeds-000-001"
    assert blocks.read(path).state == "stale"


@pytest.mark.parametrize("number", interruption.SIGNALS, ids=lambda number: number.name)
def test_a_signal_outside_of_runs_ends_a_command_in_a_line(number, capsys):
    """Even in the middle of an import, where a library makes another exception of it."""
    before = signal.getsignal(number)
    cleared: list[int] = []

    def command(words):
        try:
            os.kill(os.getpid(), number)
            raise AssertionError("the signal should have ended this")
        except Interrupted:
            cleared.append(number)
            if words:
                raise AttributeError("half a module") from None
            raise
        return 0

    for words in ([], ["imports"]):
        assert interruption.run_command(command, words) == 128 + number
        assert capsys.readouterr().err.splitlines() == [
            "interrupted: what is done is kept, the same command goes on from there"
        ]
    assert cleared == [number, number]
    assert signal.getsignal(number) is before


def test_an_exception_without_a_signal_is_what_it_was():
    def fails(_):
        raise AttributeError("a fault of this suite")

    with pytest.raises(AttributeError, match="a fault of this suite"):
        interruption.run_command(fails, [])


def test_workers_of_a_pool_that_outlives_a_sweep_are_told_in_the_next_one():
    """Their environment is that of the first sweep, whatever the leader's is."""
    with interruption.leading():
        of_workers = os.environ[interruption.WISH]
    with interruption.leading():
        os.kill(os.getpid(), signal.SIGTERM)
        assert Path(of_workers).read_text() == str(int(signal.SIGTERM))
    assert not Path(of_workers).exists()


@pytest.fixture
def new_process(monkeypatch):
    """As a process that has not led yet."""
    monkeypatch.setattr(interruption._state, "wish", None)


@pytest.mark.usefixtures("new_process")
def test_leading_makes_no_file_until_it_is_asked_to_stop(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with interruption.leading():
        assert list(tmp_path.iterdir()) == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("new_process")
def test_leading_needs_no_folder_for_temporary_files(monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with interruption.leading():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.asked() == signal.SIGTERM
