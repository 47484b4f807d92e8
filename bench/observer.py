"""What a training run tells whoever records it. The learner knows no files; a recorder knows no tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

Row = Mapping[str, float | int | str]
EXACT = "exact_"  # what the names of computed numbers begin with, beside those of episodes
RETURN_OF = "return_of_"  # what the return of one kind of episode is called, before its name, where there are several
Save = Callable[[BinaryIO], None]  # writes to an open file; what it writes loads with `weights_only`


class Observer(Protocol):
    """Receives the rows of `training.parquet` and `episodes.parquet` as they come into being."""

    def on_update(self, rows: Sequence[Row]) -> None:
        """One row per seed after an update: `seed`, `step`, `update`, then the diagnostics."""

    def on_evaluation(self, rows: Sequence[Row]) -> None:
        """One row per episode: `seed`, `step`, `mode`, `episode`, `return`, `length` (`true_return`)."""

    def on_exact_returns(self, rows: Sequence[Row]) -> None:
        """One row per seed and mode of an evaluation: `seed`, `step`, `mode`, `exact_return` (`exact_true_return`).

        It is called only where the world is solved and the policy is a table.
        """

    def on_progress(self, fraction: float, current_return: float | None) -> None:
        """Share of the block's budget used (0 to 1), and the latest mean deterministic evaluation return."""

    def on_checkpoint(self, save: Save | None) -> None:
        """Between two updates: `save` writes what a later run needs to go on from here bit for bit.

        None where that cannot be had. May raise, to stop the run here.
        """


@dataclass(frozen=True)
class SeedOutcome:
    """How one seed ended. `cause` is set for failed seeds; `unused_budget` counts steps a last batch did not fit in."""

    status: Literal["done", "failed"]
    cause: str | None
    env_steps: int
    updates: int
    unused_budget: int


class Trained(Protocol):
    """A finished block: what the record needs beside the rows."""

    @property
    def outcomes(self) -> Mapping[int, SeedOutcome]:
        """How each seed ended."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """Parameters of one replica, by network: {"actor": …, "critic": …}."""

    def save_policy(self, path: Path) -> None:
        """Write `policy.zip`: weights (loadable with `weights_only`) and JSON; nothing in it is executed."""

    def save_checkpoint(self, path: Path) -> None:
        """Write `checkpoint.pt`: everything needed to go on training; loadable with `weights_only`."""
