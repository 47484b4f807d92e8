"""From a rollout to the samples of an update: log-probabilities, values, advantages and targets."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bench.arms.advantage import Batch, advantage, critic_target, replica_sum
from bench.arms.numbers import Numbers
from bench.arms.reference import kl_estimate, vetoed, withheld
from bench.config.schema import Arm
from bench.kernel.functions import mean_over, sum_over
from bench.learner.actor import Actor
from bench.learner.diagnostics import Diagnostics, rollout_diagnostics
from bench.learner.minibatches import Samples, for_features
from bench.learner.network import Stack
from bench.learner.reference import FrozenReference
from bench.learner.rollout import Rollout


def estimate(
    rollout: Rollout,
    actor: Actor,
    critic: Stack | None,
    arm: Arm,
    reference: FrozenReference | None = None,
    numbers: Numbers | None = None,
    streams: Sequence[np.random.Generator] | None = None,
) -> tuple[Samples, Diagnostics]:
    """Return a rollout's live steps with their advantages and targets, and diagnostics of both.

    `actor` is the policy that collected it. A reference's divergence is subtracted from the rewards here where the arm
    places it there, after its veto; for the loss, only the reference's log-probabilities are noted. `numbers` are what
    the replicas have of their own; None: all have those of the arm. `streams` decide, for each replica, which
    comparisons of a group's members are wrong; None: none is.
    """
    index, present = _live_columns(rollout.live)
    samples = _acted(rollout, actor, arm, index, present)
    old_policy = samples.old_policy(actor)
    diagnostics: Diagnostics = old_policy.summary(samples.actions, samples.share)
    if reference is not None:
        observations = _features_by_replica(rollout.observations[:, :, : len(rollout.rewards)], index)
        held_to = reference.actor.policy(observations)
        log_prob_reference = held_to.log_prob(samples.actions)
        divergence = old_policy.kl(held_to)
        diagnostics["train/reference_kl"] = sum_over(samples.share * divergence, 1)
        if arm.reference.placement == "loss":
            samples = replace(samples, log_prob_reference=log_prob_reference)
        else:
            if arm.reference.veto is not None:
                at_step = _by_step(divergence * present, index, rollout.live)
                episodes = vetoed(at_step, rollout.live, arm.reference.veto)
                diagnostics["train/vetoed"] = mean_over(episodes.float(), 1)
                rollout = replace(rollout, rewards=withheld(rollout.rewards, episodes))
            cost = reference.coef * kl_estimate(samples.log_prob, log_prob_reference, arm.reference.kind) * present
            rollout = replace(rollout, rewards=rollout.rewards - _by_step(cost, index, rollout.live))
    uniform = None if streams is None else _uniform(rollout.live, arm, streams)
    batch = replace(_batch(rollout, actor, critic), numbers=numbers, uniform=uniform)
    advantages = advantage(batch, arm)
    targets = None if critic is None else critic_target(batch, arm)
    samples = replace(
        samples,
        advantage=(_by_replica(advantages).gather(1, index) * present).to(present),
        target=None if targets is None else _by_replica(targets).gather(1, index).to(present),
    )
    return samples, diagnostics | rollout_diagnostics(batch, advantages, targets, arm)


def _acted(rollout: Rollout, actor: Actor, arm: Arm, index: Tensor, present: Tensor) -> Samples:
    """Return the live steps as the policy that acted sees them; advantages and targets are yet to come."""
    count = sum_over(present, 1, keepdim=True)
    share = weight = present / count
    if arm.aggregate == "episode":
        weight = share * _by_replica(_episode_weight(rollout.live)).gather(1, index)
    observations = actor.seen(_features_by_replica(rollout.observations[:, :, : len(rollout.rewards)], index))
    actions = _features_by_replica(rollout.actions, index)
    outputs, extras = _features_by_replica(rollout.outputs, index), actor.stack.extras.clone()
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
    """Return the rollout as estimators take it, in double precision, with the critic's values of every row."""
    values = None if critic is None else _values(actor.seen(rollout.observations), critic).double()
    return Batch(
        rewards=rollout.rewards.double(),
        terminated=rollout.terminated,
        truncated=rollout.truncated,
        live=rollout.live,
        values=None if values is None else values[: len(rollout.rewards)],
        next_values=None if values is None else values.gather(0, rollout.successor),
        restored=rollout.restored,
    )


def _uniform(live: Tensor, arm: Arm, streams: Sequence[np.random.Generator]) -> Tensor:
    """Draw a number of each replica's stream for every comparison, see `Batch.uniform`; ones where its batch has ended.

    A replica draws as many as it would alone, however long the others' episodes are.
    """
    group = arm.group
    shape = group.groups, group.size * (group.size - 1) // 2
    lengths = [1] * len(streams) if group.credit == "outcome" else live.any(2).sum(0).tolist()
    uniform = np.ones((max(lengths), len(streams), *shape))
    for row, (length, stream) in enumerate(zip(lengths, streams, strict=True)):
        uniform[:length, row] = stream.random((length, *shape))
    return torch.from_numpy(uniform).to(live.device)


def _values(observations: Tensor, critic: Stack) -> Tensor:
    """Return V of every row of observations (S, O, R, N), (R, S, N)."""
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
    return flat.gather(2, for_features(index, flat))


def _live_columns(live: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each replica's live steps are among its N·T, and 1 for those and 0 for padding: two (S, M)."""
    flat = _by_replica(live)
    count = flat.sum(1, keepdim=True)
    size = int(count.max())
    # A stable sort puts the live steps first, in order.
    index = (~flat).to(torch.uint8).argsort(dim=1, stable=True)[:, :size]
    return index, (torch.arange(size, device=live.device) < count).to(torch.float32)


def _episode_weight(live: Tensor) -> Tensor:
    """Return 1/|o_i| for every step of episode i, scaled to average 1 over a replica's steps (T, S, N)."""
    length = live.sum(0, keepdim=True)
    mean_length = replica_sum(live).unsqueeze(-1) / live.shape[2]
    return (mean_length / length).expand(live.shape)
