"""What need not be sampled: the exact quantities of a policy in a solved world, under the names of the sampled ones."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bench.config.schema import Arm, Config
from bench.kernel import arrays
from bench.lab.advantages import SHARES, is_told
from bench.lab.anchors import visited_steps
from bench.lab.estimators import Variant, sized
from bench.lab.exact.arms import advantages_of, gradient_of, why_parts_are_sampled, why_sampled
from bench.lab.exact.groups import BatchGradient
from bench.lab.exact.parts import Advantages, decompose
from bench.lab.exact.process import Process
from bench.lab.exact.scores import Scores, scores_of
from bench.lab.policies import Critic
from bench.lab.setup import Setup
from bench.lab.statistics import Estimate
from bench.tasks.base import Array
from bench.tasks.exact import ExactTask, shares

EXACT = 0  # degrees of freedom of a number without an error
FEW = 64  # episodes that tell at which time steps a world without a horizon is visited

Estimates = Mapping[str, Estimate]


def exactly(number: float) -> Estimate:
    """Return a number without an error."""
    return Estimate(float(number), np.zeros(1), EXACT)


@dataclass(frozen=True)
class Solved:
    """A policy in a solved world, with what of every variant is exact there: nothing is for the others."""

    setup: Setup
    process: Process
    scores: Scores

    @classmethod
    def of(cls, setup: Setup) -> "Solved | None":
        """Look at a policy; None where its world is not solved for it, or the settings want all of it sampled.

        Raises `UserError` for a world that is too large.
        """
        task = setup.policy.task
        if not setup.settings.exact or not isinstance(task, ExactTask) or not task.is_tabular or task.model.paid_last:
            return None
        process = Process.of(task, setup.policy, setup.process.gamma, setup.stage.reward_scale)
        return cls(setup, process, scores_of(process, setup.policy))

    def critic(self, variant: Variant) -> Critic | float:
        """Return the critic that a variant is given; 0 where it has none."""
        return self.setup.critics.get(variant.critic, 0.0)

    def knows(self, arm: Arm) -> bool:
        """Whether the gradient of an arm is exact."""
        return why_sampled(self.process, arm) is None

    def said(self, variant: Variant) -> Advantages | None:
        """Return what a variant says of every state and action; None where that has no exact moments."""
        if why_parts_are_sampled(self.process, variant.arm) is not None:
            return None
        return advantages_of(self.process, self._laid_out(variant, self.setup.layout.n_envs), self.critic(variant))

    def errors(self, said: Advantages) -> dict[str, Estimate]:
        """Return the quantities of `bench.lab.advantages.error_estimates`."""
        found = {name: exactly(number) for name, number in said.averages.items()}
        process = self.process
        values = process.value[..., None] + process.advantage
        size = float((process.share * process.over_actions(np.square(values))).sum())
        signal = found["signal"]
        told = is_told(signal, size)
        return found | {share: found[name].over(signal) if told else signal.unknown for share, name in SHARES.items()}

    def parts(self, said: Advantages) -> dict[str, Estimate]:
        """Return the parts of the variance of single steps, averaged over time steps with equally many visits."""
        steps = None
        if self.process.horizon is None:
            pool = self.setup.process.from_start(self.setup.stream("pool"), FEW)
            steps = visited_steps(pool, self.setup.settings.times)
        found = decompose(self.scores, said, steps)
        names = ("future", "action", "state", "companions", "sum")
        return {name: exactly(getattr(found, name).mean()) for name in names}

    def gradient(self, variant: Variant, n_envs: int) -> BatchGradient:
        """Return mean and variance of the gradient of a batch of `n_envs` episodes."""
        return gradient_of(self.process, self.scores, self._laid_out(variant, n_envs), self.critic(variant))

    def larger(self, variant: Variant, single: BatchGradient, multiple: int) -> BatchGradient:
        """Return those of a batch of `multiple` times as many episodes, given those of a `single` one.

        More groups are independent of each other; a baseline of the whole batch is another one.
        """
        if multiple == 1:
            return single
        if variant.independent or variant.arm.baseline.name == "batch_mean":
            return self.gradient(variant, self.setup.layout.n_envs * multiple)
        return replace(single, variance=single.variance / multiple)

    def _laid_out(self, variant: Variant, n_envs: int) -> Config:
        return replace(variant.arm, group=sized(variant.arm, n_envs).group)


def judged(found: BatchGradient, truth: Array) -> dict[str, Estimate]:
    """Return the quantities of `bench.lab.statistics.gradient_estimates` but the cosine, which has no exact value.

    `truth` is the true gradient, (P,).
    """
    length, along = float(np.square(truth).sum()), float((found.expected * truth).sum())
    mean = float(np.square(found.expected).sum())
    numbers = {
        "squared_bias": _share(float(np.square(found.expected - truth).sum()), length),
        "trace": _share(found.variance, length),
        "least_error": 1 - _share(along * along, (mean + found.variance) * length),
        "signal_to_noise": _share(mean, found.variance),
        "trace_absolute": found.variance,
        "cosine_truth": _share(along, math.sqrt(mean * length)),
    }
    return {name: exactly(number) for name, number in numbers.items()}


def _share(number: float, of: float) -> float:
    return number / of if of > 0 else math.nan


def kinds(found: BatchGradient) -> dict[str, dict[str, Estimate]]:
    """Return each kind of episode's share of what is learned and of the noise, as `bench.lab.fairness` has them."""
    learned = shares({name: arrays.norm(of.mean) for name, of in found.by_kind.items()})
    noise = shares({name: of.variance for name, of in found.by_kind.items()})
    return {
        name: {"learning_share": exactly(learned[name]), "variance_share": exactly(noise[name])} for name in learned
    }
