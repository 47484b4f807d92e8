"""A policy in a solved world: a Markov chain whose expectations are sums over states.

Two kinds of world are served: those in which every episode has as many steps (backward induction over a table with a
step axis), and those that end by chance (linear systems over a table without one). Arrays have the axes (T, S, A):
steps, flat states and actions; T is 1 where there is no step axis.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import UserError, counted
from bench.kernel import arrays
from bench.lab import policies
from bench.tasks import exact
from bench.tasks.base import Array, Task
from bench.tasks.exact import ExactTask, Model, Solution, visits

MOST_NUMBERS = 1 << 26  # in one array: half a gigabyte

AnyPolicy = policies.Policy | exact.Policy
Values = npt.ArrayLike | policies.Critic


@dataclass(frozen=True)
class Starts:
    """The K flat `states` (K,) in which an episode may begin.

    Their `weights` (K,) sum to 1; `kinds` (K,) are the kinds of episode that begin there, as positions in `names`.
    """

    states: Array
    weights: Array
    kinds: Array
    names: tuple[str, ...]

    def mean(self, values: Array) -> Array:
        """Average values (K, …) over the start states."""
        mean: Array = (self.weights.reshape(-1, *[1] * (values.ndim - 1)) * values).sum(0)
        return mean

    def by_kind(self, values: Array) -> Array:
        """Average values (K, …) over the start states of each kind: (kinds, …)."""
        found = []
        for kind in range(len(self.names)):
            inside = self.kinds == kind
            weights = self.weights[inside] / self.weights[inside].sum()
            found.append((weights.reshape(-1, *[1] * (values.ndim - 1)) * values[inside]).sum(0))
        return np.stack(found)


@dataclass(frozen=True)
class Process:
    """A policy (T, S, A) in the model of a solved world, with a discount; make one with `Process.of`.

    A time limit, which only guards against walks in circles, is left out, as in `ExactTask.solve`.
    """

    task: ExactTask
    model: Model
    policy: Array
    gamma: float

    @classmethod
    def of(cls, task: Task, policy: AnyPolicy, gamma: float = 1.0, reward_scale: float = 1.0) -> "Process":
        """Look at a policy in a task; rewards are divided by `reward_scale`.

        `policy` is one of the laboratory's, a function of observations (O, n) → (n, action), such as a network's, or
        what `bench.tasks.exact.solve` takes: a name, or a table of probabilities (*table, action).

        Raises:
            UserError: for a task that is not solved, a world too large to enumerate, a policy that sees more than the
                table holds or whose table has another shape, a discount outside 0 to 1, and where all is paid at the
                end.
        """
        if not 0 <= gamma <= 1:
            raise UserError(f"gamma={gamma}: must lie in [0, 1]")
        if not isinstance(task, ExactTask):
            raise UserError(
                f"{type(task).__name__} has no model of finitely many states: nothing about it is exact; sample it "
                f"with `python -m bench lab`"
            )
        model = _enumerable(task)
        if model.paid_last:
            raise UserError(
                "task.pay=final: what an action is credited with depends on the money that was earned before, which no "
                "table of states holds; use task.pay=weekly, or sample it with `python -m bench lab`"
            )
        chosen = _table(task, policy, gamma).reshape(model.steps, *model.reward.shape)
        return cls(task, _scaled(model, reward_scale), chosen, float(gamma))

    @property
    def horizon(self) -> int | None:
        """The number of steps of every episode, None where only chance ends it."""
        return self.model.horizon

    @property
    def shape(self) -> tuple[int, int, int]:
        """T, S, A."""
        steps, states, actions = self.policy.shape
        return steps, states, actions

    @cached_property
    def solution(self) -> Solution:
        """The exact values."""
        return exact.solve(self.model, self.policy.reshape(*self.model.table, -1), self.gamma)

    @cached_property
    def value(self) -> Array:
        """V(s), (T, S)."""
        return self.solution.value.reshape(self.shape[:2])

    @cached_property
    def advantage(self) -> Array:
        """A(s, a) = Q(s, a) − V(s), (T, S, A)."""
        return self.solution.advantage.reshape(self.shape)

    @cached_property
    def starts(self) -> Starts:
        """Where episodes begin."""
        chances = np.stack([start.ravel() for start in self.model.starts.values()]) / len(self.model.starts)
        kinds, states = np.nonzero(chances)
        return Starts(states, chances[kinds, states], kinds, tuple(self.model.starts))

    def values(self, given: Values) -> Array:
        """Return V of every state, (T, S), from a table of `Model.table`'s shape, one number, or a critic.

        Raises `UserError` for a table of another shape, and for numbers that are not finite.
        """
        if isinstance(given, policies.TableCritic):
            given = given.table
        elif isinstance(given, policies.Critic):
            given = given.values(self.task.states()).reshape(self.model.table)
        values = _numbers(given)
        if values.ndim == 0:
            values = np.full(self.model.table, values)
        if values.shape != self.model.table:
            raise UserError(
                f"V has the shape {values.shape}: this world needs {self.model.table}, one value for each state, as "
                f"`task.solve(policy).value` has them"
            )
        if not np.isfinite(values).all():
            where = np.argwhere(~np.isfinite(values))
            raise UserError(
                f"V is not finite in {counted(len(where), 'state')}, first at {tuple(map(int, where[0]))}: give each "
                f"state a number"
            )
        return values.reshape(self.shape[:2])

    def tabled(self, numbers: Array) -> Array:
        """Return numbers (T, S, …) with the axes of `Model.table` first."""
        return numbers.reshape(*self.model.table, *numbers.shape[2:])

    # Expectations over one step.

    @cached_property
    def moves(self) -> Array:
        """P(s' | s) at each step, (T, S, S)."""
        moves: Array = np.stack([(at.T[:, :, None] * self.model.transition).sum(0) for at in self.policy])
        return moves

    @cached_property
    def paid(self) -> Array:
        """E[r 1{s'} | s] at each step, (T, S, S)."""
        paid = self.model.transition * self.model.reward_to
        return np.stack([(at.T[:, :, None] * paid).sum(0) for at in self.policy])

    @cached_property
    def square(self) -> Array:
        """E[r² | s, a], (S, A)."""
        square: Array = self.model.reward_variance + np.square(self.model.reward)
        return square

    def at(self, step: int, numbers: Array) -> Array:
        """Return Σ_a π(a | s) x(s, a) at a step, of numbers (S, A, …): (S, …)."""
        mean: Array = (self.policy[step].reshape(*self.shape[1:], *[1] * (numbers.ndim - 2)) * numbers).sum(1)
        return mean

    def apart(self, step: int, numbers: Array) -> Array:
        """Return numbers (S, A, …) less their mean over the actions of a step."""
        apart: Array = numbers - self.at(step, numbers)[:, None]
        return apart

    def next(self, numbers: Array) -> Array:
        """Return what stands at the next step, (T, S, …): 0 after the last one."""
        if self.horizon is None:
            return numbers
        return np.concatenate([numbers[1:], np.zeros_like(numbers[:1])])

    def expect(self, numbers: Array) -> Array:
        """Return E[x(s') | s, a] of numbers (T, S, …): (T, S, A, …); x is 0 once the episode has ended."""
        return self._step(self.model.transition, numbers)

    def expect_with_reward(self, numbers: Array) -> Array:
        """Return E[r x(s') | s, a] of numbers (T, S, …): (T, S, A, …)."""
        return self._step(self.model.transition * self.model.reward_to, numbers)

    def expect_with_square(self, numbers: Array) -> Array:
        """Return E[r² x(s') | s, a] of numbers (T, S, …): (T, S, A, …)."""
        return self._step(self.model.transition * self.model.square_to, numbers)

    def _step(self, matrix: Array, numbers: Array) -> Array:
        steps, states, actions = self.shape
        after = self.next(numbers).reshape(steps, states, -1)
        columns = after.transpose(1, 0, 2).reshape(states, -1)
        found = arrays.matrix_product(matrix.reshape(-1, states), columns).reshape(actions, states, steps, -1)
        return found.transpose(2, 1, 0, 3).reshape(steps, states, actions, *numbers.shape[2:])

    def over_actions(self, numbers: Array) -> Array:
        """Return Σ_a π(a | s) x(s, a) of numbers (T, S, A, …): (T, S, …)."""
        mean: Array = (self.policy.reshape(*self.shape, *[1] * (numbers.ndim - 3)) * numbers).sum(2)
        return mean

    def sum_up(self, numbers: Array, factor: float) -> Array:
        """Return y with y(s) = x(s) + factor · E[y(s') | s], for numbers x (T, S, …): (T, S, …)."""
        flat = numbers.reshape(*self.shape[:2], -1)
        if self.horizon is None:
            matrix = np.eye(self.shape[1]) - factor * self.moves[0]
            return arrays.solve(matrix, flat[0]).reshape(numbers.shape)
        found = np.empty_like(flat)
        after = np.zeros_like(flat[0])
        for step in reversed(range(len(flat))):
            after = found[step] = flat[step] + factor * arrays.matrix_product(self.moves[step], after)
        return found.reshape(numbers.shape)

    def occupancy(self, weight: float = 1.0) -> Array:
        """Return Σ_t weight^t P(s_t = s) given each start state, (K, T, S)."""
        if weight not in self._occupancies:
            size, table = self.shape[1], self.policy.reshape(*self.model.table, -1)
            found = [visits(self.model, table, weight, np.eye(size)[state]) for state in self.starts.states]
            self._occupancies[weight] = np.stack(found).reshape(-1, *self.shape[:2])
        return self._occupancies[weight]

    @cached_property
    def _occupancies(self) -> dict[float, Array]:
        return {}

    @cached_property
    def share(self) -> Array:
        """The share of all visits that a state gets, (T, S)."""
        visited = self.starts.mean(self.occupancy())
        share: Array = visited / visited.sum()
        return share


def _numbers(given: Any) -> Array:
    """Return V as an array. Raises `UserError` for what is no array of real numbers."""
    try:
        found = np.asarray(given)
    except ValueError:  # lists of different lengths
        found = np.asarray(None)
    if found.dtype.kind not in "biuf":
        raise UserError(
            "V is no array of real numbers: give each state a number, as `task.solve(policy).value` has them"
        )
    return found.astype(np.float64)


def share_cut(process: Process) -> float:
    """Return the share of episodes that the task's time limit cuts, which exact numbers leave out of account."""
    limit = process.task.time_limit
    if limit is None:
        return 0.0
    if process.horizon is not None:
        return float(limit < process.horizon)
    alive, moves = process.starts.mean(np.eye(process.shape[1])[process.starts.states])[None], process.moves[0]
    while limit:  # `moves` are of 1, 2, 4, … steps
        if limit % 2:
            alive = arrays.matrix_product(alive, moves)
        moves = arrays.matrix_product(moves, moves)
        limit //= 2
    return float(alive.sum())


def _enumerable(task: ExactTask) -> Model:
    """Return a task's model. Raises `UserError` where its arrays are too large."""
    try:
        model = task.model
        largest = max(model.transition.size, int(np.prod(model.table)) * model.n_actions)
    except MemoryError:
        largest = MOST_NUMBERS + 1
    if largest > MOST_NUMBERS:
        raise UserError(
            f"{type(task).__name__} is too large to enumerate: its model has {largest} numbers, at most {MOST_NUMBERS} "
            f"are taken; make it smaller, or sample it with `python -m bench lab exact=false`"
        )
    return model


def _scaled(model: Model, scale: float) -> Model:
    if scale == 1:
        return model
    return replace(
        model,
        reward=model.reward / scale,
        reward_variance=model.reward_variance / scale / scale,
        reward_to=model.reward_to / scale,
        square_to=model.square_to / scale / scale,
    )


def _table(task: ExactTask, policy: AnyPolicy, gamma: float) -> Array:
    """Return π (*table, action). Raises `UserError` where a policy has another shape or is none."""
    shape, given = (*task.model.table, task.model.n_actions), policy
    try:
        given = policies.table_of(task, policy) if isinstance(policy, policies.Policy) else task.policy_table(policy)
        return task.solve(given, gamma).policy
    except (TypeError, ValueError) as error:
        raise UserError(
            f"policy is no table of probabilities of shape {shape}: {_unfit(given, shape, error)}"
        ) from error


def _unfit(given: Any, shape: tuple[int, ...], error: Exception) -> str:
    """Return what is wrong with a policy, in the words of this suite where NumPy's are about something else."""
    if callable(given):
        return f"what it returns for the task's observations is not of shape {(int(np.prod(shape[:-1])), shape[-1])}"
    try:
        numbers = np.asarray(given)
    except ValueError:
        return "its rows have different lengths"
    if numbers.dtype.kind not in "biuf":
        return "it has no numbers"
    try:
        return str(error) if np.broadcast_shapes(numbers.shape, shape) == shape else f"its shape is {numbers.shape}"
    except ValueError:
        return f"its shape is {numbers.shape}"
