"""One update: from a rollout to new weights, for all replicas at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bench.arms.advantage import (
    Batch,
    advantage,
    critic_target,
    dead_group_fraction,
    lone_survivor_fraction,
    replica_sum,
)
from bench.arms.objectives import objective_of
from bench.arms.reference import kl_estimate, kl_slope
from bench.config.schema import REFERENCE_CLIP_RANGE, Arm
from bench.learner.actor import Actor
from bench.learner.distributions import Distribution
from bench.learner.network import Stack, padded
from bench.learner.optimiser import Adam
from bench.learner.reference import Hold
from bench.learner.rollout import Array, Rollout

Diagnostics = dict[str, Tensor]  # name → one number per replica, (S,)


@dataclass
class Network:
    """A stack of networks and what moves its weights."""

    stack: Stack
    adam: Adam

    def select(self, rows: Sequence[int]) -> "Network":
        """Copies of these replicas only."""
        return Network(self.stack.select(rows), self.adam.select(rows))

    def restore(self, rows: Sequence[int], chosen: "Network") -> None:
        """Write back what `select` took."""
        self.stack.flat[list(rows)] = chosen.stack.flat
        self.adam.restore(rows, chosen.adam)


@dataclass(frozen=True)
class Samples:
    """Steps of each replica, M at most; shorter replicas are padded.

    observations (S, O, M); actions (S, K, M); outputs (S, A, M) and extras (S, E) of the policy that acted, see
    `bench.learner.distributions`; everything else (S, M), and count (S, 1).
    `share` is 1 / count for a replica's `count` steps and 0 for padding, so that sums with it are means; `weight` is
    the same for means over episodes where the arm's `aggregate` says so. `log_prob_reference` is there where the loss
    has a term for a reference policy.
    """

    observations: Tensor
    outputs: Tensor
    extras: Tensor
    actions: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor | None
    share: Tensor
    weight: Tensor
    count: Tensor
    log_prob_reference: Tensor | None = None

    def take(self, index: Tensor, share: Tensor) -> "Samples":
        """The samples at `index` (S, B) with shares of their own (S, B), 0 for padding."""
        return Samples(
            self.observations.gather(2, _spread(index, self.observations)),
            self.outputs.gather(2, _spread(index, self.outputs)),
            self.extras,
            self.actions.gather(2, _spread(index, self.actions)),
            self.log_prob.gather(1, index),
            self.advantage.gather(1, index),
            None if self.target is None else self.target.gather(1, index),
            share,
            share * self.weight.gather(1, index) * self.count,
            self.count,
            None if self.log_prob_reference is None else self.log_prob_reference.gather(1, index),
        )

    def split(self, parts: int) -> "list[Samples]":
        """The samples cut into `parts` of equal width."""
        width = self.share.shape[1] // parts
        return [
            Samples(
                obs, outputs, self.extras, actions, log_prob, advantage, target, share, weight, self.count, reference
            )
            for obs, outputs, actions, log_prob, advantage, target, share, weight, reference in zip(
                self.observations.split(width, 2),
                self.outputs.split(width, 2),
                self.actions.split(width, 2),
                self.log_prob.split(width, 1),
                self.advantage.split(width, 1),
                [None] * parts if self.target is None else self.target.split(width, 1),
                self.share.split(width, 1),
                self.weight.split(width, 1),
                [None] * parts if self.log_prob_reference is None else self.log_prob_reference.split(width, 1),
                strict=True,
            )
        ]


def prepare(
    rollout: Rollout, actor: Actor, critic: Stack | None, arm: Arm, hold: Hold | None = None
) -> tuple[Samples, Diagnostics]:
    """Values, log-probabilities, advantages and targets of a rollout, in one call each, and what they look like."""
    index, present = _live_columns(rollout.live)
    samples = _acted(rollout, actor, arm, index, present)
    diagnostics: Diagnostics = _old_policy(actor, samples).summary(samples.actions, samples.share)
    if hold is not None:
        reference = hold.policy.policy(_features_by_replica(rollout.observations[:, :, : len(rollout.rewards)], index))
        log_prob_reference = reference.log_prob(samples.actions)
        diagnostics["train/reference_kl"] = (samples.share * _old_policy(actor, samples).kl(reference)).sum(1)
        if arm.reference.placement == "loss":
            samples = replace(samples, log_prob_reference=log_prob_reference)
        else:
            cost = hold.coef * kl_estimate(samples.log_prob, log_prob_reference, arm.reference.kind) * present
            rollout = replace(rollout, rewards=rollout.rewards - _by_step(cost, index, rollout.live))
    batch = _batch(rollout, actor, critic)
    advantages = advantage(batch, arm)
    targets = None if critic is None else critic_target(batch, arm)
    samples = replace(
        samples,
        advantage=_by_replica(advantages).gather(1, index) * present,
        target=None if targets is None else _by_replica(targets).gather(1, index),
    )
    return samples, diagnostics | _rollout_diagnostics(batch, advantages, targets, arm)


def _acted(rollout: Rollout, actor: Actor, arm: Arm, index: Tensor, present: Tensor) -> Samples:
    """The live steps of a rollout as the policy that acted sees them; advantages and targets are yet to come."""
    count = present.sum(1, keepdim=True)
    share = weight = present / count
    if arm.aggregate == "episode":
        weight = share * _by_replica(_episode_weight(rollout.live)).gather(1, index)
    observations = actor.seen(_features_by_replica(rollout.observations[:, :, : len(rollout.rewards)], index))
    actions = _features_by_replica(rollout.actions, index)
    outputs, _ = actor.outputs(observations)
    extras = actor.stack.extras.clone()
    return Samples(
        observations,
        outputs,
        extras,
        actions,
        log_prob=actor.distribution(outputs, extras).log_prob(actions),
        advantage=torch.zeros_like(share),
        target=None,
        share=share,
        weight=weight,
        count=count,
    )


def _batch(rollout: Rollout, actor: Actor, critic: Stack | None) -> Batch:
    """The rollout as estimators take it, with the critic's values of every row."""
    values = None if critic is None else _values(actor.seen(rollout.observations), critic)
    return Batch(
        rewards=rollout.rewards,
        terminated=rollout.terminated,
        truncated=rollout.truncated,
        live=rollout.live,
        values=None if values is None else values[: len(rollout.rewards)],
        next_values=None if values is None else values.gather(0, rollout.successor),
        restored=rollout.restored,
    )


def _values(observations: Tensor, critic: Stack) -> Tensor:
    """V of every row of observations (S, O, R, N), (R, S, N)."""
    _, _, rows, envs = observations.shape
    outputs, _ = critic.forward(observations.flatten(2))
    values: Tensor = outputs[:, 0].unflatten(1, (rows, envs))
    return values.transpose(0, 1)


def _by_replica(values: Tensor) -> Tensor:
    """(T, S, N) → (S, N·T), environment by environment as Stable-Baselines3 flattens its buffer."""
    return values.permute(1, 2, 0).flatten(1)


def _by_step(values: Tensor, index: Tensor, live: Tensor) -> Tensor:
    """The reverse: values (S, M) of the steps at `index`, 0 for padding, as (T, S, N) with 0 where not live."""
    length, replicas, envs = live.shape
    flat = values.new_zeros(replicas, envs * length).scatter_add_(1, index, values)
    return flat.view(replicas, envs, length).permute(2, 0, 1)


def _features_by_replica(values: Tensor, index: Tensor) -> Tensor:
    """(S, F, T, N) → (S, F, M): the steps at `index` (S, M) of `_by_replica`'s order."""
    flat = values.transpose(2, 3).flatten(2)
    return flat.gather(2, _spread(index, flat))


def _spread(index: Tensor, values: Tensor) -> Tensor:
    """An index (S, B) for every feature of values (S, F, M)."""
    return index.unsqueeze(1).expand(-1, values.shape[1], -1)


def _live_columns(live: Tensor) -> tuple[Tensor, Tensor]:
    """Where each replica's live steps are among its N·T, and which of those places are not padding: two (S, M)."""
    flat = _by_replica(live)
    count = flat.sum(1, keepdim=True)
    size = padded(int(count.max()))
    # A stable sort puts the live steps first, in order.
    index = (~flat).to(torch.uint8).argsort(dim=1, stable=True)[:, :size]
    index = torch.nn.functional.pad(index, (0, size - index.shape[1]))
    return index, (torch.arange(size, device=live.device) < count).to(torch.float32)


def _episode_weight(live: Tensor) -> Tensor:
    """1/|o_i| for every step of episode i, scaled to average 1 over a replica's steps (T, S, N)."""
    length = live.sum(0, keepdim=True)
    mean_length = replica_sum(live).unsqueeze(-1) / live.shape[2]
    return (mean_length / length).expand(live.shape)


class Shares:
    """How a batch is cut into `parts` minibatches: each replica gives equal shares of its own permutation.

    Advantages are normalised within each minibatch.
    """

    def __init__(self, samples: Samples, parts: int, advantage_norm: str) -> None:
        self.samples, self.parts, self.advantage_norm = samples, parts, advantage_norm
        counts = samples.count.to(torch.int64).cpu().numpy()
        sizes = counts // parts + (np.arange(parts) < counts % parts)  # (S, parts)
        width = padded(int(sizes.max()))
        present = np.arange(width) < sizes[:, :, None]  # (S, parts, width), False for padding
        self.places = [np.flatnonzero(places) for places in present]
        self.index = np.zeros((len(counts), parts * width), dtype=np.int64)
        self.sizes = torch.from_numpy(sizes).to(samples.share).unsqueeze(2)
        self.share = torch.from_numpy(present).to(samples.share) / self.sizes.clamp(min=1)

    def __call__(self, streams: Sequence[np.random.Generator]) -> list[Samples]:
        """The minibatches of one pass, in an order drawn from each replica's stream."""
        if self.parts == 1:  # the order of a sum does not matter, and nothing need be copied
            advantage = normalised(self.samples.advantage, self.samples.share, self.samples.count, self.advantage_norm)
            return [replace(self.samples, advantage=advantage)]
        for index, places, stream in zip(self.index, self.places, streams, strict=True):
            index[places] = stream.permutation(len(places))
        shuffled = self.samples.take(torch.from_numpy(self.index).to(self.share.device), self.share.flatten(1))
        advantage = shuffled.advantage.view_as(self.share)
        normal = normalised(advantage, self.share, self.sizes, self.advantage_norm).flatten(1)
        return replace(shuffled, advantage=normal).split(self.parts)


@dataclass(frozen=True)
class Rates:
    """What may differ between replicas in an update, each (S, 1): schedules follow the budget a replica has used."""

    actor: Array
    critic: Array
    clip_range: Tensor
    kl_coef: Tensor
    reference_coef: Tensor


def normalised(advantages: Tensor, share: Tensor, count: Tensor, kind: str) -> Tensor:
    """The advantages (…, B) of minibatches on the scale of 1.

    rms divides by the root mean square and so keeps the baseline; mean_std also subtracts the minibatch's mean, as
    Stable-Baselines3 does (ddof 1), which is one more baseline. `share` (…, B) makes sums over `count` (…, 1) means.
    """
    if kind == "none":
        return advantages
    if kind == "rms":
        return advantages / ((share * advantages.square()).sum(-1, keepdim=True).sqrt() + 1e-8)
    centred = advantages - (share * advantages).sum(-1, keepdim=True)
    variance = (share * centred.square()).sum(-1, keepdim=True) * (count / (count - 1))
    return centred / (variance.sqrt() + 1e-8)


def actor_gradient(actor: Actor, samples: Samples, arm: Arm, rates: Rates) -> dict[str, Tensor]:
    """Write the policy loss's gradient into the actor's `grad`; → what the step began with, per sample (S, B).

    The loss is −Σ weight · objective − ent_coef · mean entropy.
    """
    outputs, saved = actor.outputs(samples.observations)
    policy = actor.distribution(outputs, actor.stack.extras)
    log_prob, entropy = policy.log_prob(samples.actions), policy.entropy()
    old = _old_policy(actor, samples) if arm.update.name == "kl_penalty" else None
    objective, slope = objective_of(arm.update)(
        log_prob,
        samples.log_prob,
        samples.advantage,
        clip_range=rates.clip_range,
        kl_coef=rates.kl_coef,
        kl=None if old is None else old.kl(policy),
    )
    if samples.log_prob_reference is not None:
        cost, cost_slope = _reference_cost(log_prob, samples, samples.log_prob_reference, arm, rates)
        objective, slope = objective - cost, slope - cost_slope
    d_outputs, d_extras = policy.backward(
        samples.actions,
        d_log_prob=-samples.weight * slope,
        d_entropy=-arm.ent_coef * samples.share if arm.ent_coef > 0 else None,
        old=old,
        d_kl=None if old is None else samples.weight * rates.kl_coef,
    )
    actor.stack.backward(d_outputs, saved, d_extras)
    return {"objective": objective, "entropy": entropy, "log_ratio": log_prob - samples.log_prob}


def _reference_cost(
    log_prob: Tensor, samples: Samples, log_prob_reference: Tensor, arm: Arm, rates: Rates
) -> tuple[Tensor, Tensor]:
    """What going away from the reference costs each sample, and its derivative by log_prob; weights are constants."""
    beta, kind = rates.reference_coef, arm.reference.kind
    if arm.reference.importance:
        beta = beta * (log_prob - samples.log_prob).exp()
    return beta * kl_estimate(log_prob, log_prob_reference, kind), beta * kl_slope(log_prob, log_prob_reference, kind)


def _old_policy(actor: Actor, samples: Samples) -> Distribution:
    return actor.distribution(samples.outputs, samples.extras)


def critic_gradient(critic: Stack, samples: Samples, arm: Arm) -> dict[str, Tensor]:
    """Write the gradient of vf_coef · mean (V − target)² into `critic.grad`; → the errors V − target (S, B)."""
    outputs, saved = critic.forward(samples.observations)
    assert samples.target is not None  # prepare() computes it wherever there is a critic
    error = outputs[:, 0] - samples.target
    critic.backward((2 * arm.critic.vf_coef * samples.share * error).unsqueeze(1), saved)
    return {"error": error}


def clip_gradients(stacks: Sequence[Stack], limit: float | None) -> tuple[list[Tensor], Tensor]:
    """Scale each replica's gradient over these stacks to a norm of at most `limit`; None: of any size.

    → the norms of each stack (S,), and the factor (S,), 1 where nothing was clipped.
    """
    norms = [torch.linalg.vector_norm(stack.grad, dim=1) for stack in stacks]
    if limit is None:
        return norms, torch.ones_like(norms[0])
    # Number by number: a reduction over the stacked norms rounds differently with other neighbours.
    total = norms[0] if len(norms) == 1 else sum(norm.square() for norm in norms).sqrt()
    factor = (limit / (total + 1e-6)).clamp_(max=1)
    for stack in stacks:
        stack.grad.mul_(factor.unsqueeze(1))
    return norms, factor


class Update:
    """One update of the active replicas: passes over a prepared batch, actor and critic side by side."""

    def __init__(
        self,
        policy: Actor,
        actor: Network,
        critic: Network | None,
        arm: Arm,
        streams: Sequence[np.random.Generator],
        rates: Rates,
    ) -> None:
        self.policy, self.actor, self.critic = policy, actor, critic
        self.arm, self.streams, self.rates = arm, streams, rates
        self._log: dict[str, list[Tensor]] = {}

    def run(self, samples: Samples) -> Diagnostics:
        """Change the weights; → diagnostics averaged over all steps, and the policy's change measured at the end."""
        arm, critic = self.arm, self.critic
        actor_schedule = (arm.update.epochs, arm.update.minibatches)
        critic_schedule = (arm.critic.epochs, arm.critic.minibatches)
        if critic is not None and actor_schedule == critic_schedule:
            self._passes(samples, *actor_schedule, with_actor=True, with_critic=True)
        else:
            self._passes(samples, *actor_schedule, with_actor=True, with_critic=False)
            if critic is not None:
                self._passes(samples, *critic_schedule, with_actor=False, with_critic=True)
        averages = {name: torch.stack(values, 1).mean(1) for name, values in self._log.items()}
        return averages | self._policy_change(samples)

    def _passes(self, samples: Samples, epochs: int, parts: int, *, with_actor: bool, with_critic: bool) -> None:
        shares = Shares(samples, parts, self.arm.advantage_norm if with_actor else "none")
        for _ in range(epochs):
            minibatches = shares(self.streams)
            steps = [self._step(minibatch, with_actor=with_actor, with_critic=with_critic) for minibatch in minibatches]
            self._note(_pass_diagnostics(minibatches, steps))

    def _step(self, minibatch: Samples, *, with_actor: bool, with_critic: bool) -> dict[str, Tensor]:
        """One gradient step; → what the minibatch looked like before it, per sample."""
        seen: dict[str, Tensor] = {}
        critic = self.critic if with_critic else None
        if with_actor:
            seen |= actor_gradient(self.policy, minibatch, self.arm, self.rates)
        if critic is not None:
            seen |= critic_gradient(critic.stack, minibatch, self.arm)
        self._clip(with_actor, with_critic)
        if with_actor:
            self.actor.adam.step(self.actor.stack.flat, self.actor.stack.grad, self.rates.actor)
        if critic is not None:
            critic.adam.step(critic.stack.flat, critic.stack.grad, self.rates.critic)
        return seen

    def _clip(self, with_actor: bool, with_critic: bool) -> None:
        if self.arm.grad_clip == "joint" and self.critic is not None:
            self._clip_together({"actor": self.actor, "critic": self.critic}, self.arm.max_grad_norm)
            return
        if with_actor:
            self._clip_together({"actor": self.actor}, self.arm.max_grad_norm)
        if with_critic and self.critic is not None:
            self._clip_together({"critic": self.critic}, self.arm.critic.max_grad_norm)

    def _clip_together(self, networks: dict[str, Network], limit: float | None) -> None:
        norms, factor = clip_gradients([network.stack for network in networks.values()], limit)
        for name, norm in zip(networks, norms, strict=True):
            self._note({f"train/{name}_grad_norm": norm, f"train/{name}_grad_clipped": factor.lt(1).to(factor.dtype)})

    def _note(self, diagnostics: Diagnostics) -> None:
        for name, value in diagnostics.items():
            self._log.setdefault(name, []).append(value)

    def _policy_change(self, samples: Samples) -> Diagnostics:
        """KL(old ‖ new) and the clip fraction after the last step, over the whole batch: comparable for every arm."""
        outputs, _ = self.policy.outputs(samples.observations)
        old = _old_policy(self.policy, samples)
        new = self.policy.distribution(outputs, self.policy.stack.extras)
        change = (new.log_prob(samples.actions) - samples.log_prob).expm1().abs()
        return {
            "train/kl": (samples.share * old.kl(new)).sum(1),
            "train/final_clip_fraction": (samples.share * (change > REFERENCE_CLIP_RANGE)).sum(1),
        }


def _pass_diagnostics(minibatches: Sequence[Samples], steps: Sequence[Mapping[str, Tensor]]) -> Diagnostics:
    """Means over the minibatches of a pass, computed at once: many small operations cost more than their arithmetic."""
    seen = {name: torch.stack([step[name] for step in steps], 1) for name in steps[0]}  # (S, parts, B)
    share, weight = (torch.stack([getattr(m, name) for m in minibatches], 1) for name in ("share", "weight"))

    def mean(values: Tensor, weights: Tensor = share) -> Tensor:
        return (weights * values).sum(2).mean(1)

    diagnostics: Diagnostics = {}
    if "objective" in seen:
        ratio_less_one = seen["log_ratio"].expm1()
        diagnostics |= {
            "train/policy_gradient_loss": -mean(seen["objective"], weight),
            "train/entropy_loss": -mean(seen["entropy"]),
            "train/approx_kl": mean(ratio_less_one - seen["log_ratio"]),
            "train/clip_fraction": mean(ratio_less_one.abs() > REFERENCE_CLIP_RANGE),
        }
    if "error" in seen:
        diagnostics["train/value_loss"] = mean(seen["error"].square())
    return diagnostics


def _rollout_diagnostics(batch: Batch, advantages: Tensor, targets: Tensor | None, arm: Arm) -> Diagnostics:
    steps = replica_sum(batch.live)
    mean = replica_sum(advantages) / steps
    diagnostics = {
        "train/advantage_mean": mean,
        "train/advantage_rms": (replica_sum(advantages.square()) / steps).sqrt(),
        "rollout/live_share": steps / batch.live[:, 0].numel(),
    }
    if arm.group_baseline:
        diagnostics["train/dead_groups"] = dead_group_fraction(batch, arm)
        diagnostics["train/lone_survivors"] = lone_survivor_fraction(batch, arm)
    if targets is not None and batch.values is not None:
        diagnostics["train/explained_variance"] = _explained_variance(batch.values, targets, batch.live)
    return diagnostics


def _explained_variance(values: Tensor, targets: Tensor, live: Tensor) -> Tensor:
    """1 − Var(target − V) / Var(target) per replica (S,); NaN where the targets do not vary."""
    steps = replica_sum(live)

    def variance(x: Tensor) -> Tensor:
        mean = replica_sum(torch.where(live, x, 0.0)) / steps
        centred = x - mean.view(1, -1, 1)  # E[x²] − E[x]² cancels where values are large and nearly equal
        return replica_sum(torch.where(live, centred, 0.0).square()) / steps

    total = variance(targets)
    return torch.where(total > 0, 1 - variance(targets - values) / total, torch.nan)
