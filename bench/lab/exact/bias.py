"""Bias and variance of an advantage Â = G − b(s) given (s, a), for a baseline that is a function of the state."""

from dataclasses import dataclass

import numpy as np

from bench.lab.exact.process import Process, Values
from bench.lab.exact.targets import TargetMoments
from bench.tasks.base import Array


@dataclass(frozen=True)
class Errors:
    """How far Â is from A^π: by state and action (*table, A), by state (*table), and averaged over visits.

    bias             E[Â | s, a] − A(s, a) = `action_bias` + `state_bias`
    action_bias      what of it differs between the actions of a state; its mean over π is 0. All that biases a gradient
    state_bias       Σ_a π(a | s) bias(s, a), by state
    variance         Var(Â | s, a)
    signal           A(s, a)
    share            the share of all visits that a state gets, by state: the weights of the averages
    """

    policy: Array
    share: Array
    bias: Array
    action_bias: Array
    state_bias: Array
    variance: Array
    signal: Array

    def average(self, numbers: Array) -> float:
        """Average numbers (*table, A) over visits and actions."""
        return float((self.share[..., None] * self.policy * numbers).sum())

    @property
    def averages(self) -> dict[str, float]:
        """The squared bias and its two parts, the variance, the squared error, and E A² (`signal`), over visits.

        They have the names and the meaning of the sampled laboratory's quantities.
        """
        squares = {
            "squared_bias": np.square(self.bias),
            "action_bias": np.square(self.action_bias),
            "state_bias": np.square(np.broadcast_to(self.state_bias[..., None], self.bias.shape)),
            "variance": self.variance,
            "squared_error": np.square(self.bias) + self.variance,
            "signal": np.square(self.signal),
        }
        return {name: self.average(numbers) for name, numbers in squares.items()}


def advantage_errors(process: Process, target: TargetMoments, baseline: Values = 0.0) -> Errors:
    """Return bias and variance of Â = G − b(s) in every state, for every action.

    Args:
        process: the policy in its world.
        target: the moments of G.
        baseline: b: a table, a critic, or one number.

    Raises:
        UserError: for a baseline of another shape.
    """
    fixed = process.values(baseline)
    bias = target.mean - fixed[..., None] - process.advantage
    # Σ_a π A is 0 only up to rounding: taken from the bias itself, both parts add up to it.
    state_bias = process.over_actions(bias)
    tabled = process.tabled
    return Errors(
        policy=tabled(process.policy),
        share=tabled(process.share),
        bias=tabled(bias),
        action_bias=tabled(bias - state_bias[..., None]),
        state_bias=tabled(state_bias),
        variance=tabled(target.variance),
        signal=tabled(process.advantage),
    )
