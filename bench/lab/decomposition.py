"""Where the variance of one step's gradient term Â ∇log π(a|s) comes from (Tucker et al., arXiv 1802.10031).

    Σ_τ  the future after s and a          E ‖∇log π‖² Var_τ E[Â | s, a, τ]
    Σ_a  the choice of the action in s     E_s Σ-Var_a(E[Â | s, a] ∇log π)
    Σ_s  the state the step is taken in    Σ-Var_s(E_a[Â ∇log π])
    Σ_b  the other episodes, where the baseline is computed from them    E ‖∇log π‖² Var(Â | s, a, τ)

Σ-Var is the trace of a covariance. The state includes its past, since some baselines look at the whole episode. The
four sum to the total variance. A baseline that is a fixed function of the state changes Σ_a only.
"""

import numpy as np

from bench.kernel import arrays
from bench.lab.advantages import Estimates
from bench.lab.statistics import Quantity, jackknife, mean_quantity, pairs
from bench.tasks.base import Array


def decompose(estimates: Estimates, scores: Array, weights: Array, drawn: bool) -> dict[str, Quantity]:
    """Return the four parts at one time step, and their sum, from M states × J actions, `scores` ∇log π (M, J, P)."""
    one_step = np.zeros(len(weights))
    lengths = np.square(scores).sum(2)
    future = (weights * lengths * estimates.of_future).sum(1)
    companions = (weights * lengths * estimates.of_companions).sum(1)
    noise = lengths * estimates.mean_error
    second = (weights * (lengths * np.square(estimates.mean) - noise)).sum(1)
    means = arrays.weighted_sums(weights * estimates.mean, scores)
    squared = _squared_length(means, lengths, estimates, weights, drawn)
    whole = future + companions + second  # E ‖Â ∇log π‖² at each state
    return {
        "future": mean_quantity(future, one_step),
        "action": mean_quantity(second - squared, one_step),
        "state": _less_common(squared, means),
        "companions": mean_quantity(companions, one_step),
        "sum": _less_common(whole, means),
    }


def _squared_length(means: Array, lengths: Array, estimates: Estimates, weights: Array, drawn: bool) -> Array:
    """Return ‖E_a[E[Â | s, a] ∇log π]‖² of each state, (M,), without the noise of what it is made from."""
    if not drawn:
        exact: Array = np.square(means).sum(1) - (np.square(weights) * lengths * estimates.mean_error).sum(1)
        return exact
    actions = weights.shape[1]  # products of different actions only
    own = (np.square(weights * estimates.mean) * lengths).sum(1)
    drawn_apart: Array = (np.square(means).sum(1) - own) * (actions / (actions - 1))
    return drawn_apart


def _less_common(second: Array, means: Array) -> Quantity:
    """Return E of `second` less ‖E means‖², the latter from products of different states."""
    n = len(second)
    squared, squared_without = pairs(arrays.matrix_product(means, means.T))
    without = (second.sum() - second) / (n - 1) - squared_without
    return Quantity.of(second.mean() - squared, float(np.sqrt(jackknife(without))), n - 1)


def total(advantages: Array, live: Array, scores: Array) -> Quantity:
    """Return the total variance at one time step, from advantages (S, N) of S independent batches.

    They are collected as training does, without resets. `live` (S, N) says where the step was taken, `scores`
    (S · N, P) are ∇log π there.
    """
    lengths = np.square(scores).sum(1).reshape(live.shape)
    second, count = (live * np.square(advantages) * lengths).sum(1), live.sum(1)
    sums = arrays.weighted_sums(live * advantages, scores.reshape(*live.shape, -1))
    products = arrays.matrix_product(sums, sums.T)
    return Quantity.of(
        float(_total(second, count, products)),
        float(np.sqrt(jackknife(_total_without(second, count, products)))),
        len(live) - 1,
    )


def _total(second: Array, count: Array, products: Array) -> float:
    different = count.sum() ** 2 - np.square(count).sum()  # pairs of episodes of different batches
    return float(second.sum() / count.sum() - (products.sum() - np.trace(products)) / different)


def _total_without(second: Array, count: Array, products: Array) -> Array:
    """Return `_total` without each batch, (S,)."""
    diagonal = np.diag(products)
    crossed = products.sum() - diagonal.sum() - 2 * (products.sum(1) - diagonal)
    rest = count.sum() - count
    different = np.square(rest) - (np.square(count).sum() - np.square(count))
    without: Array = (second.sum() - second) / rest - crossed / different
    return without
