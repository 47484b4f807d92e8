"""A saved model: JSON and weights in one file whose bytes do not depend on the clock; nothing in it is executed."""

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

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
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(DESCRIPTION)), torch.load(
                io.BytesIO(archive.read(WEIGHTS)), map_location="cpu", weights_only=True
            )
    except (OSError, KeyError, ValueError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a saved model: {first_line(error)}") from error


def _entry(name: str) -> zipfile.ZipInfo:
    """Return a file's entry whose bytes do not depend on the clock."""
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
