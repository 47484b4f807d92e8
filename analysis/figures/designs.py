"""The readings of a design of settings as figures; the numbers are those of `analysis.tables.designs`."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from analysis.claims import readings as four
from analysis.claims.readings import SideBySide
from analysis.figures.forest import FIRST, MARKS
from analysis.figures.style import (
    Look,
    Style,
    arm_styles,
    grid,
    handles,
    house_style,
    legend_columns,
    logarithmic,
    ragged,
    wrapped,
)
from analysis.load.designed import Designed
from analysis.stats import settings as stats
from analysis.tables.designs import (
    ALL_ROUND,
    BEST,
    DEFAULT,
    OVER_TASKS,
    STRATUM,
    WITHOUT,
    Readings,
    scaled,
    shares_of,
    was_judged,
)
from analysis.tables.formats import number_text
from bench.design.choices import HALVES
from bench.verdicts.row import JudgedRow
from bench.verdicts.words import Word

Drawing = Callable[[Readings, Mapping[str, Style], Look], Figure | None]

BESIDE = 3  # panels
MOST_LINES = 4  # in a panel of responses: more intervals cannot be told apart
FARTHEST = 12.0  # margins: what lies beyond stands at the edge
FINE = 60  # points of a surface along each key
SCORE = "score (0 random, 1 reference)"
_MARKS: Mapping[str, tuple[str, bool, str]] = {  # of what was chosen: marker, whether it is filled, what it is called
    DEFAULT: ("x", True, "own numbers"),
    BEST: ("o", True, "own best"),
    WITHOUT: ("s", False, "chosen without this task"),
    ALL_ROUND: ("^", False, "all-round"),
    HALVES[0]: ("<", False, "best of one random half"),
    HALVES[1]: (">", False, "best of the other half"),
}


def drawings(readings: Readings, styles: Mapping[str, Style], look: Look) -> dict[str, Figure]:
    """The figures by name, those the design has something for.

    Args:
        readings: of one design.
        styles: of the arms in the rest of the report, which they keep.
        look: where the figures are going to be seen.
    """
    designed, found = readings.designed, {}
    chosen = _styles(designed, styles)
    with house_style(look):
        for name, draw in FIGURES.items():
            figure = draw(readings, chosen, look)
            if figure is not None:
                found[f"design_{name}_{designed.name}"] = figure
        for task in designed.tasks:
            for name, of_task in OF_TASK.items():
                found[f"design_{name}_{designed.name}_{task}"] = of_task(readings, task, chosen, look)
    return found


def _styles(designed: Designed, styles: Mapping[str, Style]) -> dict[str, Style]:
    """The arms' styles in the rest of the report, where it has them all."""
    names = designed.arms
    if set(names) <= set(styles):
        return {name: styles[name] for name in names}
    return arm_styles(pd.DataFrame({"arm": names, "baseline": [name.split("-")[0] for name in names]}))


# What tuning buys


def expected_best(readings: Readings, styles: Mapping[str, Style], look: Look) -> Figure | None:
    """The expected best of k settings, a line per arm: the mean over tasks, then every task."""
    table = readings.expected
    if table.empty:
        return None
    tasks = sorted(table["task"].unique(), key=lambda task: task != OVER_TASKS)
    figure, placed = ragged(wrapped([tasks], look.columns(BESIDE)), (4.0, 2.9), look, extra=_key_height(styles))
    for row in placed:
        for ax, task in row:
            mine = table[table["task"] == task]
            for place, (arm, style) in enumerate(styles.items()):
                _growing(mine[mine["arm"] == arm], place / max(len(styles) - 1, 1) - 0.5, style, ax)
            numbers = sorted(mine["k"].unique())
            logarithmic(ax, "x", 2)
            ax.xaxis.set_major_locator(FixedLocator(numbers))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FormatStrFormatter("%d"))
            ax.set_title(task)
            ax.set_xlabel("settings tried")
            ax.set_ylabel(SCORE if ax is row[0][0] else "")
    _legend(figure, handles(styles), look)
    return figure


def _growing(rows: pd.DataFrame, shift: float, style: Style, ax: Axes) -> None:
    """An arm's line; intervals of arms stand beside each other, so that they can be told apart."""
    if rows.empty:
        return
    x, y = rows["k"].to_numpy(float) * 1.12**shift, rows["best"].to_numpy(float)
    ax.vlines(x, rows["best_low"], rows["best_high"], color=style.color, linewidth=1.2, alpha=0.7, gid=style.gid)
    look: dict[str, Any] = {"color": style.color, "gid": style.gid}
    ax.plot(x, y, linestyle=style.line, marker=style.marker, markersize=4, linewidth=1.3, **look)


def optimism(readings: Readings, styles: Mapping[str, Style], look: Look) -> Figure | None:
    """What the best setting scored on the seeds that chose it, and what it and those of random halves are worth."""
    return _of_chosen(readings, (BEST, *HALVES), styles, look, tried=True)


def left_out(readings: Readings, styles: Mapping[str, Style], look: Look) -> Figure | None:
    """Settings that were chosen without a task beside those that know it, on fresh seeds."""
    if len(readings.designed.tasks) < 2 or not was_judged(readings, WITHOUT):
        return None
    return _of_chosen(readings, (DEFAULT, BEST, WITHOUT, ALL_ROUND), styles, look, tried=False)


def _of_chosen(
    readings: Readings, shown: Sequence[str], styles: Mapping[str, Style], look: Look, *, tried: bool
) -> Figure | None:
    table, shown = readings.chosen, [reading for reading in shown if was_judged(readings, reading)]
    if not shown:
        return None
    tasks, arms = readings.designed.tasks, list(styles)
    size = (4.6, 0.14 * (len(shown) + tried + 1) * len(arms) + 0.8)
    figure, placed = ragged(wrapped([tasks], look.columns(BESIDE)), size, look, extra=0.5)
    for row in placed:
        for ax, task in row:
            for place, arm in enumerate(arms):
                rows = table[(table["task"] == task) & (table["arm"] == arm)].set_index("reading")
                _arm_of_chosen(rows, place, shown, styles[arm], ax, tried=tried)
            ax.set_yticks(range(len(arms)), arms if ax is row[0][0] else [""] * len(arms))
            ax.set_ylim(len(arms) - 0.5, -0.5)
            ax.grid(axis="y", visible=False)
            for line in range(1, len(arms)):
                ax.axhline(line - 0.5, color="0.9", linewidth=0.8)
            ax.set_title(task)
            ax.set_xlabel(SCORE)
    key = [_key_mark(*_MARKS[reading]) for reading in shown]
    if tried:
        key.append(Line2D([], [], color="0.3", marker="|", markersize=9, linestyle="", label="on the seeds that chose"))
    _legend(figure, key, look)
    return figure


def _arm_of_chosen(
    rows: pd.DataFrame, place: int, shown: Sequence[str], style: Style, ax: Axes, *, tried: bool
) -> None:
    """One arm's settings, below each other, with their intervals over fresh seeds."""
    step = 1 / (len(shown) + 1)
    for line, reading in enumerate(shown):
        if reading not in rows.index:
            continue
        row, height = rows.loc[reading], place + (line + 1) * step - 0.5
        marker, filled, _ = _MARKS[reading]
        look: dict[str, Any] = {"color": style.color, "gid": style.gid}
        ax.hlines(height, row["fresh_low"], row["fresh_high"], linewidth=1.5, **look)
        face = style.color if filled else "white"
        ax.plot([row["fresh"]], [height], marker=marker, markersize=5, markerfacecolor=face, linestyle="", **look)
        if tried:
            ax.plot([row["tried"]], [height], marker="|", markersize=9, linestyle="", **look)


def _key_mark(marker: str, filled: bool, label: str) -> Line2D:
    face = "0.3" if filled else "white"
    return Line2D([], [], color="0.3", marker=marker, markersize=5, markerfacecolor=face, linestyle="-", label=label)


def sensitivity(readings: Readings, styles: Mapping[str, Style], look: Look) -> Figure | None:
    """Performance over sensitivity, an arm a point: the upper left is where one would like to be."""
    table = readings.plane
    if table.empty:
        return None
    figure, axes = grid(1, 1, (6.4, 3.8), look, extra=_key_height(styles))
    ax = axes[0, 0]
    for row in table.to_dict("records"):
        style = styles[str(row["arm"])]
        look_of: dict[str, Any] = {"color": style.color, "gid": style.gid}
        x, y = float(row["sensitivity"]), float(row["performance"])
        ax.hlines(y, float(row["sensitivity_low"]), float(row["sensitivity_high"]), linewidth=1.2, alpha=0.7, **look_of)
        ax.vlines(x, float(row["performance_low"]), float(row["performance_high"]), linewidth=1.2, alpha=0.7, **look_of)
        ax.plot([x], [y], marker=style.marker, markersize=7, linestyle="", **look_of)
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.set_xlabel("sensitivity: per-task best less the all-round setting")
    ax.set_ylabel("performance: mean of per-task bests")
    key = handles({arm: style for arm, style in styles.items() if arm in set(table["arm"])})
    for handle in key:
        handle.set_linestyle("")
    _legend(figure, key, look)
    return figure


# Claims


def claims(readings: Readings, styles: Mapping[str, Style], look: Look) -> Figure | None:
    """Every claim at four readings, side by side; effects in units of the claim's own margin."""
    del styles  # a line is a comparison of two
    if not readings.claims:
        return None
    lines = [*_by_claim(readings.claims)]
    figure, axes = grid(1, len(four.READINGS), (2.5, 0.25 * len(lines) + 1.1), look, extra=0.5)
    figure.set_figwidth(look.width or (2.5 * len(four.READINGS) + 4.6) * look.scale)
    for ax, name in zip(axes[0], four.READINGS, strict=True):
        ax.axvspan(-1, 1, color="0.93", zorder=0)
        ax.axvline(0, color="0.6", linewidth=0.8)
        for place, (_, claim) in enumerate(lines):
            if claim is not None:
                _effect(claim.rows[name], place, ax)
        ax.set_xlim(-FARTHEST * 1.06, FARTHEST * 1.06)
        ax.set_ylim(len(lines) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.set_yticks(range(len(lines)), [text for text, _ in lines] if ax is axes[0, 0] else [""] * len(lines))
        ax.set_title(name)
        ax.set_xlabel("effect / margin")
    for label, (_, claim) in zip(axes[0, 0].get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if claim is None else "normal")
    right = axes[0, -1].secondary_yaxis("right")
    right.set_yticks(range(len(lines)), ["" if claim is None else claim.standing for _, claim in lines])
    right.tick_params(length=0)
    words = {row.word for claim in readings.claims for row in claim.rows.values()}
    shown = {**MARKS, Word.UNINFORMATIVE: FIRST}
    key = [
        Line2D([], [], color=mark.color, marker=mark.marker, markerfacecolor=mark.color if mark.filled else "white",
               label=str(word))
        for word, mark in shown.items() if word in words
    ]  # fmt: skip
    _legend(figure, key, look)
    return figure


def _by_claim(found: Sequence[SideBySide]) -> list[tuple[str, SideBySide | None]]:
    """A line with the name of each claim, or arm beside the control, and one for each of its tasks."""
    lines: list[tuple[str, SideBySide | None]] = []
    for name in dict.fromkeys(each.first.name for each in found):
        own = [each for each in found if each.first.name == name]
        heading = name.replace("_", " ") if own[0].first.file else f"{own[0].first.arm} − {own[0].first.against}"
        lines += [(heading, None), *((f"{each.first.task}  ", each) for each in own)]
    return lines


def _effect(row: JudgedRow, place: int, ax: Axes) -> None:
    """An effect with its interval in units of the margin; what lies beyond the edge ends there."""
    if np.isnan(row.effect):
        ax.text(0, place, "not judged", ha="center", va="center", fontsize="x-small", color="0.5")
        return
    mark = FIRST if row.word is None else MARKS.get(row.word, FIRST)
    low, effect, high = (
        float(np.clip(each / row.margin, -FARTHEST, FARTHEST)) for each in (row.low, row.effect, row.high)
    )
    ax.hlines(place, low, high, color=mark.color, linewidth=1.5)
    face = mark.color if mark.filled else "white"
    ax.plot([effect], [place], marker=mark.marker, color=mark.color, markersize=5, markerfacecolor=face, linestyle="")


# Responses


def groups_of(arms: Sequence[str]) -> list[list[str]]:
    """Arms that are drawn in one panel: those of a baseline together, and at most `MOST_LINES`."""
    families: dict[str, list[str]] = {}
    for arm in arms:
        families.setdefault(arm.split("-")[0], []).append(arm)
    groups: list[list[str]] = []
    for family in families.values():
        for start in range(0, len(family), MOST_LINES):
            part = family[start : start + MOST_LINES]
            roomy = next((group for group in groups if len(group) + len(part) <= MOST_LINES), None)
            if roomy is None:
                groups.append(part)
            else:
                roomy.extend(part)
    return groups


def responses(readings: Readings, task: str, styles: Mapping[str, Style], look: Look) -> Figure:
    """Score over every key, a column per group of arms where there are several; on the axis are their own numbers."""
    table = readings.responses[readings.responses["task"] == task]
    designed, keys = readings.designed, list(table["key"].unique())
    groups = groups_of([arm for arm in styles if (task, arm) in designed.scores])
    panels = [[(key, group) for group in groups] for key in keys]
    rows = panels if len(groups) > 1 else wrapped([list(itertools.chain.from_iterable(panels))], BESIDE)
    figure, placed = ragged(rows, (3.4, 1.9), look, extra=0.5 + _key_height(styles))
    low, high = float(table["score_low"].min()), float(table["score_high"].max())
    for row in placed:
        for ax, (key, group) in row:
            for place, arm in enumerate(group):
                mine = table[(table["key"] == key) & (table["arm"] == arm)]
                _response(mine, (place + 0.5) / len(group) - 0.5, styles[arm], ax)
                _own_number(designed, task, arm, key, styles[arm], ax)
            if not ax.lines:
                ax.text(0.5, 0.5, "not read", transform=ax.transAxes, ha="center", va="center", color="0.4")
            _ticks(designed, key, ax)
            ax.set_ylim(low - 0.03, high + 0.03)
            ax.set_xlabel(key)
            ax.set_ylabel("score" if ax is row[0][0] else "")
    figure.suptitle(f"{task}: mean score over all other settings", fontsize="medium")
    own = Line2D([], [], color="0.3", marker="^", linestyle="", label="on the axis: its own number")
    _legend(figure, [*handles({arm: styles[arm] for group in groups for arm in group}), own], look)
    return figure


def _response(rows: pd.DataFrame, shift: float, style: Style, ax: Axes) -> None:
    """An arm's means in the bins of a key, with their intervals beside those of other arms."""
    if rows.empty:
        return
    width = np.diff(rows["at"]).min() if len(rows) > 1 else 1.0
    x = rows["at"].to_numpy(float) + 0.35 * shift * width
    look: dict[str, Any] = {"color": style.color, "gid": style.gid}
    ax.vlines(x, rows["score_low"], rows["score_high"], linewidth=1.4, alpha=0.8, **look)
    between = "" if rows["key"].iloc[0] == STRATUM else style.line
    ax.plot(x, rows["score"], linestyle=between, linewidth=1.1, marker=style.marker, markersize=4, **look)


def _own_number(designed: Designed, task: str, arm: str, key: str, style: Style, ax: Axes) -> None:
    """Where an arm's own number lies on the axis, if it is known, and within the range."""
    rows = designed.at_default(task, arm)
    if key not in designed.space or key not in rows or rows.empty or pd.isna(rows[key].iloc[0]):
        return
    at = float(scaled(designed, key, [float(rows[key].iloc[0])])[0])
    if -0.02 <= at <= 1.02:
        ax.plot([at], [0.03], marker="^", markersize=7, color=style.color, linestyle="", alpha=0.8,
                transform=ax.get_xaxis_transform(), gid=style.gid, clip_on=False)  # fmt: skip


def _ticks(designed: Designed, key: str, ax: Axes, which: str = "x") -> None:
    """The values of a key at shares of its range; the names of strata."""
    set_ticks = ax.set_xticks if which == "x" else ax.set_yticks
    set_limits = ax.set_xlim if which == "x" else ax.set_ylim
    if key == STRATUM:
        names = list(designed.weights)
        slant: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if which == "x" else {}
        set_ticks(range(len(names)), [name.replace("_", " ") for name in names], **slant)
        set_limits(-0.5, len(names) - 0.5)
        return
    ((kind, arguments),) = designed.space[key].items()
    values = sorted(map(float, arguments))
    if kind != "choice":
        low, high = values
        values = list(np.geomspace(low, high, 3) if kind == "log_uniform" else np.linspace(low, high, 3))
    set_ticks(scaled(designed, key, values), [f"{value:.2g}" for value in values])
    beside = 0.2 if kind == "choice" else 0.06
    set_limits(-beside, 1 + beside)


def contours(readings: Readings, task: str, styles: Mapping[str, Style], look: Look) -> Figure:
    """Every arm over the two keys that foretell its score best, with what the fit is worth; points are settings."""
    designed = readings.designed
    arms = [arm for arm in styles if (task, arm) in designed.scores]
    figure, placed = ragged(wrapped([arms], look.columns(4)), (3.3, 2.6), look, extra=0.3)
    shade = ScalarMappable(Normalize(0, 1), "viridis")
    for row in placed:
        for ax, arm in row:
            _contour(readings, task, arm, shade, ax)
    figure.colorbar(shade, ax=[ax for row in placed for ax, _ in row], label=SCORE, shrink=0.8, extend="both")
    figure.suptitle(f"{task}: the two keys whose fit foretells best", fontsize="medium")
    return figure


def _contour(readings: Readings, task: str, arm: str, shade: ScalarMappable, ax: Axes) -> None:
    designed, table = readings.designed, readings.fits
    pairs = table[(table["task"] == task) & (table["arm"] == arm) & (table["second"] != "")].dropna()
    ax.set_title(arm, fontsize="small")
    if pairs.empty:
        ax.text(0.5, 0.5, "nothing to be foretold", transform=ax.transAxes, ha="center", va="center", color="0.4")
        ax.set(xticks=[], yticks=[])
        return
    best = pairs.sort_values("r_squared", kind="stable").iloc[-1]
    keys, r_squared = [str(best["first"]), str(best["second"])], float(best["r_squared"])
    scores = designed.scores[task, arm]
    means, weights = scores.mean(axis=1).to_numpy(float), designed.weight_of(scores.index)
    shares = shares_of(designed, arm, scores.index)
    points = np.column_stack([shares[key] for key in keys])
    if r_squared > 0:
        steps = np.linspace(0, 1, FINE)
        across, up = np.meshgrid(steps, steps)
        surface = stats.fit(points, means, weights).at(np.column_stack([across.ravel(), up.ravel()]))
        ax.contourf(across, up, surface.reshape(FINE, FINE), levels=np.linspace(0, 1, 11), cmap=shade.cmap,
                    norm=shade.norm, extend="both", alpha=0.85)  # fmt: skip
    dots: Any = shade.to_rgba(means)
    ax.scatter(points[:, 0], points[:, 1], color=dots, s=14, edgecolors="white", linewidths=0.5)
    worth = f"cross-validated R² {number_text(r_squared, 2)}"
    ax.set_title("\n".join([arm, worth if r_squared > 0 else f"{worth}: no fit shown"]), fontsize="small")
    _ticks(designed, keys[0], ax)
    _ticks(designed, keys[1], ax, "y")
    ax.set_xlabel(keys[0])
    ax.set_ylabel(keys[1])
    ax.grid(visible=False)


def _key_height(styles: Mapping[str, Style]) -> float:
    return 0.2 * -(-len(styles) // BESIDE) + 0.1


def _legend(figure: Figure, key: Sequence[Line2D], look: Look) -> None:
    fitting = legend_columns([str(line.get_label()) for line in key], figure.get_figwidth() / look.scale)
    columns = min(look.columns(BESIDE), fitting)
    figure.legend(handles=key, loc="outside lower center", ncols=columns, fontsize="small")


FIGURES: Mapping[str, Drawing] = {
    "claims": claims,
    "expected_best": expected_best,
    "sensitivity": sensitivity,
    "left_out": left_out,
    "optimism": optimism,
}
OF_TASK: Mapping[str, Callable[[Readings, str, Mapping[str, Style], Look], Figure]] = {
    "responses": responses,
    "contours": contours,
}
