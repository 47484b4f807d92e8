"""Equals leave exactly zero, in every baseline, whatever they are and in whatever order they were summed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.arms.advantage import BASELINES, Batch, advantage
from bench.arms.baselines import difference, group_advantage, living_advantage, process_advantage
from tests.learner.probes import combined

T, S, N = 12, 3, 10
VALUES = [99.34, 0.1, 1 / 3, -0.7, 1e6 + 0.1, -1237.7, 1e-5, 0.0]
KINDS: dict[str, Callable[[Tensor], Tensor]] = {  # of (…, 10) equal numbers
    "group": group_advantage,
    "group, leave one out": lambda x: group_advantage(x, leave_one_out=True),
    "group, std": lambda x: group_advantage(x, "std"),
    "group, std without eps": lambda x: group_advantage(x, "std", ddof=1, eps=0.0),
    "group, rank": lambda x: group_advantage(x, "rank"),
    "alive only": lambda x: living_advantage(x, torch.ones_like(x, dtype=torch.bool)),
    "alive only, leave one out": lambda x: living_advantage(x, torch.arange(10).expand_as(x) < 7, True),
    "process": lambda x: process_advantage(x, torch.arange(10).expand_as(x) < 7),
    "process without eps": lambda x: process_advantage(x, torch.ones_like(x, dtype=torch.bool), eps=0.0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("kind", KINDS)
def test_functions_of_equals(kind: str, value: float, dtype: torch.dtype) -> None:
    found = KINDS[kind](torch.full((5, 2, 10), value, dtype=dtype))
    assert found.dtype == dtype
    assert torch.equal(found, torch.zeros_like(found))


def batch_of(rewards: Tensor, values: Tensor | None = None) -> Batch:
    """Complete episodes of T steps; with `values` (T + 1, S, N) of a critic."""
    live = torch.ones(T, S, N, dtype=torch.bool)
    last = torch.zeros_like(live)
    last[-1] = True
    return Batch(
        rewards, last, torch.zeros_like(last), live,
        None if values is None else values[:-1], None if values is None else values[1:],
    )  # fmt: skip


GROUPED = ("group.groups=2", "group.size=5")
ARMS = {
    **{name: (name, GROUPED) for name in ("batch_mean", "group", "grpo", "rloo")},
    "time_mean": ("time_mean", ("group.groups=1", "group.size=10")),
    "alive only": ("group", (*GROUPED, "group.alive_only=true")),
    "rank": ("group", (*GROUPED, "group.scale=rank")),
    "outcome": ("grpo", (*GROUPED, "group.credit=outcome")),
    "outcome, ddof 1": ("grpo", (*GROUPED, "group.credit=outcome", "group.ddof=1")),
    "leave one out, alive only": ("rloo", (*GROUPED, "group.alive_only=true")),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("arm", [name for name in ARMS if name != "batch_mean"])
def test_groups_whose_members_all_earn_the_same(arm: str, value: float) -> None:
    """The reward comes at steps that the members share, so that every return to go is the same for all of them."""
    name, overrides = ARMS[arm]
    rewards = (torch.arange(T).view(T, 1, 1) % 3 == 0) * torch.full((T, S, N), value, dtype=torch.float64)
    found = advantage(batch_of(rewards), combined(name, "monte_carlo", "clip", "episodes", "gamma=0.97", *overrides))
    assert torch.equal(found, torch.zeros_like(found))


@pytest.mark.parametrize("value", VALUES)
def test_a_batch_whose_steps_all_earn_the_same(value: float) -> None:
    rewards = torch.full((T, S, N), value, dtype=torch.float64)
    arm = combined("batch_mean", "td0", "clip", "episodes", "gamma=0")
    found = advantage(batch_of(rewards, torch.zeros(T + 1, S, N, dtype=torch.float64)), arm)
    assert torch.equal(found, torch.zeros_like(found))


@pytest.mark.parametrize("arm", ["outcome", "outcome, ddof 1"])
def test_equal_returns_that_were_summed_in_other_orders(arm: str) -> None:
    """Every member earns the same numbers in another order, so that sums differ in their last bits."""
    name, overrides = ARMS[arm]
    generator = torch.Generator().manual_seed(1)
    earned = torch.rand(T, generator=generator, dtype=torch.float64) * 1e3
    orders = torch.stack([torch.randperm(T, generator=generator) for _ in range(S * N)], 1).view(T, S, N)
    rewards = earned[orders]
    sums = torch.stack(list(rewards)).cumsum(0)[-1]
    assert len(sums.unique()) > 1, "all orders happen to give one sum"
    found = advantage(batch_of(rewards), combined(name, "monte_carlo", "clip", "episodes", "gamma=1", *overrides))
    assert torch.equal(found, torch.zeros_like(found))


@pytest.mark.parametrize("target", ["td0", "nstep", "gae", "monte_carlo"])
@pytest.mark.parametrize("size", [0.1, 99.34, 1e5])
def test_a_critic_that_knows_everything_leaves_nothing(target: str, size: float) -> None:
    """Its values are the exact returns of what follows, computed backwards one step at a time."""
    generator = torch.Generator().manual_seed(2)
    rewards = torch.rand(T, S, N, generator=generator, dtype=torch.float64) * size
    values = torch.zeros(T + 1, S, N, dtype=torch.float64)
    for t in reversed(range(T)):
        values[t] = rewards[t] + 0.97 * values[t + 1]
    arm = combined("critic", target, "clip", "episodes", "gamma=0.97", "gae_lambda=0.9", "n_step=5")
    found = advantage(batch_of(rewards, values), arm)
    assert torch.equal(found, torch.zeros_like(found))


def test_every_baseline_is_tried() -> None:
    assert {name for name, _ in ARMS.values()} | {"none", "critic", "vine"} == set(BASELINES)


def test_what_differs_stays_different() -> None:
    one = torch.tensor(1.0, dtype=torch.float64)
    assert difference(one + 1e-9, one).item() == pytest.approx(1e-9, rel=1e-6)
    assert difference(one + 1e-12, one).item() == 0.0
    assert difference(one * 1e-300, one * 0).item() == 1e-300
    assert difference(torch.tensor([torch.inf, torch.nan]), one).isfinite().tolist() == [False, False]
