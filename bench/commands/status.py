"""`python -m bench status study=NAME`: what a study has done, running, stale, failed, missing.

A block is done where its record, its settings and its numbers are what was written; `verify` looks at every file.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import parallel
from bench.config import names
from bench.config.arguments import read
from bench.design import ledger
from bench.errors import one_line
from bench.records import block as blocks
from bench.records import index
from bench.records.partial import PARTIAL

MOST_LINES = 50  # of cells in one state
AT_ONCE = 250  # cells that a process looks at before it takes others
STATES = ("done", "running", "stale", "failed", "missing", "damaged")


@dataclass(frozen=True)
class Arguments:
    """Which study, and whether every line is printed."""

    study: str = ""
    results: str = "results"
    all: bool = False


def main(words: Sequence[str]) -> int:
    """Print the state of a study; the exit code: 2 where a block of it is damaged. Raises `UserError`."""
    asked = read("status", words, Arguments)
    text, intact = status(Path(asked.results), asked.study, every=asked.all)
    print("\n".join(map(one_line, text.splitlines())))
    for line in ledger.summary(Path(asked.results) / asked.study):
        print(one_line(line))
    return 0 if intact else 2


@dataclass(frozen=True)
class Line:
    """Some seeds of a cell in one state, and what there is to say about it."""

    state: str
    cell: str
    seeds: Sequence[int]
    note: str = ""


def status(results: Path, study: str, *, every: bool = False) -> tuple[str, bool]:
    """The state of a study's planned cells as text, and whether none is damaged.

    Of the seeds in one state, at most `MOST_LINES` lines are shown, unless `every` one is asked for.

    Raises:
        UserError: where no such study has been run, or its index is damaged.
    """
    folder = index.study_folder(results, study)
    cells = index.STUDY.read(folder)["cells"]
    arms = names.arm_labels([names.Named(cell["task"], cell["arm"], cell["hash"], {}) for cell in cells])
    called = [f"{cell['task']} {arm}" for cell, arm in zip(cells, arms, strict=True)]
    lines = _lines(folder, list(zip(cells, called, strict=True)))
    counts = Counter(line.state for line in lines for _ in line.seeds)
    summary = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    shown = _shown(lines, every)
    return "\n".join([f"{study}: {summary} (seeds of cells)", *shown]), all(line.state != "damaged" for line in lines)


def _lines(study: Path, cells: Sequence[tuple[index.Entry, str]]) -> list[Line]:
    """The lines of cells, each with its name; thousands of cells are looked at by several processes."""

    def look(start: int) -> list[Line]:
        return [line for cell, name in cells[start : start + AT_ONCE] for line in _cell(study, cell, name)]

    return [line for part in parallel.each(look, range(0, len(cells), AT_ONCE)) for line in part]


def _shown(lines: Sequence[Line], every: bool) -> list[str]:
    """What is not done, in the order of the cells; of many lines of one state the first, then their number."""
    shown: list[str] = []
    counts: Counter[str] = Counter()
    for line in lines:
        counts[line.state] += 1
        if line.state != "done" and (every or counts[line.state] <= MOST_LINES):
            note = f": {line.note}" if line.note else ""
            shown.append(f"{line.state:8} {line.cell} seeds {_short(line.seeds)}{note}")
    further = {state: counts[state] - MOST_LINES for state in STATES[1:] if counts[state] > MOST_LINES and not every}
    return shown + [f"{state:8} {number} more; all=true names them" for state, number in further.items()]


def _cell(study: Path, cell: index.Entry, name: str) -> Iterator[Line]:
    """The planned seeds of a cell by state; a seed in several blocks is in the best of their states."""
    left = set(cell["seeds"])
    found: list[blocks.Block] = []
    damage: dict[Path, str] = {}
    for path in blocks.folders(study / cell["path"]):
        try:
            block = blocks.read(path)
            if block is not None and block.finished:
                blocks.check(block, blocks.SCORED)
        except blocks.DamagedBlock as error:
            damage[path] = str(error)
            continue
        if block is not None:
            found.append(block)
    for block in found:
        if block.finished:
            done = left & block.taken("failed")
            left -= done
            if done:
                yield Line("done", name, sorted(done))
    for block in sorted(found, key=lambda block: STATES.index(block.state)):
        mine = left & block.seeds
        left -= mine
        yield from _block(name, block, mine)
    for path, cause in damage.items():
        hurt = left & set(blocks.seeds_of(path.name) or left)  # a strange name may stand for any of them
        left -= hurt
        yield Line("damaged", name, sorted(hurt), cause)
    if left:
        yield Line("missing", name, sorted(left))


def _block(name: str, block: blocks.Block, seeds: set[int]) -> Iterator[Line]:
    causes = {seed: cause for seed, cause in block.causes.items() if seed in seeds}
    for cause in dict.fromkeys(causes.values()):
        yield Line("failed", name, [seed for seed in sorted(causes) if causes[seed] == cause], cause)
    rest = sorted(seeds - causes.keys())
    if rest:
        yield Line(block.state, name, rest, _note(block))


def _note(block: blocks.Block) -> str:
    """How far a running block is, and what a stale one goes on from."""
    if block.state == "stale":
        return "goes on from its checkpoint" if (block.path / PARTIAL).exists() else "begins again"
    fraction, _ = blocks.progress(block.path)
    return "" if fraction is None else f"{fraction:.0%}"


def _short(seeds: Sequence[int]) -> str:
    return blocks.seeds_name(seeds).removeprefix("seeds-") if seeds else "none planned"
