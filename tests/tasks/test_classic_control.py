"""The batched tasks against Gymnasium's environments of the same name, step by step."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.seeding import np_random
from scipy.stats import ks_2samp

from bench.config.schema import TaskConfig
from bench.tasks import GYMNASIUM_TASKS, BatchedEnv, Task, make

Configure = Callable[..., TaskConfig]
IDS = [id for id in GYMNASIUM_TASKS if not id.startswith("bench/")]
STEPS = 5000


# How far states are strewn, and how closely they must agree: to rounding, which is float32's in one of them.
SCALE = {
    "CartPole-v1": (2.6, 4.0, 0.25, 4.0),
    "Acrobot-v1": (np.pi, np.pi, 4 * np.pi, 9 * np.pi),
    "MountainCar-v0": (1.2, 0.07),
    "MountainCarContinuous-v0": (1.2, 0.07),
    "Pendulum-v1": (10.0, 8.0),
}
TOLERANCE = dict.fromkeys(SCALE, 1e-11) | {"MountainCarContinuous-v0": 1e-7}
NEVER_TERMINATES = ("Pendulum-v1",)


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


def test_thousands_of_random_steps(env: "gymnasium.Env[Any, Any]", task: Task, id: str) -> None:
    batched = BatchedEnv(task, seeds=[0], n_envs=1)
    batched.restart()
    env.action_space.seed(1)
    env.reset(seed=1)
    endings = 0
    states, observations, rewards = [], [], []  # pairs of ours and Gymnasium's, compared all at once
    for _ in range(STEPS):
        batched.state[:, 0] = gymnasium_state(env)
        action = env.action_space.sample()
        observation, reward, terminated, truncated, _ = env.step(action)
        ours = batched.step(np.asarray(action)[..., None])

        assert batched.state.dtype == gymnasium_state(env).dtype
        assert ours.observation.dtype == observation.dtype
        states.append((batched.state[:, 0].copy(), gymnasium_state(env).copy()))
        observations.append((ours.observation[:, 0].copy(), observation))
        rewards.append((float(ours.reward[0]), float(reward)))
        assert ours.terminated[0] == terminated
        assert ours.truncated[0] == (truncated and not terminated)
        if terminated or truncated:
            endings += 1
            env.reset()
            batched.restart()
    assert endings >= STEPS // 1000
    np.testing.assert_allclose(*zip(*states, strict=True), rtol=0, atol=TOLERANCE[id])
    np.testing.assert_allclose(*zip(*observations, strict=True), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(*zip(*rewards, strict=True), rtol=0, atol=1e-6)


def test_states_all_over_the_place(env: "gymnasium.Env[Any, Any]", task: Task, id: str) -> None:
    """Far more than random play visits: limits, walls and goals at every speed, actions beyond their bounds."""
    rng = np.random.default_rng(2)
    dtype = task.start(rng, 1).dtype
    states = (rng.uniform(-1, 1, (len(SCALE[id]), STEPS)) * np.array(SCALE[id])[:, None]).astype(dtype)
    if isinstance(task.action_space, gymnasium.spaces.Discrete):
        actions = rng.integers(task.action_space.n, size=STEPS)
    else:
        actions = rng.uniform(-4, 4, (1, STEPS)).astype(np.float32)
    ours = task.step(states, actions, task.noise(rng, STEPS))
    assert ours.state.dtype == dtype
    env.reset(seed=0)
    found, rewards = [], []
    for column in range(STEPS):
        env.unwrapped.state = states[:, column].copy()  # type: ignore[attr-defined]
        env.unwrapped.steps_beyond_terminated = None  # type: ignore[attr-defined]
        _, reward, terminated, _, _ = env.unwrapped.step(actions[..., column])
        found.append(gymnasium_state(env).copy())
        rewards.append(float(reward))
        assert ours.terminated[column] == terminated
    np.testing.assert_allclose(ours.state.T, found, rtol=0, atol=TOLERANCE[id])
    np.testing.assert_allclose(ours.reward, rewards, rtol=0, atol=1e-6)
    assert ours.terminated.any() == (id not in NEVER_TERMINATES)
    assert not ours.terminated.all()


@pytest.mark.parametrize("seed", range(5))
def test_start_states_come_from_the_same_draws(env: "gymnasium.Env[Any, Any]", task: Task, seed: int) -> None:
    observation, _ = env.reset(seed=seed)
    start = task.start(np_random(seed)[0], 1)
    np.testing.assert_array_equal(start[:, 0], gymnasium_state(env).astype(start.dtype))
    np.testing.assert_allclose(task.observe(start)[:, 0], observation, rtol=0, atol=1e-7)


def test_start_states_are_as_widely_spread(env: "gymnasium.Env[Any, Any]", task: Task) -> None:
    """Many at once: the quantiles of every coordinate (a batch draws its numbers in another order)."""
    theirs = []
    for seed in range(2000):
        env.reset(seed=seed)
        theirs.append(gymnasium_state(env))
    ours = task.start(np.random.default_rng(0), 2000)
    for row_ours, row_theirs in zip(ours, np.array(theirs).T, strict=True):
        assert ks_2samp(row_ours, row_theirs).pvalue > 1e-3


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
