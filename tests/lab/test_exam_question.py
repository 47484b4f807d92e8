"""A single question with a right and a wrong answer: expected gradients in closed form, and the one-sample variance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from bench.arms.advantage import Batch, advantage, dead_group_fraction
from bench.lab.estimators import Batches, Variant, gradients, scores
from bench.lab.policies import TableCritic
from bench.lab.simulate import RewardProcess, starts
from bench.lab.statistics import Vectors, gradient_estimates
from bench.lab.true_gradient import exact_gradients
from bench.lab.truth import solution
from tests.lab.conftest import arm, policy_of

PAIRS = [(0.1, 4), (0.1, 8), (0.3, 8), (0.5, 8), (0.9, 64), (0.02, 3), (0.77, 2), (0.5, 16)]


def expected_gradient(baseline: str, p: float, size: int, ddof: int = 0) -> tuple[float, float]:
    """E ∂/∂logit by enumerating how many of a group are right, through the arms' own code; and the dead share."""
    config = arm("exam_question", baseline, "monte_carlo")
    config = replace(config, group=replace(config.group, groups=1, size=size, ddof=ddof))
    right = torch.arange(size) < torch.arange(size + 1)[:, None]  # replica K has K right answers
    rewards = right.double()[None]
    yes = torch.ones_like(right)[None]
    batch = Batch(rewards, yes, ~yes, yes, None, None)
    score = right.double() - p  # ∂ log π(a)/∂logit of the right answer
    gradient = (advantage(batch, config)[0] * score).mean(1)
    chance = torch.from_numpy(stats.binom.pmf(np.arange(size + 1), size, p))
    return float(chance @ gradient), float(chance @ dead_group_fraction(batch, config))


@pytest.mark.parametrize(("p", "size"), PAIRS)
def test_group_gradients_equal_their_closed_forms(p: float, size: int) -> None:
    right = np.arange(size + 1)
    spread = float(stats.binom.pmf(right, size, p) @ np.sqrt(right * (size - right))) / size
    true = p * (1 - p)
    assert expected_gradient("rloo", p, size)[0] == pytest.approx(true, rel=1e-9)
    assert expected_gradient("group", p, size)[0] == pytest.approx((1 - 1 / size) * true, rel=1e-9)
    assert expected_gradient("none", p, size)[0] == pytest.approx(true, rel=1e-9)
    grpo, dead = expected_gradient("grpo", p, size)
    assert grpo == pytest.approx(spread, rel=1e-6)
    assert dead == pytest.approx(p**size + (1 - p) ** size, rel=1e-6)
    sample = expected_gradient("grpo", p, size, ddof=1)[0]
    assert sample == pytest.approx(spread * np.sqrt((size - 1) / size), rel=1e-6)


def test_the_table_that_is_in_print() -> None:
    """Rounded values worked out apart from this code."""
    for p, size, grpo, group in ((0.1, 4, 0.1521, 0.0675), (0.3, 8, 0.4122, 0.1837), (0.9, 64, 0.2929, 0.0886)):
        assert expected_gradient("grpo", p, size)[0] == pytest.approx(grpo, abs=5e-5)
        assert expected_gradient("group", p, size)[0] == pytest.approx(group, abs=5e-5)


@pytest.mark.parametrize("baseline", ["none", "group", "rloo", "grpo"])
def test_the_measured_gradient_of_a_network_has_the_same_factor(baseline: str) -> None:
    """E ĝ = c g, with c = 1, 1 − 1/G, 1 and E√(K(G − K))/(G p(1 − p)), within 4 standard errors."""
    size, batches = 8, 1500
    config = arm("exam_question", baseline, "monte_carlo", "task.answers=two", "hidden=[8,8]",
                 f"group.size={size}", "group.groups=1")  # fmt: skip
    policy = policy_of(config)
    rng = np.random.default_rng(2)
    p = float(policy.probabilities(starts(policy.task, rng, 1, 1))[1, 0])
    right = np.arange(size + 1)
    grpo = float(stats.binom.pmf(right, size, p) @ np.sqrt(right * (size - right))) / size / (p * (1 - p))
    factor = {"none": 1.0, "group": 1 - 1 / size, "rloo": 1.0, "grpo": grpo}[baseline]
    collected = Batches.of(RewardProcess(policy, 1.0).from_start(rng, batches * size), size, {})
    found = gradients(policy, collected.episodes, collected.advantages(Variant(config, "none"))).numpy()
    (true,) = exact_gradients(policy.task, policy, 1.0)["undiscounted"]  # type: ignore[arg-type]
    along = found @ true / (true @ true)
    assert abs(along.mean() - factor) < 4 * along.std(ddof=1) / np.sqrt(batches)
    across = found - along[:, None] * true
    assert np.abs(across).max() < 1e-4 * np.abs(found).max()  # one logit: there is no other direction


@pytest.mark.parametrize("critic", [False, True])
def test_the_measured_variance_is_the_closed_form(critic: bool) -> None:
    """tr Cov of one episode's gradient: E ‖∇log π‖² ((r − b)² + σ²) − ‖g‖², with and without the exact baseline."""
    config = arm("exam_question", "critic" if critic else "none", "monte_carlo", "hidden=[8,8]")
    policy, episodes = policy_of(config), 3000
    task, model = policy.task, policy.task.model  # type: ignore[attr-defined]
    rng = np.random.default_rng(3)
    solved = solution(task, policy, 1.0)  # type: ignore[arg-type]
    states = task.states()  # type: ignore[attr-defined]
    chances = policy.probabilities(states).T  # (context, answer)
    lengths = np.stack(
        [
            np.square(scores(policy, states, torch.full((1, states.shape[1]), answer)).numpy()).sum(1)
            for answer in range(model.n_actions)
        ],
        1,
    )
    baseline = solved.value.reshape(-1, 1) if critic else 0.0
    second = (chances * lengths * (np.square(model.reward - baseline) + model.reward_variance)).sum(1).mean()
    (true,) = exact_gradients(task, policy, 1.0)["undiscounted"]  # type: ignore[arg-type]
    batches = Batches.of(
        RewardProcess(policy, 1.0).from_start(rng, episodes),
        1,
        {"exact": TableCritic(task, solved.value)} if critic else {},  # type: ignore[arg-type]
    )
    one = replace(config, group=replace(config.group, size=1))
    found = gradients(policy, batches.episodes, batches.advantages(Variant(one, "exact" if critic else "none"))).numpy()
    squares = np.square(found).sum(1)
    assert abs(squares.mean() - second) < 4 * squares.std(ddof=1) / np.sqrt(episodes)
    bias = gradient_estimates(Vectors(found), Vectors(true[None]))["squared_bias"]
    assert abs(bias.value) < 4 * bias.error
