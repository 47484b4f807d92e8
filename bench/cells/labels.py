"""What the cells of one command are called, so that no two that differ are called the same."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.config import names
from bench.config.identity import cell_hash, factors
from bench.config.schema import Config


def labels(configs: Sequence[Config]) -> Mapping[tuple[str, str], str]:
    """Return by hash and name of the arm what to call each cell among these: `cartpole ppo (gamma=0.9)`."""
    cells = [names.Named(each.task_name, each.arm_name, cell_hash(each), factors(each)) for each in configs]
    tasks = names.task_labels(cells)
    arms = names.arm_labels([replace(cell, task=task) for cell, task in zip(cells, tasks, strict=True)])
    return {(cell.hash, cell.arm): f"{task} {arm}" for cell, task, arm in zip(cells, tasks, arms, strict=True)}
