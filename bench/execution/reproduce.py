"""Training a recorded block again, and holding the numbers against those that were recorded."""

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.config import saved_policies as policies
from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError, first_line
from bench.execution.execute import recorded_config, run_block
from bench.records import block as blocks
from bench.records.files import Damaged, sha256
from bench.records.tables import CURVES, EPISODES, with_columns


def finished(path: Path) -> blocks.Block:
    """The finished block in `path`, whose files are intact. Raises `UserError` where there is none."""
    block = blocks.read(Path(os.path.abspath(path)))
    if block is None or not block.finished:
        raise UserError(f"{path}: no finished block; give the folder that holds its {blocks.RECORD}")
    blocks.check(block)
    return block


def checked_config(block: blocks.Block) -> Config:
    """The block's settings. Raises `UserError` where the code has changed what they mean, or another engine made it."""
    config = recorded_config(block.path)
    if cell_hash(config) != block.record["hash"]:
        raise UserError(
            f"{block.path}: its settings now mean {cell_hash(config)}, not {block.record['hash']}: "
            f"the code has changed since commit {block.record.get('git', {}).get('commit')}"
        )
    if set(config.seeds) != block.seeds or config.budget != block.record["budget"]:
        raise blocks.damaged(block.path, f"{blocks.CONFIG} has other seeds or another budget than {blocks.RECORD}")
    recorded = (block.record.get("engine") or {"name": "torch, as before there was a kernel"})["name"]
    if not config.is_peer and recorded != config.engine:
        raise UserError(f"{block.path}: computed by {recorded}; engine={config.engine} does not train it again")
    return config


def refuse_converted(block: blocks.Block) -> None:
    """Raise `UserError` for a block that an earlier version trained, with what was the same code then."""
    if block.converted:
        raise UserError(f"{block.path}: of an earlier version (converted): its numbers cannot be trained again")


def is_trainable(block: blocks.Block) -> bool:
    """Whether what it takes is there: a block held to a policy that was left out waits for a rerun of the latter."""
    try:
        reference = recorded_config(block.path).reference
        return reference.path is None or not policies.is_left_out(reference.path)
    except UserError:  # what is wrong with it was said
        return False


def agreement(directory: Path, block: blocks.Block) -> dict[str, bool]:
    """Of each file of numbers that the block had, whether that in `directory` has the bytes that were recorded.

    Curves and episodes are held against those columns of the new ones that were recorded: exact returns, and returns
    by the kind of episode, are later than some blocks.
    """
    recorded = {name: block.record["checksums"].get(name) for name in blocks.NUMBERS}
    made = {name: directory / name for name, sum in recorded.items() if sum is not None}
    return {name: path.is_file() and recorded[name] in _checksums(path, block) for name, path in made.items()}


def _checksums(path: Path, block: blocks.Block) -> Iterator[str]:
    yield sha256(path)
    if path.name in (CURVES, EPISODES) and path.name not in block.left_out:
        try:
            columns = blocks.table(block, path.name, ()).column_names
        except Damaged:  # what was recorded is compared as a whole, by its checksum
            return
        yield hashlib.sha256(with_columns(path, columns)).hexdigest()


def train_again(block: blocks.Block) -> dict[str, bool]:
    """Train a block once more in a temporary folder; → of each file of numbers whether its bytes are the same.

    Raises:
        UserError: where the code has changed what its settings mean.
    """
    config = checked_config(block)
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as folder:
        config = dataclasses.replace(config, results=folder, retry="nothing")
        directory = blocks.directory(config, config.seeds)
        train_or_say_why(config, directory, block)
        return agreement(directory, block)


def train_or_say_why(config: Config, directory: Path, block: blocks.Block) -> None:
    """Train in `directory` what a block trained.

    Raises:
        UserError: where that fails, with the reason: its settings may be anybody's.
        Interrupted: where a signal asked to stop.
    """
    try:
        run_block(config, directory)
    except UserError:
        raise
    except Exception as error:  # whatever training raises
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{block.path}: cannot be trained again ({cause})") from error


def described(agrees: Mapping[str, bool]) -> str:
    """An agreement in words, a line for each file."""
    return "\n".join(f"{name}: {'the same bytes' if same else 'DIFFERENT'}" for name, same in agrees.items())
