"""Training a recorded block again, beside the results, and comparing the numbers byte by byte."""

import dataclasses
import itertools
from pathlib import Path

from bench.config import Config
from bench.errors import UserError
from bench.runs import block as blocks
from bench.runs.curves import EVALUATIONS, TRAINING
from bench.runs.execute import run_block
from bench.runs.files import sha256
from bench.runs.verify import checked_config


def rerun(path: Path) -> tuple[Path, dict[str, bool]]:
    """Train the block in `path` again; → where, and of each file of numbers whether its bytes are the same.

    On the same machine, with the same versions, they are.

    Raises:
        UserError: where `path` holds no finished block, or the code has changed what its settings mean.
    """
    block = blocks.read(path.resolve())
    if block is None or not block.finished:
        raise UserError(f"{path}: no finished block; give the folder that holds its {blocks.RECORD}")
    blocks.check(block)
    config = _config(block)
    place = _free_place(blocks.study_directory(config) / "reruns" / config.task.name / block.path.parent.name)
    directory = place / block.path.name
    run_block(config, directory)
    return directory, {name: sha256(directory / name) == sha256(path / name) for name in (EVALUATIONS, TRAINING)}


def _config(block: blocks.Block) -> Config:
    """The block's settings, writing to the study's folder the block lies in now."""
    config = checked_config(block)
    study = block.path.parents[3]
    return dataclasses.replace(
        config, results=str(study.parent), study=dataclasses.replace(config.study, name=study.name)
    )


def _free_place(cell: Path) -> Path:
    """The first numbered folder that is not there yet, made."""
    for number in itertools.count(1):
        place = cell / str(number)
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot write {error.filename}: {error.strerror}") from error
        return place
    raise AssertionError("unreachable")
