"""The estimators under test, evaluated by the functions that training uses on episodes of the laboratory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bench.arms.advantage import Batch, advantage
from bench.config.schema import Arm, Config, Update
from bench.lab.policies import Critic, NetworkPolicy
from bench.lab.simulate import Episodes
from bench.learner.actor import Actor
from bench.learner.minibatches import Samples
from bench.learner.rates import Rates
from bench.learner.update import actor_gradient
from bench.tasks.base import Array

NO_CRITIC = "none"
GAE_LAMBDA, N_STEP = 0.95, 5  # of the arms that stand for their kind
SAMPLES_AT_ONCE = 1 << 16  # in one pass of the networks


@dataclass(frozen=True)
class Variant:
    """An arm with the critic it is given; `critic` is `NO_CRITIC` for an arm that has none."""

    arm: Config
    critic: str

    @property
    def name(self) -> str:
        """Such as `critic-monte_carlo (learned)`: the critic is that of the baseline or of the target."""
        critic = "" if self.critic == NO_CRITIC else f" ({self.critic})"
        return f"{self.arm.baseline.name}-{self.arm.advantage.name}{critic}"

    @property
    def independent(self) -> bool:
        """Whether the episodes of its batch begin independently of one another."""
        return self.arm.group.start == "independent"

    @property
    def alone(self) -> bool:
        """Whether an episode's advantages depend on no other episode: what is subtracted is 0 or V."""
        return self.arm.baseline.name in ("none", "critic")

    @property
    def is_usual(self) -> bool:
        """Whether it is no further value of λ or n, or credit, of an arm that is there already."""
        arm = self.arm
        name = arm.advantage.name
        swept = (name == "gae" and arm.gae_lambda != GAE_LAMBDA) or (name == "nstep" and arm.n_step != N_STEP)
        return not swept and not self.outcome

    @property
    def is_compared(self) -> bool:
        """Whether it is a target under the critic, or a baseline of the full return, at its usual settings."""
        return self.is_usual and (self.arm.baseline.name == "critic" or self.arm.advantage.name == "monte_carlo")

    @property
    def outcome(self) -> bool:
        """Whether every step of an episode is credited with its whole return."""
        return self.arm.group_baseline and self.arm.group.credit == "outcome"

    @property
    def restores(self) -> bool:
        """Whether its baseline runs episodes from restored states."""
        return self.arm.baseline.name == "vine"


def reference_of(variant: Variant, variants: Sequence[Variant]) -> Variant | None:
    """Return which of these variants another is compared with: the full return, less V of its critic if possible."""
    found = [each for each in variants if each.arm.advantage.name == "monte_carlo" and not each.outcome]

    def farness(each: Variant) -> tuple[bool, bool, bool]:
        return each.critic == NO_CRITIC, not each.alone, each.critic != variant.critic

    return min(found, key=farness, default=None)


def with_gradients(variants: Sequence[Variant], *, outcomes: bool) -> list[Variant]:
    """Return the variants whose gradients are measured, which is what figures, tables and claims read.

    They are every baseline of the full return, and the targets under one critic: the learned one, which training has,
    or the first there is; with `outcomes`, also groups whose steps are all credited with the whole return, which
    fairness is about. All others, such as further values of λ and n, are measured at the level of advantages.
    """
    critics = [variant.critic for variant in variants if variant.critic != NO_CRITIC]
    usual = "learned" if "learned" in critics else next(iter(critics), NO_CRITIC)

    def has(each: Variant) -> bool:
        full = each.arm.advantage.name == "monte_carlo"
        return (outcomes and each.outcome) or (each.is_compared and (each.critic in (usual, NO_CRITIC) or full))

    return [variant for variant in variants if has(variant)]


@dataclass(frozen=True)
class Batches:
    """Episodes in batches of `n_envs` neighbours, with the values that each critic sees in them: (T + 1, C).

    `restored` (T, C) are the values that baseline=vine found from restored states, at the price of `restored_steps`.
    """

    episodes: Episodes
    n_envs: int
    values: Mapping[str, Array]
    restored: Array | None = None
    restored_steps: int = 0

    @classmethod
    def of(cls, episodes: Episodes, n_envs: int, critics: Mapping[str, Critic]) -> "Batches":
        """Ask every critic."""
        return cls(episodes, n_envs, {name: episodes.values(critic) for name, critic in critics.items()})

    def take(self, columns: Array, n_envs: int) -> "Batches":
        """Return these columns, in batches of `n_envs`."""
        values = {name: table[:, columns] for name, table in self.values.items()}
        restored = None if self.restored is None else self.restored[:, columns]
        return Batches(self.episodes.take(columns), n_envs, values, restored)

    def first(self, count: int) -> "Batches":
        """Return the first `count` batches, or all there are."""
        return self.take(np.arange(min(count * self.n_envs, self.episodes.live.shape[1])), self.n_envs)

    def live(self, step: int) -> Array:
        """Return which episodes live at a time step, (S, N)."""
        live: Array = self.episodes.live[step].reshape(-1, self.n_envs)
        return live

    def batch(self, critic: str) -> Batch:
        """Return what the arms are given, (T, S, N)."""
        episodes, values = self.episodes, self.values.get(critic)
        return Batch(
            rewards=self._shaped(episodes.rewards),
            terminated=self._shaped(episodes.terminated),
            truncated=self._shaped(episodes.truncated),
            live=self._shaped(episodes.live),
            values=None if values is None else self._shaped(values[:-1]),
            next_values=None if values is None else self._shaped(values[1:]),
            restored=None if self.restored is None else self._shaped(self.restored),
        )

    def advantages(self, variant: Variant) -> Tensor:
        """Return the advantages of a variant, (T, S, N), float64."""
        return advantage(self.batch(variant.critic), sized(variant.arm, self.n_envs))

    def _shaped(self, values: Array) -> Tensor:
        tensor: Tensor = torch.from_numpy(np.ascontiguousarray(values)).unflatten(1, (-1, self.n_envs))
        return tensor


def sized(arm: Arm, n_envs: int) -> Arm:
    """Return the arm with batches of `n_envs` episodes: more groups of the same size, or the one group made larger."""
    group = arm.group
    if group.start == "independent":
        return replace(arm, group=replace(group, groups=1, size=n_envs))
    return replace(arm, group=replace(group, groups=n_envs // group.size))


def gradients(policy: NetworkPolicy, episodes: Episodes, advantages: Tensor, weights: Array | None = None) -> Tensor:
    """Return each batch's policy gradient (S, P): the mean over its N episodes of Σ_t w_t Â_t ∇log π(a_t | s_t).

    `advantages` are (T, S, N); `weights` (T,) default to 1. The network is differentiated by training's own backward
    pass, for as many batches at once as fit `SAMPLES_AT_ONCE`. float64, from the network's own precision.
    """
    length, batches, size = advantages.shape
    weighted = advantages if weights is None else advantages * torch.from_numpy(weights)[:length, None, None]
    live = episodes.live.reshape(length, batches, size)
    longest = int(live.sum((0, 2)).max())
    chunk = max(1, SAMPLES_AT_ONCE // longest)
    chunks = [
        _gradients(policy, episodes, weighted, live, np.arange(start, min(start + chunk, batches)))
        for start in range(0, batches, chunk)
    ]
    return torch.cat(chunks)


def _gradients(policy: NetworkPolicy, episodes: Episodes, weighted: Tensor, live: Array, batches: Array) -> Tensor:
    """Return the gradients of these batches, from a replica of the network for each."""
    network = policy.actor.stack
    copies = network.like(network.flat.expand(len(batches), -1).clone())
    obs_rms = None if policy.actor.obs_rms is None else policy.actor.obs_rms.select([0] * len(batches))
    actor = Actor(copies, policy.actor.distribution, obs_rms)
    actor_gradient(actor, _samples(policy, actor, episodes, weighted, live, batches), _plain(policy.arm), _NO_RATES)
    return -copies.grad[:, : network.used].double()


def _samples(
    policy: NetworkPolicy, actor: Actor, episodes: Episodes, weighted: Tensor, live: Array, batches: Array
) -> Samples:
    """Return the live steps of these batches, each weighted 1/N."""
    size = live.shape[2]
    flat = live[:, batches].transpose(1, 0, 2).reshape(len(batches), -1)  # (S', T·N)
    count = flat.sum(1, keepdims=True)
    order = np.argsort(~flat, axis=1, kind="stable")[:, : int(count.max())]  # live steps first
    step, member = order // size, order % size
    column = batches[:, None] * size + member
    states = episodes.states[step, :, column]  # (S', M, D)
    observations = policy.task.observe(states.reshape(-1, states.shape[2]).T)
    dtype = actor.stack.flat.dtype
    seen = torch.from_numpy(observations).unflatten(1, order.shape).transpose(0, 1).to(dtype)
    actions = episodes.actions[:, torch.from_numpy(step), torch.from_numpy(column)].transpose(0, 1)
    present = torch.from_numpy(np.arange(order.shape[1]) < count).to(dtype)
    rows = torch.from_numpy(batches)[:, None]
    advantages = weighted[torch.from_numpy(step), rows, torch.from_numpy(member)].to(dtype)
    nothing = torch.zeros_like(present)
    return Samples(
        observations=actor.seen(seen).to(dtype),
        outputs=nothing.unsqueeze(1),
        extras=actor.stack.extras,
        actions=actions,
        log_prob=nothing,
        advantage=advantages * present,
        target=None,
        share=present / torch.from_numpy(count).to(dtype),
        weight=present / size,
        count=torch.from_numpy(count).to(dtype),
    )


def _plain(arm: Arm) -> Arm:
    """Return the arm with an objective of log π · Â alone: what every update's gradient is at the policy that acted."""
    return replace(arm, update=Update("vanilla", 1, 1), ent_coef=0.0)


_NO_RATES = Rates(
    np.zeros((1, 1)), np.zeros((1, 1)), torch.ones(1), torch.ones(1), torch.ones(1)
)  # vanilla reads none of them


def scores(policy: NetworkPolicy, states: Array, actions: Tensor) -> Tensor:
    """Return ∇log π(a | s) for states (D, C) and actions (K, C): (C, P), float64."""
    single = np.ones((1, states.shape[1]), dtype=bool)
    step = Episodes(states[None], actions[:, None], single * 1.0, single, ~single, single)
    return gradients(policy, step, torch.ones(1, states.shape[1], 1, dtype=torch.float64))
