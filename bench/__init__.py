"""Controlled ablations of policy-gradient variants.

>>> config = bench.compose(["baseline=group", "task=cartpole", "seeds=3"])
>>> directory = bench.run(config)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.config.schema import Config


def compose(overrides: Sequence[str] = ()) -> "Config":
    """Return the validated configuration of one cell, from overrides as on the command line.

    Raises:
        bench.errors.UserError: one line that says what is wrong with them and what is allowed.
    """
    from bench.cells.composition import compose  # imports Hydra, which takes a third of a second
    from bench.execution.checks import check

    config = compose(overrides)
    check(config)
    return config


def run(config: "Config") -> Path:
    """Train the cell's seeds that are not done, and return the folder of their block.

    Raises:
        bench.errors.UserError: where the results folder cannot be written or a block in it is damaged.
    """
    from bench.execution.execute import run  # imports pyarrow, which takes a third of a second

    return run(config)
