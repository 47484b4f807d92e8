"""The settings of libraries' algorithms: their defaults, their hashes, and mistakes refused in one line."""

import dataclasses
import functools
import inspect

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

import bench
from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError
from bench.learner import PolicyGradient
from bench.peers.library import build, library_class
from bench.tasks.registry import make


class Elsewhere:
    """Not of SB3's interface."""


@functools.cache
def composed(*overrides: str) -> Config:
    return bench.compose(overrides)


@pytest.mark.parametrize("name", ["sb3_ppo", "sb3_a2c", "contrib_trpo", "contrib_ars"])
def test_the_files_of_conf_hold_the_librarys_defaults(name: str) -> None:
    config = bench.compose([f"algorithm={name}"])
    signature = inspect.signature(library_class(config)).parameters
    left_out = {"rollout_buffer_class", "rollout_buffer_kwargs", "stats_window_size", "tensorboard_log", "verbose"}
    left_out |= {"env", "seed", "device", "_init_setup_model"}
    assert set(config.algorithm.parameters) == set(signature) - left_out
    for key, value in config.algorithm.parameters.items():
        if key not in ("policy", "gamma"):  # which policy must be said, and the task's γ is the suite's
            assert value == signature[key].default


@pytest.mark.parametrize(
    "override", ["baseline=group", "hidden=[32,32]", "learning_rate=1", "group.size=4", "update=vanilla", "name=mine"]
)
def test_a_peers_hash_leaves_out_what_it_does_not_read(override: str) -> None:
    assert cell_hash(bench.compose(["algorithm=sb3_ppo", override])) == cell_hash(composed("algorithm=sb3_ppo"))


@pytest.mark.parametrize(
    "override",
    ["algorithm.parameters.n_steps=64", "algorithm.n_envs=2", "gamma=0.9", "budget=50000", "seed_pool=tuning",
     "task=acrobot", "norm_obs=true", "task.time_limit=400", "evaluation.points=10"],
)  # fmt: skip
def test_a_peers_hash_covers_what_it_reads(override: str) -> None:
    assert cell_hash(bench.compose(["algorithm=sb3_ppo", override])) != cell_hash(composed("algorithm=sb3_ppo"))


def test_gamma_counts_for_a_peer_without_one_only_where_rewards_are_scaled() -> None:
    def hashes(*overrides: str) -> set[str]:
        return {cell_hash(bench.compose(["algorithm=contrib_ars", f"gamma={g}", *overrides])) for g in (0.9, 0.99)}

    assert len(hashes()) == 1
    assert len(hashes("norm_reward=true")) == 2


PARITY = ("preset=ppo", "grad_clip=joint", "critic.target=same", "algorithm=sb3_ppo", "algorithm.parameters=matched")


def test_matched_settings_are_those_of_the_arm() -> None:
    config = bench.compose([*PARITY, "task=pendulum", "hidden=[64,32]", "gae_lambda=0.8", "name=null"])
    assert config.algorithm.n_envs == 8
    assert config.algorithm.parameters == {
        "policy": "MlpPolicy", "learning_rate": 1e-3, "n_steps": 128, "batch_size": 256, "n_epochs": 10, "gamma": 0.9,
        "gae_lambda": 0.8, "clip_range": 0.2, "normalize_advantage": True, "ent_coef": 0.0, "vf_coef": 0.5,
        "max_grad_norm": 0.5, "policy_kwargs": {"net_arch": {"pi": [64, 32], "vf": [64, 32]}},
    }  # fmt: skip
    noise = ("exploration=sde", "exploration.sample_freq=4", "exploration.log_std_init=-2")
    parameters = bench.compose([*PARITY, "task=pendulum", *noise]).algorithm.parameters
    assert (parameters["use_sde"], parameters["sde_sample_freq"], parameters["policy_kwargs"]["log_std_init"]) == (
        True, 4, -2.0,
    )  # fmt: skip
    assert config.arm_name == "sb3_ppo"
    assert bench.compose([*PARITY]).arm_name == "sb3_ppo-ppo"  # a preset's name does not hide whose learner it is


def test_annealed_rates_are_those_of_the_arm() -> None:
    """Batch after batch, at the same share of the budget: 4 of 1024 steps, and 904 that no batch takes."""
    annealed = ("learning_rate_schedule=linear", "clip_range_schedule=linear", "budget=5000", "seeds=1")
    config = bench.compose([*PARITY, *annealed])
    assert config.algorithm.parameters["learning_rate"] == "lin_0.001"
    assert config.algorithm.parameters["clip_range"] == "lin_0.2"
    model, _ = build(config, make(config.task), 0)
    found: list[tuple[float, float]] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:  # what the last update was made with
            if self.model._n_updates:
                logged = self.logger.name_to_value
                found.append((logged["train/learning_rate"], logged["train/clip_range"]))

    model.learn(5000, Watch(), log_interval=10**9)
    left = [1 - 1024 * batch / 5000 for batch in (1, 2, 3, 4)]
    np.testing.assert_allclose(found[:4], [[1e-3 * share, 0.2 * share] for share in left], rtol=1e-9)
    ours = PolicyGradient(env="CartPole-v1", arm=dataclasses.replace(config, algorithm=bench.compose().algorithm))
    ours._total_timesteps = 5000
    for steps, rates in zip((1024, 2048, 3072, 4096), found, strict=False):
        ours.env_steps = [steps]
        expected = ours._rates()
        np.testing.assert_allclose([expected.actor[0, 0], float(expected.clip_range)], rates, rtol=1e-6)


REFUSALS = [
    (["algorithm=sb3_pop"], "; did you mean 'sb3_ppo'?"),
    (["algorithm=library"], "algorithm=library: which class? Give algorithm._target_=package.module:Class"),
    (["algorithm=library", "algorithm._target_=DQN"], "_target_=DQN: must be a class as package.module:Class"),
    (["algorithm=library", "algorithm._target_=no_such:DQN"], "cannot import no_such (No module named 'no_such')"),
    (["algorithm=library", "algorithm._target_=stable_baselines3:DQM"], "has no DQM; did you mean 'DQN'?"),
    (["algorithm=library", "algorithm._target_=tests.peers.test_check:Elsewhere"], "must be a subclass of stable_"),
    (["algorithm=library", "algorithm._target_=os.path:join"], "must be a subclass of stable_baselines3's"),
    (["algorithm._target_=stable_baselines3:DQN"], "that is a class of its own; use algorithm=library"),
    (["algorithm=sb3_a2c", "algorithm.parameters=matched"], "only sb3_ppo has an equal arm"),
    (["algorithm=sb3_ppo", "algorithm.parameters=mached"], "must be a mapping of keyword arguments, or matched"),
    (["algorithm=sb3_ppo", "algorithm.parameters.n_step=3"], "did you mean 'n_steps'?"),
    (["algorithm=sb3_ppo", "+algorithm.parameters.n_step=3"], "has no such argument; did you mean 'n_steps'?"),
    (["algorithm=sb3_ppo", "+algorithm.parameters.seed=3"], "algorithm.parameters.seed: is set by the suite"),
    (["algorithm=sb3_ppo", "algorithm.parameters.batch_size=1"], "stable_baselines3.PPO refuses these settings ("),
    (["algorithm=library", "algorithm._target_=stable_baselines3:DQN", "task=pendulum"], "DQN refuses these settings"),
    (["algorithm=sb3_ppo", "algorithm.n_envs=0"], "algorithm.n_envs=0: must be at least 1"),
    (["algorithm=sb3_ppo", "budget=2000"], "budget=2000: not one batch of 2048 steps fits; use at least 2048"),
    (["algorithm.n_envs=4"], "they belong to the algorithms of libraries; use algorithm=sb3_ppo"),
    ([*PARITY, "algorithm.n_envs=4"], "algorithm.n_envs=4 with algorithm.parameters=matched: the arm has 8"),
    ([*PARITY, "grad_clip=separate"], "grad_clip=separate with algorithm.parameters=matched"),
    ([*PARITY, "truncation=end"], "truncation=end with algorithm.parameters=matched"),
    (["algorithm=sb3_ppo", "algorithm.parameters.learning_rate=cos_0.1"], "=cos_0.1: must be a number, or lin_"),
    ([*PARITY, "update.minibatches=3", "critic.minibatches=3"], "equal parts, and 1024 steps have no 3"),
    ([*PARITY, "collect=episodes"], "collect=episodes with algorithm.parameters=matched"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), REFUSALS, ids=[" ".join(given) for given, _ in REFUSALS])
def test_a_mistake_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        bench.compose(overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
