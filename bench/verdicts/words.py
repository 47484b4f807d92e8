"""The words a comparison ends in, and what each asserts of the true effect θ.

One interval per row gives the word. The effect is oriented so that the claimed direction is positive, s is the smallest
effect of interest, and the first line whose condition holds counts (`table`). A word asserts a set of θ, so that it is
known when it is wrong: where its set does not hold θ. At θ = ±s only "at the margin" and "open" are right.

docs/verdicts.md tells the same to readers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.verdicts import sequential

Direction = Literal["higher", "lower", "not_lower", "equal"]
LEARNED = 0.25  # an arm has learned something whose mean final score is this far above its own start

AT_BOUND = 1e-3  # how far from a bound a run may be that is at it


class Word(StrEnum):
    """A verdict as it is printed and stored."""

    SUPPORTED = "supported"
    REVERSED = "reversed"
    DIFFERENT = "different"
    SMALLER = "real, smaller than of interest"
    NO_DIFFERENCE = "no difference of interest"
    AT_THE_MARGIN = "at the margin"
    OPEN = "open"
    UNINFORMATIVE = "uninformative"


@dataclass(frozen=True)
class Line:
    """A line of the table: a word and the set of θ it asserts.

    Attributes:
        word: what is printed.
        low, high: ends of the set; it is open, (low, high), but for "at the margin", where it is closed.
        margin: for "at the margin", the boundary the interval must hold; else None.
    """

    word: Word
    low: float
    high: float
    margin: float | None = None

    def fits(self, low: ArrayLike, high: ArrayLike) -> NDArray[np.bool_]:
        """Whether intervals [low, high] give this word, lines before this one aside.

        They must lie inside the asserted set, strictly; at a margin, hold it and be at most half as wide as the set is
        on either side of it, so that θ is in the set wherever in the interval it is.
        """
        low, high = np.asarray(low, float), np.asarray(high, float)
        if self.margin is None:
            above = (low > self.low) | (self.low == -math.inf)
            return np.asarray(above & ((high < self.high) | (self.high == math.inf)))
        return np.asarray((low <= self.margin) & (high >= self.margin) & (high - low <= (self.high - self.low) / 2))

    def holds(self, effect: float) -> bool:
        """Whether the asserted set holds a true effect: where it does not, the word is wrong."""
        if self.margin is None:
            return self.low < effect < self.high
        return self.low <= effect <= self.high


def table(direction: Direction, margin: float) -> tuple[Line, ...]:
    """The lines of a direction, in their order; the last one fits every interval.

    Args:
        direction: what is claimed. `lower` reads like `higher`, the effect being oriented.
        margin: s, the smallest effect of interest.

    Raises:
        ValueError: for a margin that is not positive and finite.
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"margin={margin}: must be positive and finite")
    far, s = math.inf, margin
    if direction == "equal":
        decided = [(Word.DIFFERENT, s, far), (Word.DIFFERENT, -far, -s), (Word.SUPPORTED, -s, s)]
    elif direction == "not_lower":
        decided = [(Word.REVERSED, -far, -s), (Word.SUPPORTED, -s, far)]
    else:
        decided = [
            (Word.SUPPORTED, s, far),
            (Word.REVERSED, -far, -s),
            (Word.SMALLER, 0.0, s),
            (Word.NO_DIFFERENCE, -s, s),
        ]
    at = [Line(Word.AT_THE_MARGIN, each - s / 2, each + s / 2, each) for each in margins(direction, margin)]
    return (*(Line(*line) for line in decided), *at, Line(Word.OPEN, -far, far))


def margins(direction: Direction, margin: float) -> tuple[float, ...]:
    """The boundaries between the verdicts of a direction: ±s, and −s alone for `not_lower`."""
    return (-margin,) if direction == "not_lower" else (margin, -margin)


@dataclass(frozen=True)
class Verdict:
    """A word with what it asserts, and how it reads.

    Attributes:
        word: the bare word.
        asserts: the line of the table; None for "uninformative", which asserts nothing.
        text: the word with what goes with it: a sign, a side, or why nothing is said.
    """

    word: Word
    asserts: Line | None
    text: str

    def wrong(self, effect: float) -> bool:
        """Whether the asserted set does not hold this true effect, which is oriented as the claim is."""
        return self.asserts is not None and not self.asserts.holds(effect)


def verdict(
    low: float, high: float, direction: Direction, margin: float, *, says_nothing: str = "", no_equality: str = ""
) -> Verdict:
    """The verdict of one interval.

    Args:
        low, high: the interval's ends, oriented so that the claimed direction is positive; they may be infinite.
        direction: what is claimed.
        margin: s, the smallest effect of interest.
        says_nothing: why these runs say nothing at all, such as all of them at one bound; "" where they do.
        no_equality: why they cannot show that two arms are alike, such as that neither learned anything; "" where they
            can. It overrules the verdicts whose set holds 0 and leaves the others: a difference is a difference.

    Raises:
        ValueError: for an end that is NaN, ends in the wrong order, or a margin that is not positive and finite.
    """
    if not low <= high:
        raise ValueError(f"[{low}, {high}]: is no interval")
    line = next(line for line in table(direction, margin) if line.fits(low, high))
    reason = says_nothing or (no_equality if line.word is not Word.OPEN and line.holds(0.0) else "")
    if reason:
        return Verdict(Word.UNINFORMATIVE, None, f"{Word.UNINFORMATIVE}: {reason}")
    return Verdict(line.word, line, _text(line, low, high, direction, margin))


def _text(line: Line, low: float, high: float, direction: Direction, margin: float) -> str:
    if line.word is Word.DIFFERENT:
        return f"{line.word}: {'higher' if low > 0 else 'lower'}"
    if line.margin is not None:
        return f"at the {'upper' if line.margin > 0 else 'lower'} margin"
    if line.word is Word.NO_DIFFERENCE and high < 0:
        return f"{line.word}; a small one the other way"
    if line.word is Word.OPEN and direction in ("higher", "lower") and high < margin:
        return f"{line.word}: not supported"
    return str(line.word)


def oriented(interval: sequential.Interval, direction: Direction) -> sequential.Interval:
    """An interval of arm less other arm, turned so that the claimed direction is positive."""
    estimate, low, high = interval
    return (-estimate, -high, -low) if direction == "lower" else interval


def learned(gain: sequential.Interval) -> bool:
    """Whether an arm learned something, from the interval of its runs' final score less their score at the start.

    Its mean must be more than `LEARNED` and the interval lie above 0. At least one arm must have, before two of them
    are called alike.
    """
    estimate, low, _ = gain
    return estimate > LEARNED and low > 0


def at_one_bound(values: ArrayLike, low: float | None, high: float | None) -> bool:
    """Whether all values lie at a metric's lower bound (or below), or all at its upper one; None where it has none."""
    found = np.asarray(values, float)
    at_bottom = low is not None and bool((found <= low + AT_BOUND).all())
    return at_bottom or (high is not None and bool((found >= high - AT_BOUND).all()))


def p_value(
    interval_at: Callable[[float], sequential.Interval], found: Verdict, alpha: float, oriented_as: Direction
) -> float | None:
    """The smallest level of the whole family at which this look's interval still gives the verdict.

    Args:
        interval_at: a level of the family → this row's interval at this look.
        found: the verdict at `alpha`.
        alpha: the family's level.
        oriented_as: the claim's direction.

    Returns:
        None for "open", "at the margin" and "uninformative", which claim no side.
    """
    line = found.asserts
    if line is None or line.word in (Word.OPEN, Word.AT_THE_MARGIN):
        return None

    def still(level: float) -> bool:
        _, low, high = oriented(interval_at(level), oriented_as)
        return bool(line.fits(low, high))

    return sequential.least_level(still, alpha)


@dataclass(frozen=True)
class Row:
    """A comparison at one look; effects are oriented so that the claimed direction is positive.

    Attributes:
        pairs: how many there are.
        effect, low, high: estimate and interval.
        verdict: the word, with what it asserts.
        p: see `p_value`.
        needed: pairs that would decide an open comparison if it went on as it began; a plan, no evidence.
    """

    pairs: int
    effect: float
    low: float
    high: float
    verdict: Verdict
    p: float | None
    needed: int | None


def decide(
    differences: ArrayLike,
    direction: Direction,
    margin: float,
    design: sequential.Design,
    *,
    alpha: float,
    share: float,
    value_range: float | None = 1.0,
    says_nothing: str = "",
    no_equality: str = "",
) -> Row:
    """The row of a comparison at the look that has this many pairs.

    Args:
        differences: (pairs,), arm less other arm, or the metric's values per pair.
        direction, margin, says_nothing, no_equality: see `verdict`.
        design: the looks.
        alpha: the family's level.
        share: this row's share of it; 1/m for m rows without weights.
        value_range: of the metric, see `sequential.repeated_interval`.

    Raises:
        ValueError: as `verdict` and `sequential.repeated_interval`.
    """

    def interval_at(level: float) -> sequential.Interval:
        return sequential.repeated_interval(differences, design, level * share, value_range)

    values = np.asarray(differences, float)
    effect, low, high = oriented(interval_at(alpha), direction)
    found = verdict(low, high, direction, margin, says_nothing=says_nothing, no_equality=no_equality)
    needed = None
    if found.word is Word.OPEN and len(values) > 1:
        z = sequential.boundaries(alpha * share, design.looks)[-1]
        span = value_range if design.guarded else None
        needed = sequential.pairs_needed(effect, float(values.std(ddof=1)), margins(direction, margin), z, span)
    return Row(len(values), effect, low, high, found, p_value(interval_at, found, alpha, direction), needed)
