"""A world so small that every batch of episodes there is can be written down, with its probability.

Three steps, two states besides the starts' own, two actions; two kinds of episode. Rewards hang on what follows.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from gymnasium import spaces

from bench.arms.advantage import Batch, advantage
from bench.config.schema import Arm
from bench.lab.exact.process import Process
from bench.lab.exact.scores import Rows, Scores
from bench.tasks.base import Array, Step
from bench.tasks.exact import ExactTask, Model

STEPS, STATES, ACTIONS = 3, 3, 2


@dataclass(frozen=True)
class Tiny(ExactTask):
    """Episodes of three steps: only the first leads to one of two states by chance, then the action decides."""

    time_limit = None
    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Discrete(ACTIONS)

    @property
    def horizon(self) -> int:
        return STEPS

    def start(self, rng: np.random.Generator, n: int) -> Array:  # noqa: ARG002 - nobody starts it
        return np.zeros((2, n))

    def step(self, state: Array, action: Array, noise: Array) -> Step:
        raise NotImplementedError

    def observe(self, state: Array) -> Array:
        raise NotImplementedError

    @cached_property
    def model(self) -> Model:
        transition = np.zeros((ACTIONS, STATES, STATES))
        transition[0, 0], transition[1, 0] = [0, 0.3, 0.7], [0, 0.8, 0.2]  # from either brother's start …
        transition[0, 1, 0] = transition[1, 1, 2] = transition[0, 2, 1] = transition[1, 2, 2] = 1.0
        reward_to = np.random.default_rng(0).normal(size=transition.shape)
        reward = (transition * reward_to).sum(-1).T
        square_to = reward_to**2
        return Model(
            transition=transition,
            reward=reward,
            reward_variance=(transition * square_to).sum(-1).T - reward**2,
            reward_to=reward_to,
            square_to=square_to,
            horizon=STEPS,
            shape=(STATES,),
            starts={"a": np.array([1.0, 0, 0]), "b": np.array([0.0, 1.0, 0])},
        )


@dataclass(frozen=True)
class DenseScores(Scores):
    """Gradients of logits that are given, (T, S, A, P): any parameters at all."""

    process: Process
    jacobian: Array

    @property
    def overlap(self) -> bool:
        return True

    def products(self, left: Rows, right: Rows) -> Array:
        return np.einsum("nap,mbp->namb", self.jacobian[left], self.jacobian[right])

    def own(self) -> Array:
        return np.einsum("tsap,tsbp->tsab", self.jacobian, self.jacobian)

    def step_gradients(self, coefficients: Array) -> Array:
        return np.einsum("ktsa,tsap->ktp", coefficients, self.jacobian)


@dataclass(frozen=True)
class Episodes:
    """All n episodes that begin in one state: their chances (n,), and what happened, (n, T)."""

    chance: Array
    states: Array
    actions: Array
    rewards: Array
    successors: Array


def episodes_from(process: Process, start: int) -> Episodes:
    """Write down the episodes of one start state."""
    model, rows = process.model, []
    for way in itertools.product(range(ACTIONS), range(STATES), repeat=STEPS):
        actions, successors = way[::2], way[1::2]
        states = (start, *successors[:-1])
        chance = 1.0
        for t, (s, a, to) in enumerate(zip(states, actions, successors, strict=True)):
            chance *= process.policy[t, s, a] * model.transition[a, s, to]
        if chance > 0:
            rewards = [model.reward_to[a, s, to] for s, a, to in zip(states, actions, successors, strict=True)]
            rows.append((chance, states, actions, rewards, successors))
    return Episodes(*(np.array(column) for column in zip(*rows, strict=True)))


@dataclass(frozen=True)
class Enumerated:
    """Every batch of an arm: its chance (B,), the terms of its episodes (B, N, P), and where the first begins (B,)."""

    chance: Array
    terms: Array
    start: Array

    @property
    def one(self) -> Array:
        """What the first episode adds, (B, P)."""
        return self.terms[:, 0]

    @property
    def gradient(self) -> Array:
        """The batch's gradient, (B, P)."""
        return self.terms.mean(1)

    @property
    def expected(self) -> Array:
        """E ĝ."""
        return self.chance @ self.gradient

    @property
    def variance(self) -> float:
        """tr Cov(ĝ)."""
        return float(self.chance @ np.square(self.gradient - self.expected).sum(1))


def batches(
    process: Process, jacobian: Array, arm: Arm, values: Array, weight: float, members: int | None = None
) -> Enumerated:
    """Write down the batches of an arm, each credited by the functions that training uses.

    Terms are only those of the first `members` episodes, all by default.
    """
    starts, group = process.starts, arm.group
    size, groups = (group.size, group.groups) if group.start == "shared" else (1, group.groups * group.size)
    of_start = [episodes_from(process, int(state)) for state in starts.states]
    found = []
    for beginnings in itertools.product(range(len(starts.states)), repeat=groups):
        each = np.repeat(beginnings, size)
        ways = np.indices([len(of_start[k].chance) for k in each]).reshape(len(each), -1)  # (N, B)
        chance = np.prod([starts.weights[k] for k in beginnings])
        for k, way in zip(each, ways, strict=True):
            chance = chance * of_start[k].chance[way]
        terms = _terms(process, jacobian, arm, values, weight, [of_start[k] for k in each], ways, members)
        found.append((chance, terms.swapaxes(0, 1), np.full(len(chance), each[0])))
    return Enumerated(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _terms(
    process: Process,
    jacobian: Array,
    arm: Arm,
    values: Array,
    weight: float,
    of: list[Episodes],
    ways: Array,
    members: int | None,
) -> Array:
    """Σ_t wᵗ ∇log π Â_t of each episode in each batch, (N, B, P)."""
    states, actions, rewards, successors = (
        np.stack([getattr(e, name)[way] for e, way in zip(of, ways, strict=True)])  # (N, B, T)
        for name in ("states", "actions", "rewards", "successors")
    )
    steps = np.arange(STEPS)
    following = np.concatenate([values[steps[1:], successors[..., :-1]], np.zeros((*successors.shape[:2], 1))], -1)
    done = np.broadcast_to(steps == STEPS - 1, states.shape)

    def shaped(x: Array) -> torch.Tensor:  # (T, B, N)
        return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 1, 0)))

    batch = Batch(
        shaped(rewards),
        shaped(done),
        shaped(np.zeros_like(done)),
        shaped(np.ones_like(done)),
        shaped(values[steps, states]),
        shaped(following),
    )
    credit = advantage(batch, arm).numpy().transpose(2, 1, 0)[:members]
    states, actions = states[:members], actions[:members]
    logits = jacobian[steps, states]  # (N, B, T, A, P)
    mean = (process.policy[steps, states][..., None] * logits).sum(-2)
    taken = np.take_along_axis(logits, actions[..., None, None], -2)[..., 0, :]
    return ((weight**steps * credit)[..., None] * (taken - mean)).sum(2)
