"""Score and bias against the delay: how far back credit reaches, for every estimator and baseline."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import Look, Style, grid, legend_of_arms, legend_size
from analysis.tables.delay import delay_rows

SEEN = {False: "the decision is seen", True: "the decision is hidden"}
WHEN = {False: "as long as the critic has not learned", True: "whatever the critic has learned"}


def delay_curves(runs: pd.DataFrame, styles: Mapping[str, Style], look: Look) -> Figure | None:
    """Above, final scores over the delay; below, what of the exam the estimator does not credit to the decision.

    A column where the critic sees what was decided, and one where it does not. None with fewer than two delays.

    Args:
        runs: as `analysis.load` gives them.
        styles: as `analysis.figures.style.arm_styles` gives them.
        look: of the figure.
    """
    rows = delay_rows(runs)
    if rows["delay"].nunique() < 2:
        return None
    arms = {arm: style for arm, style in styles.items() if arm in set(rows["arm"])}
    ways = [hidden for hidden in SEEN if (rows["hidden"] == hidden).any()]
    every = sorted(rows["delay"].unique())
    across, extra = legend_size(arms, 4.2 * len(ways), look)
    figure, axes = grid(2, len(ways), (4.2, 2.7), look, extra=extra)
    low = min(0.0, float(rows["low"].min())) - 0.1
    for column, hidden in enumerate(ways):
        mine = rows[rows["hidden"] == hidden]
        _scores(mine, arms, every, axes[0, column])
        axes[0, column].set_ylim(low, 1.1)
        _missed(mine, arms, every, axes[1, column])
        axes[0, column].set_title(SEEN[hidden])
        axes[1, column].set_title(WHEN[hidden])
        axes[1, column].set_xlabel("weeks from the decision to the exam")
    axes[0, 0].set_ylabel("final score\n(0: random, 1: best)")
    axes[1, 0].set_ylabel("bias: share of the exam\nnot credited (exact)")
    legend_of_arms(figure, arms, across)
    return figure


def _scores(rows: pd.DataFrame, arms: Mapping[str, Style], every: list[int], ax: Axes) -> None:
    shift = {arm: 0.05 * (place - (len(arms) - 1) / 2) for place, arm in enumerate(arms)}  # equal scores show all arms
    for arm, style in arms.items():
        mine = rows[rows["arm"] == arm].sort_values("delay")
        if mine.empty:
            continue
        bars = np.array([mine["mean"] - mine["low"], mine["high"] - mine["mean"]])
        places = [every.index(delay) + shift[arm] for delay in mine["delay"]]
        ax.errorbar(
            places, mine["mean"], yerr=bars, color=style.color, linestyle=style.line, marker=style.marker,
            markersize=4, linewidth=1.4, capsize=2, gid=style.gid,
        )  # fmt: skip
    ax.axhline(0.0, color="0.6", linewidth=0.8, linestyle=":")
    _delays(ax, every)


def _missed(rows: pd.DataFrame, arms: Mapping[str, Style], every: list[int], ax: Axes) -> None:
    """One line for all arms that miss alike, in the style of the first."""
    drawn: set[tuple[float, ...]] = set()
    for arm, style in arms.items():
        mine = rows[rows["arm"] == arm].dropna(subset="missed").sort_values("delay")
        key = tuple(mine["missed"])
        if mine.empty or key in drawn:
            continue
        drawn.add(key)
        places = [every.index(delay) for delay in mine["delay"]]
        ax.plot(
            places, mine["missed"], color=style.color, linestyle=style.line, marker=style.marker, markersize=4,
            linewidth=1.4, gid=style.gid,
        )  # fmt: skip
    ax.set_ylim(-0.08, 1.08)
    _delays(ax, every)


def _delays(ax: Axes, every: list[int]) -> None:
    ax.set_xticks(range(len(every)), [str(delay) for delay in every])
