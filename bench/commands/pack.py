"""`python -m bench pack study=NAME`: one file of a study's records and curves, to hand on in place of its folders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import packs
from bench.config.arguments import read
from bench.errors import UserError, counted
from bench.records import block as blocks
from bench.records import files, index


@dataclass(frozen=True)
class Arguments:
    """Which study."""

    study: str = ""
    results: str = "results"


def main(words: Sequence[str]) -> int:
    """Write the packs of a study and say what is in them. Raises `UserError`."""
    asked = read("pack", words, Arguments)
    folder = index.study_folder(Path(asked.results), asked.study, (index.STUDY, index.LAB))
    made = [pack for part in (packs.RUNS, packs.LAB) if (pack := write(folder, part)) is not None]
    if not made:
        raise UserError(f"{folder}: no finished block to pack")
    for pack in made:
        left = f", {pack.unfinished} unfinished left out" if pack.unfinished else ""
        print(f"{counted(pack.finished, 'block')} packed{left}: {pack.path} ({pack.path.stat().st_size / 1e3:,.0f} kB)")
    return 0


@dataclass(frozen=True)
class Packed:
    """A pack that was written, and how many blocks are in it and not."""

    path: Path
    finished: int
    unfinished: int


def write(study: Path, part: str) -> Packed | None:
    """Pack the finished blocks of a part of a study; None where there is none.

    The same blocks give the same bytes. What no score depends on is left out: single episodes, diagnostics, policies.

    Raises:
        UserError: for a damaged block or one of another version, or where the pack cannot be written.
    """
    found = [blocks.read(path) for path in blocks.walk(study, part)[0]]
    finished = [block for block in found if block is not None and block.finished]
    for block in finished:
        blocks.check(block)
    if not finished:
        return None
    path = study / f"{part}{packs.SUFFIX}"
    try:
        files.write_atomic(path, lambda temporary: packs.write(temporary, _files(study, finished)))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return Packed(path, len(finished), len(found) - len(finished))


def _files(study: Path, finished: Sequence[blocks.Block]) -> Iterator[tuple[str, bytes]]:
    """The files that are packed, by their paths below the study."""
    for block in finished:
        kept = [name for name in block.record["checksums"] if name not in blocks.OPTIONAL]
        for name in (blocks.RECORD, *kept):
            file = block.path / name
            yield file.relative_to(study).as_posix(), packs.read_bytes(file)
