"""Groups divided by their spread, and ranks: closed forms, identities, enumeration, and the arms' own function."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from bench.arms.baselines import group_advantage
from bench.errors import UserError
from bench.lab.exact.arms import gradient_of
from bench.lab.exact.groups import Batch
from bench.lab.exact.process import Process
from bench.lab.exact.scaled import Answers, MemberMoments, Scale, member_moments, scaled_outcomes
from bench.lab.exact.scores import LogitScores
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.weekly_exam import WeeklyExam
from tests.lab.conftest import arm, bonferroni
from tests.lab.exact.worlds import random_policy

LUCKY = Answers(np.array([0.1, 0.4, 0.3, 0.2]), np.array([0.7, 0.9, 0.85, 0.8]), np.array([0.08, 0.08, 0.08, 0.3]))


@pytest.mark.parametrize("size", [2, 3, 4, 8, 16])
def test_standardised_advantages_add_up_to_0_and_their_squares_to_the_groups_size(size: int) -> None:
    of, p = member_moments(LUCKY, size), LUCKY.chance
    squares, products = p @ of.second, p @ of.product @ p
    tolerance = 1e-9 if size == 2 else 1e-12  # the integrand of two members falls as u⁻² only
    assert p @ of.first == pytest.approx(0, abs=1e-12)
    assert squares == pytest.approx(1, abs=tolerance)  # 1/G Σ Â² = 1
    assert squares + (size - 1) * products == pytest.approx(0, abs=size * tolerance)  # E (Σ Â)² = 0
    np.testing.assert_allclose(of.product, of.product.T, rtol=0, atol=1e-12)


def sign(a: int, b: int) -> float:
    """E sign(R_a − R_b) of two Gaussians."""
    distance = LUCKY.mean[a] - LUCKY.mean[b]
    return 2 * float(stats.norm.cdf(distance / math.hypot(LUCKY.spread[a], LUCKY.spread[b]))) - 1


@pytest.mark.parametrize("scale", ["std", "rank"])
def test_of_two_members_one_wins(scale: Scale) -> None:
    """(R_1 − m)/s is the sign of R_1 − R_2, and so is the rank."""
    of = member_moments(LUCKY, 2, scale=scale)
    expected = [sum(p * sign(a, b) for b, p in enumerate(LUCKY.chance)) for a in range(4)]
    np.testing.assert_allclose(of.first, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(of.second, 1, rtol=0, atol=1e-8)
    np.testing.assert_allclose(of.product, -1, rtol=0, atol=1e-8)


def test_three_equal_answers_have_an_arc_sine_law() -> None:
    """(R_1 − m)/s of three Gaussians is √2 cos of a uniform angle: E Â₁Â₂ = −1/2.

    With R_1 shifted by d against two others of spread 1, polar coordinates give E Â as an integral over the angle.
    """
    same = Answers(np.array([0.5, 0.5]), np.array([0.3, 0.3]), np.array([0.1, 0.1]))
    of = member_moments(same, 3)
    np.testing.assert_allclose(of.first, 0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(of.product, -0.5, rtol=0, atol=1e-12)

    lead = 0.13
    of = member_moments(Answers(np.array([0.0, 1.0]), np.array([0.3 + lead, 0.3]), np.array([0.1, 0.1])), 3)
    distance = lead / 0.1 * math.sqrt(2 / 3)  # of the mean of the centred group from 0, in its plane

    def density(angle: float) -> float:
        """Of the direction of a two-dimensional normal variable around (distance, 0)."""
        along = distance * math.cos(angle)
        across = math.sqrt(2 * math.pi) * along * stats.norm.cdf(along) * math.exp(along**2 / 2)
        return math.exp(-(distance**2) / 2) * (1 + across) / (2 * math.pi)

    expected = integrate.quad(lambda angle: math.sqrt(2) * math.cos(angle) * density(angle), 0, 2 * math.pi)[0]
    assert of.first[0] == pytest.approx(expected, abs=1e-9)


def test_ranks_of_many_are_sums_over_pairs() -> None:
    of = member_moments(LUCKY, 6, scale="rank")
    expected = [sum(p * sign(a, b) for b, p in enumerate(LUCKY.chance)) for a in range(4)]
    np.testing.assert_allclose(of.first, expected, rtol=0, atol=1e-12)
    p = LUCKY.chance  # Σ Â = 0, and Σ Â² of the ranks −5, −3, …, 5 over 5
    assert p @ of.second == pytest.approx(np.square(np.arange(-5, 6, 2) / 5).mean(), abs=1e-12)
    assert p @ of.second + 5 * p @ of.product @ p == pytest.approx(0, abs=1e-12)


def sampled(size: int, scale: Scale, count: int, ddof: int, leave_one_out: bool) -> tuple[np.ndarray, np.ndarray]:
    """The answers and the advantages of all members of many groups."""
    rng = np.random.default_rng(size)
    answers = rng.choice(4, (count, size), p=LUCKY.chance)
    rewards = LUCKY.mean[answers] + LUCKY.spread[answers] * rng.standard_normal((count, size))
    advantages = group_advantage(torch.from_numpy(rewards), scale, ddof, leave_one_out=leave_one_out)
    return answers, advantages.numpy()


@pytest.mark.parametrize(
    ("size", "scale", "ddof", "leave_one_out"),
    [(3, "std", 0, False), (4, "std", 1, False), (8, "std", 0, True), (4, "rank", 0, False), (8, "rank", 0, False)],
)
def test_the_arms_function_has_these_moments(size: int, scale: Scale, ddof: int, leave_one_out: bool) -> None:
    of = member_moments(LUCKY, size, scale=scale, ddof=ddof, leave_one_out=leave_one_out)
    answers, advantages = sampled(size, scale, 100_000, ddof, leave_one_out)
    scores = []
    for a in range(4):
        own = advantages[:, 0][answers[:, 0] == a]  # one member of each group: they are independent
        scores += [z(own, of.first[a]), z(np.square(own), of.second[a])]
        for b in range(4):
            both = (answers[:, 0] == a) & (answers[:, 1] == b)
            scores.append(z((advantages[:, 0] * advantages[:, 1])[both], of.product[a, b]))
    assert np.abs(scores).max() < bonferroni(5 * len(scores), 0.01)


def z(sample: np.ndarray, expected: float) -> float:
    return float((sample.mean() - expected) / (sample.std(ddof=1) / np.sqrt(len(sample))))


@pytest.mark.parametrize(("p", "size"), [(0.1, 4), (0.1, 8), (0.3, 8), (0.5, 8), (0.9, 64)])
def test_grpo_of_two_answers_is_its_closed_form(p: float, size: int) -> None:
    """By the right answer's logit E√(K(G − K))/G, K ~ Bin(G, p); ranks are leave-one-out."""
    process = Process.of(ExamQuestion(answers="two"), np.array([1 - p, p]))
    right = np.arange(size + 1)
    chance = stats.binom.pmf(right, size, p)
    expected = chance @ np.sqrt(right * (size - right)) / size
    scores, batch = LogitScores(process), Batch(1, size)
    assert scaled_outcomes(process, scores, batch).expected[1] == pytest.approx(expected, rel=1e-7)
    of_sample = scaled_outcomes(process, scores, batch, ddof=1).expected[1]
    assert of_sample == pytest.approx(expected * math.sqrt((size - 1) / size), rel=1e-7)
    ranks = scaled_outcomes(process, scores, batch, scale="rank")
    assert ranks.expected[1] == pytest.approx(p * (1 - p), rel=1e-12)

    # Given K, the gradient by that logit is √(K(G − K))/G: its second moment needs no more.
    second = chance @ (right * (size - right)) / size**2
    variance = scaled_outcomes(process, scores, batch).variance
    assert variance == pytest.approx(2 * (second - expected**2), rel=1e-6)


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("scale", ["std", "rank"])
def test_batches_of_the_exam_question(scale: Scale, independent: bool) -> None:
    """Mean and variance of sampled batches, by random logits."""
    task = ExamQuestion()
    process = Process.of(task, random_policy(task, 4))
    groups, size, count = (1, 8, 40_000) if independent else (2, 4, 40_000)
    exact = scaled_outcomes(process, LogitScores(process), Batch(groups, size, independent), scale=scale)
    rng = np.random.default_rng(1)
    begins = rng.integers(4, size=(count, groups, size if independent else 1))
    context = np.broadcast_to(begins, (count, groups, size))
    policy = process.policy[0]
    answer = (rng.random((*context.shape, 1)) > policy[context].cumsum(-1)[..., :-1]).sum(-1)
    spread = np.sqrt(process.model.reward_variance)
    rewards = process.model.reward[context, answer] + spread[context, answer] * rng.standard_normal(context.shape)
    advantage = group_advantage(torch.from_numpy(rewards), scale).numpy()
    gradients = np.zeros((count, 4, 4))
    terms = advantage[..., None] * (np.eye(4)[answer] - policy[context]) / (groups * size)
    np.add.at(gradients, (np.arange(count)[:, None, None], context), terms)
    gradients = gradients.reshape(count, -1)
    apart = gradients - exact.expected
    means = apart.mean(0) / (apart.std(0, ddof=1) / np.sqrt(count))
    assert np.abs(means).max() < bonferroni(4 * 17, 0.01)
    assert abs(z(np.square(apart).sum(1), exact.variance)) < bonferroni(4 * 17, 0.01)


def test_an_arm_of_grpo_finds_its_way_here() -> None:
    process = Process.of(ExamQuestion(), "uniform")
    scores = LogitScores(process)
    grpo = arm("exam_question", "grpo", "monte_carlo")
    found = gradient_of(process, scores, replace(grpo, group=replace(grpo.group, groups=2, size=4)))
    direct = scaled_outcomes(process, scores, Batch(2, 4))
    np.testing.assert_array_equal(found.expected, direct.expected)
    assert found.variance == direct.variance


@pytest.mark.parametrize(
    ("answers", "size", "message"),
    [
        (Answers(np.full(2, 0.5), np.array([0.0, 1.0]), np.array([0.0, 0.1])), 4, "exact where every answer has luck"),
        (Answers(np.full(40, 1 / 40), np.arange(40.0), np.zeros(40)), 30, "use smaller groups"),
    ],
)
def test_what_is_too_much_or_mixed_is_refused(answers: Answers, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        member_moments(answers, size)


def test_other_worlds_are_refused() -> None:
    process = Process.of(WeeklyExam(), "uniform")
    with pytest.raises(UserError, match="scale=std in WeeklyExam: exact in ExamQuestion only"):
        scaled_outcomes(process, LogitScores(process), Batch(1, 4))


def test_an_answer_that_is_never_given_plays_no_part() -> None:
    with_it = Answers(np.array([0.3, 0.7, 0.0]), np.array([0.5, 0.6, 9.0]), np.array([0.1, 0.1, 0.0]))
    without = Answers(with_it.chance[:2], with_it.mean[:2], with_it.spread[:2])
    of: list[MemberMoments] = [member_moments(each, 5) for each in (with_it, without)]
    np.testing.assert_allclose(of[0].first[:2], of[1].first, rtol=0, atol=1e-14)
    np.testing.assert_allclose(of[0].product[:2, :2], of[1].product, rtol=0, atol=1e-14)
