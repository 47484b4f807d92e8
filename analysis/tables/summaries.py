"""Tables of how runs learned, beside where they ended: speed, stability, aggregates, the article's closing table."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.claims import comparisons
from analysis.claims.judge import SOLVED
from analysis.load import laboratory
from analysis.stats import estimates as stats
from analysis.tables import tables
from analysis.tables.formats import Section, Table, interval_text, optional_text

REPS = 10_000
ESTIMATORS = ("td0", "nstep", "gae", "monte_carlo")  # in the order of how far they look ahead
MEASURED_APART = ("bias", "variance", "cosine")

_AGGREGATES: Mapping[str, stats.Statistic] = {
    "mean": stats.mean,
    "IQM": stats.iqm,
    "median": stats.median,
    "optimality gap": stats.optimality_gap,
}


def aggregate_table(runs: pd.DataFrame, confidence: float = tables.CONFIDENCE) -> Table | None:
    """Normalised final scores over `compared_tasks`, for the arms with a score on every one; None for a single task."""
    scores = tables.on_every_task(runs, "normalised_stochastic")
    if len(tables.compared_tasks(runs)) < 2 or not scores:
        return None
    rows = []
    for arm, array in scores.items():
        rng = stats.generator(arm, "aggregates")
        found = stats.intervals(array, list(_AGGREGATES.values()), REPS, confidence, rng)
        rows.append((arm, str(np.count_nonzero(~np.isnan(array))), *(interval_text(each, 3) for each in found)))
    return Table(
        caption=f"Normalised final stochastic scores over {tables.compared_name(runs)} (0 random, 1 reference), with "
        f"{confidence:.0%} stratified bootstrap intervals: mean, interquartile mean, median of the tasks' means, and "
        "how far runs fall short of 1 on average.",
        header=("arm", "runs", *_AGGREGATES),
        sections=(Section("", tuple(rows)),),
    )


def learning_table(metrics: pd.DataFrame, confidence: float = tables.CONFIDENCE) -> Table:
    """How fast and how steadily arms learned, from `analysis.claims.run_metrics`: a section per task."""
    sections = []
    for task, part in metrics[metrics["final"].notna()].groupby("task", sort=False):
        rows = [_learning_row(str(task), str(arm), own, confidence) for arm, own in part.groupby("arm", sort=False)]
        sections.append(Section(str(task), tuple(rows)))
    return Table(
        caption=f"Speed and stability of the stochastic policy, with {confidence:.0%} bootstrap intervals of means "
        "over seeds. Area: mean height of the normalised learning curve. Steps: median over seeds until a normalised "
        f"score of {SOLVED:g}; “> budget” where most seeds never get there; never: how many did not. Drawdown: mean "
        "share of its running best that a run has lost again. Spread: mean distance of a seed's final score from the "
        "arm's median.",
        header=("arm", "n", "area", f"steps to {SOLVED:g}", "never", "drawdown", "spread"),
        sections=tuple(sections),
    )


def _learning_row(task: str, arm: str, runs: pd.DataFrame, confidence: float) -> tuple[str, ...]:
    never = int(np.isinf(runs["steps_to_threshold"].astype(float)).sum())
    return (
        arm,
        str(len(runs)),
        _mean_text(runs["area"], (task, arm, "area"), confidence),
        steps_text(runs["steps_to_threshold"].to_numpy(float)),
        f"{never} of {len(runs)}",
        _mean_text(runs["drawdown"], (task, arm, "drawdown"), confidence),
        _mean_text(runs["spread"], (task, arm, "spread"), confidence),
    )


def _mean_text(values: pd.Series, names: tuple[str, str, str], confidence: float) -> str:
    found = stats.interval(values.to_numpy(float), stats.mean, REPS, confidence, stats.generator(*names))
    return interval_text(found, 3)


def steps_text(steps: stats.Array) -> str:
    """The median of censored steps: `12,000`, `> budget` where the middle run never got there, a dash for no run."""
    present = np.sort(steps[~np.isnan(steps)])
    if not present.size:
        return "–"
    low, high = present[(present.size - 1) // 2], present[present.size // 2]
    return "> budget" if np.isinf(high) else f"{(low + high) / 2:,.0f}"


def closing_table(
    metrics: pd.DataFrame, estimates: pd.DataFrame, costs: pd.DataFrame, figures: pd.DataFrame
) -> Table | None:
    """The article's closing table with numbers for adjectives: the estimators under a critic, one per row;
    arms that collect otherwise are left out.

    Args:
        metrics: as `analysis.claims.run_metrics` gives them.
        estimates: as `analysis.tables.comparison` gives them.
        costs: as `analysis.tables.costs` gives them.
        figures: those of `analysis.load.laboratory.Laboratory`.

    Returns:
        None where a study does not have two estimators under the critic.
    """
    if not {"baseline", "advantage"} <= set(metrics):
        return None
    chosen = metrics[(metrics["baseline"] == "critic") & metrics["final"].notna()]
    sections = []
    for task, part in chosen.groupby("task", sort=False):
        arms = part.drop_duplicates("arm")
        arms = arms[arms["advantage"].isin(ESTIMATORS)].sort_values("advantage", key=_order, kind="stable")
        alike = [arm for arm in arms["arm"] if not comparisons.not_comparable(part, arm, arms["arm"].iloc[0])]
        if arms.loc[arms["arm"].isin(alike), "advantage"].nunique() > 1:
            rows = [_closing_row(str(task), str(arm), part, estimates, costs, figures) for arm in alike]
            sections.append(Section(str(task), tuple(rows)))
    if not sections:
        return None
    lacking = "" if len(figures) else " They are not in this study: python -m bench lab measures them."
    return Table(
        caption="The estimators of the return under one critic: final stochastic score with its interval, mean height "
        "of the learning curve, drawdown, and what a run costs. Bias, variance and cosine: of the advantages and "
        "gradients "
        f"under a {laboratory.CRITIC} critic {laboratory.STAGE} in training.{lacking}",
        header=("arm", *MEASURED_APART, "final", "area", "drawdown", "seconds", "CPU s", "parameters"),
        sections=tuple(sections),
    )


def _order(levels: pd.Series) -> pd.Series:
    return levels.map(ESTIMATORS.index)


def _closing_row(
    task: str,
    arm: str,
    metrics: pd.DataFrame,
    estimates: pd.DataFrame,
    costs: pd.DataFrame,
    figures: pd.DataFrame,
) -> tuple[str, ...]:
    mine = metrics[metrics["arm"] == arm]
    names = (estimates["task"] == task) & (estimates["arm"] == arm) & (estimates["mode"] == "stochastic")
    estimate = estimates[names].iloc[0]
    cost = costs[(costs["task"] == task) & (costs["arm"] == arm)].iloc[0]
    knobs = {name: mine[name].iloc[0] for name in ("gae_lambda", "n_step") if name in mine and mine[name].notna().any()}
    estimator = {"baseline": "critic", "advantage": mine["advantage"].iloc[0], **knobs}
    absent = ["–"] * len(MEASURED_APART)
    means = laboratory.texts(figures, task, MEASURED_APART, estimator) if len(figures) else absent
    score = interval_text(tables.interval_of(estimate, "mean"), tables.decimals_of(estimate[["mean"]].to_numpy(float)))
    learned = [optional_text(float(mine[name].mean()), 3) for name in ("area", "drawdown")]
    seconds = [optional_text(float(cost[name]), 2) for name in ("wall_seconds", "cpu_seconds")]
    return (arm, *means, score, *learned, *seconds, tables.thousands_text(float(cost["parameters"])))


def present(*found: Table | None) -> Sequence[Table]:
    """The tables there are."""
    return [table for table in found if table is not None]
