"""Launchers of clusters, as far as one machine has them."""

import json
import subprocess
import sys

import pytest

from bench.commands.main import main
from bench.records import block as blocks

CELLS = ("task=weekly_exam", "budget=1000", "seeds=1", "hidden=[8,8]", "advantage=td0,gae", "wandb=disabled")


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
def test_a_local_ray_trains_a_sweep(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="cluster=ray is the extra ray")
    command = [sys.executable, "-m", "bench", *CELLS, "cluster=ray"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(path.read_text())["status"] for path in tmp_path.rglob(blocks.RECORD)] == ["done", "done"]


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
