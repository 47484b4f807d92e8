"""The walk against the gambler's ruin and its Green's function."""

import numpy as np
import pytest

from bench.errors import UserError
from bench.tasks import BatchedEnv
from bench.tasks.random_walk import LEFT, RIGHT, RandomWalk

STATES = np.arange(1, 20)  # as they are numbered in the literature; index i - 1


@pytest.fixture
def task() -> RandomWalk:
    return RandomWalk()


def ruin(p: float) -> np.ndarray:
    """P(leaving on the right) from each state when every step goes right with probability p."""
    ratio = (1 - p) / p
    return STATES / 20 if p == 0.5 else (1 - ratio**STATES) / (1 - ratio**20)


@pytest.mark.parametrize("p", [0.3, 0.5, 0.8])
def test_values_are_those_of_the_gamblers_ruin(task: RandomWalk, p: float) -> None:
    solution = task.solve(np.array([1 - p, p]))
    value = 2 * ruin(p) - 1
    np.testing.assert_allclose(solution.value, value, rtol=0, atol=1e-12)
    padded = np.array([-1.0, *value, 1.0])
    np.testing.assert_allclose(solution.q_values[:, LEFT], padded[:-2], rtol=0, atol=1e-12)
    np.testing.assert_allclose(solution.q_values[:, RIGHT], padded[2:], rtol=0, atol=1e-12)
    assert solution.objective == pytest.approx(value[9], abs=1e-12)


def test_uniform_values_are_a_straight_line(task: RandomWalk) -> None:
    np.testing.assert_allclose(task.solve("uniform").value, (STATES - 10) / 10, rtol=0, atol=1e-13)


@pytest.mark.parametrize("gamma", [0.9, 0.5])
def test_discounted_values(task: RandomWalk, gamma: float) -> None:
    """The recurrence V(i) = γ (V(i-1) + V(i+1)) / 2 has solutions x^i with x = (1 ± √(1 - γ²)) / γ.

    The ends are worth ∓1/γ, since the reward comes with the step that leaves.
    """
    up, down = (1 + np.sqrt(1 - gamma**2)) / gamma, (1 - np.sqrt(1 - gamma**2)) / gamma
    ends = np.linalg.solve([[1, 1], [up**20, down**20]], [-1 / gamma, 1 / gamma])
    value = ends[0] * up**STATES + ends[1] * down**STATES
    np.testing.assert_allclose(task.solve("uniform", gamma).value, value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_optimum_is_to_go_right(task: RandomWalk, gamma: float) -> None:
    solution = task.solve("optimal", gamma)
    assert (solution.policy.argmax(-1) == RIGHT).all()
    np.testing.assert_allclose(solution.value, gamma ** (19.0 - STATES), rtol=0, atol=1e-12)


def test_a_policy_that_walks_in_circles_has_no_value(task: RandomWalk) -> None:
    circles = np.where(STATES <= 10, RIGHT, LEFT)
    with pytest.raises(UserError, match="an episode of this policy need not end"):
        task.solve(circles)
    assert task.solve(circles, 0.9).objective == 0


def test_visits_are_the_greens_function(task: RandomWalk) -> None:
    """From the middle of twenty steps: min(i, 20 - i) visits, a hundred steps in all."""
    visits = task.visits("uniform")
    np.testing.assert_allclose(visits, np.minimum(STATES, 20 - STATES), rtol=0, atol=1e-11)


def test_walking(task: RandomWalk) -> None:
    env = BatchedEnv(task, [0], 2)
    env.restart()
    np.testing.assert_array_equal(env.observation, np.eye(19)[[9, 9]].T)
    actions = np.array([LEFT, RIGHT])
    for _ in range(9):
        transition = env.step(actions)
        assert transition.reward.tolist() == [0, 0]
        assert not transition.terminated.any()
    assert env.state.tolist() == [[0, 18]]
    transition = env.step(actions)
    assert transition.reward.tolist() == [-1, 1]
    assert transition.terminated.tolist() == [True, True]
    assert not transition.observation.any()


def test_a_time_limit_ends_circles(task: RandomWalk) -> None:
    env = BatchedEnv(task, [0], 1)
    env.restart()
    flags = [env.step(np.array([step % 2])).truncated[0] for step in range(1000)]
    assert flags == [False] * 999 + [True]


def test_the_kind_is_one(task: RandomWalk) -> None:
    assert list(task.model.starts) == ["walk"]
    assert task.kind(task.states()).tolist() == [0] * 19
