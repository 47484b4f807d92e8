"""What a record keeps of each seed's updates: the numbers that claims and tables read."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.observer import Row
from bench.records.scores import is_final, mean

LARGE = 0.99  # quantile of a seed's updates that counts as its largest: the maximum of hundreds is mostly noise
KEYS = ("largest_kl", "explained_variance", "first_above_random")


def summaries(training: Iterable[Row], budget: int, random: float | None) -> dict[int, dict[str, Any]]:
    """Return, by seed, what its updates (rows of `training.parquet`) come to. None stands for what was not recorded.

    - `largest_kl`: the `LARGE` quantile of KL(old policy | new policy) over its updates.
    - `explained_variance`: of the critic's targets, the mean over the updates of the last tenth of the budget.
    - `first_above_random`: environment steps of the first update whose training episodes had a mean return above
      `random`, the task's score of the random policy. In MountainCar, that is the first time it reached the goal.
    """
    updates: dict[int, list[Row]] = {}
    for row in sorted(training, key=lambda row: row["step"]):
        updates.setdefault(int(row["seed"]), []).append(row)
    return {seed: _summary(rows, budget, random) for seed, rows in updates.items()}


def empty() -> dict[str, Any]:
    """Return the summary of a seed without updates."""
    return dict.fromkeys(KEYS)


def _summary(updates: Sequence[Row], budget: int, random: float | None) -> dict[str, Any]:
    divergences = [kl for _, kl in _known("train/kl", updates)]
    explained = [value for step, value in _known("train/explained_variance", updates) if is_final(step, budget)]
    above = [step for step, value in _known("rollout/ep_rew_mean", updates) if random is not None and value > random]
    return {
        "largest_kl": _finite(quantile(divergences, LARGE)),
        "explained_variance": _finite(mean(explained)) if explained else None,
        "first_above_random": above[0] if above else None,
    }


def _known(name: str, updates: Iterable[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return the step and the value of a diagnostic for each update that has it; NaN is none."""
    values = [(int(row["step"]), row.get(name)) for row in updates]
    return [(step, float(value)) for step, value in values if value is not None and not math.isnan(value)]


def _finite(value: float | None) -> float | None:
    """Return the value where it is a number; JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which a share of the values lies, linear between two of them; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = ordered[min(below + 1, len(ordered) - 1)]
    return ordered[below] + (above - ordered[below]) * (place - below)
