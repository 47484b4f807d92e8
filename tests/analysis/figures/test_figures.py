"""Figures: what is drawn is what the table says, the styles tell arms apart, and the bytes stay the same."""

import dataclasses
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import rgb_to_hsv
from matplotlib.figure import Figure

from analysis import figures, load, stats
from analysis.figures import gallery
from analysis.figures.style import FORMATS, Look, arm_styles, logarithmic, save
from analysis.load import labels
from analysis.tables.final_scores import comparison
from bench.errors import UserError


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
    table = records.curves
    figures.learning_curve(table[table["mode"] == "stochastic"], arm_styles(records.runs), ax=axes)
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_xdata(), [0, 200, 400, 600, 800, 1000])
    np.testing.assert_allclose(line.get_ydata(), [0, 20, 40, 60, 80, 100])  # seeds 0, 1, 2 average 1, minus 1
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() >= -1
    assert band[:, 1].max() <= 101


def test_failed_seeds_do_not_bend_the_curve(results):
    results.block("s", "cartpole", "a", [0, 50], rising, failed={50: "loss is NaN"})
    records = load.read(["s"], results.root)
    assert set(records.curves["seed"]) == {0}


def test_every_arm_has_its_own_colour_and_those_of_one_axis_a_hue_each(quick_runs):
    styles = arm_styles(quick_runs)
    assert len({style.color for style in styles.values()}) == len(styles) == 12
    hue = {arm: round(rgb_to_hsv(style.color)[0], 2) for arm, style in styles.items()}
    for facet, arms in labels.together(quick_runs).items():
        assert len({hue[arm] for arm in arms}) == len(arms), facet
        assert len({str(styles[arm].line) for arm in arms}) == len(arms)  # for grey print
        assert len({styles[arm].marker for arm in arms}) == len(arms)
    assert hue["critic-gae-clip"] == hue["group-gae-clip"] == hue["none-gae-clip"]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 20])
def test_any_number_of_arms_gets_distinct_styles(count):
    runs = pd.DataFrame({"arm": [f"arm {i}" for i in range(count)]})
    styles = arm_styles(runs)
    assert len({(style.color, str(style.line), style.marker) for style in styles.values()}) == count


def contrast(color: tuple[float, float, float]) -> float:
    """WCAG 2's contrast ratio against white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def test_every_colour_can_be_seen_on_white(quick_runs):
    assert min(contrast(style.color) for style in arm_styles(quick_runs).values()) > 1.9


def test_the_return_targets_stand_on_one_axis_and_every_arm_in_one_panel(quick_runs):
    """Three targets and three baselines: the facets are of the baseline, never of what TD, GAE and Monte Carlo are."""
    facets = labels.together(quick_runs)
    assert list(facets) == ["baseline = none", "baseline = critic", "baseline = group", "baseline = grpo"]
    assert sorted(arm for arms in facets.values() for arm in arms) == sorted(quick_runs["arm"])
    assert facets["baseline = critic"] == [*(f"critic-{name}-clip" for name in ("td0", "gae", "monte_carlo")), "ppo"]


def test_eight_arms_or_fewer_share_an_axis(quick_runs):
    assert labels.together(quick_runs[:8]) == {"": list(quick_runs["arm"][:8])}


def test_where_no_target_varies_the_baselines_stand_on_one_axis():
    """Nine baselines, and something else that half of them differ in."""
    runs = pd.DataFrame({"baseline": [f"b{k}" for k in range(9)], "start": ["shared"] * 5 + ["independent"] * 4})
    runs = runs.assign(arm=runs["baseline"])
    assert list(labels.together(runs)) == ["part 1 of 2", "part 2 of 2"]
    assert list(labels.together(runs, ["start"])) == ["start = shared", "start = independent"]


def test_an_arm_is_of_its_family_though_its_first_cell_was_not_run(quick_runs):
    """Nobody knows the factors of a planned cell; the arm's other cells do."""
    planned = quick_runs.drop_duplicates("arm").assign(task="planned", baseline=None, advantage=None, update=None)
    runs = pd.concat([planned, quick_runs.assign(task="t")])
    assert labels.together(runs) == labels.together(quick_runs)
    assert arm_styles(runs) == arm_styles(quick_runs)


def test_arms_that_meet_on_no_task_are_counted_apart():
    """Ten arms on one task share hues; three on a task of their own have a hue each."""
    many = pd.DataFrame({"task": "a", "arm": [f"arm {i}" for i in range(10)], "baseline": ["critic", "none"] * 5})
    apart = pd.DataFrame({"task": "b", "arm": ["x", "y", "z"], "baseline": "critic"})
    styles = arm_styles(pd.concat([many, apart]))
    assert [styles[arm].color for arm in "xyz"] == [style.color for style in arm_styles(apart).values()]
    assert [style.index for style in styles.values()] == list(range(13))


def test_a_figure_has_no_panel_for_arms_a_task_was_never_meant_for(results):
    for k, arm in enumerate("abcdefghi"):
        results.block("s", "cartpole", arm, [0], rising, baseline="ab"[k % 2], update="x" if arm < "e" else "y", k=k)
    results.block("s", "weekly_exam", "alone", [0], rising, update="x", k=9)
    material = gallery.Material.of(load.read(["s"], results.root))
    figure = gallery.draw("learning_curves_stochastic", material, Look())
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["cartpole\nupdate = x", "cartpole\nupdate = y", "weekly_exam"]
    panels = gallery.draw("final_scores_stochastic", material, Look()).axes
    assert [len(ax.get_yticklabels()) for ax in panels] == [9, 1]
    spaghetti = gallery.draw("spaghetti", material, Look())
    assert [ax.get_title().partition("\n")[0] for ax in spaghetti.axes] == ["cartpole"] * 9 + ["weekly_exam"]


def test_arms_that_no_factor_splits_are_taken_in_order():
    runs = pd.DataFrame({"arm": [f"arm {i}" for i in range(10)], "baseline": "critic"})
    assert [len(arms) for arms in labels.together(runs).values()] == [8, 2]


def test_panels_are_as_the_reader_wants_them(results):
    for k, arm in enumerate("abc"):
        results.block("s", "cartpole", arm, [0], rising, update="x" if arm < "c" else "y", k=k)
    material = gallery.Material.of(load.read(["s"], results.root))
    for wanted, facets in (("", [""]), ("none", [""]), ("update", ["update = x", "update = y"])):
        assert list(gallery.facet_arms(dataclasses.replace(material, panel=wanted))) == facets


def test_ticks_of_a_logarithmic_axis_are_plain_numbers(axes):
    logarithmic(axes, "x")
    axes.set_xlim(0.5, 3.5)
    axes.figure.canvas.draw()
    named = [text.get_text() for text in axes.get_xticklabels(which="both") if text.get_text()]
    assert named
    assert all(re.fullmatch(r"\d+(\.\d+)?", text) for text in named)


def test_final_scores_show_the_estimate_and_every_seed(results, axes):
    results.block("s", "cartpole", "a", [0, 1, 2], rising)
    records = load.read(["s"], results.root)
    estimates = comparison(records.runs, reps=100)
    styles = arm_styles(records.runs)
    figures.final_scores(
        records.runs, estimates, styles, ax=axes, measure=load.Measure("cartpole"), mode="deterministic"
    )
    dots, _, mean = axes.get_lines()
    np.testing.assert_allclose(dots.get_xdata(), [100, 101, 102])
    np.testing.assert_allclose(mean.get_xdata(), [101])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a  n=3"]


def test_an_arm_without_runs_keeps_its_row_and_says_so(results, axes):
    results.study("s", [{"task": "cartpole", "arm": arm, "seeds": [0], "k": k} for k, arm in enumerate("ab")])
    results.block("s", "cartpole", "a", [0], rising, k=0)
    records = load.read(["s"], results.root)
    estimates = comparison(records.runs, reps=50)
    styles = arm_styles(records.runs)
    figures.final_scores(records.runs, estimates, styles, ax=axes, measure=load.Measure("cartpole"), mode="stochastic")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a  n=1", "b  n=0 (1 missing)"]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_table_gives_the_same_bytes(results, kind):
    results.block("s", "cartpole", "a", [0, 1], rising)
    material = gallery.Material.of(load.read(["s"], results.root))
    first, second = (save(gallery.draw("learning_curves_stochastic", material, Look()), kind, Look()) for _ in range(2))
    assert first == second
    assert len(first) > 1000


def test_an_svg_is_text_and_short_numbers(results):
    """Words can be searched, in a font that other machines have; coordinates end at hundredths of a point."""
    results.block("s", "cartpole", "an arm (rate=0.00031, ε=0.125)", [0, 1], rising)
    material = gallery.Material.of(load.read(["s"], results.root))
    svg = save(gallery.draw("learning_curves_stochastic", material, Look()), "svg", Look()).decode()
    assert re.search(r"<text [^>]*'DejaVu Sans', Verdana, sans-serif[^>]*>an arm \(rate=0.00031, ε=0.125\)</text>", svg)
    paths = re.findall(r' d="([^"]+)"', svg)
    numbers = [number for path in paths for number in re.findall(r"\d+\.(\d+)", path)]
    assert len(numbers) > 50
    assert max(map(len, numbers)) == 2


def test_a_profile_is_the_share_of_runs_above_each_score(axes):
    scores = {"a": np.array([[0.0], [0.5], [1.0], [1.0]])}
    styles = arm_styles(pd.DataFrame({"arm": ["a"]}))
    figures.performance_profile(scores, styles, ax=axes, reps=50)
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_ydata(), stats.performance_profile(scores["a"], line.get_xdata()))


def test_sample_efficiency_is_the_iqm_over_runs_and_tasks_at_each_share_of_the_budget(results):
    low, high = 22.2 + 1, 500 + 1  # the stochastic returns lie 1 lower
    for seed, level in enumerate([0.0, 0.2, 0.4, 1.0]):
        curve = lambda _, share, level=level: low + (high - low) * level * share  # noqa: E731
        results.block("s", "cartpole", "a", [seed], curve, budget=1000)
        exam = lambda _, share, level=level: 54.1 + 1 + (71.36 - 54.1) * level * share  # noqa: E731
        results.block("s", "weekly_exam", "a", [seed], exam, budget=1000)
    figure = gallery.draw("sample_efficiency", gallery.Material.of(load.read(["s"], results.root)), Look())
    (line,) = figure.axes[0].get_lines()
    x, y = line.get_xdata(), line.get_ydata()
    np.testing.assert_allclose(y, 0.3 * np.asarray(x), atol=1e-12)  # the middle four of 0 0 .2 .2 .4 .4 1 1
    assert (x[0], x[-1]) == (0.0, 1.0)


def test_improvement_draws_each_arm_against_the_control(axes):
    scores = {"control": np.arange(4.0), "better": np.arange(4.0) + 10, "worse": np.arange(4.0) - 10}
    figures.improvement(scores, "control", arm_styles(pd.DataFrame({"arm": list(scores)})), ax=axes, reps=50)
    points = [line.get_xdata()[0] for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert points == [1.0, 0.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["better", "worse"]


def test_a_heat_map_leaves_missing_cells_blank(axes):
    runs = pd.DataFrame({"gae_lambda": [0.0, 0.9, 0.9], "gamma": [0.9, 0.9, 0.99], "score": [0.1, 0.2, np.nan]})
    figures.heat_map(runs, "gae_lambda", "gamma", "score", ax=axes)
    assert [text.get_text() for text in axes.texts] == ["0.10\nn=1", "0.20\nn=1"]


@pytest.mark.parametrize(("levels", "rotation"), [([0.9, 0.99, 1.0], 0), ([0.9 + 0.001 * n for n in range(10)], 90)])
def test_the_levels_of_a_heat_map_stand_upright_where_they_would_run_into_each_other(axes, levels, rotation):
    runs = pd.DataFrame([{"gae_lambda": x, "gamma": y, "score": x - y} for x in (0.0, 0.5) for y in levels])
    figures.heat_map(runs, "gae_lambda", "gamma", "score", ax=axes)
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(level) for level in levels]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.0", "0.5"]
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {rotation}
    assert axes.get_ylim() == (0.0, 2.0)  # small λ below


def test_a_factor_curve_is_the_mean_per_level(axes):
    runs = pd.DataFrame({"name": "group", "group.size": [4, 4, 8, 8, 16, 16], "score": [1.0, 3.0, 4.0, 4.0, 0.0, 1.0]})
    figures.factor_curve({"group": runs}, "group.size", "score", ax=axes, reps=50)
    line = axes.get_lines()[0]
    np.testing.assert_allclose(line.get_xydata(), [[0, 2], [1, 4], [2, 0.5]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "8", "16"]


def test_spaghetti_has_a_line_per_seed_and_their_mean(results, axes):
    results.block("s", "cartpole", "a", [0, 10], rising)
    records = load.read(["s"], results.root)
    table = records.curves
    figures.spaghetti(table[table["mode"] == "deterministic"], arm_styles(records.runs)["a"], ax=axes)
    assert [line.get_ydata()[-1] for line in axes.get_lines()] == [100, 110, 105]


def test_a_diagnostic_is_averaged_over_seeds(results, axes):
    results.block("s", "cartpole", "a", [0, 1], rising)
    records = load.read(["s"], results.root)
    figures.diagnostic(records.training, "train/approx_kl", arm_styles(records.runs), ax=axes)
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), 0.015)


def test_figures_the_study_holds_nothing_for_are_left_out(results):
    results.block("s", "cartpole", "a", [0, 1], rising)
    material = gallery.Material.of(load.read(["s"], results.root))
    assert gallery.draw("heat_map", material, Look()) is None
    assert gallery.draw("factor_curves", material, Look()) is None
    assert gallery.draw("probability_of_improvement", material, Look()) is None


def test_figures_are_chosen_by_name_or_beginning():
    assert gallery.chosen(["spaghetti"]) == ["spaghetti"]
    assert gallery.chosen(["final_scores"]) == ["final_scores_stochastic", "final_scores_deterministic"]
    with pytest.raises(UserError, match="did you mean 'spaghetti'"):
        gallery.chosen(["spagetti"])


@pytest.mark.slow
@pytest.mark.parametrize("look", [Look(), Look("paper", 3.3), Look("slide", 12.0)], ids=lambda look: look.name)
def test_no_text_panel_or_legend_overlaps_another(quick_like, look):
    material = gallery.Material.of(load.read(["quick"], quick_like.root))
    for name in gallery.chosen(["learning_curves", "final_scores", "performance_profiles", "diagnostics"]):
        figure = gallery.draw(name, material, look)
        if figure is None:  # of brothers, which these tasks have none of
            assert name == "learning_curves_of_kinds"
            continue
        FigureCanvasAgg(figure).draw()
        legends = [ax.get_legend() for ax in figure.axes if ax.get_legend()] + figure.legends
        boxes = [legend.get_window_extent() for legend in legends]
        texts = [text for ax in figure.axes for text in (ax.title, ax.xaxis.label, ax.yaxis.label) if text.get_text()]
        others = [text.get_window_extent() for text in texts] + [ax.get_window_extent() for ax in figure.axes]
        assert not any(a.overlaps(b) for a, b in itertools.combinations([*boxes, *others], 2)), name
        assert all(figure.bbox.contains(*corner) for box in boxes for corner in box.corners()), name
