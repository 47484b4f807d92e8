"""Final scores: estimates of every arm on every task with their intervals, and those as text."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis import stats
from analysis.claims import comparisons
from analysis.load import MODES, STATUSES, labels, measures
from analysis.tables.formats import Best, Section, Table, Tied, decimals_of, interval_of, interval_text, percent_text
from bench.verdicts.judge import ALPHA

FAILING = 0.5  # normalised: halfway from random to the reference
STATISTICS: Mapping[str, stats.Statistic] = {"mean": stats.mean, "iqm": stats.iqm}
AGGREGATES: Mapping[str, stats.Statistic] = {
    "mean": stats.mean,
    "IQM": stats.iqm,
    "median": stats.median,
    "optimality gap": stats.optimality_gap,
}
_RANKS = (
    "Bold: highest mean; italic: not told apart from it by intervals of paired differences, with a family-wise error "
    f"of at most {ALPHA:.0%} over all pairs of arms of all tasks and modes; a run that failed counts as a random "
    "policy. No marks: reference lines, and where fewer than two arms have two scores."
)
_MODE_MEANING = {
    "deterministic": "Deterministic: the most probable action, as published scores are measured.",
    "stochastic": "Stochastic: the policy that is trained, on which claims are judged.",
}


def scores(runs: pd.DataFrame, metric: str) -> dict[str, stats.Array]:
    """By arm, seeds × tasks, both sorted; NaN where a seed has no score. Tasks an arm has no row of are left out.

    Args:
        runs: as `analysis.load` gives them.
        metric: a numeric column of `runs`.
    """
    tasks, task_codes = np.unique(runs["task"].to_numpy(str), return_inverse=True)
    seeds, values = runs["seed"].to_numpy(int), runs[metric].to_numpy(float)
    found = {}
    for arm, places in runs.groupby("arm", sort=False).indices.items():
        own_seeds, rows = np.unique(seeds[places], return_inverse=True)
        array = np.full((len(own_seeds), len(tasks)), np.nan)
        array[rows, task_codes[places]] = values[places]
        found[str(arm)] = array[:, np.unique(task_codes[places])]
    return found


def compared_tasks(runs: pd.DataFrame) -> list[str]:
    """The tasks that aggregates are over: the largest group of tasks that have arms in common, in their order.

    A task with arms of its own, which no other task has, is an experiment of its own.
    """
    largest = max((tasks for tasks, _ in labels.related(runs)), key=len, default=[])
    return [str(task) for task in runs["task"].unique() if task in largest]


def compared_name(runs: pd.DataFrame) -> str:
    """What `compared_tasks` are called: all, or their names."""
    tasks = compared_tasks(runs)
    return "all tasks" if len(tasks) == runs["task"].nunique() else ", ".join(tasks)


def on_every_task(runs: pd.DataFrame, metric: str) -> dict[str, stats.Array]:
    """`scores` of the arms with a score on every of `compared_tasks`: one over fewer would compare other tasks."""
    tasks = compared_tasks(runs)
    return {
        arm: array
        for arm, array in scores(runs[runs["task"].isin(tasks)], metric).items()
        if array.shape[1] == len(tasks) and not np.isnan(array).all(axis=0).any()
    }


def comparison(runs: pd.DataFrame, control: str | None = None, reps: int = stats.REPS) -> pd.DataFrame:
    """Mean, IQM and failures of every arm on every task, in both modes, with the state of every seed.

    Args:
        runs: as `analysis.load` gives them.
        control: label of the arm the others are compared with, which says what is a reference line; None without one.
        reps: bootstrap resamples.

    Returns:
        One row per measure of a task (`task` holds its label) × arm × mode: `n` (runs with a score), one column per
        other status with its number of seeds, `mean`, `mean_low`, `mean_high`, `iqm`, `iqm_low`, `iqm_high` in the
        task's units, `failing` (share of runs with a normalised score below `FAILING`), and `mark`: "highest" mean of
        the task, "tied" with it, "behind" it, "reference" line, or "" (no rank), see
        `analysis.claims.comparisons.ranks`. Where there are several tasks, rows of `compared_name` (normalised) follow,
        for the arms that have a score on every one of `compared_tasks`. `failing` is not known of a true score, whose
        best is not the reference's.
    """
    rows = []
    for measure in measures(runs):
        part = runs[runs["task"] == measure.task]
        for mode in MODES:
            final, normalised = scores(part, measure.final(mode)), scores(part, measure.normalised(mode))
            counts = _counts(part)
            rows += [
                {"task": measure.label, "arm": arm, "mode": mode}
                | counts[arm]
                | _estimates(final[arm], normalised[arm], (measure.label, arm, mode), reps)
                | ({"failing": np.nan} if measure.column != "return" else {})
                for arm in final
            ]
    together = compared_tasks(runs)
    if len(together) > 1:
        counts, name = _counts(runs[runs["task"].isin(together)]), f"{compared_name(runs)} (normalised)"
        rows += [
            {"task": name, "arm": arm, "mode": mode} | counts[arm] | _estimates(array, array, (name, arm, mode), reps)
            for mode in MODES
            for arm, array in on_every_task(runs, f"normalised_{mode}").items()
        ]
    marks = comparisons.ranks(runs, control)
    return pd.DataFrame(rows).merge(marks, on=["task", "arm", "mode"], how="left").fillna({"mark": ""})


def _counts(runs: pd.DataFrame) -> dict[str, dict[str, object]]:
    """By arm, the number of seeds in every state but `done`."""
    table = pd.crosstab(runs["arm"], runs["status"]).reindex(columns=list(STATUSES[1:]), fill_value=0)
    return {str(arm): {str(status): int(number) for status, number in row.items()} for arm, row in table.iterrows()}


def _estimates(
    array: stats.Array, normalised: stats.Array, names: tuple[str, str, str], reps: int
) -> dict[str, object]:
    row: dict[str, object] = {"n": int(np.count_nonzero(~np.isnan(array)))}
    found = stats.intervals(array, list(STATISTICS.values()), reps, stats.CONFIDENCE, stats.generator(*names))
    for name, estimate in zip(STATISTICS, found, strict=True):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), estimate, strict=True))
    return row | {"failing": float(stats.failure_rate(normalised, FAILING))}


def comparison_table(estimates: pd.DataFrame, modes: Sequence[str] = MODES, note: str = "") -> Table:
    """`comparison` as text: a section per task, a row per arm, mean and IQM of each of `modes` side by side.

    `note` says which arms are left out.
    """
    sections = []
    for task, part in estimates.groupby("task", sort=False):
        decimals = decimals_of(part[["mean", "iqm"]].to_numpy(float))
        rows = (_comparison_row(str(arm), cells, modes, decimals) for arm, cells in part.groupby("arm", sort=False))
        sections.append(Section(str(task), tuple(rows)))
    columns = ("mean", "IQM", "failing")
    meaning = f"{_RANKS} " + " ".join(_MODE_MEANING[mode] for mode in modes)
    return Table(
        caption=f"Final scores (mean over the last tenth of the evaluations): mean and interquartile mean (IQM) over "
        f"seeds, with {stats.CONFIDENCE:.0%} stratified bootstrap intervals; failing: share of runs that end below the "
        f"midpoint of random and reference (not said of true scores, whose best is not the reference's). {meaning}"
        + (f" Here are {note}; comparison.csv has every arm." if note else ""),
        header=("arm", "n", *(name + (f", {mode}" if len(modes) > 1 else "") for mode in modes for name in columns)),
        sections=tuple(sections),
    )


def _comparison_row(arm: str, cells: pd.DataFrame, modes: Sequence[str], decimals: int) -> tuple[str, ...]:
    by_mode = {str(row["mode"]): row for _, row in cells.iterrows()}
    estimates = []
    for mode in modes:
        row = by_mode[mode]
        mean, iqm = (interval_text(interval_of(row, name), decimals) for name in STATISTICS)
        marked = {"highest": Best, "tied": Tied}.get(str(row["mark"]), str)(mean)
        estimates += [marked, iqm, percent_text(float(row["failing"]))]
    return (arm, count_text(by_mode[modes[0]]), *estimates)


def aggregate_table(runs: pd.DataFrame) -> Table | None:
    """Normalised final scores over `compared_tasks`, for the arms with a score on every one; None for a single task."""
    scores = on_every_task(runs, "normalised_stochastic")
    if len(compared_tasks(runs)) < 2 or not scores:
        return None
    rows = []
    for arm, array in scores.items():
        rng = stats.generator(arm, "aggregates")
        found = stats.intervals(array, list(AGGREGATES.values()), stats.REPS, stats.CONFIDENCE, rng)
        rows.append((arm, str(np.count_nonzero(~np.isnan(array))), *(interval_text(each, 3) for each in found)))
    return Table(
        caption=f"Normalised final stochastic scores over {compared_name(runs)} (0 random, 1 reference), with "
        f"{stats.CONFIDENCE:.0%} stratified bootstrap intervals: mean, interquartile mean, median of the tasks' means, "
        "and how far runs fall short of 1 on average.",
        header=("arm", "runs", *AGGREGATES),
        sections=(Section("", tuple(rows)),),
    )


def count_text(row: pd.Series) -> str:
    """`10`, or `8 (1 failed, 1 missing)`: how many runs an estimate rests on, and what became of the others."""
    others = [f"{row[status]} {status}" for status in STATUSES if status != "done" and row[status]]
    return f"{row['n']} ({', '.join(others)})" if others else str(row["n"])
