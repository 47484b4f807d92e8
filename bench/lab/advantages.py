"""Errors of advantages: K independent estimates at fixed states and actions, against the truth.

Nested resets separate the sources of variance. Fixed: the state s with its past. Then the action a, then the future τ,
then, for baselines computed from other episodes, those episodes: the estimate X[m, j, k, l] has state m, action j,
future k and companions l.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from bench.lab.statistics import Estimate, mean_estimate
from bench.tasks.base import Array

NEGLIGIBLE = 1e-6  # of the values' root mean square: advantages with a smaller one are none
SHARES = {"relative_bias": "action_bias", "relative_variance": "variance", "relative_error": "squared_error"}


@dataclass(frozen=True)
class Truth:
    """Q(s, a) and V(s) at anchors, (M, J) and (M,), with the variances of their errors (0 where exact).

    Where `drawn` is False, V is Σ π Q, so its error is not independent of Q's.
    """

    q_values: Array
    q_error: Array
    value: Array
    value_error: Array

    def first(self, count: int) -> "Truth":
        """Return what is known of the first `count` states."""
        return Truth(*(getattr(self, field.name)[:count] for field in fields(self)))

    @property
    def advantage(self) -> Array:
        """A = Q − V, (M, J)."""
        advantage: Array = self.q_values - self.value[:, None]
        return advantage


@dataclass(frozen=True)
class Estimates:
    """What an estimator said at M states × J actions: the moments of X (M, J, K, L), debiased.

    The full returns R of the same K futures are a control variate: E[R | s, a] is Q(s, a), which is known better than
    from K futures, so that X − c R tells E[X | s, a] with less noise, and exactly where X is R less a function of the
    state.

    Attributes:
        mean: (M, J), E[X | s, a], with the variance of its error `mean_error`.
        of_future: (M, J), Var_τ E[X | τ].
        of_companions: (M, J), E_τ Var[X | τ].
        returns: (M, J), the means of R; 0 where there is no control variate.
        covariance: (M, J), Cov_τ(E[X | τ], R).
        returns_variance: (M, J), Var_τ R.
        futures: K.
    """

    mean: Array
    mean_error: Array
    of_future: Array
    of_companions: Array
    returns: Array
    covariance: Array
    returns_variance: Array
    futures: int

    @classmethod
    def of(cls, samples: Array, returns: Array | None = None) -> "Estimates":
        """Take the moments of X (M, J, K, L); with L = 1 the future has all the variance. `returns` are R (M, J, K)."""
        futures, companions = samples.shape[2:]
        per_future = samples.mean(3)
        between = per_future.var(2, ddof=1)
        within = samples.var(3, ddof=1).mean(2) if companions > 1 else np.zeros_like(between)
        control = np.zeros_like(per_future) if returns is None else returns
        mean, controls = per_future.mean(2), control.mean(2)
        products = (per_future - mean[:, :, None]) * (control - controls[:, :, None])
        return cls(
            mean=mean,
            mean_error=between / futures,
            of_future=between - within / companions,
            of_companions=within,
            returns=controls,
            covariance=products.sum(2) / (futures - 1),
            returns_variance=control.var(2, ddof=1),
            futures=futures,
        )

    @property
    def variance(self) -> Array:
        """Var(Â | s, a), (M, J)."""
        return self.of_future + self.of_companions

    def controlled(self, coefficient: float) -> tuple[Array, Array]:
        """Return the mean of X − c R and the variance of its error, both (M, J)."""
        moved = coefficient * (coefficient * self.returns_variance - 2 * self.covariance) / self.futures
        return self.mean - coefficient * self.returns, (self.mean_error + moved).clip(min=0)


def control_coefficient(several: Sequence[tuple[Estimates, Array]]) -> float:
    """Return the c that leaves X − c R the least variance within a state and action; 0 without a control variate.

    It is one number for all states of one estimator, given with their weights (M, J): far more futures than it could
    be fitted to.
    """
    covariance = sum(float((weights * each.covariance).sum()) for each, weights in several)
    variance = sum(float((weights * each.returns_variance).sum()) for each, weights in several)
    return covariance / variance if variance > 0 else 0.0


@dataclass(frozen=True)
class Errors:
    """Per state, (M,), averaged over actions: squared bias (all of it, and its action-dependent part), variance.

    `squared_bias` = `state_bias` + `action_bias`: a bias that is the same for every action of a state changes no
    expected gradient. All are debiased, so around zero they may be negative. `signal` is E A².
    """

    squared_bias: Array
    action_bias: Array
    state_bias: Array
    variance: Array
    signal: Array

    @classmethod
    def concatenate(cls, several: Sequence["Errors"]) -> "Errors":
        """Return the states of several, in order."""
        return cls(*(np.concatenate([getattr(one, field.name) for one in several]) for field in fields(cls)))

    def first(self, count: int) -> "Errors":
        """Return the first `count` states."""
        return Errors(*(getattr(self, field.name)[:count] for field in fields(self)))

    @property
    def squared_error(self) -> Array:
        """The squared bias and the variance together, (M,)."""
        return self.squared_bias + self.variance


def errors(estimates: Estimates, truth: Truth, weights: Array, drawn: bool, coefficient: float = 0.0) -> Errors:
    """Compare estimates with the truth at states whose actions have `weights` (M, J).

    `coefficient` is that of the control variate, see `control_coefficient`: (X − c R) − (1 − c) Q has the mean E X − Q.
    """
    means, noise = estimates.controlled(coefficient)
    left = 1 - coefficient
    action_bias = spread(means - left * truth.q_values, noise + left * left * truth.q_error, weights, drawn)
    if drawn:
        state_bias = _squared_mean(
            estimates.mean - truth.advantage, estimates.mean_error + truth.q_error, weights, truth.value_error
        )
        state_bias = state_bias - action_bias / weights.shape[1]
    else:  # Σ π A = 0, whatever the truth is
        state_bias = _squared_mean(estimates.mean, estimates.mean_error, weights, np.zeros(len(weights)))
    return Errors(
        squared_bias=action_bias + state_bias,
        action_bias=action_bias,
        state_bias=state_bias,
        variance=(weights * estimates.variance).sum(1),
        signal=spread(truth.q_values, truth.q_error, weights, drawn),
    )


def spread(values: Array, noise: Array, weights: Array, drawn: bool) -> Array:
    """Return the variance over actions, (M,), of values (M, J) known up to independent errors of variance `noise`."""
    centred = values - (weights * values).sum(1, keepdims=True)
    found = (weights * np.square(centred)).sum(1) - (weights * (1 - weights) * noise).sum(1)
    actions = weights.shape[1]
    corrected: Array = found * (actions / (actions - 1) if drawn else 1.0)
    return corrected


def _squared_mean(values: Array, noise: Array, weights: Array, further: Array) -> Array:
    squared: Array = np.square((weights * values).sum(1)) - (np.square(weights) * noise).sum(1) - further
    return squared


def is_told(signal: Estimate, size: float) -> bool:
    """Return whether E A² is told from zero, and from what a policy has that is deterministic but for rounding.

    `size` is E Q².
    """
    return signal.value > NEGLIGIBLE * NEGLIGIBLE * size and (signal.error == 0 or signal.quantity.low > 0)


def error_estimates(found: Errors, strata: Array, size: float) -> dict[str, Estimate]:
    """Average over all states; `strata` (M,) is each state's time step, and `size` is E Q².

    Those called relative are shares of `signal`, the variance of the true advantage: `relative_bias` is of the part
    that depends on the action, `relative_error` of all of the squared bias and the variance. They are unknown where the
    signal is not told from zero (`is_told`).
    """
    names = ("squared_bias", "action_bias", "state_bias", "variance", "squared_error", "signal")
    means = {name: mean_estimate(getattr(found, name), strata) for name in names}
    signal = means["signal"]
    told = is_told(signal, size)
    return means | {share: means[name].over(signal) if told else means[name].unknown for share, name in SHARES.items()}
