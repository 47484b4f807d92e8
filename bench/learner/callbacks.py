"""Stable-Baselines3's progress bar for replicas in lockstep."""

from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback, ProgressBarCallback
from stable_baselines3.common.type_aliases import MaybeCallback


def with_progress_bar(callback: MaybeCallback) -> list[BaseCallback]:
    """Return the callbacks a user gave, in any of the ways SB3 takes them, and the bar behind them."""
    given = callback if isinstance(callback, list) else [] if callback is None else [callback]
    return [*(one if isinstance(one, BaseCallback) else ConvertCallback(one) for one in given), _ProgressBar()]


class _ProgressBar(ProgressBarCallback):
    """SB3's adds up the steps of all environments, while the total is that of one seed."""

    def _on_training_start(self) -> None:
        super()._on_training_start()
        self.begun = self.model.num_timesteps

    def _on_step(self) -> bool:
        self.pbar.update(self.num_timesteps - self.begun - self.pbar.n)
        return True
