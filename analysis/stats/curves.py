"""Numbers that sum up a learning curve: speed and stability, one value per run."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.stats.scores import Array
from bench.verdicts.curves import area_under_curve

CELL = ["task", "arm", "hash", "mode"]
RUN = [*CELL, "seed"]
METRICS = ["area", "steps_to_threshold", "drawdown"]


def steps_to_threshold(steps: ArrayLike, values: ArrayLike, threshold: float) -> Array:
    """The first step at which a curve is at or above `threshold`; inf where it never is, which is a censored value.

    Infinity keeps ranks, medians and sign tests right, as long as it is printed as "more than the budget".

    Args:
        steps: (points,), increasing.
        values: (…, points), NaN where missing; an all-NaN curve gives NaN.
        threshold: in the curve's units.
    """
    at, curve = np.asarray(steps, float), np.asarray(values, float)
    reached = np.where(curve >= threshold, at, np.inf).min(axis=-1)
    return np.asarray(np.where(np.isnan(curve).all(axis=-1), np.nan, reached))


def relative_drawdown(values: ArrayLike) -> Array:
    """Instability: the mean over a curve of the share of its running best that has been lost again.

    (best − value)/best, at most 1 (everything learnt is lost), 0 while nothing above 0 was reached.

    Args:
        values: (…, points), normalised: 0 is the score of having learnt nothing.
    """
    curve = np.asarray(values, float)
    best = np.maximum.accumulate(curve, axis=-1)
    lost = np.divide(best - curve, best, out=np.zeros_like(curve), where=best > 0)
    return np.asarray(np.minimum(lost, 1.0).mean(axis=-1))


def curve_metrics(curves: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Area, steps to `threshold` and drawdown of every run.

    Args:
        curves: as `analysis.load.curves` gives them.
        threshold: normalised score that counts as solved.

    Returns:
        One row per run and mode: its names, `area`, `steps_to_threshold`, `drawdown`.
    """
    parts = [_cell_metrics(cell, threshold) for _, cell in curves.groupby(CELL, observed=True, sort=False)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*RUN, *METRICS])


def _cell_metrics(cell: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """The metrics of the runs of one cell and mode, which share their evaluation steps."""
    wide = cell.pivot(index="seed", columns="step", values="return_normalised")
    steps, values = wide.columns.to_numpy(float), wide.to_numpy(float)
    names = {name: cell[name].iloc[0] for name in CELL}
    return pd.DataFrame(
        names
        | {
            "seed": wide.index,
            "area": area_under_curve(steps, values) if len(steps) > 1 else np.nan,
            "steps_to_threshold": steps_to_threshold(steps, values, threshold),
            "drawdown": relative_drawdown(values),
        }
    )[[*RUN, *METRICS]]
