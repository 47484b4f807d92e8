"""Speed and stability of hand-made learning curves."""

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.stats import curves

STEPS = [0, 100, 200, 400]


def test_the_area_is_the_mean_height():
    assert float(curves.area_under_curve(STEPS, [3.0] * 4)) == 3.0
    # trapezoids of width 100, 100 and 200
    assert float(curves.area_under_curve(STEPS, [0.0, 1.0, 1.0, 2.0])) == (0.5 * 100 + 1 * 100 + 1.5 * 200) / 400
    with pytest.raises(ValueError, match="two points"):
        curves.area_under_curve([0], [1.0])


def test_steps_to_threshold_is_the_first_crossing_censored_where_there_is_none_and_nan_where_missing():
    values = [[0.0, 1.0, 0.5, 2.0], [0.0, 0.1, 0.2, 0.3], [1.0, 0.0, 0.0, 0.0], [np.nan] * 4]
    np.testing.assert_array_equal(curves.steps_to_threshold(STEPS, values, 1.0), [100, np.inf, 0, np.nan])


def test_drawdown_is_the_mean_share_of_the_running_best_lost():
    assert float(curves.relative_drawdown([0.1, 0.5, 0.6])) == 0.0
    assert float(curves.relative_drawdown([1.0, 0.5, 1.0, 0.0])) == (0 + 0.5 + 0 + 1) / 4
    assert float(curves.relative_drawdown([0.2, -0.8])) == 0.5  # at most everything is lost
    assert float(curves.relative_drawdown([-1.0, -2.0])) == 0.0  # nothing was ever gained


def test_curve_metrics_has_a_row_per_run_and_mode(results):
    results.block("s", "cartpole", "a", [0, 1], lambda seed, share: 22.2 + 477.8 * share * (1 - 0.5 * seed))
    records = load.read(["s"], results.root)
    table = records.curves
    found = curves.curve_metrics(table, 0.8)
    chosen = found[found["mode"] == "deterministic"].sort_values("seed")
    np.testing.assert_allclose(chosen["area"], [0.5, 0.25])
    np.testing.assert_array_equal(chosen["steps_to_threshold"], [800, np.inf])
    np.testing.assert_allclose(chosen["drawdown"], 0.0)


def test_curve_metrics_of_nothing_is_an_empty_table():
    empty = pd.DataFrame(columns=[*curves.RUN, "step", "return_normalised"])
    assert curves.curve_metrics(empty, 0.5).empty
