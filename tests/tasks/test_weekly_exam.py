"""The weekly exam against its published values and against a slow definition of its own, written out below."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import chi2

import bench
from bench.errors import UserError
from bench.tasks import BatchedEnv
from bench.tasks.exact import Solution
from bench.tasks.weekly_exam import PLANS, WeeklyExam

REST, STUDY, TUTOR, CRAM = range(4)
START = {"elder": (8, 0), "younger": (2, 0)}  # level, fatigue

# The oracle: plain numbers and loops, sharing nothing with the code under test.
GAIN = {REST: 0.0, STUDY: 0.50, TUTOR: 0.70, CRAM: 0.25}
FORGET = {REST: 0.25, STUDY: 0.05, TUTOR: 0.05, CRAM: 0.15}
TIRE = {REST: {-2: 1.0}, STUDY: {0: 0.8, 1: 0.2}, TUTOR: {0: 0.4, 1: 0.6}, CRAM: {1: 0.3, 2: 0.7}}
P_SICK = {0: 0.03, 1: 0.03, 2: 0.03, 3: 0.15, 4: 0.33}


def outcomes(level: int, fatigue: int, plan: int) -> dict[tuple[int, int], float]:
    """P(level', fatigue')."""
    up = GAIN[plan] * {3: 0.3, 4: 0.0}.get(fatigue, 1.0)
    down = (1 - up) * FORGET[plan]
    result: dict[tuple[int, int], float] = {}
    for change, p_change in ((1, up), (-1, down), (0, 1 - up - down)):
        for tire, p_tire in TIRE[plan].items():
            after = (min(10, max(0, level + change)), min(4, max(0, fatigue + tire)))
            result[after] = result.get(after, 0.0) + p_change * p_tire
    return result


def mean_points(level: int, fatigue: int, plan: int) -> float:
    return 35 + 5 * level - 6 * fatigue + (15 if plan == CRAM else 0) - 30 * P_SICK[fatigue]


def oracle_q(week: int, level: int, fatigue: int, plan: int, policy: str | int, gamma: float) -> float:
    return sum(
        p * (mean_points(*after, plan) / 100 + gamma * oracle_value(week + 1, *after, policy, gamma))
        for after, p in outcomes(level, fatigue, plan).items()
    )


@cache
def oracle_value(week: int, level: int, fatigue: int, policy: str | int, gamma: float) -> float:
    if week == 16:
        return 0.0
    q = [oracle_q(week, level, fatigue, plan, policy, gamma) for plan in range(4)]
    if policy == "optimal":
        return max(q)
    if policy == "uniform":
        return sum(q) / 4
    if policy == "myopic":
        now = [
            sum(p * mean_points(*after, plan) for after, p in outcomes(level, fatigue, plan).items())
            for plan in range(4)
        ]
        return q[now.index(max(now))]
    if policy == "varied":  # depends on everything, so that no axis can be mixed up
        return q[varied(week, level, fatigue)]
    assert isinstance(policy, int)
    return q[policy]


def varied(week: int, level: int, fatigue: int) -> int:
    return (3 * week + 2 * level + fatigue) % 4


VARIED = np.array([[[[varied(w, k, f)] for f in range(5)] for k in range(11)] for w in range(16)])
POLICIES: dict[str | int, object] = {
    "optimal": "optimal",
    "uniform": "uniform",
    "myopic": "myopic",
    "varied": VARIED,
    REST: REST,
    STUDY: STUDY,
    TUTOR: TUTOR,
    CRAM: CRAM,
}


@pytest.fixture
def task() -> WeeklyExam:
    return WeeklyExam()


def points_per_week(solution: Solution) -> tuple[float, float]:
    return tuple(round(solution.objectives[brother] * 100 / 16, 2) for brother in ("elder", "younger"))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("policy", "elder", "younger"),
    [("optimal", 81.83, 60.89), ("myopic", 74.38, 45.41), ("uniform", 67.62, 40.51), (CRAM, 54.64, 25.42)],
)
def test_published_values(task: WeeklyExam, policy: str | int, elder: float, younger: float) -> None:
    assert points_per_week(task.solve(policy)) == (elder, younger)


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("policy", POLICIES)
def test_values_and_q_values_are_the_oracles(task: WeeklyExam, policy: str | int, gamma: float) -> None:
    solution = task.solve(POLICIES[policy], gamma)
    assert solution.value.shape == (16, 11, 5, 2)
    assert solution.q_values.shape == solution.advantage.shape == solution.policy.shape == (16, 11, 5, 2, 4)
    value, q = np.empty((16, 11, 5, 1)), np.empty((16, 11, 5, 1, 4))
    for at in np.ndindex(16, 11, 5):
        value[at] = oracle_value(*at, policy, gamma)
        q[at] = [oracle_q(*at, plan, policy, gamma) for plan in range(4)]
    for brother in (0, 1):
        for found, expected in (
            (solution.value, value),
            (solution.q_values, q),
            (solution.advantage, q - value[..., None]),
        ):
            np.testing.assert_allclose(found[:, :, :, brother], expected[:, :, :, 0], rtol=0, atol=1e-12)
    starts = {brother: oracle_value(0, *start, policy, gamma) for brother, start in START.items()}
    assert solution.objectives == pytest.approx(starts, abs=1e-12)
    assert solution.objective == pytest.approx(sum(starts.values()) / 2, abs=1e-12)


def test_a_policy_may_tell_the_brothers_apart(task: WeeklyExam) -> None:
    by_brother = np.array([STUDY, CRAM])
    objectives = task.solve(by_brother).objectives
    assert objectives["elder"] == pytest.approx(oracle_value(0, 8, 0, STUDY, 1.0), abs=1e-12)
    assert objectives["younger"] == pytest.approx(oracle_value(0, 2, 0, CRAM, 1.0), abs=1e-12)


def test_probabilities_are_a_policy(task: WeeklyExam) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=(16, 11, 5, 2))
    solution = task.solve(probabilities)
    np.testing.assert_array_equal(solution.policy, probabilities)
    assert np.abs((solution.policy * solution.advantage).sum(-1)).max() < 1e-12
    mixed = probabilities[15, 6, 1, 0] @ [oracle_q(15, 6, 1, plan, "uniform", 1.0) for plan in range(4)]
    assert solution.value[15, 6, 1, 0] == pytest.approx(mixed, abs=1e-12)


def test_refused_policies(task: WeeklyExam) -> None:
    with pytest.raises(UserError, match=r"unknown policy 'optmal': .*did you mean 'optimal'"):
        task.solve("optmal")
    with pytest.raises(ValueError, match="actions 0 to 4; there are 4"):
        task.solve(np.array([0, 4]))
    with pytest.raises(ValueError, match="sum to 1"):
        task.solve(np.full(4, 0.3))


def test_states_are_their_own_table_index(task: WeeklyExam) -> None:
    states = task.states()
    assert states.shape == (4, 16 * 11 * 5 * 2)
    value = task.solve().value
    np.testing.assert_array_equal(value[tuple(states.astype(int))], value.ravel())
    observation = task.observe(states)[:, np.ravel_multi_index((4, 7, 2, 1), value.shape)]
    np.testing.assert_allclose(observation, [4 / 16, 7 / 10, 2 / 4, 1.0])


def test_the_bounds_of_the_score_are_the_exact_ones() -> None:
    score = bench.compose(["task=weekly_exam"]).task.score
    for bound, policy, stated in ((score.random, "uniform", 8.6501), (score.reference, "optimal", 11.4173)):
        exact = (oracle_value(0, 8, 0, policy, 1.0) + oracle_value(0, 2, 0, policy, 1.0)) / 2
        assert bound == pytest.approx(exact, abs=1e-6)
        assert round(exact, 4) == stated  # in conf's comments


@pytest.mark.parametrize(
    ("plan", "before", "draws", "after", "points"),
    [
        # before and after: level, fatigue; draws: fatigue, level, sickness (uniform), luck (Gaussian)
        (STUDY, (8, 0), (0.50, 0.90, 0.50, 1.5), (8, 0), 35 + 40 + 12),
        (STUDY, (8, 0), (0.10, 0.49, 0.50, 0.0), (9, 1), 35 + 45 - 6),
        (STUDY, (8, 0), (0.50, 0.51, 0.50, 0.0), (7, 0), 35 + 35),  # forgets in [.5, .525)
        (STUDY, (8, 0), (0.50, 0.53, 0.50, 0.0), (8, 0), 35 + 40),
        (STUDY, (8, 3), (0.50, 0.16, 0.50, 0.0), (7, 3), 35 + 35 - 18),  # P(gain) is .15 when tired
        (TUTOR, (2, 4), (0.10, 0.00, 0.30, 0.0), (1, 4), 35 + 5 - 24 - 30),  # exhausted: no gain, sick below .33
        (TUTOR, (10, 0), (0.59, 0.10, 0.50, -1.0), (10, 1), 35 + 50 - 6 - 8),  # level stops at 10
        (CRAM, (2, 1), (0.69, 0.90, 0.20, 0.0), (2, 3), 35 + 10 - 18 + 15),  # two more; sick only below .15
        (CRAM, (2, 1), (0.71, 0.90, 0.02, 0.0), (2, 2), 35 + 10 - 12 + 15 - 30),
        (CRAM, (2, 4), (0.00, 0.90, 0.90, 0.0), (2, 4), 35 + 10 - 24 + 15),  # fatigue stops at 4
        (REST, (0, 1), (0.00, 0.00, 0.90, 0.0), (0, 0), 35),  # level stops at 0, fatigue too
        (REST, (5, 4), (0.00, 0.24, 0.90, 0.0), (4, 2), 35 + 20 - 12),
    ],
)
def test_one_week(
    task: WeeklyExam,
    plan: int,
    before: tuple[int, int],
    draws: tuple[float, ...],
    after: tuple[int, int],
    points: float,
) -> None:
    state = np.array([[3.0], [before[0]], [before[1]], [1.0]])
    step = task.step(state, np.array([plan]), np.array(draws)[:, None])
    assert step.state[:, 0].tolist() == [4, *after, 1]
    assert step.reward == pytest.approx([points / 100])
    assert not step.terminated[0]
    assert state[:, 0].tolist() == [3, *before, 1]


def test_terminates_after_the_sixteenth_week(task: WeeklyExam) -> None:
    state = np.array([[14.0, 15.0], [5, 5], [0, 0], [0, 1]])
    step = task.step(state, np.array([REST, CRAM]), np.full((4, 2), 0.5))
    assert step.terminated.tolist() == [False, True]


def test_both_brothers_start_equally_often(task: WeeklyExam) -> None:
    starts = task.start(np.random.default_rng(0), 10_000)
    elder = starts[3] == 0
    assert set(map(tuple, starts[:, elder].T)) == {(0, 8, 0, 0)}
    assert set(map(tuple, starts[:, ~elder].T)) == {(0, 2, 0, 1)}
    assert abs(elder.sum() - 5000) < 4 * np.sqrt(10_000 / 4)


@pytest.mark.parametrize("plan", range(4))
@pytest.mark.parametrize(("level", "fatigue"), [(0, 0), (5, 2), (5, 3), (6, 4), (10, 1)])
def test_the_simulators_moves_are_as_frequent_as_they_should_be(
    task: WeeklyExam, plan: int, level: int, fatigue: int
) -> None:
    n = 20_000
    rng = np.random.default_rng([plan, level, fatigue])
    state = np.repeat([[2.0], [level], [fatigue], [0]], n, axis=1)
    moved = task.step(state, np.full(n, plan), task.noise(rng, n)).state[1:3].astype(int)
    expected = {after: p for after, p in outcomes(level, fatigue, plan).items() if p > 0}
    counts = {after: int(np.all(after == moved.T, axis=1).sum()) for after in expected}
    assert sum(counts.values()) == n
    statistic = sum((counts[after] - n * p) ** 2 / (n * p) for after, p in expected.items())
    # Twenty such tests with a fixed seed: a level of one in a thousand for all of them together.
    assert statistic <= chi2.ppf(1 - 0.001 / 20, max(len(expected) - 1, 1))


def test_the_models_transitions_are_the_oracles(task: WeeklyExam) -> None:
    transition = task.model.transition.reshape(4, 11, 5, 2, 11, 5, 2)
    expected = np.zeros_like(transition)
    for plan, level, fatigue, brother in np.ndindex(4, 11, 5, 2):
        for after, p in outcomes(level, fatigue, plan).items():
            expected[(plan, level, fatigue, brother, *after, brother)] = p
    np.testing.assert_allclose(transition, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("policy", POLICIES)
def test_simulated_returns_have_the_exact_mean(task: WeeklyExam, policy: str | int) -> None:
    n = 4000
    solution = task.solve(POLICIES[policy])
    batched = BatchedEnv(task, seeds=[5], n_envs=n)
    batched.restart()
    brother = batched.state[3].copy()
    rng = np.random.default_rng(6)
    returns, terminated = np.zeros(n), np.zeros(n, dtype=bool)
    for _ in range(16):
        assert not terminated.any()
        cumulative = solution.policy[tuple(batched.state.astype(int))].cumsum(axis=-1)
        transition = batched.step((rng.random((n, 1)) > cumulative).sum(axis=-1).clip(0, 3))
        returns += transition.reward
        terminated = transition.terminated
    assert terminated.all()
    for index, (name, start) in enumerate(START.items()):
        sample = returns[brother == index]
        exact = oracle_value(0, *start, policy, 1.0)
        assert abs(sample.mean() - exact) < 4 * sample.std(ddof=1) / np.sqrt(sample.size), name


def test_the_plans_are_named_in_the_order_of_the_actions(task: WeeklyExam) -> None:
    assert [plan.name for plan in PLANS] == ["rest", "study", "tutor", "cram"]
    assert task.action_space.n == 4
