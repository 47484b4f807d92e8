"""The tasks as the configuration files describe them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bench.config.build import build
from bench.config.schema import TaskConfig
from bench.tasks import TASKS, Task, make

Configure = Callable[..., TaskConfig]


@pytest.fixture(scope="session")
def conf() -> Path:
    return Path(__file__).parents[2] / "conf" / "task"


@pytest.fixture(scope="session")
def configure(conf: Path) -> Configure:
    """`configure(name, key=value, …)`: the configuration conf/ has, some keys changed; a task's own keys are knobs."""

    def configure(file: str, /, **changes: object) -> TaskConfig:
        values = yaml.safe_load((conf / f"{file}.yaml").read_text()) | changes
        common = {field.name for field in dataclasses.fields(TaskConfig)}
        knobs = {key: value for key, value in values.items() if key not in common}
        return build(TaskConfig, {key: value for key, value in values.items() if key in common} | {"knobs": knobs})

    return configure


@pytest.fixture(params=[name for name in TASKS if name != "gym"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def task(name: str, configure: Configure) -> Task:
    return make(configure(name))
