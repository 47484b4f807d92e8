"""Shares of kinds of episodes, of what is learned and of its noise."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from bench.lab.estimators import Batches, Variant, gradients
from bench.lab.fairness import is_told_from_zero, kind_quantities
from bench.lab.policies import NetworkPolicy, TableCritic
from bench.lab.simulate import RewardProcess
from bench.lab.true_gradient import exact_kind_shares
from bench.lab.truth import solution
from bench.tasks.base import Array
from bench.tasks.exact import ExactTask
from tests.lab.conftest import arm, policy_of


def test_shares_of_kinds_of_episodes() -> None:
    """Two kinds whose gradients have lengths 1 and 3 and variances 4 and 1 per dimension."""
    rng = np.random.default_rng(8)
    kind = rng.integers(2, size=1600)
    mean = np.zeros((1600, 10))
    mean[kind == 0, 0], mean[kind == 1, 1] = 1.0, 3.0
    found = mean + np.where(kind == 0, 2.0, 1.0)[:, None] * rng.standard_normal((1600, 10))
    scores = rng.standard_normal((1600, 10))
    quantities = kind_quantities(found, scores, np.repeat(np.arange(200), 8), kind, ["one", "other"])
    for name, learning, noise in (("one", 0.25, 0.8), ("other", 0.75, 0.2)):
        for quantity, expected in (("learning_share", learning), ("variance_share", noise)):
            quantity = quantities[name][quantity]
            assert abs(quantity.value - expected) < 4 * quantity.error


def test_no_share_is_made_up_where_a_kinds_mean_is_not_told_from_zero() -> None:
    """One kind learns, the other is noise around zero: what of it would be learned is unknown, its noise is known."""
    rng = np.random.default_rng(12)
    kind = np.tile([0, 1], 400)
    found = rng.standard_normal((800, 10))
    found[kind == 0, 0] += 1.0
    quantities = kind_quantities(
        found, rng.standard_normal((800, 10)), np.repeat(np.arange(100), 8), kind, ["one", "other"]
    )
    for name in ("one", "other"):
        assert np.isnan(quantities[name]["learning_share"].value)
        assert abs(quantities[name]["variance_share"].value - 0.5) < 4 * quantities[name]["variance_share"].error


def test_no_share_is_made_up_where_the_sample_lacks_rare_actions() -> None:
    """One of two actions has a probability of 1e-5 and was never drawn: every score is the other's, 1e-5 (1, -1)."""
    rng = np.random.default_rng(14)
    scores = np.tile([1e-5, -1e-5], (800, 1))
    rewards = rng.random((800, 1))
    quantities = kind_quantities(
        rewards * scores, scores, np.repeat(np.arange(100), 8), np.tile([0, 1], 400), ["one", "other"]
    )
    assert np.isnan([quantity.value for of_kind in quantities.values() for quantity in of_kind.values()]).all()


class Answers(NamedTuple):
    """Batches of answers of the two brothers, the score of each answer, and each brother's true share."""

    policy: NetworkPolicy
    batches: Batches
    scores: Array
    true: dict[str, float]


@pytest.fixture(scope="module")
def answers() -> Answers:
    config = arm("exam_question", "none", "monte_carlo", "hidden=[8,8]")
    with torch.no_grad():
        policy = policy_of(config, spread=1.0)
        task = policy.task
        assert isinstance(task, ExactTask)
        count, size = 300, 128
        episodes = RewardProcess(policy, config.gamma).from_start(np.random.default_rng(1), count * size)
        critic = TableCritic(task, solution(task, policy, config.gamma).value)
        batches = Batches.of(episodes, size, {"exact": critic})
        scores = gradients(policy, episodes, torch.from_numpy(episodes.live.astype(float)).unsqueeze(2)).numpy()
        return Answers(policy, batches, scores, exact_kind_shares(task, policy, config.gamma))


@pytest.mark.parametrize("baseline", ["none", "critic", "rloo", "group", "time_mean"])
def test_the_brothers_shares_under_unbiased_baselines_are_those_of_the_true_gradient(
    answers: Answers, baseline: str
) -> None:
    """Every one of these leaves E[ĝ | brother] as it is, but for a factor that the brothers have in common."""
    policy, batches, scores, true = answers
    assert sum(true.values()) == pytest.approx(1)
    assert true["younger"] != pytest.approx(0.5, abs=0.02)
    config = arm("exam_question", baseline, "monte_carlo", "hidden=[8,8]")
    variant = Variant(config, "exact" if config.has_critic else "none")
    found = gradients(policy, batches.episodes, batches.advantages(variant).flatten(1).unsqueeze(2)).numpy()
    kinds = policy.task.kind(batches.episodes.states[0])
    batch = np.repeat(np.arange(300), batches.n_envs)
    quantities = kind_quantities(found, scores, batch, kinds, list(true))
    for name, share in true.items():
        quantity = quantities[name]["learning_share"]
        assert abs(quantity.value - share) < 4 * quantity.error < 0.2


def test_means_of_zero_are_told_from_zero_as_rarely_as_the_level_says() -> None:
    """300 times 40 vectors in 3 dimensions, one far larger: at a level of .001 more than 3 errors have p = .0003."""
    rng = np.random.default_rng(13)
    vectors = rng.standard_normal((300, 40, 3)) * np.array([10.0, 1.0, 1.0])
    assert sum(is_told_from_zero(each @ each.T) for each in vectors) <= 3
    assert all(is_told_from_zero(each @ each.T) for each in vectors[:20] + np.array([10.0, 0.0, 0.0]))
