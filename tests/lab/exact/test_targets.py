"""Means and variances of return targets against closed forms, tables worked out by hand, and each other."""

import numpy as np
import pytest

from bench.errors import UserError
from bench.lab.exact.bias import advantage_errors
from bench.lab.exact.process import Process
from bench.lab.exact.targets import MONTE_CARLO, TD0, Target, target_moments
from bench.tasks.cartpole import CartPole
from bench.tasks.exact import ExactTask
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.random_walk import RandomWalk
from bench.tasks.weekly_exam import WeeklyExam
from tests.lab.exact.worlds import WORLDS, random_critic, random_policy

GAMMA = 0.95


@pytest.fixture(params=WORLDS, scope="module")
def process(request: pytest.FixtureRequest) -> Process:
    task = WORLDS[request.param]()
    return Process.of(task, random_policy(task, 0), GAMMA)


class Chain:
    """All states of a world, one for every step, as one Markov chain: P_a, and P under the policy."""

    def __init__(self, process: Process) -> None:
        model, (steps, states, actions) = process.model, process.shape
        self.horizon = process.horizon
        size = steps * states
        self.after = np.zeros((size, actions, size))
        for step in range(steps):
            to = step if process.horizon is None else step + 1
            if to < steps:
                rows, columns = np.arange(states) + step * states, np.arange(states) + to * states
                self.after[np.ix_(rows, range(actions), columns)] = model.transition.transpose(1, 0, 2)
        self.matrix = (process.policy.reshape(size, actions, 1) * self.after).sum(1)

    def ahead(self, x: np.ndarray, steps: int) -> np.ndarray:
        """P^steps x."""
        for _ in range(steps):
            x = self.matrix @ x
        return x

    def resolvent(self, x: np.ndarray, factor: float) -> np.ndarray:
        """(I − factor P)⁻¹ x: where an episode has a last step, a finite sum of powers."""
        if self.horizon is None:
            return np.linalg.solve(np.eye(len(x)) - factor * self.matrix, x)
        total = x
        for _ in range(self.horizon - 1):
            total = x + factor * self.matrix @ total
        return total

    def bias(self, error: np.ndarray, of_successors: np.ndarray) -> np.ndarray:
        """−e(s) + P_a x."""
        return -error[:, None] + self.after @ of_successors


@pytest.fixture(scope="module")
def chain(process: Process) -> Chain:
    return Chain(process)


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.9, 0.95, 1.0])
def test_the_bias_of_gae_is_its_closed_form(process: Process, chain: Chain, gae_lambda: float) -> None:
    """−e(s) + γ(1 − λ) P_a (I − γλP)⁻¹ e for a critic V + e."""
    critic = random_critic(process, 1)
    error = (critic - process.tabled(process.value)).ravel()
    ahead = chain.resolvent(error, GAMMA * gae_lambda)
    found = advantage_errors(process, target_moments(process, Target(gae_lambda=gae_lambda), critic), critic)
    expected = chain.bias(error, GAMMA * (1 - gae_lambda) * ahead)
    np.testing.assert_allclose(found.bias.reshape(expected.shape), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 4, 20])
def test_the_bias_of_n_steps_is_its_closed_form(process: Process, chain: Chain, n: int) -> None:
    """−e(s) + γⁿ P_a Pⁿ⁻¹ e."""
    critic = random_critic(process, 2)
    error = (critic - process.tabled(process.value)).ravel()
    found = advantage_errors(process, target_moments(process, Target(n_step=n), critic), critic)
    expected = chain.bias(error, GAMMA**n * chain.ahead(error, n - 1))
    np.testing.assert_allclose(found.bias.reshape(expected.shape), expected, rtol=0, atol=1e-10)


def test_the_action_dependent_bias_of_monte_carlo_is_zero(process: Process) -> None:
    critic = random_critic(process, 3)
    found = advantage_errors(process, target_moments(process, MONTE_CARLO, critic), critic)
    assert np.abs(found.action_bias).max() < 1e-12
    error = critic - process.tabled(process.value)
    np.testing.assert_allclose(found.state_bias, -error, rtol=0, atol=1e-12)


def test_one_step_and_whole_returns_are_ends_of_both_families(process: Process) -> None:
    critic = random_critic(process, 4)
    same = [(TD0, Target(n_step=1))]
    if process.horizon is not None:
        same.append((MONTE_CARLO, Target(n_step=process.horizon)))
    for left, right in same:
        one, other = target_moments(process, left, critic), target_moments(process, right, critic)
        np.testing.assert_allclose(one.mean, other.mean, rtol=0, atol=1e-12)
        np.testing.assert_allclose(one.variance, other.variance, rtol=0, atol=1e-12)


def test_a_full_return_does_not_read_the_critic(process: Process) -> None:
    with_critic = target_moments(process, MONTE_CARLO, random_critic(process, 5))
    without = target_moments(process, MONTE_CARLO)
    np.testing.assert_array_equal(with_critic.mean, without.mean)
    np.testing.assert_array_equal(with_critic.variance, without.variance)


def test_both_parts_of_the_bias_make_up_the_whole(process: Process) -> None:
    critic = random_critic(process, 6)
    found = advantage_errors(process, target_moments(process, TD0, critic), critic)
    np.testing.assert_allclose(found.action_bias + found.state_bias[..., None], found.bias, rtol=0, atol=1e-15)
    averages = found.averages
    assert averages["action_bias"] + averages["state_bias"] == pytest.approx(averages["squared_bias"], abs=1e-14)
    assert averages["squared_bias"] + averages["variance"] == pytest.approx(averages["squared_error"], abs=1e-14)


def test_the_variance_of_one_answer_is_its_luck() -> None:
    """One step: whatever the target, a return is an answer's points and its luck (.08, or .3 for a gamble)."""
    process = Process.of(ExamQuestion(), "uniform")
    for target in (TD0, MONTE_CARLO, Target(gae_lambda=0.5), Target(n_step=3)):
        moments = target_moments(process, target, 1.0)
        np.testing.assert_allclose(moments.variance, np.broadcast_to([0.0064, 0.0064, 0.0064, 0.09], (1, 4, 4)))


def test_the_variance_of_a_walk_is_that_of_its_end() -> None:
    """γ = 1: the return is 1 with the probability (1 + V)/2, else −1; V(i) = (i − 10)/10 of the uniform walk."""
    process = Process.of(RandomWalk(), "uniform")
    value = (np.arange(1, 20) - 10) / 10
    np.testing.assert_allclose(process.value[0], value, rtol=0, atol=1e-12)
    to = np.stack([value - 0.1, value + 0.1], -1)
    found = target_moments(process, MONTE_CARLO)
    np.testing.assert_allclose(found.mean[0], to, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.variance[0], 1 - to**2, rtol=0, atol=1e-12)


def test_a_shift_of_all_rewards_leaves_variances() -> None:
    tasks = WeeklyExam(), WeeklyExam(reward_shift=10.0)
    policy = random_policy(tasks[0], 7)
    plain, shifted = (target_moments(Process.of(task, policy), MONTE_CARLO).variance for task in tasks)
    np.testing.assert_allclose(plain, shifted, rtol=0, atol=1e-10)  # of returns of 160


def test_rewards_on_another_scale() -> None:
    task, policy = WeeklyExam(), random_policy(WeeklyExam(), 8)
    plain, scaled = Process.of(task, policy, GAMMA), Process.of(task, policy, GAMMA, reward_scale=4.0)
    np.testing.assert_allclose(plain.value / 4, scaled.value, rtol=0, atol=1e-12)
    variances = [target_moments(process, MONTE_CARLO).variance for process in (plain, scaled)]
    np.testing.assert_allclose(variances[0] / 16, variances[1], rtol=0, atol=1e-12)


def test_a_v_of_another_shape_is_refused() -> None:
    process = Process.of(WeeklyExam(), "uniform")
    for given in (np.zeros(5), np.zeros((17, 11, 5, 2)), np.zeros((16, 11, 5))):
        with pytest.raises(UserError, match=r"V has the shape .*: this world needs \(16, 11, 5, 2\)"):
            target_moments(process, TD0, given)
    values = np.zeros((16, 11, 5, 2))
    values[3, 2, 1, 0] = np.nan
    with pytest.raises(UserError, match=r"V is not finite in 1 state, first at \(3, 2, 1, 0\)"):
        target_moments(process, TD0, values)


@pytest.mark.parametrize("given", ["V", None, [[1.0, 2.0], [3.0]], np.zeros(19, dtype=complex), {"value": 0}])
def test_a_v_without_numbers_is_refused(given: object) -> None:
    with pytest.raises(UserError, match="V is no array of real numbers"):
        target_moments(Process.of(RandomWalk(), "uniform", 0.9), TD0, given)  # type: ignore[arg-type]


@pytest.mark.parametrize("gamma", [-0.1, 1.1, np.nan, np.inf])
def test_a_discount_that_is_none_is_refused(gamma: float) -> None:
    with pytest.raises(UserError, match=r"must lie in \[0, 1\]"):
        Process.of(RandomWalk(), "uniform", gamma)


@pytest.mark.parametrize(
    ("task", "policy", "message"),
    [
        (CartPole(), "uniform", "CartPole has no model of finitely many states"),
        (WeeklyExam(pay="final"), "uniform", "use task.pay=weekly"),
        (WeeklyExam(), np.full((3, 4), 0.25), r"no table .* \(16, 11, 5, 2, 4\): its shape is \(3, 4\)"),
        (RandomWalk(), [[0.5, 0.5], [1.0]], r"no table .* \(19, 2\): its rows have different lengths"),
        (RandomWalk(), None, "it has no numbers"),
        (RandomWalk(), lambda _: np.full((3, 2), 0.5), r"what it returns .* is not of shape \(19, 2\)"),
        (RandomWalk(), lambda _: "left", r"what it returns .* is not of shape \(19, 2\)"),
        (WeeklyExam(), np.full(4, 0.3), "must be at least 0 and sum to 1"),
        (WeeklyExam(), "greedy", "unknown policy 'greedy'"),
        (WeeklyExam(observe_last_score=True), lambda seen: seen.T, "a policy that sees the score has no exact value"),
        (RandomWalk(), (np.arange(19) < 10).astype(int), "an episode of this policy need not end"),
    ],
)
def test_what_cannot_be_exact_is_refused_in_one_line(task: ExactTask, policy: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Process.of(task, policy).value  # type: ignore[arg-type]  # noqa: B018
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [{}, {"gae_lambda": 0.5, "n_step": 2}, {"gae_lambda": 1.5}, {"gae_lambda": -0.1}, {"n_step": 0}]
)
def test_a_target_that_is_none(given: dict[str, float]) -> None:
    with pytest.raises(UserError):
        Target(**given)  # type: ignore[arg-type]
