"""The engine's policy gradient in the exam question, from collection to the actor's gradient, against closed forms.

A linear policy over one-hot contexts is a table of logits: the gradient of its weights is that of the table.
"""

import math

import numpy as np
import pytest
import torch

from bench.learner.actor import Actor
from bench.learner.distributions import Categorical
from bench.learner.estimation import estimate
from bench.learner.network import Stack
from bench.learner.rates import Rates
from bench.learner.rollout import Collector
from bench.learner.update import actor_gradient
from bench.seeding import stream
from bench.tasks.batched import BatchedEnv
from bench.tasks.exam_question import ExamQuestion
from tests.learner.probes import combined

REPLICAS, EPISODES = 40, 256


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def gradients(task: ExamQuestion, table: np.ndarray, baseline: str, size: int) -> np.ndarray:
    """∂/∂logits (replica, context, answer) of each replica's batch, at a policy (context, answer)."""
    contexts, answers = table.shape
    groups = ("task=exam_question", f"group.groups={EPISODES // size}", f"group.size={size}")
    arm = combined(baseline, "monte_carlo", "vanilla", "episodes", *groups)
    stack = Stack(REPLICAS, contexts, (), answers)
    stack.weights[0].copy_(torch.from_numpy(np.log(table).T))
    env = BatchedEnv(task, range(REPLICAS), arm.n_envs)
    collector = Collector(env, [stream(seed, "action") for seed in range(REPLICAS)])
    actor = Actor(stack, Categorical, None)
    rollout = collector.whole_episodes(actor, size, lambda *_: True)
    assert rollout is not None
    samples, _ = estimate(rollout, actor, None, arm)
    nothing = torch.zeros(REPLICAS, 1)
    actor_gradient(actor, samples, arm, Rates(np.zeros(0), np.zeros(0), nothing, nothing, nothing))
    by_answer = stack.grad[:, : answers * contexts].view(REPLICAS, answers, contexts)
    return -by_answer.double().numpy().transpose(0, 2, 1)


def assert_mean(samples: np.ndarray, expected: np.ndarray) -> None:
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - expected) < 4.5 * error + 1e-7).all()
    assert (error < 0.02).all()


def two_answers(kind: str, p: float, size: int) -> float:
    """E of the gradient by the right answer's logit, K ~ Bin(G, p) right answers enumerated."""
    if kind == "grpo":
        chances = [math.comb(size, k) * p**k * (1 - p) ** (size - k) for k in range(size + 1)]
        return sum(chance * math.sqrt(k * (size - k)) / size for k, chance in enumerate(chances))
    return p * (1 - p) * (1 if kind in ("none", "rloo") else 1 - 1 / size)


@pytest.mark.parametrize(("p", "size"), [(0.1, 4), (0.7, 8)])
@pytest.mark.parametrize("kind", ["none", "group", "rloo", "grpo"])
def test_with_two_answers(kind: str, p: float, size: int) -> None:
    found = gradients(ExamQuestion(answers="two"), np.array([[1 - p, p]]), kind, size)
    expected = two_answers(kind, p, size)
    assert_mean(found, np.array([[-expected, expected]]))
    if kind == "grpo":
        assert expected > 1.5 * p * (1 - p), "its gradient is that of another objective"


@pytest.mark.parametrize("kind", ["none", "rloo"])
def test_with_four_answers_unbiased_baselines_give_the_exact_gradient(kind: str) -> None:
    task = ExamQuestion()
    table = np.random.default_rng(0).dirichlet(np.full(4, 2.0), size=(2, 2))
    found = gradients(task, table.reshape(4, 4), kind, 8)
    points = np.array([[70, 90, 85, 85], [65, 75, 85, 80], [20, 60, 50, 50], [10, 30, 50, 40]])
    flat = table.reshape(4, 4)
    assert_mean(found, flat * (points - (flat * points).sum(-1, keepdims=True)) / 400)
