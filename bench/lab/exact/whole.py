"""Moments of Ψ = Σ_t wᵗ ψ_t together with a sum y over the whole episode, such as its return, given the start state.

Everything is an E‖Σ_t wᵗ ψ_t x_t‖² in which x_t may hang on the whole episode; see `bench.lab.exact.crossed`. What was
earned before a step has moments by forward induction, what comes from it on by backward induction.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.kernel import arrays
from bench.lab.exact import stationary
from bench.lab.exact.crossed import Crossing, Earned
from bench.lab.exact.gradients import expected_gradient
from bench.lab.exact.linear import Sums
from bench.lab.exact.process import Process
from bench.lab.exact.scores import Scores, centred
from bench.lab.exact.targets import TargetMoments
from bench.tasks.base import Array


@dataclass(frozen=True)
class Whole:
    """Given each of K start states: E Ψy (K, P); E‖Ψ‖², E‖Ψ‖²y, E‖Ψ‖²y² (`length`, `once`, `twice`); E y and E y²."""

    mean: Array
    length: Array
    once: Array
    twice: Array
    first: Array
    second: Array


def whole_returns(process: Process, scores: Scores, offset: Array | float, state_gamma: float) -> Whole:
    """Return the moments for y = R − offset; the offset is one number, or one for each start state (K,)."""
    if process.horizon is not None:
        return whole_moments(process, scores, Sums.of_return(process), offset, state_gamma)
    return _shifted(Whole(*stationary.whole_returns(process, scores, state_gamma)), offset)


def _shifted(of: Whole, offset: Array | float) -> Whole:
    """Return the moments with y less the offset; E Ψ = 0."""
    return Whole(
        of.mean,
        of.length,
        of.once - offset * of.length,
        of.twice - 2 * offset * of.once + np.square(offset) * of.length,
        of.first - offset,
        of.second - 2 * offset * of.first + np.square(offset),
    )


def whole_moments(process: Process, scores: Scores, sums: Sums, offset: Array | float, state_gamma: float) -> Whole:
    """Return the moments for y = one sum (D = 1) less an offset, in a world with a step axis."""
    expected, variance = sums.expected()[..., 0], sums.covariance(sums)[..., 0]
    offsets = np.broadcast_to(offset, (len(process.starts.states),))
    episodes = [_Episode.of(process, scores, sums, k, float(each), state_gamma) for k, each in enumerate(offsets)]
    second = variance + np.square(expected)
    first_state = process.starts.states
    mean, square = (process.over_actions(each)[0, first_state] for each in (expected, second))
    return Whole(
        mean=expected_gradient(process, scores, expected, state_gamma),
        length=np.array([each.own(np.ones_like(expected), 0.0, 0.0) for each in episodes]),
        once=np.array([each.once(expected) for each in episodes]),
        twice=np.array([each.twice(expected, second) for each in episodes]),
        first=mean - offset,
        second=square - 2 * offset * mean + np.square(offset),
    )


def with_targets(
    process: Process, scores: Scores, target: TargetMoments, sums: Sums, level: float, state_gamma: float
) -> tuple[Array, Array]:
    """Return E U·Ψy and E U·Ψ given each start state, (K,), for U = Σ_t wᵗ ψ_t (G_t − level), y = one sum − level."""
    ahead = _Ahead.of(target, sums, level)
    episodes = [_Episode.of(process, scores, sums, k, level, state_gamma) for k in range(len(process.starts.states))]
    return np.array([each.with_targets(ahead) for each in episodes]), np.array(
        [each.targets(ahead) for each in episodes]
    )


@dataclass(frozen=True)
class _Ahead:
    """What comes from step u on, (T, S, A, …) by u.

    targets   E X, of what the targets G_t of all steps t have from there on, (…, T)
    products  E[X Y], of these and of what the sum has from there on, (…, T)
    sums      E Y
    """

    target: TargetMoments
    level: float
    targets: Array
    products: Array
    sums: Array

    @classmethod
    def of(cls, target: TargetMoments, sums: Sums, level: float) -> "_Ahead":
        """Compute them."""
        of_steps = Sums.of_targets(target)
        targets, expected = of_steps.expected(), sums.expected()
        return cls(target, level, targets, of_steps.covariance(sums) + targets * expected, expected[..., 0])


@dataclass(frozen=True)
class _Episode:
    """Episodes that begin in one state, and a sum y over them less an offset.

    visited (T, S) is P(s_t = s); past and squared are E[y 1{s_t = s}] and E[y² 1{s_t = s}] of what came before step t.
    """

    process: Process
    scores: Scores
    sums: Sums
    weight: float
    start: int
    visited: Array
    past: Array
    squared: Array

    @classmethod
    def of(
        cls, process: Process, scores: Scores, sums: Sums, start: int, offset: float, state_gamma: float
    ) -> "_Episode":
        """Compute them for the start state with this index."""
        visited, (past, squared) = process.occupancy()[start], sums.before(start)
        centred_square = squared - 2 * offset * past + offset * offset * visited
        return cls(process, scores, sums, state_gamma, start, visited, past - offset * visited, centred_square)

    def own(self, now: Array, with_past: Array | float, with_square: float) -> float:
        """Return Σ_t w²ᵗ E[‖ψ_t‖² (now + with_past · y_{<t} + with_square · y²_{<t})], coefficients given (s, a)."""
        visited, past, squared = (each[..., None] for each in (self.visited, self.past, self.squared))
        weights = arrays.powers(self.weight * self.weight, len(now))[:, None, None]
        moment = visited * now + past * with_past + squared * with_square
        return float((weights * self.process.policy * self.scores.lengths * moment).sum())

    def crossed(self, carried: list[Earned], following: Callable[[int, int], Array]) -> float:
        """Return Σ_{t<u} wᵗ⁺ᵘ E[ψ_t · ψ_u …]; see `Crossing.sum`."""
        if not self.scores.overlap:
            return 0.0
        return Crossing.of(self.process, self.scores, self.start).sum(carried, following, self.weight)

    def once(self, expected: Array) -> float:
        """Return E‖Ψ‖²y."""
        now = centred(self.process, expected)
        return self.own(expected, 1.0, 0.0) + 2 * self.crossed([], lambda _, later: now[None, later])

    def twice(self, expected: Array, second: Array) -> float:
        """Return E‖Ψ‖²y²."""
        now = np.stack([centred(self.process, second), 2 * centred(self.process, expected)])
        return self.own(second, 2 * expected, 1.0) + 2 * self.crossed([self._sum], lambda _, later: now[:, later])

    def targets(self, ahead: _Ahead) -> float:
        """Return E U·Ψ."""

        def following(step: int, later: int) -> Array:
            rest, now = ahead.targets[later, ..., step], ahead.targets[later, ..., later]
            return self._centred(later, rest + now)[None]

        return self.own(ahead.target.mean - ahead.level, 0.0, 0.0) + self.crossed([], following)

    def with_targets(self, ahead: _Ahead) -> float:
        """Return E U·Ψy: the target at t and the sum at u, and the other way round."""
        level, target = ahead.level, ahead.target
        steps = np.arange(len(ahead.sums))
        product = ahead.products[steps, ..., steps] - level * ahead.sums  # E[(G_t − level) Y | s, a]
        carried = Earned(
            begins=lambda _: np.full(self.visited.shape[1], -level),
            earns=lambda _, lag: target.earns(lag),
            boots=lambda _, lag: target.boots(lag),
            values=target.values,
        )

        def following(step: int, later: int) -> Array:
            rest, now = ahead.targets[later, ..., step], ahead.targets[later, ..., later]
            alone = ahead.products[later, ..., step] + product[later]
            return np.stack([self._centred(later, each) for each in (alone, ahead.sums[later], rest + now)])

        return self.own(product, target.mean - level, 0.0) + self.crossed([carried, self._sum], following)

    @property
    def _sum(self) -> Earned:
        """The sum, carried on from what came before."""
        sums, visited = self.sums, self.visited
        return Earned(
            begins=lambda step: np.divide(
                self.past[step], visited[step], out=np.zeros_like(visited[step]), where=visited[step] > 0
            ),
            earns=lambda step, lag: float(sums.earns[step + lag, 0]),
            boots=lambda step, lag: float(sums.boots[step + lag, 0]),
            values=sums.values,
        )

    def _centred(self, step: int, numbers: Array) -> Array:
        """Return π (x − x̄) at a step, (S, A)."""
        found: Array = self.process.policy[step] * self.process.apart(step, numbers)
        return found
