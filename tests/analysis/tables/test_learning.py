"""Speed, stability and the closing table, from runs made by hand."""

import numpy as np
import pytest

from analysis import load
from analysis.claims.metrics import run_metrics
from analysis.tables import learning
from analysis.tables.costs import costs_of_runs
from analysis.tables.final_scores import comparison


def test_steps_are_a_median_that_says_where_it_is_censored():
    assert learning.steps_text(np.array([100.0, 300.0, np.inf])) == "300"
    assert learning.steps_text(np.array([100.0, 300.0])) == "200"
    assert learning.steps_text(np.array([100.0, np.inf])) == "> budget"
    assert learning.steps_text(np.array([np.nan])) == "–"


def test_speed_and_stability_are_means_over_the_runs_with_a_score(results):
    half, full = 22.2 + 0.5 * 477.8 + 1, 500 + 1  # the stochastic returns lie 1 lower
    rising = lambda seed, share: (half, full)[seed] if share > 0.5 else 23.2  # noqa: E731
    results.block("s", "cartpole", "a", [0, 1, 2], rising, failed={2: "loss is NaN"})
    table = learning.learning_table(run_metrics(load.read(["s"], results.root)))
    (row,) = table.sections[0].rows
    # the curve is 0, 0, 0, top, top, top at six equally spaced points: its area is half of top
    assert row[:2] == ("a", "2")
    assert row[2].startswith("0.375 [")
    assert row[3:5] == ("> budget", "1 of 2")
    assert row[5] == "0.000 [0.000, 0.000]"
    assert row[6] == "–"  # a spread takes three runs


def test_the_closing_table_has_the_estimators_in_order_and_says_what_it_lacks(results):
    for advantage in ("monte_carlo", "td0", "gae"):
        results.block("s", "cartpole", advantage, [0, 1], lambda *_: 101.0, baseline="critic", advantage=advantage)
    results.block("s", "cartpole", "none", [0, 1], lambda *_: 101.0, baseline="none", advantage="gae")
    records = load.read(["s"], results.root)
    estimates, costs = comparison(records.runs, reps=50), costs_of_runs(records.runs)
    table = learning.closing_table(run_metrics(records), estimates, costs, records.laboratory.quantities)
    assert [row[0] for row in table.sections[0].rows] == ["td0", "gae", "monte_carlo"]
    assert table.sections[0].rows[0][1:5] == ("–", "–", "–", "100.0 [100.0, 100.0]")
    assert "They are not in this study" in table.caption


@pytest.mark.parametrize("factors", [{}, {"baseline": "critic", "advantage": "gae"}])
def test_a_study_without_two_estimators_has_no_closing_table(results, factors):
    results.block("s", "cartpole", "a", [0, 1], lambda *_: 101.0, **factors)
    records = load.read(["s"], results.root)
    estimates, costs = comparison(records.runs, reps=50), costs_of_runs(records.runs)
    assert learning.closing_table(run_metrics(records), estimates, costs, records.laboratory.quantities) is None
