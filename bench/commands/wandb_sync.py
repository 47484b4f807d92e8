"""`python -m bench wandb-sync study=NAME`: make up for every mirror that is missing, and send it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.config.arguments import read
from bench.errors import counted
from bench.records import mirroring
from bench.records.wandb_client import check_timeout


@dataclass(frozen=True)
class Arguments:
    """Whose mirrors, whether they are sent, and the seconds without another run after which it is given up."""

    study: str = ""
    results: str = "results"
    wandb: Literal["online", "offline"] = "online"
    timeout: float = 60.0


def main(words: Sequence[str]) -> int:
    """Write and send the missing runs and say how many. Raises `UserError`."""
    asked = read("wandb-sync", words, Arguments)
    check_timeout(asked.timeout)
    mirroring.name_unheeded(lambda line: print(f"warning: {line}", file=sys.stderr))
    written, there, sent, folder = mirroring.sync(
        Path(asked.results),
        asked.study,
        upload=asked.wandb == "online",
        timeout=asked.timeout,
        say=lambda line: print(line, file=sys.stderr),
    )
    told = f", {sent} sent" if asked.wandb == "online" else ""
    print(f"{counted(written, 'run')} written, {there} there before{told}: {folder}")
    return 0
