"""Where advantages are measured: states that the policy itself reaches, and the resets that start from them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from bench.lab.estimators import Batches
from bench.lab.policies import Critic, Policy
from bench.lab.simulate import Episodes, RewardProcess, starts
from bench.tasks.base import Array

COLUMN_STEPS = 1 << 19  # of simulated episodes held at once
NESTED_STEPS = 1 << 17  # of batches that every variant is asked about: a dozen arrays as large are alive then


@dataclass(frozen=True)
class Anchors:
    """M states at one time step, each with the episode that led there and J actions whose advantages are estimated.

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

    def take(self, which: slice) -> "Anchors":
        """Return only these states."""
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
    """Return at most `count` time steps: the middles of spans of time in which equally many steps are visited."""
    visits = episodes.live.sum(1).cumsum()
    middles = (np.arange(count) + 0.5) / count * visits[-1]
    return sorted({int(step) for step in np.searchsorted(visits, middles)})


def anchors_at(
    policy: Policy, episodes: Episodes, step: int, count: int, actions: int, rng: np.random.Generator
) -> Anchors:
    """Choose `count` of the episodes that live at `step`; of continuous actions, `actions` are drawn in each state."""
    living = np.flatnonzero(episodes.live[step])
    chosen = rng.choice(living, count, replace=len(living) < count)
    states, space = episodes.states[step][:, chosen], policy.task.action_space
    if isinstance(space, spaces.Discrete):
        every = torch.arange(int(space.n)).expand(1, count, -1)
        return Anchors(step, states, episodes.take(chosen), every, policy.probabilities(states).T, drawn=False)
    repeated = policy.sample(np.repeat(states, actions, axis=1), rng).unflatten(1, (count, actions))
    weights = np.full((count, actions), 1 / actions)
    return Anchors(step, states, episodes.take(chosen), repeated, weights, drawn=True)


def chunks(count: int, columns_each: int, length: int) -> Iterator[slice]:
    """Split `count` anchors into chunks of at most `NESTED_STEPS`.

    Each needs `columns_each` episodes of about `length`.
    """
    size = max(1, NESTED_STEPS // (columns_each * length))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def continuations(
    process: RewardProcess,
    anchors: Anchors,
    repeats: int,
    rng: np.random.Generator,
    *,
    time_limit: int | None = None,
    antithetic: bool = False,
) -> Episodes:
    """Roll out `repeats` futures of every anchor and action, in the order (M, J, repeats), beginning at the anchor."""
    actions = anchors.actions.flatten(1).repeat_interleave(repeats, 1)
    states = np.repeat(anchors.states, anchors.shape[1] * repeats, axis=1)
    return process.from_states(
        states, rng, elapsed=anchors.step, first_actions=actions, time_limit=time_limit, antithetic=antithetic
    )


@dataclass(frozen=True)
class Layout:
    """The batch around an episode of interest, which is member 0 of the first of `groups` groups of `size`."""

    groups: int
    size: int
    independent: bool

    @property
    def n_envs(self) -> int:
        """N, the episodes of a batch."""
        return self.groups * self.size


def with_companions(
    process: RewardProcess,
    anchors: Anchors,
    own: Episodes,
    count: int,
    layout: Layout,
    critics: Mapping[str, Critic],
    rng: np.random.Generator,
) -> Batches:
    """Give every own episode `count` batches of fresh companions: S = (own episodes) × count, in this order.

    Members of its group begin where its own episode began, as in training, the others anywhere. The critics are asked
    about every episode once.
    """
    mine = own.states.shape[2]
    batches = mine * count
    beginnings = _beginnings(process, anchors.prefix.states[0], batches, layout, rng)
    episodes = own.beside(process.from_states(beginnings, rng))
    mine_at = np.repeat(np.arange(mine), count)[:, None]
    others_at = mine + np.arange(beginnings.shape[1]).reshape(batches, -1)
    columns = np.concatenate([mine_at, others_at], 1).ravel()
    return Batches.of(episodes, layout.n_envs, critics).take(columns, layout.n_envs)


def _beginnings(process: RewardProcess, first: Array, batches: int, layout: Layout, rng: np.random.Generator) -> Array:
    """Draw the companions' start states (D, batches · (N − 1)); `first` (D, M) are those of the anchors' episodes."""
    if layout.independent:
        return starts(process.task, rng, batches * (layout.n_envs - 1), 1)
    mine = np.repeat(first, batches // first.shape[1] * (layout.size - 1), axis=1)
    others = starts(process.task, rng, batches * (layout.groups - 1), layout.size)
    shape = (len(first), batches, -1)
    return np.concatenate([mine.reshape(shape), others.reshape(shape)], 2).reshape(len(first), -1)
