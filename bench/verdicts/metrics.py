"""The metrics that comparisons are judged by, with their ranges, and what blocks have of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from bench.observer import EXACT, RETURN_OF
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
KINDS = ("elder", "younger")  # of episodes, whose returns are judged apart; see `bench.tasks.exact.ExactTask.kinds`
METRICS: Mapping[str, Metric] = {
    **dict.fromkeys((*FINALS, "area"), _SCORE),
    **{f"{name}_{kind}": _SCORE for name in ("final", "area") for kind in KINDS},
    "behind": Metric(1.0, None, 1.0, 2.0),
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
    if exact:
        for seed, of_kinds in _of_kinds(curves, record.get("kinds") or {}, budget).items():
            runs.setdefault(seed, {}).update(of_kinds)
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
        columns = {name: played[name].to_numpy() for name in metrics.COLUMNS if name in played.column_names}
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
            for seed, final in _finals(curves, budget, f"{prefix}{column}", mode, score).items():
                found.setdefault(seed, {})[name] = final
    for seed, (steps, values) in _curves(curves, f"{prefix}return", score).items():
        with np.errstate(invalid="ignore"):  # of returns that are not finite
            found.setdefault(seed, {}).update(metrics.of_curve(steps, values, budget))
            if exact:
                found[seed][DRAWDOWN] = float(metrics.drawdown(values))
    for run in found.values():
        if "true_final" in run and "final" in run:
            run["overstated"] = run["final"] - run["true_final"]
    return found


def _finals(curves: pa.Table, budget: int, column: str, mode: str, score: Mapping[str, float]) -> dict[int, float]:
    """By seed, the normalised final score of a column in one mode."""
    finals = scores.final_scores(curves, budget, column).items()
    return {seed: float(metrics.normalised(final, score)) for (seed, of), final in finals if of == mode}


def _curves(curves: pa.Table, column: str, score: Mapping[str, float]) -> dict[int, tuple[Array, Array]]:
    """By seed, the steps and the normalised values of a column, where there are two points or more."""
    places = np.flatnonzero(np.asarray(curves["mode"].to_pylist()) == MODE)
    seeds, steps = curves["seed"].to_numpy(), curves["step"].to_numpy()
    values = metrics.normalised(curves[column].to_numpy(), score)
    rising = {seed: own[np.argsort(steps[own], kind="stable")] for seed, own in metrics.by_seed(seeds, places)}
    return {seed: (steps[own], values[own]) for seed, own in rising.items() if len(own) > 1}


def _of_kinds(curves: pa.Table, bounds: Mapping[str, Mapping[str, float]], budget: int) -> dict[int, dict[str, float]]:
    """By seed, the metrics of each kind of episode by its own bounds, from exact returns.

    Sampled ones have too few episodes of each kind at a point.
    """
    found: dict[int, dict[str, float]] = {}
    for kind, score in bounds.items():
        column = f"{EXACT}{RETURN_OF}{kind}"
        if kind not in KINDS or column not in curves.column_names:
            continue
        for seed, final in _finals(curves, budget, column, MODE, score).items():
            found.setdefault(seed, {})[f"final_{kind}"] = final
        for seed, (steps, values) in _curves(curves, column, score).items():
            found.setdefault(seed, {})[f"area_{kind}"] = float(metrics.area_under_curve(steps, values))
    for run in found.values():
        if {"area_elder", "area_younger"} <= run.keys():
            run["behind"] = run["area_elder"] - run["area_younger"]
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
