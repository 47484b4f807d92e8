"""The solver against finite differences, simulation, closed forms and brute force, on every exact world."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

from bench.errors import UserError
from bench.learner.actor import Actor
from bench.learner.distributions import Categorical
from bench.learner.network import Stack
from bench.learner.normalisation import RunningMeanStd
from bench.tasks.delayed_exam import DelayedExam
from bench.tasks.exact import ExactTask, Model, gradient_variance, policy_gradient, shares, solve
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.random_walk import RandomWalk
from bench.tasks.weekly_exam import WeeklyExam, WeeklyExamCheat
from tests.tasks.simulation import simulate, standard_errors, totals

WORLDS: dict[str, Callable[[], ExactTask]] = {
    "weekly_exam": WeeklyExam,
    "weekly_exam_cheat": WeeklyExamCheat,
    "lucky_shifted_capped": lambda: WeeklyExam(luck=2.0, reward_shift=-0.5, reward_cap=0.8),
    "paid_last": lambda: WeeklyExam(pay="final"),
    "exam_question": ExamQuestion,
    "two_answers": lambda: ExamQuestion(answers="two"),
    "random_walk": RandomWalk,
    "delayed_exam": DelayedExam,
    "at_once": lambda: DelayedExam(delay=0, luck=0.0),
    "long_hidden": lambda: DelayedExam(delay=40, luck=2.0, hidden=True),
}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> ExactTask:
    return WORLDS[request.param]()


def random_logits(task: ExactTask, seed: int = 0) -> np.ndarray:
    """Large where an episode has a horizon, small where a strange policy might walk in circles for ages."""
    scale = 0.3 if task.model.horizon is None else 1.0
    return np.random.default_rng(seed).normal(size=(*task.model.table, task.model.n_actions), scale=scale)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["uniform", "optimal", "random", "soft"])
def test_a_hundred_thousand_episodes_have_the_exact_mean(world: ExactTask, policy: str) -> None:
    if policy == "soft":
        table = world.solve(reference="uniform", kl_coef=0.1).policy
    elif policy == "random":
        table = softmax(random_logits(world), axis=-1)
    else:
        table = world.solve(policy).policy
    kinds, returns, _ = totals(world, table, 100_000, seed=len(policy), gamma=0.9)
    for place, (kind, expected) in enumerate(world.solve(table, 0.9).objectives.items()):
        sample = returns[kinds == place]
        if sample.std() < 1e-12:  # nothing is left to chance
            assert sample.mean() == pytest.approx(expected, abs=1e-12)
        else:
            assert abs(standard_errors(sample, expected)) < 4, kind


@pytest.mark.parametrize("world", [name for name in WORLDS if name != "paid_last"], indirect=True)
def test_visits_and_rewards_make_up_the_objective(world: ExactTask) -> None:
    model, policy = world.model, softmax(random_logits(world), axis=-1)
    reward = np.broadcast_to(model.reward.reshape(*model.shape, -1), policy.shape)
    for kind, expected in world.solve(policy, 0.9).objectives.items():
        visits = world.visits(policy, 0.9, kind)
        assert (visits[..., None] * policy * reward).sum() == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(
        np.mean([world.visits(policy, 0.9, kind) for kind in model.starts], axis=0),
        world.visits(policy, 0.9),
        rtol=0,
        atol=1e-14,
    )


def test_undiscounted_visits_add_up_to_the_length_of_an_episode() -> None:
    assert WeeklyExam().visits("uniform").sum() == pytest.approx(16)
    assert ExamQuestion().visits("uniform").sum() == pytest.approx(1)
    assert RandomWalk().visits("uniform").sum() == pytest.approx(100)  # 10 * 10: the gambler's duration


def test_visits_are_counted(world: ExactTask) -> None:
    policy, n = softmax(random_logits(world, 1), axis=-1), 4000
    visits = world.visits(policy).ravel()
    episodes = simulate(world, policy, n, seed=2)
    steps, columns = np.nonzero(episodes.live)
    counts = np.zeros((n, visits.size))
    np.add.at(counts, (columns, episodes.places[steps, columns]), 1)
    often = visits > 0.01  # enough of them for a normal bound
    error = counts.std(axis=0)[often] / np.sqrt(n)
    differences = np.abs(counts.mean(axis=0) - visits)[often]
    assert (differences <= 5 * error + 1e-12).all()


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_gradient_is_that_of_finite_differences(world: ExactTask, gamma: float) -> None:
    logits = random_logits(world)
    gradient = policy_gradient(world.model, softmax(logits, axis=-1), gamma)
    largest = np.argsort(np.abs(gradient), axis=None)[-4:]
    others = np.random.default_rng(0).integers(gradient.size, size=4)
    for place in map(tuple, np.transpose(np.unravel_index([*largest, *others], gradient.shape))):
        sides = []
        for change in (1e-5, -1e-5):
            moved = logits.copy()
            moved[place] += change
            sides.append(world.solve(softmax(moved, axis=-1), gamma).objective)
        assert gradient[place] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-9)


def test_the_gradient_against_a_reference_is_that_of_finite_differences() -> None:
    task, logits, reference = (
        WeeklyExam(),
        random_logits(WeeklyExam()),
        softmax(random_logits(WeeklyExam(), 1), axis=-1),
    )

    def objective(logits: np.ndarray) -> float:
        return task.solve(softmax(logits, axis=-1), 0.95, reference=reference, kl_coef=0.2).objective

    gradient = policy_gradient(task.model, softmax(logits, axis=-1), 0.95, reference=reference, kl_coef=0.2)
    for place in map(tuple, np.transpose(np.unravel_index(np.argsort(np.abs(gradient), axis=None)[-4:], logits.shape))):
        up, down = logits.copy(), logits.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        assert gradient[place] == pytest.approx((objective(up) - objective(down)) / 2e-5, abs=1e-9)


@pytest.mark.parametrize("state_gamma", [1.0, 0.9])
def test_undiscounted_state_weights_are_another_direction(state_gamma: float) -> None:
    """The mean of Σ_t w^t ∇log π(a_t | s_t) (G_t - b) over simulated episodes, entry by entry, for w = 1 and w = γ."""
    task, policy = RandomWalk(), softmax(random_logits(RandomWalk(), 3), axis=-1)
    gradient = policy_gradient(task.model, policy, 0.9, state_gamma=state_gamma)
    n = 4000
    episodes = simulate(task, policy, n, seed=4)
    excess = episodes.returns(0.9) - task.solve(policy, 0.9).value[episodes.places]
    weight = state_gamma ** np.arange(len(excess))[:, None] * episodes.live * excess
    samples = np.zeros((n, 19, 2))
    for t, (places, actions) in enumerate(zip(episodes.places, episodes.actions, strict=True)):
        direction = np.eye(2)[actions] - policy[places]
        np.add.at(samples, (np.arange(n), places), weight[t][:, None] * direction)
    often = task.visits(policy) > 0.05  # enough of them for a normal bound
    mean, error = samples.mean(axis=0)[often], samples.std(axis=0)[often] / np.sqrt(n)
    assert (np.abs(mean - gradient[often]) <= 4.5 * error).all()
    other = policy_gradient(task.model, policy, 0.9, state_gamma=1.9 - state_gamma)[often]
    assert (np.abs(mean - other) > 4.5 * error).any(), "the test should tell them apart"


@pytest.mark.parametrize("world", ["weekly_exam", "weekly_exam_cheat", "lucky_shifted_capped"], indirect=True)
@pytest.mark.parametrize("baseline", ["none", "value"])
def test_the_gradients_variance_is_that_of_simulated_episodes(world: ExactTask, baseline: str) -> None:
    policy, gamma, n = softmax(random_logits(world), axis=-1), 0.9, 20_000
    fixed = world.solve(policy, gamma).value if baseline == "value" else np.zeros(world.model.table)
    episodes = simulate(world, policy, n, seed=5)
    flat = policy.reshape(-1, policy.shape[-1])
    taken = flat[episodes.places]  # (T, n, A)
    direction = np.eye(flat.shape[1])[episodes.actions] - taken
    excess = episodes.returns(gamma) - fixed.ravel()[episodes.places]
    # A week's table rows are its own, so the squared norm of an episode's gradient is the sum over its weeks.
    norms = ((direction**2).sum(-1) * excess**2).sum(0)
    for place, kind in enumerate(world.model.starts):
        mean = policy_gradient(world.model, policy, gamma, state_gamma=1.0, start=kind)
        exact = gradient_variance(world.model, policy, fixed, gamma, state_gamma=1.0, start=kind)
        assert abs(standard_errors(norms[episodes.kind == place], exact + (mean**2).sum())) < 4


def test_a_state_baseline_leaves_the_brothers_shares_of_the_gradient_and_moves_those_of_the_variance() -> None:
    task = WeeklyExam()
    value = task.solve("uniform").value
    of_gradient = task.gradient_shares("uniform")
    none, critic = task.variance_shares("uniform"), task.variance_shares("uniform", value)
    for found in (of_gradient, none, critic):
        assert sum(found.values()) == pytest.approx(1)
    assert none["elder"] > 0.7  # about the square of what he earns more
    assert abs(critic["elder"] - 0.5) < 0.1
    assert np.isnan(shares({"a": 0.0, "b": 0.0})["a"])


def test_no_exact_variance_without_a_step_axis() -> None:
    with pytest.raises(ValueError, match="needs a step axis"):
        gradient_variance(RandomWalk().model, "uniform")


def backwards(task: ExactTask, reference: np.ndarray, beta: float, gamma: float, steps: int) -> np.ndarray:
    """V of `steps` steps to go, by V = β log Σ_a π_ref exp(Q/β) and nothing else."""
    model = task.model
    value = np.zeros(len(model.reward))
    for step in reversed(range(steps)):
        at = reference[step % len(reference)].reshape(len(value), -1)
        q = model.reward + gamma * np.einsum("ast,t->sa", model.transition, value)
        value = beta * logsumexp(q / beta, b=at, axis=1)
    return value


@pytest.mark.parametrize("beta", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("world", ["weekly_exam_cheat", "exam_question", "random_walk"], indirect=True)
def test_the_soft_optimum_is_the_log_sum_of_exponentials(world: ExactTask, beta: float, gamma: float) -> None:
    reference = softmax(random_logits(world, 6), axis=-1)
    solution = world.solve(gamma=gamma, reference=reference, kl_coef=beta)
    horizon = world.model.horizon
    by_step = reference if horizon is not None else reference[None]
    expected = backwards(world, by_step, beta, gamma, horizon or 4000)
    first = solution.value[0] if horizon is not None else solution.value
    np.testing.assert_allclose(first.ravel(), expected, rtol=0, atol=1e-9)
    assert np.abs(solution.advantage).max() < 1e-9  # no action is better than another
    judged = world.solve(solution.policy, gamma, reference=reference, kl_coef=beta)
    np.testing.assert_allclose(judged.value, solution.value, rtol=0, atol=1e-9)


def test_the_soft_optimum_beats_its_neighbours_and_tends_to_both_limits() -> None:
    task, reference = WeeklyExam(), softmax(random_logits(WeeklyExam(), 7), axis=-1)

    def objective(policy: np.ndarray) -> float:
        return task.solve(policy, reference=reference, kl_coef=0.1).objective

    best = task.solve(reference=reference, kl_coef=0.1)
    for seed in range(5):
        moved = softmax(np.log(best.policy) + 0.05 * random_logits(task, seed), axis=-1)
        assert objective(moved) < best.objective
    assert task.solve(reference=reference, kl_coef=1e-5).objective == pytest.approx(task.solve().objective, abs=1e-3)
    np.testing.assert_allclose(task.solve(reference=reference, kl_coef=1e6).policy, reference, rtol=0, atol=1e-5)
    assert task.solve(reference=reference).objective == task.solve().objective  # β = 0 is no reference


def test_what_the_reference_never_does() -> None:
    task = ExamQuestion()
    reference = np.array([0.5, 0.0, 0.25, 0.25])
    solution = task.solve(reference=reference, kl_coef=0.1)
    assert (solution.policy[..., 1] == 0).all()
    assert np.isfinite(solution.value).all()
    assert np.isfinite(solution.advantage).all()
    with pytest.raises(ValueError, match="the divergence is infinite"):
        task.solve("uniform", reference=reference, kl_coef=0.1)


def test_the_stationary_optimum_is_the_best_of_all_policies() -> None:
    """A small world with chance in it, every deterministic policy tried."""
    rng = np.random.default_rng(8)
    transition = 0.9 * rng.dirichlet(np.ones(4), size=(3, 4))  # a tenth of all steps end the episode
    model = Model(
        transition=transition,
        reward=rng.normal(size=(4, 3)),
        reward_variance=np.zeros((4, 3)),
        reward_to=np.zeros((3, 4, 4)),
        square_to=np.zeros((3, 4, 4)),
        horizon=None,
        shape=(4,),
        starts={"any": np.full(4, 1 / 4)},
    )
    every = [solve(model, np.array(policy)).value for policy in itertools.product(range(3), repeat=4)]
    np.testing.assert_allclose(solve(model).value, np.max(every, axis=0), rtol=0, atol=1e-12)


def test_a_function_of_observations_is_a_policy(world: ExactTask) -> None:
    """A network's, with its scale of observations: the same as the table of its probabilities, state by state."""
    width = world.observation_space.shape[0]
    stack = Stack(3, width, (5, 7), world.model.n_actions)
    stack.flat.copy_(torch.randn(stack.flat.shape, generator=torch.Generator().manual_seed(0)))
    obs_rms = RunningMeanStd(3, width)
    seen_before = torch.from_numpy(np.random.default_rng(0).normal(size=(3, width, 50)))
    obs_rms.update(seen_before, torch.ones(3, 50, dtype=torch.bool))
    actor = Actor(stack, Categorical, obs_rms)
    table = np.empty((*world.model.table, world.model.n_actions))
    for place, state in zip(np.ndindex(world.model.table), world.states().T, strict=True):
        seen = torch.from_numpy(world.observe(state[:, None])).expand(3, -1, -1)
        table[place] = actor.policy(seen).log_probs[2, :, 0].exp().numpy()
    solution = world.solve(lambda seen: actor.probabilities(seen)[2], 0.9)
    np.testing.assert_allclose(solution.policy, table, rtol=0, atol=1e-6)
    np.testing.assert_allclose(solution.policy.sum(-1), 1, rtol=0, atol=1e-15)
    assert solution.objective == pytest.approx(world.solve(solution.policy, 0.9).objective, abs=1e-15)


def test_states_are_their_own_table_index(world: ExactTask) -> None:
    states = world.states()
    flat = np.ravel_multi_index(world.index(states), world.model.table)
    np.testing.assert_array_equal(flat, np.arange(np.prod(world.model.table)))
    assert world.observations().shape == (*world.observation_space.shape, flat.size)
    starts = world.start(np.random.default_rng(0), 200)
    expected = world.model.start().reshape(world.model.shape)
    index = world.index(starts)[-len(world.model.shape) :]
    assert (expected[index] > 0).all()
    kinds = list(world.model.starts.values())
    for place in range(200):
        own = kinds[world.kind(starts)[place]].reshape(world.model.shape)
        assert own[tuple(axis[place] for axis in index)] > 0


def test_unknown_kinds_of_episode_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown kind of episode 'eldr': .*did you mean 'elder'"):
        WeeklyExam().visits("uniform", start="eldr")
    with pytest.raises(ValueError, match="give the optimal policy as a table"):
        WeeklyExam().visits("optimal")
