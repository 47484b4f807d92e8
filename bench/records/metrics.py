"""What the evaluations of a run come to: the one definition of every metric that claims, tables and looks share.

All are numbers of one run alone, so that paired differences are independent, and all are of the stochastic policy, on
the normalised scale: 0 is the random policy, 1 the reference.

An evaluation of few episodes is the policy's score plus dice. The best of several noisy points is mostly good luck, so
a loss measured from it is there even where nothing was lost; with a second half of the episodes it is not. So each
metric is known from each half of the episodes, too, which tells how much of it is noise.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.records.scores import is_final

Array = NDArray[np.float64]

MODE = "stochastic"  # the policy that is trained
MODES = ("deterministic", MODE)
SOLVED = 0.8  # normalised score whose first crossing counts as learnt
PARTS = 4  # episodes are dealt out to so many parts, of which two make a half
HALVES, DRAWDOWN = "halves", "drawdown"  # what a record calls `of_episodes` of a seed
COLUMNS = (
    "seed",
    "step",
    "mode",
    "episode",
    "return",
    "true_return",
)  # of episodes, of which the last may not be there
FINALS = {  # final scores: the mode and the number of an episode that each is the mean of
    "final": (MODE, "return"),
    "final_deterministic": ("deterministic", "return"),
    "true_final": (MODE, "true_return"),
}


def area_under_curve(steps: ArrayLike, values: ArrayLike) -> Array:
    """The mean height of a curve: its trapezoidal area over its length, in the curve's own units.

    Args:
        steps: (points,), increasing.
        values: (…, points).

    Raises:
        ValueError: for fewer than two points.
    """
    at, curve = np.asarray(steps, float), np.asarray(values, float)
    if len(at) < 2:
        raise ValueError(f"a curve needs at least two points, not {len(at)}")
    return np.asarray(np.trapezoid(curve, at, axis=-1) / (at[-1] - at[0]))


def steps_to_threshold(steps: ArrayLike, values: ArrayLike, threshold: float = SOLVED) -> Array:
    """The first step at which a curve is at or above `threshold`; inf where it never is, which is a censored value.

    Infinity keeps ranks and medians right, as long as it is printed as "more than the budget".

    Args:
        steps: (points,), increasing.
        values: (…, points), NaN where missing; an all-NaN curve gives NaN.
        threshold: in the curve's units.
    """
    at, curve = np.asarray(steps, float), np.asarray(values, float)
    reached = np.where(curve >= threshold, at, np.inf).min(axis=-1)
    return np.asarray(np.where(np.isnan(curve).all(axis=-1), np.nan, reached))


def cross_fitted_drawdown(first: ArrayLike, second: ArrayLike) -> Array:
    """What a run has lost again of its best, the best point chosen by one half of the episodes, the loss by the other.

    With k(t) the first of the points u ≤ t where J_A(u) is largest, the mean over t of J_B(k(t)) − J_B(t); the halves
    are exchanged and the two averaged. It errs downwards: a best point chosen by noise is not quite the best.

    Args:
        first, second: (…, points), the normalised scores of a run's grid from each half of the episodes.

    Returns:
        (…), in the scores' units, below 0 where chance makes it so; NaN for a run without a value at some point.

    Raises:
        ValueError: if the shapes differ, or there is no point.
    """
    one, other = np.asarray(first, float), np.asarray(second, float)
    if one.shape != other.shape or one.ndim == 0:
        raise ValueError(f"shapes {one.shape} and {other.shape}: halves must be arrays of one shape")
    if one.shape[-1] == 0:
        raise ValueError("a curve needs at least one point")
    return np.asarray((_lost(one, other) + _lost(other, one)) / 2)


def drawdown(values: ArrayLike) -> Array:
    """The mean over a curve of best so far less value, of exact scores: no noise, so nothing to cross-fit.

    Args:
        values: (…, points), normalised.

    Returns:
        (…), at least 0; NaN for a run without a value at some point.

    Raises:
        ValueError: if there is no point.
    """
    return cross_fitted_drawdown(values, values)


def _lost(chosen: Array, measured: Array) -> Array:
    points = np.arange(chosen.shape[-1])
    best = np.maximum.accumulate(chosen, axis=-1)
    new = np.concatenate([np.ones_like(chosen[..., :1], bool), chosen[..., 1:] > best[..., :-1]], axis=-1)
    first_best = np.maximum.accumulate(np.where(new, points, 0), axis=-1)
    losses = np.take_along_axis(measured, first_best, axis=-1) - measured
    known = ~(np.isnan(chosen) | np.isnan(measured)).any(axis=-1)
    return np.asarray(np.where(known, losses.mean(axis=-1), np.nan))


def of_curve(steps: ArrayLike, scores: ArrayLike, budget: float) -> dict[str, float]:
    """`start`, `area`, `steps_to_threshold` and `steps` of one learning curve.

    `steps` is the share of the budget until `SOLVED`; a run that never gets there counts as the whole budget.

    Args:
        steps: (points,), increasing, at least two.
        scores: (points,), normalised.
        budget: environment steps of the run.
    """
    reached = float(steps_to_threshold(steps, scores))
    return {
        "start": float(np.asarray(scores)[0]),
        "area": float(area_under_curve(steps, scores)),
        "steps_to_threshold": reached,
        "steps": min(reached / budget, 1.0),
    }


def of_episodes(rows: Mapping[str, ArrayLike], score: Mapping[str, float], budget: float) -> dict[int, dict[str, Any]]:
    """By seed, what only single episodes tell: `drawdown`, cross-fitted, and by metric the `halves`.

    Every second episode of an evaluation is of one half, the others are of the other; within a half, drawdown is
    cross-fitted between its own two halves. What is not finite, or needs more episodes than there are, is left out.

    Args:
        rows: the columns of `episodes.parquet`: seed, step, mode, episode, return (true_return), each (rows,).
        score: the bounds of the normalised scale, `random` and `reference`.
        budget: environment steps of a run.
    """
    seeds, steps, part = np.asarray(rows["seed"]), np.asarray(rows["step"]), np.asarray(rows["episode"], int) % PARTS
    columns = [name for name in ("return", "true_return") if name in rows]
    numbers = {name: normalised(rows[name], score) for name in columns}
    places = {mode: np.flatnonzero(np.asarray(rows["mode"]) == mode) for mode in MODES}
    dealt: dict[int, dict[str, Dealt]] = {}
    for mode, chosen in places.items():
        for seed, own in by_seed(seeds, chosen):
            values = {name: numbers[name][own] for name in columns}
            dealt.setdefault(seed, {})[mode] = _dealt(steps[own], part[own], values)
    return {seed: _of_seed(by_mode, budget) for seed, by_mode in sorted(dealt.items())}


def normalised(values: ArrayLike, score: Mapping[str, float]) -> Array:
    """Scores on the scale from the random policy (0) to the reference (1); not finite where these are equal."""
    with np.errstate(all="ignore"):
        return np.asarray((np.asarray(values, float) - score["random"]) / (score["reference"] - score["random"]))


def by_seed(seeds: NDArray[Any], places: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Each seed with its own of some places."""
    if not len(places):
        return
    ordered = places[np.argsort(seeds[places], kind="stable")]
    found, starts = np.unique(seeds[ordered], return_index=True)
    yield from zip(map(int, found), np.split(ordered, starts[1:]), strict=True)


def empty() -> dict[str, Any]:
    """What `of_episodes` says of a seed without any."""
    return {DRAWDOWN: None, HALVES: {}}


Dealt = tuple[Array, Array, Mapping[str, Array]]  # (points,) steps; (PARTS, points) counts, and sums by column


def _dealt(steps: NDArray[Any], part: NDArray[Any], values: Mapping[str, Array]) -> Dealt:
    """The points of a run's evaluations in one mode, with the numbers of their episodes and the sums, by part."""
    points, place = np.unique(steps, return_inverse=True)
    cells, shape = part * len(points) + place, (PARTS, len(points))
    counts = np.bincount(cells, minlength=PARTS * len(points)).reshape(shape).astype(float)
    sums = {
        name: np.asarray(np.bincount(cells, weights=each, minlength=PARTS * len(points)), float).reshape(shape)
        for name, each in values.items()
    }
    return points.astype(float), counts, sums


def _of_seed(by_mode: Mapping[str, Dealt], budget: float) -> dict[str, Any]:
    if MODE not in by_mode:
        return empty()
    points, counts, sums = by_mode[MODE]
    with np.errstate(all="ignore"):  # a return may not be finite, and a part may have no episode
        parts = sums["return"] / counts
        halves = _in_halves(sums["return"]) / _in_halves(counts)
        found: dict[str, Sequence[float]] = {
            name: _finals(by_mode[mode], column, budget)
            for name, (mode, column) in FINALS.items()
            if mode in by_mode and column in by_mode[mode][2]
        }
        if len(points) > 1:
            curves = [of_curve(points, half, budget) for half in halves]
            found |= {name: [curve[name] for curve in curves] for name in ("area", "steps")}
        lost = float(cross_fitted_drawdown(*halves))
        found[DRAWDOWN] = [float(cross_fitted_drawdown(parts[half], parts[half + PARTS // 2])) for half in (0, 1)]
    known = {name: list(map(float, values)) for name, values in found.items() if np.isfinite(values).all()}
    return {DRAWDOWN: lost if np.isfinite(lost) else None, HALVES: known}


def _in_halves(parts: Array) -> Array:
    """(2, points) of (PARTS, points): a part goes with the one two places on."""
    return parts[: PARTS // 2] + parts[PARTS // 2 :]


def _finals(dealt: Dealt, column: str, budget: float) -> list[float]:
    """The final score from each half: the mean over its episodes of the evaluations in the last tenth of the budget."""
    points, counts, sums = dealt
    late = is_final(points, budget)
    total, number = _in_halves(sums[column])[:, late].sum(axis=1), _in_halves(counts)[:, late].sum(axis=1)
    return [float(each) for each in total / number]
