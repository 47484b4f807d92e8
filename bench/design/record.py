"""`tuning.json` of a study: which settings its arms try, and which won. An index of blocks; the scores are theirs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.config.schema import Config, Tuning
from bench.errors import UserError
from bench.records import files
from bench.records.block import study_directory

FILE = "tuning.json"
SCHEMA = 1


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


def write(config: Config, tuning: Tuning, candidates: Sequence[Candidate]) -> Path:
    """Put candidates into the file of the study `config` belongs to, in place of earlier ones of their names.

    Raises:
        UserError: where the folder cannot be written, or the file is damaged.
    """
    study = study_directory(config)
    path = study / FILE
    try:
        with files.locked(study):
            known = {(each.task, each.arm): each for each in read(study)}
            known |= {(each.task, each.arm): each for each in candidates}
            entries = [asdict(each) for each in known.values()]
            files.write_json(path, {"schema": SCHEMA, "design": asdict(tuning), "candidates": entries})
    except OSError as error:
        raise UserError(f"results={config.results}: cannot write {error.filename}: {error.strerror}") from error
    return path


def read(study: Path) -> list[Candidate]:
    """The candidates of a study's folder; none where nothing was tuned. Raises `UserError` for a damaged file."""
    path = study / FILE
    if not path.exists():
        return []
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        return [_candidate(entry) for entry in data["candidates"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"damaged index {path} ({type(error).__name__}: {error}); nothing was changed") from error


def _candidate(entry: Mapping[str, Any]) -> Candidate:
    trials = tuple(Trial(**trial) for trial in entry["trials"])
    return Candidate(**{**entry, "seeds": tuple(entry["seeds"]), "trials": trials})


def summary(study: Path) -> str | None:
    """One line for `bench status`: what waits for what; None where nothing was tuned."""
    found = read(study)
    if not found:
        return None
    tried, planned = sum(len(each.trials) for each in found), sum(each.settings for each in found)
    won = sum(each.winner is not None for each in found)
    waiting = f"; {len(found) - won} are judged once all their settings are finished" if won < len(found) else ""
    return f"tuning: {tried} of {planned} settings planned, {won} of {len(found)} arms have a winner{waiting}"
