"""The laboratory's figures: bias–variance plane, cosine against batch size, where variance comes from, what hurts."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.style import HUES, Look, Style, arm_styles, grid, handles, house_style, logarithmic
from analysis.load.laboratory import WEIGHTS, Laboratory, usual
from analysis.tables.lab import against_none, of_arm

PARTS = {"future": "future (Στ)", "action": "action (Σa)", "state": "state (Σs)", "companions": "other episodes (Σb)"}
_HUES = HUES[: len(PARTS)]
_FOR_CURVES = ("critic-td0", "critic-gae", "critic-monte_carlo", "none-monte_carlo", "rloo-monte_carlo",
               "grpo-monte_carlo")  # fmt: skip


def plane(found: Laboratory, task: str, stage: str, styles: Mapping[str, Style], *, ax: Axes) -> None:
    """Action-dependent bias against standard deviation, both relative to the true advantages' root mean square.

    λ is a curve from TD to Monte Carlo for every critic; other baselines are points, under Monte Carlo. Thin lines are
    95 % intervals of the bias: one that begins at the floor is not told from zero.
    """
    rows = found.of(task, "advantage", stage)
    floor = 0.01
    if not (rows.loc[rows["quantity"] == "signal", "value"] > 0).any():
        ax.text(
            0.5, 0.5, "true advantages not\ndistinguished from zero", ha="center", va="center", transform=ax.transAxes
        )
        ax.set_axis_off()
        return
    lines = {"learned": ("-", "0.15"), "exact": (":", "0.45"), "error": ("--", "0.65")}
    for critic, (line, color) in lines.items():
        curve = rows[(rows["baseline"] == "critic") & (rows["advantage"] == "gae") & (rows["critic"] == critic)]
        if curve.empty:
            continue
        wide = curve.pivot_table(index="gae_lambda", columns="quantity", values="value").sort_index()
        x, y = _relative(wide["action_bias"], wide["signal"], floor), _relative(wide["variance"], wide["signal"], floor)
        bias = curve[curve["quantity"] == "action_bias"].set_index("gae_lambda").loc[wide.index]
        _interval(bias, wide["signal"], y, floor, color, ax)
        ax.plot(
            x, y, line, color=color, marker=".", markersize=5, linewidth=1.2, label=f"critic ({critic} V), λ = 0 … 1"
        )
        if critic == "learned":
            for index in (0, len(x) - 1):
                ax.annotate(f"λ={wide.index[index]:g}", (x.iloc[index], y.iloc[index]), fontsize="x-small",
                            xytext=(6, 0), textcoords="offset points", va="center", zorder=5)  # fmt: skip
    for arm, style in styles.items():
        mine = of_arm(usual(rows), arm)
        if arm.startswith("critic") or mine.empty or not arm.endswith("monte_carlo"):
            continue
        signal = mine.loc["signal", "value"]
        x, y = (_relative(mine.loc[[name], "value"], signal, floor) for name in ("action_bias", "variance"))
        ax.plot(x, y, linestyle="", marker=style.marker, color=style.color, markersize=6, label=arm)
        _interval(mine.loc[["action_bias"]], signal, y, floor, style.color, ax)
    logarithmic(ax, "x")
    logarithmic(ax, "y")
    ax.margins(x=0.12)  # for the names of the ends
    ax.set_xlabel(f"action-dependent bias (below {floor:g}: at {floor:g})")
    ax.set_ylabel("standard deviation")


def _interval(bias: pd.DataFrame, signal: Any, y: pd.Series, floor: float, color: Any, ax: Axes) -> None:
    low, high = (_relative(bias[end], signal, floor).to_numpy(float) for end in ("low", "high"))
    ax.hlines(y.to_numpy(float), low, high, color=color, linewidth=0.6, alpha=0.6)


def _relative(squares: pd.Series, signal: Any, floor: float) -> pd.Series:
    """Roots of squares relative to the signal; what is below the floor, or negative by noise, stands at it."""
    roots: pd.Series = np.sqrt((squares / signal).clip(lower=floor**2))
    return roots


def cosine(found: Laboratory, task: str, stage: str, styles: Mapping[str, Style], *, ax: Axes) -> None:
    """The mean cosine between two batches' gradients against the episodes in a batch, with 95 % intervals."""
    rows = usual(found.of(task, "gradient", stage))
    rows = rows[(rows["quantity"] == "cosine") & (rows["weights"] == WEIGHTS)]
    for arm, style in styles.items():
        mine = rows[rows["arm"] == arm].sort_values("episodes")
        if mine.empty:
            continue
        ax.plot(mine["episodes"], mine["value"], color=style.color, linestyle=style.line, marker=style.marker,
                markersize=4, linewidth=1.3, label=arm)  # fmt: skip
        reach = mine[["low", "high"]].clip(-1, 1)  # beyond which no cosine lies
        ax.fill_between(mine["episodes"], reach["low"], reach["high"], color=style.color, alpha=0.1, linewidth=0)
    logarithmic(ax, "x", base=2)
    ticks = sorted(rows["episodes"].unique())
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_ylim(-0.05, 1.02)
    ax.set_xlabel("episodes per batch")
    ax.set_ylabel("cosine of two batches")


def decomposition(found: Laboratory, task: str, stage: str, *, ax: Axes) -> None:
    """Stacked parts of the variance of single steps, averaged over steps, relative to none's; one bar per arm."""
    rows = usual(found.of(task, "step", stage))
    rows = rows[rows["advantage"].eq("monte_carlo") | rows["baseline"].eq("critic")]
    wide = rows.pivot_table(index="arm", columns="quantity", values="value", aggfunc="mean", sort=False)
    errors = (
        rows[rows["quantity"] == "sum"]
        .groupby("arm")["error"]
        .apply(lambda e: float(np.sqrt(np.square(e).sum()) / len(e)))
    )
    whole = {str(arm): float(value) for arm, value in wide["sum"].items()}
    scale = whole.get("none-monte_carlo", max(whole.values()))
    left = np.zeros(len(wide))
    for (part, label), hue in zip(PARTS.items(), _HUES, strict=True):
        width = (wide[part] / scale).clip(lower=0).to_numpy(float)
        ax.barh(range(len(wide)), width, left=left, color=hue, label=label, height=0.7, linewidth=0)
        left += width
    whiskers = 1.96 * errors.reindex(wide.index).to_numpy(float) / scale
    ax.errorbar(
        wide["sum"] / scale, range(len(wide)), xerr=whiskers, fmt="none", ecolor="0.2", elinewidth=0.9, capsize=2
    )
    ends = wide["sum"].to_numpy(float) / scale
    for index, (end, whisker) in enumerate(zip(ends, whiskers, strict=True)):  # many a bar is too short to be read off
        at = (max(end + whisker, 0.0), index)
        ax.annotate(f"{end:.2g}", at, (4, 0), textcoords="offset points", va="center", fontsize="x-small")
    ax.set_xlim(0, 1.15 * float(np.nanmax(ends + whiskers)))
    ax.set_yticks(range(len(wide)), list(wide.index))
    ax.set_ylim(len(wide) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("variance / that without a baseline")


def effect(found: Laboratory, task: str, *, ax: Axes) -> None:
    """Each baseline's gradient variance relative to none: right of 1 it hurts."""
    table = against_none(found, task)
    names = list(dict.fromkeys(table["baseline"]))
    stages = found.labels(task)
    ax.axvline(1, color="0.3", linewidth=0.9)
    for index, stage in enumerate(stages):
        mine = table[table["label"] == stage]
        y = np.array([names.index(name) for name in mine["baseline"]]) + (index - (len(stages) - 1) / 2) * 0.2
        x = mine["value"].to_numpy(float)
        spread = np.stack([x - mine["low"], mine["high"] - x])
        ax.errorbar(
            x, y, xerr=spread, fmt="os^Dv"[index % 5], color=_HUES[index % 4], markersize=4, linewidth=1, label=stage
        )
    logarithmic(ax, "x")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("gradient variance / that without a baseline")


# Figures of a task


def _styles(found: Laboratory) -> dict[str, Style]:
    """Styles of the arms that figures draw: every critic's, and other baselines under Monte Carlo."""
    rows = found.quantities
    drawn = rows[rows["baseline"].eq("critic") | rows["advantage"].eq("monte_carlo")]
    return arm_styles(drawn[["arm", "baseline"]].drop_duplicates("arm"))


def _by_stage(
    found: Laboratory,
    task: str,
    look: Look,
    panel: tuple[float, float],
    draw: Callable[[str, Axes], None],
    extra: float,
) -> Figure:
    stages = found.labels(task)
    width = panel[0] if len(stages) > 1 else 2 * panel[0]  # the legend below is as wide as two panels
    figure, axes = grid(1, len(stages), (width, panel[1]), look, extra=extra)
    for ax, stage in zip(axes.flat, stages, strict=True):
        draw(stage, ax)
        ax.set_title(f"{task} · {stage}")
        if stage != stages[0]:
            ax.set_ylabel("")
    return figure


def _legend(figure: Figure, columns: int) -> None:
    """One legend for all panels: every label once."""
    entries: dict[str, Any] = {}
    for ax in figure.axes:
        entries |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns)


def draw_plane(found: Laboratory, task: str, look: Look) -> Figure:
    """The bias–variance plane at every stage."""
    styles = _styles(found)
    figure = _by_stage(found, task, look, (3.9, 3.3), lambda stage, ax: plane(found, task, stage, styles, ax=ax), 0.6)
    _legend(figure, 2 if len(figure.axes) < 3 else 4)
    return figure


def draw_cosine(found: Laboratory, task: str, look: Look) -> Figure | None:
    """Cosine against batch size at every stage; None for policies without gradients."""
    if found.of(task, "gradient").empty:
        return None
    styles = {arm: style for arm, style in _styles(found).items() if arm in _FOR_CURVES}
    figure = _by_stage(found, task, look, (3.6, 3.0), lambda stage, ax: cosine(found, task, stage, styles, ax=ax), 0.4)
    columns = 3 if len(figure.axes) < 3 else 6
    figure.legend(handles=handles(styles), loc="outside lower center", ncols=columns)
    return figure


def draw_decomposition(found: Laboratory, task: str, look: Look) -> Figure | None:
    """Stacked bars at every stage; None for policies without gradients."""
    if found.of(task, "step").empty:
        return None
    figure = _by_stage(found, task, look, (4.4, 3.4), lambda stage, ax: decomposition(found, task, stage, ax=ax), 0.3)
    for ax in figure.axes[1:]:
        ax.set_yticklabels([])
    figure.legend(
        handles=[Patch(color=hue, label=label) for label, hue in zip(PARTS.values(), _HUES, strict=True)],
        loc="outside lower center",
        ncols=4,
    )
    return figure


def draw_effect(found: Laboratory, task: str, look: Look) -> Figure | None:
    """Where a baseline hurts, all stages in one panel; None without arms to compare."""
    if against_none(found, task).empty:
        return None
    figure, axes = grid(1, 1, (6.4, 3.4), look)
    effect(found, task, ax=axes[0, 0])
    axes[0, 0].set_title(task)
    _legend(figure, 3)
    return figure


FIGURES: Mapping[str, Callable[[Laboratory, str, Look], Figure | None]] = {
    "bias_variance_plane": draw_plane,
    "gradient_cosine": draw_cosine,
    "variance_decomposition": draw_decomposition,
    "baseline_effect": draw_effect,
}


def draw(name: str, found: Laboratory, task: str, look: Look) -> Figure | None:
    """The figure called `name` of a task; None where there is nothing to draw."""
    with house_style(look):
        return FIGURES[name](found, task, look)


def drawings(found: Laboratory, look: Look) -> dict[str, Figure]:
    """Every figure of every task, by a name of its own."""
    drawn = {f"{name}_{task}": draw(name, found, task, look) for name in FIGURES for task in found.tasks}
    return {name: figure for name, figure in drawn.items() if figure is not None}
