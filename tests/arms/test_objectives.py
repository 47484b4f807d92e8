"""Objectives: their values at chosen ratios, and the gradients in which they differ."""

import math

import pytest
import torch

from bench.arms.objectives import KINDS, surrogate, surrogate_and_slope

EPSILON = 0.2


def gradient(kind: str, ratio: float, advantage: float) -> float:
    """∂objective / ∂log π at ρ = `ratio`; the plain ratio objective has Aρ."""
    log_prob = torch.tensor(math.log(ratio), dtype=torch.float64, requires_grad=True)
    zero, advantages = torch.tensor(0.0, dtype=torch.float64), torch.tensor(advantage, dtype=torch.float64)
    objective = surrogate(kind, log_prob, zero, advantages, clip_range=EPSILON, kl_coef=0.5)  # type: ignore[arg-type]
    (derivative,) = torch.autograd.grad(objective, log_prob)
    return float(derivative)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.5, 2.0, 0.0),  # already far enough: no more
        (1.5, -2.0, -3.0),  # the wrong way: all the way back
        (0.5, 2.0, 1.0),
        (0.5, -2.0, 0.0),
        (1.1, 2.0, 2.2),  # inside the range clip changes nothing
        (0.9, -2.0, -1.8),
    ],
)
def test_clip_stops_only_what_has_gone_far_enough(ratio: float, advantage: float, expected: float) -> None:
    assert gradient("clip", ratio, advantage) == pytest.approx(expected, abs=1e-12)
    assert gradient("unclipped", ratio, advantage) == pytest.approx(ratio * advantage, abs=1e-12)
    assert gradient("vanilla", ratio, advantage) == pytest.approx(advantage, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("analytic", [False, True])
def test_the_slope_is_what_autograd_finds(kind: str, analytic: bool) -> None:
    """On ratios from 0.4 to 2.5, 1 among them, where both branches of the min are equal."""
    log_prob = (torch.arange(-30, 31, dtype=torch.float64) * 0.03).requires_grad_()
    advantage = torch.randn(61, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    advantage[30] = 1.0
    kl = torch.rand(61, dtype=torch.float64) if analytic else None
    objective, slope = surrogate_and_slope(
        kind, log_prob, torch.zeros_like(advantage), advantage, clip_range=EPSILON, kl_coef=0.5, kl=kl
    )  # type: ignore[call-overload]
    (expected,) = torch.autograd.grad(objective.sum(), log_prob)
    assert log_prob[30] == 0
    torch.testing.assert_close(slope.detach(), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("advantage", [-3.0, 0.0, 0.7])
def test_all_have_the_same_gradient_at_the_old_policy(kind: str, advantage: float) -> None:
    assert gradient(kind, 1.0, advantage) == pytest.approx(advantage, abs=1e-6)


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.1, 1.5])
@pytest.mark.parametrize("advantage", [-2.0, 2.0])
def test_without_the_min_there_is_no_way_back(ratio: float, advantage: float) -> None:
    """The two clips differ only where (ρ > 1+ε and A < 0) or (ρ < 1−ε and A > 0): PPO keeps Aρ∇log π there."""
    wrong_way = (ratio > 1 + EPSILON and advantage < 0) or (ratio < 1 - EPSILON and advantage > 0)
    difference = gradient("clip", ratio, advantage) - gradient("clip_without_min", ratio, advantage)
    assert difference == pytest.approx(ratio * advantage if wrong_way else 0.0, abs=1e-12)


def test_the_kl_penalty_takes_an_analytic_divergence_or_estimates_it() -> None:
    old, new = torch.tensor([0.3, 0.7]), torch.tensor([0.5, 0.5])
    divergence = (old * (old / new).log()).sum()
    advantage, ratio = torch.tensor([1.0, -1.0]), new / old
    given = surrogate("kl_penalty", new.log(), old.log(), advantage, kl_coef=2.0, kl=divergence.expand(2))
    torch.testing.assert_close(given, ratio * advantage - 2 * divergence)
    estimated = surrogate("kl_penalty", new.log(), old.log(), advantage, kl_coef=2.0)
    torch.testing.assert_close((old * estimated).sum(), (old * given).sum())  # the same on average over old actions


def test_values() -> None:
    log_prob, old = torch.log(torch.tensor([0.6, 0.6])), torch.log(torch.tensor([0.4, 0.4]))  # ρ = 1.5
    advantage = torch.tensor([2.0, -2.0])
    expected = {"unclipped": [3.0, -3.0], "clip": [2.4, -3.0], "vanilla": [2 * math.log(0.6), -2 * math.log(0.6)]}
    for kind, values in expected.items():
        objective = surrogate(kind, log_prob, old, advantage, clip_range=EPSILON)  # type: ignore[arg-type]
        torch.testing.assert_close(objective, torch.tensor(values))


def test_the_clip_range_may_differ_by_replica() -> None:
    log_prob = torch.log(torch.tensor([[1.5], [1.5]]))
    objective = surrogate(
        "clip", log_prob, torch.zeros(2, 1), torch.ones(2, 1), clip_range=torch.tensor([[0.1], [0.3]])
    )
    torch.testing.assert_close(objective, torch.tensor([[1.1], [1.3]]))


def test_what_cannot_be_computed_is_refused() -> None:
    zero = torch.zeros(1)
    with pytest.raises(ValueError, match="clip_range"):
        surrogate("clip", zero, zero, zero)
    with pytest.raises(ValueError, match="kl_coef"):
        surrogate("kl_penalty", zero, zero, zero)
    with pytest.raises(ValueError, match="'clipp'"):
        surrogate("clipp", zero, zero, zero)  # type: ignore[arg-type]
