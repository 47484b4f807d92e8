"""Mean and variance of every return target given (s, a), for any V: recursions over the model.

With r and s' the reward and the successor of (s, a), V = 0 once the episode has ended, and x̄(s) = Σ_a π(a | s) x(s, a):

    λ-return    G = r + b(s') + c G',   b = γ(1 − λ)V, c = γλ
                E[G | s, a]   = E[x],                      x = r + b(s') + c m̄(s')
                Var(G | s, a) = Var(x) + c² E[v̄(s')],      v̄(s) = Σ_a π (Var(G | s, a) + (m − m̄)²)
    n steps     G⁽ⁿ⁾ = r + γ G⁽ⁿ⁻¹⁾',   G⁽⁰⁾ = V, alike

with m = E[G | s, a]. Given s', the reward is independent of what follows, so all that is needed of it are
E[r | s, a, s'] and E[r² | s, a]. λ = 0 is the one-step target, λ = 1 the full return. Variances are carried, not second
moments, so that a constant added to every reward costs no digits.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.config.schema import Arm
from bench.errors import UserError
from bench.kernel import arrays
from bench.lab.exact.process import Process, Values
from bench.tasks.base import Array


@dataclass(frozen=True)
class Target:
    """A return target: λ-returns with `gae_lambda`, or n-step returns with `n_step`; exactly one of them is given."""

    gae_lambda: float | None = None
    n_step: int | None = None

    def __post_init__(self) -> None:
        if (self.gae_lambda is None) == (self.n_step is None):
            raise UserError(f"{self}: give gae_lambda or n_step, one of them")
        if self.gae_lambda is not None and not 0 <= self.gae_lambda <= 1:
            raise UserError(f"gae_lambda={self.gae_lambda}: must lie in [0, 1]")
        if self.n_step is not None and self.n_step < 1:
            raise UserError(f"n_step={self.n_step}: must be at least 1")

    @classmethod
    def of(cls, arm: Arm) -> "Target":
        """Return the target that an arm credits actions with. Raises `UserError` for a plug-in's."""
        targets = {
            "td0": TD0,
            "gae": cls(gae_lambda=arm.gae_lambda),
            "nstep": cls(n_step=arm.n_step),
            "monte_carlo": MONTE_CARLO,
        }
        if arm.advantage.name not in targets:
            raise UserError(f"advantage={arm.advantage.name}: exact are {', '.join(targets)}; sample the others")
        return targets[arm.advantage.name]


TD0, MONTE_CARLO = Target(gae_lambda=0.0), Target(gae_lambda=1.0)


@dataclass(frozen=True)
class TargetMoments:
    """A target given (s, a), computed with some V: its mean and variance, (T, S, A); made by `target_moments`.

    `values` (T, S) is that V.
    """

    process: Process
    target: Target
    values: Array
    mean: Array
    variance: Array

    @property
    def second(self) -> Array:
        """E[G² | s, a], (T, S, A)."""
        second: Array = self.variance + np.square(self.mean)
        return second

    def earns(self, lag: int) -> float:
        """Return the factor of the reward that is paid `lag` steps later."""
        gamma, n = self.process.gamma, self.target.n_step
        if n is not None:
            return _power(gamma, lag) if lag < n else 0.0
        return _power(gamma * (self.target.gae_lambda or 0.0), lag)

    def boots(self, lag: int) -> float:
        """Return the factor of V of the state that the step `lag` steps later leads to."""
        gamma, n = self.process.gamma, self.target.n_step
        if n is not None:
            return _power(gamma, n) if lag == n - 1 else 0.0
        return gamma * (1 - (self.target.gae_lambda or 0.0)) * self.earns(lag)

    def shorter(self, lag: int) -> tuple[Array, Array]:
        """Return E[X | s, a] and E[X G | s, a], (T, S, A), for the target X that reads `lag` steps fewer.

        A λ-return is as long as before; of n-step returns it is G⁽ⁿ⁻ˡᵃᵍ⁾, for a lag below n.
        """
        n = self.target.n_step
        if n is None or lag == 0:
            return self.mean, self.second
        mean, covariance = self._shorter[n - lag - 1]
        return mean, covariance + mean * self.mean

    def rest(self, lag: int) -> tuple[Array, Array]:
        """Return E[X | s, a] and E[X G | s, a], (T, S, A), for X: what a target from `lag` steps before has from here.

        A λ-return's is (γλ)ˡᵃᵍ G, an n-step return's γˡᵃᵍ G⁽ⁿ⁻ˡᵃᵍ⁾.
        """
        factor = self.earns(lag)
        if factor == 0:
            return np.zeros_like(self.mean), np.zeros_like(self.mean)
        mean, product = self.shorter(lag)
        return factor * mean, factor * product

    @cached_property
    def _shorter(self) -> list[tuple[Array, Array]]:
        """E[G⁽ᵏ⁾ | s, a] and Cov(G⁽ᵏ⁾, G⁽ⁿ⁾ | s, a) for k = 1, …, n."""
        assert self.target.n_step is not None
        return _shorter(self.process, self.values, self.target.n_step)


def target_moments(process: Process, target: Target, values: Values = 0.0) -> TargetMoments:
    """Return the mean and the variance of a target given every (s, a).

    Args:
        process: the policy in its world.
        target: which one.
        values: V, which the target bootstraps with: a table, a critic, or one number.

    Raises:
        UserError: for a V of another shape.
    """
    table = process.values(values)
    if target.gae_lambda is not None:
        mean, variance = _of_lambda_return(process, table, target.gae_lambda)
    else:
        assert target.n_step is not None
        mean, variance = _of_n_steps(process, table, target.n_step)
    return TargetMoments(process, target, table, mean, variance)


def _of_lambda_return(process: Process, values: Array, gae_lambda: float) -> tuple[Array, Array]:
    booted, kept = process.gamma * (1 - gae_lambda) * values, process.gamma * gae_lambda
    following = process.sum_up(process.over_actions(process.model.reward + process.expect(booted)), kept)
    mean, of_one_step = one_step(process, booted + kept * following)
    spread = process.sum_up(process.over_actions(of_one_step + np.square(mean - following[..., None])), kept * kept)
    return mean, of_one_step + kept * kept * process.expect(spread)


def _of_n_steps(process: Process, values: Array, n: int) -> tuple[Array, Array]:
    gamma = process.gamma
    following, spread = values, np.zeros_like(values)  # mean and variance of G⁽ᵏ⁾ given s
    for _ in range(n):
        mean, of_one_step = one_step(process, gamma * following)
        variance = of_one_step + gamma * gamma * process.expect(spread)
        following = process.over_actions(mean)
        spread = process.over_actions(variance + np.square(mean - following[..., None]))
    return mean, variance


def _shorter(process: Process, values: Array, n: int) -> list[tuple[Array, Array]]:
    """Return E[G⁽ᵏ⁾ | s, a] and Cov(G⁽ᵏ⁾, G⁽ⁿ⁾ | s, a), (T, S, A) each, for k = 1, …, n.

    Round k has the covariances of G⁽ᵏ⁾ with G⁽ᵏ⁺ᵈ⁾ for d = 0, …, n − k, from those of the round before.
    """
    gamma, found = process.gamma, []
    of_state, of_action = [values], []  # means
    for _ in range(n):
        of_action.append(process.model.reward + gamma * process.expect(of_state[-1]))
        of_state.append(process.over_actions(of_action[-1]))
    covariance = np.zeros((*values.shape, n))  # given s; the last axis is d, from 0 to n − k
    for k in range(1, n + 1):
        before = gamma * np.stack(of_state[k - 1 : n], -1)
        given_action = _covariance_of_one_step(process, gamma * of_state[k - 1], before)
        given_action = given_action + gamma * gamma * process.expect(covariance)
        found.append((of_action[k - 1], given_action[..., -1]))
        apart = np.stack([mean - process.over_actions(mean)[..., None] for mean in of_action[k - 1 :]], -1)
        covariance = process.over_actions(given_action + apart[..., :1] * apart)[..., :-1]
    return found


def _covariance_of_one_step(process: Process, left: Array, right: Array) -> Array:
    """Return Cov(r + x(s'), r + y(s') | s, a), (T, S, A, D), for x (T, S) and y (T, S, D)."""
    reward = process.model.reward[..., None]
    x, y = process.expect(left)[..., None], process.expect(right)
    with_reward = process.expect_with_reward(left[..., None] + right) - reward * (x + y)
    both = process.expect(left[..., None] * right) - x * y
    covariance: Array = process.model.reward_variance[..., None] + with_reward + both
    return covariance


def one_step(process: Process, values: Array) -> tuple[Array, Array]:
    """Return the mean and the variance of r + x(s') given (s, a), for x (T, S): (T, S, A) each."""
    reward, expected = process.model.reward, process.expect(values)
    covariance = process.expect_with_reward(values) - reward * expected
    spread = process.expect(np.square(values)) - np.square(expected)
    return reward + expected, (process.model.reward_variance + 2 * covariance + spread).clip(min=0)


def _power(base: float, exponent: int) -> float:
    return float(arrays.powers(base, exponent + 1)[exponent])
