"""Baselines: what a return target is compared with to become an advantage.

Sums are in double precision, and whatever is subtracted is subtracted by `difference`: equals leave exactly zero, never
a rounding residue that a normaliser would blow up to full size.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from bench.arms.returns import floating
from bench.kernel.functions import exp, mean_over, sqrt, sum_over

EQUAL = 1e-10  # Numbers that differ by less, relative to the larger, are one number that was summed in two orders.


def difference(values: Tensor, reference: Tensor) -> Tensor:
    """Return values − reference, exactly zero where both are equal up to rounding. Shapes broadcast; float64."""
    values, reference = values.double(), reference.double()
    found = values - reference
    size = torch.maximum(values.abs(), reference.abs())
    return torch.where(found.abs() < EQUAL * size, 0.0, found)


def group_advantage(
    returns: Any,
    scale: Literal["none", "std", "rank"] = "none",
    ddof: int = 0,
    eps: float = 1e-8,
    leave_one_out: bool = False,
    temperature: float | Tensor = 0.0,
    uniform: Tensor | None = None,
) -> Tensor:
    """Advantages of the members of groups, from their returns R_i alone: (…, G) → (…, G).

        none   R_i − mean R                      (Dr. GRPO, arXiv 2503.20783)
        std    (R_i − mean R) / (std R + eps)    (GRPO, arXiv 2402.03300); `ddof` 0 or 1
        rank   (wins_i − losses_i) / (G − 1)     (comparisons of pairs; ties count 0; see `comparisons`)

    `leave_one_out` compares with the mean of the other members, which is G/(G − 1) times the first (RLOO,
    arXiv 2402.14740). A dead group (all returns equal) gives exactly zero. Raises ValueError for groups of one and
    for `leave_one_out` with rank, which never compares a member with itself.
    """
    given = floating(returns)
    members, size = given.double(), given.shape[-1]
    if size < 2:
        raise ValueError(f"a group of {size} has nothing to compare with: at least 2 members are needed")
    if scale == "rank":
        if leave_one_out:
            raise ValueError("leave_one_out with scale='rank': ranks already compare with the others only")
        return (sum_over(comparisons(members, temperature, uniform), -1) / (size - 1)).to(given.dtype)
    advantage = difference(members, mean_over(members, -1, keepdim=True))
    if leave_one_out:
        advantage = advantage * (size / (size - 1))
    if scale == "std":
        advantage = scaled(advantage, group_std(members, ddof) + eps)
    return advantage.to(given.dtype)


def comparisons(returns: Tensor, temperature: float | Tensor = 0.0, uniform: Tensor | None = None) -> Tensor:
    """Compare every member of groups with every other: (…, G) → (…, G, G), 1 where i beats j, −1 where j beats i.

    Equal members tie, which counts 0. Without `uniform` every comparison is right. With it, i beats j with probability
    σ((R_i − R_j)/temperature), so that a comparison is right with probability σ(|R_i − R_j|/temperature): a reward
    model of pairs (Bradley & Terry, 1952). There is one comparison of each pair, so j loses what i wins; it takes one
    of the numbers `uniform` (…, G(G − 1)/2) in [0, 1), in the order (0, 1), (0, 2), …, (1, 2), …. Then the expected
    advantage of i is mean_{j≠i} tanh((R_i − R_j)/(2 temperature)): at a temperature of 0 the rank, and 0 at infinity,
    whatever the returns.
    """
    size = returns.shape[-1]
    first, second = torch.triu_indices(size, size, 1, device=returns.device)
    gap = difference(returns[..., first], returns[..., second])
    won = gap.sign()
    if uniform is not None:
        won = torch.where(uniform < 1 / (1 + exp(-gap / temperature)), 1.0, -1.0).to(gap)
    won = torch.where(gap.abs() > 0, won, gap)  # a tie is 0, and what is no number stays none
    found = won.new_zeros(*returns.shape, size)
    found[..., first, second] = won
    return found - found.transpose(-1, -2)


def living_advantage(values: Tensor, live: Tensor, leave_one_out: bool = False) -> Tensor:
    """Values minus the mean of the members still living: values and live (…, G) → (…, G).

    A lone survivor is compared with itself, also when `leave_one_out` leaves it nobody: its advantage is zero.
    """
    count = live.sum(-1, keepdim=True)
    total = sum_over(torch.where(live, values.double(), 0.0), -1, keepdim=True)
    advantage = torch.where(live, difference(values, total / count), 0.0)
    if leave_one_out:
        advantage = advantage * (count / (count - 1).clamp(min=1))
    return advantage.to(values.dtype)


def process_advantage(rewards: Tensor, live: Tensor, ddof: int = 0, eps: float = 1e-8) -> Tensor:
    """GRPO with process supervision (arXiv 2402.03300, section 4.1.3): rewards and live (T, …, G) → advantages.

    Every step reward is standardised over all live steps of the group, r̃ = (r − mean) / (std + eps), and a step is
    credited with the sum of r̃ from there on, undiscounted. Where all step rewards are equal it is exactly zero.
    """
    count = live.sum((0, -1), keepdim=True)

    def total(values: Tensor) -> Tensor:
        return sum_over(sum_over(torch.where(live, values.double(), 0.0), 0, keepdim=True), -1, keepdim=True)

    centred = torch.where(live, difference(rewards, total(rewards) / count), 0.0)
    std = sqrt(total(centred.square()) / (count - ddof).clamp(min=1))
    return scaled(centred, std + eps).flip(0).cumsum(0).flip(0).to(rewards.dtype)


def vine_value(rewards: Tensor, restored: Tensor, every: int, gamma: float | Tensor) -> Tensor:
    """What the last restored state's value leaves for each step: rewards and restored (T, …) → b(s_t) (T, …).

    γ broadcasts to (…).

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
    return difference(returns.amax(-1), returns.amin(-1)) == 0


def group_std(returns: Tensor, ddof: int = 0) -> Tensor:
    """The standard deviation of the members of groups: (…, G) → (…, 1)."""
    centred = difference(returns, mean_over(returns.double(), -1, keepdim=True))
    return sqrt(sum_over(centred.square(), -1, keepdim=True) / (returns.shape[-1] - ddof))


def scaled(centred: Tensor, divisor: Tensor) -> Tensor:
    """Return centred / divisor; zero stays zero, whatever the divisor. Shapes broadcast."""
    return torch.where(centred == 0, 0.0, centred / divisor)
