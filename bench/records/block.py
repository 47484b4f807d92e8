"""The one grammar of blocks on disk: where they lie, what they are called, what they hold, what state they are in.

A block is the folder `<study>/<part>/<task>/<cell>-<hash>/<block>/`, of the part `runs` where it was trained and of the
part `lab` where it was measured. Both have a record, `run.json`, with the same checks; they differ in their tables.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from bench import packs
from bench.config import saved_policies as policies
from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError
from bench.paths import expanded, read_file, refuse_links
from bench.records import files, lease
from bench.records.fields import wrong_with
from bench.records.files import Damaged, OtherSchema, is_intact
from bench.records.shapes import MOST_SEEDS, number, whole
from bench.records.tables import CURVES, EPISODES, MOST_ROWS, STATES, TRAINING, read_table

SCHEMA = 2  # of a record
MODES = ("deterministic", "stochastic")  # of evaluation
LEVELS = 5  # of folders, from a study to a block
RUNS, LAB, RECORD = packs.RUNS, packs.LAB, packs.RECORD
SEAL, sealed = files.SEAL, files.sealed
CONFIG = "config.yaml"
POLICY = "policy.zip"
CHECKPOINT = "checkpoint.pt"
PROGRESS = "progress.json"  # only while running
LARGEST_PROGRESS = 1 << 12  # bytes of it
NUMBERS = (CURVES, EPISODES, TRAINING)  # what a training again is held against
FILES = (CONFIG, *NUMBERS, POLICY, CHECKPOINT)  # what run.json holds the checksums of
SCORED = (CONFIG, *NUMBERS)  # of those, the ones that are quick to check
# No score depends on them, and they are large: results may come without.
OPTIONAL = (POLICY, CHECKPOINT, TRAINING, EPISODES, STATES)

State = Literal["done", "failed", "running", "stale"]
Retry = Literal["nothing", "failed", "damaged"]

_LONGEST_NAME = 100
_CELL = re.compile(r"(?P<name>.+)-(?P<hash>[0-9a-f]{8})")
_RETRY = re.compile(r"-retry-\d+$")


@dataclass(frozen=True)
class Block:
    """One block as its files tell it.

    `done` and `failed` follow its record; `failed` has no numbers unless `finished`. `running` is being trained right
    now; `stale` was left behind by a process that died. Of one that is `packed`, the record lies in the study's pack.
    """

    path: Path
    state: State
    record: Mapping[str, Any]
    packed: bool = False

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
    def is_intact(self) -> bool:
        """Whether its record is what was written, which is sealed once it has ended."""
        return _is_whole(self.record)

    @property
    def converted(self) -> bool:
        """Whether an earlier version trained it: its record was rewritten, and its numbers cannot be trained again."""
        return policies.CONVERTED in self.record

    @property
    def measured(self) -> bool:
        """Whether it is a stage that the laboratory measured, and nothing that was trained."""
        return is_measured(self.path)

    @property
    def left_out(self) -> list[str]:
        """Which of its files are not there and need not be; without a pack, diagnostics alone are lost instead."""
        recorded = [name for name in OPTIONAL if name in self.record.get("checksums", {})]
        there = _listed(self.path)
        absent = [name for name in recorded if name not in there and not packs.exists(self.path / name)]
        return absent if self.packed or POLICY in absent else [name for name in absent if name != TRAINING]

    @property
    def causes(self) -> dict[int, str]:
        """Why its failed seeds failed."""
        seeds = self.record["seeds"].items()
        return {int(seed): entry.get("cause") or "unknown" for seed, entry in seeds if entry["status"] == "failed"}


def study_directory(config: Config) -> Path:
    """The folder of everything the study writes."""
    return expanded(config.results) / config.study.name


def cell_directory(config: Config) -> Path:
    """The folder of the cell's blocks: the one that carries its hash, whatever it is called, else the one to make."""
    runs = study_directory(config) / RUNS
    ending = f"-{cell_hash(config)}"  # once: it is computed anew each time, for thousands of cells
    usual = runs / config.task_name / f"{config.arm_name}{ending}"
    if usual.is_dir():
        return usual
    tasks = (runs / name for name in (config.task_name, config.task.name))  # earlier versions left the knobs out
    existing = [task / name for task in tasks for name in _names(task) if name.endswith(ending)]
    return existing[0] if existing and usual not in existing else usual


def seeds_name(seeds: Sequence[int]) -> str:
    """A block's folder name: `seeds-000-009`, `seeds-003`, `seeds-000-002+007`; long lists get a digest."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    name = "seeds-" + "+".join(f"{run[0]:03d}" if len(run) == 1 else f"{run[0]:03d}-{run[-1]:03d}" for run in runs)
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"seeds-{min(seeds):03d}-{max(seeds):03d}-{len(seeds)}-{digest}"


def seeds_of(name: str) -> list[int] | None:
    """The seeds of a block's folder name, the inverse of `seeds_name`; None for any other name.

    A name with a digest tells only the first and the last of its seeds: all between them are returned.
    """
    name = _RETRY.sub("", name)
    shortened = re.fullmatch(r"seeds-(\d+)-(\d+)-\d+-[0-9a-f]{8}", name)
    if shortened:
        return _between([(shortened[1], shortened[2])])
    if not re.fullmatch(r"seeds-\d+(-\d+)?(\+\d+(-\d+)?)*", name):
        return None
    ends = [run.split("-") for run in name.removeprefix("seeds-").split("+")]
    return _between([(run[0], run[-1]) for run in ends])


def _between(ends: Sequence[tuple[str, str]]) -> list[int] | None:
    """The seeds from each first to each last; None where these are more than a cell has."""
    runs = [range(int(first), int(last) + 1) for first, last in ends]
    return [seed for run in runs for seed in run] if sum(map(len, runs)) <= MOST_SEEDS else None


def is_named_by(name: str, seeds: Collection[int]) -> bool:
    """Whether a folder's name is that of a block of these seeds, be it a retry."""
    return _RETRY.sub("", name) == seeds_name(sorted(seeds))


def cell_of(path: Path) -> tuple[str, str] | None:
    """The arm (or stage) and the hash that the folder of a block's cell is called by; None for any other folder."""
    found = _CELL.fullmatch(path.parent.name)
    return None if found is None else (found["name"], found["hash"])


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
    return [cell / name for name in _names(cell) if name.startswith("seeds-")]


def _names(folder: Path) -> list[str]:
    """What lies in a folder of a study, there or packed."""
    return sorted({*_listed(folder), *packs.children(folder)})


def _listed(folder: Path) -> list[str]:
    try:  # in place of glob, which takes several times as long
        return os.listdir(folder)
    except OSError:  # what is there all the same, its reader names
        return []


def read(path: Path) -> Block | None:
    """The block in `path`; None where nothing was begun there.

    Raises:
        DamagedBlock: where its record is missing or cannot be read, or a link stands in place of a folder.
        OtherVersion: where another version wrote it.
    """
    try:
        refuse_links(path, LEVELS)
        if not packs.exists(path / RECORD):
            if not any((path / file).exists() for file in FILES):  # killed before it could write a line
                return None
            raise damaged(path, f"{RECORD} is missing")
        return _block(path, _record(path))
    except OSError as error:
        raise damaged(path, f"{error.filename} cannot be read ({error.strerror})") from error
    except OtherSchema as error:
        raise other_version(path, error) from error
    except Damaged as error:
        raise damaged(path, f"{RECORD} cannot be read ({str(error).removeprefix(f'{RECORD}: ')})") from error


def load(path: Path) -> Block:
    """The block in `path`, whose record is the one that was written.

    Raises:
        Damaged: with the reason why it cannot be used.
        OtherVersion: where another version wrote it.
    """
    try:
        refuse_links(path, LEVELS)
        record = _record(path)
    except OSError as error:
        raise Damaged(f"{error.filename} cannot be read ({error.strerror})") from error
    except OtherSchema as error:
        raise other_version(path, error) from error
    if not _is_whole(record):
        raise Damaged(f"{RECORD} does not match its own checksum")
    block = _block(path, record)
    if "score" in block.record:
        _check_bounds(block.record["score"])
    return block


def _record(path: Path) -> dict[str, Any]:
    try:
        return files.parse_json(packs.read_bytes(path / RECORD), SCHEMA)
    except OSError as error:
        raise Damaged(f"not readable as JSON ({error.strerror})") from error


def _block(path: Path, record: Mapping[str, Any]) -> Block:
    """The block of a record, every entry of which has its shape. Raises `Damaged`."""
    if wrong := wrong_with(record, measured=is_measured(path)):
        raise Damaged(f"{RECORD}: {wrong}")
    status = record["status"]
    if status == "done" and not record.get("checksums"):  # or else it would be trained again, over its numbers
        raise Damaged(f"{RECORD}: done without checksums")
    state = _state(path, record) if status == "running" else status
    return Block(path, state, record, packs.is_packed(path))


def is_measured(path: Path) -> bool:
    """Whether a block's folder lies where the laboratory's stages do."""
    return Path(os.path.abspath(path)).parts[-4:-3] == (LAB,)


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Whether a record is what was written: one that has files is sealed."""
    return is_intact(record) if SEAL in record else not record.get("checksums")


def progress(path: Path) -> tuple[float | None, float | None]:
    """How much of the block in `path` is done, and its return of now; None for what nobody knows, or not yet."""
    try:
        data = json.loads(read_file(path / PROGRESS, LARGEST_PROGRESS))
        fraction, current = data["fraction"], data["current_return"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # not written yet, or just ended
        return None, None
    return (fraction if number(fraction) and 0 <= fraction <= 1 else None), (current if number(current) else None)


def _check_bounds(score: Mapping[str, Any]) -> None:
    if score["random"] == score["reference"]:
        raise Damaged(f"{RECORD}: score bounds {list(score.values())} must be two different finite numbers")


def _state(path: Path, record: Mapping[str, Any]) -> State:
    """Whether a block that says it is running does: its process is the one that holds its seeds."""
    host = record.get("host")
    process = (host.get("id") if isinstance(host, dict) else None, record.get("process"))
    return "running" if lease.holder(path.parent, min(map(int, record["seeds"]))) == process else "stale"


def table(block: Block, name: str, columns: Collection[str]) -> pa.Table:
    """One of a block's tables, whose bytes are those that were written. Raises `Damaged`."""
    checksum = block.record.get("checksums", {}).get(name)
    found = read_table(block.path / name, checksum, columns, _most_rows(block, name))
    if "seed" in columns:
        strange = set(found["seed"].unique().to_pylist()) - block.seeds
        if strange:
            raise Damaged(f"{name} has seed {min(strange)}, which {RECORD} does not know")
    if "mode" in columns and not set(found["mode"].unique().to_pylist()) <= set(MODES):
        raise Damaged(f"{name} has modes other than {' and '.join(MODES)}")
    return found


def _most_rows(block: Block, name: str) -> int:
    """The most rows that one of a block's tables can have, by its record."""
    factors, outcomes = block.record["factors"], block.record["seeds"].values()
    points, episodes = (factors.get(f"evaluation.{key}") for key in ("points", "episodes"))
    evaluations = (points + 1) * len(MODES) * len(outcomes) if whole(points) else MOST_ROWS
    known = all(outcome.get("updates") is not None for outcome in outcomes)
    updates = sum(outcome["updates"] + 1 for outcome in outcomes) if known else MOST_ROWS  # one more: it may fail
    bounds = {CURVES: evaluations, EPISODES: evaluations * (episodes if whole(episodes) else 1), TRAINING: updates}
    return min(bounds.get(name, MOST_ROWS), MOST_ROWS)


def curves(block: Block) -> pa.Table:
    """The curves of a finished block. Raises `DamagedBlock`."""
    try:
        return table(block, CURVES, ("seed", "step", "mode", "episodes", "return"))
    except Damaged as error:
        raise damaged(block.path, str(error)) from error


def walk(study: Path, part: str = RUNS) -> tuple[list[Path], list[Path]]:
    """The folders of a study's blocks, there or packed, in order of path; and the foreign files beside them."""
    level, foreign = [study / part] if (study / part).is_dir() else [], []
    for _ in ("task", "cell", "block"):
        inside = [path for folder in level for path in _inside(folder) if not path.name.startswith(".")]
        are_folders = [path.is_dir() and not path.is_symlink() for path in inside]
        level = [path for path, is_folder in zip(inside, are_folders, strict=True) if is_folder]
        foreign += [path for path, is_folder in zip(inside, are_folders, strict=True) if not is_folder]
    return sorted({*level, *packs.blocks_below(study / part, part)}), foreign


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # nobody may look
        return []


def refuse_other_versions(study: Path) -> None:
    """Raise `OtherVersion` for the first block of a study that another version wrote."""
    for part in (RUNS, LAB):
        for path in walk(study, part)[0]:
            with contextlib.suppress(DamagedBlock):  # whoever needs it names it
                read(path)


def check(block: Block, names: Collection[str] | None = None) -> None:
    """Compare a finished block's files, or some of them, with their checksums.

    Raises:
        DamagedBlock: for the first that differs.
    """
    for problem in mismatches(block, names):
        raise damaged(block.path, problem)


def write(
    path: Path,
    record: Mapping[str, Any],
    tables: Mapping[str, Callable[[Path], None]],
    others: Sequence[str] = (),
    before_each: Callable[[], None] = lambda: None,
) -> None:
    """Write a block that has ended: its tables, then its record with their checksums and those of `others` beside them.

    `before_each` is called before each file is written, and what it raises ends the writing.

    Raises:
        OSError: where that fails; the record is then as it was.
    """
    for name, fill in tables.items():
        before_each()
        files.write_atomic(path / name, fill, lasting="content")
    files.sync_folder(path)
    checksums = {name: files.sha256(path / name) for name in (*others, *tables)}
    before_each()
    files.write_json(path / RECORD, sealed({**record, "checksums": checksums}))


def mismatches(block: Block, names: Collection[str] | None = None) -> Iterator[str]:
    """What is wrong with the files of a finished block, or some of them; nothing with those that were left out."""
    absent = block.left_out
    if not block.is_intact:
        yield f"{RECORD} is not the record that was written (checksum)"
    for file, expected in block.record["checksums"].items():
        if file in absent or (names is not None and file not in names):
            continue
        try:
            if _checksum(block.path / file) != expected:
                yield f"{file} is not the file that was written (checksum)"
        except OSError as error:
            yield f"{file} cannot be read ({error.strerror})"


def _checksum(file: Path) -> str:
    """Of a file of a block, there or packed. Raises `OSError`."""
    return files.sha256(file) if os.path.lexists(file) else hashlib.sha256(packs.read_bytes(file)).hexdigest()


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
    if packs.is_packed(path):
        raise OSError(errno.EROFS, f"it lies in {RUNS}{packs.SUFFIX}: put that file right, or remove it", str(path))
    part = next(parent for parent in path.parents if parent.name in (RUNS, LAB))
    place = part.parent / "damaged" / path.relative_to(part)
    refuse_links(path.parent, LEVELS)  # a link itself may be moved, and nothing that lies behind one
    refuse_links(place.parent, LEVELS)
    place.parent.mkdir(parents=True, exist_ok=True)
    for attempt in itertools.count(1):
        target = place.with_name(f"{place.name}-{attempt}")
        if not os.path.lexists(target):
            path.rename(target)
            return target
    raise AssertionError("unreachable")


class DamagedBlock(UserError):
    """A block whose files are not what was written."""


class OtherVersion(UserError):
    """A block that another version of this suite wrote."""


def damaged(path: Path, what: str) -> DamagedBlock:
    """The error for a block whose files are not what was written."""
    return DamagedBlock(f"damaged block {path}: {what}; nothing was changed: restore it, or run with retry=damaged")


def other_version(path: Path, error: OtherSchema) -> OtherVersion:
    """The error for a block whose record has another schema."""
    which = "an earlier" if error.found < error.read else "a later"
    return OtherVersion(
        f"{path}: written by {which} version (schema {error.found}); this version reads schema {error.read}: "
        "read it with that version, or give another folder (results=…)"
    )
