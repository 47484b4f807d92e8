"""Running scales against two passes over the data, and against Stable-Baselines3's on the same stream."""

from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.running_mean_std import RunningMeanStd as StockRunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

import bench
from bench.learner import PolicyGradient
from bench.learner.evaluate import evaluate
from bench.learner.normalisation import RewardScale, RunningMeanStd
from bench.tasks.batched import BatchedEnv
from bench.tasks.pendulum import Pendulum
from bench.tasks.vec_env import BatchedVecEnv
from tests.learner.probes import SEGMENTS, ActionReward, Corridor, learner, settings

S, F = 3, 4


def batches(count: int = 5) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Values (S, F, M) of different sizes and far from 0, and which of them are live (S, M)."""
    rng = np.random.default_rng(0)
    made = []
    for size in rng.integers(1, 30, count):
        values = torch.from_numpy(rng.normal(100.0, 0.1, (S, F, size)))
        made.append((values, torch.from_numpy(rng.random((S, size)) < 0.7)))
    return made


def test_moments_are_those_of_two_passes_over_everything_live() -> None:
    moments, made = RunningMeanStd(S, F), batches()
    for values, live in made:
        moments.update(values, live)
    for replica in range(S):
        seen = np.concatenate([values[replica][:, live[replica]].numpy() for values, live in made], axis=1)
        np.testing.assert_allclose(moments.mean[replica], seen.mean(axis=1), rtol=1e-14)
        np.testing.assert_allclose(moments.variance[replica], seen.var(axis=1), rtol=1e-10)
        assert float(moments.count[replica]) == seen.shape[1]


def test_moments_follow_stable_baselines_rule_without_its_pseudo_count() -> None:
    """SB3 counts 10⁻⁴ observations of mean 0 and variance 1 before the first; here nothing precedes the data."""
    moments, stock = RunningMeanStd(1, F), StockRunningMeanStd(epsilon=0.0, shape=(F,))
    with_pseudo_count = StockRunningMeanStd(shape=(F,))
    for values, _ in batches():
        moments.update(values[:1], torch.ones(1, values.shape[2], dtype=torch.bool))
        for one in (stock, with_pseudo_count):
            one.update(values[0].T.numpy())
        np.testing.assert_allclose(moments.mean[0], stock.mean, rtol=1e-14)
        np.testing.assert_allclose(moments.variance[0], stock.var, rtol=1e-9)
    assert (with_pseudo_count.var / stock.var).min() > 1.5, "the pseudo-count is no detail for data far from 0"


def test_nothing_seen_leaves_observations_as_they_are() -> None:
    moments = RunningMeanStd(S, F)
    moments.update(torch.zeros(S, F, 5), torch.zeros(S, 5, dtype=torch.bool))
    values = torch.linspace(-3, 3, S * F * 2).view(S, F, 2)
    torch.testing.assert_close(moments.standardise(values), values)


def test_a_replicas_moments_are_its_own() -> None:
    """Other neighbours, other values beside it, or a subset that comes and goes: the same bits."""
    made = batches()
    whole, alone, in_parts = RunningMeanStd(S, F), RunningMeanStd(1, F), RunningMeanStd(S, F)
    for values, live in made:
        whole.update(values, live)
        alone.update(values[1:2], live[1:2])
        part = in_parts.select([1])
        part.update(values[1:2], live[1:2])
        in_parts.restore([1], part)
    assert torch.equal(whole.mean[1], alone.mean[0])
    assert torch.equal(whole.variance[1], alone.variance[0])
    assert torch.equal(in_parts.variance[1], alone.variance[0])
    assert float(in_parts.count[0]) == 0.0


def test_standardised_values_are_clipped_at_ten_deviations() -> None:
    moments = RunningMeanStd(1, 1)
    moments.update(torch.tensor([[[1.0, 3.0]]]), torch.ones(1, 2, dtype=torch.bool))  # mean 2, deviation 1
    standardised = moments.standardise(torch.tensor([[[2.0, 3.5, 100.0, -100.0]]]))
    torch.testing.assert_close(standardised, torch.tensor([[[0.0, 1.5, 10.0, -10.0]]]))


def reward_stream(steps: int, envs: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(-3, 2, (steps, envs)), rng.random((steps, envs)) < 0.1


def test_rewards_are_scaled_by_stable_baselines_rule_frozen_within_a_batch() -> None:
    """Both divide by the deviation of the running discounted return, which an episode's end sets to 0, and never
    shift. The one difference is meant: SB3 divides each step by the statistics so far, so that the same reward counts
    differently early and late in a batch; here a batch is taken in first and divided by one number."""
    gamma, envs, steps = 0.9, 4, 25
    rewards, done = reward_stream(3 * steps, envs)
    ours = RewardScale(1, envs)
    stock = VecNormalize(BatchedVecEnv(BatchedEnv(ActionReward(), [0], envs)), norm_obs=False, gamma=gamma)
    stock.ret_rms = StockRunningMeanStd(epsilon=0.0, shape=())
    stock.returns = np.zeros(envs)
    live = torch.ones(steps, 1, envs, dtype=torch.bool)
    for start in range(0, 3 * steps, steps):
        batch = slice(start, start + steps)
        scaled = ours(
            [0], torch.from_numpy(rewards[batch])[:, None], torch.from_numpy(done[batch])[:, None], live, gamma
        )
        theirs = []
        for reward, ended in zip(rewards[batch], done[batch], strict=True):
            stock._update_reward(reward)
            theirs.append(stock.normalize_reward(reward))
            stock.returns[ended] = 0
        np.testing.assert_allclose(ours.ret_rms.variance[0, 0], stock.ret_rms.var, rtol=1e-12)
        frozen = rewards[batch] / np.sqrt(stock.ret_rms.var + stock.epsilon)
        np.testing.assert_allclose(scaled[:, 0].numpy(), frozen, rtol=1e-12)
        np.testing.assert_allclose(scaled[-1, 0].numpy(), theirs[-1], rtol=1e-6)  # where the batch ends they agree
        assert np.abs(scaled[0, 0].numpy() - theirs[0]).max() > 1e-6


def test_waiting_environments_count_for_nothing() -> None:
    """Behind the end of an episode nothing is rewarded and nothing live: the same scale as without those rows."""
    rewards = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]], [[-1.0, 0.0]]])  # the second environment ends after one step
    done = torch.tensor([[[False, True]], [[False, False]], [[True, False]]])
    live = torch.tensor([[[True, True]], [[True, False]], [[True, False]]])
    scale = RewardScale(1, 2)
    scale([0], rewards, done, live, 0.5)
    seen = [1.0, 3.5, 0.75, 2.0]  # running returns: 1, 3 + ½·1, −1 + ½·3.5, and 2
    assert float(scale.ret_rms.variance[0, 0]) == pytest.approx(np.var(seen))
    assert scale.running.tolist() == [[0.0, 0.0]]


NORMALISED = (*SEGMENTS, "norm_obs=true", "norm_reward=true", "gamma=0.9")


def test_a_batch_is_learned_from_on_the_scale_it_was_acted_on() -> None:
    """During the first batch nothing has been seen, so the policy saw raw observations, and its ratios begin at 1."""
    model = learner(Corridor(length=50), settings(*NORMALISED, "update.epochs=1", "update.minibatches=1"), [0, 1])
    model.learn(64)
    assert [row["train/approx_kl"] for row in model.latest] == [0.0, 0.0]
    assert model.policy.obs_rms is not None
    assert model.policy.obs_rms.count.flatten().tolist() == [64.0, 64.0]
    model.learn(64, reset_num_timesteps=False)
    assert [row["train/approx_kl"] for row in model.latest] == [0.0, 0.0]


def test_evaluation_and_prediction_freeze_the_scales() -> None:
    model = learner(Corridor(length=50), settings(*NORMALISED), [0, 1]).learn(128)
    assert model.policy.obs_rms is not None
    before = {name: value.clone() for name, value in model.policy.obs_rms.state_dict().items()}
    evaluate(model.policy.acting(), Corridor(length=50), [0, 1], 0, 3)
    model.predict(np.full((4, 1), 1e6, np.float32))
    assert all(torch.equal(value, before[name]) for name, value in model.policy.obs_rms.state_dict().items())


def test_learning_anew_begins_new_returns() -> None:
    """`learn` resets the environments, so what had been earned in the interrupted episodes is nobody's return."""
    task, config = Corridor(length=1000, time_limit=None), settings(*NORMALISED, "learning_rate=1e-30")
    model = learner(task, config, [0]).learn(64)
    scale = model.policy.reward_scale
    assert scale is not None
    assert float(scale.running.min()) > 10  # places 1 to 20 at γ = 0.9
    for again in (True, False):
        before = scale.running.clone()
        model.learn(64, reset_num_timesteps=again)
        assert model.env is not None
        places = model.env.batched.state[0]  # type: ignore[attr-defined]
        began = torch.from_numpy(places)[None] - 16
        expected = before * 0.9**16 * (not again) + sum(0.9 ** (15 - t) * (began + t + 1) for t in range(16))
        torch.testing.assert_close(scale.running, expected)


@pytest.fixture(scope="module")
def pendulum() -> PolicyGradient:
    """Two seeds trained with both normalisers."""
    config = bench.compose(
        ["task=pendulum", "collect=segments", "collect.n_envs=2", "collect.n_steps=100", "norm_obs=true",
         "norm_reward=true", "hidden=[32,32]", "update.epochs=2", "critic.epochs=2"]
    )  # fmt: skip
    return PolicyGradient(env=BatchedVecEnv(BatchedEnv(Pendulum(), [3, 8], 2)), arm=config, seeds=[3, 8]).learn(400)


@pytest.mark.parametrize("replica", [0, 1])
def test_a_stock_ppo_behind_the_replicas_scales_does_the_same(pendulum: PolicyGradient, replica: int) -> None:
    """Deterministic actions along whole episodes, ours and those of the stock objects, in the same environments."""
    stock = pendulum.replica(replica)
    venv = pendulum.replica_normalisation(replica, BatchedVecEnv(BatchedEnv(Pendulum(), [0], 5)))
    assert not venv.training
    observation, far = venv.reset(), 0.0
    for _ in range(50):
        raw = venv.get_original_obs()
        action, _ = stock.predict(observation, deterministic=True)  # type: ignore[arg-type]
        ours, _ = pendulum.predict(np.concatenate([raw, raw]), deterministic=True)
        np.testing.assert_allclose(ours.reshape(2, 5, 1)[replica].clip(-2, 2), action, atol=1e-5)
        unscaled, _ = stock.predict(raw, deterministic=True)  # type: ignore[arg-type]
        far = max(far, float(np.abs(unscaled - action).max()))
        observation = venv.step(action)[0]
    assert far > 1e-3, "without the scales the stock policy acts differently"


def test_a_stock_ppo_evaluates_and_goes_on_behind_the_replicas_scales(pendulum: PolicyGradient, tmp_path: Path) -> None:
    stock = pendulum.replica(1)
    venv = pendulum.replica_normalisation(1, BatchedVecEnv(BatchedEnv(Pendulum(), [0], 4)))
    assert pendulum.policy.obs_rms is not None
    before = float(venv.obs_rms.count)  # type: ignore[union-attr]
    assert before == 400.0
    mean, _ = evaluate_policy(stock, venv, n_eval_episodes=4)
    assert -2000 < mean < -200, "the task's own returns, not scaled ones"
    assert venv.obs_rms.count == before  # type: ignore[union-attr]
    stock.save(tmp_path / "stock")
    venv.training = True
    again = PPO.load(tmp_path / "stock", env=venv, n_steps=16, n_epochs=1, batch_size=64)
    again.learn(64)
    assert venv.obs_rms.count > before  # type: ignore[union-attr]


def test_an_arm_that_normalises_nothing_gets_a_wrapper_that_changes_nothing() -> None:
    model = learner(Corridor(), settings(*SEGMENTS), [0])
    venv = BatchedVecEnv(BatchedEnv(Corridor(), [0], 2))
    wrapped = model.replica_normalisation(0, venv)
    observation = wrapped.reset()
    np.testing.assert_array_equal(observation, wrapped.get_original_obs())
    _, rewards, _, _ = wrapped.step(np.zeros(2, dtype=int))
    np.testing.assert_array_equal(rewards, wrapped.get_original_reward())
