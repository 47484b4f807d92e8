"""Saved models and checkpoints, also those of earlier versions.

The files in `saved/` were written by an earlier version, with the settings of `OVERRIDES`; the numbers are what that
version made of them.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import bench
from bench.errors import DamagedCheckpoint
from bench.learner import PolicyGradient
from bench.learner.checkpoint import load_actor
from bench.learner.train import train
from tests.learner.probes import Notes

SAVED = Path(__file__).parent / "saved"
OVERRIDES = [
    "task=pendulum", "task.time_limit=20", "collect=segments", "collect.n_envs=2", "collect.n_steps=16",
    "norm_obs=true", "norm_reward=true", "hidden=[4]", "update=kl_penalty", "update.epochs=2", "critic.epochs=2",
    "budget=200", "seeds=[3,8]", "evaluation.points=4", "evaluation.episodes=2", "reference=initial",
]  # fmt: skip
OBSERVATIONS = np.array([[1, 0, 0.5], [0, 1, -2]], np.float32)
ACTIONS = {3: [-0.0141611, -0.0053898], 8: [-0.0232299, 0.0074691]}  # the means, at those observations


def test_a_model_of_an_earlier_version_acts_as_it_did() -> None:
    model = PolicyGradient.load(SAVED / "policy.zip")
    actions, _ = model.predict(np.concatenate([OBSERVATIONS, OBSERVATIONS]), deterministic=True)
    assert actions[:, 0] == pytest.approx(ACTIONS[3] + ACTIONS[8], abs=1e-6)
    assert (model.seeds, model.env_steps, model.updates) == ((3, 8), [192, 192], [6, 6])
    assert (model.kl_coef.tolist(), model.reference_coef.tolist()) == ([0.015625] * 2, [0.05] * 2)


def test_a_run_of_an_earlier_version_is_refused() -> None:
    """Another engine computed its first half, so nobody could train the whole again."""
    config = bench.compose(OVERRIDES)
    with (
        (SAVED / "partial.pt").open("rb") as file,
        pytest.raises(DamagedCheckpoint, match=r"^it has format 1, this version reads 2$"),
    ):
        train(config, config.seeds, Notes(), file)


def test_an_actor_is_loaded_by_its_seeds_without_the_algorithm() -> None:
    actor = load_actor(SAVED / "policy.zip", [8, 3, 8])
    with torch.no_grad():
        means = actor.policy(torch.from_numpy(OBSERVATIONS.T).expand(3, -1, -1)).mode()[:, 0]
    assert means.tolist() == [pytest.approx(ACTIONS[seed], abs=1e-6) for seed in (8, 3, 8)]
