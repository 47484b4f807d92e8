"""One replica as stock objects of Stable-Baselines3: a `PPO` with its weights, a `VecNormalize` with its scales."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.running_mean_std import RunningMeanStd as StockRunningMeanStd
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor

from bench.config.schema import Arm
from bench.learner.network import Stack
from bench.learner.normalisation import CLIP, EPSILON, RunningMeanStd
from bench.learner.policy import StackedPolicy


def stock_ppo(policy: StackedPolicy, replica: int, arm: Arm, env_steps: int, device: torch.device) -> PPO:
    """Return one replica as a stock `PPO`, which saves, loads, evaluates and goes on learning by itself."""
    with torch.random.fork_rng():
        model = PPO(
            "MlpPolicy",
            None,  # type: ignore[arg-type]  # SB3 allows it when the model is set up later
            learning_rate=arm.learning_rate,
            gamma=arm.gamma,
            gae_lambda=arm.gae_lambda,
            clip_range=arm.clip_range,
            ent_coef=arm.ent_coef,
            vf_coef=arm.critic.vf_coef,
            max_grad_norm=math.inf if arm.max_grad_norm is None else arm.max_grad_norm,
            use_sde=arm.exploration.name == "sde",
            sde_sample_freq=arm.exploration.sample_freq or -1,
            device=device,
            _init_setup_model=False,
            policy_kwargs=_networks(arm),
        )
        model.observation_space, model.action_space, model.n_envs = policy.observation_space, policy.action_space, 1
        model._setup_model()
        model.policy.load_state_dict(replica_state(policy, replica))
        if model.use_sde:
            model.policy.reset_noise()  # drawn from the σ it was built with
    model.num_timesteps = env_steps
    return model


class SharedLayers(BaseFeaturesExtractor):
    """The hidden layers that actor and critic share, as SB3's features extractor: both heads read them."""

    def __init__(self, observation_space: spaces.Space[Any], widths: Sequence[int]) -> None:
        super().__init__(observation_space, widths[-1])
        layers = itertools.pairwise((get_flattened_obs_dim(observation_space), *widths))
        self.layers = torch.nn.Sequential(
            *(module for inside, outside in layers for module in (torch.nn.Linear(inside, outside), torch.nn.Tanh()))
        )

    def forward(self, observations: Tensor) -> Tensor:
        """Return the last layer's activations (B, width)."""
        features: Tensor = self.layers(observations.flatten(1))
        return features


def _networks(arm: Arm) -> dict[str, Any]:
    """Return what SB3's `policy_kwargs` say of an arm's networks."""
    if not arm.shares_layers:
        return {
            "net_arch": {"pi": list(arm.actor_hidden), "vf": list(arm.hidden)},
            "activation_fn": torch.nn.Tanh,
        }
    return {
        "net_arch": [],
        "features_extractor_class": SharedLayers,
        "features_extractor_kwargs": {"widths": list(arm.hidden)},
    }


def replica_state(policy: StackedPolicy, replica: int) -> dict[str, Tensor]:
    """Return the weights of one replica under the names of a stock SB3 policy.

    An arm without a critic gets a value head of zeros: SB3's policies have one, and zero claims nothing.
    """
    actor, value_hidden = policy.actor.stack, () if policy.shared else policy.hidden
    nets = [f"{which}features_extractor.layers" for which in ("", "pi_", "vf_")]  # SB3 has shared layers three times
    state: dict[str, Tensor] = {}
    for net in nets if policy.shared else ["mlp_extractor.policy_net"]:
        state |= _named(_layers(net, actor.hidden, "action_net"), actor.weights, replica)
    if actor.extra:
        log_std = actor.extras[replica].detach().clone()
        sde = policy.exploration.name == "sde"  # whose log σ SB3 keeps as (F, K)
        state["log_std"] = log_std.unflatten(0, (actor.outputs, -1)).T.contiguous() if sde else log_std
    names = _layers("mlp_extractor.value_net", value_hidden, "value_net")
    if policy.critic is not None:
        return state | _named(names, policy.critic.stack.weights, replica)
    return state | _named(names, Stack(1, actor.inputs, policy.hidden, 1).weights, 0)


def vec_normalize(policy: StackedPolicy, replica: int, venv: VecEnv, gamma: float) -> VecNormalize:
    """Return one replica's scales as SB3's wrapper of `venv`, frozen; what the arm does not normalise is left alone."""
    observations, rewards = policy.obs_rms, policy.reward_scale
    wrapper = VecNormalize(
        venv,
        training=False,
        norm_obs=observations is not None,
        norm_reward=rewards is not None,
        clip_obs=CLIP,
        clip_reward=CLIP,
        gamma=gamma,
        epsilon=EPSILON,
    )
    if observations is not None:
        assert isinstance(wrapper.obs_rms, StockRunningMeanStd)  # observations are flat Boxes
        _fill(wrapper.obs_rms, observations, replica)
    if rewards is not None:
        _fill(wrapper.ret_rms, rewards.ret_rms, replica)
    return wrapper


def _fill(stock: StockRunningMeanStd, ours: RunningMeanStd, replica: int) -> None:
    """Give SB3's statistics the numbers of one replica."""
    shape = stock.mean.shape
    stock.mean = ours.mean[replica].clone().cpu().numpy().reshape(shape)
    stock.var = ours.variance[replica].clone().cpu().numpy().reshape(shape)
    stock.count = float(ours.count[replica])


def _layers(net: str, hidden: Sequence[int], head: str) -> list[str]:
    """Return the names of the same layers in a stock SB3 policy, whose activations are counted too."""
    return [*(f"{net}.{2 * layer}" for layer in range(len(hidden))), head]


def _named(layers: Sequence[str], weights: Sequence[Tensor], replica: int) -> dict[str, Tensor]:
    state = {}
    for name, weight, bias in zip(layers, weights[::2], weights[1::2], strict=True):
        state[f"{name}.weight"] = weight[replica].detach().clone()
        state[f"{name}.bias"] = bias[replica, :, 0].detach().clone()
    return state
