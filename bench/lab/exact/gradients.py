"""The policy gradient that one episode gives, under a baseline that is a function of the state: mean and variance.

The estimator is S = Σ_t wᵗ ψ_t Â_t with ψ = ∇log π(a | s), Â = G − b(s), and w = 1, as almost all programs have it, or
w = γ, as the gradient of the discounted return needs. E S = Σ_t wᵗ E[ψ_t G_t], whatever b is, and

    E‖S‖² = Σ_t w²ᵗ E[‖ψ_t‖² Â_t²] + 2 Σ_{t<u} wᵗ⁺ᵘ E[ψ_t · ψ_u Â_t Â_u].

For a table with a step axis the second sum is 0: no two steps share a logit. Else, with Â_t = x + y, where x was paid
between t and u, and y is what of it comes from u on, E[ψ_u Â_u | s_u] and E[ψ_u y Â_u | s_u] are known from the moments
of the targets, and E[(1{a_t = b} − π(b)) x 1{s_u = z} | s_t] is carried forward from one step to the next.
"""

from dataclasses import dataclass

import numpy as np

from bench.kernel import arrays
from bench.lab.exact import stationary
from bench.lab.exact.crossed import Crossing, Earned
from bench.lab.exact.process import Process, Starts, Values
from bench.lab.exact.scores import Scores, centred
from bench.lab.exact.targets import MONTE_CARLO, TargetMoments
from bench.tasks.base import Array


@dataclass(frozen=True)
class Gradient:
    """The gradient of one episode given each of K start states: its mean (K, P) and E‖ĝ‖² (K,).

    Parameters are those of `Scores`: the logits of the table, in its order, or a network's.
    """

    starts: Starts
    mean: Array
    second: Array

    @property
    def expected(self) -> Array:
        """E ĝ, (P,)."""
        return self.starts.mean(self.mean)

    @property
    def variance(self) -> float:
        """tr Cov(ĝ) of one episode."""
        return float(self.starts.mean(self.second) - np.square(self.expected).sum())

    def batch_variance(self, groups: int, size: int) -> float:
        """Return tr Cov of the mean over `groups` groups of `size` episodes that begin in the same state."""
        return variance_of_groups(self.starts, self.mean, (self.second - np.square(self.mean).sum(1)) / size, groups)

    @property
    def by_kind(self) -> dict[str, "KindGradient"]:
        """What each kind of episode (brother) gives."""
        means, seconds = self.starts.by_kind(self.mean), self.starts.by_kind(self.second)
        return {
            name: KindGradient(mean, float(second - np.square(mean).sum()))
            for name, mean, second in zip(self.starts.names, means, seconds, strict=True)
        }


@dataclass(frozen=True)
class KindGradient:
    """The gradient of one episode given its kind: its mean (P,) and the trace of its covariance."""

    mean: Array
    variance: float


def kind_gradients(starts: Starts, mean: Array, second: Array) -> dict[str, KindGradient]:
    """Return the moments of one episode by its kind, from its mean (K, P) and E‖ĝ‖² (K,) given its start state."""
    means, seconds = starts.by_kind(mean), starts.by_kind(second)
    return {
        name: KindGradient(mean, float(second - np.square(mean).sum()))
        for name, mean, second in zip(starts.names, means, seconds, strict=True)
    }


def variance_of_groups(starts: Starts, mean: Array, variance: Array, groups: int) -> float:
    """Return tr Cov of the mean over groups, from a group's mean (K, P) and variance (K,) given its start state."""
    between = starts.mean(np.square(mean).sum(1)) - np.square(starts.mean(mean)).sum()
    return float(starts.mean(variance) + between) / groups


def gradient(
    process: Process, scores: Scores, target: TargetMoments, baseline: Values = 0.0, state_gamma: float = 1.0
) -> Gradient:
    """Return mean and variance of Σ_t wᵗ ∇log π(a_t | s_t) (G_t − b(s_t)) of one episode.

    Args:
        process: the policy in its world.
        scores: ∇log π, by logits or by a network's parameters.
        target: the moments of G.
        baseline: b: a table, a critic, or one number.
        state_gamma: w; γ for the gradient of the discounted return, 1 for what programs estimate.

    Raises:
        UserError: for a baseline of another shape.
    """
    fixed = process.values(baseline)
    if process.horizon is None:
        second = stationary.second_moments(process, scores, target, fixed, state_gamma)
    else:
        everywhere = np.broadcast_to(fixed, (len(process.starts.states), *fixed.shape))
        second = second_moments(process, scores, target, everywhere, state_gamma)
    return Gradient(process.starts, expected_gradient(process, scores, target.mean, state_gamma), second)


def expected_gradient(process: Process, scores: Scores, credited: Array, state_gamma: float) -> Array:
    """Return E Σ_t wᵗ ψ_t x_t given each start state, (K, P), for E[x_t | s, a] (T, S, A)."""
    return scores.gradient(process.occupancy(state_gamma)[..., None] * centred(process, credited))


def second_moments(process: Process, scores: Scores, target: TargetMoments, fixed: Array, state_gamma: float) -> Array:
    """Return E‖ĝ‖² given each start state, (K,), in a world with a step axis.

    `fixed` (K, T, S) is the baseline, which may be another for each start state.
    """
    squared = target.variance + np.square(target.mean - fixed[..., None])
    at_steps = (process.policy * scores.lengths * squared).sum(-1)
    own: Array = (process.occupancy(state_gamma * state_gamma) * at_steps).sum((1, 2))
    if not scores.overlap:
        return own
    crossed = _crossed(process, scores, target, state_gamma)
    second: Array = own + 2 * (crossed.constant - (crossed.slope * fixed).sum((1, 2)))
    return second


@dataclass(frozen=True)
class _Crossed:
    """Σ_{t<u} wᵗ⁺ᵘ E[ψ_t · ψ_u Â_t Â_u] given each start state, which is linear in the baseline b.

    It is constant − Σ slope · b, (K,) and (K, T, S): b_t b_u comes with E[ψ_u | s_u] = 0.
    """

    constant: Array
    slope: Array


def _crossed(process: Process, scores: Scores, target: TargetMoments, state_gamma: float) -> _Crossed:
    """Return what a target's terms of different steps have in common; what was found once is kept with the scores."""
    values = b"" if target.target == MONTE_CARLO else target.values.tobytes()
    key = ("crossed", target.target, values, state_gamma)
    if key not in scores.memory:
        each = [_crossed_from(process, scores, target, state_gamma, k) for k in range(len(process.starts.states))]
        constants, slopes = zip(*each, strict=True)
        scores.memory[key] = _Crossed(np.array(constants), np.stack(slopes))
    found: _Crossed = scores.memory[key]
    return found


def _crossed_from(
    process: Process, scores: Scores, target: TargetMoments, state_gamma: float, start: int
) -> tuple[float, Array]:
    """Return the constant and the slope (T, S) of episodes that begin in the start state with this index."""
    earned = Earned(
        begins=lambda _: np.zeros(process.shape[1]),
        earns=lambda _, lag: target.earns(lag),
        boots=lambda _, lag: target.boots(lag),
        values=target.values,
    )
    steps = process.shape[0]
    now, weights = centred(process, target.mean), arrays.powers(state_gamma, 2 * steps)
    rests = [[centred(process, moment) for moment in target.rest(lag)] for lag in range(steps)]
    crossing = Crossing.of(process, scores, start)
    constant, slope = 0.0, np.zeros(process.shape[:2])
    for of_step in crossing.pairs:
        for pair, ahead in zip(of_step, crossing.carry(of_step, earned), strict=True):
            weight, columns = weights[pair.step + pair.later], pair.columns
            mean, product = (of[pair.later, columns] for of in rests[pair.later - pair.step])
            credit, met = now[pair.later, columns], pair.met
            constant += weight * float((met * product).sum() + (pair.meets(ahead) * credit).sum())
            slope[pair.step, pair.rows] += weight * pair.visited * (pair.by_row * credit).sum((1, 2))
            slope[pair.later, columns] += weight * (met * mean).sum(1)
    return constant, slope
