"""The figures of a study by name: which panels, in which order, with which legend."""

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import load, stats
from analysis.figures import panel
from analysis.figures.delay import delay_curves
from analysis.figures.forest import Families, forest
from analysis.figures.kinds import kind_curves
from analysis.figures.references import beta_curve
from analysis.figures.style import (
    WIDEST_NAME,
    Look,
    Style,
    TooManyPanels,
    arm_styles,
    grid,
    house_style,
    legend_of_arms,
    legend_size,
    lines,
    ragged,
    say,
    wrapped,
)
from analysis.load import MODES, Records, labels
from analysis.load.shown import shown_arms
from analysis.tables import references
from analysis.tables.final_scores import compared_tasks, comparison, on_every_task
from bench.errors import unknown

SHARES = np.linspace(0, 1, 41)  # of the budget, where tasks with other grids are put together
MOST_BESIDE = 4  # more panels beside each other would be too small to read on a page
WIDEST_TITLE, WIDEST_SMALL_TITLE = 32, 44  # letters of a line above a panel
ONE_PANEL = "none"  # in place of a factor that takes arms apart
MOST_FAMILIES = 12  # of arms that differ in a factor alone, in one panel
_DIAGNOSTICS = (
    "train/approx_kl",
    "train/clip_fraction",
    "train/entropy_loss",
    "train/explained_variance",
    "train/value_loss",
)
_NOT_SWEPT = ("budget", "env_steps")


@dataclass(frozen=True)
class Material:
    """What figures are drawn from: the arms that are shown, see `analysis.load.shown`.

    Attributes:
        records: with the rows of these arms alone.
        estimates: of every one of them on every measure.
        styles: of the whole study, even where `records` hold one task of it.
        every: the runs of all arms, for figures that put arms together.
        families: what was judged, by title.
        note: which arms are left out, in words; empty where none is.
        panel: the factor whose levels have panels of their own, or `ONE_PANEL`; empty to leave it to the arms.
    """

    records: Records
    estimates: pd.DataFrame
    styles: Mapping[str, Style]
    every: pd.DataFrame
    families: Families = field(default_factory=dict)
    note: str = ""
    panel: str = ""

    @classmethod
    def of(
        cls, records: Records, families: Families | None = None, estimates: pd.DataFrame | None = None
    ) -> "Material":
        """The material of what was read, and of what was judged.

        `estimates` are those of `comparison` for all runs, if they are there already.
        """
        chosen, kept, judged = shown_arms(records), records, families or {}
        if chosen.note:
            runs, evaluations, curves = map(chosen.of, (records.runs, records.evaluations, records.curves))
            training = chosen.of(records.training)
            kept = replace(records, runs=runs, evaluations=evaluations, curves=curves, training=training)
            judged = {
                title: [row for row in rows if row.file or row.arm in chosen.arms] for title, rows in judged.items()
            }
        found = chosen.of(comparison(kept.runs, records.control) if estimates is None else estimates)
        return cls(kept, found, arm_styles(kept.runs, records.factors), records.runs, judged, chosen.note)

    def only(self, task: str) -> "Material":
        """The part of one task, drawn in the study's styles."""
        records = self.records
        tables = (records.runs, records.curves, records.training)
        runs, curves, training = (table[table["task"] == task] for table in tables)
        kept = replace(records, runs=runs, curves=curves, training=training)
        labels = [measure.label for measure in load.measures(runs)]
        every = self.every[self.every["task"] == task]
        families = {title: [row for row in rows if row.task == task] for title, rows in self.families.items()}
        estimates = self.estimates[self.estimates["task"].isin(labels)]
        return replace(self, records=kept, estimates=estimates, every=every, families=families)

    @property
    def tasks(self) -> list[str]:
        """The tasks, in order."""
        return [str(task) for task in self.records.runs["task"].unique()]

    @property
    def measures(self) -> list[load.Measure]:
        """What the tasks are judged by, in order."""
        return load.measures(self.records.runs)


Draw = Callable[[Material, Look], Figure | None]  # None: the study holds nothing to draw


def draw(name: str, material: Material, look: Look) -> Figure | None:
    """The figure called `name`, or None where the study holds nothing for it. Raises `TooManyPanels`."""
    with house_style(look):
        figure = FIGURES[name](material, look)
        if figure is not None and material.note and name not in OF_FAMILIES:
            say(figure, material.note)
        return figure


def count_panels(name: str, material: Material, look: Look) -> int:
    """How many panels the figure called `name` has, or counts for; 0 where the study holds nothing for it."""
    try:
        draw(name, material, replace(look, panels=0))  # stops before anything is drawn
    except TooManyPanels as needed:
        return needed.panels
    return 0


def facet_arms(material: Material, task: str | None = None) -> dict[str, list[str]]:
    """The arms of each panel, of one task or of all: as the reader wants, else what is compared on one axis."""
    runs = material.records.runs
    mine = runs if task is None else runs[runs["task"] == task]
    if not material.panel:
        return labels.together(mine, material.records.factors)
    if material.panel == ONE_PANEL:
        return {"": [str(name) for name in mine["arm"].unique()]}
    groups: dict[str, list[str]] = {}
    for arm, level in labels.levels(mine, material.panel).items():
        groups.setdefault(labels.level_text(material.panel, level), []).append(arm)
    return groups


def learning_curves(material: Material, look: Look, mode: str, over_time: bool = False) -> Figure:
    """A row per measure, its facets beside each other; measures beside each other where each has one panel."""
    records, shown = material.records, material.measures
    table = records.curves[records.curves["mode"] == mode]
    facets = {task: facet_arms(material, task) for task in material.tasks}
    cells = [[(measure, facet) for facet in facets[measure.task]] for measure in shown]
    if max(map(len, cells)) == 1:
        cells = [list(itertools.chain.from_iterable(cells))]
    rows = wrapped(cells, look.columns(MOST_BESIDE))
    columns = max(map(len, rows))
    wide = (4.2, 2.7) if columns < MOST_BESIDE else (3.3, 2.5)
    across, extra = legend_size(material.styles, wide[0] * columns, look)
    figure, placed = ragged(rows, wide if look.width is None else (wide[0], 2.9), look, extra=extra)
    rates = {task: _seconds_per_step(records.runs, task) for task in material.tasks} if over_time else {}
    drawn: dict[str, list[Axes]] = {}
    for ax, (measure, facet) in itertools.chain.from_iterable(placed):
        chosen = {arm: style for arm, style in material.styles.items() if arm in facets[measure.task][facet]}
        mine, rate = table[table["task"] == measure.task], rates.get(measure.task)
        panel.learning_curve(mine, chosen, ax=ax, value=measure.column, seconds_per_step=rate)
        drawn.setdefault(measure.task, []).append(ax)
        ax.set_title("\n".join([measure.label, *textwrap.wrap(facet, WIDEST_TITLE)]))
        ax.set_ylabel(f"return ({mode})")
    legend_of_arms(figure, material.styles, across)
    for panels in drawn.values():
        _share_limits([ax for ax in panels if ax.lines])
    return figure


def learning_curves_of_kinds(material: Material, look: Look) -> Figure | None:
    """The learning curves of each brother; None where no task has several kinds of episodes."""
    facets = {task: facet_arms(material, task) for task in material.tasks}
    return kind_curves(material.records, material.styles, facets, look)


def _share_limits(panels: Sequence[Axes]) -> None:
    """The same vertical scale for all panels of a task, so that they can be compared by eye."""
    limits = [ax.get_ylim() for ax in panels]
    for ax in panels:
        ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _seconds_per_step(runs: pd.DataFrame, task: str) -> dict[str, float]:
    """By arm: the median over seeds of wall time per step, a block's time shared by its seeds."""
    mine = runs[runs["task"] == task]
    rate = mine["wall_seconds"].astype(float) / mine["env_steps"].astype(float)
    return {str(arm): float(value) for arm, value in rate.groupby(mine["arm"], sort=False).median().items()}


def _limits(values: pd.DataFrame) -> tuple[float, float]:
    """Shared limits of a task's panels, so that rows can be compared by eye."""
    array = values.to_numpy(float)
    low, high = (float(np.nanmin(array)), float(np.nanmax(array))) if array.size else (0.0, 1.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def final_scores(material: Material, look: Look, mode: str) -> Figure:
    """One panel per measure, beside each other where they fit."""
    records, shown, styles = material.records, material.measures, material.styles
    most = min(len(shown), 3)
    columns = 1 if look.width is not None and look.width < 4.6 * look.scale * most else most
    width = 5.6 + 0.075 * max(0, min(max(map(len, styles)), WIDEST_NAME) - 28)  # long names need room
    arms = records.runs.groupby("task")["arm"].nunique().max()
    figure, placed = ragged(
        wrapped([shown], columns), (width, (0.18 + 0.14 * lines(styles)) * arms + 0.9), look, extra=0.3
    )
    for ax, measure in itertools.chain.from_iterable(placed):
        panel.final_scores(records.runs, material.estimates, styles, ax=ax, measure=measure, mode=mode)
        ax.set_title(measure.label, loc="right")  # grows over the names, where there is room for it
    key = [
        Line2D([], [], color="0.3", marker="o", linewidth=2.2, label="mean with 95 % interval"),
        Line2D([], [], color="0.3", marker="|", linestyle="", markersize=13, markeredgewidth=1.4, label="IQM"),
        Line2D([], [], color="0.3", marker=".", linestyle="", alpha=0.5, label="one seed"),
    ]
    figure.legend(handles=key, loc="outside lower center", ncols=3 if columns > 1 else 2)
    return figure


def performance_profiles(material: Material, look: Look) -> Figure | None:
    """Profiles over all tasks, in panels as those of learning curves."""
    scores = on_every_task(material.records.runs, "normalised_stochastic")
    if not scores:
        return None
    span = panel.profile_span(scores)

    def profiles(arms: Sequence[str], ax: Axes) -> None:
        panel.performance_profile({arm: scores[arm] for arm in arms}, material.styles, ax=ax, span=span)

    return _faceted(material, list(scores), profiles, look)


def _faceted(
    material: Material, arms: Sequence[str], draw: Callable[[Sequence[str], Axes], None], look: Look
) -> Figure:
    """The facets of some arms beside each other where they fit, with one legend below."""
    facets = {facet: [arm for arm in own if arm in arms] for facet, own in facet_arms(material).items()}
    facets = {facet: own for facet, own in facets.items() if own}
    rows = wrapped([list(facets.items())], look.columns(MOST_BESIDE))
    columns = max(map(len, rows))
    styles = {arm: style for arm, style in material.styles.items() if arm in arms}
    wide = 6.4 if columns == 1 else 4.2 if columns < MOST_BESIDE else 3.3
    across, extra = legend_size(styles, wide * columns, look)
    figure, placed = ragged(rows, (wide, 2.7), look, extra=extra)
    for ax, (facet, chosen) in itertools.chain.from_iterable(placed):
        draw(chosen, ax)
        ax.set_title("\n".join(textwrap.wrap(facet, WIDEST_TITLE)))
    legend_of_arms(figure, styles, across)
    return figure


def sample_efficiency(material: Material, look: Look) -> Figure | None:
    """IQM over tasks by share of the budget, in the facets of the learning curves; None for a single task."""
    runs, curves = material.records.runs, material.records.curves
    tasks = compared_tasks(runs)
    curves = curves[(curves["mode"] == "stochastic") & curves["task"].isin(tasks)]
    found = curves.groupby("arm")["task"].nunique()
    complete = [arm for arm in material.styles if found.get(arm, 0) == len(tasks)]
    if len(tasks) < 2 or not complete:
        return None
    table = curves.merge(runs[["task", "hash", "seed", "budget"]])
    by_arm = {str(arm): part for arm, part in table.groupby("arm", sort=False)}

    def efficiency(arms: Sequence[str], ax: Axes) -> None:
        chosen = {arm: _on_one_grid(by_arm[arm], tasks) for arm in arms}
        panel.sample_efficiency(chosen, SHARES, material.styles, ax=ax)

    figure = _faceted(material, complete, efficiency, look)
    _share_limits(figure.axes)
    return figure


def _on_one_grid(table: pd.DataFrame, tasks: Sequence[str]) -> stats.Array:
    """Runs × tasks × points: an arm's normalised curves at `SHARES` of the budget, linear between evaluations."""
    rows = table.sort_values(["task", "seed", "step"], kind="stable")
    of_task, seed = rows["task"].to_numpy(str), rows["seed"].to_numpy(int)
    share = rows["step"].to_numpy(float) / rows["budget"].to_numpy(float)
    value = rows["return_normalised"].to_numpy(float)
    by_task = []
    for task in tasks:
        mine = np.flatnonzero(of_task == task)
        starts = np.flatnonzero(np.diff(seed[mine], prepend=-1))  # rows of a seed lie together
        by_task.append([np.interp(SHARES, share[run], value[run]) for run in np.split(mine, starts[1:])])
    array = np.full((max(map(len, by_task)), len(tasks), len(SHARES)), np.nan)
    for place, runs in enumerate(by_task):
        array[: len(runs), place] = np.reshape(runs, (len(runs), len(SHARES)))
    return array


def improvement(material: Material, look: Look) -> Figure | None:
    """P(better than the control) over all tasks; None without a control."""
    scores = on_every_task(material.records.runs, "normalised_stochastic")
    control = material.records.control
    if control not in scores or len(scores) < 2:
        return None
    figure, axes = grid(1, 1, (6.0, (0.14 + 0.14 * lines(scores)) * len(scores) + 0.8), look)
    panel.improvement(scores, str(control), material.styles, ax=axes[0, 0])
    return figure


def heat_maps(material: Material, look: Look) -> Figure | None:
    """λ × γ of every family of arms on every task; None where the study does not vary both."""
    by_task, every = _families(material, ("gae_lambda", "gamma"), 2)
    panels = [(task, label, runs) for task, families in by_task.items() for label, runs in families.items()]
    if not panels:
        return None
    figure, placed = ragged(wrapped([panels], look.columns(len(panels))), (4.4, 3.4), look)
    for ax, (task, label, runs) in itertools.chain.from_iterable(placed):
        panel.heat_map(runs, "gae_lambda", "gamma", "normalised_stochastic", ax=ax)
        ax.set_title(task if len(by_task[task]) == 1 else f"{task}\n{label}")
    _say_families(figure, {task: (len(found), every[task]) for task, found in by_task.items()})
    return figure


def factor_curves(material: Material, look: Look) -> Figure | None:
    """A score over every numeric factor with three levels or more (group size, β, λ): rows factors, columns tasks."""
    runs = material.every
    swept = [factor for factor in material.records.factors if factor not in _NOT_SWEPT and _is_swept(runs[factor])]
    found = {factor: _families(material, (factor,), 3) for factor in swept}
    panels = [
        [(factor, task, families) for task, families in by_task.items()]
        for factor, (by_task, _) in found.items()
        if by_task
    ]
    if not panels:
        return None
    narrow = look.width is not None and look.width < 5 * look.scale
    figure, placed = ragged(wrapped(panels, look.columns(max(map(len, panels)))), (4.2, 3.6 if narrow else 2.8), look)
    for row in placed:
        for ax, (factor, task, families) in row:
            panel.factor_curve(families, factor, "normalised_stochastic", ax=ax)
            ax.set_title(task)
        for ax, (curves, texts) in _legends([ax for ax, _ in row]).items():
            place = (0.5, -0.3) if narrow else (1.02, 0.5)
            ax.legend(curves, texts, loc="upper center" if narrow else "center left", bbox_to_anchor=place)
    counts = {
        f"{factor}, {task}": (len(families), every[task])
        for factor, (by_task, every) in found.items()
        for task, families in by_task.items()
    }
    _say_families(figure, counts)
    return figure


def _say_families(figure: Figure, counts: Mapping[str, tuple[int, int]]) -> None:
    """Say of which panels how many families of arms are shown, where these are not all."""
    fewer = [f"{what} {few} of {every}" for what, (few, every) in counts.items() if few < every]
    if fewer:
        say(figure, f"families of arms, those with the highest mean scores: {'; '.join(fewer)}")


def _legends(row: Sequence[Axes]) -> dict[Axes, tuple[list[Any], list[Any]]]:
    """One for a row of panels, behind its last, where one panel has all that the others have; else one for each."""
    found = {ax: ax.get_legend_handles_labels() for ax in row}
    fullest = max(found.values(), key=lambda legend: len(legend[1]))
    if all(legend[1] == fullest[1][: len(legend[1])] for legend in found.values()):  # in the same colours, too
        return {row[-1]: fullest}
    return found


def _families(
    material: Material, swept: tuple[str, ...], least: int
) -> tuple[dict[str, dict[str, pd.DataFrame]], dict[str, int]]:
    """By task, for those that have any: the arms that differ in the `swept` factors alone; and how many there are.

    Of more than `MOST_FAMILIES`, those whose best level has the highest mean score.
    """
    runs, factors = material.every, material.records.factors
    if not set(swept) <= set(runs):
        return {}, {}
    every = {task: labels.families(runs[runs["task"] == task], factors, swept, least) for task in material.tasks}
    kept = {task: _best_families(families, swept) for task, families in every.items() if families}
    return kept, {task: len(families) for task, families in every.items()}


def _best_families(families: dict[str, pd.DataFrame], swept: Sequence[str]) -> dict[str, pd.DataFrame]:
    if len(families) <= MOST_FAMILIES:
        return families
    best = {
        label: runs["normalised_stochastic"].astype(float).groupby([runs[factor] for factor in swept]).mean().max()
        for label, runs in families.items()
    }
    chosen = sorted(best, key=lambda label: -best[label] if best[label] == best[label] else np.inf)[:MOST_FAMILIES]
    return {label: runs for label, runs in families.items() if label in chosen}


def _is_swept(levels: pd.Series) -> bool:
    numeric = pd.to_numeric(levels, errors="coerce")
    return bool(numeric.notna().any() and numeric.nunique() >= 3)


def beta_curves(material: Material, look: Look) -> Figure | None:
    """True score and share of cheating over β, beside the exact optimum; None where no arm's reference is solved."""
    values = references.exact_values(material.records)
    lines = references.series(material.records, values)
    tasks = [task for task in material.tasks if lines and (values["task"] == task).any()]
    if not tasks:
        return None
    colors = [material.styles[arms[0]].color for arms in lines.values()]
    across = look.columns(len(references.QUANTITIES))
    panels = [(task, quantity) for task in tasks for quantity in references.QUANTITIES]
    figure, placed = ragged(wrapped([panels], across), (4.6, 3.2), look, extra=0.22 * len(lines))
    for ax, (task, quantity) in itertools.chain.from_iterable(placed):
        beta_curve(values[values["task"] == task], lines, quantity, ax=ax, colors=colors)
        ax.set_title(task)
    found, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(found, labels, loc="outside lower center", ncols=across)
    return figure


def spaghetti(material: Material, look: Look) -> Figure:
    """Every seed's own curve: a row per arm, a column per task it was meant for; more rows where width is short."""
    records, tasks = material.records, material.tasks
    table = records.curves[records.curves["mode"] == "stochastic"]
    planned = set(zip(records.runs["task"], records.runs["arm"], strict=True))
    by_arm = [[(arm, task) for task in tasks if (task, arm) in planned] for arm in material.styles]
    rows = wrapped(by_arm, look.columns(max(map(len, by_arm))))
    figure, placed = ragged(rows, (3.6, 1.8), look)
    limits = {task: _limits(table.loc[table["task"] == task, ["return"]]) for task in tasks}
    for ax, (arm, task) in itertools.chain.from_iterable(placed):
        mine = table[(table["arm"] == arm) & (table["task"] == task)]
        if mine.empty:
            panel.say_empty(ax)
        else:
            panel.spaghetti(mine, material.styles[arm], ax=ax)
        ax.set_ylim(*limits[task])
        name = textwrap.wrap(f"{arm}, n={mine['seed'].nunique()}", WIDEST_SMALL_TITLE)
        ax.set_title("\n".join([task, *name]), fontsize="small")
    figure.supxlabel("environment steps per seed", fontsize="medium")
    figure.supylabel("return (stochastic)", fontsize="medium")
    return figure


def diagnostics(material: Material, look: Look) -> Figure | None:
    """What training looked like inside: a row per diagnostic, a column per task, all arms below."""
    training, tasks = material.records.training, material.tasks
    shown = [column for column in _DIAGNOSTICS if column in training and training[column].notna().any()]
    if not shown:
        return None
    look.check(len(shown) * len(tasks) * -(-len(material.styles) // 12))  # a panel with many arms counts as several
    rows = wrapped([[(column, task) for task in tasks] for column in shown], look.columns(len(tasks)))
    across, extra = legend_size(material.styles, 4.4 * max(map(len, rows)), look)
    figure, placed = ragged(rows, (4.4, 2.2), look, extra=extra)
    for ax, (column, task) in itertools.chain.from_iterable(placed):
        panel.diagnostic(training[training["task"] == task], column, material.styles, ax=ax)
        if not ax.lines:
            panel.say_empty(ax)
        ax.set_title(task)
        ax.set_xlabel("environment steps per seed")
    legend_of_arms(figure, material.styles, across)
    return figure


def _in_mode(function: Callable[[Material, Look, str], Figure], mode: str) -> Draw:
    return lambda material, look: function(material, look, mode)


FIGURES: Mapping[str, Draw] = {
    **{f"learning_curves_{mode}": _in_mode(learning_curves, mode) for mode in reversed(MODES)},
    **{f"final_scores_{mode}": _in_mode(final_scores, mode) for mode in reversed(MODES)},
    "learning_curves_of_kinds": learning_curves_of_kinds,
    "learning_curves_by_time": lambda material, look: learning_curves(material, look, "stochastic", over_time=True),
    "sample_efficiency": sample_efficiency,
    "performance_profiles": performance_profiles,
    "probability_of_improvement": improvement,
    "forest": lambda material, look: forest(material.families, look),
    "heat_map": heat_maps,
    "factor_curves": factor_curves,
    "beta_curves": beta_curves,
    "delay": lambda material, look: delay_curves(material.records.runs, material.styles, look),
    "spaghetti": spaghetti,
    "diagnostics": diagnostics,
}


OF_FAMILIES = ("heat_map", "factor_curves")  # they are of all arms, and say themselves what they leave out
ACROSS_TASKS = (
    "sample_efficiency",
    "performance_profiles",
    "probability_of_improvement",
    "delay",
)  # the others fall apart into tasks

WIDE = ("forest",)  # figures that are one panel with much beside it


def chosen(names: Sequence[str]) -> list[str]:
    """The figures that `names` stand for: a figure's name, or the beginning that several share (`learning_curves`).

    Raises:
        UserError: for a name that stands for none.
    """
    for name in names:
        if not any(_stands_for(name, figure) for figure in FIGURES):
            raise unknown("figure", name, FIGURES)
    return [figure for figure in FIGURES if any(_stands_for(name, figure) for name in names)]


def _stands_for(name: str, figure: str) -> bool:
    return figure == name or figure.startswith(f"{name}_")
