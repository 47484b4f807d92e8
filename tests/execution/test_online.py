"""`wandb=online` against a stand-in of the server: an outage costs the stated time, and in the end all is there."""

import contextlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.execution import execute
from bench.records import block as blocks
from bench.records import index, mirror, mirroring
from tests.wandb_server import HANG, WandbServer


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(mirroring, "_given_up", set())
    monkeypatch.setattr(mirroring, "_named", set())


@pytest.fixture
def server(monkeypatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def assert_whole(server: WandbServer, study: Path) -> None:
    """The server has every row of every run of the study once."""
    sent = {}
    for path in blocks.walk(study)[0]:
        block = blocks.read(path)
        sent |= {run.id: run for run in mirror.runs(block, sorted(block.seeds)).values()}
    assert server.unknown == []
    assert server.runs.keys() == sent.keys()
    for id, run in server.runs.items():
        assert [json.loads(line)["step"] for line in run.history] == [row["step"] for row in sent[id].history]
        assert run.summary["status"] == sent[id].summary["status"]


def test_every_seed_is_a_run_of_its_own_also_under_a_sweeps_agent(server, tmp_path):
    words = ["task=exam_question", "budget=64", "seeds=3", "hidden=[8,8]", "wandb=online", "baseline=none,critic"]
    few = ["evaluation.points=1", "evaluation.episodes=1", "hydra.launcher.n_jobs=1"]
    agent = {"WANDB_SWEEP_ID": "sw1", "WANDB_RUN_ID": "x", "WANDB_TAGS": "mine", "WANDB_PROJECT": "thesis"}
    command = [sys.executable, "-m", "bench", *words, *few]
    environment = {**os.environ, **agent}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning")]
    assert warning.startswith("warning: not heeded: WANDB_RUN_ID, WANDB_SWEEP_ID; ")
    assert_whole(server, tmp_path / "results" / "adhoc")
    assert len(server.runs) == 6
    assert {(run.project, run.tags[-1], run.host) for run in server.runs.values()} == {("thesis", "mine", None)}
    assert len({(run.group, run.config["seed"]) for run in server.runs.values()}) == 6


def test_a_seed_that_is_trained_again_reaches_the_mirror(server, cell, learner):
    learner.causes = {1: "loss is NaN"}
    config = cell("seeds=2", "wandb=online")
    index.plan([config])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        execute.run(config)
        learner.causes = {}
        execute.run(cell("seeds=2", "wandb=online", "retry=failed"))
    study = blocks.study_directory(config)
    assert_whole(server, study)
    of_seed_1 = [run.summary["status"] for run in server.runs.values() if run.config["seed"] == 1]
    assert of_seed_1 == ["failed", "done"]
    assert mirroring.sync(study.parent, study.name, upload=True, timeout=60.0)[:3] == (0, 3, 0)


def test_what_has_been_saved_is_there_while_it_trains_and_the_whole_of_it_in_the_end(
    server, cell, learner, monkeypatch
):
    """The second evaluation waits until W&B has the first, of which a moment was saved before."""
    monkeypatch.setattr("bench.records.training.CHECKPOINT_SHARE", 1e9)  # a moment whenever there can be one
    seen = []

    def wait():
        until = time.monotonic() + 60
        while not seen and time.monotonic() < until and len(learner.calls) == 1 and waits:
            seen.extend(run for run in list(server.runs.values()) if run.project.endswith("-live") and run.history)
            time.sleep(0.05)
        waits.append(True)

    waits: list[bool] = []  # before the second evaluation, when the first is saved
    learner.after_progress = wait
    config = cell("seeds=2", "wandb=live", "checkpoint_minutes=0")
    index.plan([config])
    execute.run(config)
    assert seen, server.asked
    assert {json.loads(line)["step"] for run in seen for line in run.history} <= {0, 500, 1000}
    block = blocks.read(next(iter(blocks.walk(blocks.study_directory(config))[0])))
    whole = mirror.runs(block, [0, 1])
    live = {run.config["seed"]: run for run in server.runs.values() if run.project.endswith("-live")}
    for seed, run in whole.items():
        assert [json.loads(line)["step"] for line in server.runs[run.id].history] == [
            row["step"] for row in run.history
        ]
        own = {row["step"]: row for row in run.history}
        rows = [json.loads(line) for line in live[seed].history]
        assert len({row["step"] for row in rows}) == len(rows)  # none of them twice
        for row in rows:  # what was sent early is what is there in the end
            name = "eval/deterministic_return"
            assert row[name] == pytest.approx(own[row["step"]][name], rel=1e-12)


ANSWERS = (("file_stream", 500), ("file_stream", 409), ("upsert", 404), ("all", 500), ("all", HANG), ("half", 1))


@pytest.mark.slow
def test_an_outage_costs_the_stated_time_and_wandb_sync_makes_up_for_it(server, cell, monkeypatch):
    configs = [cell("seeds=2", "wandb=online", f"gamma=0.{place}", "wandb_timeout=6") for place in range(len(ANSWERS))]
    index.plan(configs)
    for config, (kind, status) in zip(configs, ANSWERS, strict=True):
        monkeypatch.setattr(mirroring, "_given_up", set())
        server.answers, server.kept = ({}, status) if kind == "half" else ({kind: status}, None)
        with pytest.warns(mirroring.MirrorWarning, match=r"wandb=online: not mirrored \(.+\); 'python -m bench wandb-"):
            path = execute.run(config)
        assert blocks.read(path).state == "done"
    server.answers, server.kept = {}, None
    study = blocks.study_directory(configs[0])
    written, there, sent = mirroring.sync(study.parent, study.name, upload=True, timeout=60.0)[:3]
    assert (written, there, sent) == (0, 2 * len(ANSWERS), 2 * len(ANSWERS))
    assert_whole(server, study)


def test_what_was_not_taken_is_sent_once_more_in_the_end(server, cell):
    server.answers = {"upsert": 404}
    config = cell("seeds=1", "wandb=online")

    wanted = mirroring.watches([config, cell("seeds=[1]", "wandb=online")])
    warned: list[str] = []
    with mirroring.mirroring(wanted, warned.append):
        execute.train_missing(config)
        deadline = time.monotonic() + 60
        while not any(kind == "upsert" for kind, _ in server.asked):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.answers = {}
        execute.train_missing(cell("seeds=[1]", "wandb=online"))
    assert warned == []
    assert_whole(server, blocks.study_directory(config))
    assert len(server.runs) == 2


def test_two_that_mirror_the_same_send_each_row_once(server, cell):
    config = cell("seeds=2", "wandb=online")
    both = [mirroring.MirrorProcess(mirroring.watches([config])) for _ in range(2)]
    execute.train_missing(config)
    for process in both:
        process.client.tell(b"ended\n")
    for process in both:
        process.finish(lambda _: None, 60.0)
        process.close()
        assert process.troubles == {}
    assert sum(process.sent for process in both) == 2
    assert_whole(server, blocks.study_directory(config))


def test_an_interruption_ends_what_is_being_sent(server, cell):
    server.answers = {"file_stream": HANG}
    config = cell("seeds=1", "wandb=online")
    process = mirroring.MirrorProcess(mirroring.watches([config]))
    execute.train_missing(config)
    deadline = time.monotonic() + 60
    while not any(kind == "file_stream" for kind, _ in server.asked):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.stop()
    process.close()
    assert process.troubles == {"online": mirroring.INTERRUPTED}
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.client.process.pid, 0)
        raise AssertionError("W&B's program is still there")
