"""The policies and critics of S replicas as one Stable-Baselines3 policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import Tensor

from bench.config.schema import Arm
from bench.errors import UserError
from bench.kernel.engine import Engine, computing_with
from bench.learner.actor import Actor
from bench.learner.distributions import distribution_for
from bench.learner.network import Stack
from bench.learner.normalisation import RewardScale, RunningMeanStd
from bench.learner.optimiser import Adam
from bench.learner.shared_layers import value_network
from bench.learner.train_state import TrainState
from bench.seeding import stream

# Of initial weights, as in Stable-Baselines3: the policy is nearly uniform to begin with.
HEAD_GAINS = {"actor": 0.01, "critic": 1.0}

Weights = Mapping[str, Mapping[str, Tensor]]  # part of the policy → name → tensor


@dataclass(frozen=True)
class ActorCritic:
    """The networks of some replicas, for one update: `acting` shares the parameters of `actor`.

    Where layers are `shared`, `critic` is a head on the actor's.
    """

    acting: Actor
    actor: TrainState
    critic: TrainState | None
    shared: bool = False

    def values(self) -> Stack | None:
        """Return the networks of the values, of observations; None without a critic."""
        if self.critic is None:
            return None
        return value_network(self.actor.stack, self.critic.stack) if self.shared else self.critic.stack


class StackedPolicy(BasePolicy):
    """The networks of an arm for each seed, stacked; in an arm without a critic, `critic` is None.

    Where actor and critic share layers (`shared`), `critic` is a head on the actor's last hidden layer.

    `obs_rms` holds the scale of observations and `reward_scale` that of rewards, where the arm normalises them.

    `predict` takes replica-major batches: with S replicas, the first 1/S of the observations go to the first, and so
    on. Use `PolicyGradient.replica(i)` for one of them alone.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        arm: Arm,
        seeds: Sequence[int],
        pool: str = "main",
        device: torch.device | str = "cpu",
        engine: Engine = "kernel",
    ) -> None:
        super().__init__(observation_space, action_space)
        self.engine: Engine = engine
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise UserError(f"observation space {observation_space}: only flat Box spaces are supported")
        self.names = tuple(seeds)  # what replicas are asked for by
        self.seeds, self.pool, self.hidden, self.exploration = tuple(seeds), pool, arm.hidden, arm.exploration
        self.shared = arm.shares_layers
        self.distribution = distribution_for(action_space, arm.exploration.name)
        replicas, inputs = len(seeds), observation_space.shape[0]
        outputs, extra = self.distribution.sizes(action_space, (inputs, *arm.actor_hidden)[-1])
        actor = Stack(replicas, inputs, arm.actor_hidden, outputs, extra=extra, device=device)
        self.actor, self.critic = self._initialised("actor", actor), None
        if arm.has_critic:
            below, hidden = (arm.hidden[-1], ()) if self.shared else (inputs, arm.hidden)
            critic = Stack(replicas, below, hidden, 1, device=device)
            self.critic = self._initialised("critic", critic)
        self.obs_rms = RunningMeanStd(replicas, inputs, device) if arm.norm_obs else None
        self.reward_scale = RewardScale(replicas, arm.n_envs, device) if arm.norm_reward else None
        self.optimizer = self.actor.adam  # type: ignore[assignment]  # SB3 only asks that there be one
        self._action_streams = [stream(seed, "evaluation", pool=pool) for seed in seeds]  # of `predict`

    def _initialised(self, purpose: Literal["actor", "critic"], stack: Stack) -> TrainState:
        self._initialise(purpose, stack)
        self._register(purpose, stack)
        return TrainState(stack, Adam(stack.flat))

    def _register(self, purpose: str, stack: Stack) -> None:
        """Let SB3 find the parameters in `state_dict()`; they share the stack's memory."""
        self.register_parameter(f"{purpose}_parameters", torch.nn.Parameter(stack.flat, requires_grad=False))

    def _initialise(self, purpose: Literal["actor", "critic"], stack: Stack) -> None:
        for replica, seed in enumerate(self.seeds):
            stack.initialise(replica, stream(seed, purpose, pool=self.pool), HEAD_GAINS[purpose])
        if purpose == "actor":
            stack.extras.fill_(self.exploration.log_std_init)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made from; the distribution is a class that pickle may not find."""
        return {name: value for name, value in vars(self).items() if name != "distribution"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # torch's
        self.distribution = distribution_for(self.action_space, self.exploration.name)
        for name, network in self.networks().items():
            self._register(name, network.stack)  # torch copies them apart from the stack

    if not TYPE_CHECKING:  # to the type checker nothing changes

        def __getattr__(self, name: str) -> Any:
            """Say where to find what policies of Stable-Baselines3's have. Raises AttributeError."""
            try:
                return super().__getattr__(name)
            except AttributeError:
                if not hasattr(ActorCriticPolicy, name):
                    raise
            raise AttributeError(f"policy.{name}: a stack of policies has no such thing; model.replica(i).policy has")

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - those of SB3's policies
        """Raises `UserError`: what SB3's policies return is that of one."""
        raise UserError(
            "policy(…): a stack of policies is asked by predict; model.replica(i).policy returns values too"
        )

    def save(self, path: str) -> None:
        """Raises `UserError`: the model saves its policy."""
        raise UserError(f"policy.save('{path}'): use model.save, which writes no code")

    @classmethod
    def load(cls, path: str, device: torch.device | str = "auto") -> Self:  # noqa: ARG003 - SB3's signature
        """Raises `UserError`: the model loads its policy."""
        raise UserError(f"policy.load('{path}'): use PolicyGradient.load, which executes no code")

    @property
    def replicas(self) -> int:
        """S."""
        return len(self.seeds)

    @property
    def critic_optimizer(self) -> Adam | None:
        """The critic's optimiser; `optimizer` is the actor's."""
        return None if self.critic is None else self.critic.adam

    def networks(self) -> dict[str, TrainState]:
        """Return the stacked networks by name; no critic in an arm without one."""
        networks = {"actor": self.actor, "critic": self.critic}
        return {name: network for name, network in networks.items() if network is not None}

    def acting(self, rows: Sequence[int] | None = None) -> Actor:
        """Return what acts in the environments of these replicas: copies, or what is trained itself where it is all."""
        acting = Actor(self.actor.stack, self.distribution, self.obs_rms, self.exploration.hold)
        return acting if rows is None or len(rows) == self.replicas else acting.select(rows)

    def select(self, rows: Sequence[int]) -> ActorCritic:
        """Return the networks of these replicas: copies, or the policy's own where these are all."""
        if len(rows) == self.replicas:
            return ActorCritic(self.acting(), self.actor, self.critic, self.shared)
        actor, critic = self.actor.select(rows), None if self.critic is None else self.critic.select(rows)
        return ActorCritic(replace(self.acting(rows), stack=actor.stack), actor, critic, self.shared)

    def restore(self, rows: Sequence[int], chosen: ActorCritic) -> None:
        """Write back the weights that `select` took."""
        if chosen.actor is self.actor:
            return
        self.actor.restore(rows, chosen.actor)
        if self.critic is not None and chosen.critic is not None:
            self.critic.restore(rows, chosen.critic)

    def initial(self) -> Actor:
        """Return what acted before training, derived anew from the seeds; it shares nothing with what acts now."""
        stack = self.actor.stack.like(torch.zeros_like(self.actor.stack.flat))
        self._initialise("actor", stack)
        obs_rms = None if self.obs_rms is None else RunningMeanStd(self.replicas, stack.inputs, stack.flat.device)
        return Actor(stack, self.distribution, obs_rms, self.exploration.hold)

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """Return parameters, optimiser state and normalisers, for saving."""
        found = {name: network.state_dict() for name, network in self.networks().items()}
        if self.obs_rms is not None:
            found["observations"] = self.obs_rms.state_dict()
        if self.reward_scale is not None:
            found["rewards"] = self.reward_scale.state_dict()
        return found

    def load_weights(self, saved: Weights) -> None:
        """Copy what `weights` returned, of networks of the same shape."""
        for name, network in self.networks().items():
            network.load_state_dict(saved[name])
        if self.obs_rms is not None:
            self.obs_rms.load_state_dict(saved["observations"])
        if self.reward_scale is not None:
            self.reward_scale.load_state_dict(saved["rewards"])

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        count = len(observation)
        if count % self.replicas:
            raise UserError(
                f"{count} observations for {self.replicas} replicas: give a multiple, replica-major, or use .replica(i)"
            )
        share = count // self.replicas
        if bool(observation.isnan().any()):
            raise UserError("predict: an observation is nan; must be numbers")
        inputs = observation.float().unflatten(0, (self.replicas, share)).transpose(1, 2)
        acting = self.acting()
        noise = acting.noise(self._action_streams, 1, share)[0]
        with computing_with(self.engine):
            policy = acting.policy(inputs)
            actions = policy.mode() if deterministic else policy.sample(noise)
        shape = self.action_space.shape or ()  # Gymnasium types it as possibly None
        return actions.transpose(1, 2).reshape(count, *shape)
