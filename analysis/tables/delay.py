"""`study=delay` as a table: what each arm scores, and how much of the exam its estimator credits, over the delay."""

from typing import Any

import pandas as pd

from analysis import stats
from bench.tasks.delayed_exam import WORTH, DelayedExam

TASK = "delayed_exam"
VALUE = "normalised_stochastic"
REPS = 2000


def is_delayed(runs: pd.DataFrame) -> pd.Series:
    """Which rows of `runs` are of the delayed exam, whatever its knobs."""
    return runs["task"].astype(str).str.split(r"[- (]", n=1, regex=True).str[0] == TASK


def knob(runs: pd.DataFrame, name: str) -> pd.Series:
    """A knob of the delayed exam; where a record has none, its default."""
    usual = getattr(DelayedExam(), name)
    column = f"task.{name}"
    if column not in runs:
        return pd.Series(usual, index=runs.index)
    return runs[column].map(lambda value: usual if pd.isna(value) else value).astype(type(usual))


def missed(advantage: str, delay: int, gamma: float, gae_lambda: float, n_step: int) -> float:
    """What of the exam's worth an estimator does not credit to the first week's decision, in the mean.

    The true advantage of studying over playing is γᴸ W - temptation, for an exam worth W after L weeks. An estimate
    with a critic V that does not tell who has studied has the mean (γλ)ᴸ W - temptation, whatever V is otherwise,
    since V(s') is the same after both plans. So it misses γᴸ (1 - λᴸ) W; n steps miss γᴸ W where n ≤ L, and nothing
    otherwise. A critic is in this position before it has learned anything, and for good where `hidden` is true.

    Raises:
        KeyError: for an advantage that is not one of the suite's own.
    """
    kept = {
        "td0": float(delay == 0),
        "gae": gae_lambda**delay,
        "nstep": float(n_step > delay),
        "monte_carlo": 1.0,
    }
    return gamma**delay * (1 - kept[advantage]) * WORTH


def delay_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each arm, delay and way of being seen that has runs: the mean final score, and what is missed.

    Args:
        runs: as `analysis.load` gives them.

    Returns:
        `arm`, `hidden`, `delay`, `n`, `mean` with its interval `low`, `high` (normalised: 0 is the random policy, 1 the
        best), `missed` (share of the exam's worth; NaN for an advantage of one's own). Empty where no run is of the
        delayed exam.
    """
    mine = runs[is_delayed(runs) & (runs["status"] == "done")]
    mine = mine.assign(delay=knob(mine, "delay"), hidden=knob(mine, "hidden"))
    rows = []
    for _, found in mine.groupby(["arm", "hidden", "delay"], sort=False):
        first = found.iloc[0]
        arm, delay = str(first["arm"]), int(first["delay"])
        rows.append({"arm": arm, "hidden": bool(first["hidden"]), "delay": delay} | _judged(found, arm, delay))
    return pd.DataFrame(rows, columns=["arm", "hidden", "delay", "n", "mean", "low", "high", "missed"])


def _judged(runs: pd.DataFrame, arm: str, delay: int) -> dict[str, Any]:
    scores = runs[VALUE].dropna().to_numpy(float)
    mean = low = high = float("nan")
    if len(scores):
        mean, low, high = stats.interval(scores, stats.mean, REPS, stats.CONFIDENCE, stats.generator(arm, TASK, delay))
    return {"n": len(scores), "mean": mean, "low": low, "high": high, "missed": _missed(runs, delay)}


def _missed(runs: pd.DataFrame, delay: int) -> float:
    first = runs.iloc[0]
    try:
        return missed(
            str(first.get("advantage")),
            delay,
            _number(first.get("gamma"), 1.0),
            _number(first.get("gae_lambda"), 1.0),
            int(_number(first.get("n_step"), 1)),
        )
    except KeyError:
        return float("nan")


def _number(value: Any, otherwise: float) -> float:
    """A setting, or what stands for one that the arm does not read."""
    return otherwise if value is None or pd.isna(value) else float(value)
