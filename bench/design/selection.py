"""What the tried settings scored, read from their blocks, and which of them wins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from bench.config.schema import Config
from bench.observer import EXACT
from bench.records import block as blocks
from bench.records.scores import final_scores, is_exact

MODE = "stochastic"  # the policy that is trained, on which arms are judged

State = Literal["done", "failed", "unfinished"]


@dataclass(frozen=True)
class Result:
    """A setting and what its seeds scored: NaN for a seed that failed, nothing for one that is not finished."""

    number: int
    values: Mapping[str, Any]
    seeds: tuple[int, ...]
    scores: Mapping[int, float] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """`done` only where every seed has a score: a mean over those that survived would flatter a setting."""
        if any(seed not in self.scores for seed in self.seeds):
            return "unfinished"
        return "done" if all(math.isfinite(self.scores[seed]) for seed in self.seeds) else "failed"

    @property
    def mean(self) -> float:
        """Over all its seeds; NaN for a setting that is not done."""
        return float(np.mean([self.scores[seed] for seed in self.seeds])) if self.state == "done" else math.nan


def winner(results: Sequence[Result]) -> Result | None:
    """The setting with the highest mean, of equal ones the first tried; None where none is done."""
    done = [result for result in results if result.state == "done"]
    return max(done, key=lambda result: (result.mean, -result.number), default=None)


def scores(configs: Sequence[Config]) -> list[dict[int, float]]:
    """By cell, the final score of every finished seed, NaN for one that failed. Raises `UserError` for damage.

    All are from exact returns where every evaluation of all these cells has them, else all from episodes.
    """
    read = [[(block, blocks.curves(block)) for block in blocks.blocks(config) if block.finished] for config in configs]
    exact = all(is_exact(curves) for cell in read for _, curves in cell if len(curves))
    return [_of_cell(cell, f"{EXACT}return" if exact else "return") for cell in read]


def _of_cell(cell: Sequence[tuple[blocks.Block, pa.Table]], column: str) -> dict[int, float]:
    found: dict[int, float] = {}
    for block, curves in cell:
        done = block.taken("failed")  # a seed may have failed in one block and be done in another
        own = final_scores(curves, block.record["budget"], column) if len(curves) else {}
        found |= dict.fromkeys(block.seeds - done - found.keys(), math.nan)
        found |= {seed: own.get((seed, MODE), math.nan) for seed in done}
    return found
