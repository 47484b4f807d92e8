"""A saved model: JSON and weights in one file whose bytes do not depend on the clock; nothing in it is executed."""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from bench import archives
from bench.errors import UserError, first_line

DESCRIPTION, WEIGHTS = "model.json", "weights.pt"


def write(path: str | Path | io.BufferedIOBase, description: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    """Write a description (plain data) and weights (tensors in dictionaries), over another one in one step.

    Folders on the way are made. Raises `OSError`.
    """
    whole, content = io.BytesIO(), io.BytesIO()
    torch.save(weights, content)
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(_entry(DESCRIPTION), json.dumps(description, indent=1, sort_keys=True))
        archive.writestr(_entry(WEIGHTS), content.getvalue())
    if not isinstance(path, str | Path):
        path.write(whole.getvalue())
        return
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.write_bytes(whole.getvalue())
        return
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        temporary.write_bytes(whole.getvalue())
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: str | Path | io.BufferedIOBase) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description and the weights that `write` wrote. Raises `UserError`."""
    try:
        parts = archives.read(path, (DESCRIPTION, WEIGHTS))
        description, weights = json.loads(parts[DESCRIPTION]), tensors(io.BytesIO(parts[WEIGHTS]))
    except (OSError, ValueError, RecursionError, archives.BadArchive) as error:
        hint = "; files of Stable-Baselines3's own classes are loaded by these" if DESCRIPTION in str(error) else ""
        raise UserError(f"{path} is not a saved model: {first_line(error)}{hint}") from error
    if not isinstance(description, dict) or not isinstance(weights, dict):
        raise UserError(f"{path} is not a saved model: it describes nothing")
    return description, weights


def tensors(file: BinaryIO) -> Any:
    """Return what `torch.save` wrote: numbers, text and tensors; nothing in it is executed. Raises `BadArchive`."""
    try:
        with zipfile.ZipFile(file) as archive:
            archives.check(archive)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except archives.BadArchive:
        raise
    except Exception as error:  # whatever zipfile and torch raise for bytes that are not what was written
        raise archives.BadArchive(f"{type(error).__name__}: {first_line(error)}") from error


def _entry(name: str) -> zipfile.ZipInfo:
    """Return a file's entry whose bytes do not depend on the clock."""
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
