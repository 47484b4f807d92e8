"""The learner as a whole: SB3's seams, budgets, failures, isolation, saving."""

import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.evaluation import evaluate_policy

from bench.errors import UserError
from bench.learner import PolicyGradient
from bench.tasks.batched import BatchedEnv
from bench.tasks.pendulum import Pendulum
from bench.tasks.vec_env import BatchedVecEnv
from tests.learner.probes import SEGMENTS, Corridor, Matching, learner, settings


def weights(model: PolicyGradient) -> dict[str, torch.Tensor]:
    return {name: network.stack.flat.clone() for name, network in model.policy.networks().items()}


def same_weights(first: PolicyGradient, second: PolicyGradient) -> bool:
    theirs = weights(second)
    return all(torch.equal(value, theirs[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("overrides", [SEGMENTS, ("collect=episodes", "hidden=[32,32]")], ids=["segments", "episodes"])
def test_the_same_seeds_give_the_same_bits(overrides: tuple[str, ...]) -> None:
    first, second = (learner(Matching(steps=4), settings(*overrides), [2, 5]) for _ in range(2))
    first.learn(500)
    second.learn(500)
    assert same_weights(first, second)
    assert not torch.equal(first.policy.actor.stack.flat[0], first.policy.actor.stack.flat[1])


@pytest.mark.parametrize("seeds", [[7], [0, 1, 7, 3, 4, 5, 6, 2, 8, 9], [7, 3]])
def test_in_segments_a_seed_never_notices_its_neighbours(seeds: list[int]) -> None:
    config = settings(*SEGMENTS, "advantage_norm=mean_std", "truncation=bootstrap", "gamma=0.9")
    pair, other = learner(Matching(steps=4), config, [3, 7]), learner(Matching(steps=4), config, seeds)
    pair.learn(300)
    other.learn(300)
    for name, value in weights(pair).items():
        assert torch.equal(value[1], weights(other)[name][seeds.index(7)])


def test_arms_with_and_without_a_critic_are_paired() -> None:
    """They share the actor's initial weights, and their first batches are the same, action by action."""
    with_critic = learner(Matching(steps=4), settings("baseline=critic"), [1, 2])
    without = learner(Matching(steps=4), settings("baseline=none", "advantage=monte_carlo"), [1, 2])
    assert torch.equal(with_critic.policy.actor.stack.flat, without.policy.actor.stack.flat)
    assert without.policy.critic is None
    batches = []
    for model in (with_critic, without):
        model.train = lambda: None  # type: ignore[method-assign]  # look at the first batch before it is used up
        model.learn(16)
        assert model._rollout is not None
        batches.append(model._rollout)
    assert torch.equal(batches[0].actions, batches[1].actions)
    assert torch.equal(batches[0].observations, batches[1].observations)


def test_a_batch_that_might_not_fit_the_budget_is_not_started() -> None:
    model = learner(Corridor(length=5, time_limit=3), settings(), [0, 1])  # 4 episodes of at most 3 steps
    model.learn(31)
    for used in model.env_steps:
        assert 31 - 12 < used <= 31


def test_a_replica_that_used_its_budget_leaves_the_stack() -> None:
    model = learner(Corridor(length=5, time_limit=None), settings("gamma=0.9"), list(range(6)))
    frozen: dict[int, torch.Tensor] = {}

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            for replica in set(range(6)) - set(model.active):
                now = model.policy.actor.stack.flat[replica].clone()
                assert torch.equal(frozen.setdefault(replica, now), now)

    model.batch_limit = lambda: 20  # type: ignore[method-assign]  # four episodes of at most five steps
    model.learn(100, callback=Watch())
    assert len(set(model.updates)) > 1, "the replicas should have finished at different times"
    assert frozen
    assert max(model.env_steps) <= 100


def test_a_replica_whose_loss_is_not_finite_is_frozen_and_its_neighbours_finish() -> None:
    config = settings(*SEGMENTS)
    healthy, struck = learner(Matching(steps=4), config, [0, 1, 2]), learner(Matching(steps=4), config, [0, 1, 2])
    struck.policy.critic.stack.flat[1] = torch.nan  # type: ignore[union-attr]
    healthy.learn(320)
    struck.learn(320)
    assert list(struck.failures) == [1]
    assert "update 1" in struck.failures[1]
    assert struck.updates == [5, 1, 5]
    for replica in (0, 2):
        assert torch.equal(healthy.policy.actor.stack.flat[replica], struck.policy.actor.stack.flat[replica])


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_schedules_count_steps_per_replica(schedule: str) -> None:
    model = learner(Matching(steps=4), settings(*SEGMENTS, f"learning_rate_schedule={schedule}"), [0, 1])
    model.learn(64)
    model.env_steps = [16, 64]
    rates = model._rates()
    expected = [1e-3, 1e-3] if schedule == "constant" else [0.75e-3, 0.0]
    np.testing.assert_allclose(rates.actor.ravel(), expected, rtol=1e-12)
    assert rates.clip_range.flatten().tolist() == pytest.approx([0.2, 0.2])


def test_the_kl_weight_follows_each_replicas_own_divergence() -> None:
    model = learner(Matching(steps=4), settings(*SEGMENTS, "update=kl_penalty", "kl_target=1e-9"), [0, 1])
    model.learn(64)
    assert model.kl_coef.tolist() == [2.0, 2.0]


def test_callbacks_see_every_step_and_can_stop() -> None:
    model = learner(Corridor(length=5, time_limit=3), settings(*SEGMENTS, "gamma=0.9"), [0, 1])
    model.learn(10_000, callback=StopTrainingOnMaxEpisodes(max_episodes=2))
    assert model.num_timesteps < 100


def test_predict_takes_replica_major_batches() -> None:
    model = learner(Matching(), settings(), [0, 1, 2])
    model.policy.actor.stack.weights[5][1] = torch.tensor([[0.0], [9.0]])  # the second replica prefers action 1
    model.policy.actor.stack.weights[5][[0, 2]] = torch.tensor([[9.0], [0.0]])
    actions, _ = model.predict(np.zeros((6, 1), np.float32), deterministic=True)
    assert actions.tolist() == [0, 0, 1, 1, 0, 0]
    with pytest.raises(UserError, match="4 observations for 3 replicas"):
        model.predict(np.zeros((4, 1), np.float32))


def test_save_and_load(tmp_path: Path) -> None:
    model = learner(Matching(steps=4), settings(*SEGMENTS), [4, 9]).learn(128)
    model.save(tmp_path / "model")
    loaded = PolicyGradient.load(tmp_path / "model")
    assert loaded.seeds == (4, 9)
    assert loaded.env_steps == model.env_steps
    assert same_weights(model, loaded)
    assert torch.equal(loaded.policy.actor.adam.second, model.policy.actor.adam.second)
    observations = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(
        model.predict(observations, deterministic=True)[0], loaded.predict(observations, deterministic=True)[0]
    )
    loaded.set_env(BatchedVecEnv(BatchedEnv(Matching(steps=4), [4, 9], 4)))
    loaded.learn(128)


def test_a_saved_model_holds_json_and_weights_only(tmp_path: Path) -> None:
    learner(Matching(), settings(), [0]).save(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert sorted(archive.namelist()) == ["model.json", "weights.pt"]
        assert json.loads(archive.read("model.json"))["seeds"] == [0]
        torch.load(archive.open("weights.pt"), weights_only=True)


@pytest.mark.parametrize("damage", ["truncated", "text", "missing"])
def test_a_damaged_model_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.zip"
    learner(Matching(), settings(), [0]).save(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("not a model")
    else:
        path.unlink()
    with pytest.raises(UserError, match=r"model\.zip"):
        PolicyGradient.load(path)


@pytest.mark.parametrize("networks", [("hidden=[32,64]",), ("hidden=[32]",), ("hidden=[32,64]", "policy=linear")])
@pytest.mark.parametrize("advantage", ["gae", "monte_carlo"])
def test_a_replica_becomes_a_stock_ppo(tmp_path: Path, advantage: str, networks: tuple[str, ...]) -> None:
    config = settings("baseline=none", f"advantage={advantage}", *networks)
    model = learner(Matching(steps=4), config, [0, 1]).learn(64)
    before = torch.random.get_rng_state()
    stock = model.replica(1)
    assert torch.equal(before, torch.random.get_rng_state())
    observations = np.linspace(-1, 1, 10, dtype=np.float32)[:, None]
    ours = model.predict(np.concatenate([observations, observations]), deterministic=True)[0][10:]
    np.testing.assert_array_equal(stock.predict(observations, deterministic=True)[0], ours)
    stock.save(tmp_path / "stock")
    again = PPO.load(tmp_path / "stock", env=BatchedVecEnv(BatchedEnv(Matching(steps=4), [0], 1)))
    again.n_steps = 64
    assert evaluate_policy(again, again.get_env(), n_eval_episodes=3)[0] >= 0  # type: ignore[arg-type]
    values = stock.policy.predict_values(torch.from_numpy(observations))
    if advantage == "gae":
        inputs = torch.from_numpy(observations).T.unsqueeze(0)
        expected = model.policy.critic.stack.select([1]).forward(inputs)[0].flatten()  # type: ignore[union-attr]
        torch.testing.assert_close(values.flatten().detach(), expected, rtol=0, atol=1e-6)
    else:
        assert float(values.detach().abs().sum()) == 0.0  # an arm without a critic claims nothing


@pytest.mark.parametrize("networks", [("hidden=[32,64]",), ("policy=linear",)])
def test_a_replica_with_state_dependent_noise_becomes_a_stock_ppo(tmp_path: Path, networks: tuple[str, ...]) -> None:
    """Its means, log-probabilities and entropies are ours, and so is the spread of what it draws."""
    noise = ("exploration=sde", "exploration.sample_freq=3", "exploration.log_std_init=-1.5")
    config = settings("task=pendulum", "ent_coef=0.01", *noise, *networks)
    model = learner(Pendulum(time_limit=20), config, [0, 1]).learn(800)
    before = torch.random.get_rng_state()
    stock = model.replica(1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (stock.use_sde, stock.sde_sample_freq) == (True, 3)
    draw = np.random.default_rng(0)
    observations, actions = draw.normal(size=(10, 3)).astype(np.float32), draw.normal(size=(10, 1)).astype(np.float32)
    ours = model.predict(np.concatenate([observations, observations]), deterministic=True)[0][10:]
    np.testing.assert_allclose(stock.predict(observations, deterministic=True)[0], ours.clip(-2, 2), atol=1e-6)
    policy = model.policy.acting().select([1]).policy(torch.from_numpy(observations).T.unsqueeze(0))
    _, log_prob, entropy = stock.policy.evaluate_actions(torch.from_numpy(observations), torch.from_numpy(actions))
    assert entropy is not None
    torch.testing.assert_close(policy.log_prob(torch.from_numpy(actions).T.unsqueeze(0))[0], log_prob.detach())
    torch.testing.assert_close(policy.entropy()[0], entropy.detach())
    stock.save(tmp_path / "stock")
    again = PPO.load(tmp_path / "stock", env=BatchedVecEnv(BatchedEnv(Pendulum(time_limit=20), [0], 4)), n_steps=20)
    first = again.policy.state_dict()["log_std"].clone()
    again.learn(160)
    assert not torch.equal(first, again.policy.state_dict()["log_std"])


def test_noise_is_held_for_as_long_as_it_says() -> None:
    """One matrix for each environment: the same for `sample_freq` steps, another after them and for the others."""
    streams = [np.random.default_rng(seed) for seed in (0, 1)]
    for sample_freq, changes in ((3, [3, 6, 9]), (1, list(range(1, 10))), (None, [])):
        config = settings(
            "task=pendulum", "exploration=sde", f"exploration.sample_freq={sample_freq or 'null'}", "hidden=[32]"
        )
        actor = learner(Pendulum(time_limit=20), config, [0, 1]).policy.acting()
        noise = actor.noise(streams, 10, 4)
        assert noise.shape == (10, 2, 32, 4)
        assert [t for t in range(1, 10) if not torch.equal(noise[t], noise[t - 1])] == changes
        assert len(noise[0].flatten().unique()) == 2 * 32 * 4
        longer = list(itertools.islice(actor.noise_without_end(streams, 4), 150))
        found = [t for t in range(1, 150) if not torch.equal(longer[t], longer[t - 1])]
        assert found == ([] if sample_freq is None else list(range(sample_freq, 150, sample_freq)))


def test_a_task_can_be_named() -> None:
    model = PolicyGradient(env="CartPole-v1", seeds=2)
    assert model.n_envs == 2 * model.arm.n_envs
    assert model.arm.gamma == 0.99
    with pytest.raises(UserError, match="cartpol"):
        PolicyGradient(env="cartpol")


def test_an_environment_of_other_seeds_is_refused() -> None:
    config = settings()
    env = BatchedVecEnv(BatchedEnv(Matching(), [0], config.n_envs))
    with pytest.raises(UserError, match="seeds"):
        PolicyGradient(env=env, arm=config, seeds=[1]).learn(100)
