"""Which arms are exact, and what is sampled of the others."""

from dataclasses import replace

import numpy as np
import pytest

from bench.config.schema import Config
from bench.errors import UserError
from bench.lab.exact.arms import advantages_of, gradient_of, why_parts_are_sampled, why_sampled
from bench.lab.exact.bias import advantage_errors
from bench.lab.exact.groups import Batch, batch_mean
from bench.lab.exact.parts import Advantages, decompose
from bench.lab.exact.process import Process, share_cut
from bench.lab.exact.sampled import sampled_gradients
from bench.lab.exact.scores import LogitScores, scores_of
from bench.lab.exact.targets import MONTE_CARLO, TD0, Target, target_moments
from bench.tasks.exact import ExactTask
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.random_walk import RandomWalk
from bench.tasks.weekly_exam import WeeklyExam
from tests.lab.conftest import arm, bonferroni, policy_of
from tests.lab.exact.simulated import Case
from tests.lab.exact.worlds import random_critic, random_policy


def changed(of: Config, **settings: object) -> Config:
    return replace(of, group=replace(of.group, **settings))


WEEKLY = arm("weekly_exam", "critic", "gae")
OUTCOMES = arm("weekly_exam", "group", "monte_carlo", "group.credit=outcome")


@pytest.mark.parametrize(
    ("task", "of", "reason"),
    [
        (WeeklyExam(), WEEKLY, None),
        (WeeklyExam(), OUTCOMES, None),
        (WeeklyExam(), arm("weekly_exam", "time_mean", "nstep"), None),
        (WeeklyExam(), arm("weekly_exam", "batch_mean", "td0"), None),
        (RandomWalk(), WEEKLY, None),
        (RandomWalk(), OUTCOMES, None),
        (ExamQuestion(), arm("exam_question", "grpo", "monte_carlo"), None),
        (WeeklyExam(), arm("weekly_exam", "grpo", "monte_carlo"), "scale=std is exact in the exam question only"),
        (WeeklyExam(), arm("weekly_exam", "group", "td0", "group.scale=rank"), "scale=rank is exact in"),
        (WeeklyExam(), arm("weekly_exam", "grpo", "monte_carlo", "group.credit=process"), "credit=process divides"),
        (WeeklyExam(), arm("weekly_exam", "vine", "monte_carlo"), "looks at further episodes"),
        (WeeklyExam(), arm("weekly_exam", "critic", "gae", "collect=segments"), "cuts episodes at random"),
        (WeeklyExam(), arm("weekly_exam", "critic", "gae", "reference=initial", "reference.placement=reward",
                           "reference.kind=k1"), "changes the rewards"),
        (RandomWalk(time_limit=30), arm("random_walk", "critic", "td0"), "task.time_limit=30 cuts a share of 0.86 of"),
        (RandomWalk(time_limit=None), arm("random_walk", "critic", "td0"), None),
        (RandomWalk(), arm("random_walk", "rloo", "td0"), "members end at different steps"),
        (RandomWalk(), arm("random_walk", "time_mean", "td0"), "members end at different steps"),
        (RandomWalk(), arm("random_walk", "batch_mean", "td0"), "a ratio where episodes have different lengths"),
    ],
)  # fmt: skip
def test_what_is_exact_and_why_the_rest_is_not(task: ExactTask, of: Config, reason: str | None) -> None:
    process = Process.of(task, "uniform", 0.9)
    found = why_sampled(process, of)
    assert (found is None) == (reason is None)
    if reason is None:
        assert np.isfinite(gradient_of(process, LogitScores(process), of).variance)
    else:
        assert found is not None
        assert reason in found
        with pytest.raises(UserError, match="sample it with") as caught:
            gradient_of(process, LogitScores(process), of)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "of", "reason"),
    [
        (WeeklyExam(), WEEKLY, None),
        (WeeklyExam(), OUTCOMES, None),
        (RandomWalk(), WEEKLY, None),
        (ExamQuestion(), arm("exam_question", "rloo", "monte_carlo", "group.credit=outcome"), None),
        (RandomWalk(), OUTCOMES, "had earned before a step is not known"),
        (RandomWalk(), arm("random_walk", "rloo", "monte_carlo", "group.credit=outcome"), "had earned before a step"),
        (ExamQuestion(), arm("exam_question", "grpo", "monte_carlo"), "of group.scale=std only the gradient is exact"),
        (WeeklyExam(), arm("weekly_exam", "vine", "monte_carlo"), "looks at further episodes"),
    ],
)
def test_what_an_arm_says_of_states_is_exact_or_refused(task: ExactTask, of: Config, reason: str | None) -> None:
    process = Process.of(task, "uniform", 0.9)
    found = why_parts_are_sampled(process, of)
    if reason is None:
        assert found is None
        assert np.isfinite(advantages_of(process, of).averages["variance"])
    else:
        assert found is not None
        assert reason in found
        with pytest.raises(UserError, match="sample it with"):
            advantages_of(process, of)


def test_the_share_of_episodes_that_a_time_limit_cuts() -> None:
    """Ten steps in one direction lead out, with the chance 2 · 2⁻¹⁰; of a thousand steps, few walks need more."""
    for limit, low, high in ((9, 1, 1), (10, 1 - 2**-9, 1 - 2**-9), (1000, 1e-6, 1e-5)):
        found = share_cut(Process.of(RandomWalk(time_limit=limit), "uniform"))
        assert low - 1e-12 <= found <= high + 1e-12


def test_the_averages_of_a_state_baseline_are_those_of_its_tables() -> None:
    process = Process.of(WeeklyExam(), random_policy(WeeklyExam(), 1), 0.9)
    critic = random_critic(process, 2)
    target = target_moments(process, Target(gae_lambda=0.5), critic)
    averages = Advantages.of_state_baseline(process, target, critic).averages
    expected = advantage_errors(process, target, critic).averages
    assert averages == pytest.approx(expected, abs=1e-12)


def test_outcomes_have_no_action_dependent_bias_and_the_variance_of_the_past() -> None:
    """γ = 1: a whole return less a mean of others' is the reward to go, less a number that no action changes."""
    process = Process.of(WeeklyExam(), random_policy(WeeklyExam(), 3), 1.0)
    plain = advantages_of(process, changed(OUTCOMES, leave_one_out=True)).averages
    to_go = advantages_of(process, changed(OUTCOMES, leave_one_out=True, credit="reward_to_go")).averages
    assert plain["action_bias"] < 1e-20
    assert to_go["action_bias"] < 1e-20
    assert plain["squared_error"] > to_go["squared_error"]


def test_parts_of_a_walks_steps_are_those_of_simulated_episodes() -> None:
    case = Case.of("random_walk", 5)
    process, steps = case.process, (0, 1, 6)
    target = target_moments(process, TD0, case.critic)
    advantages = Advantages.of_state_baseline(process, target, case.critic)
    parts = decompose(LogitScores(process), advantages, steps)
    assert parts.state[0] == pytest.approx(0, abs=1e-15)  # all begin in the middle
    (episodes,) = case.chunks("random_walk", 4000, 3)
    policy = process.policy[0]
    credit = case.returns(episodes, TD0) - case.critic[episodes.places]
    for step, exact in zip(steps, parts.sum, strict=True):
        live = np.flatnonzero(episodes.live[step])
        places, taken = episodes.places[step, live], np.eye(2)[episodes.actions[step, live]]
        terms = np.zeros((len(live), *policy.shape))
        terms[np.arange(len(live)), places] = credit[step, live, None] * (taken - policy[places])
        apart = np.square(terms - terms.mean(0)).sum((1, 2))
        assert abs(apart.mean() - exact) < 4 * apart.std() / np.sqrt(len(live)) + 1e-12


def test_steps_are_asked_for_where_there_is_no_last_one() -> None:
    for task, steps, message in (
        (RandomWalk(), None, "has no last step: give those of interest"),
        (WeeklyExam(), [0], "has 16, and all are given"),
    ):
        process = Process.of(task, "uniform", 0.9)
        advantages = Advantages.of_state_baseline(process, target_moments(process, MONTE_CARLO))
        with pytest.raises(UserError, match=message):
            decompose(LogitScores(process), advantages, steps)


@pytest.mark.parametrize(("groups", "size", "independent"), [(0, 4, False), (1, 1, False), (2, 4, True)])
def test_batches_that_are_none(groups: int, size: int, independent: bool) -> None:
    with pytest.raises(UserError):
        Batch(groups, size, independent)


def test_no_time_and_batch_means_where_episodes_differ_in_length() -> None:
    process = Process.of(RandomWalk(), "uniform", 0.9)
    with pytest.raises(UserError, match="the mean over a batch's steps is not exact"):
        batch_mean(process, LogitScores(process), target_moments(process, MONTE_CARLO), Batch(2, 4))


@pytest.mark.parametrize(
    ("world", "baseline", "credit"),
    [("exam_question", "grpo", "outcome"), ("exam_question", "critic", "outcome"), ("random_walk", "rloo", "outcome")],
)
@pytest.mark.parametrize("by_network", [False, True])
def test_sampled_gradients_are_around_the_exact_ones(world: str, baseline: str, credit: str, by_network: bool) -> None:
    of = changed(arm(world, baseline, "monte_carlo", "gamma=0.9", "hidden=[8,8]"), groups=2, size=4, credit=credit)
    network = policy_of(of)
    assert isinstance(network.task, ExactTask)
    process = Process.of(network.task, network, 0.9)
    given = network if by_network else None
    critic = process.solution.value if baseline == "critic" else None
    sampled = sampled_gradients(process, of, 300, np.random.default_rng(4), policy=given, critic=critic)
    exact = gradient_of(process, scores_of(process, given), of, 0.0 if critic is None else critic)
    apart = np.square(sampled - exact.expected).sum(1)
    assert abs(apart.mean() - exact.variance) < 4 * apart.std() / np.sqrt(len(apart))
    length = np.linalg.norm(exact.expected)
    along = sampled @ exact.expected / length
    assert abs(along.mean() - length) < 4 * along.std() / np.sqrt(len(along))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("baseline", "advantage", "settings"),
    [
        ("critic", "gae", {}),
        ("rloo", "monte_carlo", {"credit": "outcome"}),
        ("group", "td0", {}),
        ("batch_mean", "nstep", {}),
        ("time_mean", "monte_carlo", {"groups": 1, "size": 8}),
    ],
)
def test_a_networks_batches_of_the_weekly_exam(baseline: str, advantage: str, settings: dict[str, object]) -> None:
    """Through the learner's own backward pass, whose parameters all weeks share."""
    of = arm("weekly_exam", baseline, advantage, "gamma=0.95", "hidden=[8,8]", "n_step=3")
    of = changed(of, **{"groups": 2, "size": 4, **settings})
    network = policy_of(of, seed=1)
    assert isinstance(network.task, ExactTask)
    process = Process.of(network.task, network, 0.95)
    critic = random_critic(process, 2)
    sampled = sampled_gradients(process, of, 1500, np.random.default_rng(5), policy=network, critic=critic)
    exact = gradient_of(process, scores_of(process, network), of, critic)
    apart = sampled - exact.expected
    squares = np.square(apart).sum(1)
    assert abs(squares.mean() - exact.variance) < 4 * squares.std() / np.sqrt(len(squares))
    directions = np.random.default_rng(6).normal(size=(20, apart.shape[1]))
    along = apart @ directions.T
    assert np.abs(along.mean(0) / (along.std(0, ddof=1) / np.sqrt(len(along)))).max() < bonferroni(100)
