"""The main job on real tasks: published and exact scores are reached."""

import numpy as np
import pytest
import torch

import bench
from bench.learner import PolicyGradient
from bench.learner.train import TrainedBlock, train
from bench.tasks.weekly_exam import WeeklyExam
from tests.learner.probes import Notes


def run(*overrides: str) -> tuple[TrainedBlock, Notes]:
    config, notes = bench.compose(overrides), Notes()
    return train(config, config.seeds, notes), notes


def exact_objectives(model: PolicyGradient) -> np.ndarray:
    """J of each replica's stochastic policy on the weekly exam, by backward induction over all its states."""
    task = WeeklyExam()
    states = task.states()
    observations = torch.from_numpy(task.observe(states)).unsqueeze(0).expand(len(model.seeds), -1, -1)
    with torch.no_grad():
        outputs, _ = model.policy.actor.stack.forward(observations)
    probabilities = outputs.softmax(1).transpose(1, 2).numpy().astype(np.float64)  # (S, states, plans)
    table = (16, 11, 5, 2, 4)
    return np.array([task.solve(p.reshape(table), gamma=1.0).objective for p in probabilities])


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [("preset=ppo", "budget=40000"), ("baseline=critic", "budget=20000")])
def test_a_critic_comes_within_five_percent_of_the_exact_optimum(overrides: tuple[str, ...]) -> None:
    """In the weekly exam; exact optimum 11.4173, random 8.6501, both known from elsewhere."""
    trained, _ = run(*overrides, "task=weekly_exam", "seeds=3")
    assert (exact_objectives(trained.model) >= 0.95 * 11.4173).all()


@pytest.mark.slow
def test_ppo_balances_the_pole() -> None:
    """The published score is 490 to 500, with rates annealed to 0: a constant one now and then has a bad evaluation."""
    annealed = ("learning_rate_schedule=linear", "clip_range_schedule=linear")
    _, notes = run("preset=ppo", *annealed, "budget=100000", "seeds=3", "evaluation.points=1")
    final = [r["return"] for r in notes.evaluations if r["step"] == 100_000 and r["mode"] == "deterministic"]
    assert np.mean(final) >= 480


@pytest.mark.slow
def test_ppo_gets_the_car_up_the_hill() -> None:
    """RL Zoo's PPO scored 88.3 on MountainCarContinuous; doing nothing scores 0."""
    given = ("preset=ppo", "settings=published", "task=mountain_car_continuous", "seeds=3", "evaluation.points=1")
    _, notes = run(*given)
    final = [r["return"] for r in notes.evaluations if r["step"] == 50_000 and r["mode"] == "deterministic"]
    assert np.mean(final) >= 88
