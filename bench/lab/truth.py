"""The ground truth: exact where the world is solved, else from restored states, with an error of its own.

`time_limited` is the value of what is left until the time limit, which ends the episode; `continuing` is the value in a
world without that limit. They differ, and an arm with `truncation=bootstrap` estimates the second.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.arms.returns import monte_carlo_return
from bench.errors import UserError
from bench.lab.advantages import Truth
from bench.lab.anchors import COLUMN_STEPS, Anchors, continuations
from bench.lab.estimators import gradients
from bench.lab.policies import Critic, NetworkPolicy, Policy, table_of, tabulated
from bench.lab.simulate import Episodes, simulate, starts
from bench.tasks.base import Array, Task
from bench.tasks.exact import ExactTask, Solution, policy_gradient, shares

Kind = Literal["time_limited", "continuing"]
NEGLIGIBLE = 1e-3  # a continuing return is followed until γ^k is smaller
MOST_BLOCKS = 128  # of the true gradient that are kept apart, to tell its error; a power of two


@dataclass(frozen=True)
class World:
    """A policy in its task, and what is taken for true there."""

    policy: Policy
    gamma: float
    kind: Kind
    reward_scale: float = 1.0

    @property
    def task(self) -> Task:
        """Where the policy acts."""
        return self.policy.task

    def horizon(self, step: int) -> int | None:
        """The elapsed time at which a future that matters from `step` on is over."""
        if self.kind == "time_limited" or self.task.time_limit is None:
            return self.task.time_limit
        return step + math.ceil(math.log(NEGLIGIBLE) / math.log(self.gamma))


def solution(task: ExactTask, policy: Policy, gamma: float) -> Solution:
    """The exact values of a policy of an exactly solved world."""
    return task.solve(table_of(task, policy), gamma)


def exact_truth(task: ExactTask, solved: Solution, anchors: Anchors) -> Truth:
    """Q and V at anchors whose actions are all there."""
    value = tabulated(task, solved.value, anchors.states)
    q_values = tabulated(task, solved.q_values, anchors.states)
    return Truth(q_values, np.zeros_like(q_values), value, np.zeros_like(value))


def exact_gradients(task: ExactTask, policy: NetworkPolicy, gamma: float) -> dict[str, Array]:
    """The exact policy gradient of an exactly solved world by the network's parameters, (1, P), for either weighting.

    `discounted` weights the states by γ^t, as the gradient of the discounted return from the start does;
    `undiscounted` does not, which is what training's code aims at.
    """
    table = table_of(task, policy)
    by_logits = {
        "discounted": policy_gradient(task.model, table, gamma),
        "undiscounted": policy_gradient(task.model, table, gamma, state_gamma=1.0),
    }
    return {name: through_network(policy, task.states(), logits) for name, logits in by_logits.items()}


def exact_kind_shares(task: ExactTask, policy: NetworkPolicy, gamma: float) -> dict[str, float]:
    """Each kind of episode's share of ‖∇J of that kind‖ by the network's parameters, states unweighted."""
    table, states = table_of(task, policy), task.states()
    by_logits = {
        kind: policy_gradient(task.model, table, gamma, state_gamma=1.0, start=kind) for kind in task.model.starts
    }
    return shares({kind: float(np.linalg.norm(through_network(policy, states, of))) for kind, of in by_logits.items()})


def through_network(policy: NetworkPolicy, states: Array, by_logits: Array) -> Array:
    """The chain rule: from a gradient by the logits (…, A) of states (D, n) to the parameters', (1, P), in float64."""
    network = policy.actor.stack.like(policy.actor.stack.flat.double())
    seen = policy.actor.seen(torch.from_numpy(policy.task.observe(states)).unsqueeze(0)).double()
    _, saved = network.forward(seen)
    network.backward(torch.from_numpy(by_logits.reshape(-1, by_logits.shape[-1]).T.copy()).unsqueeze(0), saved)
    gradient: Array = network.grad[:, : network.used].numpy()
    return gradient


@dataclass
class _Sums:
    """Mean and variance of the mean of ever more returns."""

    count: int
    total: Array
    squares: Array

    @property
    def mean(self) -> Array:
        mean: Array = self.total / self.count
        return mean

    @property
    def error(self) -> Array:
        """The variance of the mean."""
        variance: Array = (self.squares - self.count * np.square(self.mean)) / (self.count - 1)
        return variance.clip(min=0) / self.count

    def add(self, returns: Array) -> None:
        """Returns (…, n)."""
        self.count += returns.shape[-1]
        self.total = self.total + returns.sum(-1)
        self.squares = self.squares + np.square(returns).sum(-1)


class RolledOut:
    """Q and V at anchors of several time steps, from restored states, until they are precise enough."""

    def __init__(self, world: World, anchors: Sequence[Anchors], stream: Callable[..., np.random.Generator]) -> None:
        self.world, self.anchors, self.stream = world, anchors, stream
        self.steps, self.rounds = 0, 0
        self._q = [_Sums(0, np.zeros(part.shape), np.zeros(part.shape)) for part in anchors]
        self._v = [_Sums(0, np.zeros(part.shape[0]), np.zeros(part.shape[0])) for part in anchors]

    def add(self, repeats: int) -> None:
        """`repeats` more futures of every state and action; of a continuous action's state as many of every action."""
        for place, part in enumerate(self.anchors):
            rng = self.stream(self.rounds, place)
            states, actions = part.shape
            self._q[place].add(self._returns(part, repeats, rng, given=True).reshape(states, actions, repeats))
            if part.drawn:
                self._v[place].add(self._returns(part, repeats, rng, given=False).reshape(states, -1))
        self.rounds += 1

    def _returns(self, part: Anchors, repeats: int, rng: np.random.Generator, *, given: bool) -> Array:
        world = self.world
        horizon = world.horizon(part.step)
        longest = (horizon or world.task.horizon or 1) - part.step
        batch = max(1, COLUMN_STEPS // (part.shape[0] * part.shape[1] * longest))
        found = []
        for start in range(0, repeats, batch):
            count = min(batch, repeats - start)
            if given:
                episodes = continuations(
                    world.policy, part, count, rng, time_limit=horizon, reward_scale=world.reward_scale
                )
            else:
                each = part.shape[1] * count
                states, elapsed = np.repeat(part.states, each, axis=1), np.repeat(part.elapsed, each)
                episodes = simulate(
                    world.policy, states, elapsed, rng, time_limit=horizon, reward_scale=world.reward_scale
                )
            self.steps += episodes.steps
            found.append(discounted(episodes, world.gamma).reshape(part.shape[0], -1, count))
        return np.concatenate(found, 2)

    def truth(self) -> list[Truth]:
        """What is known so far, one per time step."""
        known = []
        for part, q, v in zip(self.anchors, self._q, self._v, strict=True):
            if part.drawn:
                known.append(Truth(q.mean, q.error, v.mean, v.error))
            else:
                value = (part.weights * q.mean).sum(1)
                known.append(Truth(q.mean, q.error, value, (np.square(part.weights) * q.error).sum(1)))
        return known


def discounted(episodes: Episodes, gamma: float) -> Array:
    """Returns from row 0, (C,)."""
    returns: Array = (gamma ** np.arange(episodes.length)) @ episodes.rewards
    return returns


def restored_values(
    world: World, episodes: Episodes, every: int, rollouts: int, rng: np.random.Generator
) -> tuple[Array, int]:
    """V̂ of every `every`-th state of episodes, from `rollouts` episodes each as baseline=vine runs them.

    → (T, C), 0 elsewhere, and the steps it took.
    """
    values, steps = np.zeros(episodes.rewards.shape), 0
    for step in range(0, episodes.length, every):
        living = np.flatnonzero(episodes.live[step])
        values[step, living], taken = mean_returns(world, episodes.states[step][:, living], step, rollouts, rng)
        steps += taken
    return values, steps


def mean_returns(world: World, states: Array, step: int, rollouts: int, rng: np.random.Generator) -> tuple[Array, int]:
    """The mean return of `rollouts` episodes from each of states (D, C) reached after `step` steps, and their steps."""
    longest = (world.task.horizon or step + 1000) - step
    width = max(1, COLUMN_STEPS // (rollouts * longest))
    means, steps = [np.zeros(0)], 0
    for start in range(0, states.shape[1], width):
        part = np.repeat(states[:, start : start + width], rollouts, axis=1)
        elapsed = np.full(part.shape[1], step)
        episodes = simulate(world.policy, part, elapsed, rng, reward_scale=world.reward_scale)
        steps += episodes.steps
        means.append(discounted(episodes, world.gamma).reshape(-1, rollouts).mean(1))
    return np.concatenate(means), steps


class RolledOutGradient:
    """The true gradient as the mean of ever more independent blocks: Monte Carlo less a fixed critic, unbiased.

    Beyond `MOST_BLOCKS` blocks, neighbours are merged: memory and the products of all pairs stay bounded, and their
    spread still tells the error.
    """

    def __init__(self, world: World, critic: Critic | None, n_envs: int, stream: Callable[..., np.random.Generator]):
        self.world, self.critic, self.n_envs, self.stream = world, critic, n_envs, stream
        self.steps, self.rounds = 0, 0
        self._merged = 1  # blocks of `n_envs` episodes in one that is kept
        self._blocks: dict[str, Tensor] = {}

    def add(self, blocks: int) -> None:
        """`blocks` more blocks of `n_envs` episodes each: a power of two, and at least as many as there are."""
        world, policy = self.world, self.world.policy
        assert isinstance(policy, NetworkPolicy)
        added = torch.zeros(len(_WEIGHTS), blocks // self._merged, policy.actor.stack.used, dtype=torch.float64)
        rng = self.stream(self.rounds)
        self.rounds += 1
        limit = world.task.time_limit
        horizon = world.horizon(limit or 0)
        for start in range(0, blocks, self._at_once(horizon)):
            count = min(self._at_once(horizon), blocks - start)
            episodes = simulate(
                policy,
                starts(world.task, rng, count * self.n_envs, 1),
                np.zeros(count * self.n_envs, dtype=np.int64),
                rng,
                time_limit=horizon,
                reward_scale=world.reward_scale,
            )
            self.steps += episodes.steps
            ended = episodes.terminated | episodes.truncated
            targets = monte_carlo_return(episodes.rewards, ended, episodes.truncated, world.gamma).numpy()
            if self.critic is not None:
                targets = targets - episodes.values(self.critic)[:-1]
            counted = np.arange(episodes.length) < (limit or episodes.length)  # training sees no step beyond its limit
            credit = torch.from_numpy(np.where(episodes.live, targets, 0.0) * counted[:, None])
            place = torch.arange(start, start + count) // self._merged
            for row, weigh in enumerate(_WEIGHTS.values()):
                shaped = credit.unflatten(1, (count, self.n_envs))
                found = gradients(policy, episodes, shaped, weigh(world.gamma, episodes.length))
                added[row].index_add_(0, place, found / self._merged)
        self._keep(added)

    def _keep(self, added: Tensor) -> None:
        for name, rows in zip(_WEIGHTS, added, strict=True):
            self._blocks[name] = torch.cat([self._blocks[name], rows]) if name in self._blocks else rows
        while len(next(iter(self._blocks.values()))) > MOST_BLOCKS:
            self._blocks = {name: rows.unflatten(0, (-1, 2)).mean(1) for name, rows in self._blocks.items()}
            self._merged *= 2

    def _at_once(self, horizon: int | None) -> int:
        return max(1, COLUMN_STEPS // (self.n_envs * (horizon or self.world.task.horizon or 1)))

    def truth(self) -> dict[str, Array]:
        """The blocks so far, (m, P) by weighting."""
        return {name: rows.numpy() for name, rows in self._blocks.items()}


_WEIGHTS: Mapping[str, Callable[[float, int], Array | None]] = {
    "discounted": lambda gamma, length: gamma ** np.arange(length),
    "undiscounted": lambda _gamma, _length: None,
}


def until_precise(
    add: Callable[[int], None],
    precision: Callable[[], float],
    steps: Callable[[], int],
    *,
    first: int,
    wanted: float,
    budget: int,
    refuse: bool,
) -> float:
    """Double what there is until `precision` ≤ `wanted` or the next doubling would exceed `budget` steps.

    → the precision reached. Raises `UserError` where that is not enough and `refuse` is set.
    """
    add(first)
    while (reached := precision()) > wanted:
        if 2 * steps() > budget:
            if not refuse:
                return reached
            needed = steps() * (reached / wanted) ** 2
            raise UserError(
                f"truth_steps={budget}: after {steps()} steps the truth is known to {reached:.2g} of the effects, "
                f"precision={wanted} needs about {needed:.2g}; raise truth_steps or precision, or shortfall=report"
            )
        add(first)
        first *= 2
    return reached
