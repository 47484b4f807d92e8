"""CartPole-v1: keep a pole upright on a cart that is pushed left or right."""

import math
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from bench.kernel import arrays
from bench.tasks.base import Array, Step, Task

GRAVITY = 9.8
TOTAL_MASS = 0.1 + 1.0  # of the pole and the cart
POLE_MASS = 0.1
HALF_LENGTH = 0.5  # of the pole
POLE_MASS_LENGTH = POLE_MASS * HALF_LENGTH
FORCE = 10.0
TIME_STEP = 0.02  # seconds
MAX_ANGLE = 12 * 2 * math.pi / 360
MAX_POSITION = 2.4
_FORCES = np.array([-FORCE, FORCE])  # by action
# Twice the limits, so that the observation that ends an episode is still inside the space.
_HIGH = np.array([2 * MAX_POSITION, np.inf, 2 * MAX_ANGLE, np.inf], dtype=np.float32)


@dataclass(frozen=True)
class CartPole(Task):
    """Gymnasium's CartPole-v1, number for number (Barto, Sutton and Anderson, 1983; Euler integrator).

    State (4, C) float64 and observation (4, C) float32: cart position and velocity, pole angle and angular velocity.
    Actions: 0 pushes left, 1 right. Reward 1 per step; terminates when the cart or the pole leaves its limits.
    """

    time_limit: int = 500

    observation_space = spaces.Box(-_HIGH, _HIGH)
    action_space = spaces.Discrete(2)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        """States (4, n), every entry uniform in ±0.05."""
        return rng.uniform(-0.05, 0.05, (4, n))

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002
        """One Euler step of 0.02 s. The order of the operations is Gymnasium's: another one differs in the last bit."""
        angle, angular_velocity = state[2], state[3]
        cos, sin = arrays.cos(angle), arrays.sin(angle)
        push = (_FORCES.take(action) + POLE_MASS_LENGTH * np.square(angular_velocity) * sin) / TOTAL_MASS
        angular_acceleration = (GRAVITY * sin - cos * push) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cos) / TOTAL_MASS)
        )
        rate = np.empty_like(state)
        rate[::2] = state[1::2]
        rate[1] = push - POLE_MASS_LENGTH * angular_acceleration * cos / TOTAL_MASS
        rate[3] = angular_acceleration
        successor = state + TIME_STEP * rate
        terminated = (np.abs(successor[0]) > MAX_POSITION) | (np.abs(successor[2]) > MAX_ANGLE)
        return Step(successor, np.ones(state.shape[1]), terminated, {})

    def observe(self, state: Array) -> Array:
        """The state itself, (4, C) float32."""
        return state.astype(np.float32)
