"""Batched environments, their exact solutions, and the registry. Imports neither torch nor Stable-Baselines3."""

from bench.tasks.base import Array, Step, Task
from bench.tasks.batched import BatchedEnv, Transition
from bench.tasks.registry import GYMNASIUM_TASKS, TASKS, make

__all__ = ["GYMNASIUM_TASKS", "TASKS", "Array", "BatchedEnv", "Step", "Task", "Transition", "make"]
