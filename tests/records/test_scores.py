"""The one definition of the final score, by hand."""

import hashlib
import math
import random

import numpy as np
import pytest

from bench.records.scores import final_scores, is_final
from bench.records.tables import CURVES, curve_rows, read_table, write_rows


def table(tmp_path, rows):
    """Rows of (seed, step, mode, return) as they are read back from a block."""
    path = tmp_path / CURVES
    names = ("seed", "step", "mode", "return", "episode", "length")
    episodes = [dict(zip(names, (*row, place, 1), strict=True)) for place, row in enumerate(rows)]
    write_rows(CURVES, curve_rows(episodes), path)
    return read_table(path, hashlib.sha256(path.read_bytes()).hexdigest(), ("seed", "step", "mode", "return"))


def test_it_is_the_mean_of_what_comes_after_nine_tenths_of_the_budget(tmp_path):
    rows = [
        (0, 90, "stochastic", 1000.0),  # not after
        (0, 91, "stochastic", 1.0),
        (0, 100, "stochastic", 4.0),
        (0, 100, "deterministic", 7.0),
        (3, 100, "stochastic", -2.0),
        (4, 50, "stochastic", 5.0),  # never evaluated that late
    ]
    found = final_scores(table(tmp_path, rows), 100)
    assert found == {(0, "stochastic"): 2.5, (0, "deterministic"): 7.0, (3, "stochastic"): -2.0}


def test_its_last_digit_does_not_depend_on_the_order_and_what_is_not_finite_stays_so(tmp_path):
    """0.1 added ten times is 0.9999999999999999; their mean is 0.1. ∞ − ∞ is no number."""
    rows = [(0, 100, "stochastic", 0.1)] * 10 + [(1, 100, "stochastic", math.inf), (1, 100, "stochastic", -math.inf)]
    found = final_scores(table(tmp_path, rows), 100)
    assert found[0, "stochastic"] == 0.1
    assert math.isnan(found[1, "stochastic"])


def test_it_is_the_mean_over_single_episodes(tmp_path):
    rng = random.Random(0)
    returns = [rng.gauss(50.0, 20.0) for _ in range(60)]
    rows = [(0, step, "stochastic", value) for step, value in zip([92, 96, 100] * 20, returns, strict=True)]
    found = final_scores(table(tmp_path, rows), 100)[0, "stochastic"]
    assert found == pytest.approx(math.fsum(returns) / 60, rel=1e-12, abs=0)


def test_every_episode_counts_the_same_where_points_have_other_numbers_of_them(tmp_path):
    """Of 1, 2 at one point and 6 at the next: 9/3, not (1.5 + 6)/2."""
    rows = [(0, 95, "stochastic", 1.0), (0, 95, "stochastic", 2.0), (0, 100, "stochastic", 6.0)]
    assert final_scores(table(tmp_path, rows), 100) == {(0, "stochastic"): 3.0}


@pytest.mark.parametrize("budget", [100, np.array([100.0, 100.0, 1000.0])])
def test_arrays_are_selected_by_the_same_rule(budget):
    assert is_final(np.array([90, 91, 95]), budget).tolist() == [False, True, np.ndim(budget) == 0]
