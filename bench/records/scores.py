"""The final score of a seed: the one definition that the mirror, the tuning and the analysis share."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

FINAL_SHARE = 0.9  # the final score is the mean of the evaluations after this share of the budget


def is_final(step: Any, budget: Any) -> Any:
    """Whether evaluations at `step` count for the final score; numbers or arrays, of which `budget` may be one too."""
    return step > budget * FINAL_SHARE


def final_scores(evaluations: pa.Table, budget: int, column: str = "return") -> dict[tuple[int, str], float]:
    """By seed and mode, the mean of `column` over the episodes of the last tenth of the budget.

    A seed without an evaluation that late has no score.
    """
    episodes: dict[tuple[int, str], list[float]] = {}
    last = evaluations.filter(is_final(pc.field("step"), budget))
    for row in last.select(["seed", "mode", column]).to_pylist():
        episodes.setdefault((row["seed"], row["mode"]), []).append(row[column])
    return {key: mean(values) for key, values in episodes.items()}


def mean(values: Sequence[float]) -> float:
    """The mean, rounded once: the order of the episodes does not change its last digit."""
    total = math.fsum(values) if all(map(math.isfinite, values)) else sum(values)  # fsum refuses ∞ − ∞
    return total / len(values)
