"""Evaluation rows against the world they come from."""

import numpy as np
import pytest
import torch

from bench.learner.actor import Actor
from bench.learner.distributions import Categorical
from bench.learner.evaluate import evaluate
from bench.learner.network import Stack
from bench.tasks.weekly_exam import WeeklyExamCheat

HONEST, CHEAT = 1, 4


def always(*actions: int) -> Actor:
    """One replica for each action, which it always takes."""
    stack = Stack(len(actions), 4, (32, 32), 5)
    for replica, action in enumerate(actions):
        stack.weights[5][replica, action] = 100.0
    return Actor(stack, Categorical, None)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_the_true_return_stands_beside_the_reported_one() -> None:
    """Sixteen weeks of cheating report thirty points a week too many; studying reports the truth."""
    rows = evaluate(always(HONEST, CHEAT), WeeklyExamCheat(), seeds=[3, 4], index=2, episodes=5)
    assert len(rows) == 2 * 2 * 5
    for row in rows:
        faked = 16 * 0.3 if row["seed"] == 4 else 0.0
        assert row["return"] - row["true_return"] == pytest.approx(faked, abs=1e-9)
        assert row["length"] == 16
    for row in rows:  # whose episode it is, of two brothers, and nothing of the other
        (own,) = row.keys() & {"return_of_elder", "return_of_younger"}
        assert row[own] == row["return"]
        assert row.keys() - {own} == {"seed", "mode", "episode", "return", "true_return", "length"}


def test_shift_and_cap_change_the_return_and_not_the_true_one() -> None:
    plain, changed = (
        evaluate(always(HONEST), task, seeds=[3], index=0, episodes=5)
        for task in (WeeklyExamCheat(), WeeklyExamCheat(reward_shift=2.0, reward_cap=0.0))
    )
    assert [row["true_return"] for row in changed] == [row["true_return"] for row in plain]
    assert np.array([row["return"] for row in changed]) == pytest.approx(np.full(10, 32.0), abs=0.5)
