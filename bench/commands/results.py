"""`python -m bench results study=NAME`: the final score of every cell with its interval, as training prints it too.

The numbers are those of the report: the same scores, the same resamples, the same words for tasks and arms.
"""

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.config import names
from bench.config.arguments import read
from bench.errors import one_line
from bench.records import block as blocks
from bench.records import index, scores
from bench.verdicts.bootstrap import mean_interval
from bench.verdicts.estimates import Interval
from bench.verdicts.numerals import decimals_of, optional_text

MOST_ROWS = 40  # of a table, unless all are asked for
COLUMNS = ("return", "true_return")  # of curves; the true score, on tasks where it is not what was paid
HEADER = ("task", "arm", "mean", "95 % interval", "n")
TEXTS = 2  # of these columns are words

Mode = Literal["stochastic", "deterministic"]
Key = tuple[str, str]  # the hash and the arm of a cell


@dataclass(frozen=True)
class Arguments:
    """Which study, which policy, and whether every row is printed."""

    study: str = ""
    results: str = "results"
    mode: Mode = "stochastic"
    all: bool = False


def main(words: Sequence[str]) -> int:
    """Print the final scores of a study; the exit code: 1 where files were damaged and left out. Raises `UserError`."""
    asked = read("results", words, Arguments)
    folder = index.study_folder(Path(asked.results), asked.study)
    found = final_scores(folder, mode=asked.mode, most=None if asked.all else MOST_ROWS)
    for problem in found.problems:
        print(f"warning: {one_line(problem)}", file=sys.stderr)
    print(found.text("all=true shows them"))
    return 1 if found.problems else 0


@dataclass(frozen=True)
class Row:
    """What one cell came to: `n` of its `planned` seeds are done."""

    task: str
    arm: str
    score: Interval
    n: int
    planned: int


@dataclass(frozen=True)
class FinalScores:
    """The rows of a table, how many cells are not among them, and what could not be read."""

    study: str
    mode: Mode
    rows: Sequence[Row]
    left_out: int
    problems: Sequence[str]

    def text(self, further: str) -> str:
        """Return the table; `further` says how the cells are seen that it leaves out."""
        title = f"final scores of {self.study}: {self.mode} policy, mean over n seeds, 95 % bootstrap interval"
        lines = _aligned([HEADER, *self._cells()])
        rest = [f"and {self.left_out:,} more: {further}"] if self.left_out else []
        return "\n".join([title, *lines, *rest])

    def _cells(self) -> Iterator[tuple[str, ...]]:
        means: dict[str, list[float]] = {}
        for row in self.rows:
            means.setdefault(row.task, []).append(row.score[0])
        decimals = {task: decimals_of(np.array(found)) for task, found in means.items()}
        for row in self.rows:
            mean, low, high = (optional_text(number, decimals[row.task]) for number in row.score)
            interval = f"[{low}, {high}]" if np.isfinite(row.score[1]) else "–"
            count = str(row.n) if row.n == row.planned else f"{row.n} of {row.planned}"
            yield one_line(row.task), one_line(row.arm), mean, interval, count


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns stand below one another, words to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if place < TEXTS else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def final_scores(
    study: Path, keys: Collection[Key] | None = None, mode: Mode = "stochastic", most: int | None = MOST_ROWS
) -> FinalScores:
    """Return the final scores of a study's cells, or of those with these `keys`, in the order they were planned in.

    Of more than `most` the first are read. Cells of a design of settings have none: settings are no seeds. Raises
    `UserError` for a damaged index.
    """
    cells = [cell for cell in index.STUDY.read(study)["cells"] if "design" not in cell]
    problems: list[str] = []
    found = [list(_blocks(study / cell["path"], problems)) for cell in cells]
    named = [_named(cell, own) for cell, own in zip(cells, found, strict=True)]
    tasks = names.task_labels(named)
    arms = names.arm_labels([replace(each, task=task) for each, task in zip(named, tasks, strict=True)])
    wanted = [place for place, cell in enumerate(cells) if keys is None or (cell["hash"], cell["arm"]) in keys]
    shown = wanted[:most]
    rows = [
        row for place in shown for row in _rows(cells[place], (tasks[place], arms[place]), found[place], mode, problems)
    ]
    return FinalScores(study.name, mode, rows, len(wanted) - len(shown), problems)


def _blocks(cell: Path, problems: list[str]) -> Iterator[blocks.Block]:
    """Yield the blocks of a cell that can be read; the others are `problems`."""
    for path in blocks.folders(cell):
        try:
            block = blocks.read(path)
        except blocks.DamagedBlock as error:
            problems.append(str(error))
            continue
        if block is not None and not block.is_intact:
            problems.append(str(blocks.damaged(path, f"{blocks.RECORD} does not match its own checksum")))
        elif block is not None:
            yield block


def _named(cell: index.Entry, found: Sequence[blocks.Block]) -> names.Named:
    factors: dict[str, Any] = dict(found[0].record["factors"]) if found else {}
    task = names.recorded_task(cell["task"], factors) if found else cell["task"]
    return names.Named(task, cell["arm"], cell["hash"], factors)


def _rows(
    cell: index.Entry, label: tuple[str, str], found: Sequence[blocks.Block], mode: Mode, problems: list[str]
) -> Iterator[Row]:
    """Yield the row of a cell, and that of its true score where it has one."""
    seeds = sorted({*cell["seeds"], *(seed for block in found for seed in block.seeds)})
    by_column: dict[str, dict[int, float]] = {COLUMNS[0]: {}}
    for block in found:
        for column, own in _scores(block, mode, problems).items():
            known = by_column.setdefault(column, {})
            known.update({seed: score for seed, score in own.items() if seed not in known})
    for column, own in by_column.items():
        task = label[0] if column == COLUMNS[0] else f"{label[0]} (true score)"
        values = [own.get(seed, np.nan) for seed in seeds]
        yield Row(task, label[1], mean_interval(values, task, label[1], mode), len(own), len(seeds))


def _scores(block: blocks.Block, mode: Mode, problems: list[str]) -> dict[str, dict[int, float]]:
    """Return, by column of the curves, the final score of each seed of a block that is done."""
    done = {int(seed) for seed, outcome in block.record["seeds"].items() if outcome["status"] == "done"}
    if not block.finished or not done:
        return {}
    try:
        curves = blocks.curves(block)
    except blocks.DamagedBlock as error:
        problems.append(str(error))
        return {}
    return {
        column: {
            seed: score
            for (seed, of), score in scores.final_scores(
                curves, block.record["budget"], scores.judged(curves, column)
            ).items()
            if of == mode and seed in done
        }
        for column in COLUMNS
        if column in curves.column_names
    }
