"""Single columns as Gymnasium environments, by Gymnasium's and SB3's own checkers."""

import gymnasium
import numpy as np
import pytest
import stable_baselines3.common.env_checker
from gymnasium.utils.env_checker import check_env

from bench.tasks import GYMNASIUM_TASKS, TASKS, Task
from bench.tasks.column_env import ColumnEnv

# True of Gymnasium's own: CartPole's velocities are unbounded, Pendulum's torque goes to 2.
UNBOUNDED = r"ignore:.*(minimum|maximum) value is -?infinity"
NOT_NORMALISED = r"ignore:.*we recommend using a symmetric and normalized"
NOT_NORMALISED_SB3 = r"ignore:We recommend you to use a symmetric and normalized Box action space"


@pytest.mark.filterwarnings("error", UNBOUNDED, NOT_NORMALISED)
def test_gymnasiums_checker_passes(task: Task) -> None:
    check_env(ColumnEnv(task), skip_render_check=True)


@pytest.mark.filterwarnings("error", NOT_NORMALISED_SB3)
def test_sb3s_checker_passes(task: Task) -> None:
    stable_baselines3.common.env_checker.check_env(ColumnEnv(task))


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


def test_a_seed_fixes_the_episode(task: Task) -> None:
    def episode() -> list[float]:
        env = ColumnEnv(task)
        env.action_space.seed(0)
        env.reset(seed=7)
        actions = [env.action_space.sample() for _ in range(10)]
        return [number for action in actions for number in (*env.step(action)[0], float(env.state[0, 0]))]

    assert np.array_equal(episode(), episode())
