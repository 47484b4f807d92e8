"""What an episode adds up to: Σ_k e_k r_k + f_k V(s_{k+1}), for many sequences e and f at once.

Returns, targets and means of targets are such sums. In a world with a step axis, what of a sum comes from step u on has
a mean and a covariance with another such rest given (s_u, a_u), by backward induction; what came before u has moments
at every state, by forward induction.
"""

from dataclasses import dataclass

import numpy as np

from bench.kernel import arrays
from bench.lab.exact.process import Process
from bench.lab.exact.targets import TargetMoments
from bench.tasks.base import Array


@dataclass(frozen=True)
class Sums:
    """D sums over an episode: `earns` and `boots` (T, D) are their e and f, `values` (T, S) is V."""

    process: Process
    earns: Array
    boots: Array
    values: Array

    @classmethod
    def of_return(cls, process: Process) -> "Sums":
        """Return R = Σ_k γᵏ r_k, D = 1."""
        earns = arrays.powers(process.gamma, process.shape[0])[:, None]
        return cls(process, earns, np.zeros_like(earns), np.zeros(process.shape[:2]))

    @classmethod
    def of_targets(cls, target: TargetMoments) -> "Sums":
        """Return the targets of all steps, D = T."""
        steps = target.process.shape[0]
        earns, boots = np.zeros((2, steps, steps))
        by_lag = np.array([(target.earns(lag), target.boots(lag)) for lag in range(steps)])
        for start in range(steps):
            earns[start:, start], boots[start:, start] = by_lag[: steps - start].T
        return cls(target.process, earns, boots, target.values)

    def mean(self) -> "Sums":
        """Return the mean of all of these, D = 1."""
        return Sums(self.process, self.earns.mean(1, keepdims=True), self.boots.mean(1, keepdims=True), self.values)

    def expected(self) -> Array:
        """Return E[what comes from step u on | s_u, a_u], (T, S, A, D) by u."""
        process = self.process
        found = np.zeros((*process.shape, self.earns.shape[1]))
        for step in reversed(range(len(found))):
            ahead = through(process.model.transition, self._ahead(step, found))
            found[step] = self.earns[step] * process.model.reward[..., None] + ahead
        return found

    def covariance(self, other: "Sums") -> Array:
        """Return Cov(these, others | s_u, a_u) of what comes from step u on, (T, S, A, D); the others are D, or one."""
        process, model = self.process, self.process.model
        left, right = self.expected(), other.expected()
        found = left * right  # to be overwritten: it has the shape
        following = np.zeros((process.shape[1], found.shape[3]))  # Cov(these, others | s_{u+1})
        for step in reversed(range(len(found))):
            x, y, e, f = self._ahead(step, left), other._ahead(step, right), self.earns[step], other.earns[step]
            both = through(model.transition, x * y + following) + e * f * process.square[..., None]
            both = both + through(model.transition * model.reward_to, e * y + f * x)
            found[step] = both - left[step] * right[step]
            following = process.at(
                step, found[step] + process.apart(step, left[step]) * process.apart(step, right[step])
            )
        return found

    def _ahead(self, step: int, expected: Array) -> Array:
        """Return f V(s') + E[what comes from the next step on | s'], (S, D); 0 behind the last step."""
        if step + 1 == len(expected):
            return np.zeros(expected.shape[1:2] + expected.shape[3:])
        booted: Array = self.boots[step] * self.values[step + 1][:, None]
        return booted + self.process.at(step + 1, expected[step + 1])

    def before(self, start: int) -> tuple[Array, Array]:
        """Return E[x 1{s_u = s}] and E[x² 1{s_u = s}] of what came before step u, (T, S) each; D is 1.

        Episodes begin in the start state with this index.
        """
        process, model = self.process, self.process.model
        first, second = np.zeros((2, *process.shape[:2]))
        visited = process.occupancy()[start]
        for step in range(len(first) - 1):
            earned, booted = float(self.earns[step, 0]), self.boots[step, 0] * self.values[step + 1]
            moves, paid = process.moves[step], process.paid[step]
            squared = (process.policy[step].T[:, :, None] * model.transition * model.square_to).sum(0)
            here, once, twice = visited[step], first[step], second[step]
            increment = earned * paid + booted * moves
            of_square = earned * earned * squared + 2 * earned * booted * paid + np.square(booted) * moves
            first[step + 1] = carry(once, moves) + carry(here, increment)
            second[step + 1] = carry(twice, moves) + 2 * carry(once, increment) + carry(here, of_square)
        return first, second


def carry(visited: Array, matrix: Array) -> Array:
    """Return Σ_s x(s) matrix(s, s'), (S,)."""
    return arrays.product(matrix.T, visited)


def through(matrix: Array, numbers: Array) -> Array:
    """Return Σ_s' matrix(a, s, s') x(s') for x (S, D): (S, A, D)."""
    actions, states, _ = matrix.shape
    return arrays.matrix_product(matrix.reshape(-1, states), numbers).reshape(actions, states, -1).swapaxes(0, 1)
