"""E‖S‖² of sums S = Σ_t wᵗ ψ_t X_t over an episode, ψ = ∇log π(a | s), where X_t may hang on the whole episode.

    E‖S‖² = Σ_t w²ᵗ E[‖ψ_t‖² X_t²] + 2 Σ_{t<u} wᵗ⁺ᵘ E[ψ_t · ψ_u X_t X_u]

The second sum is what this module is about: it is 0 only where no two steps share a parameter. Of a product X_t X_u,
split what was earned before u from what comes from u on. Since E[ψ_u | s_u] = 0, only terms with the latter count: they
are Σ_l x_l y_l with

    A_l(s, b; z) = E[(1{a_t = b} − π(b)) x_l 1{s_u = z} | s_t = s],   carried forward from u to u + 1, and
    r_l(z, c)    = E[(1{a_u = c} − π(c)) y_l | s_u = z],              known from the moments of what is yet to come,

so that E[ψ_t · ψ_u X_t X_u] = Σ_l Σ A_l(s, b; z) r_l(z, c) ∇ℓ(s, b) · ∇ℓ(z, c).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.kernel import arrays
from bench.lab.exact.process import Process
from bench.lab.exact.scores import Scores
from bench.tasks.base import Array


@dataclass(frozen=True)
class Earned:
    """What is carried from a step t on: x = begins(t)(s_t) + Σ_i earns(t, i) r_{t+i} + boots(t, i) V(s_{t+i+1}).

    `begins` gives (S,); `values` (T, S) is V.
    """

    begins: Callable[[int], Array]
    earns: Callable[[int, int], float]
    boots: Callable[[int, int], float] = lambda _step, _lag: 0.0
    values: Array | None = None


# At steps t < u: what stands beside 1, and beside each of the things that are carried, (1 + L, S, A).
Following = Callable[[int, int], Array]


@dataclass(frozen=True)
class Crossing:
    """The sum over pairs of steps of episodes that begin in one state, in a world with a step axis."""

    process: Process
    scores: Scores
    occupancy: Array  # (T, S), of episodes that begin there

    def sum(self, carried: Sequence[Earned], following: Following, weight: float) -> float:
        """Return Σ_{t<u} wᵗ⁺ᵘ E[ψ_t · ψ_u Σ_l x_l y_l]; x_0 = 1, and the others are what is carried."""
        reached = [np.flatnonzero(at > 0) for at in self.occupancy]
        weights, total = arrays.powers(weight, 2 * len(reached)), 0.0
        for step in range(len(reached) - 1):
            rows = reached[step]
            visited = self.occupancy[step, rows][:, None, None]
            ahead = self._first(step, rows, reached[step + 1], carried)
            for later in range(step + 1, len(reached)):
                columns = reached[later]
                products = self.scores.products((step, rows), (later, columns))
                if products is not None:
                    beside = following(step, later)[:, columns]
                    met = sum((visited * x)[..., None] * y for x, y in zip(ahead, beside, strict=True))
                    total += weights[step + later] * float((products * met).sum())
                if later + 1 < len(reached):
                    ahead = self._next(ahead, step, later, columns, reached[later + 1], carried)
        return total

    def _first(self, step: int, rows: Array, columns: Array, carried: Sequence[Earned]) -> list[Array]:
        """Return A_l after one step, (n, A, m) each."""
        model, policy = self.process.model, self.process.policy[step, rows][..., None]
        moves = model.transition[:, rows][:, :, columns].swapaxes(0, 1)  # (n, A, m)
        paid = moves * model.reward_to[:, rows][:, :, columns].swapaxes(0, 1)
        apart, apart_paid = (policy * (x - (policy * x).sum(1, keepdims=True)) for x in (moves, paid))
        found = [apart]
        for each in carried:
            known = each.begins(step)[rows][:, None, None] + self._booted(each, step, 0, columns)
            found.append(known * apart + each.earns(step, 0) * apart_paid)
        return found

    def _next(
        self, ahead: list[Array], step: int, later: int, columns: Array, onward: Array, carried: Sequence[Earned]
    ) -> list[Array]:
        """Return A_l one step later, (n, A, m') each."""
        moves = self.process.moves[later][np.ix_(columns, onward)]
        paid = self.process.paid[later][np.ix_(columns, onward)]
        reached = _through(ahead[0], moves)
        found, reached_paid = [reached], _through(ahead[0], paid)
        for x, each in zip(ahead[1:], carried, strict=True):
            earned = each.earns(step, later - step) * reached_paid
            booted = self._booted(each, step, later - step, onward) * reached
            found.append(_through(x, moves) + earned + booted)
        return found

    def _booted(self, each: Earned, step: int, lag: int, columns: Array) -> Array | float:
        if each.values is None:
            return 0.0
        booted: Array = each.boots(step, lag) * each.values[step + lag + 1, columns]
        return booted


def _through(ahead: Array, matrix: Array) -> Array:
    """Return (n, A, m) times (m, m')."""
    return arrays.matrix_product(ahead.reshape(-1, ahead.shape[2]), matrix).reshape(*ahead.shape[:2], -1)
