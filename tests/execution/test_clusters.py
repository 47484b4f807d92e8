"""Launchers of clusters, as far as one machine has them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.commands.main import main
from bench.records import block as blocks
from bench.records.partial import PARTIAL

CELLS = ("task=weekly_exam", "budget=1000", "seeds=1", "hidden=[8,8]", "advantage=td0,gae", "wandb=disabled")


LONGER = ("task=weekly_exam", "budget=40000", "seeds=2", "hidden=[8,8]", "advantage=td0,gae", "wandb=disabled")
LIMIT = 240  # seconds for a sweep of a few cells


def launched(folder: Path, words: Sequence[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "bench", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def at_work(folder: Path) -> dict[Path, int]:
    """The cells in work, of which something can be saved, and the processes that train them."""
    found = {}
    for path in folder.rglob(blocks.PROGRESS):
        try:
            record = json.loads((path.parent / blocks.RECORD).read_text())
        except OSError:
            continue
        if record["status"] == "running" and record["process"]:
            found[path.parent.parent] = int(record["process"].split("-")[0])
    return found


def numbers(folder: Path) -> dict[str, bytes]:
    """The content of what a sweep trained, by its place."""
    names = (*blocks.NUMBERS, blocks.POLICY, blocks.CHECKPOINT)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.name in names}


@pytest.mark.slow
def test_preempted_jobs_are_queued_again_and_go_on_to_the_same_bytes(tmp_path):
    """Each job gets the signal that Slurm sends before it takes a machine away; submitit starts it again."""
    pytest.importorskip("submitit", reason="cluster=slurm is the extra slurm")
    whole, preempted = tmp_path / "whole", tmp_path / "preempted"
    done = launched(tmp_path, [*LONGER, f"results={whole}", "hydra.launcher.n_jobs=1"])
    assert done.wait(LIMIT) == 0, done.communicate()
    sweep = launched(tmp_path, [*LONGER, f"results={preempted}", "hydra/launcher=submitit_local"])
    told: set[Path] = set()
    end = time.monotonic() + LIMIT
    while sweep.poll() is None and time.monotonic() < end:
        for cell, process in at_work(preempted).items():
            if cell not in told:
                told.add(cell)
                os.kill(process, signal.SIGUSR2)
        time.sleep(0.05)
    said = sweep.communicate(timeout=10)
    assert sweep.returncode == 0, said
    assert said[0].endswith(f"2 cells, 0 failures: {preempted}/adhoc\n")
    records = [json.loads(path.read_text()) for path in preempted.rglob(blocks.RECORD)]
    assert [len(record["resumed"]) for record in records] == [1, 1]
    assert len(told) == 2
    assert numbers(preempted) == numbers(whole) != {}


@pytest.mark.slow
def test_submitits_local_executor_trains_a_sweep(tmp_path):
    """The path of Slurm jobs (pickled, run by another program, results gathered from files) without a Slurm."""
    pytest.importorskip("submitit", reason="cluster=slurm is the extra slurm")
    command = [sys.executable, "-m", "bench", *CELLS, "hydra/launcher=submitit_local"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n2 cells, 0 failures: results/adhoc\n")
    assert [json.loads(path.read_text())["status"] for path in tmp_path.rglob(blocks.RECORD)] == ["done", "done"]


@pytest.mark.slow
def test_a_local_ray_trains_a_sweep_that_a_signal_ends_and_the_same_command_goes_on_with(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="cluster=ray is the extra ray")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done = launched(tmp_path, [*LONGER, f"results={whole}", "hydra.launcher.n_jobs=1"])
    assert done.wait(LIMIT) == 0, done.communicate()
    words = [*LONGER, f"results={stopped}", "cluster=ray"]
    sweep = launched(tmp_path, words)
    end = time.monotonic() + LIMIT
    while not at_work(stopped) and sweep.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(LIMIT) == 128 + signal.SIGINT, sweep.communicate()
    assert list(stopped.rglob(PARTIAL))
    done = launched(tmp_path, words)
    assert done.wait(LIMIT) == 0, done.communicate()
    assert numbers(stopped) == numbers(whole) != {}


@pytest.mark.parametrize(("cluster", "package"), [("slurm", "hydra-submitit-launcher"), ("ray", "hydra-ray-launcher")])
def test_a_cluster_whose_package_is_missing_says_what_to_install(cluster, package, capsys, monkeypatch, tmp_path):
    try:
        __import__(f"hydra_plugins.{package.replace('-', '_')}")
    except ImportError:
        pass
    else:
        pytest.skip(f"{package} is installed")
    monkeypatch.chdir(tmp_path)
    assert main([*CELLS, f"cluster={cluster}"]) == 2
    expected = f"error: cluster={cluster} needs a package more: pip install {package}\n"
    assert capsys.readouterr().err == expected
