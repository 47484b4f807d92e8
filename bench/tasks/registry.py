"""The tasks by name, and how a configuration becomes one of them."""

import dataclasses
from typing import Any

from bench.config import TaskConfig, build
from bench.errors import UserError, unknown
from bench.tasks.base import Task
from bench.tasks.cartpole import CartPole
from bench.tasks.weekly_exam import WeeklyExam

TASKS: dict[str, type[Task]] = {
    "cartpole": CartPole,
    "weekly_exam": WeeklyExam,
}
GYMNASIUM_TASKS = {"CartPole-v1": "cartpole"}  # Gymnasium ids that have a batched equal


def make(config: TaskConfig) -> Task:
    """The task of a configuration; its time limit is the configuration's. Raises `UserError`."""
    if config.name not in TASKS:
        raise unknown("task", config.name, TASKS)
    cls: type[Any] = TASKS[config.name]
    knobs = dict(config.knobs)
    if any(field.name == "time_limit" for field in dataclasses.fields(cls)):
        if config.time_limit is not None and config.time_limit < 1:
            raise UserError(f"task.time_limit={config.time_limit}: must be at least 1 step")
        knobs["time_limit"] = config.time_limit
    elif config.time_limit is not None:
        raise UserError(f"task.time_limit={config.time_limit}: {config.name} ends by itself; must be null")
    task: Task = build(cls, knobs, path="task")
    return task
