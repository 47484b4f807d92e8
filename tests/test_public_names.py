"""The names that other people's scripts call are where they were, and do what they did."""

import numpy as np
import pytest
import torch

import bench
from bench.arms.baselines import group_advantage
from bench.arms.objectives import surrogate
from bench.arms.reference import kl_estimate
from bench.arms.returns import lambda_return, monte_carlo_return, n_step_return
from bench.commands.main import main
from bench.learner import PolicyGradient
from bench.speed.workload import Measurement

# Three steps of one episode, rewards 1, 2, 4; the successors are worth 10, 20, and nothing after the end. γ = ½.
REWARDS = torch.tensor([1.0, 2.0, 4.0])
NEXT_VALUES = torch.tensor([10.0, 20.0, 30.0])
END = torch.tensor([False, False, True])
NEVER = torch.zeros(3, dtype=torch.bool)


def test_return_targets():
    full = [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4]
    one_step = [1 + 0.5 * 10, 2 + 0.5 * 20, 4]
    assert monte_carlo_return(REWARDS, END, NEVER, 0.5).tolist() == full
    assert lambda_return(REWARDS, NEXT_VALUES, END, NEVER, 0.5, 0.0).tolist() == one_step
    assert lambda_return(REWARDS, NEXT_VALUES, END, NEVER, 0.5, 1.0).tolist() == full
    two_steps = [1 + 0.5 * 2 + 0.25 * 20, 2 + 0.5 * 4, 4]
    assert n_step_return(REWARDS, NEXT_VALUES, END, NEVER, 0.5, n=2).tolist() == two_steps


def test_group_advantages():
    returns = torch.tensor([1.0, 2.0, 6.0])
    assert group_advantage(returns).tolist() == [-2, -1, 3]
    assert group_advantage(returns, leave_one_out=True).tolist() == [-3, -1.5, 4.5]
    scaled = group_advantage(returns, scale="std", ddof=0, eps=0.0)
    assert scaled.tolist() == pytest.approx([value / np.std([1, 2, 6]) for value in (-2, -1, 3)])


def test_divergence_from_a_reference():
    log_prob, log_prob_ref = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()  # r = ½
    found = {kind: kl_estimate(log_prob, log_prob_ref, kind=kind).item() for kind in ("k1", "k2", "k3")}
    assert found == pytest.approx({"k1": np.log(2), "k2": np.log(2) ** 2 / 2, "k3": 0.5 - 1 + np.log(2)})


def test_objectives():
    ratio = torch.tensor([2.0, 0.5])
    clipped = surrogate("clip", ratio.log(), torch.zeros(2), torch.tensor([3.0, -1.0]), clip_range=0.2)
    assert clipped.tolist() == pytest.approx([1.2 * 3, -0.8])


def test_the_learner(tmp_path):
    model = PolicyGradient(env="bench/ExamQuestion-v0", seeds=2).learn(64)
    assert model.env_steps == [64, 64]
    question = model.observation_space.sample()
    actions, _ = model.predict(np.stack([question, question]), deterministic=True)  # replica-major
    model.save(tmp_path / "two-seeds")
    again = PolicyGradient.load(tmp_path / "two-seeds")
    assert again.predict(np.stack([question, question]), deterministic=True)[0].tolist() == actions.tolist()
    stock = model.replica(1)
    assert type(stock).__name__ == "PPO"
    assert stock.predict(question, deterministic=True)[0] == actions[1]


def test_composing_and_running(tmp_path):
    small = ["task=exam_question", "budget=64", "seeds=1", "wandb=disabled", "evaluation.points=1"]
    config = bench.compose(["baseline=group", "advantage=monte_carlo", *small, f"results={tmp_path}"])
    block = bench.run(config)
    assert (block.name, block.parent.name[:-9]) == ("seeds-000", "group-monte_carlo-clip")
    assert bench.run(config) == block


def test_the_speed_of_this_suite_alone_is_the_last_line(tmp_path, capsys, monkeypatch):
    """The process that measures is replaced; tests/speed/test_command.py starts it."""
    monkeypatch.setattr("bench.speed.command.spawn", lambda *_: [Measurement(env_steps=4096, seconds=2.0)])
    assert main(["speed", "only=lockstep", "seeds=2", "steps=1024", f"results={tmp_path}"]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == "2,048 steps/s"
