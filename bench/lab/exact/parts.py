"""Where the variance of one step's gradient term Â ∇log π(a | s) comes from (Tucker et al., arXiv 1802.10031), exactly.

The parts are those of `bench.lab.decomposition`, which samples them:

    future      E ‖∇log π‖² Var(E[Â | s, a, τ] | s, a)
    action      E_s of the variance over actions of E[Â | s, a] ∇log π
    state       the variance over states of E_a[Â ∇log π]
    companions  E ‖∇log π‖² Var(Â | s, a, τ), where other episodes enter the baseline

The state includes its past, which whole returns and batch means read. Σ_a π ∇log π = 0, so that the past changes the
part of the actions, never that of the states.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import UserError
from bench.kernel import arrays
from bench.lab.exact.groups import Batch, need_steps, shared
from bench.lab.exact.linear import Sums
from bench.lab.exact.process import Process, Values
from bench.lab.exact.scores import Scores, centred, squared_lengths
from bench.lab.exact.targets import TargetMoments
from bench.tasks.base import Array


@dataclass(frozen=True)
class Advantages:
    """What an estimator says of (s, a), given the start state and averaged over what lies between.

    mean        E[Â | start, s, a], (K, T, S, A); K may be 1 where the start plays no part
    past        the variance of E[Â | start, past, s, a] over pasts, (K, T, S)
    future      Var(E[Â | past, s, a, τ] | past, s, a), (T, S, A)
    companions  Var(Â | start, past, s, a, τ), (K, T)
    """

    process: Process
    mean: Array
    past: Array
    future: Array
    companions: Array

    @property
    def averages(self) -> dict[str, float]:
        """Squared bias and its parts, variance, squared error and E A² (`signal`), averaged over visits and actions.

        They have the names and the meaning of the sampled laboratory's: a bias is one given the state with its past.
        """
        process = self.process
        visits = process.starts.weights[:, None, None] * process.occupancy()
        share = (visits / visits.sum())[..., None] * process.policy

        def average(numbers: Array) -> float:
            return float((share * numbers).sum())

        bias = self.mean - process.advantage
        of_state = (process.policy * bias).sum(-1, keepdims=True)
        action_bias = average(np.square(bias - of_state))
        state_bias = average(np.square(of_state) + self.past[..., None])
        variance = average(self.future + self.companions[..., None, None])
        return {
            "squared_bias": action_bias + state_bias,
            "action_bias": action_bias,
            "state_bias": state_bias,
            "variance": variance,
            "squared_error": action_bias + state_bias + variance,
            "signal": average(np.square(process.advantage)),
        }

    @classmethod
    def of_state_baseline(cls, process: Process, target: TargetMoments, baseline: Values = 0.0) -> "Advantages":
        """Return those of G − b(s)."""
        mean = target.mean - process.values(baseline)[..., None]
        return cls(process, mean[None], np.zeros((1, *mean.shape[:2])), target.variance, np.zeros((1, len(mean))))

    @classmethod
    def of_compared_targets(
        cls, process: Process, target: TargetMoments, batch: Batch, *, leave_one_out: bool = False
    ) -> "Advantages":
        """Return those of targets that are compared step by step; see `compared_targets`."""
        need_steps(process, "comparing members step by step")
        occupancy, scale = process.occupancy(), _scale(batch, leave_one_out)
        moments = [(occupancy * process.over_actions(each)).sum(-1) for each in (target.mean, target.second)]
        level, square = (shared(process, each, batch) for each in moments)  # (K, T)
        others = (square - np.square(level)) / (batch.size - 1)
        mean = scale * (target.mean - level[..., None, None])
        factor = scale * scale
        return cls(process, mean, np.zeros(occupancy.shape), factor * target.variance, factor * others)

    @classmethod
    def of_compared_outcomes(cls, process: Process, batch: Batch, *, leave_one_out: bool = False) -> "Advantages":
        """Return those of whole returns that are compared; see `compared_outcomes`."""
        need_steps(process, "what a whole return had earned at a step")
        sums, starts, scale = Sums.of_return(process), process.starts, _scale(batch, leave_one_out)
        expected, variance = sums.expected()[..., 0], sums.covariance(sums)[..., 0]
        earned, spread = _before(process, sums)
        first, second = (process.at(0, each[0])[starts.states] for each in (expected, variance + np.square(expected)))
        level, square = shared(process, first, batch), shared(process, second, batch)
        others = np.broadcast_to((square - np.square(level))[:, None] / (batch.size - 1), earned.shape[:2])
        mean = scale * (earned[..., None] + expected - level[:, None, None, None])
        factor = scale * scale
        return cls(process, mean, factor * spread, factor * variance, factor * others)

    @classmethod
    def of_batch_mean(cls, process: Process, target: TargetMoments, batch: Batch) -> "Advantages":
        """Return those of targets less the mean of the batch's; see `batch_mean`."""
        need_steps(process, "the mean over a batch's steps")
        starts, targets = process.starts, Sums.of_targets(target)
        sums, n = targets.mean(), batch.groups * batch.size
        expected, variance = sums.expected()[..., 0], sums.covariance(sums)[..., 0]
        earned, spread = _before(process, sums)
        steps = np.arange(len(expected))
        with_own = targets.covariance(sums)[steps, ..., steps]  # Cov(G_t, what Y has from t on | s, a)
        level, square = (process.at(0, each[0])[starts.states] for each in (expected, variance + np.square(expected)))
        luck = square - np.square(level)  # of Y given the start
        average = starts.mean(level)
        together = 0 if batch.independent else batch.size - 1
        apart = n - 1 - together
        others = together * level + apart * average
        between = starts.mean(np.square(level)) - average * average
        of_others = together * luck + apart * (starts.mean(luck) + (together + 1) * between)
        return cls(
            process,
            mean=target.mean - (earned[..., None] + expected + others[:, None, None, None]) / n,
            past=spread / (n * n),
            future=target.variance - 2 * with_own / n + variance / (n * n),
            companions=np.broadcast_to(of_others[:, None] / (n * n), earned.shape[:2]),
        )


@dataclass(frozen=True)
class Parts:
    """The parts of the variance at each step, (J,), and their sum."""

    future: Array
    action: Array
    state: Array
    companions: Array

    @property
    def sum(self) -> Array:
        """The variance of Â ∇log π at each step, (J,)."""
        total: Array = self.future + self.action + self.state + self.companions
        return total


def decompose(scores: Scores, advantages: Advantages, steps: Sequence[int] | None = None) -> Parts:
    """Return the parts of the variance of Â ∇log π(a | s) among the episodes that are alive at each step.

    Args:
        scores: ∇log π, by logits or by a network's parameters.
        advantages: of an estimator.
        steps: J steps; every step of a world with a step axis, which has no choice.

    Raises:
        UserError: for steps in a world with a step axis, and for none in one without.
    """
    process = advantages.process
    weights = _arrivals(process, steps)
    policy, coefficients = process.policy, centred(process, advantages.mean)

    def average(numbers: Array) -> Array:  # (K, T, S, A) or less of it → (J,)
        averaged: Array = (weights * (policy * scores.lengths * numbers).sum(-1)).sum((0, 2))
        return averaged

    future, companions = average(advantages.future), average(advantages.companions[..., None, None])
    second = average(np.square(advantages.mean) + advantages.past[..., None])
    squared = (weights * squared_lengths(scores, coefficients)).sum((0, 2))
    common = (weights[..., None] * coefficients).sum(0)  # (J, S, A)
    together = scores.gradient(common[:, None]) if process.horizon is None else scores.step_gradients(common[None])[0]
    state = squared - np.square(together).sum(-1)
    return Parts(future, second - squared, state, companions)


def _arrivals(process: Process, steps: Sequence[int] | None) -> Array:
    """Return P(start, s_t = s | alive at t) of each step, (K, J, S)."""
    if process.horizon is not None:
        if steps is not None:
            raise UserError(
                f"steps={list(steps)}: {type(process.task).__name__} has {process.horizon}, and all are given"
            )
        visited = process.occupancy()
    else:
        if not steps or min(steps) < 0:
            raise UserError(
                f"steps={steps}: {type(process.task).__name__} has no last step: give those of interest, 0 or more"
            )
        now, found = np.eye(process.shape[1])[process.starts.states], {}
        for step in range(max(steps) + 1):
            found[step] = now
            now = arrays.matrix_product(now, process.moves[0])
        visited = np.stack([found[step] for step in steps], 1)
    weighted = process.starts.weights[:, None, None] * visited
    arrivals: Array = weighted / weighted.sum((0, 2))[None, :, None]
    return arrivals


def _before(process: Process, sums: Sums) -> tuple[Array, Array]:
    """Return mean and variance, given the start and s_t, of what came before: (K, T, S) each; 0 in other states."""
    occupancy = process.occupancy()
    first, second = (np.stack(each) for each in zip(*map(sums.before, range(len(occupancy))), strict=True))
    reached = occupancy > 0
    mean, square = (np.divide(each, occupancy, out=np.zeros_like(each), where=reached) for each in (first, second))
    return mean, (square - np.square(mean)).clip(min=0)


def _scale(batch: Batch, leave_one_out: bool) -> float:
    return 1.0 if leave_one_out else 1 - 1 / batch.size
