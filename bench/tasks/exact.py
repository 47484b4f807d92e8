"""Exact values of finite worlds by dynamic programming: the ground truth that estimates are held against.

A policy is a table of probabilities. Everything here follows from the equations of Sutton & Barto, 2nd ed., chapters 3,
4 and 13, for episodes with a fixed number of steps (backward induction) and for those that end by chance (a linear
system).
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.errors import UserError, unknown
from bench.kernel import arrays
from bench.observer import RETURN_OF
from bench.tasks.base import Array, Task

LENGTH = "length"  # of `ExactTask.expected_totals`
POLICIES = ("optimal", "myopic", "uniform")  # those `solve` knows by name
MAX_ITERATIONS = 1000  # of policy iteration, which takes a handful
MOST_CONDITION = 1e12  # of I - γ P: beyond it, an episode need not end

# A name, or numbers: integers (*table) that are actions, or probabilities (*table, action).
PolicyTable = str | npt.ArrayLike
# What a kind of episode may be given as: its name, a distribution over start states, or None for all kinds together.
Start = str | npt.ArrayLike | None


@dataclass(frozen=True)
class Model:
    """A world of finitely many states.

    Its numbers are the same at every step:

    - `transition` (A, S, S): P(s' | s, a). Rows may sum to less than 1: the rest is the chance that the episode ends.
    - `reward` (S, A): the mean reward, and `reward_variance` (S, A) its variance.
    - `reward_to` (A, S, S): the mean reward given the successor too, and `square_to` (A, S, S) the mean of its square.

    `horizon` is the number of steps every episode takes, None where only chance ends it. `shape` is how the S states
    unfold, in C order, into the axes of a table. `starts` names the equally likely kinds of episode, each with its
    distribution (S,) over start states. With `paid_last` all rewards of an episode are paid with its last step.
    """

    transition: Array
    reward: Array
    reward_variance: Array
    reward_to: Array
    square_to: Array
    horizon: int | None
    shape: tuple[int, ...]
    starts: Mapping[str, Array]
    paid_last: bool = False

    @property
    def n_actions(self) -> int:
        """The number of actions."""
        return int(self.reward.shape[1])

    @property
    def table(self) -> tuple[int, ...]:
        """The axes of a table of states: (step, *state), or (*state) where there is no horizon."""
        return self.shape if self.horizon is None else (self.horizon, *self.shape)

    @property
    def steps(self) -> int:
        """The length of a table's step axis; 1 where it has none."""
        return 1 if self.horizon is None else self.horizon

    def start(self, start: Start = None) -> Array:
        """The distribution (S,) over start states of a kind of episode. Raises `UserError` for an unknown kind."""
        if start is None:
            mixed: Array = np.mean(list(self.starts.values()), axis=0)
            return mixed
        if isinstance(start, str):
            if start not in self.starts:
                raise unknown("kind of episode", start, self.starts)
            return self.starts[start]
        return np.asarray(start, dtype=np.float64).ravel()

    def pay(self, step: int, gamma: float) -> float:
        """What the factor of a reward earned at `step` is, seen from there: 1, or its delay until the last step."""
        if not self.paid_last:
            return 1.0
        assert self.horizon is not None
        return float(arrays.powers(gamma, self.horizon)[self.horizon - 1 - step])


@dataclass(frozen=True)
class Solution:
    """A policy's exact values, as tables with the axes of `Model.table`.

    `value` is V(s); `q_values` Q(s, a) and `policy` π(a | s) have the action as a further, last axis. `objectives` is
    J for each kind of episode: the mean value of its start. Against a reference, `penalty` is β log(π/π_ref), which V
    counts as a cost of every step; without one it is 0. With `Model.paid_last`, values count what is yet to be earned.
    """

    value: Array
    q_values: Array
    policy: Array
    penalty: Array
    objectives: Mapping[str, float]

    @property
    def advantage(self) -> Array:
        """A(s, a) = Q(s, a) - V(s), less the penalty against a reference: with the axes of `q_values`."""
        return self.q_values - self.penalty - self.value[..., None]

    @property
    def objective(self) -> float:
        """J: the expected discounted return of an episode."""
        return float(np.mean(list(self.objectives.values())))


def solve(
    model: Model,
    policy: PolicyTable = "optimal",
    gamma: float = 1.0,
    *,
    reference: PolicyTable | None = None,
    kl_coef: float = 0.0,
) -> Solution:
    """The exact values of a policy in a finite world.

    Q(s, a) = r(s, a) + γ Σ_s' P(s' | s, a) V(s') and V(s) = Σ_a π(a | s) Q(s, a) (Sutton & Barto, sections 3.5, 3.6).

    With a `reference` and β = `kl_coef`, V(s) = Σ_a π(a | s) Q(s, a) - β KL(π(· | s) ‖ π_ref(· | s)): the divergence is
    a cost of every step, discounted like a reward. The best policy is then π ∝ π_ref exp(Q/β) (Levine, 2018,
    arXiv 1805.00909).

    `policy` is "optimal" (for this γ, reference and β), "myopic" (greedy for the next reward alone), "uniform", or an
    array: integers (*table) naming actions, or probabilities (*table, action). Arrays broadcast: 3 is "always 3".

    Raises `UserError` for another name and for a policy whose episodes need not end at γ = 1, ValueError for numbers
    that are no policy and for a policy that does what its reference never does.
    """
    given = None if isinstance(policy, str) and policy == "optimal" else _flat(model, policy)
    penalised = reference is not None and kl_coef > 0
    judge = _Judge(_flat(model, reference) if reference is not None and penalised else None, kl_coef)
    if model.horizon is None:
        q_values, chosen = _iterate(model, given, gamma, judge)
    else:
        q_values, chosen = _induct(model, given, gamma, judge)
    value = np.stack([judge.value(step, q_values[step], chosen[step]) for step in range(model.steps)])
    return Solution(
        value=value.reshape(model.table),
        q_values=q_values.reshape(*model.table, model.n_actions),
        policy=chosen.reshape(*model.table, model.n_actions),
        penalty=judge.penalty(chosen).reshape(*model.table, model.n_actions),
        objectives={name: float((start * value[0]).sum()) for name, start in model.starts.items()},
    )


class _Judge:
    """What makes a policy good at a step: Q alone, or Q and being near a reference (steps, S, A)."""

    def __init__(self, reference: Array | None, kl_coef: float) -> None:
        self.reference, self.kl_coef = reference, kl_coef

    def value(self, step: int, q_values: Array, policy: Array) -> Array:
        """V (S,) of Q and π (S, A)."""
        value: Array = (policy * q_values).sum(axis=-1)
        return value - self.cost(step, policy)

    def cost(self, step: int, policy: Array) -> Array | float:
        """β KL(π ‖ π_ref), (S,)."""
        if self.reference is None:
            return 0.0
        divergence: Array = arrays.relative_entropy(policy, self.reference[step]).sum(axis=-1)
        if not np.isfinite(divergence).all():
            raise ValueError("the policy takes actions that its reference never takes: the divergence is infinite")
        return self.kl_coef * divergence

    def best(self, step: int, q_values: Array) -> Array:
        """The best π (S, A): the first of the best actions, or the reference tilted by exp(Q/β)."""
        if self.reference is None:
            return _greedy(q_values)
        # log 0 = -∞: what the reference never does stays impossible.
        return arrays.softmax(arrays.log(self.reference[step]) + q_values / self.kl_coef)

    def penalty(self, policy: Array) -> Array:
        """β log(π/π_ref), (steps, S, A); 0 where π is 0."""
        penalty = np.zeros_like(policy)
        if self.reference is not None:
            taken = policy > 0
            penalty[taken] = self.kl_coef * arrays.log(policy[taken] / self.reference[taken])
        return penalty


def _induct(model: Model, given: Array | None, gamma: float, judge: _Judge) -> tuple[Array, Array]:
    """Q and π (steps, S, A), from the last step back."""
    q_values = np.empty((model.steps, *model.reward.shape))
    chosen = np.empty_like(q_values)
    following = np.zeros(len(model.reward))
    for step in reversed(range(model.steps)):
        q_values[step] = model.pay(step, gamma) * model.reward + gamma * arrays.product(model.transition, following).T
        chosen[step] = judge.best(step, q_values[step]) if given is None else given[step]
        following = judge.value(step, q_values[step], chosen[step])
    return q_values, chosen


def _iterate(model: Model, given: Array | None, gamma: float, judge: _Judge) -> tuple[Array, Array]:
    """Q and π (1, S, A) where time plays no part: policy iteration (Sutton & Barto, section 4.3).

    It begins with a policy whose episodes end (the reference, or uniform) and changes an action only for a better one,
    so that at γ = 1 it never takes to walking in circles.
    """
    uniform = np.full(model.reward.shape, 1 / model.n_actions)
    policy = given[0] if given is not None else judge.reference[0] if judge.reference is not None else uniform
    for _ in range(MAX_ITERATIONS):
        mean_reward = (policy * model.reward).sum(axis=-1) - judge.cost(0, policy)
        value = arrays.solve(_occupation(model, policy, gamma), mean_reward)
        q_values = model.reward + gamma * arrays.product(model.transition, value).T
        if given is not None:
            return q_values[None], policy[None]
        best = judge.best(0, q_values)
        better = judge.value(0, q_values, best) > value + 1e-12 * (1 + np.abs(value).max())
        if not better.any():
            return q_values[None], (policy if judge.reference is None else best)[None]
        policy = np.where(better[:, None], best, policy)
    raise RuntimeError(f"policy iteration did not settle in {MAX_ITERATIONS} rounds")


def _occupation(model: Model, policy: Array, gamma: float) -> Array:
    """I - γ P_π (S, S). Raises `UserError` where it has no inverse: from some state the episode need not end."""
    matrix: Array = np.eye(len(policy)) - gamma * _moves(model, policy)
    if arrays.condition(matrix) > MOST_CONDITION:
        raise UserError(f"gamma={gamma}: an episode of this policy need not end: it has no value; use gamma below 1")
    return matrix


def _moves(model: Model, policy: Array) -> Array:
    """P(s' | s) under a policy (S, A): (S, S)."""
    return np.asarray((policy.T[:, :, None] * model.transition).sum(axis=0))


def visits(model: Model, policy: PolicyTable, gamma: float = 1.0, start: Start = None) -> Array:
    """How often each state is visited in an episode, step t counted as γ^t: a table.

    d(s) = Σ_t γ^t P(s_t = s); with γ = 1 the expected number of visits, which sums to the mean length of an episode.
    `start` restricts it to one kind of episode. Divide by the sum for a distribution.
    """
    chosen = _flat(model, policy)
    first = model.start(start)
    if model.horizon is None:
        matrix = _occupation(model, chosen[0], gamma)
        frequency: Array = arrays.solve(matrix.T, first)
        return frequency.reshape(model.table)
    frequency = np.empty(chosen.shape[:2])
    for step in range(model.steps):
        frequency[step] = first
        taken = first[:, None] * chosen[step]
        first = gamma * (taken.T[:, :, None] * model.transition).sum(axis=0).sum(axis=0)
    return frequency.reshape(model.table)


def expected_totals(
    model: Model, policies: Array, amounts: Array, time_limit: int | None = None, start: Start = None
) -> Array:
    """The expected undiscounted sums over an episode of what its steps bring, for many policies at once.

    Args:
        model: the world; `Model.paid_last` plays no part, since a sum does not ask when it is paid.
        policies: (R, *table, A), probabilities.
        amounts: (K, S, A), the means of what a step brings, such as `Model.reward`.
        time_limit: after so many steps an episode is cut off.
        start: restricts it to one kind of episode.

    Returns:
        (K, R); NaN for a policy whose episodes need not end, from whatever state.
    """
    chosen = policies.reshape(len(policies), model.steps, *model.reward.shape)
    first = model.start(start)
    if model.horizon is None:
        return arrays.product(_stationary_totals(model, chosen[:, 0], amounts, time_limit), first)
    brings = amounts.swapaxes(1, 2).reshape(len(amounts), -1)
    moves = model.transition.reshape(-1, len(first)).T.copy().T  # as `matrix_product` reads it
    totals, states = np.zeros((len(amounts), len(chosen))), np.broadcast_to(first, (len(chosen), len(first)))
    for step in range(model.horizon if time_limit is None else min(model.horizon, time_limit)):
        taken = (states[:, None] * chosen[:, step].swapaxes(1, 2)).reshape(len(chosen), -1)
        totals += arrays.matrix_product(brings, taken.T)
        states = arrays.matrix_product(taken, moves)
    return totals


def _stationary_totals(model: Model, policies: Array, amounts: Array, time_limit: int | None) -> Array:
    """What is yet to come in each state where time plays no part, for policies (R, S, A): (K, R, S)."""
    moves = np.stack([_moves(model, policy) for policy in policies])
    brings = (policies * amounts[:, None]).sum(axis=-1)
    if time_limit is None:
        return np.stack([_until_the_end(*each) for each in zip(moves, brings.swapaxes(0, 1), strict=True)], axis=1)
    totals: Array = np.zeros_like(brings)
    while time_limit:  # `moves` and `brings` are of 1, 2, 4, … steps
        if time_limit % 2:
            totals = brings + arrays.product(moves, totals[:, :, None])
        brings = brings + arrays.product(moves, brings[:, :, None])
        moves = np.stack([arrays.matrix_product(each, each) for each in moves])
        time_limit //= 2
    return totals


def _until_the_end(moves: Array, brings: Array) -> Array:
    """(K, S): the sums until an episode ends by chance, from (S, S) and (K, S)."""
    matrix = np.eye(len(moves)) - moves
    if not arrays.condition(matrix) <= MOST_CONDITION:
        return np.full_like(brings, np.nan)
    return arrays.solve(matrix, brings.T).T


def policy_gradient(
    model: Model,
    policy: PolicyTable,
    gamma: float = 1.0,
    *,
    state_gamma: float | None = None,
    start: Start = None,
    reference: PolicyTable | None = None,
    kl_coef: float = 0.0,
) -> Array:
    """∂J/∂logits of the softmax policy that is this table, (*table, action).

    d(s) π(a | s) A(s, a) (the policy gradient theorem; Sutton & Barto, section 13.2). States are weighted by γ^t, as
    the gradient of the discounted objective needs. `state_gamma=1` drops these weights, as almost all programs do: the
    direction that their estimators aim at. `start` gives the gradient of one kind of episode; the whole one is the
    mean over kinds.
    """
    solution = solve(model, _flat(model, policy).reshape(*model.table, -1), gamma, reference=reference, kl_coef=kl_coef)
    weight = visits(model, solution.policy, gamma if state_gamma is None else state_gamma, start)
    return weight[..., None] * solution.policy * solution.advantage


def gradient_variance(
    model: Model,
    policy: PolicyTable,
    baseline: npt.ArrayLike = 0.0,
    gamma: float = 1.0,
    *,
    state_gamma: float | None = None,
    start: Start = None,
) -> float:
    """The trace of Cov(ĝ) for ĝ = Σ_t w^t ∇log π(a_t | s_t) (G_t - b(s_t)) of one episode, ∇ by the table's logits.

    G_t is the Monte Carlo return, `baseline` b a fixed table that broadcasts to `Model.table`, w the `state_gamma`.
    Every state of a table with a step axis is met at most once in an episode, so the steps' terms are orthogonal and

        E‖ĝ‖² = Σ_t w^2t Σ_s P(s_t = s) Σ_a π(a | s) ‖∇log π(a | s)‖² E[(G_t - b(s))² | s, a].

    Raises ValueError where there is no such axis, or where all is paid at the end.
    """
    if model.horizon is None or model.paid_last:
        raise ValueError("the exact variance needs a step axis and rewards that are paid when they are earned")
    chosen = _flat(model, policy)
    weight_gamma = gamma if state_gamma is None else state_gamma
    solution = solve(model, chosen.reshape(*model.table, -1), gamma)
    q_values = solution.q_values.reshape(chosen.shape)
    fixed = np.broadcast_to(baseline, model.table).reshape(model.steps, -1)[..., None]
    squared = _second_moments(model, chosen, solution.value.reshape(model.steps, -1), gamma)
    spread = squared - 2 * fixed * q_values + fixed**2
    score = 1 - 2 * chosen + (chosen**2).sum(axis=-1, keepdims=True)  # ‖∇log π(a | s)‖²
    weight = visits(model, solution.policy, weight_gamma * weight_gamma, start).reshape(chosen.shape[:2])
    mean = policy_gradient(model, solution.policy, gamma, state_gamma=weight_gamma, start=start)
    return float((weight[..., None] * chosen * score * spread).sum() - (mean**2).sum())


def _second_moments(model: Model, policy: Array, value: Array, gamma: float) -> Array:
    """E[G² | s, a] (steps, S, A), from E r² + 2γ E[r V(s')] + γ² E[G'²]."""
    reward_square = model.reward_variance + model.reward**2
    moments = np.empty_like(policy)
    following, following_value = np.zeros(policy.shape[1]), np.zeros(policy.shape[1])
    for step in reversed(range(model.steps)):
        cross = arrays.product(model.transition * model.reward_to, following_value).T
        squared = arrays.product(model.transition, following).T
        moments[step] = reward_square + 2 * gamma * cross + gamma * gamma * squared
        following, following_value = (policy[step] * moments[step]).sum(axis=-1), value[step]
    return moments


def shares(amounts: Mapping[str, float]) -> dict[str, float]:
    """Each kind's share of the total; all NaN where the total is 0."""
    total = sum(amounts.values())
    return {name: amount / total if total else float("nan") for name, amount in amounts.items()}


def _greedy(scores: Array) -> Array:
    """All probability on the best action, the first of equals: (S, A)."""
    best: Array = np.eye(scores.shape[-1])[scores.argmax(axis=-1)]
    return best


def _flat(model: Model, policy: PolicyTable) -> Array:
    """A policy that needs no optimising as probabilities (steps, S, A)."""
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise unknown("policy", policy, POLICIES)
        if policy == "optimal":
            raise ValueError("give the optimal policy as a table: solve(…).policy")
        uniform = np.full_like(model.reward, 1 / model.n_actions)
        table = (uniform if policy == "uniform" else _greedy(model.reward)).reshape(*model.shape, model.n_actions)
    else:
        table = _checked(model, np.asarray(policy))
    return np.broadcast_to(table, (*model.table, model.n_actions)).reshape(-1, *model.reward.shape)


def _checked(model: Model, policy: Array) -> Array:
    """An array policy as probabilities (…, action). Raises ValueError where it names no action or does not sum to 1."""
    if policy.dtype.kind in "iu":
        if policy.min() < 0 or policy.max() >= model.n_actions:
            raise ValueError(f"the policy names actions {policy.min()} to {policy.max()}; there are {model.n_actions}")
        policy = np.eye(model.n_actions)[policy]
    if not (policy.min() >= 0 and np.allclose(policy.sum(axis=-1), 1, rtol=0, atol=1e-6)):
        raise ValueError("the policy's probabilities must be at least 0 and sum to 1 over the last axis")
    return policy


# A policy that looks: observations (O, n) → probabilities (n, action).
Looking = Callable[[Array], Array]
Policy = PolicyTable | Looking


class ExactTask(Task):
    """A task with an exact solution.

    The first rows of its state are integers: the index of the state in the solution's tables. Further rows, if any,
    change neither what follows nor what is yet to be earned.
    """

    @property
    @abstractmethod
    def model(self) -> Model:
        """Its transition probabilities and mean rewards."""

    def kind(self, state: Array) -> Array:  # the base serves worlds with one kind of episode
        """The kind of episode each state (D, C) belongs to: (C,) positions in `model.starts`."""
        return np.zeros(state.shape[1], dtype=np.intp)

    def index(self, state: Array) -> tuple[Array, ...]:
        """Where states (D, C) stand in a table: `solution.value[task.index(state)]` is (C,)."""
        return tuple(state[: len(self.model.table)].astype(np.intp))

    def states(self) -> Array:
        """Every state, (D, n) in the C order of a table; further rows are 0."""
        table = self.model.table
        states = np.zeros((len(self.start(np.random.default_rng(0), 1)), int(np.prod(table))))
        states[: len(table)] = np.indices(table).reshape(len(table), -1)
        return states

    def observations(self) -> Array:
        """What a policy sees of `states`, (O, n). Raises `UserError` where it sees more than a table holds."""
        return self.observe(self.states())

    @cached_property
    def reached(self) -> Array:
        """The numbers of those of `states` that an episode can come to, (m,)."""
        model = self.model
        moves, now = model.transition.max(axis=0) > 0, model.start() > 0
        if model.horizon is None:
            while not np.array_equal(now, further := now | moves[now].any(axis=0)):
                now = further
            return np.flatnonzero(now)
        steps = [now]
        while len(steps) < model.horizon:
            steps.append(moves[steps[-1]].any(axis=0))
        return np.flatnonzero(steps)

    @cached_property
    def reached_observations(self) -> Array:
        """What a policy sees in the states of `reached`, (O, m). Raises `UserError` as `observations`."""
        return self.observations()[:, self.reached]

    @cached_property
    def unsolved(self) -> str | None:
        """Why policies have no exact values: they see more of a state than a table holds. None where they have."""
        try:
            self.observations()
        except UserError as error:
            return str(error)
        return None

    @property
    def is_tabular(self) -> bool:
        """Whether a policy sees no more of a state than a table holds, so that every policy has exact values."""
        return self.unsolved is None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of its kinds of episodes, by the numbers of `kind`; none where all are of one kind."""
        return tuple(self.model.starts) if len(self.model.starts) > 1 else ()

    @property
    def mean_extras(self) -> Mapping[str, Array]:
        """The means (S, A) of those of `Task.extras` that are known."""
        return {}

    def expected_totals(self, policies: Array) -> dict[str, Array]:
        """What episodes of policies (R, *table, A) bring on average, undiscounted, under the task's time limit: (R,).

        The sum of the rewards is called "return", that of an episode of one of the `kinds` "return_of_" and its name,
        the number of steps "length", the others as in `mean_extras`. NaN for a policy whose episodes need not end.
        """
        model, limit = self.model, self.time_limit
        is_paid = not (model.paid_last and limit is not None and limit < (model.horizon or 0))
        paid = model.reward * is_paid
        amounts = {"return": paid, **self.mean_extras, LENGTH: np.ones_like(model.reward)}
        totals = expected_totals(model, policies, np.stack(list(amounts.values())), limit)
        of_kinds = {
            f"{RETURN_OF}{kind}": expected_totals(model, policies, paid[None], limit, kind)[0] for kind in self.kinds
        }
        return dict(zip(amounts, totals, strict=True)) | of_kinds

    def policy_table(self, policy: Policy) -> PolicyTable:
        """A policy for `solve`: a function of observations (O, n) → (n, action) becomes a table, others stay."""
        if isinstance(policy, str) or not callable(policy):
            return policy
        return np.asarray(policy(self.observations()), dtype=np.float64).reshape(*self.model.table, -1)

    def solve(
        self,
        policy: Policy = "optimal",
        gamma: float = 1.0,
        *,
        reference: Policy | None = None,
        kl_coef: float = 0.0,
    ) -> Solution:
        """The exact values of a policy, a table or a function of observations; see `bench.tasks.exact.solve`."""
        held_to = None if reference is None else self.policy_table(reference)
        return solve(self.model, self.policy_table(policy), gamma, reference=held_to, kl_coef=kl_coef)

    def visits(self, policy: Policy, gamma: float = 1.0, start: Start = None) -> Array:
        """How often each state is visited in an episode; see `bench.tasks.exact.visits`."""
        return visits(self.model, self.policy_table(policy), gamma, start)

    def gradients(self, policy: Policy, gamma: float = 1.0, *, state_gamma: float | None = None) -> dict[str, Array]:
        """E[ĝ | kind of episode] by kind: `policy_gradient` of each, (*table, action). J's gradient is their mean."""
        table = self.policy_table(policy)
        return {
            kind: policy_gradient(self.model, table, gamma, state_gamma=state_gamma, start=kind)
            for kind in self.model.starts
        }

    def gradient_shares(
        self, policy: Policy, gamma: float = 1.0, *, state_gamma: float | None = None
    ) -> dict[str, float]:
        """Fairness of what is learned: each kind's share of Σ ‖E[ĝ | kind]‖."""
        gradients = self.gradients(policy, gamma, state_gamma=state_gamma)
        return shares({kind: arrays.norm(gradient) for kind, gradient in gradients.items()})

    def variance_shares(
        self, policy: Policy, baseline: npt.ArrayLike = 0.0, gamma: float = 1.0, *, state_gamma: float | None = None
    ) -> dict[str, float]:
        """Fairness of the noise: each kind's share of Σ tr Cov(ĝ | kind) of one episode; see `gradient_variance`."""
        table = self.policy_table(policy)
        return shares(
            {
                kind: gradient_variance(self.model, table, baseline, gamma, state_gamma=state_gamma, start=kind)
                for kind in self.model.starts
            }
        )
