"""Exact values of finite worlds by backward induction: the ground truth that estimates are held against."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.errors import unknown
from bench.tasks.base import Array, Task

POLICIES = ("optimal", "myopic", "uniform")  # those `solve` knows by name


@dataclass(frozen=True)
class Model:
    """A world of finitely many states whose episodes last exactly `horizon` steps.

    `transition` (A, S, S) holds P(s' | s, a), `reward` (S, A) the mean reward; both are the same at every step. `shape`
    is how the S states unfold, in C order, into the axes of a table. `starts` names the equally likely kinds of
    episode, each with its distribution (S,) over start states.
    """

    transition: Array
    reward: Array
    horizon: int
    shape: tuple[int, ...]
    starts: Mapping[str, Array]

    @property
    def n_actions(self) -> int:
        """The number of actions."""
        return int(self.reward.shape[1])


@dataclass(frozen=True)
class Solution:
    """A policy's exact values, as tables with the axes (step, *state).

    `value` is V(s); `q_values` Q(s, a) and `policy` π(a | s) have the action as a further, last axis. `objectives` is
    J for each kind of episode: the mean value of its start.
    """

    value: Array
    q_values: Array
    policy: Array
    objectives: Mapping[str, float]

    @property
    def advantage(self) -> Array:
        """A(s, a) = Q(s, a) - V(s), with the axes of `q_values`."""
        return self.q_values - self.value[..., None]

    @property
    def objective(self) -> float:
        """J: the expected discounted return of an episode."""
        return float(np.mean(list(self.objectives.values())))


def solve(model: Model, policy: str | npt.ArrayLike = "optimal", gamma: float = 1.0) -> Solution:
    """The exact values of a policy in a finite world.

    Q_t(s, a) = r(s, a) + γ Σ_s' P(s' | s, a) V_{t+1}(s') and V_t(s) = Σ_a π_t(a | s) Q_t(s, a), from V_horizon = 0 back
    (Sutton & Barto, 2nd ed., sections 3.5 and 3.6).

    `policy` is "optimal" (for this γ), "myopic" (greedy for the next reward alone), "uniform", or an array: integers
    (step, *state) naming actions, or probabilities (step, *state, action). Arrays broadcast: 3 is "always action 3".
    Raises `UserError` for another name, ValueError for numbers that are no policy.
    """
    given = None if isinstance(policy, str) and policy == "optimal" else _probabilities(model, policy)
    value = np.zeros((model.horizon + 1, len(model.reward)))
    q_values = np.empty((model.horizon, *model.reward.shape))
    chosen = np.empty_like(q_values)
    for step in reversed(range(model.horizon)):
        q_values[step] = model.reward + gamma * (model.transition @ value[step + 1]).T
        chosen[step] = _greedy(q_values[step]) if given is None else given[step]
        value[step] = (chosen[step] * q_values[step]).sum(axis=-1)
    table = (model.horizon, *model.shape)
    return Solution(
        value=value[:-1].reshape(table),
        q_values=q_values.reshape(*table, model.n_actions),
        policy=chosen.reshape(*table, model.n_actions),
        objectives={name: float(start @ value[0]) for name, start in model.starts.items()},
    )


def _greedy(scores: Array) -> Array:
    """All probability on the best action, the first of equals: (S, A)."""
    best: Array = np.eye(scores.shape[-1])[scores.argmax(axis=-1)]
    return best


def _probabilities(model: Model, policy: str | npt.ArrayLike) -> Array:
    """A policy that needs no optimising as a table (step, S, A)."""
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise unknown("policy", policy, POLICIES)
        uniform = np.full_like(model.reward, 1 / model.n_actions)
        table = (uniform if policy == "uniform" else _greedy(model.reward)).reshape(*model.shape, model.n_actions)
    else:
        table = _checked(model, np.asarray(policy))
    return np.broadcast_to(table, (model.horizon, *model.shape, model.n_actions)).reshape(-1, *model.reward.shape)


def _checked(model: Model, policy: Array) -> Array:
    """An array policy as probabilities (…, action). Raises ValueError where it names no action or does not sum to 1."""
    if policy.dtype.kind in "iu":
        if policy.min() < 0 or policy.max() >= model.n_actions:
            raise ValueError(f"the policy names actions {policy.min()} to {policy.max()}; there are {model.n_actions}")
        policy = np.eye(model.n_actions)[policy]
    if policy.min() < 0 or not np.allclose(policy.sum(axis=-1), 1, rtol=0, atol=1e-6):
        raise ValueError("the policy's probabilities must be at least 0 and sum to 1 over the last axis")
    return policy


class ExactTask(Task):
    """A task with an exact solution. Its state's rows are integers: the index of the state in the solution's tables."""

    @property
    @abstractmethod
    def model(self) -> Model:
        """Its transition probabilities and mean rewards."""

    def states(self) -> Array:
        """Every state, (D, n) in the C order of a table: `observe(states())` is what a policy sees, table-wise."""
        table = (self.model.horizon, *self.model.shape)
        return np.indices(table).reshape(len(table), -1).astype(np.float64)

    def solve(self, policy: str | npt.ArrayLike = "optimal", gamma: float = 1.0) -> Solution:
        """The exact values of a policy; see `bench.tasks.exact.solve`."""
        return solve(self.model, policy, gamma)
