"""What claims are judged by: a number per run for every `Metric` of trained arms."""

import numpy as np
import pandas as pd

from analysis import stats
from analysis.load import Records

SOLVED = 0.8  # normalised score whose first crossing counts as learnt


def run_metrics(records: Records) -> pd.DataFrame:
    """`records.runs` with a column per `Metric` it has, of the stochastic policy unless the metric says otherwise."""
    found = stats.curve_metrics(records.curves[records.curves["mode"] == "stochastic"], SOLVED)
    keys = ["task", "hash", "seed"]
    runs = records.runs.merge(found.drop(columns=["arm", "mode"]), on=keys, how="left")
    scores = {"final": "normalised_stochastic", "final_deterministic": "normalised_deterministic"}
    scores |= {"true_final": "true_normalised_stochastic"} if "true_normalised_stochastic" in runs else {}
    runs = runs.assign(**{metric: runs[column].astype(float) for metric, column in scores.items()})
    if "true_final" in runs:
        runs["overstated"] = runs["final"] - runs["true_final"]
    median = runs.groupby(["task", "hash"])["final"].transform("median")
    parameters = runs[["parameters_actor", "parameters_critic"]].astype(float).sum(axis=1, min_count=1)
    return runs.assign(
        steps=np.minimum(runs["steps_to_threshold"].astype(float) / runs["budget"].astype(float), 1.0),
        spread=(runs["final"] - median).abs(),
        log_parameters=np.log(parameters.where(runs["status"] == "done")),
    )
