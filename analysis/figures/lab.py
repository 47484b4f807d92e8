"""The laboratory's figures: bias–variance plane, cosines, policies, smallest error, parts of variance, what hurts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.figures.style import HUES, Look, Style, arm_styles, grid, handles, house_style, logarithmic
from analysis.load.laboratory import METRICS, WEIGHTS, Laboratory, measured, usual
from analysis.tables.lab import ROUNDING, against_none, best_table, plane_table, stage_of

PARTS = ("future", "action", "state", "companions")
_HUES = HUES[:4]
_GREY = (0.45, 0.45, 0.45)
FEW = 5  # policies, below which a band would fill the panel
EXAMPLE = "critic-gae"  # the arm whose single policies are drawn among curves
_TARGETS = ("critic-td0", "critic-nstep", "critic-gae", "critic-monte_carlo")
_METRIC_NAMES = {"bias": "bias² / E A²", "variance": "variance / E A²", "cosine": "cosine of two batches"}
_FOR_CURVES = ("critic-td0", "critic-gae", "critic-monte_carlo", "none-monte_carlo", "rloo-monte_carlo",
               "grpo-monte_carlo")  # fmt: skip


def plane(found: Laboratory, task: str, stage: str, styles: Mapping[str, Style], *, ax: Axes) -> None:
    """Action-dependent bias against standard deviation, both in units of the full return's standard deviation.

    λ is a curve from TD to Monte Carlo for every critic; other baselines are points, under Monte Carlo. All are roots
    of means over policies; thin curves are the single policies under the learned critic. On the axis is the true
    advantages' root mean square, where it is told from zero. GRPO is left out: its unit is another.
    """
    table = plane_table(found, task)
    table = table[table["label"] == stage]
    if table[["bias", "variance"]].dropna().empty:
        _nothing("returns of a state\nand action hardly vary", ax)
        return
    for _, policy in _lambdas(table, "learned").groupby("seed"):
        x, y, _ = _curve(policy)
        ax.plot(x, y, color="0.15", linewidth=0.5, alpha=0.35)
    lines = {"learned": ("-", "0.15"), "exact": (":", "0.45"), "error": ("--", "0.65")}
    for critic, (line, color) in lines.items():
        curve = _lambdas(table, critic)
        if curve.empty:
            continue
        x, y, lambdas = _curve(curve)
        ax.plot(x, y, linestyle=line, color=color, marker=".", markersize=5, linewidth=1.4,
                label=f"critic ({critic} V), λ = 0 … 1")  # fmt: skip
        if critic == "learned" and x:
            _name_ends(x, y, lambdas, ax)
    for arm, style in styles.items():
        mine = table[table["arm"] == arm]
        if arm.startswith(("critic", "grpo")) or mine.empty or not arm.endswith("monte_carlo"):
            continue
        x, y, _ = _curve(mine)
        ax.plot(x, y, linestyle="", marker=style.marker, color=style.color, markersize=6, label=arm)
    _rooted(ax)
    ax.margins(x=0.15)  # for the names of the ends
    signal = table.groupby("seed")["signal"].first().mean()
    if signal > 0:
        ax.plot([np.sqrt(signal)], [0], marker="^", color="0.3", linestyle="", clip_on=False, label="√E A²",
                transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set_xlabel("action-dependent bias")
    ax.set_ylabel("standard deviation")


def _name_ends(x: Sequence[float], y: Sequence[float], lambdas: Sequence[float], ax: Axes) -> None:
    """The λ of both ends of a curve; where all its points are one, as in a world of one step, it says so."""
    named = {0: f"λ={lambdas[0]:g}", len(x) - 1: f"λ={lambdas[-1]:g}"}
    if np.allclose([x[0], y[0]], [x[-1], y[-1]], atol=1e-6):
        named = {0: "every λ"}
    for index, name in named.items():
        ax.annotate(name, (x[index], y[index]), fontsize="x-small", xytext=(5, 6), textcoords="offset points",
                    va="center", zorder=5)  # fmt: skip


def _nothing(text: str, ax: Axes) -> None:
    """An empty panel that says why."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
    ax.set_axis_off()


def _lambdas(table: pd.DataFrame, critic: str) -> pd.DataFrame:
    chosen: pd.DataFrame = table[table["arm"].eq("critic-gae") & table["critic"].eq(critic)]
    return chosen


def _curve(table: pd.DataFrame) -> tuple[list[float], list[float], list[float]]:
    """Roots of the means of bias and variance, by λ; one point without. Noise below 0 stands at 0."""
    known = table.dropna(subset=["bias", "variance"])
    means = known.groupby("gae_lambda")[["bias", "variance"]].mean()
    x, y = (np.sqrt(means[name].clip(lower=0)).tolist() for name in ("bias", "variance"))
    return x, y, means.index.tolist()


def _rooted(ax: Axes) -> None:
    """Scale the y axis by roots, which shows 0 and spreads what is near it."""
    heights = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines] or [np.zeros(1)])
    top = float(np.nanmax([1e-3, *heights]))
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    lowest = float(np.nanmin([top, *heights]))
    bottom = 0.0 if lowest < 0.1 * top else 0.8 * lowest
    ax.set_ylim(bottom, 1.15 * top)
    ticks = [bottom] if bottom == 0 else []
    for tick in [tick * 10.0**power for power in range(-3, 5) for tick in (1, 2, 3, 5)]:
        room = np.sqrt(tick) - np.sqrt(ticks[-1] if ticks else 0)
        if bottom <= tick <= 1.15 * top and room > 0.06 * (np.sqrt(1.15 * top) - np.sqrt(bottom)):
            ticks.append(tick)
    if len(ticks) < 2:  # a short range, in which no round number of those lies
        near = MaxNLocator(4).tick_values(bottom, 1.15 * top)
        ticks = [float(tick) for tick in near if bottom <= tick <= 1.15 * top]
    ax.set_yticks(ticks)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def cosine(found: Laboratory, task: str, stage: str, styles: Mapping[str, Style], *, ax: Axes) -> None:
    """The mean cosine between two batches' gradients against the episodes in a batch: means over policies.

    Bands are Student's 95 % intervals over policies where these are not too few, thin lines the policies of critic-gae.
    """
    rows, each = (usual(table) for table in (found.of(task, "gradient", stage), found.each(task, "gradient", stage)))
    rows, each = (table[(table["quantity"] == "cosine") & (table["weights"] == WEIGHTS)] for table in (rows, each))
    for arm, style in styles.items():
        mine = rows[rows["arm"] == arm].sort_values("episodes")
        if mine.empty:
            continue
        ax.plot(mine["episodes"], mine["value"], color=style.color, linestyle=style.line, marker=style.marker,
                markersize=4, linewidth=1.3, label=arm)  # fmt: skip
        if mine["policies"].max() >= FEW:
            ax.fill_between(mine["episodes"], mine["low"].clip(-1, 1), mine["high"].clip(-1, 1), color=style.color,
                            alpha=0.1, linewidth=0)  # fmt: skip
        if arm == EXAMPLE:
            for _, policy in each[each["arm"] == arm].sort_values("episodes").groupby("seed"):
                ax.plot(policy["episodes"], policy["value"], color=style.color, linewidth=0.4, alpha=0.5)
    example = each.loc[each["arm"] == EXAMPLE, "value"]
    ends = [rows.loc[rows["policies"] >= FEW, end].clip(-1, 1) for end in ("low", "high")]
    shown = pd.concat([*ends, rows["value"], example]).dropna()
    logarithmic(ax, "x", base=2)
    ticks = sorted(rows["episodes"].unique())
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if len(shown):
        room = 0.04 * max(float(shown.max() - shown.min()), 0.1)
        ax.set_ylim(float(shown.min()) - room, float(shown.max()) + room)
    ax.set_xlabel("episodes per batch")
    ax.set_ylabel("cosine of two batches")


def decomposition(found: Laboratory, task: str, stage: str, *, ax: Axes) -> None:
    """The parts of single steps' variance, averaged over steps and policies, relative to the sum without a baseline.

    A row per arm; every cell has its number, and the darker it is, the larger.
    """
    rows = usual(found.each(task, "step", stage))
    rows = rows[rows["advantage"].eq("monte_carlo") | rows["baseline"].eq("critic")]
    wide = rows.pivot_table(index=["arm", "seed"], columns="quantity", values="value", aggfunc="mean", sort=False)
    whole = wide["sum"].unstack("seed")
    scale = whole.loc["none-monte_carlo"] if "none-monte_carlo" in whole.index else whole.max()
    columns = [*PARTS, "sum"]
    shares = {name: (wide[name].unstack("seed").loc[whole.index] / scale).mean(axis=1) for name in columns}
    table = pd.DataFrame(shares)
    numbers = table.to_numpy(float)
    ax.imshow(np.sqrt(numbers.clip(0, 1.5)), cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
    for (row, column), number in np.ndenumerate(numbers):
        text = "–" if not np.isfinite(number) else "0" if abs(number) < 5e-4 else f"{number:.2g}".replace("-", "−")
        ax.text(column, row, text, ha="center", va="center", fontsize="x-small",
                color="white" if number > 0.6 else "0.1")  # fmt: skip
    ax.set_xticks(range(len(columns)), ["future\nΣτ", "action\nΣa", "state\nΣs", "others\nΣb", "sum"])
    ax.set_yticks(range(len(table)), list(table.index))
    ax.grid(visible=False)
    ax.tick_params(length=0)


def effect(found: Laboratory, task: str, *, ax: Axes) -> None:
    """Each baseline's gradient variance relative to none, geometric means over policies: right of 1 it hurts."""
    table = against_none(found, task)
    names = list(dict.fromkeys(table["baseline"]))
    stages = found.labels(task)
    ax.axvline(1, color="0.3", linewidth=0.9)
    for index, stage in enumerate(stages):
        mine = table[table["label"] == stage]
        y = np.array([names.index(name) for name in mine["baseline"]]) + (index - (len(stages) - 1) / 2) * 0.2
        x = mine["value"].to_numpy(float)
        spread = np.nan_to_num(np.stack([x - mine["low"], mine["high"] - x]))
        ax.errorbar(
            x, y, xerr=spread, fmt="os^Dv"[index % 5], color=_HUES[index % 4], markersize=4, linewidth=1, label=stage
        )
    logarithmic(ax, "x")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("gradient variance / that without a baseline")


def best(found: Laboratory, task: str, styles: Mapping[str, Style], *, ax: Axes) -> None:
    """A map: which estimator has the smallest error at which batch size and stage, and how large that is.

    The error is that of the batch's gradient at its best scale. `+3` stands for three more estimators that paired
    differences over policies do not tell apart from it. Where the true gradient of some policies is not told from zero,
    it is the mean over the others, with their number.
    """
    table = best_table(found, task)
    sizes = sorted(table["episodes"].unique())
    stages = [label for label in found.labels(task) if label in set(table["label"])]
    for _, cell in table.iterrows():
        column, row = sizes.index(cell["episodes"]), stages.index(cell["label"])
        color = styles[cell["arm"]].color if cell["arm"] in styles else (0.6, 0.6, 0.6)
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=(*color, 0.3), edgecolor="white"))
        tied = f" +{cell['tied']}" if cell["tied"] else ""
        name = str(cell["arm"]).replace("-", "\n", 1)
        number = int(cell["policies"])
        few = "" if number == table["policies"].max() else f" ({number} {'policy' if number == 1 else 'policies'})"
        ax.text(column, row, f"{name}{tied}\n{cell['value']:.2g}{few}", ha="center", va="center", fontsize="x-small")
    ax.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])
    ax.set_yticks(range(len(stages)), stages)
    ax.set_xlim(-0.5, len(sizes) - 0.5)
    ax.set_ylim(len(stages) - 0.5, -0.5)
    ax.grid(visible=False)
    ax.set_xlabel("episodes per batch")


def policies(found: Laboratory, task: str, metric: str, styles: Mapping[str, Style], *, ax: Axes) -> None:
    """Every policy's value of one of `METRICS` for the targets under the critic, joined by policy, and their mean."""
    label = stage_of(found, task)
    rows = usual(measured(found.each(task, METRICS[metric][0], label), metric))
    rows = rows[rows["baseline"] == "critic"]
    wide = rows.pivot_table(index="seed", columns="arm", values="value", sort=False)
    wide = wide.where(wide.abs() >= ROUNDING, wide.clip(0, 0))
    arms = [arm for arm in _TARGETS if arm in wide]
    if not arms:
        _nothing("true advantages not\ntold from zero", ax)
        return
    for _, values in wide[arms].iterrows():
        ax.plot(range(len(arms)), values, color="0.5", linewidth=0.5, alpha=0.6, marker=".", markersize=3)
    for place, arm in enumerate(arms):
        color = styles[arm].color if arm in styles else "0.2"
        ax.plot([place - 0.3, place + 0.3], [wide[arm].mean()] * 2, color=color, linewidth=2.2)
    ax.set_xticks(range(len(arms)), [arm.removeprefix("critic-").replace("_", "\n") for arm in arms])
    ax.set_ylabel(_METRIC_NAMES[metric])
    if metric == "variance":
        _rooted(ax)
    elif not wide[arms].to_numpy().any():
        ax.set_ylim(-0.05, 1)


# Figures of a task


def as_trained(runs: pd.DataFrame, styles: Mapping[str, Style]) -> dict[str, Style]:
    """By baseline and advantage, as the laboratory names its arms, the style of the first arm trained with them."""
    if not {"baseline", "advantage"} <= set(runs):
        return {}
    first = runs.drop_duplicates(["baseline", "advantage"])
    return {
        f"{row.baseline}-{row.advantage}": styles[str(row.arm)] for row in first.itertuples() if str(row.arm) in styles
    }


def _styles(found: Laboratory, trained: Mapping[str, Style]) -> dict[str, Style]:
    """Styles of the arms that figures draw: every critic's, and other baselines under Monte Carlo.

    An arm that was trained looks as in the figures of training, beside which the others are grey.
    """
    rows = found.quantities
    drawn = rows[rows["baseline"].eq("critic") | rows["advantage"].eq("monte_carlo")]
    own = arm_styles(drawn[["arm", "baseline"]].drop_duplicates("arm"))
    if not own.keys() & trained.keys():
        return own
    return {arm: trained.get(arm, replace(style, color=_GREY)) for arm, style in own.items()}


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


def draw_plane(found: Laboratory, task: str, styles: Mapping[str, Style], look: Look) -> Figure:
    """The bias–variance plane at every stage."""
    figure = _by_stage(found, task, look, (3.9, 3.3), lambda stage, ax: plane(found, task, stage, styles, ax=ax), 0.6)
    _legend(figure, 2 if len(figure.axes) < 3 else 4)
    return figure


def draw_cosine(found: Laboratory, task: str, styles: Mapping[str, Style], look: Look) -> Figure | None:
    """Cosine against batch size at every stage; None for policies without gradients."""
    if found.of(task, "gradient").empty:
        return None
    styles = {arm: style for arm, style in styles.items() if arm in _FOR_CURVES}
    figure = _by_stage(found, task, look, (3.6, 3.0), lambda stage, ax: cosine(found, task, stage, styles, ax=ax), 0.4)
    columns = 3 if len(figure.axes) < 3 else 6
    figure.legend(handles=handles(styles), loc="outside lower center", ncols=columns)
    return figure


def draw_decomposition(
    found: Laboratory,
    task: str,
    styles: Mapping[str, Style],  # noqa: ARG001 - the signature of all of `FIGURES`
    look: Look,
) -> Figure | None:
    """A table of numbers at every stage; None for policies without gradients."""
    if found.of(task, "step").empty:
        return None
    figure = _by_stage(found, task, look, (4.2, 3.6), lambda stage, ax: decomposition(found, task, stage, ax=ax), 0.1)
    for ax in figure.axes[1:]:
        ax.set_yticklabels([])
    return figure


def draw_best(found: Laboratory, task: str, styles: Mapping[str, Style], look: Look) -> Figure | None:
    """The map of the smallest error; None for policies without gradients."""
    table = best_table(found, task)
    if table.empty:
        return None
    height = 1.2 + 0.62 * table["label"].nunique()
    figure, axes = grid(1, 1, (1.6 + 1.25 * max(table["episodes"].nunique(), 3), height), look)
    best(found, task, styles, ax=axes[0, 0])
    axes[0, 0].set_title(f"{task}: smallest error of the gradient")
    return figure


def draw_policies(found: Laboratory, task: str, styles: Mapping[str, Style], look: Look) -> Figure | None:
    """Every policy, halfway: bias, variance and cosine of the targets under the critic; None without them."""
    label = stage_of(found, task)
    if label is None or usual(found.each(task, "advantage", label))["baseline"].ne("critic").all():
        return None
    names = [name for name in _METRIC_NAMES if not measured(found.each(task, METRICS[name][0], label), name).empty]
    figure, axes = grid(1, len(names), (3.0, 3.0), look)
    for ax, name in zip(axes.flat, names, strict=True):
        policies(found, task, name, styles, ax=ax)
        ax.set_title(f"{task} · {label}")
    return figure


def draw_effect(
    found: Laboratory,
    task: str,
    styles: Mapping[str, Style],  # noqa: ARG001 - the signature of all of `FIGURES`
    look: Look,
) -> Figure | None:
    """Where a baseline hurts, all stages in one panel; None without arms to compare."""
    if against_none(found, task).empty:
        return None
    figure, axes = grid(1, 1, (6.4, 3.4), look)
    effect(found, task, ax=axes[0, 0])
    axes[0, 0].set_title(task)
    _legend(figure, 3)
    return figure


FIGURES: Mapping[str, Callable[[Laboratory, str, Mapping[str, Style], Look], Figure | None]] = {
    "bias_variance_plane": draw_plane,
    "gradient_cosine": draw_cosine,
    "policies": draw_policies,
    "smallest_error": draw_best,
    "variance_decomposition": draw_decomposition,
    "baseline_effect": draw_effect,
}


def draw(
    name: str, found: Laboratory, task: str, look: Look, trained: Mapping[str, Style] = MappingProxyType({})
) -> Figure | None:
    """The figure called `name` of a task; None where there is nothing to draw. `trained` is that of `as_trained`."""
    with house_style(look):
        return FIGURES[name](found, task, _styles(found, trained), look)


def drawings(found: Laboratory, look: Look, trained: Mapping[str, Style] = MappingProxyType({})) -> dict[str, Figure]:
    """Every figure of every task, by a name of its own."""
    drawn = {f"{name}_{task}": draw(name, found, task, look, trained) for name in FIGURES for task in found.tasks}
    return {name: figure for name, figure in drawn.items() if figure is not None}
