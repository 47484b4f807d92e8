"""The judge: from the runs of two arms, seed by seed, to a row with interval, word, p, pairs needed and share of noise.

Looks while seeds are added and reports of studies with a fixed number of seeds call the same function; they differ in
the design alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.records.metrics import DRAWDOWN, Array
from bench.verdicts import sequential, words
from bench.verdicts.metrics import METRICS, Metric, Runs
from bench.verdicts.noise import noise_share
from bench.verdicts.sequential import Design
from bench.verdicts.spread import gini_pseudo_values
from bench.verdicts.words import Direction

ALPHA = 0.05  # of a family of comparisons, over all looks
MARGIN = 0.05  # smallest effect of interest where no claim says one, on the normalised scale
SPREAD_NOISE = 0.1  # largest share of noise of final scores at which their spread is judged
DRAWDOWN_NOISE = 0.2  # that at which two arms are called alike in what they lose, which is measured too small
SCORE_RANGE = 1.0  # of the normalised scale

_NOT_RECORDED = {
    DRAWDOWN: "needs exact returns or single episodes, which these results came without",
    "true_final": "was not recorded: this task has no true score beside its reward",
    "overstated": "was not recorded: this task has no true score beside its reward",
}


class NotJudged(Exception):
    """Why runs cannot be judged at all, such as that a number was not recorded."""


@dataclass(frozen=True)
class Question:
    """What is asked of two arms on a task.

    Attributes:
        metric: see `METRICS`.
        direction, margin: see `bench.verdicts.words.table`.
        share: of the level of its family.
        constant: what the arm is held against where that is no other arm.
        logarithm: whether the natural logarithm of the metric is judged: differences are those of ratios.
        limits: the ends of the metric's range, before the logarithm; what lies beyond counts as the nearer one.
    """

    metric: str
    direction: Direction
    margin: float
    share: float
    constant: float | None = None
    logarithm: bool = False
    limits: tuple[float, float] | None = None

    @property
    def traits(self) -> Metric:
        """What is known of its metric."""
        return METRICS[self.metric]

    @property
    def span(self) -> float | None:
        """R: how far one run can move the value of its pair; None where nothing bounds it."""
        if self.metric == "improvement":
            return self.traits.span
        if self.limits is None:
            return None if self.logarithm else self.traits.span
        low, high = self.scaled(np.array(self.limits))
        return float(high - low) * (2 if self.metric == "spread" else 1)

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Where nothing more can be lost or won, in the units that are judged."""
        if self.limits is not None:
            low, high = map(float, self.scaled(np.array(self.limits)))
            return low, high
        return (None, None) if self.logarithm else (self.traits.low, self.traits.high)

    def scaled(self, values: Array) -> Array:
        """Values of the metric in the units that are judged."""
        if self.limits is not None:
            values = np.clip(values, *self.limits)
        if not self.logarithm:
            return values
        with np.errstate(all="ignore"):
            return np.asarray(np.log(values))

    def looks(self, max_pairs: int) -> Design:
        """When it is looked at. Raises `ValueError` where that is later than `max_pairs`."""
        return sequential.looks_up_to(max_pairs, self.traits.first_look)


@dataclass(frozen=True)
class Judgement:
    """What the judge found; effects are oriented so that the claimed direction is positive.

    Attributes:
        row: pairs, effect, interval, verdict, p and pairs needed.
        sd: standard deviation of the values per pair.
        noise: share of evaluation noise in their variance, of spread the larger one of the two arms' final scores;
            None where it is not known.
        failed: runs that failed by themselves and count with the worst value.
    """

    row: words.Row
    sd: float
    noise: float | None
    failed: int


def judge(question: Question, arms: Sequence[Runs], design: Design) -> Judgement:
    """Judge one arm against another, or against a constant.

    Args:
        question: what is asked.
        arms: the runs of the arm, and of the other where it is an arm; the same seed in the same place.
        design: when pairs are looked at; there must be a look at as many as there are.

    Raises:
        NotJudged: for fewer pairs than give an interval, and where a number was not recorded.
    """
    pairs = len(arms[0].seeds)
    if pairs < (3 if question.metric == "spread" else 2):
        raise NotJudged(f"{pairs} {'pair' if pairs == 1 else 'pairs'} of runs")
    values = [_values(question, runs) for runs in arms]
    per_pair = _per_pair(question, values)
    noise = _noise(question, arms)
    found = words.decide(
        per_pair,
        question.direction,
        question.margin,
        design,
        alpha=ALPHA,
        share=question.share,
        value_range=question.span if design.guarded else None,
        says_nothing=_says_nothing(question, values, noise),
        no_equality=_no_equality(question, arms, design, noise),
    )
    failed = sum(len(runs.failed) for runs in arms)
    return Judgement(found, float(np.std(per_pair, ddof=1)), noise, failed)


def _values(question: Question, runs: Runs) -> Array:
    """(seeds,): the metric in the units that are judged, the worst value for a run that failed. Raises `NotJudged`."""
    name = "final" if question.traits.of_final else question.metric
    values = runs.values(name)
    unknown = int(np.count_nonzero(np.isnan(values) & ~runs.lost))
    if unknown:
        every = unknown == len(values) - len(runs.failed)
        why = _NOT_RECORDED.get(name, "was not recorded" if every else f"was not recorded for {unknown} of its runs")
        raise NotJudged(f"{name} {why}")
    scaled = question.scaled(np.where(runs.lost, question.traits.worst, values))
    if not np.isfinite(scaled).all():
        if runs.failed:
            raise NotJudged(f"{len(runs.failed)} failed runs, which have no worst value of {name} without a range")
        raise NotJudged(f"{name} has no logarithm in some of the runs")
    return scaled


def _per_pair(question: Question, values: Sequence[Array]) -> Array:
    """(pairs,): what is averaged, from the values of the arm and of the other, or of the arm alone."""
    constant = question.constant or 0.0
    if question.metric == "spread":
        return gini_pseudo_values(*values) if len(values) == 2 else gini_pseudo_values(values[0]) - constant
    if question.metric == "improvement":
        other = values[1] if len(values) == 2 else np.full_like(values[0], constant)
        return improvements(values[0], other)
    return values[0] - (values[1] if len(values) == 2 else constant)


def improvements(first: Array, second: Array) -> Array:
    """(pairs,): ½ for a pair that is won, 0 at a tie, −½ for one that is lost; their mean is a probability less ½."""
    return np.asarray((first > second) + 0.5 * (first == second) - 0.5)


def _noise(question: Question, arms: Sequence[Runs]) -> float | None:
    """The share of evaluation noise, see `Judgement`."""
    if not question.traits.evaluated:
        return None
    if all(runs.exact for runs in arms):
        return 0.0
    name = "final" if question.traits.of_final else question.metric
    halves = [question.scaled(np.where(runs.lost, question.traits.worst, runs.halves(name))) for runs in arms]
    if question.metric == "spread":
        shares = [_share(*each) for each in halves]
        known = [share for share in shares if share is not None]
        return max(known) if len(known) == len(shares) else None
    return _share(*(_per_pair(question, [each[half] for each in halves]) for half in (0, 1)))


def _share(first: Array, second: Array) -> float | None:
    if not np.isfinite([first, second]).all():
        return None
    if np.ptp(first + second) == 0:  # nothing varies, so nothing is noise
        return 0.0
    share = noise_share(first, second)
    return share if math.isfinite(share) else None


def _says_nothing(question: Question, values: Sequence[Array], noise: float | None) -> str:
    """Why these runs say nothing at all; "" where they do. Raises `NotJudged`."""
    if len(values) == 2 and words.at_one_bound(np.concatenate(values), *question.bounds):
        return "every run of both arms is at the same bound"
    if question.metric == "spread" and noise is None:
        raise NotJudged(
            "spread needs exact returns or single episodes, which these results came without, or it may measure dice"
        )
    if question.metric == "spread" and noise is not None and noise > SPREAD_NOISE:
        return f"it would measure dice, {noise:.0%} of the variance of final scores is noise of evaluations"
    return ""


def _no_equality(question: Question, arms: Sequence[Runs], design: Design, noise: float | None) -> str:
    """Why these runs cannot show that two arms are alike; "" where they can."""
    gains = [np.where(runs.lost, 0.0, runs.values("final") - runs.values("start")) for runs in arms]
    level = ALPHA * question.share
    known = [each for each in gains if np.isfinite(each).all()]
    if not any(words.learned(sequential.repeated_interval(each, design, level, SCORE_RANGE)) for each in known):
        return "no arm has learned anything"
    if question.metric == DRAWDOWN and (noise is None or noise > DRAWDOWN_NOISE):
        share = "an unknown share" if noise is None else f"{noise:.0%}"
        return f"a drawdown is measured too small, and {share} of its variance is noise of evaluations"
    return ""
