"""E‖S‖² of sums S = Σ_t wᵗ ψ_t X_t over an episode, ψ = ∇log π(a | s), where X_t may hang on the whole episode.

    E‖S‖² = Σ_t w²ᵗ E[‖ψ_t‖² X_t²] + 2 Σ_{t<u} wᵗ⁺ᵘ E[ψ_t · ψ_u X_t X_u]

The second sum is what this module is about: it is 0 only where no two steps share a parameter. Of a product X_t X_u,
split what was earned before u from what comes from u on. Since E[ψ_u | s_u] = 0, only terms with the latter count: they
are Σ_l x_l y_l with

    A_l(s, b; z) = E[(1{a_t = b} − π(b)) x_l 1{s_u = z} | s_t = s],   carried forward from u to u + 1, and
    r_l(z, c)    = E[(1{a_u = c} − π(c)) y_l | s_u = z],              known from the moments of what is yet to come,

so that E[ψ_t · ψ_u X_t X_u] = Σ_l Σ A_l(s, b; z) r_l(z, c) ∇ℓ(s, b) · ∇ℓ(z, c). What hangs on the policy alone, such as
A_0, where x_0 = 1, is kept from one estimator to the next.
"""

from collections.abc import Callable, Iterator, Sequence
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
class Pair:
    """Steps t < u of episodes that begin in one state, with the states that they reach there.

    rows (n,), columns (m,)  flat states at t and at u
    visited                  P(s_t = s), (n,)
    chances                  E[(1{a_t = b} − π(b)) 1{s_u = z} | s_t = s], (n, A, m)
    paid                     the same times the reward of the step that leads to z
    onward                   P(s_u = z | s_{u−1}) that led here, from the columns of the pair before; none for u = t + 1
    products                 the inner products of the logits' gradients, (n, A, m, A)
    by_row                   Σ_b chances · products, (n, m, A)
    """

    step: int
    later: int
    rows: Array
    columns: Array
    visited: Array
    chances: Array
    paid: Array
    onward: Array | None
    products: Array
    by_row: Array

    @property
    def met(self) -> Array:
        """E[(1{a_t = b} − π(b)) 1{s_u = z}] times the products, (m, A)."""
        return _weighted(self.visited, self.by_row)

    def meets(self, carried: Array) -> Array:
        """Return Σ_{s,b} P(s_t = s) x(s, b; z) ∇ℓ(s, b) · ∇ℓ(z, c) of what is carried (n, A, m): (m, A)."""
        weighted = (self.visited[:, None, None] * carried)[..., None]
        met: Array = (weighted * self.products).sum((0, 1))
        return met


@dataclass(frozen=True)
class Crossing:
    """The sum over pairs of steps of episodes that begin in one state, in a world with a step axis."""

    process: Process
    pairs: tuple[tuple[Pair, ...], ...]  # by t, then by u

    @classmethod
    def of(cls, process: Process, scores: Scores, start: int) -> "Crossing":
        """Look at the episodes of the start state with this index; what was found once is kept with the scores."""
        key = ("crossing", start)
        if key not in scores.memory:
            scores.memory[key] = cls(process, tuple(_pairs(process, scores, process.occupancy()[start])))
        found: Crossing = scores.memory[key]
        return found

    def sum(self, carried: Sequence[Earned], following: Following, weight: float) -> float:
        """Return Σ_{t<u} wᵗ⁺ᵘ E[ψ_t · ψ_u Σ_l x_l y_l]; x_0 = 1, and the others are what is carried."""
        weights, total = arrays.powers(weight, 2 * self.process.shape[0]), 0.0
        for of_step in self.pairs:
            several = [self.carry(of_step, each) for each in carried]
            for pair in of_step:
                beside = following(pair.step, pair.later)[:, pair.columns]
                met = float((pair.met * beside[0]).sum())
                for each, ahead, y in zip(carried, several, beside[1:], strict=True):
                    begins = _weighted(pair.visited * each.begins(pair.step)[pair.rows], pair.by_row)
                    met += float(((begins + pair.meets(next(ahead))) * y).sum())
                total += weights[pair.step + pair.later] * met
        return total

    def carry(self, of_step: Sequence[Pair], earned: Earned) -> Iterator[Array]:
        """Yield what is earned from t on, without what it begins with, at each later step: A_l, (n, A, m)."""
        ahead: Array | None = None
        for pair in of_step:
            lag = pair.later - pair.step - 1
            found = earned.earns(pair.step, lag) * pair.paid
            if earned.values is not None:
                found = found + earned.boots(pair.step, lag) * earned.values[pair.later, pair.columns] * pair.chances
            if ahead is not None and pair.onward is not None:
                found = found + _through(ahead, pair.onward)
            ahead = found
            yield found


def _pairs(process: Process, scores: Scores, occupancy: Array) -> Iterator[tuple[Pair, ...]]:
    """Yield the pairs of each step t, by u, of episodes with this occupancy (T, S)."""
    reached = [np.flatnonzero(at > 0) for at in occupancy]
    for step in range(len(reached) - 1):
        rows, columns = reached[step], reached[step + 1]
        chances, paid = _first(process, step, rows, columns)
        onward, found = None, []
        for later in range(step + 1, len(reached)):
            if later > step + 1:
                columns = reached[later]
                onward, reward = (of[later - 1][np.ix_(reached[later - 1], columns)] for of in _steps(process))
                chances, paid = _through(chances, onward), _through(chances, reward)
            products = scores.products((step, rows), (later, columns))
            if products is None:
                continue
            by_row = (chances[..., None] * products).sum(1)
            visited = occupancy[step, rows]
            found.append(Pair(step, later, rows, columns, visited, chances, paid, onward, products, by_row))
        yield tuple(found)


def _steps(process: Process) -> tuple[Array, Array]:
    """Return P(s' | s) and E[r 1{s'} | s] of each step, (T, S, S) each."""
    return process.moves, process.paid


def _first(process: Process, step: int, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Return `chances` and `paid` after one step, (n, A, m) each."""
    model, policy = process.model, process.policy[step, rows][..., None]
    moves = model.transition[:, rows][:, :, columns].swapaxes(0, 1)
    paid = moves * model.reward_to[:, rows][:, :, columns].swapaxes(0, 1)
    apart, apart_paid = (policy * (x - (policy * x).sum(1, keepdims=True)) for x in (moves, paid))
    return apart, apart_paid


def _weighted(weights: Array, by_row: Array) -> Array:
    """Return Σ_s weight(s) x(s, …), of (n, m, A): (m, A)."""
    weighted: Array = (weights[:, None, None] * by_row).sum(0)
    return weighted


def _through(ahead: Array, matrix: Array) -> Array:
    """Return (n, A, m) times (m, m')."""
    return arrays.matrix_product(ahead.reshape(-1, ahead.shape[2]), matrix).reshape(*ahead.shape[:2], -1)
