"""Simulated episodes of a tabular policy, many columns at once, through a task's own step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.tasks.base import Step
from bench.tasks.exact import ExactTask


@dataclass(frozen=True)
class Episodes:
    """T steps of n episodes, time first; after an episode's end there is no action and no reward.

    `places` are positions in the flat table of states, 0 after the end.
    """

    kind: np.ndarray  # (n,)
    live: np.ndarray  # (T, n)
    places: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray

    def returns(self, gamma: float = 1.0) -> np.ndarray:
        """Discounted returns from every step, (T, n)."""
        after, following = np.zeros_like(self.rewards), np.zeros(self.rewards.shape[1])
        for t in reversed(range(len(after))):
            following = after[t] = self.rewards[t] + gamma * following
        return after


def play(
    task: ExactTask, policy: np.ndarray, state: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, Step]]:
    """Step by step to the last episode's end: the columns still alive, their places, actions and what came of them."""
    cumulative = policy.reshape(-1, policy.shape[-1]).cumsum(axis=-1)[:, :-1]
    alive = np.arange(state.shape[1])
    while alive.size:
        place = np.ravel_multi_index(task.index(state), task.model.table)
        action = (rng.random((alive.size, 1)) > cumulative[place]).sum(axis=-1)
        outcome = task.step(state, action, task.noise(rng, alive.size))
        yield alive, place, action, outcome
        state, alive = outcome.state[:, ~outcome.terminated], alive[~outcome.terminated]


def simulate(task: ExactTask, policy: np.ndarray, n: int, seed: int) -> Episodes:
    """`n` whole episodes of a policy (*table, action)."""
    rng = np.random.default_rng(seed)
    start = task.start(rng, n)
    steps = []
    for alive, place, action, outcome in play(task, policy, start, rng):
        rows = np.zeros(n, dtype=bool), np.zeros(n, dtype=int), np.zeros(n, dtype=int), np.zeros(n)
        for row, values in zip(rows, (True, place, action, outcome.reward), strict=True):
            row[alive] = values
        steps.append(rows)
    return Episodes(task.kind(start), *(np.stack(rows) for rows in zip(*steps, strict=True)))


def totals(
    task: ExactTask, policy: np.ndarray, n: int, seed: int, gamma: float = 1.0
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Of `n` whole episodes the kind, the discounted return and the (undiscounted) sums of the task's extras, (n,)."""
    rng = np.random.default_rng(seed)
    start = task.start(rng, n)
    returns, sums = np.zeros(n), {name: np.zeros(n) for name in task.extras}
    for step, (alive, _, _, outcome) in enumerate(play(task, policy, start, rng)):
        returns[alive] += gamma**step * outcome.reward
        for name, values in outcome.extras.items():
            sums[name][alive] += values
    return task.kind(start), returns, sums


def standard_errors(sample: np.ndarray, expected: float) -> float:
    """How many standard errors the mean of a sample lies from what is expected."""
    return float((sample.mean() - expected) / (sample.std(ddof=1) / np.sqrt(sample.size)))
