"""Figures: functions from a tidy table to axes. They read no files and write none; `save` is the only exception.

One style per arm throughout a report: its colour, line and marker never change from figure to figure, so an arm found
in one is found in all. Hues are Okabe and Ito's, which colour-blind readers can tell apart; line and marker differ as
well, so that a figure survives grey print.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import load, stats, tables

REPS = 2000
FORMATS = ("svg", "png", "pdf")
MAX_LINES = 6  # more lines with bands in one panel cannot be told apart

_OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_FAMILY_HUES: Mapping[str, str] = {
    "none": "#4D4D4D",
    "critic": "#0072B2",
    "group": "#D55E00",
    "grpo": "#CC79A7",
    "rloo": "#009E73",
    "batch_mean": "#E69F00",
    "time_mean": "#56B4E9",
    "vine": "#8C510A",
}
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_FACETS = ("advantage", "baseline", "update")


@dataclass(frozen=True)
class Style:
    """How one arm is drawn, everywhere."""

    color: tuple[float, float, float]
    line: Any
    marker: str


def arm_styles(runs: pd.DataFrame) -> dict[str, Style]:
    """A style for every arm of `runs`, in order of appearance.

    Up to seven arms have a hue each. More share the hue of their baseline, in shades from dark to light.
    """
    arms = runs.drop_duplicates("arm")
    names = [str(name) for name in arms["arm"]]
    if len(names) <= len(_OKABE_ITO):
        return {
            name: Style(to_rgb(_OKABE_ITO[i]), _LINES[i % len(_LINES)], _MARKERS[i]) for i, name in enumerate(names)
        }
    baselines = arms["baseline"].astype(object).fillna("").tolist() if "baseline" in arms else [""] * len(names)
    hues = _hues(dict.fromkeys(map(str, baselines)))
    styles: dict[str, Style] = {}
    for family in dict.fromkeys(map(str, baselines)):
        members = [name for name, baseline in zip(names, baselines, strict=True) if str(baseline) == family]
        for place, name in enumerate(members):
            shade = _shade(hues[family], place / max(len(members) - 1, 3))
            marker = _MARKERS[(place + 3 * list(hues).index(family)) % len(_MARKERS)]
            styles[name] = Style(shade, _LINES[place % len(_LINES)], marker)
    return {name: styles[name] for name in names}


def _hues(families: Mapping[str, None]) -> dict[str, str]:
    """Known baselines keep their hue in every study; others take the free ones in order."""
    free = [hue for hue in _OKABE_ITO if hue not in {_FAMILY_HUES.get(family) for family in families}]
    unknown = [family for family in families if family not in _FAMILY_HUES]
    assigned = {family: free[place % len(free)] for place, family in enumerate(unknown)}
    return {family: _FAMILY_HUES.get(family) or assigned[family] for family in families}


def _shade(hue: str, lightness: float) -> tuple[float, float, float]:
    """`hue` darkened at 0, mixed with white at 1, still dark enough to be read on white."""
    start, end = 0.75, 0.5
    base = np.array(to_rgb(hue))
    dark = base * start
    light = base + (1 - base) * end
    red, green, blue = dark + (light - dark) * lightness
    return float(red), float(green), float(blue)


@contextmanager
def house_style() -> Iterator[None]:
    """The one style of all figures, whatever the machine's own matplotlib settings are; also a decorator."""
    settings: Any = {
        **mpl.rcParamsDefault,
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("paper"),
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same bytes on every machine
        "axes.edgecolor": "0.6",
        "grid.color": "0.9",
        "svg.hashsalt": "policy-gradient-bench",
        "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    }
    settings.pop("backend")
    with mpl.rc_context(settings):
        yield


def learning_curve(
    table: pd.DataFrame, styles: Mapping[str, Style], *, ax: Axes, reps: int = REPS, confidence: float = 0.95
) -> None:
    """Mean over seeds with a pointwise bootstrap band, one line per arm of `table`.

    Args:
        table: the rows of one task and one mode of `analysis.load.curves`.
        styles: as `arm_styles` gives them; arms are drawn in its order.
        ax: where to draw.
        reps: bootstrap resamples.
        confidence: of the band.
    """
    for arm, style in styles.items():
        mine = table[table["arm"] == arm]
        if mine.empty:
            continue
        wide = mine.pivot(index="seed", columns="step", values="value")
        rng = stats.generator(mine["task"].iloc[0], arm, mine["mode"].iloc[0], "curve")
        centre, low, high = stats.mean_band(wide.to_numpy(float), reps, confidence, rng)
        steps = wide.columns.to_numpy(float)
        ax.fill_between(steps, low, high, color=style.color, alpha=0.18, linewidth=0)
        every = max(1, len(steps) // 5)
        offset = list(styles).index(arm) % every
        ax.plot(
            steps, centre, color=style.color, linestyle=style.line, linewidth=1.4, label=arm,
            marker=style.marker, markevery=(offset, every), markersize=4,
        )  # fmt: skip
    ax.set_xlabel("environment steps per seed")
    ax.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))


@house_style()
def learning_curves(
    evaluations: pd.DataFrame, runs: pd.DataFrame, mode: str = "stochastic", width: float | None = None
) -> Figure:
    """Learning curves of a study: a column per task, and a row per facet where one panel could not hold all arms."""
    styles = arm_styles(runs)
    table = load.curves(evaluations, runs)
    table = table[table["mode"] == mode]
    tasks = [str(task) for task in runs["task"].unique()]
    facets = facet_arms(runs)
    figure, axes = _grid(len(facets), len(tasks), width or 4.2 * len(tasks) + 2.2, 2.6)
    limits = {task: _limits(table.loc[table["task"] == task, "value"]) for task in tasks}
    for row, (facet, arms) in enumerate(facets.items()):
        chosen = {arm: styles[arm] for arm in arms}
        for column, task in enumerate(tasks):
            ax = axes[row, column]
            learning_curve(table[table["task"] == task], chosen, ax=ax)
            ax.set_ylim(*limits[task])
            ax.set_title(" · ".join(filter(None, [task, facet])), fontsize="medium")
            ax.set_ylabel(f"return ({mode})" if column == 0 else "")
            if row < len(facets) - 1:
                ax.set_xlabel("")
        _legend(axes[row, -1], chosen)
    return figure


def facet_arms(runs: pd.DataFrame) -> dict[str, list[str]]:
    """The arms of each panel row: all in one if they fit, else by the first factor that splits them small enough."""
    arms = runs.drop_duplicates("arm")
    names = [str(name) for name in arms["arm"]]
    if len(names) <= MAX_LINES:
        return {"": names}
    for factor in _FACETS:
        if factor not in arms:
            continue
        levels = arms[factor].astype(object).fillna("other").astype(str).tolist()
        groups = {level: [n for n, own in zip(names, levels, strict=True) if own == level] for level in levels}
        if len(groups) > 1 and max(map(len, groups.values())) <= MAX_LINES:
            return {f"{factor} = {level}": members for level, members in groups.items()}
    return {
        f"arms {start + 1} to {min(start + MAX_LINES, len(names))}": names[start : start + MAX_LINES]
        for start in range(0, len(names), MAX_LINES)
    }


def final_scores(
    runs: pd.DataFrame, estimates: pd.DataFrame, styles: Mapping[str, Style], *, ax: Axes, task: str, mode: str
) -> None:
    """One task: the mean with its interval, the IQM as an upright bar, and below them every seed's final score.

    Args:
        runs: as `analysis.load` gives them.
        estimates: as `analysis.tables.comparison` gives them.
        styles: as `arm_styles` gives them; arms are drawn in its order, from the top.
        ax: where to draw.
        task: which task.
        mode: which policy, `deterministic` or `stochastic`.
    """
    rows = estimates[(estimates["task"] == task) & (estimates["mode"] == mode)]
    by_arm = {str(row["arm"]): row for _, row in rows.iterrows()}
    labels = []
    for place, (arm, style) in enumerate(styles.items()):
        found = by_arm.get(arm)
        labels.append(f"{arm}  " + ("no runs" if found is None else f"n={tables.count_text(found)}"))
        if found is not None and found["n"]:
            mine = runs[(runs["arm"] == arm) & (runs["task"] == task)]
            _final_score(found, mine[f"final_{mode}"].dropna().to_numpy(float), style, ax, place)
    ax.set_yticks(range(len(styles)), labels)
    ax.set_ylim(len(styles) - 0.4, -0.6)
    ax.set_xlabel(f"final return ({mode})")
    ax.grid(axis="y", visible=False)


def _final_score(estimate: pd.Series, seeds: stats.Array, style: Style, ax: Axes, place: int) -> None:
    spread = np.tile([-0.06, 0.06], len(seeds))[: len(seeds)]  # neighbours in seed order do not hide each other
    ax.plot(seeds, place + 0.24 + spread, linestyle="", marker=".", markersize=4, color=style.color, alpha=0.5)
    ax.hlines(place - 0.1, estimate["mean_low"], estimate["mean_high"], color=style.color, linewidth=2)
    ax.plot(estimate["iqm"], place - 0.1, marker="|", markersize=13, markeredgewidth=1.4, color=style.color)
    ax.plot(estimate["mean"], place - 0.1, marker=style.marker, color=style.color, markersize=5)


@house_style()
def final_score_intervals(
    runs: pd.DataFrame, estimates: pd.DataFrame, mode: str = "stochastic", width: float | None = None
) -> Figure:
    """Final scores of a study, one panel per task."""
    styles = arm_styles(runs)
    tasks = [str(task) for task in runs["task"].unique()]
    figure, axes = _grid(1, len(tasks), width or 5.6 * len(tasks), 0.32 * len(styles) + 1.2)
    for column, task in enumerate(tasks):
        ax = axes[0, column]
        final_scores(runs, estimates, styles, ax=ax, task=task, mode=mode)
        ax.set_title(task, fontsize="medium")
    key = [
        Line2D([], [], color="0.3", marker="o", linewidth=2.2, label="mean with 95 % interval"),
        Line2D([], [], color="0.3", marker="|", linestyle="", markersize=13, markeredgewidth=1.4, label="IQM"),
        Line2D([], [], color="0.3", marker=".", linestyle="", alpha=0.5, label="one seed"),
    ]
    figure.legend(handles=key, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def _limits(values: pd.Series) -> tuple[float, float]:
    """Shared limits of a task's panels, so that rows can be compared by eye."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _grid(rows: int, columns: int, width: float, row_height: float) -> tuple[Figure, Any]:
    """A figure and its axes, without pyplot's global state."""
    figure = Figure(figsize=(width, row_height * rows + 0.3), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _legend(ax: Axes, styles: Mapping[str, Style]) -> None:
    """The arms of a row of panels, to the right of its last panel, where no line can run into them."""
    handles = [
        Line2D([], [], color=style.color, linestyle=style.line, marker=style.marker, markersize=4, label=arm)
        for arm, style in styles.items()
    ]
    ax.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize="small",
        handlelength=3.2,
    )


def save(figure: Figure, kind: str) -> bytes:
    """`figure` as the bytes of an svg, png or pdf file; the same figure gives the same bytes."""
    dates: Mapping[str, dict[str, Any]] = {
        "svg": {"Date": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None},
    }
    buffer = io.BytesIO()
    with house_style():
        figure.draw_without_rendering()  # lay out once, not again for every format
        figure.set_layout_engine("none")
        figure.savefig(buffer, format=kind, dpi=200, metadata=dates[kind])
    return buffer.getvalue()
