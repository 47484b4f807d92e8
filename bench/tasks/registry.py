"""The tasks by name, and how a configuration becomes one of them."""

import dataclasses
from typing import Any

import gymnasium

from bench.config import TaskConfig, build
from bench.errors import UserError, unknown
from bench.tasks.base import Task
from bench.tasks.cartpole import CartPole
from bench.tasks.weekly_exam import WeeklyExam

TASKS: dict[str, type[Task]] = {
    "cartpole": CartPole,
    "weekly_exam": WeeklyExam,
}
GYMNASIUM_TASKS = {  # by Gymnasium id: Gymnasium's own, and below `bench/` the worlds this package registers there
    "CartPole-v1": "cartpole",
    "bench/WeeklyExam-v0": "weekly_exam",
}


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


for _id, _name in GYMNASIUM_TASKS.items():
    if _id.startswith("bench/"):
        _task = TASKS[_name]()
        gymnasium.register(
            _id,
            entry_point="bench.tasks.column_env:ColumnEnv",
            max_episode_steps=_task.time_limit,
            kwargs={"task": _task},
        )
