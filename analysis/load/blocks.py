"""Result folders on disk: what a study planned, and its blocks, each read whole or with the reason why not."""

import hashlib
import io
import json
import re
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import UserError, unknown
from bench.records.block import is_intact

SCHEMA = 1
EVALUATIONS, TRAINING = "evaluations.parquet", "training.parquet"
POLICY = "policy.zip"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    EVALUATIONS: ("seed", "step", "mode", "episode", "return", "length"),
    TRAINING: ("seed", "step", "update"),
}

_SEED_STATUS = {"running": "unfinished", "failed": "failed", "done": "done"}
_RECORD_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "status": str,
    "study": str,
    "task": str,
    "arm": str,
    "hash": str,
    "factors": dict,
    "seeds": dict,
    "budget": int,
    "score": dict,
}


class Damaged(Exception):
    """Why a file cannot be used."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be used: its path below the results folder, and the cause."""

    path: str
    cause: str

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}"


@dataclass(frozen=True)
class Block:
    """One block as read: its record, the status of each seed, and its rows (none where it did not finish)."""

    study: str
    path: str
    record: Mapping[str, Any]
    statuses: Mapping[int, str]
    tables: Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Cell:
    """A cell a study planned."""

    study: str
    task: str
    arm: str
    hash: str
    seeds: tuple[int, ...]


def study_folder(root: Path, name: str) -> Path:
    """The folder of a study below `root`. Raises `UserError`, with the studies there are, if it does not exist."""
    parts = ("study.json", "runs", "lab")  # any of them makes a folder a study's
    found = (path for path in root.glob("[!.]*") if path.is_dir())
    existing = sorted(path.name for path in found if any((path / part).exists() for part in parts))
    if not existing:
        raise UserError(f"study={name}: {root} has no results yet; 'python -m bench study=quick' makes some")
    if name not in existing:
        raise unknown("study", name, existing)
    return root / name


def plan(folder: Path, root: Path, problems: list[Problem]) -> tuple[Mapping[str, Any], list[Cell]]:
    """The study's own file: its header and its planned cells. Cells run by hand have no such file."""
    path = folder / "study.json"
    if not path.exists():
        return {}, []
    try:
        header = read_json(path)
        cells = [
            Cell(folder.name, str(cell["task"]), str(cell["arm"]), str(cell["hash"]), tuple(map(int, cell["seeds"])))
            for cell in header["cells"]
        ]
    except (Damaged, KeyError, TypeError, ValueError) as error:
        problems.append(Problem(str(path.relative_to(root)), f"unusable: {_cause(error)}"))
        return {}, []
    return header, cells


def _cause(error: Exception) -> str:
    return f"no key {error}" if isinstance(error, KeyError) else str(error)


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object of a schema this version reads."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Damaged(f"not readable as JSON ({error})") from error
    if not isinstance(data, dict):
        raise Damaged("not a JSON object")
    if data.get("schema") != SCHEMA:
        raise Damaged(f"schema {data.get('schema')}, this version reads schema {SCHEMA}")
    return data


def read_blocks(folder: Path, root: Path, problems: list[Problem]) -> list[Block]:
    """Every block below a study's folder; what cannot be used is added to `problems` and stands for damaged seeds."""
    paths = _block_folders(folder, root, problems)
    with ThreadPoolExecutor() as pool:  # reading and unpacking happen outside of Python
        found = list(pool.map(lambda path: _read_block(folder.name, path, str(path.relative_to(root))), paths))
    problems += [problem for _, problem in found if problem is not None]
    return [block for block, _ in found]


def _read_block(study: str, path: Path, name: str) -> tuple[Block, Problem | None]:
    try:
        record = read_json(path / "run.json")
        _check_record(record)
        return _block(study, path, name, record), None
    except Damaged as error:
        return _damaged_block(study, path, name), Problem(name, str(error))


def _block_folders(folder: Path, root: Path, problems: list[Problem]) -> list[Path]:
    """The folders runs/<task>/<cell>/<block>; anything else found on the way is foreign and named."""
    level = [folder / "runs"] if (folder / "runs").is_dir() else []
    for _ in ("task", "cell", "block"):
        inside = [path for parent in level for path in sorted(parent.iterdir()) if not path.name.startswith(".")]
        problems += [
            Problem(str(path.relative_to(root)), "foreign file, not a block") for path in inside if not path.is_dir()
        ]
        level = [path for path in inside if path.is_dir()]
    return level


def _check_record(record: Mapping[str, Any]) -> None:
    if not is_intact(record):
        raise Damaged("run.json does not match its own checksum")
    for key, kind in _RECORD_FIELDS.items():
        if key not in record:
            raise Damaged(f"run.json has no '{key}'")
        if not isinstance(record[key], kind):
            raise Damaged(f"run.json: '{key}' is {record[key]!r}")
    bounds = [record["score"].get(key) for key in ("random", "reference")]
    if not all(isinstance(bound, (int, float)) and np.isfinite(bound) for bound in bounds) or bounds[0] == bounds[1]:
        raise Damaged(f"run.json: score bounds {bounds} must be two different finite numbers")
    for seed, outcome in record["seeds"].items():
        if not seed.isdigit() or not isinstance(outcome, dict) or outcome.get("status") not in _SEED_STATUS:
            raise Damaged(f"run.json: seed {seed!r} is {outcome!r}")
    if record["status"] not in _SEED_STATUS:
        raise Damaged(f"run.json: status is {record['status']!r}")


def _block(study: str, path: Path, name: str, record: Mapping[str, Any]) -> Block:
    """A block whose record is sound. Its rows are read unless it is still running. Raises `Damaged`."""
    statuses = {int(seed): _SEED_STATUS[outcome["status"]] for seed, outcome in record["seeds"].items()}
    if record["status"] == "running":
        statuses = dict.fromkeys(statuses, "unfinished")
    elif record["status"] == "failed":
        statuses = {seed: "failed" if status == "unfinished" else status for seed, status in statuses.items()}
    if record["status"] == "running" or "done" not in statuses.values():
        return Block(study, name, record, statuses, {})
    kept = {file: columns for file, columns in COLUMNS.items() if not _is_left_out(path, file, record)}
    tables = {file: read_parquet(path / file, columns, record) for file, columns in kept.items()}
    return Block(study, name, record, statuses, tables)


def _is_left_out(path: Path, file: str, record: Mapping[str, Any]) -> bool:
    """Results may be handed on without policies and diagnostics; diagnostics that lack alone are lost."""
    names = (POLICY, TRAINING)
    return file == TRAINING and not any(
        (path / name).exists() or name not in record.get("checksums", {}) for name in names
    )


def _damaged_block(study: str, path: Path, name: str) -> Block:
    """A stand-in for a block that cannot be read: what its folder's name says."""
    cell = re.fullmatch(r"(?P<arm>.+)-(?P<hash>[0-9a-f]{8})", path.parent.name)
    seeds = re.fullmatch(r"seeds-(\d+)-(\d+)", path.name)
    if cell is None or seeds is None:
        return Block(study, name, {}, {}, {})
    record = {"task": path.parent.parent.name, "arm": cell["arm"], "hash": cell["hash"]}
    statuses = dict.fromkeys(range(int(seeds[1]), int(seeds[2]) + 1), "damaged")
    return Block(study, name, record, statuses, {})


def read_parquet(path: Path, columns: Collection[str], record: Mapping[str, Any]) -> pd.DataFrame:
    """A file of a block, held against its checksum and its columns. Raises `Damaged`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path.name} is not there") from error
    if hashlib.sha256(content).hexdigest() != record.get("checksums", {}).get(path.name):
        raise Damaged(f"{path.name} does not match its checksum")
    try:
        table = pd.read_parquet(io.BytesIO(content))  # the very bytes that were checked
    except (OSError, ValueError) as error:
        raise Damaged(f"{path.name} is not readable as parquet ({error})") from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise Damaged(f"{path.name} has no column '{missing[0]}'")
    if "seed" not in columns:
        return table
    strange = set(table["seed"].unique()) - {int(seed) for seed in record["seeds"]}
    if strange:
        raise Damaged(f"{path.name} has seed {min(strange)}, which run.json does not know")
    return table
