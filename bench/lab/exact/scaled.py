"""Groups whose advantages are divided by the group's spread (GRPO), or are ranks, where an episode is one answer.

Rewards are Gaussian, so that outcomes cannot be enumerated. With x_i = R_i − μ, the population variance s² of a group
obeys exp(−u²s²) = u/√π ∫ dμ Π_i exp(−u²x_i²/G), and so

    1/s  = 2/π  ∫∫ u  Π_i exp(−u²x_i²/G) dμ du,        1/s² = 2/√π ∫∫ u² Π_i exp(−u²x_i²/G) dμ du.

Under the integrals the members are independent: what is left are moments E[xʲ exp(−u²x²/G)] of Gaussians. Means of
(R_1 − m)/s and of products of two members' advantages are two-dimensional integrals of smooth functions. Ranks are sums
of signs, whose means are normal distribution functions of pairs, integrated over the member that two pairs share. Where
rewards have no luck at all, groups are enumerated. The number `group.eps`, which is added to s, is left out of the
integrals: it changes them by less than a part in a million.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from bench.arms.baselines import group_advantage
from bench.errors import UserError
from bench.kernel import arrays
from bench.lab.exact.gradients import kind_gradients, variance_of_groups
from bench.lab.exact.groups import Batch, BatchGradient
from bench.lab.exact.process import Process
from bench.lab.exact.scores import Scores, centred
from bench.tasks.base import Array
from bench.tasks.exam_question import ExamQuestion

PRECISIONS = np.arange(-112, 113) / 32  # t, with u ∝ exp(2 sinh t)
REACH, FINENESS = 7.0, 0.6  # of the grid of locations: how many widths it covers, and its step in widths
NORMAL = np.arange(-272, 273) / 32  # nodes of integrals over a standard normal variable
MOST_GROUPS = 1 << 20  # that are enumerated

Scale = Literal["std", "rank"]


@dataclass(frozen=True)
class Answers:
    """What a member of a group may answer: C answers with their `chance`, and `mean` and `spread` of their reward."""

    chance: Array
    mean: Array
    spread: Array


@dataclass(frozen=True)
class MemberMoments:
    """Of a member's advantage Â given its answer: E Â and E Â² (C,), and E Â₁Â₂ given two members' answers (C, C)."""

    first: Array
    second: Array
    product: Array


def scaled_outcomes(
    process: Process, scores: Scores, batch: Batch, *, scale: Scale = "std", ddof: int = 0, leave_one_out: bool = False
) -> BatchGradient:
    """Return the gradient of groups whose outcomes are divided by their spread (`group.scale=std`), or ranked.

    Args:
        process: a policy in the exam question, where an episode is one answer.
        scores: ∇log π, by logits or by a network's parameters.
        batch: its groups.
        scale: "std" (GRPO) or "rank".
        ddof: degrees of freedom that the standard deviation takes off the group's size.
        leave_one_out: whether the mean is that of the others.

    Raises:
        UserError: in another world, and where some answers have luck and others have none.
    """
    if not isinstance(process.task, ExamQuestion):
        raise UserError(
            f"scale={scale} in {type(process.task).__name__}: exact in ExamQuestion only; `sampled_gradient` samples it"
        )
    model, starts = process.model, process.starts
    spread = np.sqrt(model.reward_variance)
    chances = process.policy[0, starts.states]  # (K, A)
    rewards, spreads = model.reward[starts.states], spread[starts.states]

    def moments(answers: Answers) -> MemberMoments:
        return member_moments(answers, batch.size, scale=scale, ddof=ddof, leave_one_out=leave_one_out)

    if batch.independent:
        joint = (starts.weights[:, None] * chances).ravel()
        of = moments(Answers(joint, rewards.ravel(), spreads.ravel()))
        return _independent(process, scores, batch, of)
    each = [moments(Answers(*row)) for row in zip(chances, rewards, spreads, strict=True)]
    first, second = (np.stack([getattr(of, name) for of in each]) for name in ("first", "second"))
    mean, one = _of_one(process, scores, first, second)
    products = _products(process, scores)
    actions, size = chances.shape[1], batch.size
    together = np.array(
        [
            (np.outer(chance, chance) * of.product * products[k * actions :, k * actions :][:actions, :actions]).sum()
            for k, (chance, of) in enumerate(zip(chances, each, strict=True))
        ]
    )
    within = one / size + (1 - 1 / size) * together - np.square(mean).sum(1)
    variance = variance_of_groups(starts, mean, within, batch.groups)
    return BatchGradient(starts.mean(mean), variance, kind_gradients(starts, mean, one))


def _independent(process: Process, scores: Scores, batch: Batch, of: MemberMoments) -> BatchGradient:
    """Return the gradient of one group whose members begin independently; answers are those of every start."""
    starts, size, shape = process.starts, batch.size, (len(process.starts.states), -1)
    mean, one = _of_one(process, scores, of.first.reshape(shape), of.second.reshape(shape))
    chance = (starts.weights[:, None] * process.policy[0, starts.states]).ravel()
    together = float((np.outer(chance, chance) * of.product * _products(process, scores)).sum())
    expected = starts.mean(mean)
    variance = float(starts.mean(one)) / size + (1 - 1 / size) * together - float(np.square(expected).sum())
    return BatchGradient(expected, variance, kind_gradients(starts, mean, one))


def _of_one(process: Process, scores: Scores, first: Array, second: Array) -> tuple[Array, Array]:
    """Return E ψÂ (K, P) and E‖ψ‖²Â² (K,) of a member, from the moments (K, A) of its advantage given its answer."""
    states, count = process.starts.states, len(process.starts.states)
    credited = np.zeros((count, *process.shape))
    credited[np.arange(count), 0, states] = first
    policy, long = process.policy[0, states], scores.lengths[0, states]
    return scores.gradient(centred(process, credited)), (policy * long * second).sum(1)


def _products(process: Process, scores: Scores) -> Array:
    """Return ψ(s, a) · ψ(s', a') of all start states and answers, (K · A, K · A)."""
    rows, actions = (0, process.starts.states), process.shape[2]
    products = scores.products(rows, rows)
    assert products is not None  # of a step with itself
    policy = process.policy[0, rows[1]]
    left = products - (policy[:, :, None, None] * products).sum(1, keepdims=True)
    both: Array = left - (left * policy).sum(3, keepdims=True)
    return both.reshape(len(policy) * actions, -1)


def member_moments(
    answers: Answers, size: int, *, scale: Scale = "std", ddof: int = 0, leave_one_out: bool = False
) -> MemberMoments:
    """Return the moments of members' advantages in a group of that size. Raises `UserError`, see `scaled_outcomes`."""
    possible = answers.chance > 0
    lucky = answers.spread[possible] > 0
    if not lucky.any():
        return _enumerated(answers, size, scale, ddof, leave_one_out)
    if not lucky.all():
        raise UserError(
            f"spreads {answers.spread.tolist()}: exact where every answer has luck, or none has; `sampled_gradient` "
            f"samples the others"
        )
    if scale == "rank":
        return _ranked(answers, size)
    of = _standardised(answers, size)
    factor = math.sqrt((size - ddof) / size) * (size / (size - 1) if leave_one_out else 1.0)
    return MemberMoments(factor * of.first, factor * factor * of.second, factor * factor * of.product)


def _enumerated(answers: Answers, size: int, scale: Scale, ddof: int, leave_one_out: bool) -> MemberMoments:
    """Return the moments from all groups there are, by how often each answer is given; by the arms' own function."""
    count = len(answers.chance)
    number = math.comb(size - 2 + count - 1, count - 1)
    if number * count * count > MOST_GROUPS:
        raise UserError(
            f"size={size} with {count} answers: {number * count * count} groups, at most {MOST_GROUPS} are enumerated; "
            f"use smaller groups, or `sampled_gradient`"
        )
    first, second, product = np.zeros(count), np.zeros(count), np.zeros((count, count))
    pairs = np.indices((count, count)).reshape(2, -1)
    for others in itertools.combinations_with_replacement(range(count), size - 2):
        chance = _chance(answers.chance, others)
        if chance == 0:
            continue
        members = np.concatenate([pairs, np.repeat(np.array(others, dtype=int)[:, None], count * count, 1)])
        rewards = torch.from_numpy(answers.mean[members].T.copy())
        advantage = group_advantage(rewards, scale, ddof, leave_one_out=leave_one_out).numpy()[:, :2]
        own, other = advantage.T.reshape(2, count, count)
        first += chance * (own * answers.chance).sum(1)
        second += chance * (np.square(own) * answers.chance).sum(1)
        product += chance * own * other
    return MemberMoments(first, second, product)


def _chance(chance: Array, others: tuple[int, ...]) -> float:
    """Return the probability that members give these answers, in whatever order."""
    counts = np.bincount(np.array(others, dtype=int), minlength=len(chance))
    orders = math.factorial(len(others))
    for number in counts:
        orders //= math.factorial(int(number))
    powers = [arrays.powers(float(p), int(number) + 1)[int(number)] for p, number in zip(chance, counts, strict=True)]
    return float(orders * math.prod(powers))


@dataclass(frozen=True)
class _Tilted:
    """E[xʲ exp(−u²x²/G)] of every answer on the grid, (C, U, M), for j = 0, 1, 2; their means over answers (U, M).

    `weight` (U, M) is du dμ.
    """

    answers: Answers
    size: int
    precision: Array  # u, (U, 1)
    weight: Array
    each: tuple[Array, Array, Array]
    mean: tuple[Array, Array, Array]

    @classmethod
    def of(cls, answers: Answers, size: int) -> "_Tilted":
        """Lay the grid and evaluate them."""
        possible = answers.chance > 0
        means, spreads = answers.mean[possible], answers.spread[possible]
        low, high, widest, finest = means.min(), means.max(), spreads.max(), spreads.min()
        growth = arrays.exp(PRECISIONS)
        up = arrays.exp(growth - 1 / growth)[:, None]  # exp(2 sinh t)
        u = up / (widest + high - low)
        by_t = u * (growth + 1 / growth)[:, None] / 32  # du
        inverse = 1 / np.square(u)
        reach = REACH * np.sqrt(widest * widest + inverse)
        step = FINENESS * np.sqrt(finest * finest / size + inverse / 2)
        places = int(np.ceil(((high - low + 2 * reach) / step).max()))
        share = np.arange(places + 1) / places
        location = low - reach + (high - low + 2 * reach) * share
        weight = by_t * (high - low + 2 * reach) / places * np.ones_like(location)

        slope = np.square(u) / size
        wide = 1 + 2 * slope * np.square(answers.spread)[:, None, None]
        apart = answers.mean[:, None, None] - location
        zeroth = arrays.exp(-slope * np.square(apart) / wide) / np.sqrt(wide)
        tilted = apart / wide
        spread = np.square(answers.spread)[:, None, None] / wide
        each = zeroth, zeroth * tilted, zeroth * (spread + np.square(tilted))
        chance = answers.chance[:, None, None]
        zero, one, two = ((chance * moment).sum(0) for moment in each)
        return cls(answers, size, u, weight, each, (zero, one, two))

    def power(self, exponent: int) -> Array:
        """Return the mean of exp(−u²x²/G), to a power, (U, M)."""
        result = np.ones_like(self.weight)
        for _ in range(exponent):
            result = result * self.mean[0]
        return result

    def others(self, count: int, degree: int) -> Array:
        """Return E[(Σ x)ʲ Π exp(−u²x²/G)] over `count` members, (U, M), for the degree j = 0, 1, 2."""
        if degree == 0:
            return self.power(count)
        _, one, two = self.mean
        if degree == 1:
            return count * one * self.power(count - 1) if count else np.zeros_like(one)
        first = count * two * self.power(count - 1) if count else np.zeros_like(two)
        pairs = count * (count - 1)
        total: Array = first + (pairs * np.square(one) * self.power(count - 2) if pairs else 0.0)
        return total


def _standardised(answers: Answers, size: int) -> MemberMoments:
    """Return the moments of (R_i − m)/s, s the population standard deviation of the group."""
    grid = _Tilted.of(answers, size)
    zero, one, two = grid.each
    share = 1 / size
    rest = 1 - share
    once, twice = grid.weight * grid.precision, grid.weight * np.square(grid.precision)

    def integral(weight: Array, values: Array) -> Array:
        total: Array = (weight * values).sum((-2, -1))
        return total

    # R_1 − m = rest · x_1 − share · Σ x of the others.
    z0, z1, z2 = (grid.others(size - 1, degree) for degree in range(3))
    first = 2 / math.pi * integral(once, rest * one * z0 - share * zero * z1)
    squared = rest * rest * two * z0 - 2 * rest * share * one * z1 + share * share * zero * z2
    second = 2 / math.sqrt(math.pi) * integral(twice, squared)

    # (R_1 − m)(R_2 − m), the others being two fewer.
    z0, z1, z2 = (grid.others(size - 2, degree) for degree in range(3))
    product = np.empty((len(zero), len(zero)))
    mixed = share * share - rest * share
    for a, b in itertools.product(range(len(zero)), repeat=2):
        own = (rest * rest + share * share) * one[a] * one[b] - rest * share * (two[a] * zero[b] + zero[a] * two[b])
        crossed = mixed * (one[a] * zero[b] + zero[a] * one[b])
        product[a, b] = integral(twice, own * z0 + crossed * z1 + share * share * zero[a] * zero[b] * z2)
    return MemberMoments(first, second, 2 / math.sqrt(math.pi) * product)


def _ranked(answers: Answers, size: int) -> MemberMoments:
    """Return the moments of (wins − losses)/(G − 1); two rewards are equal with probability 0."""
    mean, spread, chance = answers.mean, answers.spread, answers.chance
    density = arrays.normal_distribution(NORMAL)[1] / 32
    reward = mean[:, None] + spread[:, None] * NORMAL  # (C, Z), of every answer
    # E sign(r − R) for R of answer c, (C, C', Z): r is a reward of the second, and over all answers c.
    above = 2 * arrays.normal_distribution((reward - mean[:, None, None]) / spread[:, None, None])[0] - 1
    anyone = (chance[:, None, None] * above).sum(0)  # (C', Z)
    pair = (density * above).sum(-1).T  # E sign(R_1 − R_2) given a, b
    win = (chance * pair).sum(1)
    others = size - 2
    first = win
    second = (1 + others * (density * np.square(anyone)).sum(-1)) / (size - 1)
    # Â₁Â₂ (G − 1)² = −1 + Σ_j s₁₂ s₂ⱼ + Σ_j s₁ⱼ s₂₁ + Σ_j s₁ⱼ s₂ⱼ + Σ_{j≠k} s₁ⱼ s₂ₖ
    through = -(density * above * anyone[None]).sum(-1)  # E s₁₂ s₂ⱼ given a, b: R_2 = r, and s₁₂ = −sign(r − R_1)
    common = (chance[None, None, :] * _both_above(above, density)).sum(-1)
    several = others * (through + through.T + common) + others * (others - 1) * np.outer(win, win)
    return MemberMoments(first, second, (several - 1) / ((size - 1) * (size - 1)))


def _both_above(above: Array, density: Array) -> Array:
    """Return E[sign(R_1 − r) sign(R_2 − r)] given the answers of both, for r of each answer, (C, C, C')."""
    return np.stack([[(density * one * two).sum(-1) for two in above] for one in above])
