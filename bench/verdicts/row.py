"""A comparison as it was judged: the one row that reports, tables, figures, files and the scoreboard are made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.verdicts import sequential
from bench.verdicts.words import Direction, Word, margins

MISSING = "missing"  # printed where there are no runs to judge: no verdict, so it is none of the words


@dataclass(frozen=True)
class JudgedRow:
    """A claim, or an arm against the control, on one task; effects point in the direction that is claimed.

    Attributes:
        file: stem of the claims file; "" for an arm against the control.
        name: the claim's, or the arm's.
        statement: the claim in words; "" without one.
        source: where it is said; "" without one.
        study: whose runs were judged.
        task: on which one.
        arm, against: labels of the two arms; of a constant its value; "" where they are not known.
        metric: of a run, see `bench.verdicts.metrics`.
        direction: what is claimed: `higher`, `lower`, `not_lower` or `equal`.
        margin: s, the smallest effect of interest.
        level: two-sided level of this row alone, its share of the family's 0.05.
        asked: pairs the claim asks for; of a study with looks, the most there may be.
        looks: numbers of pairs at which it was looked at, of which the last one gave the verdict; one for a fixed
            number of seeds; none where nothing was judged.
        pairs: that were judged.
        effect, low, high: estimate and interval, in the metric's units; NaN where nothing was judged.
        word: the verdict; None where nothing was judged (printed as `MISSING`).
        text: the verdict with what goes with it: a sign, a side, or why nothing is said.
        p: the smallest level of the family at which this look still gives the verdict; None for a verdict that claims
            no side.
        needed: pairs that would decide an open row if it went on as it began: a plan, no evidence.
        noise: share of evaluation noise in the variance of the effect between pairs; 0 for exact returns, None where
            it is not known.
        failed: runs of the two arms that failed by themselves and count with the worst value.
        planned: "planned", or since when not; "" where that is not known.
    """

    file: str
    name: str
    statement: str
    source: str
    study: str
    task: str
    arm: str
    against: str
    metric: str
    direction: Direction
    margin: float
    level: float
    asked: int
    looks: tuple[int, ...] = ()
    pairs: int = 0
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    word: Word | None = None
    text: str = MISSING
    p: float | None = None
    needed: int | None = None
    noise: float | None = None
    failed: int = 0
    planned: str = ""

    @property
    def verdict(self) -> str:
        """The bare word; of a row that was not judged, that it is `MISSING` or withdrawn."""
        return self.text.partition(":")[0] if self.word is None else str(self.word)

    @property
    def finding(self) -> str:
        """The verdict with its side, where it has one: what two rows must share to be one finding."""
        return self.text if self.word in (Word.DIFFERENT, Word.AT_THE_MARGIN) else self.verdict

    @property
    def boundaries(self) -> tuple[float, ...]:
        """The boundaries between its verdicts, to be drawn beside its interval."""
        return margins(self.direction, self.margin)

    @property
    def unseen(self) -> str:
        """What this many pairs cannot show; "" where none was judged."""
        return sequential.unseen(self.pairs) if self.pairs else ""


def in_order(verdicts: Sequence[str]) -> list[str]:
    """Each verdict once, in the order of the table of words; what is none of them last."""
    order = [str(word) for word in Word]
    return sorted(dict.fromkeys(verdicts), key=lambda each: order.index(each) if each in order else len(order))


def overall(rows: Sequence[JudgedRow]) -> str:
    """One word where all rows say the same, else how many tasks say what: never one word for different findings."""
    places = in_order([row.verdict for row in rows])
    found = [row.finding for row in sorted(rows, key=lambda row: places.index(row.verdict))]
    counts = {finding: found.count(finding) for finding in found}
    if len(counts) == 1:
        return found[0]
    (first, number), *others = counts.items()
    return ", ".join([f"{first} on {number} of {len(rows)} tasks", *(f"{each} on {n}" for each, n in others)])
