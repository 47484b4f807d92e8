"""Differences to the control: pairs, exact p-values, reference lines and power."""

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.claims import comparisons
from analysis.tables.comparisons import control_table


@pytest.fixture
def compared(results) -> pd.DataFrame:
    """Three arms: the control, one that is 5 better on every seed, one that collects otherwise."""
    results.block("s", "cartpole", "control", range(6), lambda seed, _: 100.0 + seed, collect="episodes")
    results.block("s", "cartpole", "better", range(6), lambda seed, _: 105.0 + seed, collect="episodes", k=1)
    results.block("s", "cartpole", "ppo", range(6), lambda seed, _: 400.0 + seed, collect="segments", k=2)
    results.study("s", [{"task": "cartpole", "arm": "never", "seeds": range(6), "collect": "episodes", "k": 3}])
    return load.read(["s"], results.root).runs


def test_a_paired_difference_to_the_control_has_its_exact_p_and_counts_planned_comparisons(compared):
    found = comparisons.against_control(compared, "control", reps=200).set_index("arm").loc["better"]
    assert found["pairs"] == 6
    assert found["difference"] == found["difference_low"] == found["difference_high"] == pytest.approx(5.0)
    assert found["p"] == 2 / 2**6
    assert found["p_holm"] == 2 * found["p"]  # the arm that was never run is in the family too
    assert found["correlation"] == pytest.approx(1.0)
    assert found["improvement"] == pytest.approx(35.5 / 36)  # one tie


def test_an_arm_that_collects_otherwise_is_a_reference_line_not_a_test(compared):
    found = comparisons.against_control(compared, "control", reps=50)
    row = found.set_index("arm").loc["ppo"]
    assert row["reason"] == "reference line: collect=segments, the control's is episodes"
    assert np.isnan(row["p"])
    text = control_table(found, "control").sections[0].rows
    assert ("ppo", "–", row["reason"], "–", "–", "–", "–") in text


def test_a_comparison_without_pairs_is_a_dash(compared):
    rows = control_table(comparisons.against_control(compared, "control", reps=50), "control").sections[0].rows
    assert next(row for row in rows if row[0] == "never")[1:] == ("0", "–", "–", "–", "–", "–")


def test_power_is_that_of_the_adjusted_level_and_the_fewest_pairs(compared):
    found = comparisons.power(comparisons.against_control(compared, "control", reps=50))
    assert (found.comparisons, found.pairs) == (2, 6)
    assert found.correlation == pytest.approx(1.0)
    assert found.detectable > 1.4
