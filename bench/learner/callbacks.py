"""Stable-Baselines3's callbacks for replicas in lockstep: in which ways they are given, and its progress bar."""

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback, ProgressBarCallback

from bench.errors import UserError
from bench.tasks.spaces import shown


def taken(callback: object, progress_bar: bool = False) -> BaseCallback:
    """Return one callback of all that a user gave: one, several in a list, functions, or None. Raises `UserError`."""
    given = list(callback) if isinstance(callback, list | tuple) else [] if callback is None else [callback]
    callbacks = [_one(each) for each in given] + ([_ProgressBar()] if progress_bar else [])
    return callbacks[0] if len(callbacks) == 1 else CallbackList(callbacks)


def _one(given: object) -> BaseCallback:
    if isinstance(given, BaseCallback):
        return given
    if callable(given):
        return ConvertCallback(given)
    raise UserError(
        f"callback={shown(given)}: must be a callback of Stable-Baselines3, a function of locals and globals, or a "
        f"list of them"
    )


class _ProgressBar(ProgressBarCallback):
    """SB3's adds up the steps of all environments, while the total is that of one seed."""

    def _on_training_start(self) -> None:
        super()._on_training_start()
        self.begun = self.model.num_timesteps

    def _on_step(self) -> bool:
        self.pbar.update(self.num_timesteps - self.begun - self.pbar.n)
        return True
