"""The metrics that comparisons are judged by, with their ranges, and what blocks have of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from bench.observer import EXACT
from bench.records import block as blocks
from bench.records import metrics, scores
from bench.records.metrics import DRAWDOWN, FINALS, HALVES, MODE, Array
from bench.records.tables import EPISODES
from bench.verdicts.sequential import FIRST_LOOK


@dataclass(frozen=True)
class Metric:
    """What is known of a metric's values beforehand.

    Attributes:
        worst: what a run that failed by itself counts as; infinite where the metric has no worst value.
        low, high: where nothing more can be lost or won, so that runs that are all there say nothing; None for none.
        span: R, how far one run can move the value of its pair; None where nothing bounds it.
        evaluated: whether it is made of evaluations, which are noisy where they are sampled.
        of_final: whether the value of a pair is made of the final scores of all pairs.
        first_look: the fewest pairs at which it is looked at.
    """

    worst: float
    low: float | None = None
    high: float | None = None
    span: float | None = None
    evaluated: bool = True
    of_final: bool = False
    first_look: int = FIRST_LOOK


_SCORE = Metric(0.0, 0.0, 1.0, 1.0)
METRICS: Mapping[str, Metric] = {
    **dict.fromkeys((*FINALS, "area"), _SCORE),
    "overstated": Metric(1.0, 0.0, 1.0, 1.0),
    "steps": Metric(1.0, None, 1.0, 1.0),
    DRAWDOWN: Metric(1.0, 0.0, None, 1.0),
    # A run at the other end of the scale moves its own pseudo-value by up to twice the range of scores.
    "spread": Metric(0.0, 0.0, 1.0, 2.0, of_final=True, first_look=80),
    "improvement": Metric(0.0, 0.0, 1.0, 1.0, of_final=True),
    "largest_kl": Metric(math.inf, evaluated=False),
    "log_parameters": Metric(math.inf, evaluated=False),
}


@dataclass(frozen=True)
class Measured:
    """A run that is done.

    Attributes:
        values: by metric what is known of it, and `start` and `steps_to_threshold`; see `bench.records.metrics`.
        halves: the metrics from each half of the episodes, where these were counted apart.
    """

    values: Mapping[str, float]
    halves: Mapping[str, Sequence[float]] = field(default_factory=dict)


Seeds = Mapping[int, Measured | None]  # None for a run that failed by itself


def episodes(block: blocks.Block) -> pa.Table | None:
    """The single episodes of a block, where its record does not say already what they come to.

    None where it does, or they are not there. Raises `Damaged`.
    """
    outcomes = block.record["seeds"].values()
    counted = all(outcome.get(HALVES) is not None for outcome in outcomes if outcome["status"] == "done")
    if counted or EPISODES in block.left_out or EPISODES not in block.record["checksums"]:
        return None
    return blocks.table(block, EPISODES, ("seed", "step", "mode", "episode", "return"))


def of_block(block: blocks.Block, curves: pa.Table, played: pa.Table | None, *, exact: bool) -> Seeds:
    """What each seed of a finished block comes to.

    Args:
        block: its record.
        curves: its curves.
        played: its single episodes, see `episodes`.
        exact: whether to take the exact returns, which every point must then have, in place of the means of episodes.
    """
    record = block.record
    score, budget = record["score"], record["budget"]
    found: dict[int, Measured | None] = dict.fromkeys(sorted(block.seeds))
    apart = _apart(record, played, exact=exact)
    runs = _of_curves(curves, score, budget, exact=exact)
    parameters = sum((record.get("parameters") or {}).values())
    for seed in found.keys() - block.causes.keys():
        values = dict(runs.get(seed, {}))
        outcome, own = record["seeds"][str(seed)], apart.get(seed, metrics.empty())
        if own[DRAWDOWN] is not None:
            values.setdefault(DRAWDOWN, own[DRAWDOWN])
        if outcome.get("largest_kl") is not None:
            values["largest_kl"] = float(outcome["largest_kl"])
        if parameters:
            values["log_parameters"] = math.log(parameters)
        halves = dict(own[HALVES])
        if {"final", "true_final"} <= halves.keys():
            halves["overstated"] = np.subtract(halves["final"], halves["true_final"]).tolist()
        finite = all(math.isfinite(value) for name, value in values.items() if name != "steps_to_threshold")
        found[seed] = Measured(values, halves) if finite else None
    return found


def _apart(record: Mapping[str, Any], played: pa.Table | None, *, exact: bool) -> Mapping[int, Mapping[str, Any]]:
    """By seed, what single episodes come to; nothing of exact scores, which have no noise."""
    if exact:
        return {}
    seeds, score, budget = record["seeds"], record["score"], record["budget"]
    if played is not None:
        names = ("seed", "step", "mode", "episode", "return", "true_return")
        columns = {name: played[name].to_numpy() for name in names if name in played.column_names}
        return metrics.of_episodes(columns, score, budget)
    return {int(seed): metrics.empty() | _known(outcome) for seed, outcome in seeds.items()}


def _known(outcome: Mapping[str, Any]) -> dict[str, Any]:
    return {name: outcome[name] for name in (DRAWDOWN, HALVES) if outcome.get(name) is not None}


def _of_curves(
    curves: pa.Table, score: Mapping[str, float], budget: int, *, exact: bool
) -> dict[int, dict[str, float]]:
    """By seed, the metrics that curves tell."""
    found: dict[int, dict[str, float]] = {}
    prefix = EXACT if exact else ""
    for name, (mode, column) in FINALS.items():
        if f"{prefix}{column}" in curves.column_names:
            for (seed, of), final in scores.final_scores(curves, budget, f"{prefix}{column}").items():
                if of == mode:
                    found.setdefault(seed, {})[name] = float(metrics.normalised(final, score))
    places = np.flatnonzero(np.asarray(curves["mode"].to_pylist()) == MODE)
    seeds, steps = curves["seed"].to_numpy(), curves["step"].to_numpy()
    values = metrics.normalised(curves[f"{prefix}return"].to_numpy(), score)
    for seed, own in metrics.by_seed(seeds, places):
        rising = own[np.argsort(steps[own], kind="stable")]
        if len(rising) > 1:
            with np.errstate(invalid="ignore"):  # of returns that are not finite
                found.setdefault(seed, {}).update(metrics.of_curve(steps[rising], values[rising], budget))
                if exact:
                    found[seed][DRAWDOWN] = float(metrics.drawdown(values[rising]))
    for run in found.values():
        if "true_final" in run and "final" in run:
            run["overstated"] = run["final"] - run["true_final"]
    return found


@dataclass(frozen=True)
class Runs:
    """Runs of one arm on one task, as many as are judged.

    Attributes:
        seeds: in order.
        measured: of each; None for a run that failed by itself.
        exact: whether scores are exact returns, without noise.
    """

    seeds: tuple[int, ...]
    measured: tuple[Measured | None, ...]
    exact: bool

    @classmethod
    def of(cls, found: Seeds, seeds: Sequence[int], *, exact: bool) -> "Runs":
        """Those of these seeds, all of which are there."""
        return cls(tuple(seeds), tuple(found[seed] for seed in seeds), exact)

    @property
    def failed(self) -> tuple[int, ...]:
        """The seeds that failed by themselves."""
        return tuple(seed for seed, run in zip(self.seeds, self.measured, strict=True) if run is None)

    @property
    def lost(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(seeds,): which of them failed."""
        return np.array([run is None for run in self.measured], bool)

    def values(self, name: str) -> Array:
        """(seeds,): a metric, or another of `Measured.values`; NaN for a failed run, and for what is not known."""
        return np.array([math.nan if run is None else run.values.get(name, math.nan) for run in self.measured], float)

    def halves(self, name: str) -> Array:
        """(2, seeds): a metric from each half of the episodes; NaN alike."""
        unknown = (math.nan, math.nan)
        pairs = [unknown if run is None else run.halves.get(name, unknown) for run in self.measured]
        return np.array(pairs, float).reshape(-1, 2).T


def merged(found: Sequence[tuple[Mapping[str, Any], Seeds]]) -> dict[int, Measured | None]:
    """The seeds of several blocks of a cell, each with its record; of several runs of a seed the one begun first.

    So one that failed by itself has failed for good.
    """
    runs: dict[int, Measured | None] = {}
    for _, seeds in sorted(found, key=lambda each: str(each[0].get("started", ""))):
        runs = {**seeds, **runs}
    return runs
