"""Simulated studies: how often a family of rows ends with any wrong verdict, and how soon rows are decided.

    nice python -m tests.analysis.claims.simulated_studies [studies] [part of a case's name]

A study is `ROWS` comparisons with one noise and one true effect θ, looked at as in training; each stops at the first
look whose verdict is not open. Boundaries, half-widths and the table are those of the package, applied to many rows at
once.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from analysis import stats
from bench.verdicts import words
from bench.verdicts.words import Direction, Word
from tests.analysis.claims.record_differences import FILE

STUDIES, ROWS = 2000, 80
ALPHA, MARGIN = 0.05, 0.05
DESIGN = stats.looks_up_to()
TRUTHS = [MARGIN * share for share in (1, -1, 1.1, 0.9, -0.9, -1.1, 0, 0.5)]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
CHUNK = 50  # studies drawn at once

Draw = Callable[[np.random.Generator, tuple[int, int]], stats.Array]


@dataclass(frozen=True)
class Case:
    """Noise of mean 0 that the differences of a row have around the true effect."""

    name: str
    kind: str  # normal, committed, mixture; unpaired: committed runs of one arm, which a claim holds against a constant
    draw: Draw


def normal(sd: float) -> Draw:
    return lambda rng, shape: rng.normal(0.0, sd, shape)


def population(values: list[float]) -> Draw:
    """Differences that were measured, drawn with replacement."""
    centred = np.array(values) - np.mean(values)
    return lambda rng, shape: centred[rng.integers(0, len(centred), shape, np.uint8)]


def mixture(sd: float, share: float, collapse: float = -0.8) -> Draw:
    """Normal noise of which a share of pairs collapses."""
    return lambda rng, shape: rng.normal(-share * collapse, sd, shape) + collapse * (rng.random(shape) < share)


def cases() -> Iterator[Case]:
    for sd in (0.05, 0.1, 0.2, 0.5):
        yield Case(f"normal, sd {sd}", "normal", normal(sd))
    for row in json.loads(FILE.read_text()):
        kind = "committed" if row["other"] else "unpaired"
        yield Case(f"{row['claim']}, {row['task']}, {row['metric']}", kind, population(row["differences"]))
    for sd in (0.02, 0.1):
        for share in (0.02, 0.05, 0.1):
            yield Case(f"mixture, {share:.0%} of collapses, sd {sd}", "mixture", mixture(sd, share))


def looked_at(case: Case, studies: int, rng: np.random.Generator) -> tuple[stats.Array, stats.Array]:
    """(rows, looks) twice: mean and standard deviation of the pairs seen so far, of the rows of all studies."""
    pairs = np.array(DESIGN.looks)
    starts = np.concatenate([[0], pairs[:-1]])
    means, sds = [], []
    for first in range(0, studies, CHUNK):
        values = case.draw(rng, (min(CHUNK, studies - first) * ROWS, pairs[-1]))
        sums = np.add.reduceat(values, starts, axis=1).cumsum(axis=1)
        squares = np.add.reduceat(values * values, starts, axis=1).cumsum(axis=1)
        means.append(sums / pairs)
        sds.append(np.sqrt(np.maximum(squares - sums**2 / pairs, 0) / (pairs - 1)))
    return np.concatenate(means), np.concatenate(sds)


def stopped(
    effects: stats.Array, halves: stats.Array, direction: Direction
) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[words.Line, ...]]:
    """Of every row the line of the table it ends with, as a number, and the look it stops at."""
    lines = words.table(direction, MARGIN)
    found = np.argmax([line.fits(effects - halves, effects + halves) for line in lines], axis=0)
    decided = found != len(lines) - 1
    look = np.where(decided.any(axis=1), decided.argmax(axis=1), decided.shape[1] - 1)
    return np.take_along_axis(found, look[:, None], axis=1)[:, 0], look, lines


@dataclass(frozen=True)
class Outcome:
    """What became of a case under one true effect and direction."""

    truth: float
    direction: Direction
    studies: int
    wrong: int  # studies with any wrong verdict
    decided: tuple[float, ...]  # share of rows that are decided, by look


def outcomes(case: Case, studies: int, truths: list[float], seed: int = 0) -> list[Outcome]:
    """Every true effect and direction of a case, on the same draws."""
    rng = stats.generator("simulated studies", case.name, seed)
    means, sds = looked_at(case, studies, rng)
    halves = stats.half_width(sds, DESIGN.looks, stats.quantiles(ALPHA / ROWS, DESIGN.looks), 1.0)
    found = []
    for direction in DIRECTIONS:
        for truth in truths:
            effects = truth + (-means if direction == "lower" else means)
            line, look, lines = stopped(effects, halves, direction)
            false = np.array([not each.holds(truth) for each in lines])
            is_open = np.array([each.word is Word.OPEN for each in lines])[line]
            wrong = int(np.count_nonzero(false[line].reshape(studies, ROWS).any(axis=1)))
            by_look = tuple(float(np.mean((look <= k) & ~is_open)) for k in range(len(DESIGN.looks)))
            found.append(Outcome(truth, direction, studies, wrong, by_look))
    return found


def main(studies: int = STUDIES, part: str = "") -> None:
    """Print the worst of every case, the share decided by look, and the worst of every kind."""
    worst: dict[str, float] = {}
    for case in cases():
        if part in case.name:
            found = outcomes(case, studies, [*TRUTHS, 2 * MARGIN])
            most = max(found, key=lambda each: each.wrong)
            worst[case.kind] = max(worst.get(case.kind, 0.0), most.wrong / studies)
            where = f"{most.wrong / studies:.4f} of studies ({most.direction}, θ = {most.truth:+.3f})"
            print(
                f"{case.name} [{case.kind}]: any wrong in {most.wrong / studies:.4f} of studies ({where})", flush=True
            )
            for each in found:
                if each.direction in ("higher", "equal") and each.truth in (0.0, 2 * MARGIN):
                    shares = " ".join(f"{share:.3f}" for share in each.decided)
                    print(f"    decided by look, {each.direction}, θ = {each.truth:+.2f}: {shares}", flush=True)
    print(f"worst by kind: {worst}")


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))
