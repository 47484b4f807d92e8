"""`python -m bench wandb-sync study=NAME`: make up for every mirror that is missing, and upload it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.config.arguments import read
from bench.errors import counted
from bench.records import mirror


@dataclass(frozen=True)
class Arguments:
    """Whose mirrors, and whether they are uploaded."""

    study: str = ""
    results: str = "results"
    wandb: Literal["online", "offline"] = "online"


def main(words: Sequence[str]) -> int:
    """Write the missing runs and say how many. Raises `UserError`."""
    asked = read("wandb-sync", words, Arguments)
    made, there, folder = mirror.sync(Path(asked.results), asked.study, upload=asked.wandb == "online")
    print(f"{counted(made, 'run')} written, {there} there before: {folder}")
    return 0
