"""Arms against arms: paired differences to the control with adjusted p-values, ranks, and power."""

import itertools
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import load, stats
from bench.verdicts.selection import SHARED_FACTORS

ALPHA = 0.05


@dataclass(frozen=True)
class Power:
    """What the study's comparisons can detect.

    Attributes:
        comparisons: planned comparisons with the control, the family Holm's procedure adjusts for.
        pairs: the smallest number of pairs among those made.
        correlation: median over comparisons of the correlation between paired runs; NaN where none varies.
        detectable: the smallest d_z found with power 0.8 at level α over the number of comparisons.
    """

    comparisons: int
    pairs: int
    correlation: float
    detectable: float


def against_control(runs: pd.DataFrame, control: str, mode: str = "stochastic", reps: int = stats.REPS) -> pd.DataFrame:
    """Every arm's paired difference to the control, per task, with Holm's adjustment over the planned family.

    Args:
        runs: as `analysis.load` gives them.
        control: an arm's label.
        mode: the policy compared; claims are judged on the stochastic one.
        reps: bootstrap resamples.

    Returns:
        One row per measure of a task (`task` holds its label) and arm: `pairs`, `difference` (task's units; `_low`,
        `_high`), `effect` (d_z), `correlation`, `improvement` = P(arm > control), `p`, `p_holm` and `reason`: why an
        arm is not tested, else "".
        A planned comparison without pairs has NaN and still counts in the family.
    """
    rows: list[dict[str, object]] = []
    for measure in load.measures(runs):
        part = runs[runs["task"] == measure.task]
        for arm in part["arm"].unique():
            if arm != control and (part["arm"] == control).any():
                reason = not_comparable(part, str(arm), control)
                rows.append({"task": measure.label, "arm": str(arm), "reason": reason})
                if not reason:
                    rows[-1] |= _comparison(measure, part, str(arm), control, mode, reps)
    columns = ["task", "arm", "pairs", "difference", "difference_low", "difference_high", "effect", "correlation"]
    table = pd.DataFrame(rows, columns=[*columns, "improvement", "p", "p_holm", "reason"])
    tested = table["reason"] == ""
    table.loc[tested, "p_holm"] = stats.holm(table.loc[tested, "p"].to_numpy(float))
    return table


def not_comparable(runs: pd.DataFrame, arm: str, control: str, besides: Collection[str] = ()) -> str:
    """Why an arm is a reference line beside the control and no paired comparison; "" where it is one.

    `besides` names factors the comparison is about, which may therefore differ.
    """
    for factor in SHARED_FACTORS:
        if factor in runs and factor not in besides:
            values = [runs.loc[runs["arm"] == name, factor].dropna().unique() for name in (arm, control)]
            if all(len(found) for found in values) and set(values[0]) != set(values[1]):
                return f"reference line: {factor}={values[0][0]}, the control's is {values[1][0]}"
    return ""


def paired_scores(runs: pd.DataFrame, arm: str, other: str, metric: str) -> tuple[stats.Array, stats.Array]:
    """(seeds,) twice: a metric of two arms on one task, the same seed in the same place, NaN where one is missing."""
    wide = runs[runs["arm"].isin([arm, other])].pivot(index="seed", columns="arm", values=metric).sort_index()
    return wide[arm].to_numpy(float), wide[other].to_numpy(float)


def _comparison(
    measure: load.Measure, runs: pd.DataFrame, arm: str, control: str, mode: str, reps: int
) -> dict[str, object]:
    first, second = paired_scores(runs, arm, control, measure.final(mode))
    rng = stats.generator(measure.label, arm, control, mode, "difference")
    found = stats.interval(first, stats.mean, reps, stats.CONFIDENCE, rng, paired_with=second)
    differences = first - second
    return {
        "pairs": int(np.count_nonzero(~np.isnan(differences))),
        **dict(zip(("difference", "difference_low", "difference_high"), found, strict=True)),
        "effect": standardised(differences),
        "correlation": correlation(first, second),
        "improvement": float(stats.probability_of_improvement(first, second)),
        "p": stats.sign_flip_test(differences, rng),
    }


def standardised(differences: stats.Array) -> float:
    """d_z: the mean of paired differences over their standard deviation; NaN where that is 0 or unknown."""
    present = differences[~np.isnan(differences)]
    spread = present.std(ddof=1) if present.size > 1 else 0.0
    return float(present.mean() / spread) if spread > 0 else float("nan")


def correlation(first: stats.Array, second: stats.Array) -> float:
    """Pearson's correlation of paired runs; NaN where one side does not vary."""
    both = ~np.isnan(first) & ~np.isnan(second)
    if both.sum() < 3 or np.ptp(first[both]) == 0 or np.ptp(second[both]) == 0:
        return float("nan")
    return float(np.corrcoef(first[both], second[both])[0, 1])


def power(comparisons: pd.DataFrame) -> Power | None:
    """The power line of a table of `against_control`; None where nothing was compared."""
    tested = comparisons[(comparisons["reason"] == "") & (comparisons["pairs"].astype(float) > 0)]
    if tested.empty:
        return None
    planned = int((comparisons["reason"] == "").sum())
    pairs = int(tested["pairs"].min())
    return Power(
        comparisons=planned,
        pairs=pairs,
        correlation=float(tested["correlation"].astype(float).median()),
        detectable=stats.minimum_detectable_effect(pairs, ALPHA / planned),
    )


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
    others = np.full(pairs - int((table["mark"] == "tied").sum()), np.nan)  # of the family, but nothing is said of them
    tied = table["mark"] == "tied"
    adjusted = stats.holm(np.concatenate([table.loc[tied, "p"].to_numpy(float), others]))[: int(tied.sum())]
    table.loc[tied, "mark"] = np.where(adjusted <= ALPHA, "behind", "tied")
    return table.drop(columns="p")


def _behind(differences: pd.Series, *names: object) -> float:
    """p of the highest mean's lead over an arm, two-sided; 1 where pairs of seeds say that there is none."""
    found = differences.to_numpy(float)
    if not np.nansum(found) > 0:
        return 1.0
    return stats.sign_flip_test(found, stats.generator(*names, "rank"))
