"""One update: from a rollout to new weights, for all replicas at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.arms.estimate import Batch, advantage, critic_target, dead_group_fraction
from bench.arms.objectives import surrogate
from bench.config import REFERENCE_CLIP_RANGE, Arm
from bench.learner.adam import Adam
from bench.learner.distributions import Categorical
from bench.learner.network import Stack
from bench.learner.rollouts import Rollout

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
    """The live steps of each replica, M at most, shorter ones padded with weight 0.

    observations (S, O, M); outputs (S, A, M) of the policy that acted; everything else (S, M). `weight` averages 1
    over a replica's `count` (S,) steps.
    """

    observations: Tensor
    outputs: Tensor
    actions: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor | None
    weight: Tensor
    count: Tensor

    def take(self, index: Tensor, weight: Tensor) -> "Samples":
        """The samples at `index` (S, B); places where `weight` (S, B) is 0 are padding."""
        present = weight.ne(0)
        return Samples(
            self.observations.gather(2, _spread(index, self.observations)),
            self.outputs.gather(2, _spread(index, self.outputs)),
            self.actions.gather(1, index),
            self.log_prob.gather(1, index),
            self.advantage.gather(1, index) * present,
            None if self.target is None else self.target.gather(1, index),
            self.weight.gather(1, index) * weight,
            present.sum(1),
        )

    def slice(self, part: slice, count: Tensor) -> "Samples":
        """The columns `part`, of which `count` (S,) are not padding."""
        target = None if self.target is None else self.target[:, part]
        return Samples(
            self.observations[:, :, part],
            self.outputs[:, :, part],
            self.actions[:, part],
            self.log_prob[:, part],
            self.advantage[:, part],
            target,
            self.weight[:, part],
            count,
        )


def prepare(rollout: Rollout, actor: Stack, critic: Stack | None, arm: Arm) -> tuple[Samples, Diagnostics]:
    """Values, log-probabilities, advantages and targets of a rollout, in one call each, and what they look like."""
    length = len(rollout.rewards)
    values = None if critic is None else _values(rollout, critic)
    batch = Batch(
        rewards=rollout.rewards,
        terminated=rollout.terminated,
        truncated=rollout.truncated,
        live=rollout.live,
        values=None if values is None else values[:length],
        next_values=None if values is None else values.gather(0, rollout.successor),
    )
    advantages = advantage(batch, arm)
    targets = None if critic is None else critic_target(batch, arm)
    index, present = _live_columns(rollout.live)
    weight = present
    if arm.aggregate == "episode":
        weight = present * _by_replica(_episode_weight(rollout.live)).gather(1, index)
    observations = rollout.observations[:, :, :length].transpose(2, 3).flatten(2)
    observations = observations.gather(2, _spread(index, observations))
    outputs, _ = actor.forward(observations)
    actions = rollout.actions.transpose(1, 2).flatten(1).gather(1, index)
    samples = Samples(
        observations,
        outputs,
        actions,
        Categorical(outputs).log_prob(actions),
        _by_replica(advantages).gather(1, index) * present,
        None if targets is None else _by_replica(targets).gather(1, index),
        weight,
        present.sum(1),
    )
    return samples, _rollout_diagnostics(batch, advantages, targets, arm)


def _values(rollout: Rollout, critic: Stack) -> Tensor:
    """V of every row of observations, (R, S, N)."""
    _, _, rows, envs = rollout.observations.shape
    outputs, _ = critic.forward(rollout.observations.flatten(2))
    return outputs[:, 0].unflatten(1, (rows, envs)).transpose(0, 1)


def _by_replica(values: Tensor) -> Tensor:
    """(T, S, N) → (S, N·T), environment by environment as Stable-Baselines3 flattens its buffer."""
    return values.permute(1, 2, 0).flatten(1)


def _spread(index: Tensor, values: Tensor) -> Tensor:
    """An index (S, B) for every feature of values (S, F, M)."""
    return index.unsqueeze(1).expand(-1, values.shape[1], -1)


def _live_columns(live: Tensor) -> tuple[Tensor, Tensor]:
    """Where each replica's live steps are among its N·T, and which of those places are not padding: two (S, M)."""
    flat = _by_replica(live)
    count = flat.sum(1, keepdim=True)
    size = int(count.max())
    # A stable sort puts the live steps first, in order.
    index = (~flat).to(torch.uint8).argsort(dim=1, stable=True)[:, :size]
    return index, (torch.arange(size) < count).to(torch.float32)


def _episode_weight(live: Tensor) -> Tensor:
    """1/|o_i| for every step of episode i, scaled to average 1 over a replica's steps (T, S, N)."""
    length = live.sum(0, keepdim=True)
    mean_length = live.sum((0, 2), keepdim=True) / live.shape[2]
    return (mean_length / length).expand(live.shape)


def minibatches(samples: Samples, parts: int, streams: Sequence[np.random.Generator]) -> Iterator[Samples]:
    """One pass over the batch in `parts` steps: each replica takes equal shares of its own permutation."""
    counts = [int(count) for count in samples.count]
    if parts == 1:
        yield samples  # the order of a sum does not matter, and nothing need be copied
        return
    share = -(-max(counts) // parts)
    index = np.zeros((len(counts), parts, share), dtype=np.int64)
    present = np.zeros((len(counts), parts, share), dtype=np.float32)
    sizes = np.zeros((len(counts), parts), dtype=np.int64)
    for replica, (count, stream) in enumerate(zip(counts, streams, strict=True)):
        for part, chunk in enumerate(np.array_split(stream.permutation(count), parts)):
            index[replica, part, : len(chunk)] = chunk
            present[replica, part, : len(chunk)] = 1
            sizes[replica, part] = len(chunk)
    shuffled = samples.take(torch.from_numpy(index).flatten(1), torch.from_numpy(present).flatten(1))
    for part in range(parts):
        yield shuffled.slice(slice(part * share, (part + 1) * share), torch.from_numpy(sizes[:, part]))


def normalised(advantages: Tensor, samples: Samples, kind: str) -> Tensor:
    """Advantages of a minibatch on the scale of 1; padding (weight 0) stays 0.

    rms divides by the root mean square and so keeps the baseline; mean_std also subtracts the minibatch's mean, as
    Stable-Baselines3 does (ddof 1), which is one more baseline.
    """
    if kind == "none":
        return advantages
    count = samples.count.unsqueeze(1)
    if kind == "rms":
        return advantages / ((advantages.square().sum(1, keepdim=True) / count).sqrt() + 1e-8)
    centred = (advantages - advantages.sum(1, keepdim=True) / count) * samples.weight.ne(0)
    return centred / ((centred.square().sum(1, keepdim=True) / (count - 1)).sqrt() + 1e-8)


def actor_gradient(actor: Stack, samples: Samples, arm: Arm, clip_range: Tensor) -> Diagnostics:
    """Write the gradient of the policy loss into `actor.grad`; → diagnostics of this minibatch."""
    outputs, saved = actor.forward(samples.observations)
    outputs.requires_grad_()
    with torch.enable_grad():
        policy = Categorical(outputs)
        log_prob = policy.log_prob(samples.actions)
        advantages = normalised(samples.advantage, samples, arm.advantage_norm)
        objective = surrogate(arm.update.name, log_prob, samples.log_prob, advantages, clip_range=clip_range)
        share = samples.weight / samples.count.unsqueeze(1)
        policy_loss = -(share * objective).sum(1)
        present = samples.weight.ne(0) / samples.count.unsqueeze(1)
        entropy = (present * policy.entropy()).sum(1)
        loss = policy_loss - arm.ent_coef * entropy
        (d_outputs,) = torch.autograd.grad(loss.sum(), outputs)
    actor.backward(d_outputs, saved)
    log_ratio = log_prob.detach() - samples.log_prob
    ratio = log_ratio.exp()
    return {
        "train/policy_gradient_loss": policy_loss.detach(),
        "train/entropy_loss": -entropy.detach(),
        "train/approx_kl": (present * (ratio - 1 - log_ratio)).sum(1),
        "train/clip_fraction": (present * ((ratio - 1).abs() > REFERENCE_CLIP_RANGE)).sum(1),
    }


def critic_gradient(critic: Stack, samples: Samples, arm: Arm) -> Diagnostics:
    """Write the gradient of vf_coef · mean (V − target)² into `critic.grad`; → the mean squared error."""
    outputs, saved = critic.forward(samples.observations)
    assert samples.target is not None  # prepare() computes it wherever there is a critic
    present = samples.weight.ne(0) / samples.count.unsqueeze(1)
    error = outputs[:, 0] - samples.target
    critic.backward((2 * arm.critic.vf_coef * present * error).unsqueeze(1), saved)
    return {"train/value_loss": (present * error.square()).sum(1)}


def clip_gradients(stacks: Sequence[Stack], limit: float) -> tuple[list[Tensor], Tensor]:
    """Scale each replica's gradient over these stacks to a norm of at most `limit`; → norms (S,), whether clipped (S,)."""
    norms = [stack.grad.norm(dim=1) for stack in stacks]
    total = norms[0] if len(norms) == 1 else torch.stack(norms).norm(dim=0)
    factor = (limit / (total + 1e-6)).clamp(max=1)
    for stack in stacks:
        stack.grad.mul_(factor.unsqueeze(1))
    return norms, factor.lt(1).to(total.dtype)


@dataclass(frozen=True)
class Rates:
    """This update's schedules, one number per replica (S, 1): replicas may have used different shares of the budget."""

    actor: Tensor
    critic: Tensor
    clip_range: Tensor


class Update:
    """One update of the active replicas: passes over a prepared batch, actor and critic side by side."""

    def __init__(
        self, actor: Network, critic: Network | None, arm: Arm, streams: Sequence[np.random.Generator], rates: Rates
    ) -> None:
        self.actor, self.critic, self.arm, self.streams, self.rates = actor, critic, arm, streams, rates
        self._sums: Diagnostics = {}
        self._counts: dict[str, int] = {}

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
        averages = {name: total / self._counts[name] for name, total in self._sums.items()}
        return averages | self._policy_change(samples)

    def _passes(self, samples: Samples, epochs: int, parts: int, *, with_actor: bool, with_critic: bool) -> None:
        for _ in range(epochs):
            for minibatch in minibatches(samples, parts, self.streams):
                if with_actor:
                    self._log(actor_gradient(self.actor.stack, minibatch, self.arm, self.rates.clip_range))
                if with_critic and self.critic is not None:
                    self._log(critic_gradient(self.critic.stack, minibatch, self.arm))
                self._clip(with_actor, with_critic)
                if with_actor:
                    self.actor.adam.step(self.actor.stack.flat, self.actor.stack.grad, self.rates.actor)
                if with_critic and self.critic is not None:
                    self.critic.adam.step(self.critic.stack.flat, self.critic.stack.grad, self.rates.critic)

    def _clip(self, with_actor: bool, with_critic: bool) -> None:
        if self.arm.grad_clip == "joint" and self.critic is not None:
            (actor_norm, critic_norm), clipped = clip_gradients(
                [self.actor.stack, self.critic.stack], self.arm.max_grad_norm
            )
            self._log_norms("actor", actor_norm, clipped)
            self._log_norms("critic", critic_norm, clipped)
            return
        if with_actor:
            (norm,), clipped = clip_gradients([self.actor.stack], self.arm.max_grad_norm)
            self._log_norms("actor", norm, clipped)
        if with_critic and self.critic is not None:
            (norm,), clipped = clip_gradients([self.critic.stack], self.arm.critic.max_grad_norm)
            self._log_norms("critic", norm, clipped)

    def _log_norms(self, name: str, norm: Tensor, clipped: Tensor) -> None:
        self._log({f"train/{name}_grad_norm": norm, f"train/{name}_grad_clipped": clipped})

    def _log(self, diagnostics: Diagnostics) -> None:
        for name, value in diagnostics.items():
            if name in self._sums:
                self._sums[name] += value
                self._counts[name] += 1
            else:
                self._sums[name], self._counts[name] = value.clone(), 1

    def _policy_change(self, samples: Samples) -> Diagnostics:
        """KL(old ‖ new) and the clip fraction after the last step, over the whole batch: comparable for every arm."""
        outputs, _ = self.actor.stack.forward(samples.observations)
        old, new = Categorical(samples.outputs), Categorical(outputs)
        present = samples.weight.ne(0) / samples.count.unsqueeze(1)
        ratio = (new.log_prob(samples.actions) - samples.log_prob).exp()
        return {
            "train/kl": (present * old.kl(new)).sum(1),
            "train/final_clip_fraction": (present * ((ratio - 1).abs() > REFERENCE_CLIP_RANGE)).sum(1),
        }


def _rollout_diagnostics(batch: Batch, advantages: Tensor, targets: Tensor | None, arm: Arm) -> Diagnostics:
    steps = batch.live.sum((0, 2))
    mean = advantages.sum((0, 2)) / steps
    diagnostics = {
        "train/advantage_mean": mean,
        "train/advantage_rms": (advantages.square().sum((0, 2)) / steps).sqrt(),
        "rollout/live_share": batch.live.to(torch.float32).mean((0, 2)),
    }
    if arm.group_baseline:
        diagnostics["train/dead_groups"] = dead_group_fraction(batch, arm)
    if targets is not None and batch.values is not None:
        diagnostics["train/explained_variance"] = _explained_variance(batch.values, targets, batch.live)
    return diagnostics


def _explained_variance(values: Tensor, targets: Tensor, live: Tensor) -> Tensor:
    """1 − Var(target − V) / Var(target) per replica (S,); NaN where the targets do not vary."""
    steps = live.sum((0, 2))

    def variance(x: Tensor) -> Tensor:
        x = torch.where(live, x, 0.0)
        return x.square().sum((0, 2)) / steps - (x.sum((0, 2)) / steps).square()

    total = variance(targets)
    return torch.where(total > 0, 1 - variance(targets - values) / total, torch.nan)
