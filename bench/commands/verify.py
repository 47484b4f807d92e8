"""`python -m bench verify RESULTS`: whether results are what was written, and this machine gets the same bytes."""

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import packs, plugin
from bench.config.arguments import read, word
from bench.design import ledger
from bench.errors import UserError, counted, nearest, one_line
from bench.execution.reproduce import checked_config, described, is_trainable, train_again
from bench.paths import refuse_links
from bench.records import block as blocks
from bench.records import files, index
from bench.records.files import Damaged
from bench.records.scores import is_exact
from bench.records.shapes import whole
from bench.records.tables import CURVES, EPISODES, TRAINING

PACKS = {f"{part}{packs.SUFFIX}": part for part in (packs.RUNS, packs.LAB)}
MODES = 2  # of evaluation: deterministic, stochastic


@dataclass(frozen=True)
class Arguments:
    """Which results, and how many of their blocks are trained again."""

    results: str = word("give a results folder, a study's or a block's, such as results/quick")
    rerun: int = 1
    plugins: str = ""


def main(words: Sequence[str]) -> int:
    """Verify results and train some blocks again; the exit code: 1 where anything differs. Raises `UserError`."""
    asked = read("verify", words, Arguments)
    if asked.rerun < 0:
        raise UserError(f"rerun={asked.rerun}: must be a whole number of at least 0")
    plugin.import_modules(asked.plugins)
    found = verify(Path(asked.results))
    for problem in found.problems:
        print(f"problem: {one_line(problem)}")
    for note in found.notes:
        print(f"note: {one_line(note)}")
    for path in found.unsealed:
        print(f"{path}: of an earlier version, without a checksum of its own")
    print(
        f"{counted(len(found.finished), 'finished block')}, {found.unfinished} unfinished, "
        f"{counted(len(found.problems), 'problem')} with their files"
    )
    measured = [block for block in found.finished if block.measured]
    trained = [block for block in found.finished if not block.measured]
    own = [block for block in trained if not block.converted]
    if len(own) < len(trained):
        converted = counted(len(trained) - len(own), "block")
        print(f"{converted} of an earlier version (converted): their numbers cannot be trained again")
    if measured:
        print(f"{counted(len(measured), 'block')} of the laboratory: nothing to train again")
    for what, number in left_out(own).items():
        print(f"{what} left out of {counted(number, 'block')}; 'python -m bench rerun BLOCK' makes them again")
    agree = _train_again(own, asked.rerun) if asked.rerun else True
    return 1 if found.problems or not agree else 0


def _train_again(found: Sequence[blocks.Block], number: int) -> bool:
    """Train some blocks again and say how each agrees; → whether all do."""
    able = [block for block in found if is_trainable(block)]
    if len(able) < len(found):
        waiting = counted(len(found) - len(able), "block")
        print(f"{waiting} held to a policy that is not here: not trained again")
    agree = True
    for block in pick(able, number):
        print(f"training {block.path} again", file=sys.stderr)
        try:
            agrees = train_again(block)
        except UserError as error:
            print(f"problem: {error}")
            agree = False
            continue
        print(f"{block.path} trained again:\n{described(agrees)}")
        agree = agree and all(agrees.values())
    return agree


@dataclass(frozen=True)
class Verified:
    """The finished blocks below a folder, how many others there are, and a line for whatever is wrong.

    `unsealed` are indexes of studies in which a damage might not be seen. `notes` are what a
    reader of ledgers should know.
    """

    finished: Sequence[blocks.Block]
    unfinished: int
    problems: Sequence[str]
    unsealed: Sequence[Path] = ()
    notes: Sequence[str] = ()


def verify(root: Path) -> Verified:
    """Hold every block in or below `root` against its record: hashes, checksums, names, the number of evaluations.

    The indexes of the studies below `root` are held against their own checksums.

    Raises:
        UserError: where there is no such folder, no block, or one of another version.
    """
    root = root.resolve() if any(part.is_symlink() for part in (root, *root.parents)) else root  # it was asked for
    root = root.with_name(PACKS[root.name]) if root.name in PACKS else root
    packed, problems = _packed(root)
    if not root.exists() and not packed:
        beside = [path.name for path in root.parent.glob("*")]
        raise UserError(f"{root}: no such folder{nearest(root.name, beside)}")
    paths = sorted({*_folders(root), *packed})
    if not paths and not problems:
        raise UserError(f"{root}: no blocks; give a results folder, a study's, or a block's")
    finished, unfinished = [], 0
    for path in paths:
        try:
            block = blocks.read(path)
            if block is None or not block.finished:
                unfinished += 1
                continue
            problems += [f"{path}: {problem}" for problem in _problems(block)]
        except (blocks.DamagedBlock, packs.DamagedPack) as error:
            problems.append(str(error))
            continue
        finished.append(block)
    wrong, unsealed = _indexes(root)
    forged, notes = _ledgers(root)
    return Verified(finished, unfinished, list(dict.fromkeys([*problems, *wrong, *forged])), unsealed, notes)


def _ledgers(root: Path) -> tuple[list[str], list[str]]:
    """What is wrong with the ledgers of the studies at or below `root`, and what should be known of them."""
    names = (ledger.LEDGER, ledger.HEAD)
    studies = sorted({path.parent for name in names for path in (*root.glob(name), *root.glob(f"*/{name}"))})
    problems: list[str] = []
    notes: list[str] = []
    if studies:
        from bench.design.audit import audit  # SciPy takes a second

        for study in studies:
            wrong, known = audit(study)
            problems += wrong
            notes += known
    return problems, notes


def _indexes(root: Path) -> tuple[list[str], list[Path]]:
    """What is wrong with the indexes of the studies at or below `root`, and which of them have no checksum."""
    problems, unsealed = [], []
    for each in index.INDEXES:
        for path in sorted({*root.glob(each.file), *root.glob(f"*/{each.file}")}):
            try:
                refuse_links(path, 2)
                each.load(path.parent)
                unsealed += [] if each.is_sealed(path.parent) else [path]
            except OSError as error:
                problems.append(f"{error.filename}: {error.strerror}")
            except Damaged as error:
                problems.append(f"damaged index {path} ({error})")
    return problems, unsealed


def left_out(found: Sequence[blocks.Block]) -> dict[str, int]:
    """What some of the blocks came without, and how many of them."""
    kinds = {
        blocks.POLICY: "policies",
        blocks.CHECKPOINT: "checkpoints",
        TRAINING: "diagnostics",
        EPISODES: "single episodes",
    }
    counts = {what: sum(name in block.left_out for block in found) for name, what in kinds.items()}
    return {what: number for what, number in counts.items() if number}


def pick(found: Sequence[blocks.Block], number: int) -> list[blocks.Block]:
    """Some of them, at random: whoever made the results cannot know which."""
    return random.SystemRandom().sample(found, min(number, len(found)))


def _folders(root: Path) -> list[Path]:
    """The block folders at or below `root`, reruns and what was set aside left out."""
    if (root / blocks.RECORD).exists():
        return [root]
    inside = ("*", "*/*", "*/*/*")  # of a cell, a task, a part of a study
    patterns = (*inside, *(f"{above}{part}/*/*/*" for part in (blocks.RUNS, blocks.LAB) for above in ("", "*/")))
    return sorted({path for pattern in patterns for path in root.glob(pattern) if _is_block(path)})


def _packed(root: Path) -> tuple[list[Path], list[str]]:
    """The packed blocks at or below `root`, and what is wrong with packs."""
    found, problems = [], []
    for name, part in PACKS.items():
        for folder in (root, *sorted(path.parent for path in root.glob(f"*/{name}"))):
            try:
                found += packs.blocks_below(folder, part)
            except packs.DamagedPack as error:
                problems.append(str(error))
    return found, problems


def _is_block(path: Path) -> bool:
    parts = path.parts
    return path.name.startswith("seeds-") and path.is_dir() and "reruns" not in parts and "damaged" not in parts


def _problems(block: blocks.Block) -> Iterator[str]:
    record = block.record
    yield from blocks.mismatches(block)
    if not block.path.parent.name.endswith(f"-{record['hash']}"):
        yield f"its folder {block.path.parent.name} is not that of hash {record['hash']}"
    if not blocks.is_named_by(block.path.name, block.seeds):
        yield f"its folder's name is not that of seeds {sorted(block.seeds)}"
    if block.measured:
        return
    if not block.converted:
        try:
            checked_config(block)
        except UserError as error:
            yield str(error).removeprefix(f"{block.path}: ")
            return
    yield from _miscounted(block)


def _miscounted(block: blocks.Block) -> Iterator[str]:
    """Done seeds that do not have every episode of every evaluation, or none where all their returns are exact."""
    try:
        table = blocks.table(block, CURVES, ("seed", "episodes"))
    except Damaged as error:
        if not list(blocks.mismatches(block, (CURVES,))):  # which were said
            yield str(error)
        return
    points, episodes = (block.record["factors"].get(f"evaluation.{key}") for key in ("points", "episodes"))
    if not whole(points) or not whole(episodes):
        yield f"its factors have {files.shown(points)} points of evaluation of {files.shown(episodes)} episodes"
        return
    number, allowed = (points + 1) * MODES, {episodes, 0} if is_exact(table) else {episodes}
    rows = table.to_pylist()
    for seed in sorted(block.seeds - block.causes.keys()):
        found = [row["episodes"] or 0 for row in rows if row["seed"] == seed]
        if len(found) != number or len(set(found)) > 1 or not set(found) <= allowed:
            yield f"seed {seed} has {sum(found)} evaluation episodes, not {episodes * number}"
