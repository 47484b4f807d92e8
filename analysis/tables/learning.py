"""How runs learned: the table of speed and stability, and the article's closing table."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis import stats
from analysis.claims.arms import arms
from analysis.claims.metrics import SOLVED
from analysis.load import laboratory
from analysis.tables.formats import (
    Section,
    Table,
    decimals_of,
    interval_of,
    interval_text,
    optional_text,
    thousands_text,
)
from bench.verdicts.selection import SHARED_FACTORS, not_comparable

ESTIMATORS = ("td0", "nstep", "gae", "monte_carlo")  # in the order of how far they look ahead
MEASURED_APART = ("bias", "variance", "cosine")


def learning_table(metrics: pd.DataFrame) -> Table:
    """How fast and how steadily arms learned, from `analysis.claims.metrics.run_metrics`: a section per task."""
    sections = []
    for task, part in metrics[metrics["final"].notna()].groupby("task", sort=False):
        rows = [_learning_row(str(task), str(arm), own) for arm, own in part.groupby("arm", sort=False)]
        sections.append(Section(str(task), tuple(rows)))
    return Table(
        caption=f"Speed and stability of the stochastic policy, with {stats.CONFIDENCE:.0%} bootstrap intervals of "
        "means over seeds. Area: mean height of the normalised learning curve. Steps: median over seeds until a "
        f"normalised score of {SOLVED:g}; “> budget” where most seeds never get there; never: how many did not. "
        "Drawdown: mean loss against the best so far, of exact returns or cross-fitted between halves of the episodes. "
        "Spread: Gini's mean difference, how far two runs of the arm end apart.",
        header=("arm", "n", "area", f"steps to {SOLVED:g}", "never", "drawdown", "spread"),
        sections=tuple(sections),
    )


def _learning_row(task: str, arm: str, runs: pd.DataFrame) -> tuple[str, ...]:
    steps = runs["steps_to_threshold"].to_numpy(float)
    area, drawdown = (
        interval_text(stats.mean_interval(runs[name].to_numpy(float), task, arm, name), 3)
        for name in ("area", "drawdown")
    )
    apart = stats.gini_pseudo_values(runs["final"]) if len(runs) > 2 else np.array([])  # their mean is the spread
    spread = interval_text(stats.mean_interval(apart, task, arm, "spread"), 3)
    never = f"{np.isinf(steps).sum()} of {len(runs)}"
    return (arm, str(len(runs)), area, steps_text(steps), never, drawdown, spread)


def steps_text(steps: stats.Array) -> str:
    """The median of censored steps: `12,000`, `> budget` where the middle run never got there, a dash for no run."""
    present = np.sort(steps[~np.isnan(steps)])
    if not present.size:
        return "–"
    low, high = present[(present.size - 1) // 2], present[present.size // 2]
    return "> budget" if np.isinf(high) else f"{(low + high) / 2:,.0f}"


def closing_table(
    metrics: pd.DataFrame, estimates: pd.DataFrame, costs: pd.DataFrame, measured: pd.DataFrame
) -> Table | None:
    """The article's closing table with numbers for adjectives: the estimators under a critic, one per row;
    arms that collect otherwise are left out.

    Args:
        metrics: as `analysis.claims.metrics.run_metrics` gives them.
        estimates: as `analysis.tables.final_scores.comparison` gives them.
        costs: as `analysis.tables.costs.costs_of_runs` gives them.
        measured: the numbers of `analysis.load.laboratory.Laboratory`.

    Returns:
        None where a study does not have two estimators under the critic.
    """
    if not {"baseline", "advantage"} <= set(metrics):
        return None
    chosen = metrics[(metrics["baseline"] == "critic") & metrics["final"].notna()]
    sections = []
    for task, part in chosen.groupby("task", sort=False):
        rows = part.drop_duplicates("arm")
        rows = rows[rows["advantage"].isin(ESTIMATORS)].sort_values("advantage", key=_order, kind="stable")
        alike = _alike(part, [str(arm) for arm in rows["arm"]])
        if rows.loc[rows["arm"].isin(alike), "advantage"].nunique() > 1:
            texts = [_closing_row(str(task), arm, part, estimates, costs, measured) for arm in alike]
            sections.append(Section(str(task), tuple(texts)))
    if not sections:
        return None
    lacking = "" if len(measured) else " They are not in this study: python -m bench lab measures them."
    return Table(
        caption="The estimators of the return under one critic: final stochastic score with its interval, mean height "
        "of the learning curve, drawdown, and what a run costs. Bias, variance and cosine: of the advantages and "
        f"gradients under a {laboratory.CRITIC} critic {laboratory.STAGE} in training.{lacking}",
        header=("arm", *MEASURED_APART, "final", "area", "drawdown", "seconds", "CPU s", "parameters"),
        sections=tuple(sections),
    )


def _alike(runs: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """The arms that are comparable with the first."""
    known = {arm.label: arm.factors for arm in arms(runs, SHARED_FACTORS)}
    factors = {label: known.get(label, {}) for label in labels}
    return [label for label in labels if not not_comparable(factors[label], factors[labels[0]])]


def _order(levels: pd.Series) -> pd.Series:
    return levels.map(ESTIMATORS.index)


def _closing_row(
    task: str,
    arm: str,
    metrics: pd.DataFrame,
    estimates: pd.DataFrame,
    costs: pd.DataFrame,
    measured: pd.DataFrame,
) -> tuple[str, ...]:
    mine = metrics[metrics["arm"] == arm]
    names = (estimates["task"] == task) & (estimates["arm"] == arm) & (estimates["mode"] == "stochastic")
    estimate = estimates[names].iloc[0]
    cost = costs[(costs["task"] == task) & (costs["arm"] == arm)].iloc[0]
    knobs = {name: mine[name].iloc[0] for name in ("gae_lambda", "n_step") if name in mine and mine[name].notna().any()}
    estimator = {"baseline": "critic", "advantage": mine["advantage"].iloc[0], **knobs}
    absent = ["–"] * len(MEASURED_APART)
    means = measured_texts(measured, task, MEASURED_APART, estimator) if len(measured) else absent
    score = interval_text(interval_of(estimate, "mean"), decimals_of(estimate[["mean"]].to_numpy(float)))
    learned = [optional_text(float(mine[name].mean()), 3) for name in ("area", "drawdown")]
    seconds = [optional_text(float(cost[name]), 2) for name in ("wall_seconds", "cpu_seconds")]
    return (arm, *means, score, *learned, *seconds, thousands_text(float(cost["parameters"])))


def measured_texts(measured: pd.DataFrame, task: str, names: Sequence[str], factors: Mapping[str, object]) -> list[str]:
    """Single numbers of one estimator for a table with other columns too; dashes where nothing was measured."""
    found = []
    for name in names:
        rows = laboratory.measured(measured, name)
        rows = laboratory.select(rows[rows["task"] == task], factors)
        found.append(optional_text(float(rows["value"].iloc[0]), 3) if len(rows) else "–")
    return found
