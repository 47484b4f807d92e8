"""Saved policies named in a configuration: where they are and which one exactly."""

import hashlib
from pathlib import Path

from bench.errors import UserError
from bench.runs.provenance import ROOT

POLICY = "policy.zip"  # of a block


def find(path: str) -> Path:
    """The policy of a block: `path` is the file, or a folder below which there is exactly one. Raises `UserError`."""
    given = Path(path)
    if given.is_file():
        return given
    if not given.is_dir():
        makes = given.name if (ROOT / "conf" / "study" / f"{given.name}.yaml").exists() else None
        hint = f"; 'python -m bench study={makes}' makes it" if makes else ""
        raise UserError(f"reference.path={path}: there is no such file or folder{hint}")
    found = sorted(given.rglob(POLICY))
    if len(found) != 1:
        which = ", ".join(str(file.parent) for file in found[:3]) or "train a block there first"
        raise UserError(f"reference.path={path}: {len(found)} policies below it, must be 1 ({which})")
    return found[0]


def digest(path: str) -> str:
    """Of the file's bytes: a policy is what it computes, not where it lies. Raises `UserError`."""
    return hashlib.sha256(find(path).read_bytes()).hexdigest()[:16]
