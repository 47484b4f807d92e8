"""Arms that must be equal, or equal up to a factor, through whole updates of the engine."""

import dataclasses

import pytest
import torch

from bench.config.schema import Config
from bench.learner import PolicyGradient
from bench.tasks.base import Task
from bench.tasks.exam_question import ExamQuestion
from tests.learner.probes import ActionReward, DelayedChoice, Matching, MatchReward, combined, learner

SETTINGS = ("task=weekly_exam", "gamma=0.5", "hidden=[32,32]", "critic.epochs=2", "critic.minibatches=2")
G = 4


def arm(baseline: str, advantage: str = "monte_carlo", update: str = "clip", *overrides: str) -> Config:
    """Two groups of four; time_mean has one of eight."""
    groups = () if baseline == "time_mean" else ("group.groups=2", f"group.size={G}")
    config = combined(baseline, advantage, update, "episodes", *SETTINGS, *groups, *overrides)
    if update != "vanilla":
        config = dataclasses.replace(config, update=dataclasses.replace(config.update, epochs=2, minibatches=2))
    return dataclasses.replace(config, learning_rate=0.02)


def trained(task: Task, config: Config, updates: int = 5) -> PolicyGradient:
    model = learner(task, config, [0, 1, 2])
    return model.learn(updates * model.batch_limit())


def actors(task: Task, *configs: Config, updates: int = 5) -> list[torch.Tensor]:
    models = [trained(task, config, updates) for config in configs]
    start = learner(task, configs[0], [0, 1, 2]).policy.state_dict()["actor_parameters"]
    found = [model.policy.state_dict()["actor_parameters"] for model in models]
    assert not torch.allclose(found[0], start, atol=1e-3), "it should have learned something"
    return found


@pytest.mark.parametrize("credit", ["outcome", "reward_to_go"])
@pytest.mark.parametrize("task", [ActionReward(), MatchReward()], ids=lambda task: type(task).__name__)
def test_ranks_are_rloo_on_binary_rewards(task: Task, credit: str) -> None:
    """(wins − losses)/(G − 1) = (r − mean of the others) for r ∈ {0, 1}."""
    ranks = arm("group", "monte_carlo", "clip", f"group.credit={credit}", "group.scale=rank", "advantage_norm=none")
    rloo = arm("rloo", "monte_carlo", "clip", f"group.credit={credit}", "advantage_norm=none")
    torch.testing.assert_close(*actors(task, ranks, rloo), rtol=0, atol=1e-4)


@pytest.mark.parametrize("advantage", ["td0", "nstep", "gae", "monte_carlo"])
def test_time_mean_is_the_group_of_all_episodes_from_independent_starts(advantage: str) -> None:
    """One implementation: the same bits."""
    one_group = ("group.groups=1", "group.size=8", "group.start=independent")
    time_mean, group = arm("time_mean", advantage), arm("group", advantage, "clip", *one_group)
    assert torch.equal(*actors(Matching(steps=3), time_mean, group))


def first_gradient(config: Config) -> list[float]:
    config = dataclasses.replace(config, advantage_norm="none", max_grad_norm=1e9)
    return [row["train/actor_grad_norm"] for row in trained(DelayedChoice(), config, 1).latest]


@pytest.mark.parametrize("options", [("group.credit=outcome",), (), ("group.alive_only=true",)], ids=str)
def test_rloo_is_the_group_mean_times_g_over_g_minus_1(options: tuple[str, ...]) -> None:
    """As a gradient: G/(G − 1) times as large. With a scale-free normalisation or Adam: the same learning."""
    rloo, group = arm("rloo", "monte_carlo", "vanilla", *options), arm("group", "monte_carlo", "vanilla", *options)
    assert first_gradient(rloo) == pytest.approx([norm * G / (G - 1) for norm in first_gradient(group)], rel=1e-5)
    for update in ("clip", "unclipped"):
        both = [arm(baseline, "monte_carlo", update, *options) for baseline in ("rloo", "group")]
        torch.testing.assert_close(*actors(DelayedChoice(), *both), rtol=0, atol=1e-4)


def test_grpo_of_one_group_is_the_group_mean_up_to_what_normalisation_takes_out() -> None:
    """With one group per update, dividing by its std is a scalar, which a root mean square of the batch removes."""
    one = ("group.groups=1", "group.size=8", "group.eps=0.0")
    both = [arm(baseline, "monte_carlo", "vanilla", *one) for baseline in ("grpo", "group")]
    torch.testing.assert_close(*actors(DelayedChoice(), *both), rtol=0, atol=1e-4)
    two = [arm(baseline, "monte_carlo", "vanilla") for baseline in ("grpo", "group")]
    assert not torch.allclose(*actors(Matching(steps=5), *two), atol=1e-3), "of two groups it is not"


@pytest.mark.parametrize("baseline", ["none", "batch_mean", "time_mean", "critic", "group", "grpo", "rloo", "vine"])
@pytest.mark.parametrize(
    "task",
    [pytest.param(ExamQuestion(), id="exam_question"), pytest.param(MatchReward(), id="match", marks=pytest.mark.slow)],
)
def test_in_a_single_step_all_targets_are_the_reward(baseline: str, task: Task) -> None:
    """td0 = nstep = gae = monte_carlo, bit for bit, over whole trainings."""
    first, *others = actors(
        task, *(arm(baseline, advantage) for advantage in ("monte_carlo", "td0", "nstep", "gae")), updates=4
    )
    assert all(torch.equal(first, other) for other in others)


RANKED = ("group.scale=rank", "advantage_norm=none")


@pytest.mark.parametrize("credit", ["outcome", "reward_to_go"])
def test_a_comparator_of_a_low_temperature_learns_as_ranks_do_and_one_of_a_high_does_not(credit: str) -> None:
    """To the bit, however many numbers it draws."""
    ranks, low, high = (
        arm("group", "monte_carlo", "clip", f"group.credit={credit}", *RANKED, f"group.temperature={temperature}")
        for temperature in (0, 1e-300, 1e300)
    )
    ranked, never_wrong, never_knowing = actors(DelayedChoice(), ranks, low, high)
    assert torch.equal(ranked, never_wrong)
    assert not torch.equal(ranked, never_knowing)


def test_a_comparator_draws_anew_in_every_update_and_for_every_seed() -> None:
    """Of advantages ±1 at equal chances the mean of eight members' squares differs from update to update."""
    config = arm("group", "monte_carlo", "vanilla", "group.credit=outcome", *RANKED, "group.temperature=1e300")
    model, seen = learner(ActionReward(), config, [0, 1, 2]), []
    env_steps = model.batch_limit()
    for _ in range(6):
        model.learn(env_steps, reset_num_timesteps=False)
        seen.append([row["train/advantage_rms"] for row in model.latest])
    assert len({tuple(column) for column in zip(*seen, strict=True)}) == 3
    assert all(len(set(column)) > 2 for column in zip(*seen, strict=True))


def test_the_share_of_wrong_comparisons_is_logged_where_some_may_be() -> None:
    """Half of them at an infinite temperature, none at a low one, and nobody counts what is always right."""
    found = {}
    for temperature in (0, 1e-300, 1e300):
        config = arm("group", "monte_carlo", "clip", *RANKED, f"group.temperature={temperature}")
        model = trained(DelayedChoice(), config, 1)
        found[temperature] = [row.get("train/wrong_comparisons") for row in model.latest]
    assert found[0] == [None] * 3
    assert found[1e-300] == [0.0] * 3
    assert all(share is not None and 0.2 < share < 0.8 for share in found[1e300])
