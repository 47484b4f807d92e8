"""Every legal combination of baseline × advantage × update × collect takes its first update."""

import dataclasses

import pytest
import torch

from bench.config.schema import Config
from bench.errors import UserError
from tests.learner.probes import ADVANTAGES, BASELINES, COLLECTS, UPDATES, DelayedChoice, combined, learner

COMPARES_EPISODES = ("time_mean", "group", "grpo", "rloo", "vine")
SETTINGS = ("task=weekly_exam", "gamma=0.9", "hidden=[32,32]", "critic.epochs=2", "critic.minibatches=2")


def legal(baseline: str, advantage: str, collect: str) -> bool:
    """The rule in words: whoever compares whole episodes needs them, and so does Monte Carlo without a critic."""
    with_critic = baseline == "critic" or advantage != "monte_carlo"
    return collect == "episodes" or (baseline not in COMPARES_EPISODES and with_critic)


def small(config: Config) -> Config:
    if config.update.name != "vanilla":
        config = dataclasses.replace(config, update=dataclasses.replace(config.update, epochs=2, minibatches=2))
    if config.collect.name == "segments":
        config = dataclasses.replace(config, collect=dataclasses.replace(config.collect, n_envs=2, n_steps=4))
    return config


@pytest.mark.parametrize("collect", COLLECTS)
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("advantage", ADVANTAGES)
@pytest.mark.parametrize("baseline", BASELINES)
def test_first_update(baseline: str, advantage: str, update: str, collect: str) -> None:
    """It runs where it is legal, moves every replica by finite numbers, and is refused where it is not."""
    if not legal(baseline, advantage, collect):
        with pytest.raises(UserError, match=r"segments.*use "):
            combined(baseline, advantage, update, collect, *SETTINGS)
        return
    model = learner(DelayedChoice(), small(combined(baseline, advantage, update, collect, *SETTINGS)), [0, 1])
    before = {name: weights.clone() for name, weights in model.policy.state_dict().items()}
    model.learn(model.batch_limit())
    assert model.updates == [1, 1]
    assert model.failures == {}
    assert ("critic_parameters" in before) == (baseline == "critic" or advantage != "monte_carlo")
    for name, weights in model.policy.state_dict().items():
        assert bool(weights.isfinite().all())
        assert bool((weights != before[name]).any(1).all()), f"{name} of some replica did not move"
    assert torch.tensor([row["train/kl"] for row in model.latest]).isfinite().all()


def test_the_legal_combinations_are_counted() -> None:
    """8 × 4 × 5 in episodes, (3 × 3 + 1) × 5 in segments."""
    combinations = [
        (b, a, u, c) for b in BASELINES for a in ADVANTAGES for u in UPDATES for c in COLLECTS if legal(b, a, c)
    ]
    assert len(combinations) == 160 + 50
