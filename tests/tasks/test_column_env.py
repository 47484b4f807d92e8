"""Single columns as Gymnasium environments, by Gymnasium's and SB3's own checkers."""

import gymnasium
import numpy as np
import pytest
import stable_baselines3.common.env_checker
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from bench.tasks import GYMNASIUM_TASKS, TASKS, Task
from bench.tasks.batched import BatchedEnv
from bench.tasks.column_env import ColumnEnv
from bench.tasks.delayed_exam import DelayedExam
from bench.tasks.weekly_exam import WeeklyExam, WeeklyExamCheat

# True of Gymnasium's own: CartPole's velocities are unbounded, Pendulum's torque goes to 2.
UNBOUNDED = r"ignore:.*(minimum|maximum) value is -?infinity"
NOT_NORMALISED = r"ignore:.*we recommend using a symmetric and normalized"
NOT_NORMALISED_SB3 = r"ignore:We recommend you to use a symmetric and normalized Box action space"
KNOBS: list[Task] = [
    DelayedExam(delay=0),
    DelayedExam(delay=3, hidden=True, luck=2.0),
    WeeklyExam(hide_fatigue=True),
    WeeklyExam(pay="final", observe_last_score=True, luck=3.0),
    WeeklyExamCheat(reward="true", reward_cap=0.7),
]


@pytest.mark.filterwarnings("error", UNBOUNDED, NOT_NORMALISED)
def test_gymnasiums_checker_passes(task: Task) -> None:
    check_env(ColumnEnv(task), skip_render_check=True)


@pytest.mark.filterwarnings("error", NOT_NORMALISED_SB3)
def test_sb3s_checker_passes(task: Task) -> None:
    stable_baselines3.common.env_checker.check_env(ColumnEnv(task))


@pytest.mark.parametrize("world", KNOBS, ids=str)
@pytest.mark.filterwarnings("error", UNBOUNDED)
def test_worlds_with_other_knobs_pass_both_checkers_and_go_on_from_a_saved_state(world: Task) -> None:
    check_env(ColumnEnv(world), skip_render_check=True)
    stable_baselines3.common.env_checker.check_env(ColumnEnv(world))
    env, other = (BatchedEnv(world, seeds=[seed], n_envs=3) for seed in (0, 5))
    rng, steps = np.random.default_rng(1), 40  # over several ends of episodes
    actions = rng.integers(world.action_space.n, size=(steps, 3))  # type: ignore[union-attr]  # all are Discrete
    env.restart()
    for action in actions[:7]:
        env.step(action)
    other.set_state(env.get_state())
    for action in actions[7:]:
        one, two = env.step(action), other.step(action)
        np.testing.assert_array_equal(one.observation, two.observation)
        np.testing.assert_array_equal(one.reward, two.reward)
        np.testing.assert_array_equal(one.terminated, two.terminated)


@pytest.mark.parametrize("id", [id for id in GYMNASIUM_TASKS if id.startswith("bench/")])
def test_own_worlds_are_registered_with_gymnasium(id: str) -> None:
    env = gymnasium.make(id)
    assert isinstance(env.unwrapped, ColumnEnv)
    assert isinstance(env.unwrapped.task, TASKS[GYMNASIUM_TASKS[id]])


def test_an_episode_of_the_weekly_exam_is_sixteen_weeks() -> None:
    env = gymnasium.make("bench/WeeklyExam-v0")
    observation, _ = env.reset(seed=4)
    assert observation[0] == 0
    flags = [env.step(week % 4)[2:4] for week in range(16)]
    assert flags == [(False, False)] * 15 + [(True, False)]


@pytest.mark.filterwarnings("error", UNBOUNDED)
@pytest.mark.parametrize("id", [id for id in GYMNASIUM_TASKS if id.startswith("bench/")])
def test_registered_worlds_pass_the_checkers_rendering_included(id: str) -> None:
    check_env(gymnasium.make(id, disable_env_checker=True).unwrapped)
    venv = make_vec_env(id, n_envs=2, env_kwargs={"render_mode": "ansi"})
    assert isinstance(venv, VecEnv)
    venv.reset()
    venv.step(np.zeros(2, dtype=int))


def test_the_last_step_is_one_line_for_every_task(task: Task) -> None:
    env = ColumnEnv(task, render_mode="ansi")
    env.reset(seed=0)
    start = env.render()
    env.step(env.action_space.sample())
    assert start
    assert start != env.render()
    assert "reward" in env.render()
    assert "\n" not in env.render()
    assert ColumnEnv(task).render() is None


def test_worlds_in_words() -> None:
    exam, walk, week = TASKS["exam_question"](), TASKS["random_walk"](), TASKS["weekly_exam"]()
    asked = np.array([0.0, 1.0, 1.0])
    assert exam.describe(asked) == "younger  hard question"
    assert exam.describe(asked, 3, 0.4567) == "younger  hard question  gamble  reward +0.46"
    assert walk.describe(np.array([9.0])) == ".|.........o.........|."
    assert walk.describe(np.array([19.0]), 1, 1.0) == ".|...................|o  right  reward +1.00"
    assert week.describe(np.array([3.0, 9.0, 1.0, 0.0]), 2, 0.8) == (
        "week  3  elder    tutor   level  9  fatigue 1  reward +0.80"
    )


def test_a_seed_fixes_the_episode(task: Task) -> None:
    def episode() -> list[float]:
        env = ColumnEnv(task)
        env.action_space.seed(0)
        env.reset(seed=7)
        actions = [env.action_space.sample() for _ in range(10)]
        return [number for action in actions for number in (*env.step(action)[0], float(env.state[0, 0]))]

    assert np.array_equal(episode(), episode())
