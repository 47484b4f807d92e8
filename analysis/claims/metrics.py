"""What claims are judged by: a number per run for every `Metric` of trained arms."""

import numpy as np
import pandas as pd

from analysis import stats
from analysis.load import Records
from analysis.load.blocks import HALVES
from bench.records.scores import is_final

SOLVED = 0.8  # normalised score whose first crossing counts as learnt
MODE = "stochastic"
_RUN = ["task", "hash", "seed"]


OF_HALVES = ("final", "area", "drawdown", "steps")  # metrics that half of the episodes have, too
EVALUATED = (*OF_HALVES, "final_deterministic", "true_final", "overstated", "spread")  # all made of evaluations


def of_half(metric: str, half: str) -> str:
    """The column of `run_metrics` with a metric from one of the `HALVES` of the episodes."""
    return f"{metric}, {half}"


def run_metrics(records: Records) -> pd.DataFrame:
    """`records.runs` with a column per `Metric` it has, of the stochastic policy unless the metric says otherwise.

    `exact` says whether a run is judged by exact returns, which have no noise. Where the episodes of sampled runs are
    there, `of_half` has the metrics of each half of them.
    """
    found = stats.curve_metrics(records.curves[records.curves["mode"] == MODE], SOLVED)
    runs = records.runs.merge(found.drop(columns=["arm", "mode"]), on=_RUN, how="left")
    runs = runs.assign(exact=runs["task"].isin(records.exact))
    scores = {"final": "normalised_stochastic", "final_deterministic": "normalised_deterministic"}
    scores |= {"true_final": "true_normalised_stochastic"} if "true_normalised_stochastic" in runs else {}
    runs = runs.assign(**{metric: runs[column].astype(float) for metric, column in scores.items()})
    if "true_final" in runs:
        runs["overstated"] = runs["final"] - runs["true_final"]
    median = runs.groupby(["task", "hash"])["final"].transform("median")
    parameters = runs[["parameters_actor", "parameters_critic"]].astype(float).sum(axis=1, min_count=1)
    for half in HALVES:
        runs = _with_half(runs, records, half)
    return runs.assign(
        steps=_steps(runs),
        spread=(runs["final"] - median).abs(),
        log_parameters=np.log(parameters.where(runs["status"] == "done")),
    )


def _steps(runs: pd.DataFrame) -> pd.Series:
    return (runs["steps_to_threshold"].astype(float) / runs["budget"].astype(float)).clip(upper=1.0)


def _with_half(runs: pd.DataFrame, records: Records, half: str) -> pd.DataFrame:
    """`runs` with the metrics of curves from half of the episodes, where these are there."""
    table = records.evaluations
    if half not in table:
        return runs
    bounds = runs[[*_RUN, "score_random", "score_reference", "budget"]]
    rows = table[(table["mode"] == MODE) & table[half].notna()].merge(bounds, on=_RUN)
    low, high = (rows[f"score_{bound}"].astype(float) for bound in ("random", "reference"))
    rows = rows.assign(return_normalised=(rows[half] - low) / (high - low))
    found = stats.curve_metrics(rows, SOLVED).merge(bounds, on=_RUN)
    last = rows[is_final(rows["step"], rows["budget"].astype(float))].groupby(_RUN, observed=True)["return_normalised"]
    found = found.assign(steps=_steps(found)).merge(last.mean().rename("final").reset_index(), on=_RUN, how="left")
    named = {metric: of_half(metric, half) for metric in OF_HALVES}
    return runs.merge(found[[*_RUN, *named]].rename(columns=named), on=_RUN, how="left")
