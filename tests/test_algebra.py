"""What is algebra in the statements that claims are about, and so is tested here: no run could refute it.

docs/claims.md names the tests of this file.
"""

import numpy as np
import pytest
import torch

from bench.learner.train import train
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.registry import make
from tests.learner.probes import Notes, learner, settings

POINTS = {  # of docs/tasks.md, by brother: an easy question and a hard one, four answers each
    "elder": [[70, 90, 85, 85], [65, 75, 85, 80]],
    "younger": [[20, 60, 50, 50], [10, 30, 50, 40]],
}
SMALL = ("task=exam_question", "hidden=[8,8]", "budget=64", "evaluation.points=1", "evaluation.episodes=1", "seeds=1")


@pytest.mark.parametrize("baseline", ["none", "one for all", "one for each context", "value"])
def test_a_state_baseline_leaves_both_brothers_gradients(baseline: str) -> None:
    """Σ π(a) ∇log π(a) (r(a) − b) is the same for every b that does not depend on a, summed by hand."""
    rng = np.random.default_rng(3)
    policy = np.exp(rng.normal(size=(4, 4)))
    policy /= policy.sum(1, keepdims=True)
    rewards = np.array([*POINTS["elder"], *POINTS["younger"]]) / 100
    subtracted = {
        "none": np.zeros(4),
        "one for all": np.full(4, 0.7),
        "one for each context": rng.normal(size=4),
        "value": (policy * rewards).sum(1),
    }[baseline]
    gradient = np.zeros((4, 4))
    for context in range(4):
        for answer in range(4):
            direction = np.eye(4)[answer] - policy[context]  # ∇ log π by the logits
            excess = rewards[context, answer] - subtracted[context]
            gradient[context] += policy[context, answer] * direction * excess / 2  # each brother's two questions
    task = ExamQuestion()
    expected = task.gradients(policy.reshape(*task.model.table, 4))
    for brother, rows in (("elder", gradient[:2]), ("younger", gradient[2:])):
        found = expected[brother].reshape(4, 4)
        np.testing.assert_allclose(found[np.abs(found).sum(1) > 0], rows, atol=1e-12)


@pytest.mark.parametrize(
    ("baseline", "critic"),
    [("none", 0), ("batch_mean", 0), ("group", 0), ("grpo", 0), ("rloo", 0), ("critic", 121)],
)
def test_an_arm_without_a_critic_trains_the_actor_alone(baseline: str, critic: int) -> None:
    """Four inputs, two layers of eight: (4 + 1)·8 + (8 + 1)·8 + (8 + 1)·4 weights of the actor, …·1 of the critic."""
    config = settings(f"baseline={baseline}", "advantage=monte_carlo", "update=vanilla", *SMALL)
    parameters = train(config, config.seeds, Notes()).parameters
    assert parameters["actor"] == 40 + 72 + 36
    assert parameters.get("critic", 0) == critic


def test_process_supervision_of_equal_rewards_is_zero() -> None:
    """CartPole brings 1 for every step. Standardised that is 0, so that training moves no bit of the policy."""
    options = ("task=cartpole", "hidden=[8,8]", "group.groups=2", "group.size=2")
    found = {}
    for credit in ("process", "outcome"):
        config = settings("baseline=grpo", "advantage=monte_carlo", *options, f"group.credit={credit}")
        model = learner(make(config.task), config, [0, 1])
        before = model.policy.state_dict()["actor_parameters"].clone()
        model.learn(2 * model.batch_limit())
        found[credit] = torch.equal(model.policy.state_dict()["actor_parameters"], before)
    assert found == {"process": True, "outcome": False}
