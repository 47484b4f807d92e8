"""Values of restored states against exact ones, and what they cost."""

import numpy as np
import torch

from bench.learner.policy_gradient import PolicyGradient
from bench.learner.rollout import Collector
from bench.learner.vine import VineStreams, restored_values
from bench.seeding import stream
from bench.tasks.batched import BatchedEnv
from bench.tasks.weekly_exam import WeeklyExam
from tests.learner.probes import Corridor, actor, learner, settings

SEEDS = (3, 8)


def streams() -> VineStreams:
    return VineStreams([stream(seed, "vine", 0) for seed in SEEDS], [stream(seed, "vine", 1) for seed in SEEDS])


def always(*_: object) -> bool:
    return True


def test_restored_values_are_the_exact_values_of_the_states_passed_through() -> None:
    task = WeeklyExam()
    model = PolicyGradient(env=None, arm=settings("task=weekly_exam"), seeds=SEEDS, _init_setup_model=False)
    model.observation_space, model.action_space = task.observation_space, task.action_space
    model._setup_model()
    acting = model.policy.acting()
    acting.stack.flat.zero_()  # uniform over plans
    env = BatchedEnv(task, SEEDS, 4)
    rollout = Collector(env, [stream(seed, "action") for seed in SEEDS]).whole_episodes(acting, 1, always, 5)
    assert rollout is not None
    assert [snapshot.t for snapshot in rollout.snapshots] == [0, 5, 10, 15]
    rollouts = 400
    values, steps = restored_values(task, acting, rollout.snapshots, rollouts, 0.9, streams())
    assert values.shape == (16, 2, 4)
    exact = task.solve("uniform", gamma=0.9)
    errors = []
    for snapshot in rollout.snapshots:
        truth = exact.value[task.index(snapshot.state)]
        errors.append(values[snapshot.t].flatten().numpy() - truth)
    # A return from week 0, where most is ahead, varies most: its deviation from playing random plans.
    plans = np.random.default_rng(0)
    play = BatchedEnv(task, SEEDS, 500)
    play.restart()
    earned = sum(0.9**week * play.step(plans.integers(4, size=1000)).reward for week in range(16))
    assert np.abs(errors).max() < 4 * np.std(earned) / rollouts**0.5  # 32 values, four standard errors
    # every episode ends after sixteen weeks: 4 episodes x 400 from weeks 0, 5, 10 and 15
    assert steps == [4 * rollouts * (16 + 11 + 6 + 1)] * 2


def test_finished_and_truncated_episodes_are_not_restored() -> None:
    # Places 0 to 4 to 5, ended after 3 steps at the latest: the value of a place is the sum of those ahead.
    env = BatchedEnv(Corridor(length=5, time_limit=3), SEEDS, 4)
    rollout = Collector(env, [stream(seed, "action") for seed in SEEDS]).whole_episodes(actor(2), 1, always, 1)
    assert rollout is not None
    values, steps = restored_values(env.task, actor(2), rollout.snapshots, 3, 1.0, streams())
    live, rewards = rollout.live, rollout.rewards
    to_go = rewards.flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(values, torch.where(live, to_go, 0.0)[: len(values)])
    lengths = live.sum(0)  # an episode of n steps is restored n times, with n, n − 1, … 1 steps left
    assert steps == (3 * lengths * (lengths + 1) // 2).sum(1).tolist()


def test_a_deterministic_world_leaves_no_advantage_and_pays_for_it() -> None:
    config = settings(
        "baseline=vine", "advantage=monte_carlo", "vine.every=2", "vine.rollouts=1", "gamma=0.9", "hidden=[32,32]",
        "task=weekly_exam", "budget=1000",
    )  # fmt: skip
    model = learner(Corridor(length=5, time_limit=3), config, SEEDS)
    model.learn(config.batch_limit(3))
    for row in model.latest:
        assert abs(row["train/advantage_rms"]) < 1e-5
    for replica in range(2):
        # 4 episodes of at most 3 steps: each step once, and those ahead of step 0 and of step 2 again
        assert 2 * 4 <= model.env_steps[replica] <= config.batch_limit(3) == 4 * (3 + 3 + 1)
