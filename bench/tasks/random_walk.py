"""The random walk of nineteen states: the standard problem for estimating values."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from bench.tasks.base import Array, Step
from bench.tasks.exact import ExactTask, Model

N_STATES = 19
LEFT, RIGHT = range(2)


@dataclass(frozen=True)
class RandomWalk(ExactTask):
    """Start in the middle of a line and walk; leaving it on the left costs 1, on the right brings 1.

    Sutton & Barto, 2nd ed., example 6.2 and figure 7.2, with the direction as the action: the uniformly random policy
    makes it their walk, where at γ = 1 state i = 1, …, 19 is worth (i - 10) / 10.

    State (1, C): i - 1, so 0 to 18; -1 and 19 are behind the ends. Observation: one-hot, zeros behind the ends.
    Actions: 0 left, 1 right. The exact values are those without a time limit, which only guards against a policy that
    walks in circles: the uniform policy meets it in 5 of a million episodes. None switches it off.
    """

    time_limit: int | None = 1000

    observation_space = spaces.Box(0.0, 1.0, (N_STATES,))
    action_space = spaces.Discrete(2)

    def start(self, rng: np.random.Generator, n: int) -> Array:  # noqa: ARG002 - it always begins in the middle
        """States (1, n): the middle."""
        return np.full((1, n), N_STATES // 2, dtype=np.float64)

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002
        """One step to the left or to the right."""
        successor = state + np.where(action == RIGHT, 1.0, -1.0)
        out_left, out_right = successor[0] < 0, successor[0] >= N_STATES
        return Step(successor, out_right * 1.0 - out_left, out_left | out_right, {})

    def observe(self, state: Array) -> Array:
        """Where it is, one-hot: (19, C) float32."""
        here: Array = np.arange(N_STATES)[:, None] == state[0]
        return here.astype(np.float32)

    def describe(
        self, state: Array, action: Any = None, reward: float | None = None, extras: Mapping[str, float] | None = None
    ) -> str:
        """The line, with the walker on it, and the last step."""
        line = "".join("o" if place == state[0] else "." for place in range(-1, N_STATES + 1))
        line = f"{line[0]}|{line[1:-1]}|{line[-1]}"
        return line if action is None else f"{line}  {('left', 'right')[int(action)]:5}  {self.earned(reward, extras)}"

    @cached_property
    def model(self) -> Model:
        """Its exact model; tables have one axis of 19 states."""
        transition = np.stack([np.eye(N_STATES, k=-1), np.eye(N_STATES, k=1)])
        reward = np.zeros((N_STATES, 2))
        reward[0, LEFT], reward[-1, RIGHT] = -1.0, 1.0
        return Model(
            transition=transition,
            reward=reward,
            reward_variance=np.zeros_like(reward),
            reward_to=np.zeros_like(transition),
            square_to=np.zeros_like(transition),
            horizon=None,
            shape=(N_STATES,),
            starts={"walk": np.eye(N_STATES)[N_STATES // 2]},
        )
