"""What a launcher of Hydra's is given of a cell, and the cell that a worker makes of it."""

import json
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from bench.cells.grids import Cell
from bench.config.parse import parse, to_mapping
from bench.config.schema import Config


def job(cell: Cell) -> list[str]:
    """What a launcher is given of a cell: its overrides, for the record, and last its settings, for `JobLoader`."""
    return [*cell.overrides, json.dumps(to_mapping(cell.config))]


class JobLoader:
    """Hydra's loader of configurations, in a launcher's jobs: composes nothing, which would be half of a tiny cell.

    A job's configuration holds the cell's settings as one text, and only Hydra's section beside it: launchers keep a
    copy of it of every job, and there may be thousands.
    """

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The configuration of the job that `job` described."""
        *overrides, settings = sweep_overrides
        config = OmegaConf.masked_copy(master_config, "hydra")
        with read_write(config), open_dict(config):
            config.hydra.overrides.task = overrides
            config.hydra.runtime.choices, config.hydra.runtime.config_sources = {}, []  # what nothing was composed from
            config.settings = settings
        return config


class JobCallbacks:
    """Hydra's callbacks in a launcher's jobs: the user's, and last one that keeps a job's return small.

    Launchers keep what every job returns: with copies of its configurations, of a thousand jobs that is 100 MB.
    """

    def __init__(self, of_user: Any) -> None:
        self._of_user = of_user

    def on_job_start(self, **given: Any) -> None:
        """Tell the user's."""
        self._of_user.on_job_start(**given)

    def on_job_end(self, *, job_return: Any, **given: Any) -> None:
        """Tell the user's, then forget all that a job returns but its outcome."""
        self._of_user.on_job_end(job_return=job_return, **given)
        job_return.cfg = job_return.hydra_cfg = job_return.overrides = None


def settings_of(job: DictConfig) -> Config:
    """The cell of a job's configuration, which was validated when it was planned."""
    return parse(json.loads(job.settings), recorded=False)
