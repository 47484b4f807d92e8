"""Pendulum-v1: swing a pendulum up with too weak a motor and hold it there."""

import math
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from bench.kernel import arrays
from bench.tasks.base import Array, Step, Task

GRAVITY, MASS, LENGTH = 10.0, 1.0, 1.0
TIME_STEP = 0.05  # seconds
MAX_SPEED = 8.0
MAX_TORQUE = 2.0
_HIGH = np.array([1, 1, MAX_SPEED], dtype=np.float32)


@dataclass(frozen=True)
class Pendulum(Task):
    """Gymnasium's Pendulum-v1. It never terminates: every episode ends at the time limit.

    State (2, C) float64: angle (0 is upright; it does not wrap) and velocity. Observation (3, C): cosine and sine of
    the angle, velocity. Action (1, C): torque, clipped to ±2. Reward: -(angle² + 0.1 velocity² + 0.001 torque²), the
    angle in [-π, π), of the state that is left.
    """

    time_limit: int = 200

    observation_space = spaces.Box(-_HIGH, _HIGH)
    action_space = spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,))

    def start(self, rng: np.random.Generator, n: int) -> Array:
        """States (2, n): any angle, velocities uniform in ±1."""
        high = np.array([[math.pi], [1.0]])
        return rng.uniform(-high, high, (2, n))

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002
        """One semi-implicit Euler step: the new velocity moves the angle."""
        angle, velocity = state
        torque = np.clip(action[0], -MAX_TORQUE, MAX_TORQUE)
        upright = (angle + math.pi) % (2 * math.pi) - math.pi
        cost = np.square(upright) + 0.1 * np.square(velocity) + 0.001 * np.square(torque)
        acceleration = 3 * GRAVITY / (2 * LENGTH) * arrays.sin(angle) + 3.0 / (MASS * LENGTH**2) * torque
        successor = np.empty_like(state)
        successor[1] = np.clip(velocity + acceleration * TIME_STEP, -MAX_SPEED, MAX_SPEED)
        successor[0] = angle + successor[1] * TIME_STEP
        return Step(successor, -cost, np.zeros(state.shape[1], dtype=np.bool_), {})

    def observe(self, state: Array) -> Array:
        """Cosine and sine of the angle, velocity: (3, C) float32."""
        observation = np.empty((3, state.shape[1]), dtype=np.float32)
        observation[0] = arrays.cos(state[0])
        observation[1] = arrays.sin(state[0])
        observation[2] = state[1]
        return observation
