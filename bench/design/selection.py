"""What the tried settings scored, read from their blocks, and which of them wins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bench.config.schema import Config
from bench.records import block as blocks
from bench.records.scores import final_scores

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


def scores(config: Config) -> dict[int, float]:
    """The final score of every finished seed of a cell, NaN for one that failed. Raises `UserError` for damage."""
    found: dict[int, float] = {}
    for block in blocks.blocks(config):
        if block.finished:
            done = block.taken("failed")  # a seed may have failed in one block and be done in another
            own = final_scores(blocks.curves(block), block.record["budget"])
            found |= dict.fromkeys(block.seeds - done - found.keys(), math.nan)
            found |= {seed: own.get((seed, MODE), math.nan) for seed in done}
    return found
