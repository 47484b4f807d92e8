"""Negative controls: arms that do not differ are told apart as often as α says, and with the same seeds not at all.

A pair of identical arms of ten seeds each goes through training in lockstep and the analysis' own test. The exact test
of ten pairs rejects at α = .05 where the observed mean is among the 50 most extreme of the 1024 patterns of signs (the
next two would make it 52/1024 > .05), so that is its level; the number of rejections must lie within the central 99.9 %
of the binomial distribution: 7 to 35 of 400.
"""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import binom

from analysis.stats.inference import sign_flip_test
from bench.config.schema import Config
from bench.learner import PolicyGradient
from bench.learner.train import train
from bench.tasks.exam_question import ExamQuestion
from tests.learner.probes import Notes, combined, learner, settings

PAIRS, SEEDS = 400, 10
LEVEL = 50 / 1024
BOUNDS = binom.ppf([0.0005, 0.9995], PAIRS, LEVEL)


def arm(baseline: str, *overrides: str) -> Config:
    return combined(
        baseline, "monte_carlo", "vanilla", "episodes", "task=exam_question", "hidden=[8,8]", "critic.epochs=1",
        "critic.minibatches=1", *overrides,
    )  # fmt: skip


def scores(config: Config, seeds: range, updates: int = 4) -> np.ndarray:
    """Each seed's expected score after training: exact, so that there are no ties to make the test conservative."""
    task = ExamQuestion()
    model = learner(task, config, seeds)
    model.learn(updates * model.batch_limit())
    return expected_scores(model, task)


def expected_scores(model: PolicyGradient, task: ExamQuestion) -> np.ndarray:
    """Σ_context Σ_answer π(answer) points / 100, over the four contexts, (S,)."""
    observations = torch.eye(4).expand(len(model.seeds), 4, 4)
    with torch.no_grad():
        policy = model.policy.acting().policy(observations)
        log_prob = [policy.log_prob(torch.full((len(model.seeds), 1, 4), answer)) for answer in range(4)]
    probability = torch.stack(log_prob, 2).exp().double().numpy()  # (S, context, answer)
    points = task.setting.points.reshape(4, 4) / 100
    return (probability * points).sum(2).mean(1)


def rejections(differences: np.ndarray) -> int:
    """How many of the pairs of arms (PAIRS, SEEDS) the analysis calls different at α = .05."""
    rng = np.random.default_rng(0)
    return sum(sign_flip_test(pair, rng) <= 0.05 for pair in differences)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["critic", "grpo"])
def test_identical_arms_with_different_seeds_differ_as_often_as_alpha_says(baseline: str) -> None:
    found = scores(arm(baseline), range(PAIRS * 2 * SEEDS)).reshape(PAIRS, 2, SEEDS)
    assert BOUNDS.tolist() == [7, 35]
    assert np.unique(found).size > 0.99 * found.size, "ties would make the test conservative"
    assert BOUNDS[0] <= rejections(found[:, 0] - found[:, 1]) <= BOUNDS[1]


@pytest.mark.slow
def test_different_arms_are_told_apart() -> None:
    """The same test has power: without a baseline the same seeds learn less of the question in the same steps."""
    seeds = range(50 * SEEDS)
    difference = scores(arm("critic"), seeds, 20) - scores(arm("none", "learning_rate=1e-30"), seeds, 20)
    assert rejections(difference.reshape(50, SEEDS)) > 45


def test_identical_arms_with_the_same_seeds_differ_by_nothing() -> None:
    """Not by a rounding error: every evaluation episode and diagnostic is the same, so every difference is 0."""
    config = settings(
        "task=exam_question",
        "budget=256",
        "evaluation.points=2",
        "hidden=[32,32]",
        "seeds=10",
        "update=vanilla",
        "critic.epochs=1",
        "sample_solved=true",
    )
    notes = [Notes(), Notes()]
    for one in notes:
        train(dataclasses.replace(config, name=f"arm-{id(one)}"), config.seeds, one)
    first, second = (np.array([row["return"] for row in one.evaluations]) for one in notes)
    assert len(first) == 3 * 2 * 20 * 10
    assert np.ptp(first) > 0
    assert (first - second == 0).all()
    assert sign_flip_test(first[:10] - second[:10], np.random.default_rng(0)) == 1.0
    np.testing.assert_equal(notes[0].updates, notes[1].updates)
