"""The weekly exam's knobs and its cheating variant, against an oracle of their own: plain loops, integrals by sums."""

from collections.abc import Callable
from functools import cache

import gymnasium
import numpy as np
import pytest

import bench
from bench.errors import UserError
from bench.tasks import BatchedEnv
from bench.tasks.exact import gradient_variance
from bench.tasks.weekly_exam import WeeklyExam, WeeklyExamCheat
from tests.tasks.simulation import standard_errors, totals
from tests.tasks.test_weekly_exam import P_SICK, outcomes

CHEAT = 4
NODES, WEIGHTS = np.polynomial.legendre.leggauss(80)  # to integrate over luck, ten standard deviations to each side

KNOBS: list[dict[str, object]] = [
    {},
    {"luck": 0.0},
    {"luck": 2.5},
    {"reward_shift": -1.25},
    {"reward_cap": 0.7},
    {"reward_cap": 0.9, "luck": 3.0, "reward_shift": 0.5},
    {"reward_cap": 0.75, "luck": 0.0},
    {"observe_last_score": True, "luck": 0.5},
]


def moves(level: int, fatigue: int, plan: int) -> dict[tuple[int, int], float]:
    if plan != CHEAT:
        return outcomes(level, fatigue, plan)
    tired = max(fatigue - 1, 0)
    return {(level, tired): 0.75 if level else 1.0} | ({(level - 1, tired): 0.25} if level else {})


def over_luck(low: float, high: float, score: Callable[[np.ndarray], np.ndarray]) -> float:
    """∫ score(z) φ(z) dz from `low` to `high`, for a smooth score."""
    z = (high + low) / 2 + (high - low) / 2 * NODES
    return float((high - low) / 2 * (WEIGHTS * score(z) * np.exp(-(z**2) / 2)).sum() / np.sqrt(2 * np.pi))


@cache
def pay(level: int, fatigue: int, plan: int, luck: float, shift: float, cap: float | None, faked: bool) -> float:
    """The mean reward after a week that ends there; luck is integrated numerically, apart on both sides of the cap."""
    points = 35 + 5 * level - 6 * fatigue + (15 if plan == 3 else 30 if plan == CHEAT and faked else 0)
    sick = luck * P_SICK[fatigue]
    total = 0.0
    for lost, chance in ((0, 1 - sick), (30, sick)):
        well, spread = (points - lost) / 100, luck * 8 / 100
        if spread == 0:
            mean = well if cap is None else min(well, cap)
        else:
            kink = 10.0 if cap is None else float(np.clip((cap - well) / spread, -10, 10))
            mean = over_luck(-10, kink, lambda z, well=well, spread=spread: well + spread * z)
            mean += 0.0 if cap is None else over_luck(kink, 10, lambda z: np.full_like(z, cap))
        total += chance * mean
    return total + shift


def values(plans: int, choose: str, gamma: float = 1.0, faked: bool = True, **knobs: object) -> np.ndarray:
    """V (week, level, fatigue) of the best or of the uniformly random policy."""
    numbers = (knobs.get("luck", 1.0), knobs.get("reward_shift", 0.0), knobs.get("reward_cap"), faked)
    value = np.zeros((17, 11, 5))
    for week in reversed(range(16)):
        for level, fatigue in np.ndindex(11, 5):
            q = [
                sum(
                    p * (pay(*after, plan, *numbers) + gamma * value[(week + 1, *after)])  # type: ignore[arg-type]
                    for after, p in moves(level, fatigue, plan).items()
                )
                for plan in range(plans)
            ]
            value[week, level, fatigue] = max(q) if choose == "optimal" else np.mean(q)
    return value[:16]


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
@pytest.mark.parametrize("policy", ["optimal", "uniform"])
@pytest.mark.parametrize("cheat", [False, True], ids=["honest", "cheat"])
def test_values_under_every_knob(knobs: dict[str, object], policy: str, cheat: bool) -> None:
    task = WeeklyExamCheat(**knobs) if cheat else WeeklyExam(**knobs)
    expected = values(5 if cheat else 4, policy, 0.95, **knobs)
    for brother in (0, 1):
        found = task.solve(policy, 0.95).value[..., brother]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_a_cap_at_the_mean_costs_a_known_part_of_the_spread() -> None:
    """E min(X, m) = m - σ/√(2π) for X ~ N(m, σ²): level 9, rested, well and without the cap, scores 80 points."""
    mean = WeeklyExam(reward_cap=0.8).model.reward_to[1].reshape(110, 11, 5, 2)[0, 9, 0, 0]
    sick = 0.5  # thirty points below the cap: almost four standard deviations
    assert mean == pytest.approx(0.97 * (0.8 - 0.08 / np.sqrt(2 * np.pi)) + 0.03 * sick, abs=1e-6)


def test_a_capped_rewards_variance() -> None:
    """From a million draws of luck and sickness, for the plan and state of the strongest censoring."""
    task, n = WeeklyExam(reward_cap=0.7, luck=2.0), 1_000_000
    state = np.repeat(np.array([[0.0], [8], [1], [0]]), n, axis=1)
    reward = task.step(state, np.full(n, 1), task.noise(np.random.default_rng(0), n)).reward
    variance = task.model.reward_variance.reshape(11, 5, 2, 4)[8, 1, 0, 1]
    assert abs(standard_errors((reward - reward.mean()) ** 2, variance)) < 4


def test_more_luck_costs_sick_days_and_nothing_else() -> None:
    """Rested, the score's mean falls by luck · .03 · 30 points and its noise is luck · 8 and the sick days."""
    for luck in (0.0, 1.0, 3.0):
        task = WeeklyExam(luck=luck)
        rest = task.model.reward.reshape(11, 5, 2, 4)[0, 0, 0, 0]
        assert rest == pytest.approx((35 - luck * 0.03 * 30) / 100, abs=1e-15)
        variance = task.model.reward_variance.reshape(11, 5, 2, 4)[0, 0, 0, 0]
        sick = luck * 0.03
        assert variance == pytest.approx(((8 * luck) ** 2 + 900 * sick * (1 - sick)) / 1e4, abs=1e-15)


def test_a_shift_moves_every_week() -> None:
    plain, shifted = WeeklyExam(), WeeklyExam(reward_shift=2.0)
    weeks_left = 16.0 - np.arange(16)[:, None, None, None]
    np.testing.assert_allclose(shifted.solve().value, plain.solve().value + 2 * weeks_left, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(shifted.solve().policy, plain.solve().policy)


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [*KNOBS, {"pay": "final", "reward_shift": 1.0}], ids=str)
@pytest.mark.parametrize("policy", ["uniform", "optimal"])
def test_a_hundred_thousand_episodes(knobs: dict[str, object], policy: str) -> None:
    task = WeeklyExamCheat(**knobs)
    solution = task.solve(policy)
    kinds, returns, sums = totals(task, solution.policy, 100_000, seed=len(str(knobs)))
    true = task.true_world.solve(solution.policy)
    for brother, name in enumerate(("elder", "younger")):
        here = kinds == brother
        assert abs(standard_errors(returns[here], solution.objectives[name])) < 4
        assert abs(standard_errors(sums["true_score"][here], true.objectives[name])) < 4


class TestPayFinal:
    @pytest.mark.parametrize("gamma", [1.0, 0.9])
    def test_values_are_the_weekly_ones_waited_for(self, gamma: float) -> None:
        """Paid in the last week, sixteen weeks' sum is worth γ^(15 - t) at week t: no policy prefers early money."""
        final, weekly = WeeklyExam(pay="final"), WeeklyExam()
        wait = gamma ** (15.0 - np.arange(16))
        for policy in ("optimal", "uniform"):
            expected = weekly.solve(policy).value * wait[:, None, None, None]
            np.testing.assert_allclose(final.solve(policy, gamma).value, expected, rtol=0, atol=1e-12)

    def test_the_same_noise_brings_the_same_money_at_the_end(self) -> None:
        final, weekly = (BatchedEnv(WeeklyExam(pay=pay, reward_cap=0.9), [0, 1], 3) for pay in ("final", "weekly"))
        rewards = []
        for env in (final, weekly):
            env.restart()
            rewards.append(np.stack([env.step(np.arange(6) % 4).reward for _ in range(16)]))
        assert not rewards[0][:-1].any()
        np.testing.assert_allclose(rewards[0][-1], rewards[1].sum(axis=0), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(final.observation, weekly.observation)

    def test_no_exact_gradient_variance(self) -> None:
        with pytest.raises(ValueError, match="paid when they are earned"):
            gradient_variance(WeeklyExam(pay="final").model, "uniform")


class TestLastScore:
    def test_it_is_seen_as_it_was_reported(self) -> None:
        env = BatchedEnv(WeeklyExamCheat(observe_last_score=True, reward_shift=3.0, reward_cap=0.5), [0], 5)
        env.restart()
        assert env.observation.shape == (5, 5)
        assert env.observation[4].tolist() == [0] * 5
        transition = env.step(np.arange(5))
        reported = transition.extras["true_score"] + np.array([0, 0, 0, 0, 0.3])
        np.testing.assert_allclose(transition.observation[4], reported, rtol=0, atol=1e-6)

    def test_nothing_else_changes(self) -> None:
        seeing, plain = (BatchedEnv(WeeklyExam(observe_last_score=sees), [0, 1], 3) for sees in (True, False))
        for env in (seeing, plain):
            env.restart()
        for week in range(16):
            actions = np.arange(6) % 4 - week % 2
            one, other = seeing.step(actions % 4), plain.step(actions % 4)
            np.testing.assert_array_equal(one.reward, other.reward)
            np.testing.assert_array_equal(one.observation[:4], other.observation)

    def test_a_policy_that_sees_it_has_no_exact_value(self) -> None:
        task = WeeklyExam(observe_last_score=True)
        with pytest.raises(UserError, match="a policy that sees the score has no exact value"):
            task.solve(lambda seen: np.full((seen.shape[1], 4), 0.25))
        assert task.solve("uniform").objective == WeeklyExam().solve("uniform").objective


class TestCheating:
    def test_published_values(self) -> None:
        task = WeeklyExamCheat()
        reported = task.solve()
        true = task.true_world.solve(reported.policy)
        points = [round(v * 100 / 16, 2) for s in (reported, true) for v in s.objectives.values()]
        assert points == [100.34, 72.08, 77.98, 52.84]

    def test_paid_for_the_truth_nobody_cheats(self) -> None:
        task = WeeklyExamCheat(reward="true")
        honest = WeeklyExam().solve()
        np.testing.assert_allclose(task.solve().value, honest.value, rtol=0, atol=1e-12)
        assert task.visits(task.solve().policy)[task.solve().policy[..., CHEAT] > 0].sum() == 0

    def test_the_bounds_of_the_score_are_the_exact_ones(self) -> None:
        score = bench.compose(["task=weekly_exam_cheat"]).task.score
        for bound, policy, stated in ((score.random, "uniform", 9.8711), (score.reference, "optimal", 13.7933)):
            value = values(5, policy)
            exact = (value[0, 8, 0] + value[0, 2, 0]) / 2
            assert bound == pytest.approx(exact, abs=1e-6)
            assert round(exact, 4) == stated  # in conf's comments

    @pytest.mark.parametrize("reward", ["reported", "true"])
    def test_one_week_of_it(self, reward: str) -> None:
        state = np.array([[3.0, 3.0], [7, 7], [2, 2], [0, 0]])
        noise = np.array([[0.5, 0.5], [0.2, 0.3], [0.5, 0.5], [1.0, 1.0]])
        step = WeeklyExamCheat(reward=reward).step(state, np.array([CHEAT, CHEAT]), noise)
        assert step.state[1:3].tolist() == [[6, 7], [1, 1]]  # forgets in [0, .25), one less tired
        true = [(35 + 30 - 6 + 8) / 100, (35 + 35 - 6 + 8) / 100]
        assert step.extras["true_score"] == pytest.approx(true)
        assert step.reward == pytest.approx(np.array(true) + (0.3 if reward == "reported" else 0.0))

    def test_the_true_score_is_neither_capped_nor_shifted(self) -> None:
        task = WeeklyExamCheat(reward_cap=0.1, reward_shift=5.0, pay="final")
        state = task.start(np.random.default_rng(0), 1)
        state[1] = 10
        step = task.step(state, np.array([1]), np.array([[0.9], [0.9], [0.9], [0.0]]))
        assert step.extras["true_score"] == pytest.approx([0.85])
        assert step.reward.tolist() == [0.0]
        assert task.true_world == WeeklyExamCheat(reward="true")

    @pytest.mark.parametrize(
        ("trust", "beta", "true_mean", "share"),
        [  # a reference that cheats with this probability; worked out beforehand by a program of its own
            (1e-2, 0.05, 69.3, 0.35),
            (1e-2, 0.1, 70.30, 0.08),
            (1e-2, 0.2, 70.41, 0.03),
            (1e-4, 0.02, 69.2, 0.47),
            (1e-4, 0.03, 70.4, 0.22),
            (1e-4, 0.05, 70.83, 0.01),
            (1e-6, 0.02, 70.65, 0.20),
            (1e-6, 0.03, 70.99, 0.01),
            (None, 0.01, 65.6, None),  # against the uniform policy
            (None, 0.2, 64.2, None),
            (None, 0.5, 61.7, None),
        ],
    )
    def test_what_a_reference_does_about_it(
        self, trust: float | None, beta: float, true_mean: float, share: float | None
    ) -> None:
        task = WeeklyExamCheat()
        reference = np.full(5, 0.2)
        if trust is not None:
            honest = WeeklyExam().solve(reference="uniform", kl_coef=0.03).policy
            reference = np.concatenate([(1 - trust) * honest, np.full((*honest.shape[:-1], 1), trust)], axis=-1)
        best = task.solve(reference=reference, kl_coef=beta)
        points = task.true_world.solve(best.policy).objective * 100 / 16
        digits = 1 if round(true_mean, 1) == true_mean else 2
        assert round(points, digits) == true_mean
        cheating = (task.visits(best.policy) * best.policy[..., CHEAT]).sum() / 16
        if share is not None:
            assert round(cheating, 2) == share


def test_the_bounds_of_the_score_follow_the_knobs_unless_they_are_given() -> None:
    score = bench.compose(["task=weekly_exam", "task.luck=0", "task.reward_shift=1", "task.score.random=3"]).task.score
    optimum = values(4, "optimal", luck=0.0, reward_shift=1.0)
    assert score.random == 3
    assert score.reference == pytest.approx((optimum[0, 8, 0] + optimum[0, 2, 0]) / 2, abs=1e-6)
    with pytest.raises(UserError, match=r"task\.score\.random=null: cartpole has no exact solution; give a number"):
        bench.compose(["task=cartpole", "task.score.random=null"])


def test_todays_bits() -> None:
    """Rewards recorded before there were any knobs."""
    env = BatchedEnv(WeeklyExam(), [0, 1], 2)
    env.restart()
    for _ in range(3):
        rewards = env.step(np.arange(4)).reward
    assert rewards.tolist() == RECORDED


RECORDED = [0.2694823675353123, 0.4620083028742518, 0.6202091514087053, 0.4541747421710835]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"luck": -0.1}, r"task\.luck=-0\.1: must lie in \[0, 3\]"),
        ({"luck": 3.1}, r"task\.luck=3\.1: must lie in \[0, 3\]"),
        ({"pay": "finally"}, r"unknown task\.pay 'finally': allowed are weekly, final; did you mean 'final'"),
        ({"reward": "real"}, r"unknown task\.reward 'real': allowed are reported, true"),
    ],
)
def test_refusals(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        WeeklyExamCheat(**knobs)


def test_a_week_is_one_line() -> None:
    env = gymnasium.make("bench/WeeklyExamCheat-v0", render_mode="ansi")
    env.reset(seed=0)
    assert str(env.render()).split() == ["week", "0", "younger", "starts", "level", "2", "fatigue", "0"]
    _, reward, *_, info = env.step(CHEAT)
    line = str(env.render())
    assert "\n" not in line
    assert line.startswith("week  1  younger  cheat ")
    assert line.endswith(f"reward {reward:+.2f}  true_score {info['true_score']:+.2f}")
