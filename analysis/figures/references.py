"""Curves over β: arms held to a reference policy beside the best their reference allows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis import stats
from analysis.figures.style import HUES, LINES, MARKERS, logarithmic
from analysis.tables.references import QUANTITIES


def beta_curve(
    values: pd.DataFrame,
    lines: Mapping[str, Sequence[str]],
    quantity: str,
    *,
    ax: Axes,
    colors: Sequence[Any] = (),
) -> None:
    """A quantity over β: measured points with intervals over seeds, and the exact optimum of the same references.

    Args:
        values: of one task, as `exact_values` gives them.
        lines: arms by line, as `series` gives them.
        quantity: one of `QUANTITIES`.
        ax: where to draw.
        colors: of the lines, those of their first arms; hues of their own where two have the same, or none are given.
    """
    hues = colors if len(set(colors)) == len(lines) else HUES
    drawn: set[bytes] = set()
    for place, (label, arms) in enumerate(lines.items()):
        color, marker = hues[place % len(hues)], MARKERS[place % len(MARKERS)]
        mine = values[values["arm"].isin(arms)]
        learned = mine[mine["kind"] == "learned"]
        levels = sorted(learned["coef"].unique())
        if not levels:
            continue
        scores = [learned.loc[learned["coef"] == level, quantity].to_numpy(float) for level in levels]
        found = [stats.mean_interval(own, label, level, quantity) for level, own in zip(levels, scores, strict=True)]
        centre, low, high = np.array(found).T
        aside = (place + 1) // 2 * (-1) ** place if len(levels) == 1 else 0  # arms that have one β, the same
        x = np.array(levels) * 1.06**aside
        bars = np.array([centre - low, high - centre])
        look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4, "linestyle": "", "capsize": 2}
        ax.errorbar(x, centre, yerr=bars, label=label, **look)
        held_to = mine[mine["kind"] == "reference"].drop_duplicates("seed").sort_values("seed")
        references = held_to[["seed", *QUANTITIES]].to_numpy(float).tobytes()
        if references not in drawn:  # estimators that are held to the same policies share their optimum
            drawn.add(references)
            best = mine[mine["kind"] == "optimum"].groupby("coef")[quantity].mean()
            line = LINES[(len(drawn) - 1) % len(LINES)]
            name = f"exact optimum as for {label}"
            ax.plot(best.index, best, color=color, linestyle=line, linewidth=1.4, label=name)
    free = values[(values["kind"] == "learned") & (values["coef"] == 0)]
    if len(free):
        ax.axhline(free[quantity].mean(), color="0.4", linewidth=1, linestyle=":", label="no reference")
    logarithmic(ax, "x")
    ax.set_xlabel("β")
    ax.set_ylabel(QUANTITIES[quantity])
