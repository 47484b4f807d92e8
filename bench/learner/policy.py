"""The policies and critics of S replicas as one Stable-Baselines3 policy."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from bench.config.schema import GAUSSIAN, Exploration
from bench.errors import UserError
from bench.learner.actor import Actor
from bench.learner.distributions import distribution_for
from bench.learner.network import Scratch, Stack
from bench.learner.normalisation import Moments, RewardScale
from bench.learner.optimiser import Adam
from bench.learner.update import Network
from bench.seeding import stream

# Of initial weights, as in Stable-Baselines3: the policy is nearly uniform to begin with.
HEAD_GAINS = {"actor": 0.01, "critic": 1.0}


class StackedPolicy(BasePolicy):
    """Separate actor and critic networks for each seed, stacked; without a critic, `critic` is None.

    `moments` holds the scale of observations and `reward_scale` that of rewards, where the arm normalises them.

    `predict` takes replica-major batches: with S replicas, the first 1/S of the observations go to the first, and so
    on. Use `PolicyGradient.replica(i)` for one of them alone.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        seeds: Sequence[int] = (0,),
        hidden: Sequence[int] = (64, 64),
        with_critic: bool = True,
        pool: str = "main",
        device: torch.device | str = "cpu",
        norm_obs: bool = False,
        reward_envs: int | None = None,
        actor_hidden: Sequence[int] | None = None,
        exploration: Exploration = GAUSSIAN,
    ) -> None:
        super().__init__(observation_space, action_space)
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise UserError(f"observation space {observation_space}: only flat Box spaces are supported")
        inputs = observation_space.shape[0]
        self.distribution, self.exploration = distribution_for(action_space, exploration.name), exploration
        self.seeds, self.hidden, self.pool, self._scratch = tuple(seeds), tuple(hidden), pool, Scratch()
        widths = self.hidden if actor_hidden is None else tuple(actor_hidden)
        outputs, extra = self.distribution.sizes(action_space, (inputs, *widths)[-1])
        self.actor = self._network(
            "actor", Stack(len(seeds), inputs, widths, outputs, extra=extra, device=device, scratch=self._scratch)
        )
        critic = Stack(len(seeds) if with_critic else 0, inputs, hidden, 1, device=device, scratch=self._scratch)
        self.critic = self._network("critic", critic) if with_critic else None
        self.moments = Moments(len(seeds), inputs, device) if norm_obs else None
        self.reward_scale = None if reward_envs is None else RewardScale(len(seeds), reward_envs, device)
        self.optimizer = self.actor.adam  # type: ignore[assignment]  # SB3 only asks that there be one
        self._action_streams = [stream(seed, "evaluation", pool=pool) for seed in seeds]  # of `predict`

    def _network(self, purpose: Literal["actor", "critic"], stack: Stack) -> Network:
        self._initialise(purpose, stack)
        # Registered, so that SB3 finds them in state_dict(); they share the stack's memory.
        self.register_parameter(f"{purpose}_parameters", torch.nn.Parameter(stack.flat, requires_grad=False))
        return Network(stack, Adam(stack.flat))

    def _initialise(self, purpose: Literal["actor", "critic"], stack: Stack) -> None:
        for replica, seed in enumerate(self.seeds):
            stack.initialise(replica, stream(seed, purpose, pool=self.pool), HEAD_GAINS[purpose])
        if purpose == "actor":
            stack.extras.fill_(self.exploration.log_std_init)

    @property
    def replicas(self) -> int:
        """S."""
        return len(self.seeds)

    def acting(self) -> Actor:
        """What acts in all replicas' environments; it shares their parameters and moments."""
        return Actor(self.actor.stack, self.distribution, self.moments, self.exploration.hold)

    def initial(self) -> Actor:
        """What acted before training, derived anew from the seeds; it shares nothing with what acts now."""
        stack = self.actor.stack.like(torch.zeros_like(self.actor.stack.flat))
        self._initialise("actor", stack)
        moments = None if self.moments is None else Moments(self.replicas, stack.inputs, stack.flat.device)
        return Actor(stack, self.distribution, moments, self.exploration.hold)

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        count = len(observation)
        if count % self.replicas:
            raise UserError(
                f"{count} observations for {self.replicas} replicas: give a multiple, replica-major, or use .replica(i)"
            )
        share = count // self.replicas
        inputs = observation.float().unflatten(0, (self.replicas, share)).transpose(1, 2)
        acting = self.acting()
        policy = acting.policy(inputs)
        noise = acting.noise(self._action_streams, 1, share)[0]
        actions = policy.mode() if deterministic else policy.sample(noise)
        shape = self.action_space.shape or ()  # Gymnasium types it as possibly None
        return actions.transpose(1, 2).reshape(count, *shape)

    def replica_state(self, replica: int) -> dict[str, Tensor]:
        """The weights of one replica under the names of a stock SB3 policy.

        An arm without a critic gets a value head of zeros: SB3's policies have one, and zero claims nothing.
        """
        actor, critic = self.actor.stack, self.critic.stack if self.critic is not None else None
        state = _named(_layers("policy_net", actor.hidden, "action_net"), actor.weights, replica)
        if actor.extra:
            log_std = actor.extras[replica].detach().clone()
            sde = self.exploration.name == "sde"  # whose log σ SB3 keeps as (F, K)
            state["log_std"] = log_std.unflatten(0, (actor.outputs, -1)).T.contiguous() if sde else log_std
        names = _layers("value_net", self.hidden, "value_net")
        if critic is not None:
            return state | _named(names, critic.weights, replica)
        return state | _named(names, Stack(1, actor.inputs, self.hidden, 1).weights, 0)


def _layers(net: str, hidden: Sequence[int], head: str) -> list[str]:
    """The names of the same layers in a stock SB3 policy, whose activations are counted too."""
    return [*(f"mlp_extractor.{net}.{2 * layer}" for layer in range(len(hidden))), head]


def _named(layers: Sequence[str], weights: Sequence[Tensor], replica: int) -> dict[str, Tensor]:
    state = {}
    for name, weight, bias in zip(layers, weights[::2], weights[1::2], strict=True):
        state[f"{name}.weight"] = weight[replica].detach().clone()
        state[f"{name}.bias"] = bias[replica, :, 0].detach().clone()
    return state
