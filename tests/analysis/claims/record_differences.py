"""Record paired differences of the committed studies as populations for `simulated_studies`.

    python -m tests.analysis.claims.record_differences

reads the rows that `differences.json` lists, by study, task, metric and the labels of two arms (without a second one
the values themselves), and writes their differences anew. They were the rows of the claims on trained arms whose metric
has a range. Those of `OLD` metrics, which are defined otherwise today, stay as they were recorded: noise once seen.
"""

import json
from functools import cache
from pathlib import Path

import pandas as pd

from analysis import load
from analysis.claims.comparisons import paired_scores
from analysis.claims.metrics import run_metrics

OLD = ("drawdown", "spread")
FILE = Path(__file__).with_name("differences.json")


@cache
def runs_of(study: str) -> pd.DataFrame:
    return run_metrics(load.read([study]))


def differences(study: str, task: str, metric: str, arm: str, other: str | None) -> list[float]:
    runs = runs_of(study)
    mine = runs[runs["task"] == task]
    if other is None:
        found = mine.loc[mine["arm"] == arm].sort_values("seed")[metric].to_numpy(float)
    else:
        first, second = paired_scores(mine, arm, other, metric)
        found = first - second
    return [float(f"{each:.4g}") for each in found]


def main() -> None:
    rows = json.loads(FILE.read_text())
    for row in rows:
        if row["metric"] in OLD:
            continue
        row["differences"] = differences(*(row[key] for key in ("study", "task", "metric", "arm", "other")))
    FILE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
