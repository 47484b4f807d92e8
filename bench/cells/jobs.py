"""What a launcher of Hydra's is given of a cell, and the cell that a worker makes of it."""

import json

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


def settings_of(job: DictConfig) -> Config:
    """The cell of a job's configuration, which was validated when it was planned."""
    return parse(json.loads(job.settings), recorded=False)
