"""Return targets: what an action's consequences are taken to be worth, before a baseline is subtracted.

All functions take tensors or arrays with time on the first axis and any trailing axes, and return tensors. With

    r_t      rewards[t]
    v'_t     next_values[t]: V of the true successor of step t, before any reset
    term_t   terminated[t]: the task itself ended, so nothing follows
    cut_t    truncated[t], or the last row: the data ends here, the task may not

every target is r_t where term_t, and r_t + γ v'_t where cut_t; they differ in how far they look elsewhere. Two
mistakes of published code are thereby impossible: a value zeroed at a truncation, and a trace that leaks over a reset.
"""

from typing import Any

import torch
from torch import Tensor

from bench.kernel.functions import traced


def lambda_return(
    rewards: Any, next_values: Any, terminated: Any, truncated: Any, gamma: float | Tensor, gae_lambda: float | Tensor
) -> Tensor:
    """λ-returns G^λ_t; minus V(s_t) they are GAE(γ, λ) (arXiv 1506.02438, eq. 16).

        G_t = r_t + γ ((1 − λ) v'_t + λ G_{t+1}),   with v'_t in place of the bracket where cut_t

    λ = 0 is the one-step target, λ = 1 the full return. Shapes: all (T, …); γ and λ broadcast to (…); returns (T, …).
    """
    rewards, next_values, terminated, cut = _prepare(rewards, next_values, terminated, truncated)
    ended = terminated | cut
    beyond = torch.where(cut, next_values, (1 - gae_lambda) * next_values)
    return traced(rewards + gamma * torch.where(terminated, 0.0, beyond), ended, gamma * gae_lambda)


def n_step_return(
    rewards: Any, next_values: Any, terminated: Any, truncated: Any, gamma: float | Tensor, n: int
) -> Tensor:
    """n-step returns (Sutton & Barto, eq. 7.1), shorter where the data ends first.

        G_t = Σ_{k<m} γ^k r_{t+k} + γ^m v'_{t+m−1},   m = n or the steps up to the first end at or after t

    n = 1 is the one-step target, n ≥ T the full return. Shapes: all (T, …); γ broadcasts to (…); returns (T, …).
    """
    if n < 1:
        raise ValueError(f"n={n}: must be at least 1")
    rewards, next_values, terminated, cut = _prepare(rewards, next_values, terminated, truncated)
    ended = terminated | cut
    bootstrapped: Tensor = rewards + gamma * torch.where(terminated, 0.0, next_values)
    targets = bootstrapped
    for _ in range(min(n, len(rewards)) - 1):  # the k-step targets of t+1 give the (k+1)-step targets of t
        longer = bootstrapped.clone()
        longer[:-1] = torch.where(ended[:-1], bootstrapped[:-1], rewards[:-1] + gamma * targets[1:])
        targets = longer
    return targets


def monte_carlo_return(
    rewards: Any, terminated: Any, truncated: Any, gamma: float | Tensor, next_values: Any | None = None
) -> Tensor:
    """Full discounted returns-to-go: G_t = r_t + γ G_{t+1}, up to the episode's end.

    Without `next_values` nothing follows where the data is cut. Shapes: all (T, …), γ broadcasts to (…); → (T, …).
    """
    if next_values is None:
        next_values = torch.zeros_like(floating(rewards))
    return lambda_return(rewards, next_values, terminated, truncated, gamma, 1.0)


def _prepare(rewards: Any, next_values: Any, terminated: Any, truncated: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tensors of one floating type, and `cut` with the last row included."""
    rewards, next_values = floating(rewards), floating(next_values)
    rewards, next_values = torch.broadcast_tensors(
        rewards.to(torch.promote_types(rewards.dtype, next_values.dtype)), next_values
    )
    cut = torch.as_tensor(truncated).bool().clone()
    cut[-1] = True
    return rewards, next_values, torch.as_tensor(terminated).bool(), cut


def floating(values: Any) -> Tensor:
    """A tensor of floating-point numbers from a tensor, an array or a list."""
    tensor: Tensor = torch.as_tensor(values)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
