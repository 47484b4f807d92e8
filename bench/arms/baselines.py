"""Baselines: what a return target is compared with to become an advantage."""

from typing import Any, Literal

import torch
from torch import Tensor

from bench.arms.returns import floating


def group_advantage(
    returns: Any,
    scale: Literal["none", "std", "rank"] = "none",
    ddof: int = 0,
    eps: float = 1e-8,
    leave_one_out: bool = False,
) -> Tensor:
    """Advantages of the members of groups, from their returns R_i alone: (…, G) → (…, G).

        none   R_i − mean R                      (Dr. GRPO, arXiv 2503.20783)
        std    (R_i − mean R) / (std R + eps)    (GRPO, arXiv 2402.03300); `ddof` 0 or 1
        rank   (wins_i − losses_i) / (G − 1)     (comparisons of pairs; ties count 0)

    `leave_one_out` compares with the mean of the other members, which is G/(G − 1) times the first (RLOO,
    arXiv 2402.14740). A dead group (all returns equal) gives exactly zero. Raises ValueError for groups of one and
    for `leave_one_out` with rank, which never compares a member with itself.
    """
    members = floating(returns)
    size = members.shape[-1]
    if size < 2:
        raise ValueError(f"a group of {size} has nothing to compare with: at least 2 members are needed")
    if scale == "rank":
        if leave_one_out:
            raise ValueError("leave_one_out with scale='rank': ranks already compare with the others only")
        return (members.unsqueeze(-1) - members.unsqueeze(-2)).sign().sum(-1) / (size - 1)
    advantage = members - members.mean(-1, keepdim=True)
    if leave_one_out:
        advantage = advantage * (size / (size - 1))
    if scale == "std":
        advantage = advantage / group_std(members, ddof, eps)
    # The mean of equal numbers may be off by a rounding error, which the division would blow up.
    return torch.where(dead_groups(members).unsqueeze(-1), 0.0, advantage)


def living_advantage(values: Tensor, live: Tensor, leave_one_out: bool = False) -> Tensor:
    """Values minus the mean of the members still living: values and live (…, G) → (…, G).

    A lone survivor is compared with itself, also when `leave_one_out` leaves it nobody: its advantage is zero.
    """
    count = live.sum(-1, keepdim=True)
    total = torch.where(live, values, 0.0).sum(-1, keepdim=True)
    advantage = torch.where(live & (count > 1), values - total / count, 0.0)
    return advantage * (count / (count - 1).clamp(min=1)) if leave_one_out else advantage


def dead_groups(returns: Tensor) -> Tensor:
    """Which groups teach nothing because all their returns are equal: (…, G) → (…) bool."""
    return returns.amax(-1) == returns.amin(-1)


def group_std(returns: Tensor, ddof: int = 0, eps: float = 1e-8) -> Tensor:
    """The divisor of `scale="std"`: (…, G) → (…, 1)."""
    return returns.std(-1, correction=ddof, keepdim=True) + eps
