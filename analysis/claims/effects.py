"""What a factor does: its levels beside one another, over all pairs of arms that differ in nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis import load, stats
from analysis.claims.arms import Arm, arms
from analysis.claims.comparisons import interval, reference_lines, with_failures
from analysis.load import Records
from analysis.load.labels import COMPARED
from analysis.load.shown import shown_arms
from bench.verdicts.judge import ALPHA
from bench.verdicts.selection import confounded

_APART = ("budget", "env_steps", "name")


@dataclass(frozen=True)
class Effect:
    """A level of a factor beside another on a task.

    Attributes:
        factor, level, against: what is compared; `against` is the level that most arms are compared with.
        task: label of the measure.
        arms: pairs of arms that differ in the factor alone.
        seeds: that all of them have.
        effect, low, high: of the normalised final score, averaged over the pairs of arms and paired by seed.
    """

    factor: str
    level: str
    against: str
    task: str
    arms: int
    seeds: int
    effect: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def effects(records: Records) -> list[Effect]:
    """Every level of every factor, beside the level of the control (or the most frequent one), on every task.

    An effect is the mean over the pairs of arms that differ in the factor alone, and in what comes with it, of the
    paired differences of their normalised final scores. All intervals hold at once with probability 1 − `ALPHA`: each
    has its share. Reference lines are left out, and a run that failed counts as in verdicts. Factors come in the order
    of `COMPARED`, then by how many pairs of arms they have.
    """
    runs = shown_arms(records).of(records.runs)
    asides = reference_lines(runs, records.control)
    found: list[tuple[str, str, str, str, int, stats.Array]] = []
    for measure in load.measures(runs):
        part = runs[runs["task"] == measure.task]
        own = [arm for arm in arms(part, records.factors) if (measure.task, arm.label) not in asides]
        scores = with_failures(part, measure.normalised("stochastic"))
        own = [arm for arm in own if arm.label in scores]
        for factor in records.factors:
            if factor not in _APART:
                found += [(factor, *each) for each in _of_factor(factor, own, records.control, scores, measure.label)]
    level = ALPHA / max(len(found), 1)
    judged = [
        Effect(factor, own, against, task, pairs, len(values), *interval(values, level))
        for factor, own, against, task, pairs, values in found
    ]
    count = pd.Series([each.arms for each in judged], dtype=int).groupby([each.factor for each in judged]).sum()
    order = {factor: place for place, factor in enumerate(COMPARED)}
    return sorted(judged, key=lambda each: (order.get(each.factor, len(order)), -int(count[each.factor])))


def _of_factor(
    factor: str, own: Sequence[Arm], control: str | None, scores: pd.DataFrame, label: str
) -> list[tuple[str, str, str, int, stats.Array]]:
    levels = {arm.label: str(arm.factors[factor]) for arm in own if arm.factors.get(factor) is not None}
    if len({*levels.values()}) < 2:
        return []
    counts = pd.Series(levels).value_counts(sort=True)
    against = levels.get(str(control), str(counts.index[0]))
    rows = []
    others = [arm for arm in own if levels.get(arm.label) == against]
    for level in dict.fromkeys(levels.values()):
        pairs = [
            (one.label, other.label)
            for one in own
            if levels.get(one.label) == level
            for other in others
            if not confounded(one.factors, other.factors, {factor, "name"})
        ]
        if pairs and level != against:
            differences = pd.DataFrame({pair: scores[pair[0]] - scores[pair[1]] for pair in pairs})
            values = differences.dropna().mean(axis=1).to_numpy(float)
            if len(values) > 1:
                rows.append((level, against, label, len(pairs), values))
    return rows
