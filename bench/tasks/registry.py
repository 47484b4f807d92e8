"""The tasks by name, and how a configuration becomes one of them."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium

from bench import plugin
from bench.config.build import build
from bench.config.schema import Score, TaskConfig
from bench.errors import UserError, unknown
from bench.tasks.acrobot import Acrobot
from bench.tasks.base import Task
from bench.tasks.batched import BatchedEnv
from bench.tasks.cartpole import CartPole
from bench.tasks.column_env import ColumnEnv
from bench.tasks.delayed_exam import DelayedExam
from bench.tasks.environments import Environments
from bench.tasks.exact import ExactTask
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.foreign import CheckedEnv, ForeignEnv, GymTask
from bench.tasks.mountain_car import MountainCar, MountainCarContinuous
from bench.tasks.pendulum import Pendulum
from bench.tasks.random_walk import RandomWalk
from bench.tasks.weekly_exam import WeeklyExam, WeeklyExamCheat

TASKS: dict[str, type[Task]] = {
    "cartpole": CartPole,
    "acrobot": Acrobot,
    "mountain_car": MountainCar,
    "mountain_car_continuous": MountainCarContinuous,
    "pendulum": Pendulum,
    "weekly_exam": WeeklyExam,
    "weekly_exam_cheat": WeeklyExamCheat,
    "exam_question": ExamQuestion,
    "random_walk": RandomWalk,
    "delayed_exam": DelayedExam,
    "gym": GymTask,
}
# The knobs that each task had when defaults began to be left out of hashes (see `knobs`). This list never changes.
_EXAM = ("luck", "reward_shift", "reward_cap", "pay", "observe_last_score")
FIRST_KNOBS: Mapping[str, Sequence[str]] = {
    "weekly_exam": _EXAM,
    "weekly_exam_cheat": ("reward", *_EXAM),
    "exam_question": ("answers",),
    "gym": ("id",),
}
GYMNASIUM_TASKS = {  # by Gymnasium id: Gymnasium's own, and below `bench/` the worlds this package registers there
    "CartPole-v1": "cartpole",
    "Acrobot-v1": "acrobot",
    "MountainCar-v0": "mountain_car",
    "MountainCarContinuous-v0": "mountain_car_continuous",
    "Pendulum-v1": "pendulum",
    "bench/WeeklyExam-v0": "weekly_exam",
    "bench/WeeklyExamCheat-v0": "weekly_exam_cheat",
    "bench/ExamQuestion-v0": "exam_question",
    "bench/RandomWalk-v0": "random_walk",
    "bench/DelayedExam-v0": "delayed_exam",
}


def make(config: TaskConfig) -> Task:
    """The task of a configuration; its time limit is the configuration's. Raises `UserError`."""
    knobs = dict(config.knobs)
    if "plugin" in knobs:
        return _make_plugin(knobs.pop("plugin"), knobs, config.time_limit)
    if config.name not in TASKS:
        raise unknown("task", config.name, TASKS)
    cls: type[Any] = TASKS[config.name]
    if any(field.name == "time_limit" for field in dataclasses.fields(cls)):
        if config.time_limit is not None and config.time_limit < 1:
            raise UserError(f"task.time_limit={config.time_limit}: must be at least 1 step")
        knobs["time_limit"] = config.time_limit
    elif config.time_limit is not None:
        raise UserError(f"task.time_limit={config.time_limit}: {config.name} ends by itself; must be null")
    task: Task = build(cls, knobs, path="task")
    return task


def _make_plugin(name: str, knobs: dict[str, Any], time_limit: int | None) -> Task:
    """A task of the user's own; without a limit in the configuration it keeps its own."""
    cls: Any = plugin.load("task", name).function
    if not (isinstance(cls, type) and issubclass(cls, Task) and dataclasses.is_dataclass(cls)):
        raise UserError(f"task.plugin={name}: must be a dataclass derived from bench.tasks.base.Task")
    task: Task = build(cls, knobs if time_limit is None else knobs | {"time_limit": time_limit}, path="task")
    return task


def knobs(config: TaskConfig, task: Task) -> dict[str, Any]:
    """Return the knobs of a configuration as the task took them, so that 1 and 1.0, or true and "true", are one cell.

    A knob that was added to a task later has a frozen default, the behaviour before it existed, and is left out while
    it has that value: so it moves no hash of a cell that was recorded before.
    """
    first = FIRST_KNOBS.get(config.name, ()) if "plugin" not in config.knobs else config.knobs
    taken = {key: getattr(task, key, value) for key, value in config.knobs.items()}
    return {key: value for key, value in taken.items() if key in first or value != _default(task, key)}


def _default(task: Task, key: str) -> Any:
    """Return the default of a task's field; `MISSING`, which no value equals, where it has none."""
    found = [field for field in dataclasses.fields(task) if field.name == key]  # type: ignore[arg-type]  # tasks are
    return found[0].default if found else dataclasses.MISSING


def score_bounds(config: TaskConfig, task: Task) -> Score:
    """The bounds of the normalised score, what is null in the configuration replaced by the exact value.

    Exact are the expected returns of the uniformly random and of the best policy, for the knobs as they are. Raises
    `UserError` for a null where the task has no exact solution.
    """
    bounds = {}
    policies: Mapping[str, Literal["uniform", "optimal"]] = {"random": "uniform", "reference": "optimal"}
    for key, policy in policies.items():
        given = getattr(config.score, key)
        if given is None and not isinstance(task, ExactTask):
            raise UserError(f"task.score.{key}=null: {config.name} has no exact solution; give a number")
        if given is None and isinstance(task, ExactTask):
            given = _exact_bound(task, policy) if _is_hashable(task) else round(task.solve(policy).objective, 6)
        bounds[key] = given
    return Score(**bounds)


def kind_bounds(task: Task) -> dict[str, Score]:
    """The exact bounds of each kind of episode, for the knobs as they are; empty where there is but one kind.

    Those of `score_bounds` are the means over the kinds, where the configuration gives no others.
    """
    if not isinstance(task, ExactTask) or not task.kinds:
        return {}
    random, best = (task.solve(policy).objectives for policy in ("uniform", "optimal"))
    return {kind: Score(round(random[kind], 6), round(best[kind], 6)) for kind in task.kinds}


@functools.lru_cache(maxsize=256)
def _exact_bound(task: ExactTask, policy: Literal["uniform", "optimal"]) -> float:
    """The expected return of a policy, which is computed once for the thousands of cells that a task may have."""
    return round(task.solve(policy).objective, 6)


def _is_hashable(task: Task) -> bool:
    """Whether equal tasks are known as such: a plug-in's fields may be anything."""
    try:
        hash(task)
    except TypeError:
        return False
    return True


def by_id(id: str) -> Task:
    """The task of a name or of a Gymnasium id, with its default knobs. Raises `UserError`."""
    name = GYMNASIUM_TASKS.get(id, id)
    if name in TASKS and name != "gym":
        return TASKS[name]()
    if id in gymnasium.registry or ":" in id:
        plugin.allow([plugin.module_of(id)])
        return GymTask(id)
    raise unknown("task", id, [*TASKS, *GYMNASIUM_TASKS])


def environments(
    task: Task,
    seeds: Sequence[int],
    n_envs: int,
    pool: str = "main",
    evaluation: int | Sequence[int] | None = None,
) -> Environments:
    """The environments of a task, `n_envs` for each seed; see `Environments` for the arguments."""
    if isinstance(task, GymTask):
        return ForeignEnv(task, seeds, n_envs, pool, evaluation)
    return BatchedEnv(task, seeds, n_envs, pool, evaluation)


def gymnasium_env(task: Task) -> "gymnasium.Env[Any, Any]":
    """One environment of a task for other libraries: Gymnasium's own where there is one, else the task itself.

    The time limit is the task's, as Gymnasium's `TimeLimit`. Around what is not Gymnasium's own is a `CheckedEnv`.
    """
    limit = -1 if task.time_limit is None else task.time_limit  # -1: none, not even the id's own
    for id, name in GYMNASIUM_TASKS.items():
        if type(task) is TASKS[name] and not id.startswith("bench/"):
            return gymnasium.make(id, max_episode_steps=limit)
    env = task.make() if isinstance(task, GymTask) else CheckedEnv(ColumnEnv(task), str(task))
    return env if task.time_limit is None else gymnasium.wrappers.TimeLimit(env, task.time_limit)


for _id, _name in GYMNASIUM_TASKS.items():
    if _id.startswith("bench/"):
        _task = TASKS[_name]()
        gymnasium.register(
            _id,
            entry_point="bench.tasks.column_env:ColumnEnv",
            max_episode_steps=_task.time_limit,
            kwargs={"task": _task},
        )
