"""The true values: exact where the world is solved, else from restored states, with an error of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bench.errors import UserError
from bench.lab.advantages import Truth, spread
from bench.lab.anchors import COLUMN_STEPS, Anchors, continuations
from bench.lab.policies import Policy, table_of, tabulated
from bench.lab.settings import Settings
from bench.lab.simulate import Episodes, RewardProcess
from bench.tasks.base import Array
from bench.tasks.exact import ExactTask, Solution

WORST_TRUTH = 0.5  # of its size: a truth with a larger error is not told from zero, and nothing is a share of it
FIRST = 32  # futures, or blocks of batches, before the first look at the precision

Stream = Callable[..., np.random.Generator]  # from keys to their own random numbers


def solution(task: ExactTask, policy: Policy, gamma: float) -> Solution:
    """Return the exact values of a policy of an exactly solved world."""
    return task.solve(table_of(task, policy), gamma)


def exact_truth(task: ExactTask, solved: Solution, anchors: Anchors) -> Truth:
    """Return Q and V at anchors whose actions are all there."""
    value = tabulated(task, solved.value, anchors.states)
    q_values = tabulated(task, solved.q_values, anchors.states)
    return Truth(q_values, np.zeros_like(q_values), value, np.zeros_like(value))


class RolledOut(Protocol):
    """A truth that is known ever better, the more is rolled out."""

    steps: int

    def add(self, count: int) -> None:
        """Roll out `count` more."""

    def precision(self) -> float:
        """Return the standard error of what is known as a share of its size."""


def until_precise(rolled: RolledOut, settings: Settings) -> float:
    """Double what was rolled out until it is precise enough, or the next doubling would exceed the budget of steps.

    Returns:
        The precision reached.

    Raises:
        UserError: where that is not enough and the settings refuse a shortfall.
    """
    wanted, budget, count = settings.truth_precision, settings.truth_steps, FIRST
    rolled.add(count)
    while (reached := rolled.precision()) > wanted:
        if 2 * rolled.steps > budget:
            if settings.shortfall == "report":
                return reached
            needed = rolled.steps * (reached / wanted) * (reached / wanted)
            raise UserError(
                f"truth_steps={budget}: after {rolled.steps} steps the truth is known to {reached:.2g} of the effects, "
                f"truth_precision={wanted} needs about {needed:.2g}; raise truth_steps or truth_precision, or use "
                f"shortfall=report"
            )
        rolled.add(count)
        count *= 2
    return reached


@dataclass
class _Sums:
    """Mean and variance of the mean of ever more pairs of returns."""

    count: int
    total: Array
    squares: Array

    @property
    def mean(self) -> Array:
        mean: Array = self.total / self.count
        return mean

    @property
    def error(self) -> Array:
        """The variance of the mean."""
        variance: Array = (self.squares - self.count * np.square(self.mean)) / (self.count - 1)
        return variance.clip(min=0) / self.count

    def add(self, returns: Array) -> None:
        """Add returns (…, n) of antithetic pairs: what is independent is the mean of a pair."""
        returns = (returns[..., ::2] + returns[..., 1::2]) / 2
        self.count += returns.shape[-1]
        self.total = self.total + returns.sum(-1)
        self.squares = self.squares + np.square(returns).sum(-1)


class RolledOutValues:
    """Q and V at anchors of several time steps, from antithetic pairs of futures of restored states."""

    def __init__(self, process: RewardProcess, anchors: Sequence[Anchors], stream: Stream) -> None:
        self.process, self.anchors, self.stream = process, anchors, stream
        self.steps, self.rounds = 0, 0
        self._q = [_Sums(0, np.zeros(at.shape), np.zeros(at.shape)) for at in anchors]
        self._v = [_Sums(0, np.zeros(at.shape[0]), np.zeros(at.shape[0])) for at in anchors]

    def add(self, count: int) -> None:
        """Roll out `count` more futures of every state and action.

        Where actions are drawn, V has as many from every state, of fresh actions.
        """
        for index, at in enumerate(self.anchors):
            rng = self.stream(self.rounds, index)
            states, actions = at.shape
            self._q[index].add(self._returns(at, count, rng, given=True).reshape(states, actions, count))
            if at.drawn:
                self._v[index].add(self._returns(at, count, rng, given=False).reshape(states, -1))
        self.rounds += 1

    def _returns(self, at: Anchors, count: int, rng: np.random.Generator, *, given: bool) -> Array:
        """Returns (M, J, count), as many at once as memory allows; `given` says whether the anchors' actions begin."""
        process = self.process
        horizon = process.horizon(at.step)
        longest = (horizon or process.task.horizon or 1) - at.step
        chunk = 2 * max(1, COLUMN_STEPS // (2 * at.shape[0] * at.shape[1] * longest))  # whole pairs
        found = []
        for start in range(0, count, chunk):
            repeats = min(chunk, count - start)
            if given:
                episodes = continuations(process, at, repeats, rng, time_limit=horizon, antithetic=True)
            else:
                states = np.repeat(at.states, at.shape[1] * repeats, axis=1)
                episodes = process.from_states(states, rng, elapsed=at.step, time_limit=horizon, antithetic=True)
            self.steps += episodes.steps
            found.append(episodes.returns(process.gamma).reshape(at.shape[0], -1, repeats))
        return np.concatenate(found, 2)

    def truth(self) -> list[Truth]:
        """Return what is known so far, one per time step."""
        known = []
        for at, q, v in zip(self.anchors, self._q, self._v, strict=True):
            if at.drawn:
                known.append(Truth(q.mean, q.error, v.mean, v.error))
            else:
                value = (at.weights * q.mean).sum(1)
                known.append(Truth(q.mean, q.error, value, (np.square(at.weights) * q.error).sum(1)))
        return known

    def precision(self) -> float:
        """Return the truth's standard error as a share of the true advantages.

        Both are root mean squares over states and actions.
        """
        noise, signal = 0.0, 0.0
        for truth, at in zip(self.truth(), self.anchors, strict=True):
            noise += float((at.weights * (1 - at.weights) * truth.q_error).sum())
            signal += float(spread(truth.q_values, truth.q_error, at.weights, at.drawn).sum())
        return relative_error(noise, signal)


def relative_error(noise: float, signal: float) -> float:
    """Return the root of an error's variance over a squared size; infinite where the size is not above zero."""
    return float(np.sqrt(noise / signal)) if signal > 0 else np.inf


def restored_values(
    process: RewardProcess, episodes: Episodes, every: int, rollouts: int, rng: np.random.Generator
) -> tuple[Array, int]:
    """Return V̂ of every `every`-th state of episodes, from `rollouts` episodes each as baseline=vine runs them.

    They are (T, C), 0 elsewhere; with them come the steps they took.
    """
    values, steps = np.zeros(episodes.rewards.shape), 0
    for step in range(0, episodes.length, every):
        living = np.flatnonzero(episodes.live[step])
        values[step, living], taken = mean_returns(process, episodes.states[step][:, living], step, rollouts, rng)
        steps += taken
    return values, steps


def mean_returns(
    process: RewardProcess, states: Array, step: int, rollouts: int, rng: np.random.Generator
) -> tuple[Array, int]:
    """Return the mean return of `rollouts` episodes from each of states (D, C) reached after `step` steps.

    With them (C,) come the steps they took.
    """
    longest = (process.task.horizon or step + 1000) - step
    chunk = max(1, COLUMN_STEPS // (rollouts * longest))
    means, steps = [np.zeros(0)], 0
    for start in range(0, states.shape[1], chunk):
        repeated = np.repeat(states[:, start : start + chunk], rollouts, axis=1)
        episodes = process.from_states(repeated, rng, elapsed=step)
        steps += episodes.steps
        means.append(episodes.returns(process.gamma).reshape(-1, rollouts).mean(1))
    return np.concatenate(means), steps
