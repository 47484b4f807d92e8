"""The policies and the critics that the laboratory measures, in any state."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.config.schema import Arm
from bench.kernel import functions
from bench.learner.actor import Actor
from bench.learner.distributions import Categorical
from bench.learner.network import Stack
from bench.tasks.base import Array, Task
from bench.tasks.exact import ExactTask

CHUNK = 1 << 15  # columns a network takes at once: its activations then stay small


class Policy(ABC):
    """π(a|s) of one policy, for states (D, C) of `task`."""

    task: Task

    def sample(self, states: Array, rng: np.random.Generator) -> Tensor:
        """Draw actions (K, C), as `bench.learner.distributions` has them (not yet clipped)."""
        return self.act(states, self.noise(rng, states.shape[1]))

    @abstractmethod
    def noise(self, rng: np.random.Generator, count: int) -> Array:
        """Return the random numbers of `count` actions, (K, count)."""

    @abstractmethod
    def mirrored(self, noise: Array) -> Array:
        """Return numbers of the same distribution that are as far as can be from these."""

    @abstractmethod
    def act(self, states: Array, noise: Array) -> Tensor:
        """Return the actions (K, C) that come of `noise` (K, C)."""

    @abstractmethod
    def probabilities(self, states: Array) -> Array:
        """Return π (A, C), float64, of a task with discrete actions."""


@dataclass(frozen=True)
class NetworkPolicy(Policy):
    """The policy of a trained network: an actor of one replica, and the arm that trained it."""

    task: Task
    actor: Actor
    arm: Arm

    def noise(self, rng: np.random.Generator, count: int) -> Array:
        """See `Policy.noise`."""
        drawn: Array = self.actor.distribution.draw(rng, (1, max(1, self.actor.stack.extra), count))[0]
        return drawn

    def mirrored(self, noise: Array) -> Array:
        """See `Policy.mirrored`: 1 − u of uniform numbers, −z of normal ones."""
        if issubclass(self.actor.distribution, Categorical):
            return np.asarray(np.nextafter(noise.dtype.type(1), noise.dtype.type(0)) - noise)
        return np.asarray(-noise)

    def act(self, states: Array, noise: Array) -> Tensor:
        """See `Policy.act`."""
        numbers = torch.from_numpy(noise[None]).to(self.actor.stack.flat.dtype)
        actions = []
        for start in range(0, states.shape[1], CHUNK):
            chunk = slice(start, start + CHUNK)
            policy = self.actor.policy(self._seen(states[:, chunk]))
            actions.append(policy.sample(numbers[:, :, chunk])[0])
        return torch.cat(actions, 1)

    def probabilities(self, states: Array) -> Array:
        """See `Policy.probabilities`."""
        logits, _ = self.actor.stack.forward(self.actor.seen(self._seen(states)))
        probabilities: Array = functions.softmax(logits[0].double(), 0).numpy()
        return probabilities

    def _seen(self, states: Array) -> Tensor:
        return torch.from_numpy(self.task.observe(states)).unsqueeze(0).to(self.actor.stack.flat.dtype)


@dataclass(frozen=True)
class TabularPolicy(Policy):
    """A policy given as probabilities per state of an exactly solved world: `Solution.policy`."""

    task: ExactTask
    table: Array

    def noise(self, rng: np.random.Generator, count: int) -> Array:
        """See `Policy.noise`."""
        return rng.random((1, count))

    def mirrored(self, noise: Array) -> Array:
        """See `Policy.mirrored`."""
        return np.asarray(np.nextafter(1.0, 0.0) - noise)

    def act(self, states: Array, noise: Array) -> Tensor:
        """See `Policy.act`."""
        cumulative = self.probabilities(states)[:-1].cumsum(0)
        return torch.from_numpy((noise > cumulative).sum(0))[None]

    def probabilities(self, states: Array) -> Array:
        """See `Policy.probabilities`."""
        return tabulated(self.task, self.table, states).T


class Critic(ABC):
    """V(s) as an arm believes it, for states (D, C)."""

    @abstractmethod
    def values(self, states: Array) -> Array:
        """Return V (C,), float64; what it says of terminal states is never read."""


@dataclass(frozen=True)
class NetworkCritic(Critic):
    """The value network of a trained arm, with the scale of what it sees."""

    task: Task
    stack: Stack
    seen: Actor  # for `Actor.seen`

    def values(self, states: Array) -> Array:
        """See `Critic.values`."""
        values = []
        for start in range(0, states.shape[1], CHUNK):
            observations = torch.from_numpy(self.task.observe(states[:, start : start + CHUNK])).unsqueeze(0)
            outputs, _ = self.stack.forward(self.seen.seen(observations.to(self.stack.flat.dtype)))
            values.append(outputs[0, 0].double().numpy())
        return np.concatenate(values)


@dataclass(frozen=True)
class TableCritic(Critic):
    """Values per state of an exactly solved world, exact or with a known error added."""

    task: ExactTask
    table: Array

    def values(self, states: Array) -> Array:
        """See `Critic.values`."""
        return tabulated(self.task, self.table, states)


def tabulated(task: ExactTask, table: Array, states: Array) -> Array:
    """Return the entries (C, …) of a table for states (D, C); 0 for states that have ended.

    The table's first axes are those of `Model.table`.
    """
    axes = np.array(task.model.table)
    index = states[: len(axes)].astype(np.intp)
    inside = (index >= 0).all(0) & (index < axes[:, None]).all(0)
    found = table[tuple(np.where(inside, row, 0) for row in index)]
    found[~inside] = 0.0
    return found


def table_of(task: ExactTask, policy: Policy) -> Array:
    """Return π (*table, action) of an exactly solved world."""
    if isinstance(policy, TabularPolicy):
        return policy.table
    return policy.probabilities(task.states()).T.reshape(*task.model.table, task.model.n_actions)
