import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import pytest

from bench.config.schema import TaskConfig
from bench.errors import UserError
from bench.tasks import GYMNASIUM_TASKS, TASKS, Task, by_id, make
from bench.tasks.foreign import GymTask

Configure = Callable[..., TaskConfig]


def test_every_task_has_a_configuration_file_of_its_name(name: str, configure: Configure) -> None:
    assert configure(name).name == name


def test_every_configuration_file_names_a_task(conf: Path) -> None:
    assert {path.stem for path in conf.glob("*.yaml")} == set(TASKS) | {"plugin"}


def test_the_configured_time_limit_is_the_tasks(name: str, task: Task, configure: Configure) -> None:
    assert task.time_limit == configure(name).time_limit


def test_a_time_limit_of_ones_own(configure: Configure) -> None:
    assert make(configure("cartpole", time_limit=200)).time_limit == 200


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("cartpole", {"name": "cartpol"}, "unknown task 'cartpol': .*did you mean 'cartpole'"),
        ("cartpole", {"pole": 2}, "unknown key 'task.pole'"),
        ("cartpole", {"time_limt": 2}, "unknown key 'task.time_limt'; did you mean 'time_limit'"),
        ("cartpole", {"time_limit": 0}, "task.time_limit=0: must be at least 1"),
        ("cartpole", {"time_limit": None}, "task.time_limit=null: must be a whole number"),
        ("weekly_exam", {"time_limit": 8}, "task.time_limit=8: weekly_exam ends by itself"),
    ],
)
def test_refusals(configure: Configure, file: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(configure(file, **changes))


@pytest.mark.parametrize("id", [id for id in GYMNASIUM_TASKS if not id.startswith("bench/")])
def test_spaces_and_limit_are_gymnasiums(id: str, configure: Configure) -> None:
    env, task = gymnasium.make(id), make(configure(GYMNASIUM_TASKS[id]))
    assert task.observation_space == env.observation_space
    assert task.action_space == env.action_space
    assert env.spec is not None
    assert task.time_limit == env.spec.max_episode_steps


def test_tasks_by_id_or_name() -> None:
    assert by_id("CartPole-v1") == by_id("cartpole") == TASKS["cartpole"]()
    assert by_id("CartPole-v0") == GymTask("CartPole-v0")
    with pytest.raises(UserError, match=r"unknown task 'CartPole-v7'.*did you mean 'CartPole-v1'"):
        by_id("CartPole-v7")


def test_importing_the_tasks_imports_no_torch() -> None:
    """The command line validates every cell before it starts; torch would make it wait for seconds."""
    program = "import sys, bench.tasks; print([name for name in ('torch', 'stable_baselines3') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
