"""`python -m bench rerun RUN_DIR`: train a block again, beside the results, and compare the numbers byte by byte."""

import dataclasses
import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import plugin
from bench.config.arguments import read, word
from bench.config.schema import Config
from bench.errors import UserError
from bench.execution.reproduce import (
    agreement,
    checked_config,
    described,
    finished,
    refuse_converted,
    train_or_say_why,
)
from bench.paths import refuse_links
from bench.records import block as blocks
from bench.records.files import sha256, write_atomic


@dataclass(frozen=True)
class Arguments:
    """Which block."""

    block: str = word("give the folder of one block, such as results/quick/runs/cartpole/…/seeds-000-009")
    plugins: str = ""


def main(words: Sequence[str]) -> int:
    """Train a block again and say how it agrees; the exit code: 1 where it does not. Raises `UserError`."""
    asked = read("rerun", words, Arguments)
    plugin.import_modules(asked.plugins)
    again = rerun(Path(asked.block))
    print(again.path)
    if again.put_back:
        print(f"put back in {asked.block}: {', '.join(again.put_back)}")
    if again.still_out:
        print(f"not the bytes that were recorded, so only in the folder above: {', '.join(again.still_out)}")
    print(described(again.agrees))
    return 0 if all(again.agrees.values()) else 1


@dataclass(frozen=True)
class Rerun:
    """Where the block was trained again, of each file of numbers whether its bytes are the same, what was put back."""

    path: Path
    agrees: Mapping[str, bool]
    put_back: Sequence[str]  # of the files that had been left out of the block, those with the bytes it once had
    still_out: Sequence[str]


def rerun(path: Path) -> Rerun:
    """Train the block in `path` again, beside it, and give it back what was left out of it.

    With the same versions all bytes are the same, on any machine. What was left out is put back only if its bytes
    are those whose checksum was recorded.

    Raises:
        UserError: where `path` holds no finished block, or the code has changed what its settings mean.
    """
    block = finished(path)
    refuse_converted(block)
    config = _config(block)
    place = _free_place(blocks.study_directory(config) / "reruns" / config.task_name / block.path.parent.name)
    directory = place / block.path.name
    train_or_say_why(config, directory, block)
    left_out = block.left_out
    put_back = [name for name in left_out if _put_back(directory / name, block)]
    return Rerun(
        directory,
        agreement(directory, block),
        put_back,
        [name for name in left_out if name not in put_back],
    )


def _put_back(made: Path, block: blocks.Block) -> bool:
    """Copy a file into the block that lacks it, if it is the one the block had; → whether it is."""
    if not made.is_file() or sha256(made) != block.record["checksums"][made.name]:
        return False

    def copy(temporary: Path) -> None:
        shutil.copyfile(made, temporary)

    try:
        block.path.mkdir(parents=True, exist_ok=True)  # it may lie in a pack
        write_atomic(block.path / made.name, copy)
    except OSError as error:
        raise UserError(f"cannot write {block.path / made.name}: {error.strerror}; it is in {made.parent}") from error
    return True


def _config(block: blocks.Block) -> Config:
    """The block's settings, writing to the study's folder the block lies in now."""
    config = checked_config(block)
    study = block.path.parents[3]
    return dataclasses.replace(
        config, results=str(study.parent), study=dataclasses.replace(config.study, name=study.name)
    )


def _free_place(cell: Path) -> Path:
    """The first numbered folder that is not there yet, made. Raises `UserError` where it cannot be."""
    try:
        refuse_links(cell, 4)  # of the cell, its task, all reruns, the study
    except OSError as error:
        raise UserError(f"cannot write {error.filename or cell}: {error.strerror}") from error
    for number in itertools.count(1):
        place = cell / str(number)
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot write {error.filename or cell}: {error.strerror}") from error
        return place
    raise AssertionError("unreachable")
