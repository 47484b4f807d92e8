"""The statistics against rliable's (arXiv 2108.13264), recorded by `record_rliable.py`."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import stats

RECORDED = json.loads(Path(__file__).with_name("rliable.json").read_text())
X, Y = np.array(RECORDED["x"]), np.array(RECORDED["y"])


@pytest.mark.parametrize("name", ["iqm", "mean", "median", "optimality_gap"])
def test_point_estimates_are_rliables(name):
    assert float(getattr(stats, name)(X)) == pytest.approx(RECORDED[name], abs=1e-12)


def test_probability_of_improvement_is_rliables():
    assert float(stats.probability_of_improvement(X, Y)) == pytest.approx(RECORDED["probability_of_improvement"])


def test_performance_profile_is_rliables():
    np.testing.assert_allclose(stats.performance_profile(X, RECORDED["taus"]), RECORDED["profile"])


@pytest.mark.parametrize("name", ["iqm", "mean"])
def test_intervals_agree_with_rliables(name):
    found = stats.interval(X, getattr(stats, name), 20_000, 0.95, np.random.default_rng(1))
    np.testing.assert_allclose(found[1:], RECORDED[f"{name}_interval"], atol=0.006)


def test_the_interval_of_improvement_agrees_with_rliables():
    found = stats.improvement_interval(X, Y, 4000, 0.95, np.random.default_rng(1))
    assert found[0] == pytest.approx(RECORDED["probability_of_improvement"])
    np.testing.assert_allclose(found[1:], RECORDED["probability_of_improvement_interval"], atol=0.012)
