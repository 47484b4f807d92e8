"""Means and variances of evaluations, by hand."""

import math
import random

import pyarrow.parquet as pq
import pytest

from bench.records.tables import CURVES, curve_rows, write_rows


def episodes(returns, *, seed=0, step=0, mode="stochastic", **further):
    return [
        {"seed": seed, "step": step, "mode": mode, "episode": episode, "return": value, "length": 10 + episode}
        | {name: values[episode] for name, values in further.items()}
        for episode, value in enumerate(returns)
    ]


def test_a_point_has_the_means_and_the_unbiased_variances_of_its_episodes():
    """(1 + 2 + 6)/3 = 3 and (4 + 1 + 9)/2 = 7; lengths 10, 11, 12: 11 and 1; scores 0, 0, 3: 1 and 3."""
    (row,) = curve_rows(episodes([1.0, 2.0, 6.0], seed=3, step=50, true_return=[0.0, 0.0, 3.0]))
    assert row == {
        "seed": 3,
        "step": 50,
        "mode": "stochastic",
        "episodes": 3,
        "return": 3.0,
        "return_variance": 7.0,
        "length": 11.0,
        "length_variance": 1.0,
        "true_return": 1.0,
        "true_return_variance": 3.0,
    }


def test_exact_returns_stand_beside_the_means_of_the_same_point():
    exact = [{"seed": 3, "step": 50, "mode": mode, "exact_return": value} for mode, value in (("x", 1.0), ("y", 2.0))]
    rows = [*episodes([1.0], seed=3, step=50, mode="x"), *episodes([5.0], seed=3, step=60, mode="y")]
    with_one, alone, without = curve_rows(rows, exact)
    assert (with_one["return"], with_one["exact_return"]) == (1.0, 1.0)
    assert "exact_return_variance" not in with_one
    assert "exact_return" not in without
    assert (alone["mode"], alone["return"], alone["exact_return"]) == ("y", 2.0, 2.0)


def test_where_no_episode_was_sampled_the_means_are_the_exact_ones():
    exact = {"seed": 3, "step": 50, "mode": "x", "exact_return": 1.5, "exact_length": 7.0, "exact_true_return": 0.5}
    (row,) = curve_rows([], [exact])
    means = {"return": 1.5, "length": 7.0, "true_return": 0.5}
    assert row == {**exact, "episodes": 0, **means, **{f"{name}_variance": None for name in means}}


def test_returns_of_kinds_of_episodes_are_the_means_over_those_of_the_kind():
    """(1 + 2)/2 = 1.5 and .5 of the elder's; the younger has one at the first point and none at the second."""
    first = episodes([1.0, 2.0, 6.0])
    for row, kind in zip(first, ("elder", "elder", "younger"), strict=True):
        row[f"return_of_{kind}"] = row["return"]
    second = [{**row, "return_of_elder": row["return"], "return_of_younger": None} for row in episodes([4.0], step=1)]
    one, other = curve_rows([*first, *second])
    assert (one["return_of_elder"], one["return_of_elder_variance"]) == (1.5, 0.5)
    assert (one["return_of_younger"], one["return_of_younger_variance"]) == (6.0, None)
    assert (other["return_of_elder"], other["return_of_elder_variance"]) == (4.0, None)
    assert not [name for name in other if "younger" in name]


def test_exact_returns_of_kinds_stand_alone():
    exact = {"seed": 3, "step": 50, "mode": "x", "exact_return": 1.5, "exact_return_of_elder": 2.0}
    (row,) = curve_rows([], [exact])
    assert row == {**exact, "episodes": 0, "return": 1.5, "return_variance": None}


def test_a_single_episode_has_no_variance_and_equal_ones_none_to_speak_of():
    single, equal = curve_rows([*episodes([5.0]), *episodes([0.1] * 10, step=1)])
    assert (single["episodes"], single["return"], single["return_variance"]) == (1, 5.0, None)
    assert (equal["episodes"], equal["return"], equal["return_variance"]) == (10, 0.1, 0.0)


def test_rows_are_in_the_order_of_seed_step_and_mode_however_the_episodes_come():
    rows = [
        row
        for seed in (10, 2)
        for step in (100, 20)
        for mode in ("stochastic", "deterministic")
        for row in episodes([0.25, 1e16, -1e16, 0.5], seed=seed, step=step, mode=mode)
    ]
    found = curve_rows(rows)
    assert [(row["seed"], row["step"], row["mode"]) for row in found] == [
        (seed, step, mode) for seed in (2, 10) for step in (20, 100) for mode in ("deterministic", "stochastic")
    ]
    assert {row["return"] for row in found} == {0.1875}  # 0.75/4, though 1e16 swallows both where it is added first
    assert curve_rows(random.Random(0).sample(rows, len(rows))) == found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, math.inf], math.inf),
        ([-math.inf, 1.0], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([1.0, math.nan], math.nan),
    ],
)
def test_an_episode_that_is_not_finite_shows(values, expected):
    (row,) = curve_rows(episodes(values))
    assert row["episodes"] == 2
    assert row["return"] == pytest.approx(expected, nan_ok=True)
    assert math.isnan(row["return_variance"])


def test_returns_at_the_end_of_the_floats_have_a_mean():
    (row,) = curve_rows(episodes([1.5e308, 1.5e308, -1.5e308]))
    assert row["return"] == pytest.approx(0.5e308)
    assert row["return_variance"] == math.inf


def test_they_are_read_back_as_they_were(tmp_path):
    rows = curve_rows([*episodes([1.0, 2.0], true_return=[0.5, 0.25]), *episodes([4.0], step=7, true_return=[1.0])])
    write_rows(CURVES, rows, tmp_path / "c")
    table = pq.read_table(tmp_path / "c")
    assert table.to_pylist() == rows
    assert {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)} == {
        "seed": "int32",
        "step": "int64",
        "mode": "string",
        "episodes": "int32",
        "return": "double",
        "return_variance": "double",
        "length": "double",
        "length_variance": "double",
        "true_return": "double",
        "true_return_variance": "double",
    }


def test_a_block_whose_seeds_all_failed_has_a_table_without_rows(tmp_path):
    write_rows(CURVES, curve_rows([]), tmp_path / "c")
    table = pq.read_table(tmp_path / "c")
    assert (len(table), table.schema.names[:5]) == (0, ["seed", "step", "mode", "episodes", "return"])
