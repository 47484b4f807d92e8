"""Figures of a design: every reading has one, arms keep their names, and no fit is shown that foretells nothing."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.claims import readings as four
from analysis.figures import designs
from analysis.figures.style import Look
from analysis.tables.designs import Readings
from bench.verdicts.judge import Question
from bench.verdicts.row import JudgedRow
from bench.verdicts.words import Word
from tests.analysis.designs import designed, rows

ARMS, TASKS = ["critic-gae", "critic-td0"], ["cartpole", "weekly_exam"]


def _score(task: str, arm: str, setting: int, seed: int) -> float:
    """The rate decides on cartpole; on the exam nothing does."""
    noise = float(np.random.default_rng([setting, seed, len(task), len(arm)]).normal(0, 0.05))
    return noise + (0.3 + 0.03 * setting if task == "cartpole" else 0.5)


@pytest.fixture(scope="module")
def readings() -> Readings:
    strata = {setting: "few" if setting < 8 else "many" for setting in range(16)}
    tried = rows(_score, TASKS, ARMS, range(16), 2, pool="tuning", strata=strata)
    fresh = rows(lambda t, a, s, seed: _score(t, a, s, 50 + seed), TASKS, ARMS, range(16), 5, pool="main")
    default = rows(lambda *_: 0.4, TASKS, ARMS, [0], 5, pool="main").assign(learning_rate=1e-3)
    found = designed(tried, fresh, default)
    row = JudgedRow("f", "gae_is_higher", "s", "", "s", "cartpole", *ARMS, "final", "higher", 0.05, 0.05, 5)
    claims = [
        four.of_row(
            found, replace(row, task=task, word=Word.OPEN, text="open"), Question("final", "higher", 0.05, 0.5),
            (ARMS[0], ARMS[1]),
        )
        for task in TASKS
    ]  # fmt: skip
    return Readings(found, tuple(claims))


def test_every_reading_has_a_figure(readings: Readings) -> None:
    drawn = designs.drawings(readings, {}, Look())
    whole = {f"design_{name}_wide" for name in ("claims", "expected_best", "sensitivity", "left_out", "optimism")}
    of_task = {f"design_{name}_wide_{task}" for name in ("responses", "contours") for task in TASKS}
    assert set(drawn) == whole | of_task
    for name in ("expected_best", "sensitivity"):
        (legend,) = drawn[f"design_{name}_wide"].legends
        assert [text.get_text() for text in legend.get_texts()] == ARMS
    assert [ax.get_title() for ax in drawn["design_expected_best_wide"].axes] == ["mean over tasks", *TASKS]


def test_claims_stand_side_by_side(readings: Readings) -> None:
    figure = designs.drawings(readings, {}, Look())["design_claims_wide"]
    panels = figure.axes[:4]
    assert [ax.get_title() for ax in panels] == list(four.READINGS)
    assert [label.get_text().strip() for label in panels[0].get_yticklabels()] == ["gae is higher", *TASKS]
    right = figure.axes[3].child_axes[0]
    assert [label.get_text() for label in right.get_yticklabels()] == ["", *(each.standing for each in readings.claims)]


def test_an_arm_beside_the_control_is_named_once_with_all_its_tasks(readings: Readings) -> None:
    """Comparisons with a control come task by task."""
    arms = ("group-monte_carlo", "grpo-monte_carlo")
    blank = replace(readings.claims[0].first, file="", against="critic-gae")
    rows_of = [replace(blank, name=arm, arm=arm, task=task) for task in TASKS for arm in arms]
    side = tuple(four.SideBySide(dict.fromkeys(four.READINGS, row), {}) for row in rows_of)
    figure = designs.drawings(replace(readings, claims=side), {}, Look())["design_claims_wide"]
    named = [label.get_text().strip() for label in figure.axes[0].get_yticklabels()]
    assert named == [line for arm in arms for line in (f"{arm} − critic-gae", *TASKS)]


def test_a_fit_that_foretells_nothing_is_not_shown(readings: Readings) -> None:
    drawn = designs.drawings(readings, {}, Look())
    for task in TASKS:
        axes = [ax for ax in drawn[f"design_contours_wide_{task}"].axes if ax.get_title()]
        assert len(axes) == len(ARMS)
        for ax in axes:
            shown = any(len(collection.get_paths()) > 1 for collection in ax.collections)
            assert shown == ("no fit shown" not in ax.get_title())
            assert "cross-validated R²" in ax.get_title()
    assert "no fit shown" not in drawn["design_contours_wide_cartpole"].axes[0].get_title()


def test_where_own_numbers_lie(readings: Readings) -> None:
    """A rate of 1e-3 is the middle of 1e-4 to 1e-2."""
    figure = designs.drawings(readings, {}, Look())["design_responses_wide_cartpole"]
    rates = next(ax for ax in figure.axes if ax.get_xlabel() == "learning_rate")
    marks = [line for line in rates.lines if line.get_marker() == "^" and line.get_linestyle() == "None"]
    assert [line.get_xdata()[0] for line in marks] == pytest.approx([0.5, 0.5])
    assert {ax.get_xlabel() for ax in figure.axes} == {"learning_rate", "gae_lambda", "stratum"}


def test_arms_of_a_baseline_share_a_panel() -> None:
    arms = ["none-a", *(f"critic-{letter}" for letter in "abcde"), "group-a", "grpo-a"]
    found = designs.groups_of(arms)
    assert sorted(arm for group in found for arm in group) == sorted(arms)
    assert max(map(len, found)) <= designs.MOST_LINES
    assert any({"critic-a", "critic-b", "critic-c", "critic-d"} == set(group) for group in found)
