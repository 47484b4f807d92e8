"""Batched environments, their exact solutions, and the registry. Imports neither torch nor Stable-Baselines3."""

from bench.tasks.base import Array, Step, Task
from bench.tasks.batched import BatchedEnv
from bench.tasks.environments import Environments, Transition
from bench.tasks.registry import GYMNASIUM_TASKS, TASKS, by_id, environments, make

__all__ = [
    "GYMNASIUM_TASKS",
    "TASKS",
    "Array",
    "BatchedEnv",
    "Environments",
    "Step",
    "Task",
    "Transition",
    "by_id",
    "environments",
    "make",
]
