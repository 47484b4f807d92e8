"""Saved policies named in a configuration: where they are and which one exactly."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import packs
from bench.errors import UserError
from bench.packs import RECORD
from bench.paths import CONF, expanded

POLICY = "policy.zip"  # of a block
CONVERTED = "converted_from"  # in a record: the schema of the earlier version that trained the block
ELSEWHERE = ("reruns", "damaged")  # copies of blocks, below their study


def find(path: str) -> Path:
    """The policy of a block: `path` is the file, or a folder below which there is exactly one. Raises `UserError`."""
    found = _place(path)
    if not found.exists():
        raise left_out(found.parent)
    return found


def digest(path: str) -> str:
    """Of the file's bytes: a policy is what it computes, not where it lies. Raises `UserError`.

    One that was left out has that of its record, so that what was trained with it keeps its hash.
    """
    found = _place(path)
    whole = hashlib.sha256(found.read_bytes()).hexdigest() if found.exists() else _recorded(found.parent)
    assert whole is not None
    return whole[:16]


def is_left_out(path: str) -> bool:
    """Whether `find` would say so. Raises `UserError` where there is no such block."""
    return not _place(path).exists()


def left_out(block: Path, what: str = "policy") -> UserError:
    """The error for a block that came without its policy, or another file."""
    if CONVERTED in _record(block):
        return UserError(f"{block}: its {what} was left out, and what an earlier version trained cannot be made again")
    return UserError(f"{block}: its {what} was left out; 'python -m bench rerun {block}' makes it again")


def _place(path: str) -> Path:
    """Where the one policy that `path` names is, or was before it was left out. Raises `UserError`."""
    given = expanded(path)
    if given.is_file():
        return given
    packed = packs.blocks_below(given)
    if not given.is_dir() and not packed:
        makes = given.name if (CONF / "study" / f"{given.name}.yaml").exists() else None
        hint = f"; 'python -m bench study={makes}' makes it" if makes else ""
        raise UserError(f"reference.path={path}: there is no such file or folder{hint}")
    found = sorted({*_below(given), *(block / POLICY for block in packed if _recorded(block))})
    if len(found) != 1:
        which = ", ".join(str(file.parent) for file in found[:3]) or "train a block there first"
        raise UserError(f"reference.path={path}: {len(found)} policies below it, must be 1 ({which})")
    return found[0]


def _below(folder: Path) -> Iterator[Path]:
    """The policies below a folder, also those that only a record tells of."""
    for name in (POLICY, RECORD):
        for file in folder.rglob(name):
            copied = any(part in ELSEWHERE for part in file.relative_to(folder).parts)
            if not copied and (name == POLICY or _recorded(file.parent)):
                yield file.with_name(POLICY)


def _recorded(block: Path) -> str | None:
    """The SHA-256 of the block's policy by its record; None where it has none, or cannot be read."""
    checksums = _record(block).get("checksums")
    found = checksums.get(POLICY) if isinstance(checksums, Mapping) else None
    return found if isinstance(found, str) else None


def _record(block: Path) -> Mapping[str, Any]:
    """The block's record; an empty one where it cannot be read."""
    try:
        found = json.loads(packs.read_bytes(block / RECORD))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}
