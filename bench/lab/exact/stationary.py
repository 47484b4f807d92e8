"""E‖S‖² of an episode's gradient where only chance ends it: a linear system of vectors, one for each state.

With Â = G − b(s), S = ψÂ + w S' and G = r + β(s') + c G' (a λ-return; n steps alike, one after the other), at the next
state S' has the mean ū and G'S' the mean v̄:

    u = E[S | s, a]    = ψ m + w E[ū(s')]
    y = E[G S' | s, a] = E[(r + β) ū(s') + c v̄(s')]
    v = E[G S | s, a]  = ψ (q − b m) + w y
    E[‖S‖² | s]        = Σ_a π (‖ψ‖² E[Â²] + 2w ψ · (y − b E[ū(s')])) + w² E[‖S'‖²]

Vectors are coefficients of the logits' gradients, (S, D) with D = S · A.
"""

import numpy as np

from bench.kernel import arrays
from bench.lab.exact.process import Process
from bench.lab.exact.scores import Scores, centred
from bench.lab.exact.targets import MONTE_CARLO, TargetMoments, target_moments
from bench.tasks.base import Array


def second_moments(process: Process, scores: Scores, target: TargetMoments, fixed: Array, weight: float) -> Array:
    """Return E‖ĝ‖² given each start state, (K,); `fixed` (1, S) is the baseline, `weight` is w."""
    psi = directions(process)
    mean_sum = process.sum_up(process.over_actions(psi * target.mean[..., None]), weight)
    ahead = process.expect(mean_sum)
    product = _target_times_next_sum(process, target, fixed, psi, mean_sum, weight)
    squared = target.variance + np.square(target.mean - fixed[..., None])
    crossed = inner(process, scores, psi, product - fixed[..., None, None] * ahead)
    at_once = process.over_actions(scores.lengths * squared + 2 * weight * crossed)
    found: Array = process.sum_up(at_once, weight * weight)[0, process.starts.states]
    return found


def _target_times_next_sum(
    process: Process, target: TargetMoments, fixed: Array, psi: Array, mean_sum: Array, weight: float
) -> Array:
    """Return y = E[G S' | s, a], (1, S, A, D)."""
    with_reward = process.expect_with_reward(mean_sum)
    n = target.target.n_step
    if n is None:
        kept, booted = target.earns(1), target.boots(0) * target.values
        known = with_reward + process.expect(booted[..., None] * mean_sum)
        now = process.over_actions(_beside(psi, target, fixed, 0) + weight * known)
        with_target = process.sum_up(now, weight * kept)
        found: Array = known + kept * process.expect(with_target)
        return found
    gamma, product = process.gamma, target.values[..., None] * mean_sum  # of G⁽⁰⁾ and S
    found = with_reward
    for left in range(n - 1, -1, -1):
        found = with_reward + gamma * process.expect(product)  # of G⁽ⁿ⁻ˡᵉᶠᵗ⁾ and S'
        product = process.over_actions(_beside(psi, target, fixed, left) + weight * found)
    return found


def _beside(psi: Array, target: TargetMoments, fixed: Array, lag: int) -> Array:
    """Return ψ E[X Â | s, a] for the target X that is `lag` steps shorter, (1, S, A, D)."""
    mean, product = target.shorter(lag)
    beside: Array = psi * (product - fixed[..., None] * mean)[..., None]
    return beside


def directions(process: Process) -> Array:
    """Return ψ(s, a) as coefficients of the logits' gradients, (1, S, A, D)."""
    _, states, actions = process.shape
    found = np.zeros((states, actions, states, actions))
    for state in range(states):
        found[state, :, state] = np.eye(actions) - process.policy[0, state]
    return found.reshape(1, states, actions, -1)


def inner(process: Process, scores: Scores, left: Array, right: Array) -> Array:
    """Return the inner products of vectors (1, S, A, D) of one action each, (1, S, A)."""
    every = (0, np.arange(process.shape[1]))
    products = scores.products(every, every)
    assert products is not None  # of a step with itself
    size = left.shape[-1]
    through = arrays.matrix_product(right.reshape(-1, size), products.reshape(size, size))
    found: Array = (left * through.reshape(right.shape)).sum(-1)
    return found


def whole_returns(process: Process, scores: Scores, weight: float) -> tuple[Array, ...]:
    """Return the fields of `bench.lab.exact.whole.Whole` for y = R, in a world without a step axis.

    With Ψ = ψ + wΨ', R = r + γR' and E[Ψ' | s'] = 0, the vectors E[ΨR | s] and E[ΨR² | s] and the numbers E[‖Ψ‖²Rᵏ | s]
    are linear systems, each from those before.
    """
    gamma, w = process.gamma, weight
    returns, psi, long = target_moments(process, MONTE_CARLO), directions(process), scores.lengths
    mean = process.over_actions
    one = process.sum_up(mean(psi * returns.mean[..., None]), w * gamma)  # E[ΨR | s]
    paid, ahead = process.expect_with_reward(one), process.expect(one)
    two = process.sum_up(mean(psi * returns.second[..., None] + 2 * w * gamma * paid), w * gamma * gamma)  # E[ΨR² | s]
    with_two = 2 * gamma * paid + gamma * gamma * process.expect(two)
    length = process.sum_up(mean(long), w * w)
    of_once = long * returns.mean + 2 * w * gamma * inner(process, scores, psi, ahead)
    once = process.sum_up(mean(of_once + w * w * process.expect_with_reward(length)), w * w * gamma)
    of_twice = long * returns.second + 2 * w * inner(process, scores, psi, with_two)
    further = process.expect_with_square(length) + 2 * gamma * process.expect_with_reward(once)
    twice = process.sum_up(mean(of_twice + w * w * further), w * w * gamma * gamma)
    gradient = process.occupancy(w * gamma)[..., None] * centred(process, returns.mean)
    at = (0, process.starts.states)
    return scores.gradient(gradient), length[at], once[at], twice[at], process.value[at], mean(returns.second)[at]
