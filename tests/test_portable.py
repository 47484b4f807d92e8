"""No recorded number passes through an operation that another processor, library or number of threads rounds otherwise.

`tests/portable.py` says which these are. The same bytes under other settings of this machine: `test_same_bytes.py`.
"""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import bench
from bench.kernel.engine import computing_with
from bench.lab.measure import measure
from bench.lab.plan import plan
from bench.lab.settings import read
from bench.lab.stages import OPTIMUM, optimum, trained
from bench.learner.train import train
from bench.records.exact_values import of as exact_values
from bench.tasks.registry import make
from tests.learner.probes import Notes
from tests.portable import PACKAGE, traced

SMALL = ["seeds=2", "evaluation.points=1", "evaluation.episodes=1", "wandb=disabled"]
SEGMENTS = ["collect=segments", "batch.n_envs=2", "batch.n_steps=32"]
WEEKLY = ["task=weekly_exam", "budget=600", "group.groups=2", "group.size=2"]
CELLS = {
    "ppo": ["task=cartpole", "preset=ppo", *SEGMENTS, "budget=200"],
    "critic, episodes": ["task=acrobot", "task.time_limit=40", "budget=700"],
    "vine": [*WEEKLY, "baseline=vine", "advantage=monte_carlo", "group.groups=1"],
    "grpo": [*WEEKLY, "baseline=grpo", "advantage=nstep", "reference=initial", "update=kl_penalty"],
    "process": [*WEEKLY, "baseline=grpo", "group.credit=process", "advantage=monte_carlo"],
    "rloo": [*WEEKLY, "baseline=rloo", "advantage=td0", "reference=initial", "reference.kind=k3",
             "reference.placement=loss", "reference.importance=true", "aggregate=episode"],
    "alive only": [*WEEKLY, "baseline=group", "group.alive_only=true", "advantage=monte_carlo", "update=vanilla"],
    "rank": [*WEEKLY, "baseline=group", "group.scale=rank", "advantage=monte_carlo", "update=unclipped"],
    "time_mean": [*WEEKLY, "group.groups=1", "baseline=time_mean", "advantage=monte_carlo",
                  "update=clip_without_min"],
    "batch_mean": [*WEEKLY, "baseline=batch_mean", "advantage=gae", "grad_clip=joint", "ent_coef=0.01"],
    "none": [*WEEKLY, "baseline=none", "advantage=monte_carlo", "task=exam_question"],
    "sde": ["task=pendulum", "exploration=sde", "norm_obs=true", "norm_reward=true", *SEGMENTS, "budget=200"],
    "gaussian": ["task=mountain_car_continuous", *SEGMENTS, "budget=200", "advantage_norm=mean_std",
                 "learning_rate_schedule=linear"],
    "linear": ["task=random_walk", "policy=linear", "hidden=[7,5]", "budget=4000", "group.size=2"],
}  # fmt: skip


@pytest.mark.parametrize("overrides", CELLS.values(), ids=CELLS)
def test_training(overrides: list[str]) -> None:
    config = bench.compose([*overrides, *SMALL])
    with traced() as found, computing_with("kernel"):
        block = train(config, config.seeds, Notes())
        exact_values(config, block)
    assert sum(block.model.updates) > 0
    assert sorted(set(found)) == []


@pytest.mark.parametrize("stage", [OPTIMUM, "start", "halfway"])
def test_the_laboratory(stage: str) -> None:
    given = {"tasks": ["weekly_exam"], "baselines": ["none", "critic", "group"], "advantages": ["gae", "monte_carlo"],
             "batches": 8, "batch_multiples": [1, 2], "times": 1, "anchors": 3, "futures": 2, "group_sizes": [2],
             "actions": 2, "companions": 2, "overrides": {"budget": 400, "group.groups": 1, "group.size": 2},
             }  # fmt: skip
    if stage == OPTIMUM:
        given["critics"] = ["exact"]
    settings = read("lab", given).of("weekly_exam")
    planned = plan(settings, "weekly_exam")
    with traced() as found, computing_with("kernel"):
        task = make(planned.config.task)
        now = optimum(task, "weekly_exam", 1.0) if stage == OPTIMUM else trained(planned.config, 0, stage)
        measured = measure(planned, settings, now)
    assert measured.quantities
    assert sorted(set(found)) == []


@pytest.mark.parametrize("task", ["weekly_exam", "weekly_exam_cheat", "exam_question", "random_walk"])
@pytest.mark.parametrize("policy", ["optimal", "uniform"])
def test_exact_solutions(task: str, policy: str) -> None:
    world = make(bench.compose([f"task={task}"]).task)
    with traced() as found, computing_with("kernel"):
        assert np.isfinite(world.solve(policy, 0.99).objective)  # type: ignore[attr-defined]
    assert sorted(set(found)) == []


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: x.exp(), "torch.exp"),
        (lambda x: x.sum(), "torch.sum"),
        (lambda x: x @ x, "torch.mm"),
        (lambda x: x.softmax(0), "torch._softmax"),
        (lambda x: x.mean(0), "torch.mean"),
        (lambda x: torch.add(x, x, alpha=3), "torch.add with alpha=3"),
        (lambda x: x**0.5, "torch.pow by 0.5"),
        (lambda x: np.exp(x.numpy()), "numpy.exp"),
        (lambda x: np.linalg.norm(x.numpy()), "numpy.linalg.norm"),
        (lambda x: np.einsum("ij,jk,kl->il", x.numpy(), x.numpy(), x.numpy()), "numpy.einsum of 3"),
    ],
)
def test_the_tracer_names_what_is_forbidden(operation, name, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("tests.portable.PACKAGE", Path(__file__).parent)
    with traced() as found:
        operation(torch.ones(2, 2))
    assert [each.partition(" in ")[0] for each in found] == [name]


RECORDED = [path for part in ("arms", "learner", "lab", "tasks", "kernel") for path in (PACKAGE / part).glob("*.py")]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_operator_and_no_library_that_cannot_be_traced(path: Path) -> None:
    """`@` is BLAS, and `**` is the C library's power where it is no square of an array."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            found.append(f"line {node.lineno}: @")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            square = isinstance(node.right, ast.Constant) and node.right.value == 2
            if not square and not (isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if any(name.partition(".")[0] == "scipy" for name in (module, *names)):
            found.append(f"line {node.lineno}: scipy")
    if path.name == "optimiser.py":  # of engine=torch
        found = [each for each in found if "self.beta" not in each]
    assert found == []
