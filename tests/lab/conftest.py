"""Policies whose networks have been shaken, so that they prefer some actions to others."""

import functools
from collections.abc import Iterator

import pytest
import torch
from scipy import stats

import bench
from bench.config.schema import Config
from bench.lab.policies import NetworkPolicy
from bench.learner.policy import StackedPolicy
from bench.tasks.registry import make


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def policy_of(config: Config, spread: float = 0.5, seed: int = 0) -> NetworkPolicy:
    """An untrained policy, its last layer of that spread."""
    task = make(config.task)
    stacked = StackedPolicy(task.observation_space, task.action_space, config, [seed])
    head = stacked.actor.stack.weights[4]
    head.copy_(spread * torch.randn(head.shape, generator=torch.Generator().manual_seed(seed)))
    return NetworkPolicy(task, stacked.acting().select([0]), config)


@functools.cache  # a composition takes a tenth of a second
def arm(task: str, baseline: str, advantage: str, *overrides: str) -> Config:
    return bench.compose([f"task={task}", f"baseline={baseline}", f"advantage={advantage}", *overrides])


def bonferroni(tests: int, level: float = 0.01) -> float:
    """The bound that the largest of `tests` |z| exceeds with a probability of at most `level`."""
    return float(stats.norm.isf(level / (2 * tests)))
