"""Words of ranking: none from one seed, and never more often wrong than is said."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from analysis.claims.comparisons import ALPHA, ranks, reference_lines
from analysis.load import MODES

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
SCORES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(0.5, 0.1, shape),
    "skewed": lambda rng, shape: np.minimum(rng.lognormal(-3.0, 1.5, shape), 1.0),
    "all or nothing": lambda rng, shape: 1.0 * (rng.random(shape) < 0.5),
}


def runs(scores: np.ndarray, tasks: int = 1) -> pd.DataFrame:
    """Runs whose scores are (tasks, seeds, arms), the same in both modes; NaN where a seed is missing."""
    rows = [
        {"task": f"task-{task}", "arm": f"arm-{arm}", "hash": f"{arm}", "seed": seed, "status": "done"}
        | {f"{name}_{mode}": scores[task, seed, arm] for name in ("final", "normalised") for mode in MODES}
        for task in range(tasks)
        for arm in range(scores.shape[2])
        for seed in range(scores.shape[1])
    ]
    return pd.DataFrame(rows)


def marks(*arms: list[float]) -> list[str]:
    found = ranks(runs(np.array(arms).T[None]))
    return list(found.loc[found["mode"] == "stochastic", "mark"])


def wrong_tables(kind: str, seeds: int, arms: int, tables: int) -> int:
    """In how many of some tables of equal arms one is called behind."""
    rng = np.random.default_rng([seeds, arms])
    drawn = (runs(SCORES[kind](rng, (1, seeds, arms))) for _ in range(tables))
    return sum(bool((ranks(table)["mark"] == "behind").any()) for table in drawn)


@pytest.mark.parametrize("kind", SCORES)
def test_of_two_equal_arms_one_is_called_ahead_as_seldom_as_is_said(kind: str) -> None:
    """Of 40 tables at 5 %, 8 or more are wrong with a probability of 7e-4."""
    assert wrong_tables(kind, seeds=10, arms=2, tables=40) < 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("arms", [2, 3, 5, 8])
def test_of_equal_arms_none_is_called_ahead_more_often_than_is_said(kind: str, seeds: int, arms: int) -> None:
    """Of 100 tables at 5 %, 14 or more are wrong with a probability of 5e-4."""
    assert wrong_tables(kind, seeds, arms, tables=100) < 14


def test_one_seed_ranks_nobody() -> None:
    assert marks([10.0], [1.0], [0.0]) == ["", "", ""]


def test_an_arm_with_one_seed_has_no_rank_beside_others() -> None:
    nan = float("nan")
    many = [[10.0 + k for k in range(10)], [1.0 + k for k in range(10)], [99.0] + [nan] * 9]
    assert marks(*many) == ["highest", "behind", ""]


def test_an_arm_is_behind_where_students_interval_at_its_share_lies_above_zero() -> None:
    """Four pairs of arms and modes that differ by d in standard deviations of the mean: t of 9 at .05/(2 × 3 × 2)."""
    quantile = scipy.stats.t.isf(ALPHA / (3 * 2) / 2, 9)
    wobble = scipy.stats.zscore(np.arange(10.0), ddof=1) / np.sqrt(10)  # its mean has a standard error of .1
    first = 5 + np.zeros(10)
    just, hardly = first - wobble - 1.01 * 0.1 * quantile, first - wobble - 0.99 * 0.1 * quantile
    assert marks(first, just * 1.0, hardly * 1.0) == ["highest", "behind", "tied"]


def test_pairs_that_are_all_equal_are_told_apart_by_the_guarded_interval() -> None:
    """q √(2/(n + 1))/√n: ten such pairs show a difference of .5 of the range; two or three show none, however large."""
    quantile = scipy.stats.t.isf(ALPHA / 2 / 2, 9)
    width = quantile * np.sqrt(2 / 11) / np.sqrt(10)
    assert 0.2 < width < 0.5
    for difference, word in ((width * 1.01, "behind"), (width * 0.99, "tied")):
        assert marks([1.0] * 10, [1.0 - difference] * 10) == ["highest", word]
    assert marks([1.0] * 3, [0.0] * 3) == ["highest", "tied"]


def test_a_run_that_failed_counts_as_a_random_policy() -> None:
    """The mean over what is left is higher, and yet the arm that fails in half of its runs is behind."""
    table = runs(np.array([[0.9] * 10, [0.8 + 0.001 * k for k in range(10)]]).T[None])
    failed = (table["arm"] == "arm-0") & (table["seed"] < 9)
    table.loc[failed, [column for column in table if column.endswith(MODES)]] = np.nan
    table.loc[failed, "status"] = "failed"
    assert list(ranks(table)["mark"]) == ["behind", "highest"] * 2


def test_a_reference_line_is_never_the_best() -> None:
    """It collects otherwise than the control; without a control, otherwise than most."""
    base = np.arange(10.0)[None, :, None] / 100 + np.array([0.0, 0.1, 0.8])
    table = runs(base)
    table["collect"] = np.where(table["arm"] == "arm-2", "segments", "episodes")
    for control in (None, "arm-0"):
        assert reference_lines(table, control) == {("task-0", "arm-2")}
        assert list(ranks(table, control)["mark"])[:3] == ["tied", "highest", "reference"]
    assert reference_lines(table, "arm-2") == {("task-0", "arm-0"), ("task-0", "arm-1")}


def test_equal_scores_are_tied() -> None:
    assert marks([1.0] * 20, [1.0] * 20) == ["highest", "tied"]


def test_pairs_that_contradict_the_means_say_nothing() -> None:
    """The second arm's mean is higher for a seed that the first has not; where both are, the first is higher."""
    nan = float("nan")
    first, second = [float(k) for k in range(12)] + [nan], [k - 1.0 for k in range(12)] + [1e6]
    assert marks(first, second) == ["tied", "highest"]


def test_the_family_is_every_pair_of_every_task_and_mode() -> None:
    """Two arms apart by 5 standard errors: told apart in a family of 2 pairs, not in one of 3 × 10 × 2."""
    wobble = scipy.stats.zscore(np.arange(10.0), ddof=1) / np.sqrt(10) / 10
    few, many = (scipy.stats.t.isf(ALPHA / pairs / 2, 9) for pairs in (2, 60))
    gap = 0.01 * (few + many) / 2  # in units of the standard error, .01
    arms = np.stack([np.full(10, 0.9), 0.9 - gap - wobble, *[0.9 - gap + (k + 2) * wobble for k in range(3)]], axis=1)
    assert list(ranks(runs(arms[None, :, :2]))["mark"]) == ["highest", "behind"] * 2
    assert set(ranks(runs(np.repeat(arms[None], 3, axis=0), 3))["mark"]) == {"highest", "tied"}


def test_no_scores_no_ranks() -> None:
    assert ranks(runs(np.full((1, 3, 2), np.nan))).empty
