"""Score and bias over the delay: the closed form against the laboratory's exact part, and rows made by hand."""

import numpy as np
import pandas as pd
import pytest

from analysis.figures.delay import delay_curves
from analysis.figures.style import Look, arm_styles
from analysis.tables.delay import delay_rows, missed
from bench.lab.exact.process import Process
from bench.lab.exact.targets import MONTE_CARLO, TD0, Target, target_moments
from bench.tasks.delayed_exam import PLAY, STUDY, DelayedExam

TARGETS = {
    "td0": TD0,
    "gae": Target(gae_lambda=0.9),
    "nstep": Target(n_step=3),
    "monte_carlo": MONTE_CARLO,
}


@pytest.mark.parametrize("advantage", TARGETS)
@pytest.mark.parametrize("delay", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_what_is_missed_is_what_the_exact_moments_say(advantage, delay, gamma):
    """For any V of the week alone: the gap between studying and playing, true and as it is estimated."""
    task = DelayedExam(delay=delay, temptation=0.3, luck=1.0)
    process = Process.of(task, "uniform", gamma)
    weeks = np.random.default_rng(delay).normal(size=delay + 1)
    critic = np.broadcast_to(weeks[:, None], task.model.table)
    mean = target_moments(process, TARGETS[advantage], critic).mean[0, 0]
    true = task.solve("uniform", gamma).q_values[0, 0]
    gap = (true[STUDY] - true[PLAY]) - (mean[STUDY] - mean[PLAY])
    assert missed(advantage, delay, gamma, 0.9, 3) == pytest.approx(gap, abs=1e-12)


def runs(rows):
    """A table as `analysis.load` gives it, of runs that are done unless a row says otherwise."""
    usual = {"baseline": "critic", "gamma": 1.0, "gae_lambda": 0.95, "n_step": np.nan, "update": "clip",
             "status": "done", "name": "a"}  # fmt: skip
    return pd.DataFrame([{**usual, **row} for row in rows])


def a_study():
    """Three seeds at delays of 1 and 8, the usual one; a knob that has its default is not recorded."""
    found = []
    for seed, score in enumerate((0.5, 0.7, 0.9)):
        one = {"arm": "gae", "advantage": "gae", "seed": seed, "normalised_stochastic": score}
        found.append({**one, "task": "delayed_exam"})
        found.append({**one, "task": "delayed_exam-delay-1-hidden-true", "task.delay": 1.0, "task.hidden": True})
    found.append({"arm": "gae", "task": "weekly_exam", "advantage": "gae", "normalised_stochastic": 0.1})
    found.append({"arm": "gae", "task": "delayed_exam-delay-4", "status": "missing"})
    return runs(found)


def test_rows_are_means_of_scores_by_delay_and_sight():
    found = delay_rows(a_study()).set_index(["hidden", "delay"])
    assert set(found.index) == {(False, 8), (True, 1)}
    assert found.loc[(False, 8), "mean"] == pytest.approx(0.7)
    assert found.loc[(False, 8), "n"] == 3
    assert found.loc[(False, 8), "low"] < 0.7 < found.loc[(False, 8), "high"]
    assert found.loc[(False, 8), "missed"] == pytest.approx(1 - 0.95**8)
    assert found.loc[(True, 1), "missed"] == pytest.approx(0.05)


def test_the_figure_has_a_column_for_either_sight():
    table = a_study()
    figure = delay_curves(table, arm_styles(table), Look())
    assert figure is not None
    assert len(figure.axes) == 4
    other = table[table["task"] != "delayed_exam-delay-1-hidden-true"]
    assert delay_curves(other, arm_styles(other), Look()) is None  # one delay is no curve
