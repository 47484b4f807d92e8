"""Every arm in worlds where theory says what it can learn, and what it cannot.

Each test names its theory in one line. Seeds are fixed; "on average" is a z-test over replicas, whose bound of 4.5
standard errors a right learner passes 99.999 % of the time.
"""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import binom

from bench.config.schema import Config
from bench.errors import UserError
from bench.learner import PolicyGradient
from tests.learner.probes import (
    ADVANTAGES,
    BASELINES,
    COLLECTS,
    ActionReward,
    ConstantReward,
    DelayedChoice,
    DelayedReward,
    MatchReward,
    ObservedReward,
    Probe,
    combined,
    learner,
)

GAMMA = 0.5
SETTINGS = (
    "task=weekly_exam", f"gamma={GAMMA}", "hidden=[32,32]", "learning_rate_schedule=linear",
    "critic.epochs=2", "critic.minibatches=1", "critic.learning_rate=0.05",
)  # fmt: skip
COMPARES_EPISODES = ("time_mean", "group", "grpo", "rloo")
Z = 4.5


def configured(collect: str, baseline: str, advantage: str, **changes: object) -> Config:
    """An arm with small networks and one full-batch step per update; 8 episodes, or 8 segments of 2 steps."""
    config = combined(baseline, advantage, "vanilla", collect, *SETTINGS)
    if collect == "segments":
        config = dataclasses.replace(config, collect=dataclasses.replace(config.collect, n_envs=8, n_steps=2))
    return dataclasses.replace(config, learning_rate=0.06, **changes)


def legal(collect: str, baseline: str, advantage: str) -> bool:
    try:
        configured(collect, baseline, advantage)
    except UserError:
        return False
    return True


ARMS = [(c, b, a) for c in COLLECTS for b in BASELINES for a in ADVANTAGES if legal(c, b, a)]
arms = pytest.mark.parametrize("arm", ARMS, ids="-".join)
# Two of the probes are fast tests for one target, and slow ones for the rest.
mostly_slow = pytest.mark.parametrize(
    "arm",
    [pytest.param(a, marks=[pytest.mark.slow] * ((a[0], a[2]) != ("episodes", "gae"))) for a in ARMS],
    ids="-".join,
)


def trained(task: Probe, config: Config, updates: int = 40, replicas: int = 8) -> PolicyGradient:
    model = learner(task, config, range(replicas))
    return model.learn(updates * model.batch_limit())


def preference(model: PolicyGradient, shown: float) -> np.ndarray:
    """Each replica's log-odds of action 1 where `shown` is shown, (S,)."""
    observations = torch.full((len(model.seeds), 1, 2), shown)
    with torch.no_grad():
        policy = model.policy.acting().policy(observations)
        log_prob = [policy.log_prob(torch.full((len(model.seeds), 1, 2), action)) for action in (0, 1)]
    return (log_prob[1] - log_prob[0])[:, 0].numpy()


def probability(model: PolicyGradient, shown: float) -> np.ndarray:
    """Each replica's probability of action 1, (S,)."""
    return 1 / (1 + np.exp(-preference(model, shown)))


def value(model: PolicyGradient, shown: float) -> np.ndarray:
    """Each replica's V where `shown` is shown, (S,)."""
    assert model.policy.critic is not None
    with torch.no_grad():
        outputs, _ = model.policy.critic.stack.forward(torch.full((len(model.seeds), 1, 2), shown))
    return outputs[:, 0, 0].numpy()


def actor_weights(model: PolicyGradient) -> torch.Tensor:
    return model.policy.state_dict()["actor_parameters"].clone()


def assert_untouched(model: PolicyGradient) -> None:
    """The actor has its initial weights, bit for bit."""
    assert torch.equal(actor_weights(model), actor_weights(learner(ConstantReward(), model.arm, model.seeds)))


def assert_moved_by_chance_only(model: PolicyGradient, *shown: float) -> None:
    """Replicas moved, each its own way: the mean preference is within Z standard errors of 0."""
    for observation in shown:
        preferences = preference(model, observation)
        assert np.abs(preferences).max() > 0.1, "it should have moved"
        assert abs(preferences.mean()) < Z * preferences.std(ddof=1) / np.sqrt(len(preferences))


def assert_values(model: PolicyGradient, expected: dict[float, float]) -> None:
    if model.arm.has_critic:
        for shown, number in expected.items():
            np.testing.assert_allclose(value(model, shown), number, atol=0.08)


def last(model: PolicyGradient, name: str) -> np.ndarray:
    return np.array([row[name] for row in model.latest])


def test_all_legal_arms_are_probed() -> None:
    """8 × 4 in episodes; in segments no baseline over episodes, and Monte Carlo only with the critic: 3 × 3 + 1."""
    assert len([arm for arm in ARMS if arm[0] == "episodes"]) == 32
    assert len([arm for arm in ARMS if arm[0] == "segments"]) == 10


@mostly_slow
def test_constant_reward(arm: tuple[str, str, str]) -> None:
    """V = r. A mean of equal targets is each of them, so advantages are exactly 0; r − V fades; r itself stays r."""
    _, baseline, _ = arm
    model = trained(ConstantReward(), configured(*arm, advantage_norm="none"), replicas=24)
    assert_values(model, {0.0: 1.0})
    if baseline == "none":
        assert_moved_by_chance_only(model, 0.0)
        assert last(model, "train/advantage_mean").tolist() == [1.0] * 24
    elif baseline == "critic":
        assert_moved_by_chance_only(model, 0.0)
        assert last(model, "train/advantage_rms").max() < 0.08
    else:
        assert_untouched(model)


@pytest.mark.slow
@arms
def test_observation_dependent_reward(arm: tuple[str, str, str]) -> None:
    """V(s) = s. Members of a group share the start, and so do episodes from a restored one: exactly 0. Means over
    different starts mistake luck of the start for merit, and so does no baseline, but not on average."""
    _, baseline, _ = arm
    model = trained(ObservedReward(), configured(*arm, advantage_norm="none"), updates=60, replicas=24)
    assert_values(model, {-1.0: -1.0, 1.0: 1.0})
    if baseline in ("group", "grpo", "rloo", "vine"):
        assert_untouched(model)
    else:
        assert_moved_by_chance_only(model, -1.0, 1.0)
    if baseline == "critic":
        assert last(model, "train/advantage_rms").max() < 0.12


@pytest.mark.slow
@arms
def test_delayed_reward(arm: tuple[str, str, str]) -> None:
    """V(0) = γ, V(1) = 1. At each step all members' targets are equal: exactly 0, however far a target looks; true
    values from restored states equal targets that contain the reward. The mean over a whole batch mixes steps worth γ
    with steps worth 1, and a target that trusts V is not what was earned: they move the policy, but not on average."""
    _, baseline, advantage = arm
    model = trained(DelayedReward(), configured(*arm, advantage_norm="none"), replicas=24)
    assert_values(model, {0.0: GAMMA, 1.0: 1.0})
    if baseline in COMPARES_EPISODES or (baseline == "vine" and advantage in ("nstep", "monte_carlo")):
        assert_untouched(model)
    else:
        assert_moved_by_chance_only(model, 0.0, *[1.0] * (baseline != "vine"))
    if baseline == "critic":
        assert last(model, "train/advantage_rms").max() < 0.12


@pytest.mark.slow
@arms
def test_action_dependent_reward(arm: tuple[str, str, str]) -> None:
    """The reward follows at once, so every target credits the action that earned it."""
    assert probability(trained(ActionReward(), configured(*arm)), 0.0).min() > 0.9


@arms
def test_reward_that_depends_on_observation_and_action(arm: tuple[str, str, str]) -> None:
    """As before, in each state its own action."""
    model = trained(MatchReward(), configured(*arm))
    assert probability(model, 1.0).min() > 0.9
    assert probability(model, -1.0).max() < 0.1


@mostly_slow
def test_delayed_consequence(arm: tuple[str, str, str]) -> None:
    """Longer targets carry the reward back themselves; td0 can as soon as its critic tells the two outcomes apart."""
    model = trained(DelayedChoice(), configured(*arm))
    assert probability(model, 0.0).min() > 0.9
    assert_values(model, {1.0: 1.0})


@pytest.mark.slow
@pytest.mark.parametrize("collect", COLLECTS)
@pytest.mark.parametrize("baseline", BASELINES)
def test_td0_cannot_credit_a_delayed_reward_with_a_critic_that_learned_nothing(collect: str, baseline: str) -> None:
    """Its target of the first step is γV(s'), no reward in it: an initial V leads half of the seeds the wrong way."""
    if not legal(collect, baseline, "td0"):
        return
    config = configured(collect, baseline, "td0")
    config = dataclasses.replace(config, critic=dataclasses.replace(config.critic, learning_rate=1e-30))
    chosen = probability(trained(DelayedChoice(), config, replicas=64), 0.0)
    right = int((chosen > 0.5).sum())
    low, high = binom.ppf([0.0005, 0.9995], 64, 0.5)
    assert low <= right <= high
    assert np.median(np.abs(chosen - 0.5)) > 0.4, "they should have learned something, if not the truth"


@pytest.mark.slow
@pytest.mark.parametrize("collect", COLLECTS)
@pytest.mark.parametrize("baseline", BASELINES)
def test_longer_targets_do_not_need_the_critic_for_it(collect: str, baseline: str) -> None:
    """With λ near 1 the reward itself reaches the first step, whatever V says."""
    if not legal(collect, baseline, "gae"):
        return
    config = configured(collect, baseline, "gae", gae_lambda=0.95)
    config = dataclasses.replace(config, critic=dataclasses.replace(config.critic, learning_rate=1e-30))
    assert probability(trained(DelayedChoice(), config), 0.0).min() > 0.9


@pytest.mark.parametrize("baseline", ["group", "grpo", "rloo"])
@pytest.mark.parametrize(
    "task", [ConstantReward(), ObservedReward(), DelayedReward()], ids=lambda task: type(task).__name__
)
@pytest.mark.parametrize("norm", ["none", "rms"])
def test_outcome_credit_with_dead_groups_never_moves(baseline: str, task: Probe, norm: str) -> None:
    """From a shared start all members earn the same, whatever they do: no group teaches anything."""
    config = configured("episodes", baseline, "monte_carlo", advantage_norm=norm)
    model = trained(task, dataclasses.replace(config, group=dataclasses.replace(config.group, credit="outcome")), 5)
    assert_untouched(model)
    assert last(model, "train/dead_groups").tolist() == [1.0] * 8


@pytest.mark.parametrize("advantage", ADVANTAGES)
@pytest.mark.parametrize("baseline", ["batch_mean", *COMPARES_EPISODES])
def test_normalisation_makes_nothing_of_nothing(baseline: str, advantage: str) -> None:
    """Zero divided by a root mean square of zero stays zero: no rounding error is blown up to the size of 1."""
    for norm in ("rms", "mean_std"):
        model = trained(ConstantReward(), configured("episodes", baseline, advantage, advantage_norm=norm), 5, 3)
        assert_untouched(model)
        if baseline in COMPARES_EPISODES:
            model = trained(DelayedReward(), configured("episodes", baseline, advantage, advantage_norm=norm), 5, 3)
            assert_untouched(model)
