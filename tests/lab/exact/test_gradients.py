"""Gradients of one episode: finite differences, closed forms, and training's own backward pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from bench.lab.estimators import scores as training_scores
from bench.lab.exact.arms import gradient_of
from bench.lab.exact.gradients import gradient
from bench.lab.exact.process import Process
from bench.lab.exact.scores import LogitScores, NetworkScores, scores_of
from bench.lab.exact.targets import MONTE_CARLO, TD0, Target, target_moments
from bench.lab.policies import NetworkPolicy
from bench.lab.true_gradient import through_network
from bench.tasks.delayed_exam import DelayedExam
from bench.tasks.exact import ExactTask, solve
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.random_walk import RandomWalk
from bench.tasks.weekly_exam import WeeklyExam
from tests.lab.conftest import arm, policy_of
from tests.lab.exact.worlds import WORLDS, random_critic, random_policy


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_the_expected_gradient_of_full_returns_is_that_of_finite_differences(world: str, gamma: float) -> None:
    """Steps weighted γᵗ: ∂J/∂logits, in directions of all logits at once; any baseline leaves it."""
    task = WORLDS[world]()
    logits = np.log(random_policy(task, 0))
    process = Process.of(task, softmax(logits, -1), gamma)
    target = target_moments(process, MONTE_CARLO)
    baseline = random_critic(process, 1)
    found = gradient(process, LogitScores(process), target, baseline, state_gamma=gamma).expected
    rng = np.random.default_rng(2)
    for _ in range(3):
        direction = rng.normal(size=logits.shape)
        up, down = (task.solve(softmax(logits + h * direction, -1), gamma).objective for h in (1e-5, -1e-5))
        assert (found * direction.ravel()).sum() == pytest.approx((up - down) / 2e-5, abs=1e-6)


def _network_objective(policy: NetworkPolicy, task: ExactTask, parameters: np.ndarray, gamma: float) -> float:
    """J of the network with these parameters, worked out in double precision, layer by layer."""
    x, at = policy.actor.seen(torch.from_numpy(task.observe(task.states())).unsqueeze(0))[0].double().numpy(), 0
    shapes = policy.actor.stack.shapes
    for place in range(0, len(shapes), 2):
        (outs, ins), _ = shapes[place : place + 2]
        weight, bias = parameters[at : at + outs * ins].reshape(outs, ins), parameters[at + outs * ins :][:outs, None]
        at += outs * (ins + 1)
        x = weight @ x + bias
        if place + 2 < len(shapes):
            x = np.tanh(x)
    table = softmax(x.T, -1).reshape(*task.model.table, -1)
    return solve(task.model, table, gamma).objective


@pytest.mark.parametrize(
    ("world", "knobs"),
    [
        ("weekly_exam", []),
        ("weekly_exam", ["task.hide_fatigue=true"]),  # states that look alike share what they are told
        ("exam_question", []),
        ("random_walk", []),
        ("delayed_exam", []),
        ("delayed_exam", ["task.hidden=true"]),
    ],
)
def test_a_networks_gradient_is_that_of_finite_differences_of_its_parameters(world: str, knobs: list[str]) -> None:
    gamma = 0.9
    policy = policy_of(arm(world, "critic", "gae", f"gamma={gamma}", "hidden=[8,8]", *knobs))
    task = policy.task
    assert isinstance(task, ExactTask)
    process = Process.of(task, policy, gamma)
    target = target_moments(process, MONTE_CARLO)
    found = gradient(process, scores_of(process, policy), target, state_gamma=gamma).expected
    parameters = policy.actor.stack.flat[0].double().numpy()
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.normal(size=parameters.shape)
        up, down = (_network_objective(policy, task, parameters + h * direction, gamma) for h in (1e-5, -1e-5))
        assert (found * direction).sum() == pytest.approx((up - down) / 2e-5, abs=1e-6)


@pytest.mark.parametrize("hidden", ["hidden=[8,8]", "hidden=[7,5]"])
@pytest.mark.parametrize("world", ["weekly_exam", "random_walk"])
def test_a_networks_scores_are_those_of_trainings_backward_pass(world: str, hidden: str) -> None:
    policy = policy_of(arm(world, "critic", "gae", hidden))
    assert isinstance(policy.task, ExactTask)
    process = Process.of(policy.task, policy)
    scores, rng = NetworkScores(process, policy), np.random.default_rng(1)
    coefficients = rng.normal(size=process.shape)
    backward = through_network(policy, policy.task.states(), coefficients)
    np.testing.assert_allclose(scores.gradient(coefficients[None]), backward, rtol=0, atol=1e-10)
    np.testing.assert_allclose(scores.step_gradients(coefficients[None]).sum(1), backward, rtol=0, atol=1e-10)

    flat = rng.choice(process.shape[0] * process.shape[1], 12)
    states = policy.task.states()[:, flat]
    for action in range(process.shape[2]):
        psi = training_scores(policy, states, torch.full((1, 12), action)).numpy()  # single precision
        found = scores.lengths.reshape(-1, process.shape[2])[flat, action]
        np.testing.assert_allclose(found, np.square(psi).sum(1), rtol=1e-4, atol=1e-6)


def test_products_of_logits_gradients_are_those_of_their_gradients() -> None:
    policy = policy_of(arm("weekly_exam", "critic", "gae", "hidden=[5,6]"))
    assert isinstance(policy.task, ExactTask)
    process = Process.of(policy.task, policy)
    scores = NetworkScores(process, policy)
    left, right = (3, np.array([0, 17, 40])), (9, np.array([17, 90]))

    def each(rows: tuple[int, np.ndarray]) -> np.ndarray:
        found = []
        for state in rows[1]:
            for action in range(process.shape[2]):
                coefficients = np.zeros((1, *process.shape))
                coefficients[0, rows[0], state, action] = 1
                found.append(scores.gradient(coefficients)[0])
        return np.stack(found)

    expected = each(left) @ each(right).T
    products = scores.products(left, right)
    assert products is not None
    np.testing.assert_allclose(products.reshape(expected.shape), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores.products(left, left)[[0, 1, 2], :, [0, 1, 2]], scores.own()[left], atol=1e-12)


def points(context: int) -> np.ndarray:
    """What the four answers score on average, in each of the four contexts: as the exam question's page has them."""
    easy, hard = np.array([-5.0, 15, 10, 10]), np.array([-10.0, 0, 10, 5])
    return [75 + easy, 75 + hard, 30 + 2 * easy, 30 + 2 * hard][context]


@pytest.mark.parametrize(("baseline", "printed"), [("none", (0.4965, 0.1471)), ("value", (0.0232, 0.0316))])
def test_one_answers_variance_is_its_closed_form(baseline: str, printed: tuple[float, float]) -> None:
    """Given the context: Σ_a π ‖∇log π‖² ((r − b)² + luck²) less ‖Σ_a π (r − b) ∇log π‖², for the uniform policy."""
    process = Process.of(ExamQuestion(), "uniform")
    critic = process.solution.value if baseline == "value" else 0.0
    found = gradient(process, LogitScores(process), target_moments(process, MONTE_CARLO), critic)
    of_context = found.second - np.square(found.mean).sum(1)
    luck = np.array([0.08, 0.08, 0.08, 0.30])
    for context in range(4):
        reward = points(context) / 100
        excess = reward - (reward.mean() if baseline == "value" else 0)
        directions = np.eye(4) - 0.25  # ∇log π of each answer
        second = (0.25 * np.square(directions).sum(1) * (excess**2 + luck**2)).sum()
        mean = 0.25 * (excess[:, None] * directions).sum(0)
        assert of_context[context] == pytest.approx(second - mean @ mean, abs=1e-10)
    assert of_context.reshape(2, 2).mean(1) == pytest.approx(printed, abs=5e-5)


@pytest.mark.parametrize(("p", "size"), [(0.1, 4), (0.3, 8), (0.5, 8), (0.9, 64)])
def test_two_answers_have_the_closed_forms_of_groups(p: float, size: int) -> None:
    """True gradient by the right answer's logit p(1 − p); variances for one group, by both logits (twice by one)."""
    process = Process.of(ExamQuestion(answers="two"), np.array([1 - p, p]))
    scores, true = LogitScores(process), p * (1 - p)
    plain = arm("exam_question", "none", "monte_carlo", "task.answers=two")
    group = replace(plain.group, groups=1, size=size)
    none = gradient_of(process, scores, replace(plain, group=group))
    assert none.expected == pytest.approx([-true, true], abs=1e-12)
    assert none.variance == pytest.approx(2 * p * (1 - p) ** 3 / size, abs=1e-12)
    value = gradient(process, scores, target_moments(process, MONTE_CARLO), p)
    assert value.batch_variance(1, size) == pytest.approx(
        2 * (p * (1 - p) ** 4 + (1 - p) * p**4 - true**2) / size, abs=1e-12
    )
    for name, factor in (("group", 1 - 1 / size), ("rloo", 1.0)):
        other = arm("exam_question", name, "monte_carlo", "task.answers=two")
        found = gradient_of(process, scores, replace(other, group=replace(other.group, groups=1, size=size)))
        assert found.expected == pytest.approx([-factor * true, factor * true], abs=1e-12)


def test_a_critic_leaves_the_brothers_shares_of_what_is_learned_and_moves_those_of_the_noise() -> None:
    """Shares 1/3 and 2/3 in the exam question: everything counts double for the younger brother."""
    process = Process.of(ExamQuestion(), "uniform")
    target, scores = target_moments(process, MONTE_CARLO), LogitScores(process)
    for critic in (0.0, process.solution.value, random_critic(process, 0)):
        kinds = gradient(process, scores, target, critic).by_kind
        lengths = [np.linalg.norm(kinds[name].mean) for name in ("elder", "younger")]
        assert lengths[0] / sum(lengths) == pytest.approx(1 / 3, abs=1e-12)
    noise = [gradient(process, scores, target, critic).by_kind["elder"].variance for critic in (0.0, 0.5)]
    assert noise[0] > 2 * noise[1]


def test_the_variance_of_a_batch_is_one_episodes_share_of_it() -> None:
    """Where episodes begin in one state, and where each begins for itself, N episodes have 1/N of the variance."""
    walk = Process.of(RandomWalk(), random_policy(RandomWalk(), 1), 0.9)
    of_walk = gradient(walk, LogitScores(walk), target_moments(walk, TD0, walk.solution.value), walk.solution.value)
    assert of_walk.batch_variance(4, 8) == pytest.approx(of_walk.variance / 32, rel=1e-12)
    weekly = Process.of(WeeklyExam(), random_policy(WeeklyExam(), 1), 0.9)
    of_weekly = gradient(weekly, LogitScores(weekly), target_moments(weekly, MONTE_CARLO))
    assert of_weekly.batch_variance(32, 1) == pytest.approx(of_weekly.variance / 32, rel=1e-12)
    assert of_weekly.batch_variance(4, 8) > of_weekly.variance / 32  # whole groups are of one brother


def test_a_world_with_and_without_a_step_axis_has_the_same_variances() -> None:
    """The delayed exam's weeks are states, so that it is solved as a linear system; as a table with steps, too."""
    task = DelayedExam(delay=3)
    policy = random_policy(task, 2)
    plain = Process.of(task, policy, 0.9)
    weeks, chosen = task.model.shape
    stepped = replace(plain, model=_stepped(task), policy=np.stack([plain.policy[0]] * weeks))
    values = np.random.default_rng(0).normal(size=(1, weeks * chosen))
    for target in (TD0, Target(gae_lambda=0.8), Target(n_step=2), MONTE_CARLO):
        found = []
        for process, table in ((plain, values.reshape(weeks, chosen)), (stepped, np.repeat(values, weeks, 0))):
            moments = target_moments(process, target, table)
            found.append(gradient(process, LogitScores(process), moments, table, 0.9).second)
        np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-12)


def _stepped(task: DelayedExam) -> object:
    model = task.model
    return replace(model, horizon=task.horizon, shape=(len(model.reward),))
