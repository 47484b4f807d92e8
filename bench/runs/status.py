"""What a study has: done, running, stale, failed, missing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError, unknown
from bench.runs import block as blocks
from bench.runs import index

STATES = ("done", "running", "stale", "failed", "missing", "damaged")


@dataclass(frozen=True)
class Line:
    """Some seeds of a cell in one state, and what there is to say about it."""

    state: str
    cell: str
    seeds: Sequence[int]
    note: str = ""


def status(results: Path, study: str) -> tuple[str, bool]:
    """The state of a study's planned cells as text, and whether none is damaged.

    Raises:
        UserError: where no such study has been run, or its index is damaged.
    """
    studies = sorted(path.parent.name for path in results.glob(f"*/{index.INDEX}"))
    if study not in studies:
        raise unknown(f"study in {results}", study, studies)
    lines = [line for cell in index.read(results / study)["cells"] for line in _cell(results / study, cell)]
    counts = Counter(line.state for line in lines for _ in line.seeds)
    summary = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    shown = [
        f"{line.state:8} {line.cell} seeds {_short(line.seeds)}{': ' if line.note else ''}{line.note}"
        for line in lines
        if line.state != "done"
    ]
    return "\n".join([f"{study}: {summary} (seeds of cells)", *shown]), all(line.state != "damaged" for line in lines)


def _cell(study: Path, cell: index.Entry) -> Iterator[Line]:
    """The planned seeds of a cell by state."""
    name = f"{cell['task']} {cell['arm']}"
    left = set(cell["seeds"])
    damage: list[str] = []
    for path in sorted((study / cell["path"]).glob("seeds-*")):
        try:
            block = blocks.read(path)
        except UserError as error:
            damage.append(str(error))
            continue
        if block is not None:
            mine = left & block.seeds
            left -= mine
            yield from _block(name, block, mine)
    if damage:  # whose seeds nobody can tell: of those planned, any that are nowhere else
        yield Line("damaged", name, sorted(left), "; ".join(damage))
    elif left:
        yield Line("missing", name, sorted(left))


def _block(name: str, block: blocks.Block, seeds: set[int]) -> Iterator[Line]:
    causes = {seed: cause for seed, cause in block.causes.items() if seed in seeds}
    for cause in dict.fromkeys(causes.values()):
        yield Line("failed", name, [seed for seed in sorted(causes) if causes[seed] == cause], cause)
    rest = sorted(seeds - causes.keys())
    if rest:
        yield Line(block.state, name, rest)


def _short(seeds: Sequence[int]) -> str:
    return blocks.seeds_name(seeds).removeprefix("seeds-") if seeds else "none planned"
