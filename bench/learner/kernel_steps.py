"""Gradient steps by the kernel: one call a minibatch, or two around a plug-in's objective.

The readable form of the same steps is `bench.learner.update`, with `bench.arms`; tests hold one against the other.
"""

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_void_p
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.arms.objectives import KINDS, objective_of
from bench.config.schema import Arm
from bench.kernel.functions import call
from bench.learner.diagnostics import Diagnostics
from bench.learner.distributions import Categorical, DiagonalGaussian, StateDependentGaussian
from bench.learner.minibatches import Minibatches, Samples
from bench.learner.optimiser import Adam
from bench.learner.policy import ActorCritic
from bench.learner.rates import Rates

Array = npt.NDArray[Any]

ACT, JUDGE, LEARN = 1, 2, 4  # phases; the numbers are those of bench/kernel/source/steps.h, as all below
DISTRIBUTIONS = (Categorical, DiagonalGaussian, StateDependentGaussian)
REFERENCES = ("none", "k1", "k2", "k3")
NORMALISATIONS = ("none", "rms", "mean_std")
OF_ACTOR = (
    "policy_gradient_loss", "entropy_loss", "approx_kl", "clip_fraction", "actor_grad_norm", "actor_grad_clipped",
)  # fmt: skip
OF_CRITIC = ("value_loss", "critic_grad_norm", "critic_grad_clipped")
SEEN = (
    "policy_gradient_loss", "entropy_loss", "approx_kl", "clip_fraction", "value_loss", "actor_grad_norm",
    "actor_grad_clipped", "critic_grad_norm", "critic_grad_clipped",
)  # fmt: skip

NUMBERS = (
    "replicas", "samples", "width", "phases", "distribution", "objective", "reference", "importance", "normalisation",
    "joint", "shared", "with_kl", "inputs", "actor_depth", "critic_depth", "outputs", "components", "extra",
    "actor_size", "critic_size",
)  # fmt: skip
MEMORY = (
    "actor_widths", "critic_widths", "observations", "old_outputs", "old_extras", "actions", "choices", "log_prob_old",
    "advantage", "target", "weight", "log_prob_reference", "index", "index_stride", "sizes", "counts", "actor_rate",
    "critic_rate", "clip_range", "kl_coef", "reference_coef", "ent_coef", "vf_coef", "actor_limit", "critic_limit",
    "actor", "actor_grad", "actor_first", "actor_second", "critic", "critic_grad", "critic_first", "critic_second",
    "actor_steps", "critic_steps", "log_prob", "acted", "judged_by", "value_of", "slope",
)  # fmt: skip
OF_ADAM = ("beta1", "beta2", "eps")
AFTER = ("seen", "taken", "work", "work_stride")


class Step(ctypes.Structure):
    """`Step` of bench/kernel/source/steps.h."""

    _fields_: ClassVar = [
        *[(name, c_int64) for name in NUMBERS],
        *[(name, c_void_p) for name in MEMORY],
        *[(name, c_double) for name in OF_ADAM],
        *[(name, c_void_p) for name in AFTER],
    ]


class KernelSteps:
    """The steps of one pass over a batch's epochs, of the actor, the critic, or both side by side."""

    def __init__(
        self,
        networks: ActorCritic,
        arm: Arm,
        rates: Rates,
        samples: Samples,
        cut: Minibatches,
        *,
        actor: bool,
        critic: bool,
    ) -> None:
        self.arm, self.rates, self.cut, self.samples = arm, rates, cut, samples
        self._like = samples.observations
        self._step, self._kept = Step(), dict[str, Any]()
        self._with_actor, self._with_critic = actor, critic
        self._describe(networks, samples)
        self._give_batch(samples)
        self._give_rates()
        self._give_networks(networks)
        self._give_memory()

    def run(self, epochs: int, streams: Sequence[np.random.Generator]) -> Diagnostics:
        """Take all steps; → what they began with, averaged over them."""
        step, width = self._step, self.cut.width
        sizes = np.ascontiguousarray(self.cut.counts.T)  # (minibatches, S)
        for _ in range(epochs):
            if self.cut.minibatches > 1:
                self.cut.permute(streams)
            for number, size in enumerate(sizes):
                step.sizes = size.ctypes.data
                if self.cut.minibatches > 1:
                    step.index = self.cut.index.ctypes.data + 8 * number * width
                self._take()
        return self._averages()

    def _take(self) -> None:
        if not self._with_actor or self.arm.update.name != "plugin":
            self._call(ACT | JUDGE | LEARN)
            return
        self._call(ACT)
        objective, slope = objective_of(self.arm.update)(
            self._shown["log_prob"],
            self._shown["acted"],
            self._shown["judged_by"],
            clip_range=self.rates.clip_range,
            kl_coef=self.rates.kl_coef,
            kl=None,
        )
        self._shown["value_of"].copy_(objective)
        self._shown["slope"].copy_(slope)
        self._call(LEARN)

    def _call(self, phases: int) -> None:
        self._step.phases = phases
        call("step", self._like, ctypes.addressof(self._step))

    def _averages(self) -> Diagnostics:
        means = torch.from_numpy(self._seen / self._taken[:, None]).to(self._like.dtype)
        chosen = (OF_ACTOR if self._with_actor else ()) + (OF_CRITIC if self._with_critic else ())
        return {f"train/{name}": means[:, SEEN.index(name)] for name in chosen}

    def _give(self, **memory: Tensor | Array | None) -> None:
        """Enter memory into the structure, and keep it."""
        for name, values in memory.items():
            if values is None:
                continue
            if isinstance(values, Tensor) and values.is_floating_point() and values.dtype != self._like.dtype:
                raise ValueError(f"{name} has {values.dtype}, the observations have {self._like.dtype}")
            values = values.contiguous() if isinstance(values, Tensor) else np.ascontiguousarray(values)
            self._kept[name] = values
            setattr(self._step, name, values.data_ptr() if isinstance(values, Tensor) else values.ctypes.data)

    def _describe(self, networks: ActorCritic, samples: Samples) -> None:
        """Enter codes and shapes."""
        arm, step, stack = self.arm, self._step, networks.actor.stack
        kind = networks.acting.distribution
        step.replicas, step.inputs, step.samples = samples.observations.shape
        step.width = self.cut.width
        step.distribution = next(code for code, known in enumerate(DISTRIBUTIONS) if issubclass(kind, known))
        step.objective = KINDS.index(arm.update.name) if arm.update.name in KINDS else 0  # a plug-in judges by itself
        step.reference = REFERENCES.index(arm.reference.kind) if samples.log_prob_reference is not None else 0
        step.importance = arm.reference.importance
        step.normalisation = NORMALISATIONS.index(arm.advantage_norm)
        step.joint = arm.grad_clip == "joint" and networks.critic is not None
        step.shared = networks.shared
        step.with_kl = arm.update.name == "kl_penalty"
        step.actor_depth, step.critic_depth = len(stack.hidden), 0
        step.outputs, step.components, step.extra = stack.outputs, samples.actions.shape[1], stack.extra
        self._give(
            actor_widths=np.array(stack.hidden or (0,), dtype=np.int64), critic_widths=np.zeros(1, dtype=np.int64)
        )
        step.actor_size = stack.used if self._with_actor else 0
        if self._with_critic and networks.critic is not None:
            hidden = networks.critic.stack.hidden
            step.critic_size, step.critic_depth = networks.critic.stack.used, len(hidden)
            self._give(critic_widths=_widths(hidden))

    def _give_batch(self, samples: Samples) -> None:
        self._give(
            observations=samples.observations,
            old_outputs=samples.outputs,
            old_extras=samples.extras,
            log_prob_old=samples.log_prob,
            advantage=samples.advantage,
            target=samples.target,
            weight=samples.weight,
            log_prob_reference=samples.log_prob_reference,
            counts=samples.count.numpy().astype(np.int64)[:, 0],
            index_stride=np.array([self.cut.index.shape[1]]),
        )
        discrete = samples.actions.dtype == torch.int64
        self._give(choices=samples.actions if discrete else None, actions=None if discrete else samples.actions)

    def _give_rates(self) -> None:
        rates, replicas = self.rates, self._step.replicas

        def column(value: Tensor | Array) -> Array:
            numbers = value.double().numpy() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
            return np.ascontiguousarray(np.broadcast_to(numbers.reshape(-1), (replicas,)))

        def own(key: str) -> Array:
            return column(rates.number(key, self.arm))

        self._give(
            actor_rate=column(rates.actor),
            critic_rate=column(rates.critic),
            clip_range=column(rates.clip_range),
            kl_coef=column(rates.kl_coef),
            reference_coef=column(rates.reference_coef),
            ent_coef=own("ent_coef"),
            vf_coef=own("critic.vf_coef"),
            actor_limit=own("max_grad_norm"),
            critic_limit=own("critic.max_grad_norm"),
        )

    def _give_networks(self, networks: ActorCritic) -> None:
        states = {"actor": networks.actor, "critic": networks.critic}
        for name, state in states.items():
            if state is None:
                continue
            adam, stack = state.adam, state.stack
            if not all(each.is_contiguous() for each in (stack.flat, stack.grad, adam.first, adam.second)):
                raise ValueError(f"the {name}'s memory has gaps: steps would be taken in a copy of it")
            memory: dict[str, Tensor | Array | None] = {
                "": stack.flat, "_grad": stack.grad, "_first": adam.first, "_second": adam.second, "_steps": adam.steps,
            }  # fmt: skip
            self._give(**{f"{name}{end}": values for end, values in memory.items()})
        self._step.beta1, self._step.beta2, self._step.eps = Adam.beta1, Adam.beta2, networks.actor.adam.eps

    def _give_memory(self) -> None:
        replicas, width, like = self._step.replicas, self.cut.width, self._like
        self._seen, self._taken = np.zeros((replicas, len(SEEN))), np.zeros(replicas)
        self._give(seen=self._seen, taken=self._taken)
        halves = self._with_actor and self.arm.update.name == "plugin"
        names = ("log_prob", "acted", "judged_by", "value_of", "slope") if halves else ()
        self._shown = {name: like.new_zeros(replicas, width) for name in names}
        self._give(**self._shown)
        numbers = call("step_work", like, ctypes.addressof(self._step))
        self._give(
            work=like.new_empty(numbers * (replicas if halves else 1)), work_stride=np.array([numbers if halves else 0])
        )


def _widths(hidden: Sequence[int]) -> Array:
    return np.array(hidden or (0,), dtype=np.int64)
