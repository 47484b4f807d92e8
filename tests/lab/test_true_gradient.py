"""The true policy gradient, exact or rolled out."""

import numpy as np
import pytest

from bench.lab import true_gradient
from bench.lab.estimators import Batches, Variant, gradients
from bench.lab.policies import TableCritic
from bench.lab.simulate import RewardProcess
from bench.lab.statistics import Vectors, gradient_estimates
from bench.lab.true_gradient import RolledOutGradient, exact_gradients
from bench.lab.truth import solution
from tests.lab.conftest import arm, policy_of


def test_the_exact_gradient_is_what_unbiased_estimators_aim_at() -> None:
    """Monte Carlo and an exact critic's GAE agree with the exact gradient in every direction, γ^t weights or none."""
    config = arm("weekly_exam", "critic", "gae", "gamma=0.9", "hidden=[8,8]")
    policy, count = policy_of(config), 1500
    rng = np.random.default_rng(5)
    value = solution(policy.task, policy, 0.9).value  # type: ignore[arg-type]
    episodes = RewardProcess(policy, 0.9).from_start(rng, count)
    batches = Batches.of(episodes, 1, {"exact": TableCritic(policy.task, value)})  # type: ignore[arg-type]
    advantages = batches.advantages(Variant(config, "exact"))
    truth = exact_gradients(policy.task, policy, 0.9)  # type: ignore[arg-type]
    for weights, name in ((None, "undiscounted"), (0.9 ** np.arange(16), "discounted")):
        found = gradients(policy, episodes, advantages, weights).numpy()
        bias = gradient_estimates(Vectors(found), Vectors(truth[name]))["squared_bias"]
        assert abs(bias.value) < 4 * bias.error
        assert bias.error < 0.02
    wrong = gradient_estimates(Vectors(found), Vectors(truth["undiscounted"]))["squared_bias"]
    assert wrong.value > 4 * wrong.error  # the weights matter, and would be noticed


def test_merged_blocks_of_the_true_gradient_keep_its_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most `MOST_BLOCKS` blocks are kept, each the mean of as many neighbours, from the same steps."""
    config = arm("cartpole", "critic", "gae", "task.time_limit=20", "hidden=[8,8]")
    policy = policy_of(config)
    process = RewardProcess(policy, 0.99)
    found = []
    for most in (64, 8):
        monkeypatch.setattr(true_gradient, "MOST_BLOCKS", most)
        rolled = RolledOutGradient(process, policy, None, 2, lambda *keys: np.random.default_rng([5, *keys]))
        for blocks in (8, 8, 16, 32):
            rolled.add(blocks)
        found.append(rolled)
    apart, merged = found[0].truth(), found[1].truth()
    assert found[0].steps == found[1].steps
    for weights in ("discounted", "undiscounted"):
        assert (len(apart[weights]), len(merged[weights])) == (64, 8)
        np.testing.assert_allclose(merged[weights], apart[weights].reshape(8, 8, -1).mean(1), rtol=1e-6, atol=1e-9)
