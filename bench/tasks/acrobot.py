"""Acrobot-v1: swing the free end of a two-link pendulum above a line, with a motor in the joint between the links."""

import math
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from bench.kernel import arrays
from bench.tasks.base import Array, Step, Task

GRAVITY = 9.8
TIME_STEP = 0.2  # seconds
MAX_VELOCITY = np.array([[4 * math.pi], [9 * math.pi]])  # of the first and the second joint
_HIGH = np.array([1, 1, 1, 1, *MAX_VELOCITY[:, 0]], dtype=np.float32)


@dataclass(frozen=True)
class Acrobot(Task):
    """Gymnasium's Acrobot-v1 (Sutton, 1996; the book's equations of motion, one Runge-Kutta step of 0.2 s).

    State (4, C) float64: angle of the first link (0 hangs down), of the second relative to the first, their velocities.
    Observation (6, C): cosine and sine of both angles, then the velocities. Actions: torque -1, 0 or 1. Reward -1 per
    step, 0 for the one that lifts the free end one link's length above the fixed joint, where the episode terminates.
    """

    time_limit: int = 500

    observation_space = spaces.Box(-_HIGH, _HIGH)
    action_space = spaces.Discrete(3)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        """States (4, n), every entry uniform in ±0.1, rounded to float32 as Gymnasium's are."""
        return rng.uniform(-0.1, 0.1, (4, n)).astype(np.float32).astype(np.float64)

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002
        """One fourth-order Runge-Kutta step; angles wrap at ±π, velocities stop at their limits."""
        torque = np.asarray(action) - 1.0
        slope_1 = _slope(state, torque)
        slope_2 = _slope(state + TIME_STEP / 2 * slope_1, torque)
        slope_3 = _slope(state + TIME_STEP / 2 * slope_2, torque)
        slope_4 = _slope(state + TIME_STEP * slope_3, torque)
        successor = state + TIME_STEP / 6 * (slope_1 + 2 * slope_2 + 2 * slope_3 + slope_4)
        successor[:2] = _wrap(successor[:2])
        np.clip(successor[2:], -MAX_VELOCITY, MAX_VELOCITY, out=successor[2:])
        terminated = -arrays.cos(successor[0]) - arrays.cos(successor[0] + successor[1]) > 1
        return Step(successor, np.where(terminated, 0.0, -1.0), terminated, {})

    def observe(self, state: Array) -> Array:
        """Cosine and sine of both angles, both velocities: (6, C) float32."""
        observation = np.empty((6, state.shape[1]), dtype=np.float32)
        observation[:4:2] = arrays.cos(state[:2])
        observation[1:4:2] = arrays.sin(state[:2])
        observation[4:] = state[2:]
        return observation


def _slope(state: Array, torque: Array) -> Array:
    """The state's time derivative (4, C), with the symbols of Sutton & Barto, 1st ed., section 11.3.

    Lengths, masses and moments of inertia are 1, centres of mass at ½; the constants are what is left of them.
    """
    angle_1, angle_2, velocity_1, velocity_2 = state
    cos_2, half_sin_2 = arrays.cos(angle_2), 0.5 * arrays.sin(angle_2)
    d_1 = 3.5 + cos_2
    d_2 = 1.25 + 0.5 * cos_2
    phi_2 = 0.5 * GRAVITY * arrays.sin(angle_1 + angle_2)
    phi_1 = 1.5 * GRAVITY * arrays.sin(angle_1) + phi_2 - half_sin_2 * velocity_2 * (velocity_2 + 2 * velocity_1)
    ratio = d_2 / d_1
    slope = np.empty_like(state)
    slope[:2] = state[2:]
    slope[3] = (torque + ratio * phi_1 - half_sin_2 * np.square(velocity_1) - phi_2) / (1.25 - ratio * d_2)
    slope[2] = -ratio * slope[3] - phi_1 / d_1
    return slope


def _wrap(angle: Array) -> Array:
    """The angle brought into [-π, π] by whole turns; inside, it is left as it is."""
    turns = np.ceil((np.abs(angle) - math.pi) / (2 * math.pi))
    return angle - np.copysign(2 * math.pi * turns, angle)
