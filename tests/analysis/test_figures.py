"""Figures: what is drawn is what the table says, the styles tell arms apart, and the bytes stay the same."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import rgb_to_hsv
from matplotlib.figure import Figure

from analysis import figures, load, tables


def rising(seed: int, share: float) -> float:
    return 100.0 * share + seed


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.fixture
def quick_runs() -> pd.DataFrame:
    """Arms as in the suite's first study: a 3 × 3 grid and three presets."""
    rows = [
        {"arm": f"{baseline}-{advantage}-clip", "baseline": baseline, "advantage": advantage, "update": "clip"}
        for baseline in ("none", "critic", "group")
        for advantage in ("td0", "gae", "monte_carlo")
    ]
    rows += [
        {"arm": "reinforce", "baseline": "none", "advantage": "monte_carlo", "update": "vanilla"},
        {"arm": "grpo", "baseline": "grpo", "advantage": "monte_carlo", "update": "clip"},
        {"arm": "ppo", "baseline": "critic", "advantage": "gae", "update": "clip"},
    ]
    return pd.DataFrame(rows)


def test_a_learning_curve_is_the_mean_over_seeds_within_its_band(results, axes):
    results.block("s", "cartpole", "a", [0, 1, 2], rising)
    records = load.read(["s"], results.root)
    table = load.curves(records.evaluations, records.runs)
    figures.learning_curve(table[table["mode"] == "stochastic"], figures.arm_styles(records.runs), ax=axes)
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_xdata(), [0, 200, 400, 600, 800, 1000])
    np.testing.assert_allclose(line.get_ydata(), [0, 20, 40, 60, 80, 100])  # seeds 0, 1, 2 average 1, minus 1
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() >= -1
    assert band[:, 1].max() <= 101


def test_failed_seeds_do_not_bend_the_curve(results):
    results.block("s", "cartpole", "a", [0, 50], rising, failed={50: "loss is NaN"})
    records = load.read(["s"], results.root)
    assert set(load.curves(records.evaluations, records.runs)["seed"]) == {0}


def test_every_arm_has_its_own_colour_and_its_baselines_hue(quick_runs):
    styles = figures.arm_styles(quick_runs)
    assert len({style.color for style in styles.values()}) == len(styles) == 12
    hue = {arm: rgb_to_hsv(style.color)[0] for arm, style in styles.items()}
    for baseline, arms in quick_runs.groupby("baseline")["arm"]:
        assert np.ptp([hue[arm] for arm in arms]) < 0.01, baseline


def test_arms_of_one_hue_differ_in_line_and_marker_for_grey_print(quick_runs):
    styles = figures.arm_styles(quick_runs)
    for _, arms in quick_runs.groupby("baseline")["arm"]:
        assert len({str(styles[arm].line) for arm in arms}) == len(arms)
        assert len({styles[arm].marker for arm in arms}) == len(arms)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 20])
def test_any_number_of_arms_gets_distinct_styles(count):
    runs = pd.DataFrame({"arm": [f"arm {i}" for i in range(count)]})
    styles = figures.arm_styles(runs)
    assert len({(style.color, str(style.line), style.marker) for style in styles.values()}) == count


def contrast(color: tuple[float, float, float]) -> float:
    """WCAG 2's contrast ratio against white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def test_every_colour_can_be_seen_on_white(quick_runs):
    assert min(contrast(style.color) for style in figures.arm_styles(quick_runs).values()) > 1.9


def test_facets_split_many_arms_by_a_factor_and_hold_each_arm_once(quick_runs):
    facets = figures.facet_arms(quick_runs)
    assert list(facets) == ["advantage = td0", "advantage = gae", "advantage = monte_carlo"]
    assert sorted(arm for arms in facets.values() for arm in arms) == sorted(quick_runs["arm"])
    assert max(map(len, facets.values())) <= figures.MAX_LINES


def test_arms_that_no_factor_splits_are_taken_in_order():
    runs = pd.DataFrame({"arm": [f"arm {i}" for i in range(8)], "baseline": "critic"})
    assert [len(arms) for arms in figures.facet_arms(runs).values()] == [6, 2]


def test_final_scores_show_the_estimate_and_every_seed(results, axes):
    results.block("s", "cartpole", "a", [0, 1, 2], rising)
    records = load.read(["s"], results.root)
    estimates = tables.comparison(records.runs, reps=100)
    styles = figures.arm_styles(records.runs)
    figures.final_scores(records.runs, estimates, styles, ax=axes, task="cartpole", mode="deterministic")
    dots, _, mean = axes.get_lines()
    np.testing.assert_allclose(dots.get_xdata(), [100, 101, 102])
    np.testing.assert_allclose(mean.get_xdata(), [101])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a  n=3"]


def test_an_arm_without_runs_keeps_its_row_and_says_so(results, axes):
    results.study("s", [{"task": "cartpole", "arm": arm, "seeds": [0], "k": k} for k, arm in enumerate("ab")])
    results.block("s", "cartpole", "a", [0], rising, k=0)
    records = load.read(["s"], results.root)
    estimates = tables.comparison(records.runs, reps=50)
    styles = figures.arm_styles(records.runs)
    figures.final_scores(records.runs, estimates, styles, ax=axes, task="cartpole", mode="stochastic")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a  n=1", "b  n=0 (1 missing)"]


@pytest.mark.parametrize("kind", figures.FORMATS)
def test_the_same_table_gives_the_same_bytes(results, kind):
    results.block("s", "cartpole", "a", [0, 1], rising)
    records = load.read(["s"], results.root)
    first, second = (figures.save(figures.learning_curves(records.evaluations, records.runs), kind) for _ in range(2))
    assert first == second
    assert len(first) > 1000


@pytest.mark.slow
def test_no_text_or_legend_overlaps_another(quick_like):
    records = load.read(["quick"], quick_like.root)
    estimates = tables.comparison(records.runs, reps=50)
    for figure in (
        figures.learning_curves(records.evaluations, records.runs),
        figures.final_score_intervals(records.runs, estimates),
    ):
        FigureCanvasAgg(figure).draw()
        legends = [ax.get_legend() for ax in figure.axes if ax.get_legend()] + figure.legends
        boxes = [legend.get_window_extent() for legend in legends]
        panels = [ax.get_tightbbox(bbox_extra_artists=[]) for ax in figure.axes]
        assert not any(legend.overlaps(panel) for legend in boxes for panel in panels)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(panels, 2))
        assert all(figure.bbox.contains(*corner) for box in boxes for corner in box.corners())
