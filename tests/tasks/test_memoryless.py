"""Policies that see a part of the state, against every one there is and against worlds that hide nothing."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from bench.errors import UserError
from bench.tasks.base import Array, Step
from bench.tasks.delayed_exam import DelayedExam
from bench.tasks.exact import ExactTask, Model
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.memoryless import best_memoryless
from bench.tasks.weekly_exam import WeeklyExam


@dataclass(frozen=True)
class Veiled(ExactTask):
    """A made-up world of three steps, three states and two actions, two states of which look alike."""

    seed: int = 0
    time_limit = None
    observation_space = spaces.Box(0.0, 3.0, (2,))
    action_space = spaces.Discrete(2)

    @cached_property
    def model(self) -> Model:
        rng = np.random.default_rng(self.seed)
        transition, reward = rng.dirichlet(np.ones(3), size=(2, 3)), rng.normal(size=(3, 2))
        return Model(
            transition=transition,
            reward=reward,
            reward_variance=np.zeros((3, 2)),
            reward_to=np.broadcast_to(reward.T[:, :, None], transition.shape),
            square_to=np.broadcast_to((reward**2).T[:, :, None], transition.shape),
            horizon=3,
            shape=(3,),
            starts={"here": rng.dirichlet(np.ones(3))},
        )

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.stack([np.zeros(n), rng.choice(3, size=n, p=self.model.start())])

    def step(self, state: Array, action: Array, noise: Array) -> Step:
        raise NotImplementedError

    def observe(self, state: Array) -> Array:
        return np.stack([state[0], state[1] > 0]).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_the_best_of_all_sixty_four(seed: int, gamma: float) -> None:
    task = Veiled(seed)
    every = (np.array(actions).reshape(3, 2)[:, [0, 1, 1]] for actions in itertools.product([0, 1], repeat=6))
    best = max(task.solve(policy, gamma).objective for policy in every)
    found = best_memoryless(task, gamma, starts=20)
    assert found.objective == pytest.approx(best, abs=1e-12)
    assert (found.policy[:, 1] == found.policy[:, 2]).all()
    assert found.objective <= task.solve("optimal", gamma).objective + 1e-12


@pytest.mark.parametrize("task", [WeeklyExam(), ExamQuestion()])
def test_who_sees_everything_finds_the_optimum_from_anywhere(task: Any) -> None:
    assert best_memoryless(task, starts=1).objective == pytest.approx(task.solve().objective, abs=1e-10)


def test_hidden_fatigue_costs_something_and_leaves_much() -> None:
    task = WeeklyExam(hide_fatigue=True)
    constant = max(task.solve(plan).objective for plan in range(4))
    assert constant < best_memoryless(task, starts=1).objective < task.solve().objective - 0.1
    assert not task.observations()[2].any()
    assert WeeklyExam().observations()[2].any()


def test_worlds_that_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="a world with a step axis"):
        best_memoryless(DelayedExam(hidden=True))
    with pytest.raises(UserError, match=r"task\.observe_last_score=true"):
        best_memoryless(WeeklyExam(observe_last_score=True))

    class Timeless(Veiled):
        def observe(self, state: Array) -> Array:
            return np.zeros((2, state.shape[1]), np.float32)

    with pytest.raises(ValueError, match="observations that tell the step"):
        best_memoryless(Timeless())
