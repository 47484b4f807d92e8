"""The panels of figures: functions from a tidy table to axes. They read no files and write none.

`analysis.figures.gallery` puts panels together; `analysis.figures.style` decides how they look.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from analysis import stats
from analysis.figures.style import Style, Trace, tell, written
from analysis.load import TRUE_SCORE, Measure
from analysis.tables.final_scores import count_text
from analysis.tables.formats import number_text

REPS = 2000
LETTERS_ACROSS = 36  # that stand side by side below a heat map
BINS = 40  # of a diagnostic over the budget: updates of different seeds lie at different steps


def learning_curve(
    table: pd.DataFrame,
    styles: Mapping[str, Style],
    *,
    ax: Axes,
    value: str = "return",
    seconds_per_step: Mapping[str, float] | None = None,
    reps: int = REPS,
    confidence: float = stats.CONFIDENCE,
) -> None:
    """Mean over seeds with a pointwise bootstrap band, one line per arm of `table`.

    Args:
        table: the rows of one task and one mode of `analysis.load.curves`.
        styles: as `analysis.figures.style.arm_styles` gives them; arms are drawn in its order.
        ax: where to draw.
        value: the column drawn.
        seconds_per_step: by arm, to draw over wall time instead of steps.
        reps: bootstrap resamples.
        confidence: of the band.
    """
    for place, (arm, style) in enumerate(styles.items()):
        mine = table[table["arm"] == arm]
        if mine.empty:
            continue
        wide = mine.pivot(index="seed", columns="step", values=value)
        rng = stats.generator(mine["task"].iloc[0], arm, mine["mode"].iloc[0], "curve")
        band = stats.mean_band(wide.to_numpy(float), reps, confidence, rng)
        x = wide.columns.to_numpy(float) * (seconds_per_step[arm] if seconds_per_step else 1)
        _line_with_band(x, band, arm, style, place, ax)
        tell(ax, Trace(style.index, len(wide), x.tolist(), *(each.tolist() for each in band)))
    ax.set_xlabel("seconds per seed (lockstep)" if seconds_per_step else "environment steps per seed")
    if not ax.lines:
        say_empty(ax)
    elif not seconds_per_step:
        ax.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))


def _tell(
    ax: Axes, style: Style, runs: stats.Array, x: stats.Array, band: tuple[stats.Array, stats.Array, stats.Array]
) -> None:
    """Keep a line over all tasks for pages: as many runs as it rests on."""
    tell(ax, Trace(style.index, int(np.count_nonzero(~np.isnan(runs))), x.tolist(), *(each.tolist() for each in band)))


def say_empty(ax: Axes) -> None:
    """Say that there is nothing to draw, in place of a scale that would mean nothing."""
    ax.set_xticks([])
    ax.text(0.5, 0.5, "no run is done", transform=ax.transAxes, ha="center", va="center", color="0.4")


def _line_with_band(
    x: stats.Array, band: tuple[stats.Array, stats.Array, stats.Array], arm: str, style: Style, place: int, ax: Axes
) -> None:
    """Markers are few and, from arm to arm, at other points, so that lines on top of each other show both."""
    centre, low, high = band
    every = max(1, len(x) // 5)
    ax.fill_between(x, low, high, color=style.color, alpha=0.18, linewidth=0, gid=style.gid)
    ax.plot(
        x, centre, color=style.color, linestyle=style.line, linewidth=1.4, label=arm,
        marker=style.marker, markevery=(place % every, every), markersize=4, gid=style.gid,
    )  # fmt: skip


def final_scores(
    runs: pd.DataFrame, estimates: pd.DataFrame, styles: Mapping[str, Style], *, ax: Axes, measure: Measure, mode: str
) -> None:
    """One measure: the mean with its interval, the IQM as an upright bar, and below them every seed's final score.

    Arms the study never meant to run on this task have no row; those it did and has no run of have an empty one.

    Args:
        runs: as `analysis.load` gives them.
        estimates: as `analysis.tables.final_scores.comparison` gives them.
        styles: as `analysis.figures.style.arm_styles` gives them; arms are drawn in its order, from the top.
        ax: where to draw.
        measure: of which task, and what of it.
        mode: which policy, `deterministic` or `stochastic`.
    """
    rows = estimates[(estimates["task"] == measure.label) & (estimates["mode"] == mode)]
    by_arm = {str(row["arm"]): row for _, row in rows.iterrows()}
    labels: dict[str, str] = {}
    for place, arm in enumerate(arm for arm in styles if arm in by_arm):
        found, style = by_arm[arm], styles[arm]
        labels[arm] = f"{arm}  n={count_text(found)}"
        if found["n"]:
            mine = runs[(runs["arm"] == arm) & (runs["task"] == measure.task)]
            _final_score(found, mine[measure.final(mode)].dropna().to_numpy(float), style, ax, place)
    _rows_of_arms(ax, labels, styles)
    if not ax.lines:
        say_empty(ax)
    ax.set_xlabel(f"final {'return' if measure.column == 'return' else TRUE_SCORE} ({mode})", loc="right")


def _final_score(estimate: pd.Series, seeds: stats.Array, style: Style, ax: Axes, place: int) -> None:
    spread = np.tile([-0.06, 0.06], len(seeds))[: len(seeds)]  # neighbours in seed order do not hide each other
    look: dict[str, Any] = {"color": style.color, "gid": style.gid}
    ax.plot(seeds, place + 0.24 + spread, linestyle="", marker=".", markersize=4, alpha=0.5, **look)
    ax.hlines(place - 0.1, estimate["mean_low"], estimate["mean_high"], linewidth=2, **look)
    ax.plot(estimate["iqm"], place - 0.1, marker="|", markersize=13, markeredgewidth=1.4, **look)
    ax.plot(estimate["mean"], place - 0.1, marker=style.marker, markersize=5, **look)


def _rows_of_arms(ax: Axes, labels: Mapping[str, str], styles: Mapping[str, Style]) -> None:
    """A row for each arm with what is written beside it; the names belong to the arms, so that a page can hide them."""
    ax.set_yticks(range(len(labels)), list(map(written, labels.values())))
    for text, arm in zip(ax.get_yticklabels(), labels, strict=True):
        text.set_gid(styles[arm].gid)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)


def performance_profile(
    scores: Mapping[str, stats.Array],
    styles: Mapping[str, Style],
    *,
    ax: Axes,
    span: tuple[float, float] | None = None,
    reps: int = 500,
    confidence: float = stats.CONFIDENCE,
) -> None:
    """The share of runs above every normalised score, with a pointwise stratified bootstrap band.

    Args:
        scores: by arm, runs × tasks of normalised final scores.
        styles: as `analysis.figures.style.arm_styles` gives them.
        ax: where to draw.
        span: of the scores shown; None for `profile_span` of these.
        reps: bootstrap resamples.
        confidence: of the band.
    """
    taus = np.linspace(*(span or profile_span(scores)), 101)
    for place, (arm, array) in enumerate(scores.items()):
        resamples = stats.resample(array, reps, stats.generator(arm, "profile"))
        low, high = stats.percentiles(stats.performance_profile(resamples, taus), confidence)
        band = (stats.performance_profile(array, taus), low, high)
        _line_with_band(taus, band, arm, styles[arm], place, ax)
        _tell(ax, styles[arm], array, taus, band)
    ax.set_xlabel("normalised score τ")
    ax.set_ylabel("share of runs above τ")
    ax.set_ylim(-0.02, 1.02)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6))


def profile_span(scores: Mapping[str, stats.Array]) -> tuple[float, float]:
    """The scores a profile runs over: from the lowest to the highest, and from random to the reference at least."""
    present = np.concatenate([array[~np.isnan(array)] for array in scores.values()])
    return min(0.0, float(present.min())), max(1.0, float(present.max()))


def sample_efficiency(
    curves: Mapping[str, stats.Array],
    shares: stats.Array,
    styles: Mapping[str, Style],
    *,
    ax: Axes,
    reps: int = 500,
    confidence: float = stats.CONFIDENCE,
) -> None:
    """The IQM of normalised scores over runs and tasks, over the share of the budget (arXiv 2108.13264, figure 7).

    Args:
        curves: by arm, runs × tasks × points of normalised scores; NaN for a run that a task has not.
        shares: (points,), of the budget.
        styles: as `analysis.figures.style.arm_styles` gives them.
        ax: where to draw.
        reps: bootstrap resamples of whole curves within each task.
        confidence: of the band.
    """
    for place, (arm, array) in enumerate(curves.items()):
        order = np.argsort(np.isnan(array[..., 0]), axis=0, kind="stable")  # present runs first, in every task
        ordered = np.take_along_axis(array, order[..., None], axis=0)
        present = np.count_nonzero(~np.isnan(array[..., 0]), axis=0)
        rows = stats.resample_rows(present, len(array), reps, stats.generator(arm, "efficiency"))
        drawn = ordered[rows, np.arange(array.shape[1])]
        low, high = stats.percentiles(stats.iqm(np.moveaxis(drawn, -1, 1)), confidence)
        band = (stats.iqm(np.moveaxis(array, -1, 0)), low, high)
        _line_with_band(shares, band, arm, styles[arm], place, ax)
        _tell(ax, styles[arm], array[..., 0], shares, band)
    ax.set_xlabel("share of the budget")
    ax.set_ylabel("IQM of normalised scores")


def improvement(
    scores: Mapping[str, stats.Array], control: str, styles: Mapping[str, Style], *, ax: Axes, reps: int = 1000
) -> None:
    """P(arm > control) of a run of each, averaged over tasks, with its 95 % interval.

    Args:
        scores: by arm, runs × tasks of final scores; the control among them.
        control: the arm the others are compared with.
        styles: as `analysis.figures.style.arm_styles` gives them.
        ax: where to draw.
        reps: bootstrap resamples.
    """
    arms = [arm for arm in scores if arm != control]
    for place, arm in enumerate(arms):
        rng = stats.generator(arm, control, "improvement")
        estimate, low, high = stats.improvement_interval(scores[arm], scores[control], reps, 0.95, rng)
        look: dict[str, Any] = {"color": styles[arm].color, "gid": styles[arm].gid}
        ax.hlines(place, low, high, linewidth=2, **look)
        ax.plot(estimate, place, marker=styles[arm].marker, markersize=5, **look)
    ax.axvline(0.5, color="0.4", linewidth=1, linestyle=":")
    _rows_of_arms(ax, {arm: arm for arm in arms}, styles)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel(f"P(a run beats one of {control})")


def heat_map(runs: pd.DataFrame, rows: str, columns: str, value: str, *, ax: Axes) -> None:
    """Mean of a score over the runs of every pair of factor levels; a level without runs stays blank, never 0.

    Args:
        runs: of one task.
        rows: factor on the vertical axis, for example `gae_lambda`.
        columns: factor on the horizontal axis, for example `gamma`.
        value: column of `runs` that is averaged.
        ax: where to draw.
    """
    groups = runs.groupby([rows, columns])[value]
    means, counts = groups.mean().unstack(), groups.count().unstack()
    text = [
        ["" if not n else f"{number_text(mean, 2)}\nn={n:.0f}" for mean, n in zip(*pair, strict=True)]
        for pair in zip(means.to_numpy(float), counts.fillna(0).to_numpy(float), strict=True)
    ]
    looks: dict[str, Any] = {"cmap": "cividis", "linewidths": 0.5, "cbar_kws": {"label": value}}
    # Its own labels it measures, each on a page of its own in memory, before there is a layout.
    sns.heatmap(means, annot=np.array(text), fmt="", ax=ax, xticklabels=False, yticklabels=False, **looks)
    across, up = [str(level) for level in means.columns], [str(level) for level in means.index]
    upright = len(across) * max(map(len, across), default=0) > LETTERS_ACROSS
    ax.set_xticks(np.arange(len(across)) + 0.5, across, rotation=90 if upright else 0)
    ax.set_yticks(np.arange(len(up)) + 0.5, up)
    ax.set_xlabel(columns)
    ax.set_ylabel(rows)
    ax.invert_yaxis()


def factor_curve(
    families: Mapping[str, pd.DataFrame],
    factor: str,
    value: str,
    *,
    ax: Axes,
    reps: int = REPS,
    confidence: float = stats.CONFIDENCE,
) -> None:
    """A score over a numeric factor (group size, β, λ, …): mean over seeds with its interval, one line per family.

    Args:
        families: runs of one task that differ in the factor alone, see `analysis.load.labels.families`.
        factor: a numeric factor column.
        value: the score column.
        ax: where to draw.
        reps: bootstrap resamples.
        confidence: of the intervals.
    """
    every = sorted({level for runs in families.values() for level in runs[factor].dropna()})
    for label, runs in families.items():
        by_level = {level: found.dropna() for level, found in runs.groupby(factor)[value]}
        levels = [level for level, found in by_level.items() if len(found)]
        found = [
            stats.interval(
                by_level[level].to_numpy(float), stats.mean, reps, confidence, stats.generator(label, factor, level)
            )
            for level in levels
        ]
        if found:
            centre, low, high = np.array(found).T
            bars = np.array([centre - low, high - centre])
            places = [every.index(level) for level in levels]  # side by side: .9, .95, .98 and 1 beside 0 would be one
            ax.errorbar(places, centre, yerr=bars, marker="o", markersize=4, capsize=2, label=label)
    ax.set_xticks(range(len(every)), [f"{level:g}" for level in every])
    ax.set_xlabel(factor)
    ax.set_ylabel(value.replace("_", " "))


def spaghetti(table: pd.DataFrame, style: Style, *, ax: Axes) -> None:
    """Every seed of one arm on one task as a thin line, and their mean.

    Args:
        table: the rows of one arm, task and mode of `analysis.load.curves`.
        style: the arm's.
        ax: where to draw.
    """
    wide = table.pivot(index="step", columns="seed", values="return")
    ax.plot(wide.index, wide.to_numpy(float), color=style.color, linewidth=0.6, alpha=0.5, gid=style.gid)
    ax.plot(wide.index, wide.mean(axis=1), color=style.color, linewidth=2, gid=style.gid)
    ax.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))


def diagnostic(table: pd.DataFrame, column: str, styles: Mapping[str, Style], *, ax: Axes) -> None:
    """A training diagnostic over steps: mean over seeds in `BINS` equal parts of the budget, one line per arm.

    Args:
        table: the rows of one task of the training table.
        column: for example `train/approx_kl`.
        styles: as `analysis.figures.style.arm_styles` gives them.
        ax: where to draw.
    """
    width = max(float(table["step"].max()) / BINS, 1.0)
    for place, (arm, style) in enumerate(styles.items()):
        mine = table[(table["arm"] == arm) & np.isfinite(table[column].astype(float))]
        if mine.empty:
            continue
        part = np.ceil(mine["step"].to_numpy(float) / width) * width
        by_seed = mine.groupby([mine["seed"], part])[column].mean().unstack(0)
        every = max(1, len(by_seed) // 5)
        ax.plot(
            by_seed.index.to_numpy(float), by_seed.mean(axis=1), color=style.color, linestyle=style.line, linewidth=1.2,
            marker=style.marker, markersize=3, markevery=(place % every, every), label=arm, gid=style.gid,
        )  # fmt: skip
    ax.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
    ax.set_ylabel(column.partition("/")[2].replace("_", " "))
