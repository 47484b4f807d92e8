"""The metrics of runs as columns, for tables."""

import pandas as pd

from analysis.load import Records
from bench.records.metrics import SOLVED
from bench.verdicts.metrics import Seeds

__all__ = ["SOLVED", "run_metrics"]

COLUMNS = (
    "final",
    "final_deterministic",
    "true_final",
    "overstated",
    "area",
    "steps",
    "steps_to_threshold",
    "drawdown",
    "largest_kl",
    "log_parameters",
)
_RUN = ["task", "hash", "seed"]


def run_metrics(records: Records) -> pd.DataFrame:
    """`records.runs` with the metrics of each run that is done, see `bench.verdicts.metrics`; NaN for what is unknown.

    They are of the stochastic policy unless the metric says otherwise, and exact on the tasks of `records.exact`.
    """
    done = set(records.runs.loc[records.runs["status"] == "done", _RUN].itertuples(index=False, name=None))
    rows = [
        {"task": task, "hash": digest, "seed": seed, **run.values}
        for (task, digest), seeds in {**records.measured, **_exactly(records)}.items()
        for seed, run in seeds.items()
        if run is not None and (task, digest, seed) in done
    ]
    found = pd.DataFrame(rows, columns=[*_RUN, *COLUMNS]).astype(dict.fromkeys(COLUMNS, float))
    known = records.runs.drop(columns=[name for name in COLUMNS if name in records.runs])
    return known.merge(found, on=_RUN, how="left")


def _exactly(records: Records) -> dict[tuple[str, str], Seeds]:
    return {key: seeds for key, seeds in records.exact_measured.items() if key[0] in records.exact}
