"""Measured bias against the closed forms for a wrong critic, and what follows for the gradient."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.config.parse import option
from bench.lab.advantages import Errors, Estimates, control_coefficient, error_estimates, errors
from bench.lab.anchors import Anchors, anchors_at, continuations
from bench.lab.estimators import Batches, Variant
from bench.lab.policies import TableCritic, table_of
from bench.lab.simulate import RewardProcess
from bench.lab.truth import exact_truth, solution
from bench.tasks.weekly_exam import WEEKS, WeeklyExam
from tests.lab.conftest import arm, bonferroni, policy_of

GAMMA = 0.95
FUTURES = 500
STEPS = (0, 3, 7, 11, 14, 15)
LAMBDAS = (0.0, 0.5, 0.9, 0.95, 1.0)


class Case:
    """Estimates of a policy's advantages on the weekly exam under a critic whose error is known."""

    def __init__(self) -> None:
        self.arm = arm("weekly_exam", "critic", "gae", f"gamma={GAMMA}")
        policy = policy_of(self.arm)
        assert isinstance(policy.task, WeeklyExam)
        self.task, rng = policy.task, np.random.default_rng(1)
        self.table = table_of(self.task, policy)
        solved = solution(self.task, policy, GAMMA)
        self.error = rng.normal(0, 0.3, solved.value.shape)
        critic = TableCritic(self.task, solved.value + self.error)
        process = RewardProcess(policy, GAMMA)
        pool = process.from_start(rng, 200)
        self.anchors = [anchors_at(policy, pool, step, 6, 0, rng) for step in STEPS]
        self.truth = [exact_truth(self.task, solved, at) for at in self.anchors]
        self.batches, self.returns = [], []
        for at in self.anchors:
            after = continuations(process, at, FUTURES, rng)
            self.returns.append(after.returns(GAMMA).reshape(6, 4, FUTURES))
            past = at.prefix.take(np.repeat(np.arange(6), 4 * FUTURES))
            self.batches.append(Batches.of(after.after(past, at.step), 1, {"wrong": critic}))

    def estimates(self, **settings: object) -> list[Estimates]:
        variant = Variant(replace(self.arm, **settings), "wrong")
        samples = [
            batches.advantages(variant)[at.step].numpy().reshape(6, 4, FUTURES, 1)
            for batches, at in zip(self.batches, self.anchors, strict=True)
        ]
        return [Estimates.of(x, returns) for x, returns in zip(samples, self.returns, strict=True)]

    def scores(self, estimates: list[Estimates], expected: list[np.ndarray]) -> np.ndarray:
        """z of every state and action."""
        return np.concatenate(
            [
                ((e.mean - truth.advantage - bias) / np.sqrt(e.mean_error)).ravel()
                for e, truth, bias in zip(estimates, self.truth, expected, strict=True)
            ]
        )


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


class Chain:
    """The weekly exam's states over time as one Markov chain: S = weeks × states, and nothing after the last week."""

    def __init__(self, case: Case) -> None:
        model = case.task.model
        self.states = len(model.reward)
        size = WEEKS * self.states
        policy = case.table.reshape(WEEKS, self.states, -1)
        self.after = np.zeros((size, policy.shape[2], size))  # P_a
        for week in range(WEEKS - 1):
            rows = slice(week * self.states, (week + 1) * self.states)
            columns = slice((week + 1) * self.states, (week + 2) * self.states)
            self.after[rows, :, columns] = model.transition.transpose(1, 0, 2)
        self.matrix = np.einsum("sa,sat->st", policy.reshape(size, -1), self.after)
        self.error = case.error.reshape(size)

    def index(self, anchors: Anchors) -> np.ndarray:
        week, level, fatigue, brother = anchors.states.astype(int)
        return week * self.states + np.ravel_multi_index((level, fatigue, brother), (11, 5, 2))

    def bias(self, anchors: Anchors, of_successors: np.ndarray) -> np.ndarray:
        """−e(s) + P_a x for every action, (M, A)."""
        rows = self.index(anchors)
        return -self.error[rows][:, None] + self.after[rows] @ of_successors


@pytest.fixture(scope="module")
def chain(case: Case) -> Chain:
    return Chain(case)


def check(scores: np.ndarray, tests: int) -> None:
    assert np.abs(scores).max() < bonferroni(tests, 0.01)
    assert 0.001 < stats.chi2.sf(np.square(scores).sum(), len(scores)) < 0.999


TESTS = (len(LAMBDAS) + 3) * len(STEPS) * 24


@pytest.mark.parametrize("gae_lambda", LAMBDAS)
def test_the_bias_of_gae_is_its_closed_form(case: Case, chain: Chain, gae_lambda: float) -> None:
    """−e(s) + γ(1 − λ) P_a (I − γλP)⁻¹ e."""
    inverse = np.linalg.solve(np.eye(len(chain.matrix)) - GAMMA * gae_lambda * chain.matrix, chain.error)
    expected = [chain.bias(at, GAMMA * (1 - gae_lambda) * inverse) for at in case.anchors]
    check(case.scores(case.estimates(gae_lambda=gae_lambda), expected), TESTS)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_bias_of_n_steps_is_its_closed_form(case: Case, chain: Chain, n: int) -> None:
    """−e(s) + γⁿ P_a Pⁿ⁻¹ e."""
    ahead = np.linalg.matrix_power(chain.matrix, n - 1) @ chain.error
    expected = [chain.bias(at, GAMMA**n * ahead) for at in case.anchors]
    nstep = option("advantage", "nstep")
    check(case.scores(case.estimates(advantage=nstep, n_step=n), expected), TESTS)


def test_another_form_would_be_noticed(case: Case, chain: Chain) -> None:
    """The measurement has the power to refute: λ = .9 does not have the bias of λ = .5."""
    inverse = np.linalg.solve(np.eye(len(chain.matrix)) - GAMMA * 0.5 * chain.matrix, chain.error)
    expected = [chain.bias(at, GAMMA * 0.5 * inverse) for at in case.anchors]
    scores = case.scores(case.estimates(gae_lambda=0.9), expected)
    assert stats.chi2.sf(np.square(scores).sum(), len(scores)) < 1e-10


def test_the_action_dependent_bias_of_monte_carlo_is_zero(case: Case) -> None:
    """Its bias −e(s) is there and harmless; that of TD depends on the action.

    With its own returns as the control variate, nothing of it is left to be measured.
    """
    found, controlled = {}, {}
    for name in ("monte_carlo", "td0"):
        said = case.estimates(advantage=option("advantage", name))
        coefficient = control_coefficient([(each, at.weights) for each, at in zip(said, case.anchors, strict=True)])
        for kept, factor in ((found, 0.0), (controlled, coefficient)):
            compared = zip(said, case.truth, case.anchors, strict=True)
            by_step = [errors(each, truth, at.weights, at.drawn, factor) for each, truth, at in compared]
            kept[name] = Errors.concatenate(by_step)
    action, state = found["monte_carlo"].action_bias, found["monte_carlo"].state_bias
    assert abs(action.mean()) < 4 * action.std(ddof=1) / np.sqrt(len(action))
    assert state.mean() > 2.5 * state.std(ddof=1) / np.sqrt(len(state))
    assert np.abs(controlled["monte_carlo"].action_bias).max() < 1e-12
    biased = found["td0"].action_bias
    assert biased.mean() > 4 * biased.std(ddof=1) / np.sqrt(len(biased))
    both = controlled["td0"].action_bias - biased  # the same bias, known better
    assert abs(both.mean()) < 4 * both.std(ddof=1) / np.sqrt(len(both))


@pytest.mark.parametrize("gae_lambda", [0.0, 0.9])
def test_the_control_variate_moves_no_expectation(case: Case, chain: Chain, gae_lambda: float) -> None:
    """The controlled mean, E X − c Q, against the closed form of the bias; its error is told right, and smaller."""
    inverse = np.linalg.solve(np.eye(len(chain.matrix)) - GAMMA * gae_lambda * chain.matrix, chain.error)
    said = case.estimates(gae_lambda=gae_lambda)
    coefficient = control_coefficient([(each, at.weights) for each, at in zip(said, case.anchors, strict=True)])
    z, gain = [], []
    for each, truth, at in zip(said, case.truth, case.anchors, strict=True):
        means, noise = each.controlled(coefficient)
        bias = chain.bias(at, GAMMA * (1 - gae_lambda) * inverse)
        expected = truth.advantage + bias - coefficient * truth.q_values
        z.append(((means - expected) / np.sqrt(noise)).ravel())
        gain.append((at.weights * noise).sum() / (at.weights * each.mean_error).sum())
    check(np.concatenate(z), 2 * len(STEPS) * 24)
    assert np.mean(gain) < 0.9


@pytest.mark.parametrize(("size", "told"), [(1e4, False), (1.1e-16, False), (9e-17, True)])
def test_what_rounding_leaves_of_advantages_has_no_shares(size: float, told: bool) -> None:
    """E A² of 1e-28, well known: a share of it where E Q² is less than 1e12 times as large, else nothing is."""
    signal = 1e-28 * np.array([0.99, 1.01, 1.0, 1.0])
    found = Errors(signal, signal, 0 * signal, 2 * signal, signal)
    estimates = error_estimates(found, np.zeros(4), size)
    assert estimates["signal"].quantity.low > 0
    for name, share in (("relative_bias", 1.0), ("relative_variance", 2.0)):
        assert np.isfinite(estimates[name].value) == told
        assert not told or estimates[name].value == pytest.approx(share)
