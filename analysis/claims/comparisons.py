"""Arms against arms: every arm against the control, judged as claims are, and ranks."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import load, stats
from analysis.claims.arms import Arm, arms
from analysis.claims.verdicts import looked_at, one_look
from analysis.load import Records
from bench.design.comparisons import Comparison
from bench.verdicts.judge import ALPHA, MARGIN, Question
from bench.verdicts.row import JudgedRow
from bench.verdicts.selection import not_comparable

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


def ranks(runs: pd.DataFrame) -> pd.DataFrame:
    """How arms stand to the one with the highest mean, of every task and mode.

    An arm is behind where a paired sign-flip test says so, adjusted by Holm's procedure over all pairs of arms of all
    tasks and modes together, since the data say which arm has the highest mean. So the probability that any arm is
    wrongly called behind is at most `ALPHA`, whatever the scores' distributions are. Arms with fewer than two scores
    have no rank, and where fewer than two arms are left, none has.

    Returns:
        One row per measure of a task (`task` holds its label), mode and arm with a score: `task`, `arm`, `mode`, `mark`
        ("highest", "tied" with it, "behind" it, or "": no rank).
    """
    rows: list[dict[str, object]] = []
    pairs = 0
    for measure, mode in itertools.product(load.measures(runs), load.MODES):
        part = runs[(runs["task"] == measure.task) & runs[measure.final(mode)].notna()]
        scores = part.pivot(index="seed", columns="arm", values=measure.final(mode))[list(part["arm"].unique())]
        ranked = scores.columns[scores.count() > 1] if (scores.count() > 1).sum() > 1 else scores.columns[:0]
        pairs += len(ranked) * (len(ranked) - 1) // 2
        highest = scores[ranked].mean().idxmax() if len(ranked) else None
        for arm in scores:
            row = {"task": measure.label, "arm": str(arm), "mode": mode, "mark": "", "p": float("nan")}
            if arm == highest:
                row["mark"] = "highest"
            elif arm in ranked:
                row |= {"mark": "tied", "p": _behind(scores[highest] - scores[arm], measure.label, arm, mode)}
            rows.append(row)
    table = pd.DataFrame(rows, columns=["task", "arm", "mode", "mark", "p"])
    tied = table["mark"] == "tied"
    adjusted = stats.holm(table.loc[tied, "p"], others=pairs - int(tied.sum()))  # of other pairs nothing is said
    table.loc[tied, "mark"] = np.where(adjusted <= ALPHA, "behind", "tied")
    return table.drop(columns="p")


def _behind(differences: pd.Series, *names: object) -> float:
    """p of the highest mean's lead over an arm, two-sided; 1 where pairs of seeds say that there is none."""
    found = differences.to_numpy(float)
    if not np.nansum(found) > 0:
        return 1.0
    return stats.sign_flip_test(found, stats.generator(*names, "rank"))
