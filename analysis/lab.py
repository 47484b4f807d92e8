"""The laboratory's results: the closing table, the bias–variance plane, and where variance comes from.

Reads what `python -m bench lab` wrote below `results/<study>/lab`; nothing here imports the learner.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.document import Part
from analysis.formats import Section, Table, interval_text, number_text
from analysis.style import Look, Style, arm_styles, grid, handles, house_style
from bench.errors import UserError
from bench.runs.files import sha256

INDEX = "lab.json"
STAGES = ("start", "middle", "end", "optimum", "recorded")
CRITICS = ("learned", "exact", "none")  # of several, the first there is stands for an arm
PARTS = {"future": "Σ_τ future", "action": "Σ_a action", "state": "Σ_s state", "companions": "Σ_b other episodes"}
_HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_FOR_CURVES = ("critic-td0", "critic-gae", "critic-monte_carlo", "none-monte_carlo", "rloo-monte_carlo",
               "grpo-monte_carlo")  # fmt: skip


@dataclass(frozen=True)
class Laboratory:
    """Figures and costs in tidy tables, `notes` by task and stage, and what is not there.

    `figures` has one row per task, stage, variant and quantity with value, error, low and high; `costs` steps and
    seconds of a batch. `missing` names stages planned but not measured, `problems` those that are damaged.
    """

    figures: pd.DataFrame
    costs: pd.DataFrame
    notes: pd.DataFrame
    missing: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def tasks(self) -> list[str]:
        """In the order they were planned."""
        return [str(task) for task in self.figures["task"].unique()]

    def of(self, task: str, level: str, stage: str | None = None) -> pd.DataFrame:
        """Rows of one task and level, and of one stage."""
        rows = self.figures[(self.figures["task"] == task) & (self.figures["level"] == level)]
        return rows if stage is None else rows[rows["stage"] == stage]

    def stages(self, task: str) -> list[str]:
        """Those of a task, in order."""
        present = set(self.figures.loc[self.figures["task"] == task, "stage"])
        return [stage for stage in STAGES if stage in present]


def read(study: Path) -> Laboratory | None:
    """What a study's folder holds; None where nothing was planned. Raises `UserError` for a damaged index."""
    path = study / INDEX
    if not path.exists():
        return None
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        places = [(str(cell["task"]), str(cell["stage"]), study / cell["path"]) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"damaged index {path} ({type(error).__name__}: {error})") from error
    figures, costs, notes, missing, problems = [], [], [], [], []
    for task, stage, place in places:
        where = {"task": task, "stage": stage}
        try:
            record = json.loads((place / "run.json").read_text(encoding="utf-8"))
            if not record.get("checksums"):
                missing.append(f"{task} {stage}")
                continue
            for name, expected in record["checksums"].items():
                if sha256(place / name) != expected:
                    raise ValueError(f"{name} is not the file that was written")
            figures.append(pd.read_parquet(place / "figures.parquet").assign(**where))
            costs.append(pd.read_parquet(place / "costs.parquet").assign(**where))
            notes.append(where | {"truth": record["truth"], "seconds": record["wall_seconds"]} | record["notes"])
        except FileNotFoundError:
            missing.append(f"{task} {stage}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{place}: {error}")
    if not figures:
        return None
    together = pd.concat(figures, ignore_index=True)
    return Laboratory(
        labelled(together),
        labelled(pd.concat(costs, ignore_index=True)),
        pd.DataFrame(notes),
        tuple(missing),
        tuple(problems),
    )


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """With a column `arm`, as `critic-gae`, and `swept`: whether it is a further λ, n or credit of that arm."""
    arm = table["baseline"] + "-" + table["advantage"]
    usual = {"gae_lambda": 0.95, "n_step": 5}
    swept = table["credit"].eq("outcome")
    for name, value in usual.items():
        swept |= table[name].notna() & table[name].ne(value)
    return table.assign(arm=arm, swept=swept)


def usual(rows: pd.DataFrame) -> pd.DataFrame:
    """One variant per arm: its usual λ and n, and of the critics the one training has."""
    rows = rows[~rows["swept"]]
    rank = rows["critic"].map({name: place for place, name in enumerate(CRITICS)})
    rows = rows.assign(rank=rank).dropna(subset="rank")
    best = rows.groupby(["task", "stage", "arm"])["rank"].transform("min")
    return rows[rows["rank"] == best]


# Tables


def closing_table(found: Laboratory, task: str, returns: Mapping[str, tuple[float, float, float]]) -> Table:
    """The article's comparison of estimators with measured columns: a section per stage.

    Args:
        found: what was measured.
        task: which task.
        returns: final return with its interval by arm, from training runs of the same study; may lack arms.
    """
    sections = []
    for stage in found.stages(task):
        rows = usual(found.of(task, "advantage", stage))
        arms = list(dict.fromkeys(rows["arm"]))
        gradient = usual(found.of(task, "gradient", stage))
        smallest = gradient[
            (gradient["weights"] == "undiscounted") & (gradient["episodes"] == gradient["episodes"].min())
        ]
        costs = usual(found.costs[(found.costs["task"] == task) & (found.costs["stage"] == stage)])
        sections.append(
            Section(stage, tuple(_row(arm, _of_arm(rows, arm), _of_arm(smallest, arm), costs, returns) for arm in arms))
        )
    header = ("arm", "bias² (all)", "bias² (action)", "variance", "cosine", "angle to truth (°)", "tr Cov / ‖g‖²",
              "steps", "ms", "final return")  # fmt: skip
    caption = (
        f"{task}: estimators measured. Bias and variance of advantages relative to the mean squared true advantage; "
        f"gradients of single batches; 95 % intervals; λ = 0.95, n = 5"
    )
    return Table(caption, header, tuple(sections))


def _of_arm(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    return rows[rows["arm"] == arm].drop_duplicates("quantity").set_index("quantity")


def _row(
    arm: str,
    advantage: pd.DataFrame,
    gradient: pd.DataFrame,
    costs: pd.DataFrame,
    returns: Mapping[str, tuple[float, float, float]],
) -> tuple[str, ...]:
    scale = float(advantage["value"].get("signal", np.nan))
    relative = [_cell(advantage, name, scale) for name in ("squared_bias", "action_bias", "variance")]
    gradients = [_cell(gradient, name, 1.0) for name in ("cosine", "angle", "trace")]
    mine = costs[costs["arm"] == arm]
    cost = (
        (number_text(mine["steps"].iloc[0], 0), number_text(1000 * mine["seconds"].iloc[0], 1))
        if len(mine)
        else ("–", "–")
    )
    final = interval_text(returns[arm], 2) if arm in returns else "–"
    return (arm, *relative, *gradients, *cost, final)


def _cell(rows: pd.DataFrame, quantity: str, scale: float) -> str:
    """A figure with its interval, divided by `scale`; a dash where there is none."""
    if quantity not in rows.index or not scale > 0:
        return "–"
    row = rows.loc[[quantity], ["value", "low", "high"]].to_numpy(float)[0]
    if not np.isfinite(row[0]):
        return "–"
    numbers = [float(number) / scale for number in row]
    decimals = 3 if abs(numbers[0]) < 10 else 1
    return interval_text(numbers, decimals)


def against_none(found: Laboratory, task: str) -> pd.DataFrame:
    """How many times the gradient variance of no baseline every baseline has, under Monte Carlo: value, low, high.

    The interval is that of a ratio of independent estimates; they share their batches, so it is wider than needed.
    """
    rows = found.of(task, "gradient")
    rows = rows[(rows["quantity"] == "trace_absolute") & (rows["weights"] == "undiscounted")]
    rows = rows[(rows["advantage"] == "monte_carlo") & (rows["credit"] != "outcome") & (rows["critic"] != "error")]
    rows = rows[rows["episodes"] == rows["episodes"].min()]
    ratios = []
    for stage, of_stage in rows.groupby("stage", sort=False):
        none = of_stage[of_stage["baseline"] == "none"]
        if none.empty or not none["value"].iloc[0] > 0:
            continue
        for _, row in of_stage[of_stage["baseline"] != "none"].iterrows():
            if not row["value"] > 0:
                continue
            relative = np.hypot(row["error"] / row["value"], none["error"].iloc[0] / none["value"].iloc[0])
            ratio = row["value"] / none["value"].iloc[0]
            name = f"critic ({row['critic']} V)" if row["baseline"] == "critic" else row["baseline"]
            low, high = ratio * np.exp(-1.96 * relative), ratio * np.exp(1.96 * relative)
            ratios.append({"stage": stage, "baseline": name, "value": ratio, "low": low, "high": high})
    return pd.DataFrame(ratios, columns=["stage", "baseline", "value", "low", "high"])


def hurts(found: Laboratory) -> list[str]:
    """A line for every baseline whose gradient variance is above that of no baseline, whole interval and all."""
    lines = []
    for task in found.tasks:
        for _, row in against_none(found, task).query("low > 1").iterrows():
            text = interval_text([row["value"], row["low"], row["high"]], 2)
            scaled = ", whose scale differs (it divides by the std)" if row["baseline"] == "grpo" else ""
            lines.append(f"{task}, {row['stage']}: {row['baseline']} has {text} times the variance of none{scaled}.")
    return lines


# Figures, one panel at a time


def plane(found: Laboratory, task: str, stage: str, styles: Mapping[str, Style], *, ax: Axes) -> None:
    """Action-dependent bias against standard deviation, both relative to the true advantages' root mean square.

    λ is a curve from TD to Monte Carlo for every critic; other baselines are points, under Monte Carlo.
    """
    rows = found.of(task, "advantage", stage)
    floor = 0.01
    lines = {"learned": ("-", "0.15"), "exact": (":", "0.45"), "error": ("--", "0.65")}
    for critic, (line, color) in lines.items():
        curve = rows[(rows["baseline"] == "critic") & (rows["advantage"] == "gae") & (rows["critic"] == critic)]
        if curve.empty:
            continue
        wide = curve.pivot_table(index="gae_lambda", columns="quantity", values="value").sort_index()
        x, y = _relative(wide["action_bias"], wide["signal"], floor), _relative(wide["variance"], wide["signal"], floor)
        ax.plot(
            x, y, line, color=color, marker=".", markersize=5, linewidth=1.2, label=f"critic ({critic} V), λ = 0 … 1"
        )
        if critic == "learned":
            for place in (0, len(x) - 1):
                ax.annotate(f"λ={wide.index[place]:g}", (x.iloc[place], y.iloc[place]), fontsize="x-small",
                            xytext=(4, 4), textcoords="offset points")  # fmt: skip
    for arm, style in styles.items():
        mine = _of_arm(usual(rows), arm)
        if arm.startswith("critic") or mine.empty or not arm.endswith("monte_carlo"):
            continue
        signal = mine.loc["signal", "value"]
        x, y = (_relative(mine.loc[[name], "value"], signal, floor) for name in ("action_bias", "variance"))
        ax.plot(x, y, linestyle="", marker=style.marker, color=style.color, markersize=6, label=arm)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(f"action-dependent bias (below {floor:g}: at {floor:g})")
    ax.set_ylabel("standard deviation")


def _relative(squares: pd.Series, signal: Any, floor: float) -> pd.Series:
    """Roots of squares relative to the signal; what is not above noise stands at the floor."""
    roots: pd.Series = np.sqrt((squares / signal).clip(lower=floor**2))
    return roots


def cosine(found: Laboratory, task: str, stage: str, styles: Mapping[str, Style], *, ax: Axes) -> None:
    """The mean cosine between two batches' gradients against the episodes in a batch, with 95 % intervals."""
    rows = usual(found.of(task, "gradient", stage))
    rows = rows[(rows["quantity"] == "cosine") & (rows["weights"] == "undiscounted")]
    for arm, style in styles.items():
        mine = rows[rows["arm"] == arm].sort_values("episodes")
        if mine.empty:
            continue
        ax.plot(mine["episodes"], mine["value"], color=style.color, linestyle=style.line, marker=style.marker,
                markersize=4, linewidth=1.3, label=arm)  # fmt: skip
        ax.fill_between(mine["episodes"], mine["low"], mine["high"], color=style.color, alpha=0.12, linewidth=0)
    ax.set_xscale("log", base=2)
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
        ax.barh(range(len(wide)), width, left=left, color=hue, label=label, height=0.7)
        left += width
    whiskers = 1.96 * errors.reindex(wide.index).to_numpy(float) / scale
    ax.errorbar(
        wide["sum"] / scale, range(len(wide)), xerr=whiskers, fmt="none", ecolor="0.2", elinewidth=0.9, capsize=2
    )
    ax.set_yticks(range(len(wide)), list(wide.index))
    ax.set_ylim(len(wide) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("variance / that without a baseline")


def effect(found: Laboratory, task: str, *, ax: Axes) -> None:
    """Each baseline's gradient variance relative to none: right of 1 it hurts."""
    table = against_none(found, task)
    names = list(dict.fromkeys(table["baseline"]))
    stages = found.stages(task)
    ax.axvline(1, color="0.3", linewidth=0.9)
    for place, stage in enumerate(stages):
        mine = table[table["stage"] == stage]
        y = np.array([names.index(name) for name in mine["baseline"]]) + (place - (len(stages) - 1) / 2) * 0.2
        x = mine["value"].to_numpy(float)
        spread = np.stack([x - mine["low"], mine["high"] - x])
        ax.errorbar(
            x, y, xerr=spread, fmt="os^Dv"[place], color=_HUES[place % 4], markersize=4, linewidth=1, label=stage
        )
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("gradient variance / that without a baseline")


# Figures of a task


def _styles(found: Laboratory) -> dict[str, Style]:
    return arm_styles(found.figures[["arm", "baseline"]].drop_duplicates("arm"))


def _by_stage(
    found: Laboratory,
    task: str,
    look: Look,
    panel: tuple[float, float],
    draw: Callable[[str, Axes], None],
    extra: float,
) -> Figure:
    stages = found.stages(task)
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


def final_returns(estimates: pd.DataFrame, runs: pd.DataFrame, task: str) -> dict[str, tuple[float, float, float]]:
    """Final return with its interval by `baseline-advantage`, from the runs with PPO's clip of the same study."""
    found: dict[str, tuple[float, float, float]] = {}
    rows = estimates[(estimates["task"] == task) & (estimates["mode"] == "stochastic")] if len(estimates) else estimates
    for _, row in rows.iterrows():
        arm = runs[(runs["arm"] == row["arm"]) & (runs["task"] == task)]
        if len(arm) and {"baseline", "advantage", "update"} <= set(arm) and arm["update"].iloc[0] == "clip":
            name = f"{arm['baseline'].iloc[0]}-{arm['advantage'].iloc[0]}"
            found.setdefault(name, (float(row["mean"]), float(row["mean_low"]), float(row["mean_high"])))
    return found


def precision_lines(found: Laboratory) -> list[str]:
    """What the truth is and how well it is known, per task and stage."""
    lines = []
    for _, note in found.notes.iterrows():
        share = note.get("truth_precision", np.nan)
        known = "exact" if share == 0 else f"known to {share:.2g} of the true advantages"
        gradient = note.get("gradient_precision", np.nan)
        if np.isfinite(gradient) and gradient > 0:
            known += f", the gradient to {gradient:.2g} of its length"
        elif gradient == np.inf:
            known += ", the gradient not distinguished from zero"
        lines.append(f"{note['task']}, {note['stage']}: {note['truth']} truth, {known}.")
    return lines


def parts(found: Laboratory, estimates: pd.DataFrame, runs: pd.DataFrame) -> list[Part]:
    """What a report says about it: the closing tables, where a baseline hurts, and how true the truth is."""
    shown = tuple(closing_table(found, task, final_returns(estimates, runs, task)) for task in found.tasks)
    harm = tuple(hurts(found)) or ("None: no baseline's variance is above that of no baseline beyond its interval.",)
    absent = [f"Not measured: {name}." for name in found.missing] + [f"Left out: {name}." for name in found.problems]
    return [
        Part("The estimators, measured", tables=shown),
        Part("Where a baseline hurts", items=harm),
        Part("The ground truth", items=(*precision_lines(found), *absent)),
    ]


def drawings(found: Laboratory, look: Look) -> dict[str, Figure]:
    """Every figure of every task, by a name of its own."""
    drawn = {f"{name}_{task}": draw(name, found, task, look) for name in FIGURES for task in found.tasks}
    return {name: figure for name, figure in drawn.items() if figure is not None}
