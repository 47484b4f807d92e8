"""The update: epochs of gradient steps on a batch's samples, for all replicas at once."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bench.arms.objectives import objective_of
from bench.arms.reference import kl_estimate, kl_slope
from bench.config.schema import Arm
from bench.kernel.engine import by_kernel
from bench.kernel.functions import exp, sqrt, sum_over
from bench.learner.actor import Actor
from bench.learner.diagnostics import Diagnostics, epoch_diagnostics, policy_change
from bench.learner.kernel_steps import KernelSteps
from bench.learner.minibatches import Minibatches, Samples
from bench.learner.network import Stack
from bench.learner.policy import ActorCritic
from bench.learner.rates import Array, Rates
from bench.learner.shared_layers import both_heads, take_apart
from bench.learner.train_state import TrainState


class Update:
    """One update of some replicas: epochs of minibatches, actor and critic side by side."""

    def __init__(self, networks: ActorCritic, arm: Arm, rates: Rates, streams: Sequence[np.random.Generator]) -> None:
        self.networks, self.acting = networks, networks.acting
        self.actor, self.critic = networks.actor, networks.critic
        self.arm, self.rates, self.streams = arm, rates, streams
        self._sums: dict[str, Tensor] = {}  # of each diagnostic, and of the steps or epochs that had it
        self._counts: dict[str, Tensor] = {}

    def run(self, samples: Samples) -> Diagnostics:
        """Change the weights; → diagnostics averaged over all steps, and the policy's change measured at the end."""
        arm, critic = self.arm, self.critic
        actor_schedule = (arm.update.epochs, arm.update.minibatches)
        critic_schedule = (arm.critic.epochs, arm.critic.minibatches)
        if critic is not None and (self.networks.shared or actor_schedule == critic_schedule):
            self._epochs(samples, *actor_schedule, with_actor=True, with_critic=True)
        else:
            self._epochs(samples, *actor_schedule, with_actor=True, with_critic=False)
            if critic is not None:
                self._epochs(samples, *critic_schedule, with_actor=False, with_critic=True)
        averages = {name: total / self._counts[name] for name, total in self._sums.items()}
        return averages | policy_change(self.acting, samples)

    def _epochs(self, samples: Samples, epochs: int, minibatches: int, *, with_actor: bool, with_critic: bool) -> None:
        cut = Minibatches(samples, minibatches, self.arm.advantage_norm if with_actor else "none")
        if by_kernel():
            steps = KernelSteps(self.networks, self.arm, self.rates, samples, cut, actor=with_actor, critic=with_critic)
            self._note(steps.run(epochs, self.streams), torch.ones_like(samples.count[:, 0]))
            return
        filled = torch.from_numpy(cut.filled).to(samples.share)
        for _ in range(epochs):
            epoch = cut.shuffled(self.streams)
            seen = [
                self._step(minibatch, taken, with_actor=with_actor, with_critic=with_critic)
                for minibatch, taken in zip(epoch, cut.filled.T, strict=True)
            ]
            self._note(epoch_diagnostics(epoch, seen, filled), torch.ones_like(filled[:, 0]))

    def _step(self, minibatch: Samples, taken: Array, *, with_actor: bool, with_critic: bool) -> dict[str, Tensor]:
        """Take one gradient step of those replicas whose minibatch is not empty.

        → what the minibatch looked like before it, per sample.
        """
        seen: dict[str, Tensor] = {}
        critic = self.critic if with_critic else None
        if critic is not None and self.networks.shared:
            seen |= joint_gradient(self.acting, critic.stack, minibatch, self.arm, self.rates)
        else:
            if with_actor:
                seen |= actor_gradient(self.acting, minibatch, self.arm, self.rates)
            if critic is not None:
                seen |= critic_gradient(critic.stack, minibatch, self.arm, self.rates)
        self._clip(torch.from_numpy(taken).to(minibatch.share), with_actor, with_critic)
        if with_actor:
            self.actor.adam.step(self.actor.stack.flat, self.actor.stack.grad, self.rates.actor, taken)
        if critic is not None:
            critic.adam.step(critic.stack.flat, critic.stack.grad, self.rates.critic, taken)
        return seen

    def _clip(self, taken: Tensor, with_actor: bool, with_critic: bool) -> None:
        if self.arm.grad_clip == "joint" and self.critic is not None:
            self._clip_together({"actor": self.actor, "critic": self.critic}, "max_grad_norm", taken)
            return
        if with_actor:
            self._clip_together({"actor": self.actor}, "max_grad_norm", taken)
        if with_critic and self.critic is not None:
            self._clip_together({"critic": self.critic}, "critic.max_grad_norm", taken)

    def _clip_together(self, networks: dict[str, TrainState], limit: str, taken: Tensor) -> None:
        limits = torch.from_numpy(self.rates.number(limit, self.arm)[:, 0]).to(taken)
        norms, factor = clip_gradients([network.stack for network in networks.values()], limits)
        clipped = factor.lt(1).to(factor.dtype)
        for name, norm in zip(networks, norms, strict=True):
            self._note({f"train/{name}_grad_norm": norm, f"train/{name}_grad_clipped": clipped}, taken)

    def _note(self, diagnostics: Mapping[str, Tensor], taken: Tensor) -> None:
        """Add to the sums of diagnostics (S,) what the replicas report that took the step; `taken` (S,) is 1 or 0."""
        for name, value in diagnostics.items():
            self._sums[name] = self._sums.get(name, 0.0) + torch.where(taken > 0, value, 0.0)
            self._counts[name] = self._counts.get(name, 0.0) + taken


def actor_gradient(actor: Actor, samples: Samples, arm: Arm, rates: Rates) -> dict[str, Tensor]:
    """Write the policy loss's gradient into the actor's `grad`; → what the step began with, per sample (S, B).

    The loss is −Σ weight · objective − ent_coef · mean entropy.
    """
    outputs, saved = actor.outputs(samples.observations)
    d_outputs, d_extras, seen = _policy_loss(actor, outputs, samples, arm, rates)
    actor.stack.backward(d_outputs, saved, d_extras)
    return seen


def _policy_loss(
    actor: Actor, outputs: Tensor, samples: Samples, arm: Arm, rates: Rates
) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    """Return the policy loss's gradient by the outputs and by the extras, and what the step began with."""
    policy = actor.distribution(outputs, actor.stack.extras)
    ent_coef = torch.from_numpy(rates.number("ent_coef", arm)).to(samples.share)
    log_prob, entropy = policy.log_prob(samples.actions), policy.entropy()
    old = samples.old_policy(actor) if arm.update.name == "kl_penalty" else None
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
        d_entropy=-ent_coef * samples.share if bool((ent_coef > 0).any()) else None,
        old=old,
        d_kl=None if old is None else samples.weight * rates.kl_coef,
    )
    return d_outputs, d_extras, {"objective": objective, "entropy": entropy, "log_ratio": log_prob - samples.log_prob}


def _reference_cost(
    log_prob: Tensor, samples: Samples, log_prob_reference: Tensor, arm: Arm, rates: Rates
) -> tuple[Tensor, Tensor]:
    """Return what going away from the reference costs each sample, and its derivative by log_prob.

    The importance weights are constants.
    """
    beta, kind = rates.reference_coef, arm.reference.kind
    if arm.reference.importance:
        beta = beta * exp(log_prob - samples.log_prob)
    return beta * kl_estimate(log_prob, log_prob_reference, kind), beta * kl_slope(log_prob, log_prob_reference, kind)


def critic_gradient(critic: Stack, samples: Samples, arm: Arm, rates: Rates) -> dict[str, Tensor]:
    """Write the gradient of vf_coef · mean (V − target)² into `critic.grad`; → the errors V − target (S, B)."""
    outputs, saved = critic.forward(samples.observations)
    d_outputs, seen = _value_loss(outputs, samples, arm, rates)
    critic.backward(d_outputs, saved)
    return seen


def joint_gradient(actor: Actor, head: Stack, samples: Samples, arm: Arm, rates: Rates) -> dict[str, Tensor]:
    """Write the gradient of the joint loss (arXiv 1707.06347, eq. 9) into those of the actor and of the critic's head.

    It is the policy loss plus vf_coef · mean (V − target)², of a network with both heads on the actor's hidden layers.
    → what the step began with, per sample (S, B).
    """
    network = both_heads(actor.stack, head)
    outputs, saved = network.forward(samples.observations)
    of_policy, values = outputs.split([actor.stack.outputs, head.outputs], 1)
    if actor.distribution.reads_features:
        of_policy = torch.cat([of_policy, network.features(saved)], 1)
    d_policy, d_extras, seen = _policy_loss(actor, of_policy, samples, arm, rates)
    d_values, errors = _value_loss(values, samples, arm, rates)
    network.backward(torch.cat([d_policy, d_values], 1), saved)
    take_apart(network.grad, actor.stack, head)
    if d_extras is not None:
        actor.stack.grad[:, actor.stack.used - actor.stack.extra :] = d_extras
    return seen | errors


def _value_loss(outputs: Tensor, samples: Samples, arm: Arm, rates: Rates) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the value loss's gradient by the values (S, 1, B), and the errors."""
    assert samples.target is not None  # estimate() computes it wherever there is a critic
    error = outputs[:, 0] - samples.target
    vf_coef = torch.from_numpy(rates.number("critic.vf_coef", arm)).to(error)
    return (2 * vf_coef * samples.share * error).unsqueeze(1), {"error": error}


def clip_gradients(stacks: Sequence[Stack], limit: Tensor) -> tuple[list[Tensor], Tensor]:
    """Scale each replica's gradient over these stacks to a norm of at most its `limit` (S,); infinite: of any size.

    → the norms of each stack (S,), and the factor (S,), 1 where nothing was clipped.
    """
    norms = [sqrt(sum_over(stack.grad.square(), 1)) for stack in stacks]
    total = norms[0] if len(norms) == 1 else sqrt(sum_over(torch.stack(norms, 1).square(), 1))
    factor = torch.where(limit.isinf(), 1.0, (limit / (total + 1e-6)).clamp(max=1))
    for stack in stacks:
        stack.grad.mul_(factor.unsqueeze(1))
    return norms, factor
