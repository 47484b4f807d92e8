"""Small worlds in which a learner can fail for one reason only, and helpers to train in them."""

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

import bench
from bench.config.parse import parse, to_mapping
from bench.config.schema import Config
from bench.learner.actor import Actor
from bench.learner.distributions import Categorical
from bench.learner.network import Stack
from bench.learner.policy_gradient import PolicyGradient
from bench.observer import Save
from bench.tasks.base import Array, Step, Task
from bench.tasks.batched import BatchedEnv
from bench.tasks.vec_env import BatchedVecEnv


@dataclass(frozen=True)
class Corridor(Task):
    """Starts at a random place of a line and goes right, whatever one does; ends at place `length`, or by the limit.

    State and observation: the place. Reward: the place reached. Everything about a rollout can be said beforehand.
    """

    length: int = 5
    time_limit: int | None = 3
    observation_space = spaces.Box(0.0, 100.0, (1,))
    action_space = spaces.Discrete(2)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.integers(0, self.length, (1, n)).astype(np.float64)

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002 - nothing depends on them
        following = state + 1
        return Step(following, following[0], following[0] >= self.length, {})

    def observe(self, state: Array) -> Array:
        return state.astype(np.float32)


@dataclass(frozen=True)
class Matching(Task):
    """Each of `steps` steps shows −1 or 1; the action that matches it earns 1, the other 0."""

    steps: int = 1
    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)
    time_limit = None

    @property
    def horizon(self) -> int:
        return self.steps

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.stack([rng.choice([-1.0, 1.0], n), np.zeros(n)])

    def noise(self, rng: np.random.Generator, n: int) -> Array:
        return rng.choice([-1.0, 1.0], (1, n))

    def step(self, state: Array, action: Array, noise: Array) -> Step:
        reward = ((action * 2 - 1) == state[0]).astype(np.float64)
        following = np.stack([noise[0], state[1] + 1])
        return Step(following, reward, following[1] >= self.steps, {})

    def observe(self, state: Array) -> Array:
        return state[:1].astype(np.float32)


@dataclass(frozen=True)
class Probe(Task):
    """A world of `steps` steps that shows −1, 0 or 1, and in which one thing has to be learned.

    State: what is shown, and the steps taken. Subclasses say what is shown first and next, and what is rewarded.
    """

    steps: int = 1
    two_starts: bool = False  # −1 or 1 is shown first, each as likely; otherwise 0
    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)
    time_limit = None

    @property
    def horizon(self) -> int:
        return self.steps

    def start(self, rng: np.random.Generator, n: int) -> Array:
        state = np.zeros((2, n))
        if self.two_starts:
            state[0] = np.where(rng.random(n) < 0.5, -1.0, 1.0)
        return state

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002 - no probe is noisy
        shown, taken = state
        following = np.stack([self.next_shown(shown, action), taken + 1])
        reward = np.broadcast_to(self.reward(shown, action), shown.shape).astype(np.float64)
        return Step(following, reward, following[1] >= self.steps, {})

    def observe(self, state: Array) -> Array:
        return state[:1].astype(np.float32)

    def next_shown(self, shown: Array, action: Array) -> Array:  # noqa: ARG002
        return shown

    def reward(self, shown: Array, action: Array) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class ConstantReward(Probe):
    """One step, reward 1: V = 1, and there is nothing for a policy to learn."""

    def reward(self, shown: Array, action: Array) -> Any:  # noqa: ARG002
        return 1.0


@dataclass(frozen=True)
class ObservedReward(Probe):
    """One step; the reward is what is shown, −1 or 1: V(s) = s, and nothing for a policy to learn."""

    two_starts: bool = True

    def reward(self, shown: Array, action: Array) -> Any:  # noqa: ARG002
        return shown


@dataclass(frozen=True)
class DelayedReward(Probe):
    """Two steps, the second rewarded with 1: V(0) = γ, V(1) = 1, and nothing for a policy to learn."""

    steps: int = 2

    def next_shown(self, shown: Array, action: Array) -> Array:  # noqa: ARG002
        return np.ones_like(shown)

    def reward(self, shown: Array, action: Array) -> Any:  # noqa: ARG002
        return shown


@dataclass(frozen=True)
class ActionReward(Probe):
    """One step; action 1 earns 1."""

    def reward(self, shown: Array, action: Array) -> Any:  # noqa: ARG002
        return action


@dataclass(frozen=True)
class MatchReward(Probe):
    """One step; the action that matches what is shown earns 1: what is right depends on the observation."""

    two_starts: bool = True

    def reward(self, shown: Array, action: Array) -> Any:
        return action * 2 - 1 == shown


@dataclass(frozen=True)
class DelayedChoice(Probe):
    """Two steps; the first action decides whether the second step earns 1 (action 1) or 0, and that is shown."""

    steps: int = 2

    def next_shown(self, shown: Array, action: Array) -> Array:
        return np.where(shown == 0, action * 2.0 - 1, shown)

    def reward(self, shown: Array, action: Array) -> Any:  # noqa: ARG002
        return shown == 1


@dataclass(frozen=True)
class Alternating(Probe):
    """Shows −1, 1, −1, … for ever, rewards what is shown, and is cut after `time_limit` steps.

    Going on for ever, V(s) = s − γV(s) = s / (1 + γ); were the cut an end after one step, V(s) = s.
    """

    steps: int = 10**9
    two_starts: bool = True
    time_limit: int | None = 1

    @property
    def horizon(self) -> int | None:
        return self.time_limit

    def next_shown(self, shown: Array, action: Array) -> Array:  # noqa: ARG002
        return -shown

    def reward(self, shown: Array, action: Array) -> Any:  # noqa: ARG002
        return shown


@dataclass(frozen=True)
class Wage(Probe):
    """One step; action 1 earns `scale`, and every action `offset` beside it."""

    scale: float = 1.0
    offset: float = 0.0

    def reward(self, shown: Array, action: Array) -> Any:  # noqa: ARG002
        return self.scale * action + self.offset


@dataclass
class Notes:
    """An observer that keeps everything."""

    updates: list[Any] = field(default_factory=list)
    evaluations: list[Any] = field(default_factory=list)
    exact_returns: list[Any] = field(default_factory=list)

    def on_update(self, rows: Sequence[Any]) -> None:
        self.updates += rows

    def on_evaluation(self, rows: Sequence[Any]) -> None:
        self.evaluations += rows

    def on_exact_returns(self, rows: Sequence[Any]) -> None:
        self.exact_returns += rows

    def on_progress(self, fraction: float, current_return: float | None) -> None:
        assert 0 <= fraction <= 1
        assert current_return is None or np.isfinite(current_return)

    def on_checkpoint(self, save: Save | None) -> None:
        assert save is not None, "every world here can be saved"


SEGMENTS = ("collect=segments", "collect.n_envs=4", "collect.n_steps=16", "hidden=[32,32]", "update.epochs=2")


def settings(*overrides: str) -> Config:
    """A composed configuration; episodes in groups of four unless told otherwise."""
    return bench.compose(["group.groups=1", "group.size=4", *overrides])


BASELINES = ("none", "batch_mean", "time_mean", "critic", "group", "grpo", "rloo", "vine")
ADVANTAGES = ("td0", "nstep", "gae", "monte_carlo")
UPDATES = ("vanilla", "unclipped", "clip", "clip_without_min", "kl_penalty")
COLLECTS = ("episodes", "segments")


@functools.cache
def _composed(*overrides: str) -> dict[str, Any]:
    return to_mapping(bench.compose(overrides))


def combined(baseline: str, advantage: str, update: str, collect: str, *overrides: str) -> Config:
    """The configuration of one combination, from few compositions. Raises `UserError` where it is refused."""
    size = ("group.size=8",) if baseline == "time_mean" else ("group.groups=4", "group.size=2")
    legal = "monte_carlo" if "group.credit=outcome" in overrides else "gae"  # whatever `advantage` will be
    parts = _composed(f"baseline={baseline}", f"advantage={legal}", *size, *overrides)
    sections = {
        "advantage": _composed(f"advantage={advantage}")["advantage"],
        "update": _composed(f"update={update}")["update"],
        "collect": _composed(f"collect={collect}")["collect"],
    }
    return parse(copy.deepcopy(parts | sections))


def actor(replicas: int, weights: float = 0.0) -> Actor:
    """Small policies over two actions; with `weights`, random ones of that size."""
    stack = Stack(replicas, 1, (32, 32), 2)
    stack.flat.copy_(weights * torch.randn(stack.flat.shape, generator=torch.Generator().manual_seed(0)))
    return Actor(stack, Categorical, None)


def learner(task: Task, config: Config, seeds: Sequence[int] = (0,)) -> PolicyGradient:
    return PolicyGradient(env=BatchedVecEnv(BatchedEnv(task, seeds, config.n_envs)), arm=config, seeds=seeds)
