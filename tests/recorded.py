"""Small cells, stages and solutions of every kind, which take all paths of recorded numbers; and their digests.

`python -m tests.recorded` prints the digests, for `test_same_bytes.py`, which sets the environment of that process.
Where numbers were meant to change, `python -m tests.recorded write` writes them to `digests.json`.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bench
from bench.kernel.engine import computing_with
from bench.lab.measure import measure
from bench.lab.plan import plan
from bench.lab.rows import Measured
from bench.lab.settings import read
from bench.lab.stages import OPTIMUM, optimum
from bench.lab.stages import trained as trained_stage
from bench.learner.train import TrainedBlock, train
from bench.records.exact_values import of as exact_values
from bench.tasks.exact import ExactTask, Solution
from bench.tasks.registry import make
from tests.learner.probes import Notes

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
    "comparisons": [*WEEKLY, "baseline=group", "group.scale=rank", "group.temperature=2", "group.size=3",
                    "advantage=monte_carlo"],
    "time_mean": [*WEEKLY, "group.groups=1", "baseline=time_mean", "advantage=monte_carlo",
                  "update=clip_without_min"],
    "batch_mean": [*WEEKLY, "baseline=batch_mean", "advantage=gae", "grad_clip=joint", "ent_coef=0.01"],
    "cheat": [*WEEKLY, "task=weekly_exam_cheat", "baseline=none", "advantage=gae", "reference=initial"],
    "none": [*WEEKLY, "baseline=none", "advantage=monte_carlo", "task=exam_question"],
    "sde": ["task=pendulum", "exploration=sde", "norm_obs=true", "norm_reward=true", *SEGMENTS, "budget=200"],
    "gaussian": ["task=mountain_car_continuous", *SEGMENTS, "budget=200", "advantage_norm=mean_std",
                 "learning_rate_schedule=linear"],
    "shared layers": ["task=pendulum", "critic.network=shared", "grad_clip=joint", *SEGMENTS, "budget=200"],
    "linear": ["task=random_walk", "policy=linear", "hidden=[7,5]", "budget=4000", "group.size=2"],
}  # fmt: skip
EXACT_RETURNS = (
    "none",
    "cheat",
    "linear",
)  # cells of worlds that are solved, whose exact returns have their own digest
DIGESTS = Path(__file__).with_name("digests.json")  # of every machine
STAGES = (OPTIMUM, "start", "halfway")
SOLUTIONS = ("weekly_exam", "weekly_exam_cheat", "exam_question", "random_walk")


def trained(overrides: list[str]) -> tuple[TrainedBlock, Notes, Any]:
    """Train a small cell; → the block, what it reported, and its exact values."""
    config, notes = bench.compose([*overrides, *SMALL]), Notes()
    with computing_with("kernel"):
        block = train(config, config.seeds, notes)
        return block, notes, exact_values(config, block)


def measured(stage: str) -> Measured:
    """Measure a stage of the weekly exam in the laboratory."""
    given: dict[str, Any] = {
        "tasks": ["weekly_exam"], "baselines": ["none", "critic", "group"], "advantages": ["gae", "monte_carlo"],
        "batches": 8, "batch_multiples": [1, 2], "times": 1, "anchors": 3, "futures": 2, "group_sizes": [2],
        "actions": 2, "companions": 2, "overrides": {"budget": 400, "group.groups": 1, "group.size": 2},
    }  # fmt: skip
    if stage == OPTIMUM:
        given["critics"] = ["exact"]
    settings = read("lab", given).of("weekly_exam")
    planned = plan(settings, "weekly_exam")
    with computing_with("kernel"):
        task = make(planned.config.task)
        now = optimum(task, "weekly_exam", 1.0) if stage == OPTIMUM else trained_stage(planned.config, [0], stage)[0]
        return measure(planned, settings, now)


def solved(task: str, policy: str) -> Solution:
    """Solve an exact world."""
    world = make(bench.compose([f"task={task}"]).task)
    assert isinstance(world, ExactTask)
    with computing_with("kernel"):
        return world.solve(policy, 0.99)


def digests() -> dict[str, str]:
    """Return a digest of each: evaluations, diagnostics, weights, optimiser, streams, quantities, tables."""
    found = {}
    for name, overrides in CELLS.items():
        block, notes, exact = trained(overrides)
        found[name] = digest([notes.evaluations, notes.updates, exact, block.model.get_checkpoint()])
        if name in EXACT_RETURNS:
            found[f"{name}, exact returns"] = digest(notes.exact_returns)
    for stage in STAGES:
        of_stage = measured(stage)
        found[f"laboratory, {stage}"] = digest([of_stage.quantities, of_stage.states])
    for task in SOLUTIONS:
        found |= {f"{task}, {policy}": digest(vars(solved(task, policy))) for policy in ("optimal", "uniform")}
    return found


def of_libraries() -> str:
    """Return a digest of what torch and NumPy make of the same numbers: which settings change anything on a machine."""
    rng = np.random.default_rng(0)
    numbers, matrix = torch.from_numpy(rng.standard_normal(1001)), torch.from_numpy(rng.standard_normal((70, 70)))
    single = numbers.float()
    computed = [single.exp(), single.tanh(), single.abs().log(), single[:27].log_softmax(0), matrix @ matrix,
                matrix.float() @ matrix.float(), torch.linalg.qr(matrix)[0], np.exp(numbers.numpy()),
                np.log(np.abs(numbers.numpy())), np.linalg.solve(matrix.numpy(), matrix.numpy()[0]),
                matrix.numpy() @ matrix.numpy(), single.repeat(100).sum()]  # fmt: skip
    return digest(computed)


def digest(value: Any) -> str:
    """Return the SHA-256 of numbers to their last bit, in whatever they are kept."""
    found = hashlib.sha256()
    _feed(value, found.update)
    return found.hexdigest()[:16]


def _feed(value: Any, update: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, update)
    elif isinstance(value, Mapping):
        for key in value:
            _feed(key, update)
            _feed(value[key], update)
    elif isinstance(value, list | tuple):
        update(f"[{len(value)}".encode())
        for item in value:
            _feed(item, update)
    elif value is None or isinstance(value, str | int | float | bool | np.generic):
        update(repr(value).encode())
    else:
        raise TypeError(f"{type(value)}: say how its bits are to be read")


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        DIGESTS.write_text(json.dumps(digests(), indent=1) + "\n")
        raise SystemExit
    print(json.dumps({"recorded": digests(), "libraries": of_libraries(), "threads": torch.get_num_threads()}))
