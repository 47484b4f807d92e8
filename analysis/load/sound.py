"""What must hold of blocks before they are compared: finite returns, and one pair of score bounds for each task."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.load.blocks import SCORES, LoadedBlock
from bench.errors import UserError
from bench.records.tables import CURVES, TRAINING

LARGEST = 1e100  # of a return: the squares of larger ones are not finite
TRAINED = "rollout/ep_rew_mean"  # NaN in an update in which no episode ended


def without_infinite(blocks: Sequence[LoadedBlock]) -> list[LoadedBlock]:
    """Blocks whose seeds with a return that is not finite count as failed, with that cause and without a score."""
    return [replace(block, **_failed(block, found)) if (found := _infinite(block)) else block for block in blocks]


def _infinite(block: LoadedBlock) -> dict[int, str]:
    """By seed, what is not finite and where first."""
    found: dict[int, str] = {}
    evaluations, updates = block.tables.get(CURVES), block.tables.get(TRAINING)
    if updates is not None and TRAINED in updates.column_names:
        wrong = _rows(updates, np.abs(updates[TRAINED].to_numpy().astype(float)) > LARGEST)
        for row in wrong:
            what = f"the return of its training was {_what(row[TRAINED])} at step {row['step']}"
            found.setdefault(row["seed"], what)
    for column in SCORES:
        if evaluations is not None and column in evaluations.column_names:
            wrong = _rows(evaluations, ~(np.abs(evaluations[column].to_numpy().astype(float)) <= LARGEST))
            for row in sorted(wrong, key=lambda row: (row["seed"], row["step"])):
                name = column.replace("_", " ")
                what = f"the {name} of an evaluation was {_what(row[column])} at step {row['step']} ({row['mode']})"
                found.setdefault(row["seed"], what)
    return {seed: cause for seed, cause in found.items() if block.statuses.get(seed) == "done"}


def _rows(table: pa.Table, chosen: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Some rows of a table: mostly none."""
    return list(table.filter(pa.array(chosen)).to_pylist()) if chosen.any() else []


def _what(value: float | None) -> str:
    return f"beyond {LARGEST:g}" if value is not None and math.isfinite(value) else "not finite"


def _failed(block: LoadedBlock, causes: Mapping[int, str]) -> dict[str, Any]:
    outcomes = {**block.record["seeds"]}
    outcomes |= {str(seed): {**outcomes[str(seed)], "cause": cause} for seed, cause in causes.items()}
    return {
        "record": {**block.record, "seeds": outcomes},
        "statuses": {**block.statuses, **dict.fromkeys(causes, "failed")},
        "scores": {seed: scores for seed, scores in block.scores.items() if seed not in causes},
        "measured": {**block.measured, **dict.fromkeys(causes)},
        "exact_measured": {**block.exact_measured, **dict.fromkeys(causes)},
    }


def refuse_several_bounds(blocks: Sequence[LoadedBlock]) -> None:
    """Refuse blocks of one task with different bounds of the score: a number of one would mean another of the other.

    Raises:
        UserError: which names the pairs of bounds, and the cells that have them.
    """
    by_task: dict[str, dict[tuple[float, float], list[str]]] = {}
    for block in blocks:
        score = block.record.get("score")
        if score is None:  # damaged
            continue
        pairs = by_task.setdefault(str(block.record["task"]), {})
        bounds = float(score["random"]), float(score["reference"])
        alike = next((pair for pair in pairs if _is_close(pair, bounds)), bounds)
        pairs.setdefault(alike, []).append(f"{block.record['arm']} of {block.study}")
    for task, pairs in by_task.items():
        if len(pairs) > 1:
            said = "; ".join(f"{low:g} to {high:g} ({_listed(cells)})" for (low, high), cells in pairs.items())
            raise UserError(
                f"{task}: its score has several pairs of bounds, so its cells cannot be compared: {said}; "
                f"read those of one pair at a time"
            )


def _is_close(pair: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether bounds are the same; exact ones are rounded to six decimals."""
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=2e-6) for a, b in zip(pair, other, strict=True))


def _listed(cells: Sequence[str], most: int = 4) -> str:
    names = list(dict.fromkeys(cells))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
