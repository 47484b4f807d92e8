"""The exam question against closed forms, in points, worked out from its definition in docs/tasks.md."""

import numpy as np
import pytest

import bench
from bench.tasks.exam_question import ExamQuestion

# Mean points by brother, difficulty and answer (guess, recall, reason, gamble), and the luck's standard deviation.
POINTS = np.array([[[70, 90, 85, 85], [65, 75, 85, 80]], [[20, 60, 50, 50], [10, 30, 50, 40]]])
LUCK = np.array([8, 8, 8, 30])


def softmax(logits: np.ndarray) -> np.ndarray:
    weight = np.exp(logits)
    return weight / weight.sum(-1, keepdims=True)


@pytest.fixture
def task() -> ExamQuestion:
    return ExamQuestion()


@pytest.fixture(params=range(3))
def policy(request: pytest.FixtureRequest) -> np.ndarray:
    return softmax(np.random.default_rng(request.param).normal(size=(2, 2, 4), scale=1.5))


def test_the_named_policies(task: ExamQuestion) -> None:
    assert task.solve("uniform").objectives == pytest.approx({"elder": 0.79375, "younger": 0.3875}, abs=1e-12)
    assert task.solve().objectives == pytest.approx({"elder": 0.875, "younger": 0.55}, abs=1e-12)


@pytest.mark.parametrize(
    ("answers", "random", "reference"), [("four", (79.375 + 38.75) / 200, (87.5 + 55) / 200), ("two", 0.5, 1.0)]
)
def test_the_bounds_of_the_score_are_the_exact_ones(answers: str, random: float, reference: float) -> None:
    score = bench.compose(["task=exam_question", f"task.answers={answers}"]).task.score
    assert (score.random, score.reference) == (random, reference)


def test_values(task: ExamQuestion, policy: np.ndarray) -> None:
    solution = task.solve(policy)
    np.testing.assert_allclose(solution.q_values[0], POINTS / 100, rtol=0, atol=1e-14)
    np.testing.assert_allclose(solution.value[0], (policy * POINTS).sum(-1) / 100, rtol=0, atol=1e-14)


def test_the_gradient_is_a_probability_times_an_advantage(task: ExamQuestion, policy: np.ndarray) -> None:
    """Of the mean over four contexts, each with a quarter of the weight."""
    expected = policy * (POINTS - (policy * POINTS).sum(-1, keepdims=True)) / 400
    gradients = task.gradients(policy)
    np.testing.assert_allclose(np.mean(list(gradients.values()), axis=0)[0], expected, rtol=0, atol=1e-15)
    # A brother's own expected gradient: his two contexts, each with half the weight.
    np.testing.assert_allclose(gradients["younger"][0], expected * [[[0]], [[2]]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("baseline", ["none", "value", "wrong"])
def test_the_gradients_variance_by_enumeration(task: ExamQuestion, policy: np.ndarray, baseline: str) -> None:
    """E‖ĝ‖² - ‖E ĝ‖² with every gradient written out, answer by answer; the luck adds its own second moment."""
    value = (policy * POINTS).sum(-1) / 100
    fixed = {"none": np.zeros((2, 2)), "value": value, "wrong": value + np.array([[0.3, -0.2], [0.1, 0.7]])}[baseline]
    measured = task.context_variance(policy, fixed)
    for context in np.ndindex(2, 2):
        pi = policy[context]
        directions = np.eye(4) - pi  # ∇log π(a), a row for each answer
        excess = POINTS[context] / 100 - fixed[context]
        second = pi @ ((directions**2).sum(-1) * (excess**2 + (LUCK / 100) ** 2))
        mean = (pi * excess) @ directions
        assert measured[context] == pytest.approx(second - mean @ mean, abs=1e-14)


def test_a_value_baseline_divides_the_variance_and_leaves_the_brothers_shares(task: ExamQuestion) -> None:
    value = task.solve("uniform").value
    assert task.context_variance("uniform").mean(-1).round(4).tolist() == [0.4965, 0.1471]
    assert task.context_variance("uniform", value).mean(-1).round(4).tolist() == [0.0232, 0.0316]
    assert task.gradient_shares("uniform") == pytest.approx({"elder": 1 / 3, "younger": 2 / 3}, abs=1e-12)
    without, with_value = task.variance_shares("uniform"), task.variance_shares("uniform", value)
    assert without["elder"] > 0.75
    assert with_value["elder"] < 0.45


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_two_answers(p: float) -> None:
    """J = p, its gradient by the right answer's logit p(1 - p), and the variances of one sample for several b."""
    task = ExamQuestion(answers="two")
    policy = np.array([1 - p, p])
    assert task.solve(policy).objective == pytest.approx(p, abs=1e-15)
    gradient = task.gradients(policy)["student"].ravel()
    np.testing.assert_allclose(gradient, [-p * (1 - p), p * (1 - p)], rtol=0, atol=1e-15)
    # By one logit, p = σ(θ); the table has two, whose gradients are opposite: twice the variance.
    one_logit = {
        0.0: p * (1 - p) ** 3,
        p: p * (1 - p) ** 4 + (1 - p) * p**4 - (p * (1 - p)) ** 2,
        1 - p: 0.0,
    }
    for baseline, variance in one_logit.items():
        assert task.context_variance(policy, baseline)[0, 0] == pytest.approx(2 * variance, abs=1e-14)


def test_simulated_scores(task: ExamQuestion) -> None:
    n = 40_000
    rng = np.random.default_rng(3)
    state = task.start(rng, n)
    start, observation = state.astype(int), task.observe(state)
    answers = rng.integers(4, size=n)
    transition = task.step(state, answers, task.noise(rng, n))
    assert transition.terminated.all()
    for context in np.ndindex(2, 2):
        here = (start[1:] == np.array(context)[:, None]).all(axis=0)
        assert abs(here.mean() - 1 / 4) < 4 * np.sqrt(3 / 16 / n)
        assert observation[:, here].mean(axis=1).tolist() == np.eye(4)[2 * context[0] + context[1]].tolist()
        for answer in range(4):
            sample = 100 * transition.reward[here & (answers == answer)]
            assert abs(sample.mean() - POINTS[(*context, answer)]) < 4 * LUCK[answer] / np.sqrt(sample.size)
            assert abs(sample.std() / LUCK[answer] - 1) < 4 / np.sqrt(2 * sample.size)
    assert not task.observe(transition.state).any()


def test_kinds_are_the_brothers(task: ExamQuestion) -> None:
    assert list(task.model.starts) == ["elder", "younger"]
    assert task.kind(np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1]])).tolist() == [1, 0, 1]
