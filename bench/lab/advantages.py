"""Errors of advantages: K independent estimates at fixed states and actions, against the truth.

Nested resets separate the sources of variance. Fixed: the state s with its past. Then the action a, then the future τ,
then, for baselines computed from other episodes, those episodes: the estimate X[m, j, k, l] has state m, action j,
future k and companions l.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from bench.lab.statistics import Quantity, mean_quantity
from bench.tasks.base import Array


@dataclass(frozen=True)
class Truth:
    """Q(s, a) and V(s) at anchors, (M, J) and (M,), with the variances of their errors (0 where exact).

    Where `drawn` is False, V is Σ π Q, so its error is not independent of Q's.
    """

    q_values: Array
    q_error: Array
    value: Array
    value_error: Array

    @property
    def advantage(self) -> Array:
        """A = Q − V, (M, J)."""
        advantage: Array = self.q_values - self.value[:, None]
        return advantage


@dataclass(frozen=True)
class Estimates:
    """What an estimator said at M states × J actions: the moments of X (M, J, K, L), debiased.

    mean (M, J) with the variance of its error `mean_error`; `of_future` and `of_companions` (M, J) are Var_τ E[X | τ]
    and E_τ Var[X | τ].
    """

    mean: Array
    mean_error: Array
    of_future: Array
    of_companions: Array

    @classmethod
    def of(cls, samples: Array) -> "Estimates":
        """Take the moments of X (M, J, K, L); with L = 1 the future has all the variance."""
        futures, companions = samples.shape[2:]
        per_future = samples.mean(3)
        between = per_future.var(2, ddof=1)
        within = samples.var(3, ddof=1).mean(2) if companions > 1 else np.zeros_like(between)
        return cls(per_future.mean(2), between / futures, between - within / companions, within)

    @property
    def variance(self) -> Array:
        """Var(Â | s, a), (M, J)."""
        return self.of_future + self.of_companions


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

    @property
    def squared_error(self) -> Array:
        """The squared bias and the variance together, (M,)."""
        return self.squared_bias + self.variance


def errors(estimates: Estimates, truth: Truth, weights: Array, drawn: bool) -> Errors:
    """Compare estimates with the truth at states whose actions have `weights` (M, J)."""
    action_bias = spread(estimates.mean - truth.q_values, estimates.mean_error + truth.q_error, weights, drawn)
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


def error_quantities(found: Errors, strata: Array) -> dict[str, Quantity]:
    """Average over all states; `strata` (M,) is each state's time step."""
    names = ("squared_bias", "action_bias", "state_bias", "variance", "squared_error", "signal")
    return {name: mean_quantity(getattr(found, name), strata) for name in names}
