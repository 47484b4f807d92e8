"""The three estimators: bias and spread between two Gaussians by quadrature, expected gradients by enumeration.

And how the weight of a divergence follows it, by the rules of the two papers.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.arms.reference import adapted, controlled, kl_estimate, kl_slope, vetoed, withheld

# π = N(0, 1), reference N(μ, 1), true divergence μ²/2: bias / true and standard deviation / true.
GAUSSIAN = {
    (0.1, "k1"): (0.0, 20.0),
    (0.1, "k2"): (0.0025, 1.418),
    (0.1, "k3"): (0.0, 1.417),
    (1.0, "k1"): (0.0, 2.0),
    (1.0, "k2"): (0.25, 1.732),
    (1.0, "k3"): (0.0, 1.695),
}


@pytest.mark.parametrize(("mean", "kind"), GAUSSIAN)
def test_bias_and_spread_between_gaussians(mean: float, kind: str) -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)  # expectations under N(0, 1), all but exact
    weights = weights / weights.sum()
    estimate = kl_estimate(-(nodes**2) / 2, -((nodes - mean) ** 2) / 2, kind).numpy()  # type: ignore[arg-type]
    true, expected = mean**2 / 2, (weights * estimate).sum()
    spread = np.sqrt((weights * (estimate - expected) ** 2).sum())
    bias, deviation = GAUSSIAN[mean, kind]
    assert (expected - true) / true == pytest.approx(bias, abs=5e-5)
    assert spread / true == pytest.approx(deviation, abs=1e-3)


def test_expected_gradients_as_losses() -> None:
    """Σ_a π(a) ∇k(a) with the samples fixed: 0, ∇KL(π ‖ ref), ∇KL(ref ‖ π)."""
    logits = torch.tensor([0.2, -0.5, 1.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    log_prob = logits.log_softmax(0)
    fixed = log_prob.detach().exp()
    forward = (log_prob.exp() * (log_prob - reference.log())).sum()
    backward = (reference * (reference.log() - log_prob)).sum()
    zero = torch.zeros(3, dtype=torch.float64)
    for kind, divergence in (("k1", None), ("k2", forward), ("k3", backward)):
        loss = (fixed * kl_estimate(log_prob, reference.log(), kind)).sum()  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        expected = zero if divergence is None else torch.autograd.grad(divergence, logits, retain_graph=True)[0]
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_the_slope_is_the_derivative(kind: str) -> None:
    log_prob = torch.tensor([-0.1, -2.0, -1.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-1.0, -0.5, -1.0], dtype=torch.float64)
    (expected,) = torch.autograd.grad(kl_estimate(log_prob, reference, kind).sum(), log_prob)  # type: ignore[arg-type]
    torch.testing.assert_close(kl_slope(log_prob.detach(), reference, kind), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [kl_estimate, kl_slope])
def test_unknown_kind(function: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="k4"):
        function(torch.zeros(1), torch.zeros(1), "k4")


def test_a_penalty_halves_and_doubles_its_weight() -> None:
    """arXiv 1707.06347, section 4: below two thirds of the target, and above one and a half times of it."""
    assert adapted(np.array([0.0066, 0.0067, 0.015, 0.0151]), 0.01).tolist() == [0.5, 1.0, 1.0, 2.0]


def test_the_weight_of_a_reference_changes_by_two_percent_at_most() -> None:
    """arXiv 1909.08593, section 2.2: β(1 + 0.1·e), e the relative error, clipped to ±0.2."""
    assert controlled(np.array([0.0, 0.045, 0.05, 0.055, 7.0]), 0.05) == pytest.approx([0.98, 0.99, 1.0, 1.01, 1.02])


def test_a_veto_by_hand() -> None:
    """Four episodes of up to three steps, time down; the bound is a mean of 0.5 nats."""
    kl = torch.tensor([[0.9, 0.5, 0.0, 2.0], [0.2, 0.5, 0.0, 0.0], [0.0, 0.6, 0.0, 0.0]])
    live = torch.tensor([[True, True, True, True], [True, True, True, False], [False, True, True, False]])
    far = vetoed(kl, live, 0.5)
    assert far.tolist() == [True, True, False, True]  # means of .55, .533, 0, and 2 after one step
    assert not vetoed(kl, live, float("inf")).any()
    rewards = torch.tensor([[1.0, -1.0, 2.0, 3.0], [-2.0, 0.0, 2.0, 0.0], [0.0, 4.0, -1.0, 0.0]])
    kept = [[0.0, -1.0, 2.0, 0.0], [-2.0, 0.0, 2.0, 0.0], [0.0, 0.0, -1.0, 0.0]]
    assert withheld(rewards, far).tolist() == kept


def test_exactly_at_the_bound_is_not_beyond_it() -> None:
    assert vetoed(torch.full((4, 1), 0.25), torch.ones(4, 1, dtype=torch.bool), 0.25).tolist() == [False]
