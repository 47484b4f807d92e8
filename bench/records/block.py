"""Blocks on disk: where they lie, what they are called, and what state they are in."""

import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.config import saved_policies as policies
from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError
from bench.records import lease as claims
from bench.records import provenance
from bench.records.files import sha256
from bench.records.tables import EVALUATIONS, TRAINING

SCHEMA = 1
RECORD = "run.json"
CONFIG = "config.yaml"
POLICY = "policy.zip"
CHECKPOINT = "checkpoint.pt"
PROGRESS = "progress.json"  # only while running
SEAL = "record_checksum"  # of the record's own
FILES = (CONFIG, EVALUATIONS, TRAINING, POLICY, CHECKPOINT)  # what run.json holds the checksums of
OPTIONAL = (POLICY, CHECKPOINT, TRAINING)  # no score depends on them, and they are large: results may come without

State = Literal["done", "failed", "running", "stale"]
Retry = Literal["nothing", "failed", "damaged"]


@dataclass(frozen=True)
class Block:
    """One block as its files tell it.

    `done` and `failed` follow its record; `failed` has no numbers unless `finished`. `running` is being trained right
    now; `stale` was left behind by a process that died.
    """

    path: Path
    state: State
    record: Mapping[str, Any]

    @property
    def seeds(self) -> frozenset[int]:
        """The seeds it trains."""
        return frozenset(int(seed) for seed in self.record["seeds"])

    @property
    def finished(self) -> bool:
        """Whether its files are complete: such a block is never written to again."""
        return bool(self.record.get("checksums"))

    def taken(self, retry: Retry = "nothing") -> frozenset[int]:
        """Its seeds that need no training: somebody is at it, or they are finished and need no retry."""
        if self.state == "running":
            return self.seeds
        if not self.finished:
            return frozenset()
        return self.seeds - self.causes.keys() if retry == "failed" else self.seeds

    @property
    def left_out(self) -> list[str]:
        """Which of its files are not there and need not be; diagnostics alone are not left out but lost."""
        absent = [name for name in OPTIONAL if name in self.record["checksums"] and not (self.path / name).exists()]
        return absent if POLICY in absent else [name for name in absent if name != TRAINING]

    @property
    def causes(self) -> dict[int, str]:
        """Why its failed seeds failed."""
        seeds = self.record["seeds"].items()
        return {int(seed): entry["cause"] or "unknown" for seed, entry in seeds if entry["status"] == "failed"}


def study_directory(config: Config) -> Path:
    """The folder of everything the study writes."""
    return Path(config.results).expanduser() / config.study.name


def cell_directory(config: Config) -> Path:
    """The folder of the cell's blocks: the one that carries its hash, whatever it is called, else the one to make."""
    task = study_directory(config) / "runs" / config.task.name
    ending = f"-{cell_hash(config)}"  # once: it is computed anew each time, for thousands of cells
    usual = task / f"{config.arm_name}{ending}"
    if usual.is_dir():
        return usual
    try:
        existing = sorted(name for name in os.listdir(task) if name.endswith(ending))
    except (FileNotFoundError, NotADirectoryError):
        existing = []
    return task / existing[0] if existing else usual


def seeds_name(seeds: Sequence[int]) -> str:
    """A block's folder name: `seeds-000-009`, `seeds-003`, `seeds-000-002+007`; long lists get a digest."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    name = "seeds-" + "+".join(f"{run[0]:03d}" if len(run) == 1 else f"{run[0]:03d}-{run[-1]:03d}" for run in runs)
    if len(name) <= 100:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"seeds-{min(seeds):03d}-{max(seeds):03d}-{len(seeds)}-{digest}"


def directory(config: Config, seeds: Sequence[int]) -> Path:
    """The folder for a block of these seeds: that of an unfinished one, or one that is not there yet."""
    path = cell_directory(config) / seeds_name(seeds)
    for attempt in itertools.count(1):
        block = read(path)
        if block is None or not block.finished:
            return path
        path = path.with_name(f"{seeds_name(seeds)}-retry-{attempt}")
    raise AssertionError("unreachable")


def blocks(config: Config) -> list[Block]:
    """Every block of the cell, by name. Raises `UserError` for a damaged one."""
    return in_cell(cell_directory(config))


def in_cell(cell: Path) -> list[Block]:
    """Every block in a cell's folder, by name. Raises `UserError` for a damaged one."""
    found = (read(path) for path in folders(cell))
    return [block for block in found if block is not None]


def folders(cell: Path) -> list[Path]:
    """The folders of a cell's blocks, by name."""
    try:  # in place of glob, which takes several times as long
        return [cell / name for name in sorted(os.listdir(cell)) if name.startswith("seeds-")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def read(path: Path) -> Block | None:
    """The block in `path`; None where nothing was begun there.

    Raises:
        UserError: where its record is missing or cannot be read.
    """
    if not path.is_dir():
        return None
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        status = record["status"]
        block = Block(path, _state(path, record) if status == "running" else status, record)
        if record["schema"] != SCHEMA or status not in ("running", "done", "failed") or not block.seeds:
            raise ValueError(f"schema {record['schema']}, status {status}")
        if status == "done" and not block.finished:  # or else it would be trained again, over its numbers
            raise ValueError("done without checksums")
    except FileNotFoundError:
        if not any((path / name).exists() for name in FILES):  # killed before it could write a line
            return None
        raise damaged(path, f"{RECORD} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"{RECORD} cannot be read ({type(error).__name__}: {error})") from error
    return block


def check(block: Block) -> None:
    """Compare a finished block's files with their checksums. Raises `UserError` for the first that differs."""
    for problem in mismatches(block):
        raise damaged(block.path, problem)


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record that has ended, with the checksum of all its other entries as they are read back."""
    return {**record, SEAL: _seal(record)}


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether a record is what was written; those of before there was a checksum of it are believed."""
    return SEAL not in record or record[SEAL] == _seal(record)


def _seal(record: Mapping[str, Any]) -> str:
    entries = {key: value for key, value in record.items() if key != SEAL}
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def mismatches(block: Block) -> Iterator[str]:
    """What is wrong with the files of a finished block; nothing with those that were left out."""
    absent = block.left_out
    if not is_intact(block.record):
        yield f"{RECORD} is not the record that was written (checksum)"
    for name, expected in block.record["checksums"].items():
        if name in absent:
            continue
        try:
            if sha256(block.path / name) != expected:
                yield f"{name} is not the file that was written (checksum)"
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"


def needed(block: Block, name: str) -> Path:
    """One of the files of a finished block. Raises `UserError` where it was left out."""
    if name in block.left_out:
        raise policies.left_out(block.path, "policy" if name == POLICY else name)
    return block.path / name


def set_aside(path: Path) -> Path:
    """Move a block, or one of its files, out of the way below the study's `damaged` folder; → where it is now.

    Raises:
        OSError: where it cannot be moved.
    """
    study = next(parent.parent for parent in path.parents if parent.name == "runs")
    place = study / "damaged" / path.relative_to(study / "runs")
    place.parent.mkdir(parents=True, exist_ok=True)
    for attempt in itertools.count(1):
        target = place.with_name(f"{place.name}-{attempt}")
        if not target.exists():
            path.rename(target)
            return target
    raise AssertionError("unreachable")


def damaged(path: Path, what: str) -> UserError:
    """The error for a block whose files are not what was written."""
    return UserError(f"damaged block {path}: {what}; nothing was changed: restore it, or run with retry=damaged")


def _state(path: Path, record: Mapping[str, Any]) -> State:
    """Whether a block that says it is running does."""
    claim = claims.place(path.parent, record.get("claim", 0))
    if record["process"] is None or claims.ended(claim):  # interrupted, and said so; or could not say so
        return "stale"
    alive = provenance.alive(record["host"]["id"], record["process"])
    if alive is None:
        alive = _last_sign(path, record) > time.time() - claims.STALE_AFTER
    return "running" if alive else "stale"


def _last_sign(path: Path, record: Mapping[str, Any]) -> float:
    """When the block's process last showed that it was alive."""
    times = [0.0]
    for sign in (claims.place(path.parent, record.get("claim", 0)), path / PROGRESS, path / RECORD):
        try:
            times.append(sign.stat().st_mtime)
        except OSError:  # not there, or just being replaced
            continue
    return max(times)
