"""Words of ranking: none from one seed, and never more often wrong than is said."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.claims.comparisons import ALPHA, ranks

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
SCORES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(100.0, 20.0, shape),
    "skewed": lambda rng, shape: rng.lognormal(0.0, 1.5, shape),
    "all or nothing": lambda rng, shape: 500.0 * (rng.random(shape) < 0.5),
}


def runs(scores: np.ndarray, tasks: int = 1) -> pd.DataFrame:
    """Runs whose final scores are (tasks, seeds, arms), the same in both modes; NaN where a seed is missing."""
    rows = [
        {
            "task": f"task-{task}",
            "arm": f"arm-{arm}",
            "seed": seed,
            "final_stochastic": scores[task, seed, arm],
            "final_deterministic": scores[task, seed, arm],
        }
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
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_five_pairs_or_fewer_tell_nobody_apart(kind: str, seeds: int) -> None:
    """The least p of five pairs is 2/2^5 = .0625."""
    assert wrong_tables(kind, seeds, arms=3, tables=3) == 0


@pytest.mark.parametrize("kind", SCORES)
def test_of_two_equal_arms_one_is_called_ahead_as_seldom_as_is_said(kind: str) -> None:
    """Of 40 tables at 5 %, 8 or more are wrong with a probability of 7e-4."""
    assert wrong_tables(kind, seeds=10, arms=2, tables=40) < 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 10, 20])
@pytest.mark.parametrize("arms", range(2, 9))
def test_of_equal_arms_none_is_called_ahead_more_often_than_is_said(kind: str, seeds: int, arms: int) -> None:
    """Of 100 tables at 5 %, 14 or more are wrong with a probability of 5e-4."""
    assert wrong_tables(kind, seeds, arms, tables=100) < 14


def test_one_seed_ranks_nobody() -> None:
    assert marks([10.0], [1.0], [0.0]) == ["", "", ""]


def test_an_arm_with_one_seed_has_no_rank_beside_others() -> None:
    nan = float("nan")
    many = [[10.0 + k for k in range(10)], [1.0 + k for k in range(10)], [99.0] + [nan] * 9]
    assert marks(*many) == ["highest", "behind", ""]


def test_eight_pairs_that_all_agree_tell_two_arms_apart_and_five_do_not() -> None:
    """Two-sided p: 2/2^8 = .0078, doubled by the family of both modes; of five pairs .0625."""
    first = [float(k * k) for k in range(8)]
    second = [value - 1 for value in first]
    assert marks(first, second) == ["highest", "behind"]
    assert marks(second, first) == ["behind", "highest"]
    assert marks(first[:5], second[:5]) == ["highest", "tied"]


def test_equal_scores_are_tied() -> None:
    assert marks([1.0] * 20, [1.0] * 20) == ["highest", "tied"]


def test_pairs_that_contradict_the_means_say_nothing() -> None:
    """The second arm's mean is higher for a seed that the first has not; where both are, the first is higher."""
    nan = float("nan")
    first, second = [float(k) for k in range(12)] + [nan], [k - 1.0 for k in range(12)] + [1e6]
    assert marks(first, second) == ["tied", "highest"]


def test_the_family_is_every_pair_of_every_task_and_mode() -> None:
    """Two pairs of arms at p = 2/2^10: told apart on one task, not in a family of 3 × 10 × 2."""
    base = np.arange(10.0)[None, :, None] + np.array([0.0, -1.0, -2.0, -3.0, -4.0])
    alone = ranks(runs(base[:, :, :2]))
    assert list(alone["mark"]) == ["highest", "behind"] * 2
    together = ranks(runs(np.repeat(base, 3, axis=0), 3))
    assert ALPHA < 2 / 2**10 * 60
    assert set(together["mark"]) == {"highest", "tied"}


def test_no_scores_no_ranks() -> None:
    assert ranks(runs(np.full((1, 3, 2), np.nan))).empty
