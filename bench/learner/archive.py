"""A saved model: JSON and weights in one file whose bytes do not depend on the clock; nothing in it is executed."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from bench import archives
from bench.errors import UserError, first_line

DESCRIPTION, WEIGHTS = "model.json", "weights.pt"


def write(path: str | Path | io.BufferedIOBase, description: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    """Write a description (plain data) and weights (tensors in dictionaries). Raises `OSError`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(_entry(DESCRIPTION), json.dumps(description, indent=1, sort_keys=True))
        content = io.BytesIO()
        torch.save(weights, content)
        archive.writestr(_entry(WEIGHTS), content.getvalue())


def read(path: str | Path | io.BufferedIOBase) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description and the weights that `write` wrote. Raises `UserError`."""
    try:
        parts = archives.read(path, (DESCRIPTION, WEIGHTS))
        description, weights = json.loads(parts[DESCRIPTION]), tensors(io.BytesIO(parts[WEIGHTS]))
    except (OSError, ValueError, RecursionError, archives.BadArchive) as error:
        raise UserError(f"{path} is not a saved model: {first_line(error)}") from error
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
