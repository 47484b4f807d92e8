"""How far a policy is from a frozen reference, and how the weight β of such a divergence follows it.

The divergence is estimated from the policy's own actions. The weight is each replica's own.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.arms.returns import floating
from bench.kernel.functions import exp, expm1, sum_over

Array = npt.NDArray[Any]


def kl_estimate(log_prob: Any, log_prob_ref: Any, kind: Literal["k1", "k2", "k3"] = "k3") -> Tensor:
    """Per-sample estimates of KL(π ‖ π_ref) from actions of π, with r = π_ref(a|s) / π(a|s).

        k1   −log r          unbiased, signed, high variance
        k2   ½ (log r)²      biased, never negative
        k3   r − 1 − log r   unbiased, never negative

    (Schulman, "Approximating KL divergence", 2020.) Differentiated as a loss with the samples fixed, their expected
    gradients are another matter: zero for k1, that of KL(π ‖ π_ref) for k2, that of KL(π_ref ‖ π) for k3. Shapes: any,
    alike. Raises ValueError for an unknown kind.
    """
    log_ratio = floating(log_prob_ref) - floating(log_prob)
    if kind == "k1":
        return -log_ratio
    if kind == "k2":
        return 0.5 * log_ratio.square()
    if kind == "k3":
        return exp(log_ratio) - 1 - log_ratio
    raise ValueError(f"unknown kind '{kind}': allowed are k1, k2, k3")


def kl_slope(log_prob: Any, log_prob_ref: Any, kind: Literal["k1", "k2", "k3"] = "k3") -> Tensor:
    """The derivative of `kl_estimate` by `log_prob`, per sample: 1 for k1, −log r for k2, 1 − r for k3.

    Shapes: any, alike. Raises ValueError for an unknown kind.
    """
    log_ratio = floating(log_prob_ref) - floating(log_prob)
    if kind == "k1":
        return torch.ones_like(log_ratio)
    if kind == "k2":
        return -log_ratio
    if kind == "k3":
        return -expm1(log_ratio)
    raise ValueError(f"unknown kind '{kind}': allowed are k1, k2, k3")


def vetoed(kl: Tensor, live: Tensor, veto: float) -> Tensor:
    """Return which episodes went further from the reference than `veto` nats, on average over their steps: (…, N) bool.

    `kl` (T, …, N) is the divergence KL(π_old ‖ π_ref) at each step, 0 where an episode is not `live` (T, …, N).
    """
    return sum_over(kl, 0) > veto * live.sum(0)


def withheld(rewards: Tensor, episodes: Tensor) -> Tensor:
    """Return rewards (T, …, N) of which these `episodes` (…, N) keep what they lost, min(r, 0), and earn nothing."""
    return torch.where(episodes, rewards.clamp(max=0), rewards)


def adapted(kl: Array, target: float | Array) -> Array:
    """Return the factor of β after an update that moved the policy by `kl` (arXiv 1707.06347, section 4)."""
    low, high = (np.asarray(bound, dtype=kl.dtype) for bound in (target / 1.5, target * 1.5))
    return np.where(kl < low, 0.5, np.where(kl > high, 2.0, 1.0))


def controlled(kl: Array, target: float | Array) -> Array:
    """Return the factor of β after a batch that was `kl` away from the reference (arXiv 1909.08593, section 2.2).

    A policy needs many updates to come near a reference. Doubled in each, β would meanwhile grow beyond all numbers.
    """
    aim = np.asarray(target, dtype=kl.dtype)
    return np.asarray(1 + 0.1 * np.clip((kl - aim) / aim, -0.2, 0.2))
