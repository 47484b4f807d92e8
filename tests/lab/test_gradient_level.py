"""What batches say of gradients, and what they cannot say."""

import numpy as np
import pytest
import torch

from bench.lab.estimators import Batches
from bench.lab.gradient_level import _judged, _lacks_actions
from bench.lab.simulate import RewardProcess
from bench.lab.statistics import Vectors
from tests.lab.conftest import arm, policy_of


@pytest.mark.parametrize(("task", "logit", "expected"), [
    ("exam_question", 0.0, False),
    ("exam_question", 16.0, True),  # the other actions have probabilities of 1e-7
    ("random_walk", 0.0, False),
    ("random_walk", 16.0, True),
])  # fmt: skip
def test_a_sample_without_the_rare_actions_of_a_policy_is_told(task: str, logit: float, expected: bool) -> None:
    """512 episodes of policies that do anything, or the same in every state."""
    config = arm(task, "none", "monte_carlo", "hidden=[8,8]")
    with torch.no_grad():
        policy = policy_of(config, spread=0.1)
        policy.actor.stack.flat[0, policy.actor.stack.used - 1] += logit  # the last action's bias
        episodes = RewardProcess(policy, config.gamma).from_start(np.random.default_rng(1), 512)
        assert _lacks_actions(policy, Batches.of(episodes, 8, {})) is expected


def test_of_a_sample_that_lacks_rare_actions_only_the_cosine_is_known() -> None:
    """Without them all gradients are alike: their variance would be nearly 0, and their bias that of the sample."""
    rng = np.random.default_rng(2)
    gradients, truth = Vectors(rng.standard_normal((64, 3)) + 1), Vectors(np.array([[1.0, 1.0, 1.0]]))
    whole = _judged(gradients, truth, None, told=True, lacking=False)
    left = _judged(gradients, truth, None, told=True, lacking=True)
    assert left.keys() == whole.keys() > {"cosine", "trace", "trace_absolute", "least_error", "squared_bias"}
    assert not any(np.isnan(each.value) for each in whole.values())
    assert {name for name, each in left.items() if not np.isnan(each.value)} == {"cosine"}
