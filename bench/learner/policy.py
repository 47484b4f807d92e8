"""The policies and critics of S replicas as one Stable-Baselines3 policy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from bench.errors import UserError
from bench.learner.adam import Adam
from bench.learner.distributions import Categorical
from bench.learner.network import Stack
from bench.learner.update import Network
from bench.streams import stream

# The names of the same layers in a stock SB3 policy.
_ACTOR_LAYERS = ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net")
_CRITIC_LAYERS = ("mlp_extractor.value_net.0", "mlp_extractor.value_net.2", "value_net")


class StackedPolicy(BasePolicy):
    """Separate actor and critic networks for each seed, stacked; without a critic, `critic` is None.

    `predict` takes replica-major batches: with S replicas, the first 1/S of the observations go to the first, and so
    on. Use `PolicyGradient.replica(i)` for one of them alone.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        seeds: Sequence[int] = (0,),
        hidden: tuple[int, int] = (64, 64),
        with_critic: bool = True,
        pool: str = "main",
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(observation_space, action_space)
        inputs, outputs = _sizes(observation_space, action_space)
        self.seeds, self.hidden = tuple(seeds), hidden
        self.actor = self._network("actor", inputs, outputs, head_gain=0.01, pool=pool, device=device)
        self.critic = (
            self._network("critic", inputs, 1, head_gain=1.0, pool=pool, device=device) if with_critic else None
        )
        self.optimizer = self.actor.adam  # type: ignore[assignment]  # SB3 only asks that there be one
        self._action_streams = [stream(seed, "evaluation", pool=pool) for seed in seeds]  # of `predict`

    def _network(
        self, purpose: str, inputs: int, outputs: int, *, head_gain: float, pool: str, device: torch.device | str
    ) -> Network:
        stack = Stack(len(self.seeds), inputs, self.hidden, outputs, device=device)
        for replica, seed in enumerate(self.seeds):
            rng = stream(seed, "actor" if purpose == "actor" else "critic", pool=pool)
            stack.initialise(replica, rng, head_gain)
        # Registered, so that SB3 finds them in state_dict(); they share the stack's memory.
        self.register_parameter(f"{purpose}_parameters", torch.nn.Parameter(stack.flat, requires_grad=False))
        return Network(stack, Adam(stack.flat))

    @property
    def replicas(self) -> int:
        """S."""
        return len(self.seeds)

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        count = len(observation)
        if count % self.replicas:
            raise UserError(
                f"{count} observations for {self.replicas} replicas: give a multiple, replica-major, or use .replica(i)"
            )
        share = count // self.replicas
        inputs = observation.float().unflatten(0, (self.replicas, share)).transpose(1, 2)
        policy = Categorical(self.actor.stack.forward(inputs)[0])
        if deterministic:
            return policy.mode().flatten()
        noise = [Categorical.draw(stream, (share,)) for stream in self._action_streams]
        return policy.sample(torch.from_numpy(np.stack(noise))).flatten()

    def replica_state(self, replica: int) -> dict[str, Tensor]:
        """The weights of one replica under the names of a stock SB3 policy.

        An arm without a critic gets a value head of zeros: SB3's policies have one, and zero claims nothing.
        """
        state = _named(_ACTOR_LAYERS, self.actor.stack.weights, replica)
        if self.critic is not None:
            return state | _named(_CRITIC_LAYERS, self.critic.stack.weights, replica)
        inputs, (first, second) = self.actor.stack.inputs, self.hidden
        for name, (rows, columns) in zip(_CRITIC_LAYERS, ((first, inputs), (second, first), (1, second)), strict=True):
            state |= {f"{name}.weight": torch.zeros(rows, columns), f"{name}.bias": torch.zeros(rows)}
        return state


def _named(layers: Sequence[str], weights: Sequence[Tensor], replica: int) -> dict[str, Tensor]:
    state = {}
    for name, weight, bias in zip(layers, weights[::2], weights[1::2], strict=True):
        state[f"{name}.weight"] = weight[replica].detach().clone()
        state[f"{name}.bias"] = bias[replica, :, 0].detach().clone()
    return state


def _sizes(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> tuple[int, int]:
    """Network inputs and outputs. Raises `UserError` for spaces that are not supported."""
    if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
        raise UserError(f"observation space {observation_space}: only flat Box spaces are supported")
    if not isinstance(action_space, spaces.Discrete):
        raise UserError(f"action space {action_space}: only Discrete spaces are supported")
    return observation_space.shape[0], int(action_space.n)
