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


def process_advantage(rewards: Tensor, live: Tensor, ddof: int = 0, eps: float = 1e-8) -> Tensor:
    """GRPO with process supervision (arXiv 2402.03300, section 4.1.3): rewards and live (T, …, G) → advantages.

    Every step reward is standardised over all live steps of the group, r̃ = (r − mean) / (std + eps), and a step is
    credited with the sum of r̃ from there on, undiscounted. Where all step rewards are equal it is exactly zero.
    """
    count = live.sum((0, -1), keepdim=True)
    mean = torch.where(live, rewards, 0.0).sum((0, -1), keepdim=True) / count
    centred = torch.where(live, rewards - mean, 0.0)
    std = (centred.square().sum((0, -1), keepdim=True) / (count - ddof).clamp(min=1)).sqrt()
    highest = torch.where(live, rewards, -torch.inf).amax((0, -1), keepdim=True)
    lowest = torch.where(live, rewards, torch.inf).amin((0, -1), keepdim=True)
    # The mean of equal numbers may be off by a rounding error, which the division would blow up.
    standardised = torch.where(highest == lowest, 0.0, centred / (std + eps))
    return standardised.flip(0).cumsum(0).flip(0)


def vine_value(rewards: Tensor, restored: Tensor, every: int, gamma: float) -> Tensor:
    """What the last restored state's value leaves for each step: rewards and restored (T, …) → b(s_t) (T, …).

        b(s_t) = (V̂(s_j) − Σ_{j≤i<t} γ^{i−j} r_i) / γ^{t−j},   j the last multiple of `every` up to t

    `restored` is V̂(s_j), the mean return of fresh episodes from s_j; only its rows j are read. The action at t enters
    nothing before it, so b is a baseline.
    """
    values = torch.empty_like(rewards)
    for t in range(len(rewards)):
        values[t] = restored[t] if t % every == 0 else (values[t - 1] - rewards[t - 1]) / gamma
    return values


def dead_groups(returns: Tensor) -> Tensor:
    """Which groups teach nothing because all their returns are equal: (…, G) → (…) bool."""
    return returns.amax(-1) == returns.amin(-1)


def group_std(returns: Tensor, ddof: int = 0, eps: float = 1e-8) -> Tensor:
    """The divisor of `scale="std"`: (…, G) → (…, 1)."""
    return returns.std(-1, correction=ddof, keepdim=True) + eps
