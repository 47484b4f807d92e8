"""Whether results are what was written, and whether this machine gets the same numbers again."""

import dataclasses
import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import saved_policies as policies
from bench.config.identity import cell_hash
from bench.errors import UserError, nearest
from bench.execution.execute import recorded_config, run_block
from bench.records import block as blocks
from bench.records.files import sha256
from bench.records.tables import EVALUATIONS, TRAINING

if TYPE_CHECKING:
    from bench.config.schema import Config

MODES = 2  # of evaluation: deterministic, stochastic


@dataclass(frozen=True)
class Verified:
    """The finished blocks below a folder, how many others there are, and a line for whatever is wrong."""

    finished: Sequence[blocks.Block]
    unfinished: int
    problems: Sequence[str]


def verify(root: Path) -> Verified:
    """Hold every block in or below `root` against its record: hashes, checksums, names, the number of evaluations.

    Raises:
        UserError: where there is no such folder, or no block.
    """
    if not root.exists():
        beside = [path.name for path in root.parent.glob("*")]
        raise UserError(f"{root}: no such folder{nearest(root.name, beside)}")
    paths = _folders(root)
    if not paths:
        raise UserError(f"{root}: no blocks; give a results folder, a study's, or a block's")
    finished, problems, unfinished = [], [], 0
    for path in paths:
        try:
            block = blocks.read(path)
        except UserError as error:
            problems.append(str(error))
            continue
        if block is None or not block.finished:
            unfinished += 1
            continue
        finished.append(block)
        problems += [f"{path}: {problem}" for problem in _problems(block)]
    return Verified(finished, unfinished, problems)


def train_again(block: blocks.Block) -> dict[str, bool]:
    """Train a block once more in a temporary folder; → of each file of numbers whether its bytes are the same.

    Raises:
        UserError: where the code has changed what its settings mean.
    """
    config = checked_config(block)
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as folder:
        config = dataclasses.replace(config, results=folder, retry="nothing")
        directory = blocks.directory(config, config.seeds)
        run_block(config, directory)
        return agreement(directory, block)


def left_out(found: Sequence[blocks.Block]) -> dict[str, int]:
    """What some of the blocks came without, and how many of them."""
    kinds = {blocks.POLICY: "policies", blocks.CHECKPOINT: "checkpoints", TRAINING: "diagnostics"}
    counts = {what: sum(name in block.left_out for block in found) for name, what in kinds.items()}
    return {what: number for what, number in counts.items() if number}


def agreement(directory: Path, block: blocks.Block) -> dict[str, bool]:
    """Of each file of numbers in `directory`, whether its bytes are those that were recorded of the block."""
    return {name: sha256(directory / name) == block.record["checksums"][name] for name in (EVALUATIONS, TRAINING)}


def is_trainable(block: blocks.Block) -> bool:
    """Whether what it takes is there: a block held to a policy that was left out waits for a rerun of the latter."""
    try:
        reference = recorded_config(block.path).reference
        return reference.path is None or not policies.is_left_out(reference.path)
    except UserError:  # what is wrong with it was said
        return False


def checked_config(block: blocks.Block) -> "Config":
    """The block's settings. Raises `UserError` where the code has changed what they mean."""
    config = recorded_config(block.path)
    if cell_hash(config) != block.record["hash"]:
        raise UserError(
            f"{block.path}: its settings now mean {cell_hash(config)}, not {block.record['hash']}: "
            f"the code has changed since commit {block.record['git']['commit']}"
        )
    return config


def pick(found: Sequence[blocks.Block], number: int) -> list[blocks.Block]:
    """Some of them, at random: whoever made the results cannot know which."""
    return random.SystemRandom().sample(found, min(number, len(found)))


def _folders(root: Path) -> list[Path]:
    """The block folders at or below `root`, reruns and what was set aside left out."""
    if (root / blocks.RECORD).exists():
        return [root]
    patterns = ("*", "*/*", "*/*/*", "runs/*/*/*", "*/runs/*/*/*")  # of a cell, a task, runs, a study, all studies
    return sorted({path for pattern in patterns for path in root.glob(pattern) if _is_block(path)})


def _is_block(path: Path) -> bool:
    parts = path.parts
    return path.name.startswith("seeds-") and path.is_dir() and "reruns" not in parts and "damaged" not in parts


def _problems(block: blocks.Block) -> Iterator[str]:
    record = block.record
    yield from blocks.mismatches(block)
    if not block.path.parent.name.endswith(f"-{record['hash']}"):
        yield f"its folder {block.path.parent.name} is not that of hash {record['hash']}"
    if re.sub(r"-retry-\d+$", "", block.path.name) != blocks.seeds_name(sorted(block.seeds)):
        yield f"its folder's name is not that of seeds {sorted(block.seeds)}"
    try:
        config = checked_config(block)
    except UserError as error:
        yield str(error).removeprefix(f"{block.path}: ")
        return
    yield from _miscounted(block, config)


def _miscounted(block: blocks.Block, config: "Config") -> Iterator[str]:
    """Done seeds that do not have every episode of every evaluation."""
    import pyarrow.parquet as pq

    try:
        seeds = pq.read_table(block.path / EVALUATIONS, columns=["seed"])["seed"].to_pylist()
    except Exception as error:  # a damaged file makes the reader raise all kinds
        yield f"{EVALUATIONS} is not readable as Parquet ({type(error).__name__})"
        return
    expected = (config.evaluation.points + 1) * MODES * config.evaluation.episodes
    for seed in sorted(block.seeds - block.causes.keys()):
        if seeds.count(seed) != expected:
            yield f"seed {seed} has {seeds.count(seed)} evaluation episodes, not {expected}"
