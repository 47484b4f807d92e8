"""Figures of a tuned study: scores over every key's values, and the winners on both pools of seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.figures.style import Look, Style, arm_styles, grid, handles, house_style
from analysis.stats import CONFIDENCE, Array
from analysis.tables.tuned import Tuned, TunedArm


def drawings(found: Tuned, styles: Mapping[str, Style], look: Look) -> dict[str, Figure]:
    """The figures by name."""
    with house_style(look):
        drawn = {"tuning_settings": _settings(found, styles, look)}
        if any(arm.winner is not None for arm in found.arms):
            drawn["tuning_optimism"] = _both_pools(found, styles, look)
    return drawn


def _styles(found: Tuned, styles: Mapping[str, Style]) -> dict[str, Style]:
    """The arms' styles in the rest of the report, where it has them."""
    names = list(dict.fromkeys(arm.arm for arm in found.arms))
    own = arm_styles(pd.DataFrame({"arm": names}))
    return {name: styles[name] for name in names} if set(names) <= set(styles) else own


def _settings(found: Tuned, styles: Mapping[str, Style], look: Look) -> Figure:
    """Scores over every key's values: a row per key, a column per task."""
    chosen = _styles(found, styles)
    figure, axes = grid(len(found.keys), len(found.tasks), (5.2, 2.6), look, extra=0.6)
    for row, key in enumerate(found.keys):
        for column, task in enumerate(found.tasks):
            ax = axes[row, column]
            for arm in found.of(task):
                _dots(arm, key, chosen[arm.arm], ax)
            ax.set_title(task if row == 0 else "")
            ax.set_xlabel(key)
            ax.set_ylabel("final return (stochastic)" if column == 0 else "")
    key_handles = [
        *handles(chosen),
        Line2D([], [], color="0.3", marker="o", markersize=10, markerfacecolor="none", linestyle="", label="winner"),
        Line2D([], [], color="0.3", marker="x", linestyle="", label="failed"),
    ]
    for handle in key_handles[: len(chosen)]:
        handle.set_linestyle("")
    figure.legend(handles=key_handles, loc="outside lower center", ncols=4)
    return figure


def _dots(arm: TunedArm, key: str, style: Style, ax: Axes) -> None:
    """One arm's settings over one key; a failed one on the panel's floor."""
    values = {setting.number: setting.values[key] for setting in arm.settings if key in setting.values}
    if not values:
        return
    if _is_logarithmic(list(values.values())):
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
    done = [each for each in arm.settings if each.number in values and not each.trouble]
    failed = [each for each in arm.settings if each.number in values and "failed" in each.trouble]
    look: dict[str, Any] = {"color": style.color, "linestyle": "", "gid": style.gid}
    x = [values[each.number] for each in done]
    ax.plot(x, [each.mean for each in done], marker=style.marker, markersize=4, alpha=0.8, **look)
    floor = ax.get_xaxis_transform()
    ax.plot([values[each.number] for each in failed], [0.02] * len(failed), marker="x", transform=floor, **look)
    if arm.winner is not None:
        best = arm.winner
        ax.plot([best.values[key]], [best.mean], marker="o", markersize=10, markerfacecolor="none", **look)


def _is_logarithmic(values: Sequence[Any]) -> bool:
    numbers = [value for value in values if isinstance(value, int | float)]
    return len(numbers) == len(values) > 1 and min(numbers) > 0 and max(numbers) > 10 * min(numbers)


def _both_pools(found: Tuned, styles: Mapping[str, Style], look: Look) -> Figure:
    """Every winner's score on the seeds that chose it, above that on fresh ones."""
    chosen = _styles(found, styles)
    figure, axes = grid(1, len(found.tasks), (5.6, 0.5 * len(chosen) + 0.9), look, extra=0.3)
    for ax, task in zip(axes.flat, found.tasks, strict=True):
        arms = found.of(task)
        for place, arm in enumerate(arms):
            tuning = [] if arm.winner is None else list(arm.winner.scores.values())
            _pool(tuning, place - 0.15, chosen[arm.arm], "none", ax)
            _pool(list(arm.fresh.values()), place + 0.15, chosen[arm.arm], None, ax)
        ax.set_yticks(range(len(arms)), [arm.arm for arm in arms])
        ax.set_ylim(len(arms) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.set_title(task)
        ax.set_xlabel("final return (stochastic)")
    look_of: dict[str, Any] = {"color": "0.3", "marker": "o", "linestyle": "-"}
    key = [
        Line2D([], [], markerfacecolor="none", label="tuning pool, which chose it", **look_of),
        Line2D([], [], label="fresh seeds", **look_of),
        Line2D([], [], color="0.3", marker=".", linestyle="", alpha=0.5, label="one seed"),
    ]
    figure.legend(handles=key, loc="outside lower center", ncols=3)
    return figure


def _pool(scores: Sequence[float], height: float, style: Style, face: str | None, ax: Axes) -> None:
    """A mean with its t-interval, and the seeds."""
    if not scores:
        return
    low, high = _mean_interval(np.asarray(scores, float))
    look: dict[str, Any] = {"color": style.color, "gid": style.gid}
    ax.plot(scores, [height + 0.1] * len(scores), linestyle="", marker=".", markersize=4, alpha=0.4, **look)
    ax.hlines(height, low, high, linewidth=1.8, **look)
    ax.plot([float(np.mean(scores))], [height], marker="o", markersize=6, markerfacecolor=face or style.color, **look)


def _mean_interval(scores: Array) -> tuple[float, float]:
    centre = float(scores.mean())
    if len(scores) < 2:
        return centre, centre
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores)))
    return centre - half, centre + half
