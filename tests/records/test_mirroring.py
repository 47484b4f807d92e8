"""W&B's runs are written by a process of its own, which outlives nobody and stops nobody."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.execution import execute
from bench.records import block as blocks
from bench.records import mirror, mirroring, provenance, wandb_client
from tests import stand_in_wandb

HANG = "time.sleep(1000)"
WAIT_FOR_GO = """\
(FOLDER / "begun").touch()
while not (FOLDER / "go").exists():
    time.sleep(0.01)"""
LEADER = """\
import json, sys, time
from bench.records import mirroring
mirroring.PROCESS = sys.argv[2]
process = mirroring.MirrorProcess([mirroring.Watch.of(json.loads(sys.argv[1]))])
print(process.client.process.pid, process.client.temporary, flush=True)
time.sleep(1000)
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(mirroring, "_given_up", set())
    monkeypatch.setattr(mirroring, "_named", set())


@pytest.fixture
def started():
    """Start a process with watches; in the end it is gone."""
    processes: list[mirroring.MirrorProcess] = []

    def start(watches: list[mirroring.Watch]) -> mirroring.MirrorProcess:
        processes.append(mirroring.MirrorProcess(watches))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


def runs(config) -> list[Path]:
    return sorted((blocks.study_directory(config) / "wandb").glob("*run-*"))


def complete(config) -> list[str]:
    return [run.name.split("-")[-2] for run in runs(config) if (run / mirror.COMPLETE).exists()]


def eventually(condition: Callable[[], object]) -> None:
    """Wait for something that is bound to happen."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_disabled_starts_nothing(cell, monkeypatch):
    monkeypatch.setattr(mirroring, "MirrorProcess", None)
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it now raises
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        execute.run(cell("seeds=1", "wandb=disabled"))


def test_where_all_is_trained_nothing_is_started(cell, monkeypatch):
    config = cell("seeds=1", "wandb=offline")
    path = execute.train_missing(config)
    monkeypatch.setattr(mirroring, "MirrorProcess", None)
    assert execute.run(config) == path


def test_variables_of_wandbs_that_change_nothing_are_named_once(cell, tmp_path, monkeypatch):
    stand_in_wandb.stand_in(tmp_path / "library", monkeypatch, "pass")
    monkeypatch.setenv("WANDB_DIR", "/nowhere")
    monkeypatch.setenv("WANDB_RUN_ID", "x")
    monkeypatch.setenv("WANDB_ENTITY", "heeded")
    with pytest.warns(mirroring.MirrorWarning, match="not heeded: WANDB_DIR, WANDB_RUN_ID; every seed is a run of its"):
        execute.run(cell("seeds=1", "wandb=offline"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        execute.run(cell("seeds=2", "wandb=offline"))
    assert complete(cell()) == ["000", "001"]


def test_trouble_is_one_warning_and_the_block_is_done(cell, tmp_path, monkeypatch):
    stand_in_wandb.missing(tmp_path / "library", monkeypatch)
    again = rf"'.* wandb-sync study=adhoc results={tmp_path}/results wandb=offline'"
    expected = rf"wandb=offline: not mirrored \(no wandb here\); {again}"
    with pytest.warns(mirroring.MirrorWarning, match=expected):
        path = execute.run(cell("seeds=1", "wandb=offline"))
    assert blocks.read(path).state == "done"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the next block does not wait for it again
        execute.run(cell("seeds=2", "wandb=offline"))


def test_a_process_that_cannot_be_started_or_dies_is_a_warning(cell, monkeypatch):
    def refuse(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(wandb_client.subprocess, "Popen", refuse)
        with pytest.warns(mirroring.MirrorWarning, match="Resource temporarily unavailable"):
            execute.run(cell("seeds=1", "wandb=offline"))
    monkeypatch.setattr(mirroring, "_given_up", set())
    monkeypatch.setattr(mirroring, "PROCESS", "bench.records.no_such_module")
    with pytest.warns(mirroring.MirrorWarning, match=r"not mirrored \(.*No module named bench.records.no_such_module"):
        execute.run(cell("seeds=2", "wandb=offline"))


def test_one_that_hangs_is_not_waited_for_for_ever(cell, tmp_path, monkeypatch):
    stand_in_wandb.stand_in(tmp_path / "library", monkeypatch, HANG)
    monkeypatch.setattr(mirroring, "SAID_AFTER", 0.1)
    said: list[str] = []
    warned: list[str] = []
    config = cell("seeds=2", "wandb=offline", "wandb_timeout=1")
    with mirroring.mirroring(mirroring.watches([config]), warned.append, said.append):
        execute.train_missing(config)
    assert [text.partition(";")[0] for text in warned] == [
        "wandb=offline: not mirrored (it did not take everything within 1 seconds)"
    ]
    assert said == ["waiting for W&B: 0 runs written, 0 sent so far; given up after 1 seconds"]
    assert complete(config) == []


def test_only_what_is_finished_from_now_on_is_mirrored(cell, learner, tmp_path, monkeypatch):
    """A retry has a folder of its own; the block it retries, which is older, is left to wandb-sync."""
    stand_in_wandb.stand_in(tmp_path / "library", monkeypatch, "pass")
    learner.causes = {1: "loss is NaN"}
    config = cell("seeds=3", "wandb=offline")
    execute.train_missing(config)
    learner.causes = {}
    again = execute.run(cell("seeds=4", "retry=failed", "wandb=offline"))
    assert again.name == "seeds-001"
    assert complete(config) == ["001"]


def test_what_broke_off_before_is_mirrored_when_it_is_finished(cell, learner, tmp_path, monkeypatch):
    stand_in_wandb.stand_in(tmp_path / "library", monkeypatch, "pass")

    def broken():
        raise ValueError("broken")

    learner.before = broken
    config = cell("seeds=2", "wandb=offline")
    with pytest.raises(ValueError, match="broken"):
        execute.run(config)
    assert runs(config) == []
    learner.before = lambda: None
    execute.run(config)
    assert complete(config) == ["000", "001"]


def test_two_at_the_same_time_write_each_run_once(cell, started, tmp_path, monkeypatch):
    stand_in_wandb.stand_in(tmp_path / "library", monkeypatch, "time.sleep(0.2)")
    config = cell("seeds=3", "wandb=offline")
    both = [started(mirroring.watches([config])) for _ in range(2)]
    execute.train_missing(config)
    for process in both:
        process.finish(lambda _: None, 60.0)
        assert process.troubles == {}
    assert sorted(complete(config)) == ["000", "001", "002"]
    assert len(runs(config)) == 3


def test_signals_and_a_closed_stream_leave_the_run_at_hand_to_be_finished(cell, started, tmp_path, monkeypatch):
    library = stand_in_wandb.stand_in(tmp_path / "library", monkeypatch, WAIT_FOR_GO)
    config = cell("seeds=2", "wandb=offline")
    process = started(mirroring.watches([config]))
    execute.train_missing(config)
    eventually((library / "begun").exists)
    child = process.client.process.pid
    assert os.getsid(child) != os.getsid(0)  # Ctrl-C at a terminal does not reach it
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(child, number)
    process.client.tell(None)
    time.sleep(0.3)  # it has seen that by now, or will later
    (library / "go").touch()
    process.stop()
    assert process.client.process.wait(30) == 0
    assert complete(config) == ["000"]
    assert process.troubles == {"offline": "interrupted"}


def led(config) -> tuple[subprocess.Popen[str], str, Path]:
    """A leading process, the process it has started, and the temporary files of both."""
    (watch,) = mirroring.watches([config])
    words = [sys.executable, "-c", LEADER, json.dumps(watch.order()), mirroring.PROCESS]
    leader = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    number, temporary = leader.stdout.readline().split()
    return leader, f"{number}-{provenance._birth(int(number))}", Path(temporary)


def is_gone(process: str) -> bool:
    return not provenance.alive(provenance.host()["id"], process)


def killed(leader: subprocess.Popen[str]) -> None:
    leader.kill()
    leader.communicate()


def test_a_killed_leader_leaves_no_process(cell, tmp_path, monkeypatch):
    stand_in_wandb.stand_in(tmp_path / "library", monkeypatch, "pass")
    leader, child, temporary = led(cell("seeds=1", "wandb=offline"))
    assert not is_gone(child)
    assert temporary.exists()
    killed(leader)
    eventually(lambda: is_gone(child))
    assert not temporary.exists()


@pytest.mark.slow
def test_a_killed_leader_leaves_no_hanging_process_and_no_half_a_run(cell, tmp_path, monkeypatch):
    config = cell("seeds=2", "wandb=offline")
    with monkeypatch.context() as patch:
        library = stand_in_wandb.stand_in(tmp_path / "library", patch, f"(FOLDER / 'begun').touch()\n{HANG}")
        leader, child, _ = led(config)
        block = blocks.read(execute.train_missing(config))
        eventually((library / "begun").exists)
    killed(leader)
    eventually(lambda: is_gone(child))
    assert runs(config) == []
    assert list(mirror.write(block, blocks.study_directory(config))) == [0, 1]
    assert complete(config) == ["000", "001"]
