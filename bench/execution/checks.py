"""What only the learner, a library or this machine can refuse: asked before anything runs."""

from bench.config.schema import Config
from bench.kernel.library import library
from bench.tasks.registry import make


def check(config: Config) -> None:
    """Refuse a cell that cannot be trained here: no kernel or device, an unfit reference, settings its library lacks.

    Raises:
        UserError: with the first reason.
    """
    if config.reference.name == "checkpoint":
        from bench.learner.reference import check_reference  # imports torch, which takes seconds

        task = make(config.task)
        check_reference(config.reference, config.task.name, task.observation_space, task.action_space, config.seeds)
    if config.engine == "kernel" and not config.is_peer:
        library()
    if config.device != "cpu":
        from bench.learner.device import check_device  # imports torch, which takes seconds

        check_device(config.device, config.engine)
    if config.is_peer:
        from bench.peers.check import check as check_peer  # imports torch, which takes seconds

        check_peer(config)
