"""`tuning.json` of a study: which settings its arms try, and which won. An index of blocks; the scores are theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.config.build import build
from bench.config.schema import Config, Tuning
from bench.records.block import study_directory
from bench.records.index import TUNING


@dataclass(frozen=True)
class Trial:
    """A setting that is tried: its number, its values of the keys the arm reads, and the hash of its cell."""

    number: int
    values: Mapping[str, Any]
    hash: str


@dataclass(frozen=True)
class Candidate:
    """An arm on a task: its settings so far, the winner's number and the hash of the cell that judges it."""

    task: str
    arm: str
    seeds: tuple[int, ...]
    settings: int
    trials: tuple[Trial, ...]
    winner: int | None = None
    judged: str | None = None


def write(config: Config, tuning: Tuning, candidates: Sequence[Candidate]) -> None:
    """Put candidates into the file of the study `config` belongs to, in place of earlier ones of their names.

    Raises:
        UserError: where the folder cannot be written, or the file is damaged.
    """

    def merged(index: Mapping[str, Any]) -> dict[str, Any]:
        known = {(entry["task"], entry["arm"]): entry for entry in index["candidates"]}
        known |= {(each.task, each.arm): asdict(each) for each in candidates}
        return {"design": asdict(tuning), "candidates": list(known.values())}

    TUNING.update(study_directory(config), merged)


def read(study: Path) -> list[Candidate]:
    """The candidates of a study's folder; none where nothing was tuned. Raises `UserError` for a damaged file."""
    return [build(Candidate, entry, TUNING.file) for entry in TUNING.read(study)["candidates"]]


def summary(study: Path) -> str | None:
    """One line for `bench status`: what waits for what; None where nothing was tuned."""
    found = read(study)
    if not found:
        return None
    tried, planned = sum(len(each.trials) for each in found), sum(each.settings for each in found)
    won = sum(each.winner is not None for each in found)
    waiting = f"; {len(found) - won} are judged once all their settings are finished" if won < len(found) else ""
    return f"tuning: {tried} of {planned} settings planned, {won} of {len(found)} arms have a winner{waiting}"
