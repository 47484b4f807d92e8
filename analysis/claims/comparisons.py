"""Arms against arms: every arm against the control, judged as claims are, and ranks."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import load, stats
from analysis.claims.arms import Arm, arms
from analysis.claims.verdicts import looked_at, one_look
from analysis.load import Records
from bench.design.comparisons import Comparison
from bench.verdicts import metrics
from bench.verdicts.judge import ALPHA, MARGIN, SCORE_RANGE, Question
from bench.verdicts.row import JudgedRow
from bench.verdicts.selection import SHARED_FACTORS, Factors, not_comparable
from bench.verdicts.sequential import Design, Interval, repeated_interval

WORST = metrics.METRICS["final"].worst  # of a run that failed by itself
_SAME = 1e-9  # relative: differences that are equal but for rounding
METRICS = {"return": "final", "true_return": "true_final"}  # by column of the evaluations


@dataclass(frozen=True)
class Compared:
    """An arm beside the control on a task.

    Attributes:
        measure: the task, and what is measured there.
        row: how it was judged; of a reference line nothing was.
        effect: d, the mean of the paired differences over their standard deviation; NaN where that is 0 or unknown.
        improvement: P(arm > control), over all pairs of runs; NaN without any.
    """

    measure: load.Measure
    row: JudgedRow
    effect: float
    improvement: float


def against_control(records: Records) -> list[Compared]:
    """Every arm against the control on every measure of each task: `higher`, by more than `MARGIN`.

    The comparisons that the study planned are a family, those without runs among them. Arms that saw other data are
    reference lines, which are not judged.
    """
    if records.control is None:
        return []
    found: list[tuple[load.Measure, Arm, Arm, str]] = []
    with_factors = {arm.hash: arm for arm in arms(records.runs, records.factors)}
    for measure in load.measures(records.runs):
        of_task = arms(records.runs[records.runs["task"] == measure.task], ())
        control = next((arm for arm in of_task if arm.label == records.control), None)
        for arm in of_task:
            if control is not None and arm is not control:
                one, other = (with_factors.get(each.hash, each) for each in (arm, control))
                found.append((measure, one, other, not_comparable(one.factors, other.factors)))
    planned = sum(not reason for *_, reason in found)
    finals = [measure.final("stochastic") for measure in load.measures(records.runs)]
    compared = records.runs[[*dict.fromkeys(("task", "hash", "arm", "seed", *finals))]]  # of some seventy columns
    runs = dict(iter(compared.groupby(["task", "hash"], sort=False)))
    return [
        _compared(
            records, pd.concat([runs[measure.task, each.hash] for each in (arm, control)]),
            measure, arm, control, reason, planned,
        )
        for measure, arm, control, reason in found
    ]  # fmt: skip


def _compared(
    records: Records, runs: pd.DataFrame, measure: load.Measure, arm: Arm, control: Arm, reason: str, planned: int
) -> Compared:
    """An arm beside the control, from the `runs` of both."""
    seeds = set(runs["seed"])
    metric = METRICS[measure.column]
    question = Question(metric, "higher", MARGIN, 1 / max(planned, 1))
    blank = JudgedRow(
        file="",
        name=arm.label,
        statement="",
        source="",
        study=records.name,
        task=measure.task,
        arm=arm.label,
        against=control.label,
        metric=metric,
        direction=question.direction,
        margin=question.margin,
        level=ALPHA * question.share,
        asked=len(seeds),
    )
    if reason:
        row = JudgedRow(**{**vars(blank), "text": reason})
    else:
        row = looked_at(blank, records, lambda each: _is_same(each, arm, control, metric)) or one_look(
            blank, question, [arm, control], runs, records
        )
    first, second = paired_scores(runs, arm.label, control.label, measure.final("stochastic"))
    return Compared(measure, row, standardised(first - second), float(stats.probability_of_improvement(first, second)))


def _is_same(row: Comparison, arm: Arm, control: Arm, metric: str) -> bool:
    cells = tuple(cell.hash for cell in row.cells)
    return (row.metric, row.direction, cells) == (metric, "higher", (arm.hash, control.hash))


def paired_scores(runs: pd.DataFrame, arm: str, other: str, metric: str) -> tuple[stats.Array, stats.Array]:
    """(seeds,) twice: a metric of two arms on one task, the same seed in the same place, NaN where one is missing."""
    values = dict(zip(zip(runs["arm"], runs["seed"], strict=True), runs[metric].to_numpy(float), strict=True))
    seeds = sorted({seed for label, seed in values if label in (arm, other)})
    first, second = (np.array([values.get((label, seed), np.nan) for seed in seeds]) for label in (arm, other))
    return first, second


def standardised(differences: stats.Array) -> float:
    """d_z: the mean of paired differences over their standard deviation; NaN where that is 0 or unknown."""
    present = differences[~np.isnan(differences)]
    spread = present.std(ddof=1) if present.size > 1 else 0.0
    return float(present.mean() / spread) if spread > 0 else float("nan")


def reference_lines(runs: pd.DataFrame, control: str | None = None) -> set[tuple[str, str]]:
    """(task, arm) of the arms that saw other data than the others of their task, such as one that collects otherwise.

    The others are those comparable with the control; on a task without it, the most that are comparable.
    """
    names = [name for name in SHARED_FACTORS if name in runs]
    found: set[tuple[str, str]] = set()
    for task, part in runs.groupby("task", sort=False):
        groups: dict[tuple[object, ...], list[str]] = {}  # arms by what they share
        for arm in arms(part, names):
            groups.setdefault(tuple(arm.factors.get(name) for name in names), []).append(arm.label)
        alike = {
            key: [each for each in groups if not not_comparable(_named(names, each), _named(names, key))]
            for key in groups
        }
        own = [key for key, labels in groups.items() if control in labels]
        by_size = sorted(groups, key=lambda key: -sum(len(groups[each]) for each in alike[key]))
        for leader in (own or by_size)[:1]:
            found |= {(str(task), label) for key in groups if key not in alike[leader] for label in groups[key]}
    return found


def _named(names: Sequence[str], values: Sequence[object]) -> Factors:
    return dict(zip(names, values, strict=True))


def ranks(runs: pd.DataFrame, control: str | None = None) -> pd.DataFrame:
    """How arms stand to the one with the highest mean, of every task and mode.

    An arm is behind where the judge's interval of the paired differences lies above 0. The data say which arm has the
    highest mean, so the family is every pair of ranked arms of all tasks and modes: each interval has its share of
    `ALPHA`, and the probability that any arm is wrongly called behind is at most that. As in verdicts, scores are
    normalised and a run that failed by itself counts as a random policy. Arms with fewer than two runs have no rank,
    reference lines have none, and where fewer than two arms are left, none has.

    Returns:
        One row per measure of a task (`task` holds its label), mode and arm with a score: `task`, `arm`, `mode`, `mark`
        ("highest", "tied" with it, "behind" it, "reference" line, or "": no rank).
    """
    asides = reference_lines(runs, control)
    tables: list[tuple[load.Measure, str, pd.DataFrame, list[str]]] = []
    for measure, mode in itertools.product(load.measures(runs), load.MODES):
        scores = with_failures(runs[runs["task"] == measure.task], measure.normalised(mode))
        ranked = [str(arm) for arm in scores if scores[arm].count() > 1 and (measure.task, str(arm)) not in asides]
        tables.append((measure, mode, scores, ranked if len(ranked) > 1 else []))
    pairs = sum(len(ranked) * (len(ranked) - 1) // 2 for *_, ranked in tables)
    rows = []
    for measure, mode, scores, ranked in tables:
        highest, among = scores[ranked].mean().idxmax() if ranked else None, set(ranked)
        for arm in scores:
            mark = "reference" if (measure.task, arm) in asides else ""
            if arm == highest:
                mark = "highest"
            elif arm in among:
                differences = (scores[highest] - scores[arm]).dropna().to_numpy(float)
                mark = "behind" if interval(differences, ALPHA / pairs)[1] > 0 else "tied"
            rows.append({"task": measure.label, "arm": str(arm), "mode": mode, "mark": mark})
    return pd.DataFrame(rows, columns=["task", "arm", "mode", "mark"])


def with_failures(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Seeds × arms of a normalised score, of the arms that have any; what the judge counts for a run that failed."""
    own = runs[["arm", "seed", "status", metric]]  # of some seventy columns
    scored = set(own.loc[own[metric].notna(), "arm"])
    counted = own.assign(score=own[metric].astype(float).mask(own["status"] == "failed", WORST))
    table = counted.pivot(index="seed", columns="arm", values="score")
    return table[[arm for arm in own["arm"].unique() if arm in scored]]


def interval(differences: stats.Array, level: float) -> Interval:
    """The judge's interval of paired differences of normalised scores: estimate, low, high.

    Differences that are all equal say nothing of their spread: they have the guarded interval, which stands for it.
    """
    equal = len(differences) > 0 and bool(np.ptp(differences) <= _SAME * np.abs(differences).max())
    design = Design((max(len(differences), 1),), guarded=equal)
    return repeated_interval(differences, design, level, value_range=SCORE_RANGE)
