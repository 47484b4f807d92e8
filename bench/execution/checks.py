"""What only the task, the learner, a library or this machine can refuse: asked before anything runs."""

import warnings

from bench.config.schema import Config
from bench.errors import RunWarning, UserError
from bench.kernel.library import library
from bench.records import scalars
from bench.tasks.base import Task
from bench.tasks.exact import ExactTask
from bench.tasks.foreign import GymTask
from bench.tasks.probe import warnings_of
from bench.tasks.registry import make


def check(config: Config) -> None:
    """Refuse a cell that cannot be trained here: no kernel or device, an unfit reference, settings its library lacks.

    A task of somebody else is tried first, and what a user should know of it is a `RunWarning`.

    Raises:
        UserError: with the first reason.
    """
    task = make(config.task)
    if isinstance(task, GymTask):
        _check_limit(task)
        _try(config, task, f"task.id={task.id}")
    elif "plugin" in config.task.knobs:
        _try(config, task, f"task.plugin={config.task.knobs['plugin']}")
    if isinstance(task, ExactTask) and task.unsolved is not None:
        episodes = f"{config.evaluation.episodes} episodes"
        what = f"{config.task_name} is not solved, so each evaluation samples {episodes} of both policies"
        warnings.warn(f"{what} ({task.unsolved})", RunWarning, stacklevel=2)
    if config.tensorboard:
        scalars.check()
    if config.reference.name == "checkpoint":
        from bench.learner.reference import check_reference  # imports torch, which takes seconds

        check_reference(
            config.reference, config.task.name, task.observation_space, task.action_space, config.stream_seeds
        )
    if config.engine == "kernel" and not config.is_peer:
        library()
    if config.device != "cpu":
        from bench.learner.device import check_device  # imports torch, which takes seconds

        check_device(config.device, config.engine)
    if config.is_peer:
        from bench.peers.check import check as check_peer  # imports torch, which takes seconds

        check_peer(config)


def _check_limit(task: GymTask) -> None:
    """Refuse an environment of somebody else whose episodes may never end. Raises `UserError`."""
    if task.time_limit is None:
        raise UserError(
            f"task.id={task.id}: it is registered without a time limit, and evaluations play complete episodes; give "
            f"task.time_limit, the most steps of one, such as task.time_limit=1000"
        )


def _try(config: Config, task: Task, what: str) -> None:
    """Refuse a task of somebody else that cannot be used, and warn of what is odd in it. Raises `UserError`."""
    for line in warnings_of(task, what, norm_obs=config.norm_obs):
        warnings.warn(line, RunWarning, stacklevel=3)
