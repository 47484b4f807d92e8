"""The `ppo` arm against Stable-Baselines3's PPO: same rollout, same weights, same minibatches."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common import policies
from stable_baselines3.common.logger import Logger

from bench.config.schema import Config
from bench.learner import PolicyGradient
from bench.learner.export import replica_state
from bench.learner.rollout import Rollout
from bench.tasks.batched import BatchedEnv
from bench.tasks.cartpole import CartPole
from bench.tasks.vec_env import BatchedVecEnv
from tests.learner.probes import settings

N, T = 4, 64


def parity_settings(*overrides: str) -> Config:
    return settings(
        "preset=ppo", f"collect.n_envs={N}", f"collect.n_steps={T}", "grad_clip=joint", "critic.target=same",
        "ent_coef=0.01", *overrides,
    )  # fmt: skip


class Replayed:
    """A stand-in for a generator that hands out given permutations."""

    def __init__(self, permutations: Sequence[np.ndarray]) -> None:
        self.permutations = list(permutations)

    def permutation(self, count: int) -> np.ndarray:
        chosen = self.permutations.pop(0)
        assert len(chosen) == count
        return chosen


def first_batch(config: Config, time_limit: int = 500) -> PolicyGradient:
    """A learner that has collected one batch and not yet learned from it."""
    env = BatchedVecEnv(BatchedEnv(CartPole(time_limit), [0, 1], N))
    model = PolicyGradient(env=env, arm=config, seeds=[0, 1])
    train, model.train = model.train, lambda: None  # type: ignore[method-assign]
    model.learn(N * T)
    model.train = train  # type: ignore[method-assign]
    return model


def stock_update(ours: PolicyGradient, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights after one update of SB3's PPO, begun with the first replica's weights and rollout."""
    rollout, arm = ours._rollout, ours.arm
    assert rollout is not None
    model = PPO(
        "MlpPolicy", BatchedVecEnv(BatchedEnv(CartPole(), [0], N)), learning_rate=arm.learning_rate, n_steps=T,
        batch_size=N * T // arm.update.minibatches, n_epochs=arm.update.epochs, gamma=arm.gamma,
        gae_lambda=arm.gae_lambda, clip_range=arm.clip_range, ent_coef=arm.ent_coef, vf_coef=arm.critic.vf_coef,
        max_grad_norm=arm.max_grad_norm, device="cpu", policy_kwargs=ours.replica(0).policy_kwargs,
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    model.policy.load_state_dict(replica_state(ours.policy, 0))
    model.policy.to(dtype)
    model.policy.optimizer = torch.optim.Adam(model.policy.parameters(), lr=arm.learning_rate, eps=1e-5)
    fill(model, rollout, dtype)
    model.train()
    return {name: value.double() for name, value in model.policy.state_dict().items()}


def fill(model: PPO, rollout: Rollout, dtype: torch.dtype) -> None:
    """Put the first replica's rollout into SB3's buffer, values and log-probabilities from its own policy.

    As SB3 does it, a time limit adds γV(s_final) to the reward and counts as an end.
    """
    buffer, kind = model.rollout_buffer, np.float64 if dtype == torch.float64 else np.float32
    observations = rollout.observations[0].permute(1, 2, 0).to(dtype)  # (R, N, O)
    actions = rollout.actions[0, 0]
    with torch.no_grad():
        values = model.policy.predict_values(observations.flatten(0, 1)).view(-1, N)
        _, log_prob, _ = model.policy.evaluate_actions(observations[:T].flatten(0, 1), actions.flatten())
    done = (rollout.terminated | rollout.truncated)[:, 0]
    buffer.observations = observations[:T].numpy()
    buffer.actions = actions.unsqueeze(-1).numpy().astype(kind)
    following = values.gather(0, rollout.successor[:, 0])  # of the true successors
    rewards = rollout.rewards[:, 0] + model.gamma * following * rollout.truncated[:, 0]
    buffer.rewards = rewards.numpy().astype(kind)
    buffer.episode_starts = torch.cat([torch.zeros(1, N, dtype=torch.bool), done[:-1]]).numpy().astype(kind)
    buffer.values = values[:T].numpy()
    buffer.log_probs = log_prob.view(T, N).numpy()
    buffer.advantages = np.zeros((T, N), kind)
    buffer.full, buffer.pos = True, T
    buffer.compute_returns_and_advantage(values[T], done[-1].numpy())


@pytest.mark.parametrize(
    ("overrides", "time_limit"),
    [
        ((), 500),
        (("clip_range=0.05", "max_grad_norm=0.05"), 500),
        (("gae_lambda=0.5", "gamma=0.9"), 500),
        ((), 12),
        (("critic.network=shared",), 500),
        (("critic.network=shared", "critic.vf_coef=0.05", "max_grad_norm=0.1"), 12),
    ],
)
def test_an_update_is_as_close_to_exact_arithmetic_as_sb3s(
    overrides: tuple[str, ...], time_limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After forty minibatches |ours − float64| ≤ 2 |SB3 − float64|, in the weight that is furthest off."""
    model = first_batch(parity_settings(*overrides), time_limit)
    assert model._rollout is not None
    assert bool(model._rollout.truncated.any()) == (time_limit < 500)
    assert bool(model._rollout.terminated.any())
    initial = {name: value.double() for name, value in replica_state(model.policy, 0).items()}
    rng = np.random.default_rng(1)
    permutations = [rng.permutation(N * T) for _ in range(model.arm.update.epochs)]

    # SB3 would cast the observations of the exact replay to single precision.
    monkeypatch.setattr(policies, "preprocess_obs", lambda observations, *_, **__: observations)
    results = {}
    for dtype in (torch.float32, torch.float64):
        monkeypatch.setattr(np.random, "permutation", Replayed(permutations).permutation)
        results[dtype] = stock_update(model, dtype)
    model._streams["minibatch"] = [Replayed(permutations), Replayed(permutations)]  # type: ignore[list-item]
    model.train()
    ours = {name: value.double() for name, value in replica_state(model.policy, 0).items()}

    def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
        return max(float((a[name] - b[name]).abs().max()) for name in ours)

    exact = results[torch.float64]
    assert distance(initial, exact) > 1e-2, "the update should have moved the weights"
    assert distance(ours, exact) <= 2 * distance(results[torch.float32], exact)
    assert distance(ours, exact) < 1e-4
