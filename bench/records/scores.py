"""The final score of a seed: the one definition that the mirror, the tuning and the analysis share."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from bench.observer import EXACT

FINAL_SHARE = 0.9  # the final score is the mean of the evaluations after this share of the budget


def is_final(step: Any, budget: Any) -> Any:
    """Whether evaluations at `step` count for the final score; numbers or arrays, of which `budget` may be one too."""
    return step > budget * FINAL_SHARE


def is_exact(curves: pa.Table) -> bool:
    """Whether every point has the exact value of each score that was sampled: of the return, and of the true one."""
    known = curves.column_names
    return all(
        f"{EXACT}{name}" in known and all(map(_is_number, curves[f"{EXACT}{name}"].to_pylist()))
        for name in ("return", "true_return")
        if name in known
    )


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def judged(curves: pa.Table, column: str = "return") -> str:
    """The column that says what `column` is, without the noise of episodes where every point has it exactly."""
    return f"{EXACT}{column}" if is_exact(curves) else column


def final_scores(curves: pa.Table, budget: int, column: str = "return") -> dict[tuple[int, str], float]:
    """Return, by seed and mode, the mean of `column` over the episodes of the last tenth of the budget.

    It is computed from the means at each point, weighted by their numbers of episodes. That is the mean over all these
    episodes, since a point's mean times its number of episodes is their sum; only the last digits may differ.
    Points that are computed without episodes count alike. A seed without an evaluation that late has no score.
    """
    points: dict[tuple[int, str], list[tuple[float, int]]] = {}
    for row in curves.select(["seed", "step", "mode", "episodes", column]).to_pylist():  # a filter imports pandas
        if is_final(row["step"], budget):
            points.setdefault((row["seed"], row["mode"]), []).append((row[column], row["episodes"] or 1))
    return {key: weighted_mean(values) for key, values in points.items()}


def weighted_mean(points: Sequence[tuple[float, int]]) -> float:
    """Return the mean of values, each of which counts as often as the number beside it says."""
    return mean([value * number for value, number in points], sum(number for _, number in points))


def mean(values: Sequence[float], count: int | None = None) -> float:
    """Return the sum over `count`, by default the number of values. Their order does not change its last digit."""
    count = len(values) if count is None else count
    if not all(map(math.isfinite, values)):  # fsum refuses ∞ − ∞
        return sum(values) / count
    try:
        return math.fsum(values) / count
    except OverflowError:
        return math.fsum(value / count for value in values)
