"""The nineteen-state random walk: errors of value estimates after 10 episodes, for the best step size of each target.

The numbers are averages over 20,000 runs (standard error .0003) of programs that share nothing with this suite; the
set-up is that of Sutton & Barto, 2nd ed., figure 7.2.
"""

import numpy as np
import pytest
import torch

from bench.arms.returns import lambda_return, n_step_return
from bench.lab.policies import TabularPolicy
from bench.lab.simulate import Episodes, RewardProcess
from bench.tasks.random_walk import N_STATES, RandomWalk

RUNS, EPISODES = 500, 10
TRUE = (np.arange(1, N_STATES + 1) - 10) / 10
REFERENCE_ERROR = 3e-4


@pytest.fixture(scope="module")
def episodes() -> list[Episodes]:
    """The k-th episode of every run, from the same uniform walk."""
    task = RandomWalk(time_limit=None)
    policy = TabularPolicy(task, np.full((N_STATES, 2), 0.5))
    rng = np.random.default_rng(4)
    process = RewardProcess(policy, gamma=1.0)
    return [process.from_start(rng, RUNS) for _ in range(EPISODES)]


class Run:
    """Values of all runs, and their root mean square error after each episode."""

    def __init__(self, step_size: float) -> None:
        self.values, self.step_size = np.zeros((RUNS, N_STATES + 2)), step_size  # behind the ends, worth nothing
        self.errors: list[np.ndarray] = []

    def update(self, places: np.ndarray, targets: np.ndarray, who: np.ndarray) -> None:
        """v ← v + α (G − v) of the runs `who`."""
        rows = np.flatnonzero(who)
        at = places[rows]
        self.values[rows, at] += self.step_size * (targets[rows] - self.values[rows, at])

    def finish_episode(self) -> None:
        self.errors.append(np.sqrt(np.square(self.values[:, 1:-1] - TRUE).mean(1)))

    def check(self, expected: float) -> None:
        by_run = np.mean(self.errors, 0)
        error = np.hypot(by_run.std(ddof=1) / np.sqrt(RUNS), REFERENCE_ERROR)
        assert abs(by_run.mean() - expected) < 4 * error


def frozen(episodes: list[Episodes], step_size: float, target: str, parameter: float) -> Run:
    """Targets from the values before the episode, by the functions that training calls."""
    run = Run(step_size)
    for episode in episodes:
        places = episode.states[:, 0].astype(int) + 1
        next_values = np.take_along_axis(run.values, places[1:].T, 1).T
        given = (episode.rewards, next_values, episode.terminated, episode.truncated, 1.0)
        found = n_step_return(*given, int(parameter)) if target == "n" else lambda_return(*given, parameter)
        targets = found.numpy()
        for t in range(episode.length):
            run.update(places[t], targets[t], episode.live[t])
        run.finish_episode()
    return run


def online(episodes: list[Episodes], step_size: float, n: int) -> Run:
    """n-step targets that see the values as the episode has changed them (Sutton & Barto, section 7.1)."""
    run = Run(step_size)
    for episode in episodes:
        places, live = episode.states[:, 0].astype(int) + 1, episode.live
        length, outcome = live.sum(0), episode.rewards.sum(0)  # no reward but on leaving
        for now in range(episode.length + n - 1):
            step = now - n + 1
            if step < 0:
                continue
            ahead = min(step + n, episode.length)
            ends = step + n >= length
            bootstrapped = run.values[np.arange(RUNS), places[ahead]]
            run.update(places[step], np.where(ends, outcome, bootstrapped), step < length)
        run.finish_episode()
    return run


FROZEN = [(1, 0.80, 0.3660), (2, 0.61, 0.2915), (4, 0.35, 0.2723), (8, 0.23, 0.2832), (16, 0.13, 0.3176),
          (512, 0.022, 0.4874)]  # fmt: skip
LAMBDA = [(0.0, 0.79, 0.3662), (0.4, 0.74, 0.2912), (0.8, 0.37, 0.2625), (0.9, 0.25, 0.2829), (1.0, 0.022, 0.4882)]
ONLINE = [(1, 0.82, 0.3450), (2, 0.595, 0.2759), (4, 0.375, 0.2628), (8, 0.23, 0.2756), (16, 0.14, 0.3106),
          (512, 0.022, 0.4879)]  # fmt: skip


def test_before_learning_the_error_is_known() -> None:
    assert np.sqrt(np.square(TRUE).mean()) == pytest.approx(0.5477, abs=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "step_size", "error"), FROZEN)
def test_n_step_targets_from_frozen_values(episodes: list[Episodes], n: int, step_size: float, error: float) -> None:
    frozen(episodes, step_size, "n", n).check(error)


@pytest.mark.slow
@pytest.mark.parametrize(("gae_lambda", "step_size", "error"), LAMBDA)
def test_lambda_returns(episodes: list[Episodes], gae_lambda: float, step_size: float, error: float) -> None:
    frozen(episodes, step_size, "lambda", gae_lambda).check(error)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "step_size", "error"), ONLINE)
def test_on_line_n_step_targets(episodes: list[Episodes], n: int, step_size: float, error: float) -> None:
    online(episodes, step_size, n).check(error)


def test_the_episodes_are_random_walks(episodes: list[Episodes]) -> None:
    """A walk from the middle of 21 places takes 10 · 10 steps on average, and leaves on either side alike."""
    lengths = np.concatenate([episode.live.sum(0) for episode in episodes])
    outcomes = np.concatenate([episode.rewards.sum(0) for episode in episodes])
    assert abs(lengths.mean() - 100) < 4 * lengths.std() / np.sqrt(len(lengths))
    assert abs(outcomes.mean()) < 4 / np.sqrt(len(outcomes))
    assert torch.as_tensor(np.abs(outcomes)).eq(1).all()
