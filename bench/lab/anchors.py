"""Where advantages are measured: states that the policy itself reaches, and the resets that start from them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from bench.lab.policies import Policy
from bench.lab.simulate import Episodes, beside, simulate, starts
from bench.tasks.base import Array

COLUMN_STEPS = 1 << 19  # of simulated episodes held at once
NESTED_STEPS = 1 << 17  # of batches that every variant is asked about: a dozen arrays as large are alive then


@dataclass(frozen=True)
class Anchors:
    """M states at one time step, each with the episode that led there and J actions to be judged.

    states (D, M) and prefix (M episodes, of which rows before `step` are the past); actions (K, M, J) with weights
    (M, J). Discrete actions are all there, weighted π(a|s); continuous ones are drawn from π, weighted 1/J.
    """

    step: int
    states: Array
    prefix: Episodes
    actions: Tensor
    weights: Array
    drawn: bool

    @property
    def shape(self) -> tuple[int, int]:
        """M, J."""
        return self.weights.shape[0], self.weights.shape[1]

    @property
    def elapsed(self) -> Array:
        """The time step of each, (M,)."""
        return np.full(self.shape[0], self.step)

    def take(self, which: slice) -> "Anchors":
        """Only these states."""
        columns = np.arange(self.shape[0])[which]
        return Anchors(
            self.step,
            self.states[:, columns],
            self.prefix.take(columns),
            self.actions[:, torch.from_numpy(columns)],
            self.weights[columns],
            self.drawn,
        )


def visited_steps(episodes: Episodes, count: int) -> list[int]:
    """At most `count` time steps, the middles of parts of time in which equally many steps are visited."""
    visits = episodes.live.sum(1).cumsum()
    middles = (np.arange(count) + 0.5) / count * visits[-1]
    return sorted({int(step) for step in np.searchsorted(visits, middles)})


def anchors_at(
    policy: Policy, episodes: Episodes, step: int, count: int, actions: int, rng: np.random.Generator
) -> Anchors:
    """`count` of the episodes that live at `step`; `actions` is the number drawn where actions are continuous."""
    living = np.flatnonzero(episodes.live[step])
    chosen = rng.choice(living, count, replace=len(living) < count)
    states, space = episodes.states[step][:, chosen], policy.task.action_space
    if isinstance(space, spaces.Discrete):
        every = torch.arange(int(space.n)).expand(1, count, -1)
        return Anchors(step, states, episodes.take(chosen), every, policy.probabilities(states).T, drawn=False)
    repeated = policy.sample(np.repeat(states, actions, axis=1), rng).unflatten(1, (count, actions))
    weights = np.full((count, actions), 1 / actions)
    return Anchors(step, states, episodes.take(chosen), repeated, weights, drawn=True)


def in_parts(count: int, columns_each: int, length: int) -> Iterator[slice]:
    """`count` anchors in parts of at most `NESTED_STEPS`, if each needs `columns_each` episodes of about `length`."""
    size = max(1, NESTED_STEPS // (columns_each * length))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def continuations(
    policy: Policy,
    anchors: Anchors,
    repeats: int,
    rng: np.random.Generator,
    *,
    reward_scale: float = 1.0,
    time_limit: int | None = None,
) -> Episodes:
    """`repeats` futures of every anchor and action, in the order (M, J, repeats), beginning at the anchor."""
    _, per_state = anchors.shape
    each = per_state * repeats
    actions = anchors.actions.flatten(1).repeat_interleave(repeats, 1)
    states, elapsed = np.repeat(anchors.states, each, axis=1), np.repeat(anchors.elapsed, each)
    return simulate(
        policy, states, elapsed, rng, first_actions=actions, reward_scale=reward_scale, time_limit=time_limit
    )


@dataclass(frozen=True)
class Layout:
    """The batch around an episode of interest: it is member 0 of the first of `groups` groups of `size`."""

    groups: int
    size: int
    independent: bool

    @property
    def n_envs(self) -> int:
        """N."""
        return self.groups * self.size


@dataclass(frozen=True)
class Nested:
    """Batches around own episodes: `episodes` hold every episode once, `columns` (S · N,) say who is where."""

    episodes: Episodes
    columns: Array
    n_envs: int


def nested(
    policy: Policy,
    anchors: Anchors,
    own: Episodes,
    peers: int,
    layout: Layout,
    rng: np.random.Generator,
    *,
    reward_scale: float = 1.0,
) -> Nested:
    """Give every own episode `peers` batches of fresh companions: S = (own episodes) × peers, in this order.

    Members of its group begin where its own episode began, as in training, the others anywhere.
    """
    task, batches = policy.task, own.states.shape[2] * peers
    first = anchors.prefix.states[0]
    if layout.independent:
        beginnings = starts(task, rng, batches * (layout.n_envs - 1), 1)
    else:
        mine = np.repeat(first, batches // first.shape[1] * (layout.size - 1), axis=1)
        others = starts(task, rng, batches * (layout.groups - 1), layout.size)
        shape = (len(first), batches, -1)
        beginnings = np.concatenate([mine.reshape(shape), others.reshape(shape)], 2).reshape(len(first), -1)
    elapsed = np.zeros(beginnings.shape[1], dtype=np.int64)
    companions = simulate(policy, beginnings, elapsed, rng, reward_scale=reward_scale)
    count = own.states.shape[2]
    mine_at = np.repeat(np.arange(count), peers)[:, None]
    others_at = count + np.arange(beginnings.shape[1]).reshape(batches, -1)
    columns = np.concatenate([mine_at, others_at], 1).ravel()
    return Nested(beside([own, companions]), columns, layout.n_envs)
