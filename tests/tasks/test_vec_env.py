"""Batched environments under SB3's rules, for every task."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from bench.tasks import BatchedEnv, Task
from bench.tasks.cartpole import CartPole
from bench.tasks.column_env import ColumnEnv
from bench.tasks.vec_env import BatchedVecEnv
from bench.tasks.weekly_exam import WeeklyExam


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def env(task: Task) -> BatchedVecEnv:
    return BatchedVecEnv(BatchedEnv(task, seeds=[0, 1], n_envs=3))


def sample_actions(env: VecEnv, rng: np.random.Generator) -> np.ndarray:
    space = env.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return rng.integers(space.n, size=env.num_envs)
    assert isinstance(space, gymnasium.spaces.Box)
    return rng.uniform(space.low, space.high, (env.num_envs, *space.shape)).astype(np.float32)


def test_the_same_shapes_and_types_as_sb3s_own(task: Task, env: BatchedVecEnv) -> None:
    theirs = DummyVecEnv([lambda: ColumnEnv(task) for _ in range(6)])
    assert env.num_envs == theirs.num_envs
    assert env.observation_space == theirs.observation_space
    assert env.action_space == theirs.action_space
    results = []
    for venv in (env, theirs):
        observation = venv.reset()
        results.append((observation, *venv.step(sample_actions(venv, np.random.default_rng(0)))[:3]))
    for ours, other in zip(*results, strict=True):
        assert ours.shape == other.shape
        assert ours.dtype == other.dtype


def test_finished_episodes_restart_and_report_like_monitor(task: Task, env: BatchedVecEnv) -> None:
    rng = np.random.default_rng(1)
    env.reset()
    returns, lengths, episodes = np.zeros(6), np.zeros(6, dtype=int), 0
    for _ in range(1100):
        observation, reward, done, infos = env.step(sample_actions(env, rng))
        returns += reward
        lengths += 1
        for column, info in enumerate(infos):
            assert info["TimeLimit.truncated"] == (done[column] and "truncated" in ending(task, info))
            assert ("terminal_observation" in info) == ("episode" in info) == done[column]
            if done[column]:
                episodes += 1
                assert info["episode"]["r"] == pytest.approx(returns[column], rel=1e-5, abs=1e-4)
                assert info["episode"]["l"] == lengths[column]
                assert not np.array_equal(info["terminal_observation"], observation[column])
        assert (env.batched.elapsed[done] == 0).all()
        np.testing.assert_array_equal(observation, env.batched.observation.T)
        returns[done] = lengths[done] = 0
    assert episodes >= 6


def ending(task: Task, info: dict[str, object]) -> str:
    """How an episode ended, told from its length."""
    length = info["episode"]["l"]  # type: ignore[index]
    return "truncated" if length == task.time_limit else "terminated"


def test_the_terminal_observation_is_that_of_the_true_successor() -> None:
    env = BatchedVecEnv(BatchedEnv(WeeklyExam(), [0], 2))
    env.reset()
    for week in range(1, 17):
        observation, _, done, infos = env.step(np.array([1, 1]))
        assert done.all() == (week == 16)
    assert [info["terminal_observation"][0] for info in infos] == [1.0, 1.0]  # the week, scaled
    assert observation[:, 0].tolist() == [0.0, 0.0]


def test_a_time_limit_is_told_apart() -> None:
    env = BatchedVecEnv(BatchedEnv(CartPole(time_limit=5), [0], 2))
    env.reset()
    for _ in range(5):
        _, _, done, infos = env.step(np.array([0, 1]))
    assert done.all()
    assert [info["TimeLimit.truncated"] for info in infos] == [True, True]


def test_a_seed_fixes_what_follows(env: BatchedVecEnv) -> None:
    def episode() -> list[np.ndarray]:
        assert len(env.seed(5)) == 6
        rng = np.random.default_rng(0)
        return [env.reset(), *(env.step(sample_actions(env, rng))[0] for _ in range(20))]

    one, other = episode(), episode()
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert env.batched.seeds == (5, 6)


def test_seeding_without_a_seed_draws_one(env: BatchedVecEnv) -> None:
    env.seed()
    first = env.batched.seeds
    env.seed()
    assert env.batched.seeds != first


def test_attributes_and_methods_are_the_tasks(task: Task, env: BatchedVecEnv) -> None:
    assert env.get_attr("time_limit") == [task.time_limit] * 6
    assert env.get_attr("time_limit", indices=[0, 4]) == [task.time_limit] * 2
    assert env.get_attr("render_mode", indices=1) == [None]
    assert not env.has_attr("no_such_thing")
    assert env.env_method("observe", env.batched.task.start(np.random.default_rng(0), 1), indices=2)[0].shape[1] == 1
    assert env.env_is_wrapped(Monitor) == [True] * 6
    assert env.env_is_wrapped(gymnasium.wrappers.TimeLimit, indices=[0]) == [False]
    with pytest.raises(AttributeError, match="time_limit cannot be set"):
        env.set_attr("time_limit", 3)
    env.close()


@pytest.mark.filterwarnings("error")
def test_sb3_learns_and_evaluates(task: Task) -> None:
    if task.time_limit is not None:
        task = dataclasses.replace(task, time_limit=50)  # type: ignore[type-var]
    env = BatchedVecEnv(BatchedEnv(task, seeds=[0, 1], n_envs=3))
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=64, n_epochs=1, seed=0, device="cpu")
    model.learn(6 * 64)
    assert model.ep_info_buffer
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=6, return_episode_rewards=True)
    assert len(returns) == 6
    assert max(lengths) <= 50
