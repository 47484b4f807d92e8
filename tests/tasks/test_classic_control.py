"""The batched tasks against Gymnasium's environments of the same name, step by step."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.seeding import np_random

from bench.config import TaskConfig
from bench.tasks import GYMNASIUM_TASKS, BatchedEnv, Task, make

Configure = Callable[..., TaskConfig]
IDS = [id for id in GYMNASIUM_TASKS if not id.startswith("bench/")]
STEPS = 5000


@pytest.fixture(params=IDS)
def id(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def env(id: str) -> "gymnasium.Env[Any, Any]":
    return gymnasium.make(id)


@pytest.fixture
def task(id: str, configure: Configure) -> Task:
    return make(configure(GYMNASIUM_TASKS[id]))


def gymnasium_state(env: "gymnasium.Env[Any, Any]") -> np.ndarray:
    return np.asarray(env.unwrapped.state)  # type: ignore[attr-defined]


def test_thousands_of_random_steps(env: "gymnasium.Env[Any, Any]", task: Task) -> None:
    batched = BatchedEnv(task, seeds=[0], n_envs=1)
    batched.restart()
    env.action_space.seed(1)
    env.reset(seed=1)
    endings = 0
    for _ in range(STEPS):
        batched.state[:, 0] = gymnasium_state(env)
        action = env.action_space.sample()
        observation, reward, terminated, truncated, _ = env.step(action)
        ours = batched.step(np.asarray(action)[..., None])

        assert batched.state.dtype == gymnasium_state(env).dtype
        np.testing.assert_allclose(batched.state[:, 0], gymnasium_state(env), rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.observation[:, 0], observation, rtol=0, atol=1e-6)
        assert ours.observation.dtype == observation.dtype
        assert ours.reward[0] == pytest.approx(float(reward), abs=1e-12)
        assert ours.terminated[0] == terminated
        assert ours.truncated[0] == (truncated and not terminated)
        if terminated or truncated:
            endings += 1
            env.reset()
            batched.restart()
    assert endings >= STEPS // 1000


def test_states_all_over_the_place(env: "gymnasium.Env[Any, Any]", task: Task, id: str) -> None:
    scale = {"CartPole-v1": [2.6, 4.0, 0.25, 4.0]}[id]
    rng = np.random.default_rng(2)
    states = rng.uniform(-1, 1, (len(scale), STEPS)) * np.array(scale)[:, None]
    env.action_space.seed(2)
    actions = np.array([env.action_space.sample() for _ in range(STEPS)]).T
    ours = task.step(states, actions, task.noise(rng, STEPS))
    for column in range(STEPS):
        env.reset()
        env.unwrapped.state = states[:, column].copy()  # type: ignore[attr-defined]
        _, reward, terminated, _, _ = env.step(actions[..., column])
        np.testing.assert_allclose(ours.state[:, column], gymnasium_state(env), rtol=0, atol=1e-12)
        assert ours.reward[column] == pytest.approx(float(reward), abs=1e-12)
        assert ours.terminated[column] == terminated


@pytest.mark.parametrize("seed", range(20))
def test_start_states_come_from_the_same_draws(env: "gymnasium.Env[Any, Any]", task: Task, seed: int) -> None:
    env.reset(seed=seed)
    generator, _ = np_random(seed)
    np.testing.assert_array_equal(task.start(generator, 1)[:, 0], gymnasium_state(env))


class TestCartPole:
    def test_the_limits_themselves_do_not_terminate(self, configure: Configure) -> None:
        """Standing still exactly at a limit is inside; the next representable number is outside."""
        task = make(configure("cartpole"))
        angle = 12 * 2 * np.pi / 360
        positions = np.array([2.4, np.nextafter(2.4, 3), -2.4, np.nextafter(-2.4, -3), 0, 0, 0, 0])
        angles = np.array([0, 0, 0, 0, angle, np.nextafter(angle, 1), -angle, np.nextafter(-angle, -1)])
        still = np.zeros(8)
        step = task.step(np.array([positions, still, angles, still]), np.ones(8, dtype=int), np.empty((0, 8)))
        assert step.terminated.tolist() == [False, True] * 4
        assert step.reward.tolist() == [1.0] * 8

    def test_a_balanced_pole_is_truncated_at_500(self, configure: Configure) -> None:
        env, batched = gymnasium.make("CartPole-v1"), BatchedEnv(make(configure("cartpole")), [0], 1)
        env.reset(seed=0)
        batched.restart()
        batched.state[:, 0] = gymnasium_state(env)
        for step in range(1, 501):
            action = int(np.array([0.1, 0.3, 1.0, 1.0]) @ batched.state[:, 0] > 0)
            _, _, terminated, truncated, _ = env.step(action)
            ours = batched.step(np.array([action]))
            assert (terminated, truncated) == (False, step == 500)
            assert (ours.terminated[0], ours.truncated[0]) == (terminated, truncated)

    def test_falling_at_the_limit_is_terminated_not_truncated(self, configure: Configure) -> None:
        """Gymnasium raises both flags here; the batched flags are exclusive."""
        falling = np.array([0.0, 0.0, 0.2, 3.0])
        env = gymnasium.make("CartPole-v1", max_episode_steps=1)
        env.reset(seed=0)
        env.unwrapped.state = falling  # type: ignore[attr-defined]
        assert env.step(1)[2:4] == (True, True)

        batched = BatchedEnv(make(configure("cartpole", time_limit=1)), [0], 2)
        batched.restart()
        batched.state[:, 0] = falling
        ours = batched.step(np.array([1, 1]))
        assert ours.terminated.tolist() == [True, False]
        assert ours.truncated.tolist() == [False, True]
