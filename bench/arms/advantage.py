"""Advantage = return target − baseline: the two factors as functions of a collected batch, and their registries.

`@target("td0")` makes a function the option `advantage=td0`, and `@baseline("critic")` makes one `baseline=critic`. The
file conf/<factor>/<name>.yaml describes the option and says what it needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench import plugin
from bench.arms.baselines import (
    comparisons,
    dead_groups,
    difference,
    group_advantage,
    group_std,
    living_advantage,
    process_advantage,
    scaled,
    vine_value,
)
from bench.arms.numbers import Numbers
from bench.arms.returns import lambda_return, monte_carlo_return, n_step_return
from bench.config.schema import Arm, Group
from bench.errors import UserError
from bench.kernel import arrays
from bench.kernel.functions import mean_over, sum_over

F = TypeVar("F")


@dataclass(frozen=True)
class Batch:
    """What one rollout of S replicas with N environments collected, time first: tensors are (T, S, N) unless stated.

    rewards     raw: nothing is added at a time limit
    terminated  the task ended with this step
    truncated   the time limit ended it (and the task did not)
    live        False where an environment had finished and waited for the others; rewards are 0 and flags False there
    values      V(s_t), or None in an arm without a critic
    next_values V of the true successor of step t, before any reset; None without a critic
    restored    V̂(s_t) from episodes run from the restored state, at the steps where baseline=vine restores; else None
    numbers     what each replica has of its own; None: all have the numbers of the arm (see `number`)
    uniform     numbers in [0, 1) that decide a comparator's errors, one for each pair of a group's members, whose whole
                returns are compared (1, S, groups, pairs) or whose steps (T, …); None: every comparison is right

    Environments [k·size, (k + 1)·size) of a replica are group k.
    """

    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    live: Tensor
    values: Tensor | None
    next_values: Tensor | None
    restored: Tensor | None = None
    numbers: Numbers | None = None
    uniform: Tensor | None = None

    def select(self, rows: Sequence[int]) -> "Batch":
        """Return what these replicas collected."""
        chosen: dict[str, Any] = {
            name: value[:, list(rows)] for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **chosen, numbers=None if self.numbers is None else self.numbers.select(rows))


def number(key: str, batch: Batch, arm: Arm) -> Any:
    """Return a number of `bench.arms.numbers.KEYS`: each replica's own, (S, 1), or the arm's, (1, 1).

    What is computed of a batch (T, S, N) reads such numbers here, and not from the arm.
    """
    if batch.numbers is None:
        return Numbers.of([arm]).column(key, batch.rewards)
    return batch.numbers.column(key, batch.rewards)


Target = Callable[[Batch, Arm], Tensor]  # → targets (T, S, N)
Baseline = Callable[[Tensor, Batch, Arm], Tensor]  # targets (T, S, N) → advantages (T, S, N)
TARGETS: dict[str, Target] = {}
BASELINES: dict[str, Baseline] = {}


def target(name: str) -> Callable[[Target], Target]:
    """Enter a function of (batch, arm) → targets (T, S, N) as `advantage=name`."""
    return partial(_enter, TARGETS, (name,))


def baseline(*names: str) -> Callable[[Baseline], Baseline]:
    """Enter a function of (targets, batch, arm) → advantages (T, S, N) as `baseline=name`, for each of the names."""
    return partial(_enter, BASELINES, names)


def _enter(registry: dict[str, F], names: Sequence[str], function: F) -> F:
    registry.update(dict.fromkeys(names, function))
    return function


def return_target(name: str, batch: Batch, arm: Arm) -> Tensor:
    """The targets (T, S, N) of `advantage=name` or of `critic.target`; 0 where not live."""
    return torch.where(batch.live, TARGETS[name](batch, arm), 0.0)


def _advantage_target(batch: Batch, arm: Arm) -> Tensor:
    """The targets (T, S, N) an action is credited with; 0 where not live."""
    factor = arm.advantage
    if factor.name != "plugin":
        return return_target(factor.name, batch, arm)
    function = plugin.load("advantage", factor.plugin).function
    targets = _by_plugin("advantage", batch, arm, lambda _, *given: function(*given, **factor.options))
    return torch.where(batch.live, targets, 0.0)


def _by_plugin(key: str, batch: Batch, arm: Arm, call: Callable[[list[int], Batch, Arm], Any]) -> Tensor:
    """What a plug-in returns, which may read any number of the arm: it is called once for all replicas with one arm.

    `call` is given these replicas, their batch and their arm. Raises `UserError` where something returned is not a
    number for every step.
    """
    everyone = list(range(batch.rewards.shape[1]))
    found = torch.empty_like(batch.rewards)
    for own, rows in [(arm, everyone)] if batch.numbers is None else batch.numbers.alike():
        part = batch if rows == everyone else batch.select(rows)
        values, shape = call(rows, part, own), tuple(part.rewards.shape)
        returned = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        if returned != shape:
            raise UserError(f"{key}.plugin returned {returned}: must be a tensor of the batch's shape {shape}")
        found[:, rows] = values.to(found.dtype)
    return found


def advantage(batch: Batch, arm: Arm) -> Tensor:
    """The advantages (T, S, N) of an arm, float64; 0 where not live."""
    targets = _advantage_target(batch, arm)
    factor = arm.baseline
    if factor.name == "plugin":
        function = plugin.load("baseline", factor.plugin).function
        compared = _by_plugin(
            "baseline", batch, arm, lambda rows, *given: function(targets[:, rows], *given, **factor.options)
        )
        return torch.where(batch.live, compared, 0.0)
    return torch.where(batch.live, BASELINES[factor.name](targets, batch, arm), 0.0)


def critic_target(batch: Batch, arm: Arm) -> Tensor:
    """What V is regressed on, (T, S, N): a factor of its own, with a λ of its own."""
    name = arm.critic.target
    if name == "gae":
        return torch.where(batch.live, _lambda_target(batch, arm, number("critic.gae_lambda", batch, arm)), 0.0)
    return _advantage_target(batch, arm) if name == "same" else return_target(name, batch, arm)


def episode_returns(batch: Batch, gamma: float | Tensor) -> Tensor:
    """R_i = Σ_t γ^t r_t of each environment's single episode, (S, N), float64; γ broadcasts to that."""
    factors = torch.as_tensor(gamma, dtype=torch.float64).expand(1, 1) if isinstance(gamma, float) else gamma
    discounts = torch.from_numpy(arrays.powers(factors.cpu().numpy(), len(batch.rewards))).to(batch.rewards.device)
    return sum_over(batch.rewards.double() * discounts, 0)


def replica_sum(values: Tensor) -> Tensor:
    """Sums over each replica's steps, (T, S, N) → (S,), in an order that is the same whoever else is in the stack."""
    rows = values.transpose(0, 1).flatten(1)
    return sum_over(rows, 1) if rows.is_floating_point() else rows.sum(1)


def dead_group_fraction(batch: Batch, arm: Arm) -> Tensor:
    """Share of groups whose returns are all equal, (S,)."""
    returns = episode_returns(batch, number("gamma", batch, arm))
    return mean_over(dead_groups(_members(returns, arm.group)).double(), -1)


def lone_survivor_fraction(batch: Batch, arm: Arm) -> Tensor:
    """Share of a replica's steps at which all other members of the group had finished, (S,)."""
    living = _members(batch.live, arm.group).sum(-1)
    return replica_sum(living == 1) / replica_sum(batch.live)


def wrong_comparison_fraction(batch: Batch, arm: Arm) -> Tensor:
    """Share of the comparisons of unequal members that were decided wrongly, (S,), float64; NaN where all are equal."""
    group = arm.group
    if group.credit == "outcome":
        values = _members(episode_returns(batch, number("gamma", batch, arm)), group).unsqueeze(0)
    else:
        values = _members(_advantage_target(batch, arm), group)
    right = comparisons(values)
    wrong = comparisons(values, _temperature(batch, arm), batch.uniform) != right
    return replica_sum(wrong.flatten(2)).double() / replica_sum((right != 0).flatten(2))


def _ended(batch: Batch, arm: Arm) -> Tensor:
    """`truncation=end` takes a time limit for an end; `bootstrap` lets the critic say what would have followed."""
    return batch.terminated | batch.truncated if arm.truncation == "end" else batch.terminated


@target("td0")
def _one_step_target(batch: Batch, arm: Arm) -> Tensor:
    return _lambda_target(batch, arm, 0.0)


@target("gae")
def _gae_target(batch: Batch, arm: Arm) -> Tensor:
    return _lambda_target(batch, arm, number("gae_lambda", batch, arm))


def _lambda_target(batch: Batch, arm: Arm, gae_lambda: float | Tensor) -> Tensor:
    ended, gamma = _ended(batch, arm), number("gamma", batch, arm)
    return lambda_return(batch.rewards, batch.next_values, ended, batch.truncated, gamma, gae_lambda)


@target("nstep")
def _n_step_target(batch: Batch, arm: Arm) -> Tensor:
    ended, gamma = _ended(batch, arm), number("gamma", batch, arm)
    return n_step_return(batch.rewards, batch.next_values, ended, batch.truncated, gamma, arm.n_step)


@target("monte_carlo")
def _monte_carlo_target(batch: Batch, arm: Arm) -> Tensor:
    ended, gamma = _ended(batch, arm), number("gamma", batch, arm)
    return monte_carlo_return(batch.rewards, ended, batch.truncated, gamma, batch.next_values)


@baseline("none")
def _minus_nothing(targets: Tensor, _batch: Batch, _arm: Arm) -> Tensor:
    return targets


@baseline("batch_mean")
def _minus_batch_mean(targets: Tensor, batch: Batch, _: Arm) -> Tensor:
    return difference(targets, (replica_sum(targets.double()) / replica_sum(batch.live)).unsqueeze(-1))


@baseline("critic")
def _minus_value(targets: Tensor, batch: Batch, _: Arm) -> Tensor:
    assert batch.values is not None  # the learner builds a critic for this baseline
    return difference(targets, batch.values)


@baseline("group", "grpo", "rloo", "time_mean")  # time_mean is one group of independent starts
def _within_group(targets: Tensor, batch: Batch, arm: Arm) -> Tensor:
    """Compare the members of each group, step by step or by their whole returns.

    Step by step, a finished member counts as 0: its future is known to bring nothing. So the leave-one-out mean never
    divides by 0, and the longest episode still has something to be better than; `alive_only` leaves that out.
    """
    group = arm.group
    if group.credit == "process":
        members = _members(batch.rewards, group), _members(batch.live, group)
        return process_advantage(*members, group.ddof, group.eps).flatten(-2)
    returns = _members(episode_returns(batch, number("gamma", batch, arm)), group)
    if group.credit == "outcome":
        uniform = None if batch.uniform is None else batch.uniform[0]
        outcome = group_advantage(
            returns, group.scale, group.ddof, group.eps, group.leave_one_out, _temperature(batch, arm), uniform
        )
        return outcome.flatten(-2).expand_as(targets)
    relative = _step_by_step(_members(targets, group), batch, arm)
    if group.scale == "std":
        divisor = group_std(returns, group.ddof) + group.eps
        relative = torch.where(dead_groups(returns).unsqueeze(-1), 0.0, scaled(relative, divisor))
    return relative.flatten(-2)


def _step_by_step(targets: Tensor, batch: Batch, arm: Arm) -> Tensor:
    """Targets (T, S, groups, size) compared within each step; the scale of a whole group comes later."""
    group = arm.group
    if group.alive_only:
        return living_advantage(targets, _members(batch.live, group), group.leave_one_out)
    if group.scale == "rank":
        return group_advantage(targets, "rank", temperature=_temperature(batch, arm), uniform=batch.uniform)
    return group_advantage(targets, leave_one_out=group.leave_one_out)


def _temperature(batch: Batch, arm: Arm) -> Tensor:
    """Return that of comparisons, (S, 1, 1)."""
    temperature: Tensor = number("group.temperature", batch, arm)
    if batch.uniform is None and bool((temperature > 0).any()):
        raise UserError(
            f"group.temperature={float(temperature.max()):g}: this batch has no errors of comparisons (`uniform`); "
            f"use group.temperature=0"
        )
    return temperature.unsqueeze(-1)


@baseline("vine")
def _minus_vine(targets: Tensor, batch: Batch, arm: Arm) -> Tensor:
    assert batch.restored is not None  # the collector restores states for this baseline
    values = vine_value(batch.rewards, batch.restored, arm.vine.every, number("gamma", batch, arm))
    return difference(targets, values)


def _members(values: Tensor, group: Group) -> Tensor:
    """(…, N) → (…, groups, size)."""
    members: Tensor = values.unflatten(-1, (-1, group.size))
    return members
