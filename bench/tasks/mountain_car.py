"""MountainCar-v0 and MountainCarContinuous-v0: rock an underpowered car out of a valley."""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from bench.kernel import arrays
from bench.tasks.base import Array, Step, Task

MIN_POSITION, MAX_POSITION = -1.2, 0.6
MAX_SPEED = 0.07
GRAVITY = 0.0025
_LOW = np.array([MIN_POSITION, -MAX_SPEED], dtype=np.float32)
_HIGH = np.array([MAX_POSITION, MAX_SPEED], dtype=np.float32)


def _start(rng: np.random.Generator, n: int) -> Array:
    """States (2, n) at rest, positions uniform in [-0.6, -0.4)."""
    return np.stack([rng.uniform(-0.6, -0.4, n), np.zeros(n)])


def _move(state: Array, force: Array) -> Array:
    """The car's successor states (2, C); hitting the wall on the left stops it."""
    position, velocity = state
    successor = np.empty_like(state)
    velocity = np.clip(
        velocity + (force - GRAVITY * arrays.cos(3 * position).astype(state.dtype)), -MAX_SPEED, MAX_SPEED
    )
    successor[0] = np.clip(position + velocity, MIN_POSITION, MAX_POSITION)
    successor[1] = np.where((successor[0] <= MIN_POSITION) & (velocity < 0), 0, velocity)
    return successor


@dataclass(frozen=True)
class MountainCar(Task):
    """Gymnasium's MountainCar-v0 (Moore, 1990).

    State (2, C) float64 and observation (2, C) float32: position, velocity. Actions: push left, none, right. Reward -1
    per step; terminates at position 0.5.
    """

    time_limit: int = 200

    observation_space = spaces.Box(_LOW, _HIGH)
    action_space = spaces.Discrete(3)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        """States (2, n) at rest, positions uniform in [-0.6, -0.4)."""
        return _start(rng, n)

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002
        """One step with a force of 0.001 to either side, or none."""
        successor = _move(state, (action - 1) * 0.001)
        terminated = (successor[0] >= 0.5) & (successor[1] >= 0)
        return Step(successor, np.full(state.shape[1], -1.0), terminated, {})

    def observe(self, state: Array) -> Array:
        """The state itself, (2, C) float32."""
        return state.astype(np.float32)


@dataclass(frozen=True)
class MountainCarContinuous(Task):
    """Gymnasium's MountainCarContinuous-v0.

    State and observation (2, C) float32: position, velocity. Action (1, C): the force, clipped to ±1. The reward is
    100 on reaching position 0.45, where the episode terminates, less a tenth of the squared action of every step. As in
    Gymnasium, the cost is that of the action as given, not as clipped.
    """

    time_limit: int = 999

    observation_space = spaces.Box(_LOW, _HIGH)
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def start(self, rng: np.random.Generator, n: int) -> Array:
        """States (2, n) at rest, positions uniform in [-0.6, -0.4)."""
        return _start(rng, n).astype(np.float32)

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002
        """One step with a force of 0.0015 times the action."""
        force = np.clip(action[0].astype(np.float32), -1, 1) * 0.0015
        successor = _move(state, force)
        terminated = (successor[0] >= 0.45) & (successor[1] >= 0)
        reward = 100.0 * terminated - 0.1 * np.square(action[0], dtype=np.float64)
        return Step(successor, reward, terminated, {})

    def observe(self, state: Array) -> Array:
        """The state itself, (2, C) float32."""
        return state.copy()
