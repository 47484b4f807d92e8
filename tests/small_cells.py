"""Small cells in a folder of their own, trained by the fake learner: fixtures of several folders of tests."""

import dataclasses
import functools
from collections.abc import Callable

import pytest

import bench
from bench.config.schema import Config
from bench.execution import execute
from tests.fake_learner import FakeLearner


@pytest.fixture
def learner(monkeypatch) -> FakeLearner:
    fake = FakeLearner()
    monkeypatch.setattr(execute, "train", fake)
    return fake


@pytest.fixture
def cell(tmp_path, learner) -> Callable[..., Config]:  # noqa: ARG001 - who trains them
    """Compose a small cell that writes to a folder of its own."""

    def compose(*overrides: str) -> Config:
        config = _composed("task=weekly_exam", "budget=1000", "wandb=disabled", *overrides)
        return dataclasses.replace(config, results=str(tmp_path / config.results))

    return compose


@functools.cache
def _composed(*overrides: str) -> Config:
    return bench.compose(overrides)
