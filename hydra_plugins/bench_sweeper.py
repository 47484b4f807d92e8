"""Hydra's door to `bench.commands.train.sweep`. Hydra imports this file at every start, so it holds nothing else."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class BenchSweeperConf:
    """Settings of `hydra/sweeper: bench`: none."""

    _target_: str = "hydra_plugins.bench_sweeper.BenchSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="bench", node=BenchSweeperConf, provider="bench")


class BenchSweeper(Sweeper):
    """Expands a study's grids or a command line's lists into cells and launches those that are not done."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over; the launcher's jobs get cells that are composed already."""
        from bench.cells.jobs import JobCallbacks, JobLoader

        # Launchers and their jobs call few methods of Hydra's, and these classes have only those.
        callbacks: Any = JobCallbacks(hydra_context.callbacks)
        context = HydraContext(config_loader=JobLoader(), callbacks=callbacks)  # type: ignore[arg-type]
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=task_function, config=config
        )
        self.loader = hydra_context.config_loader
        self.config = config

    def sweep(self, arguments: list[str]) -> Any:
        """Run what `arguments` ask for. Raises what `bench.commands.train.sweep` does."""
        from bench.commands.train import sweep

        return sweep(self.config, arguments, self.loader.load_sweep_config, self.launcher.launch)
