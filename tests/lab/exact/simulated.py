"""Exact moments of targets and gradients against simulated episodes, each through a task's own step.

`python -m tests.lab.exact.simulated 1000000` prints, world by world, the largest |z| and its Bonferroni bound.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.lab.exact.gradients import gradient
from bench.lab.exact.process import Process
from bench.lab.exact.scores import LogitScores
from bench.lab.exact.targets import MONTE_CARLO, TD0, Target, TargetMoments, target_moments
from tests.lab.exact.worlds import WORLDS, random_critic, random_policy
from tests.tasks.simulation import Episodes, simulate

TARGETS = [TD0, *(Target(gae_lambda=x) for x in (0.5, 0.9, 0.95)), MONTE_CARLO, Target(n_step=2), Target(n_step=5)]
VISITS = 1000  # that a state and action need
LEVEL = 0.001
CHUNK = {"random_walk": 4_000}  # episodes at once, where they are long


@dataclass(frozen=True)
class Case:
    """A random policy with a random critic."""

    process: Process
    critic: np.ndarray

    @classmethod
    def of(cls, world: str, seed: int) -> "Case":
        task = WORLDS[world]()
        process = Process.of(task, random_policy(task, seed), 0.95)
        return cls(process, random_critic(process, seed + 1))

    def chunks(self, world: str, episodes: int, seed: int) -> Iterator[Episodes]:
        policy = self.process.tabled(self.process.policy)
        size = CHUNK.get(world, 20_000)
        for chunk in range(-(-episodes // size)):
            yield simulate(self.process.task, policy, min(size, episodes - chunk * size), 1000 * seed + chunk)

    def returns(self, episodes: Episodes, target: Target) -> np.ndarray:
        """The targets of all steps (T, n), by their definitions."""
        gamma, rewards = self.process.gamma, episodes.rewards
        values = np.where(episodes.live, self.critic.ravel()[episodes.places], 0.0)
        following = np.concatenate([values[1:], np.zeros_like(values[:1])])
        if target.n_step is not None:
            found = following
            for _ in range(target.n_step):
                found = np.where(episodes.live, rewards + gamma * found, 0.0)
                longer, found = found, np.concatenate([found[1:], np.zeros_like(found[:1])])
            return longer
        kept, after = target.gae_lambda, np.zeros(rewards.shape[1])
        found = np.empty_like(rewards)
        for t in reversed(range(len(rewards))):
            after = found[t] = rewards[t] + gamma * ((1 - kept) * following[t] + kept * after)
        return found


def first_visits(episodes: Episodes, cells: int, actions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step, episode and cell of the first time that an episode visits each (s, a): later ones depend on it."""
    seen = np.zeros((episodes.live.shape[1], cells), dtype=bool)
    steps, columns, found = [], [], []
    for t, live in enumerate(episodes.live):
        column = np.flatnonzero(live)
        cell = episodes.places[t, column] * actions + episodes.actions[t, column]
        new = ~seen[column, cell]
        seen[column[new], cell[new]] = True
        steps.append(np.full(new.sum(), t))
        columns.append(column[new])
        found.append(cell[new])
    return np.concatenate(steps), np.concatenate(columns), np.concatenate(found)


def target_scores(world: str, episodes: int, seed: int) -> np.ndarray:
    """z of the means and of the variances at every (s, a) with enough visits, for every target."""
    case = Case.of(world, seed)
    actions = case.process.shape[2]
    cells = int(np.prod(case.process.shape))
    moments = [target_moments(case.process, target, case.critic) for target in TARGETS]
    visits, sums = np.zeros(cells), np.zeros((len(TARGETS), 3, cells))
    for chunk in case.chunks(world, episodes, seed):
        steps, columns, cell = first_visits(chunk, cells, actions)
        visits += np.bincount(cell, minlength=cells)
        for of, target, exact in zip(sums, TARGETS, moments, strict=True):
            apart = case.returns(chunk, target)[steps, columns] - exact.mean.ravel()[cell]
            for row, power in zip(of, (1, 2, 4), strict=True):
                row += np.bincount(cell, apart**power, minlength=cells)
    often = visits >= VISITS
    found = [
        _scores(of[:, often] / visits[often], visits[often], exact, often)
        for of, exact in zip(sums, moments, strict=True)
    ]
    return np.concatenate(found)


def _scores(means: np.ndarray, visits: np.ndarray, exact: TargetMoments, often: np.ndarray) -> np.ndarray:
    """z of E(G − m) = 0 and of E(G − m)² = Var; where nothing is left to chance, both must be exact."""
    first, second, fourth = means
    variance = exact.variance.ravel()[often]
    sure = second < 1e-20
    assert np.abs(first[sure]).max(initial=0) < 1e-10
    assert variance[sure].max(initial=0) < 1e-10
    of_mean = first / np.sqrt(second / visits + 1e-300)
    of_variance = (second - variance) / np.sqrt((fourth - second**2) / visits + 1e-300)
    return np.concatenate([of_mean[~sure], of_variance[~sure]])


def gradient_scores(world: str, episodes: int, seed: int) -> np.ndarray:
    """z of E‖ĝ‖² of one episode, by logits, for every target, with steps weighted 1 and γᵗ."""
    case = Case.of(world, seed)
    process, (_, _, actions) = case.process, case.process.shape
    flat, scores = process.policy.reshape(-1, actions), LogitScores(process)
    ways = [(target, weight) for target in TARGETS for weight in (1.0, process.gamma)]
    sums, count = np.zeros((len(ways), 2)), 0
    for chunk in case.chunks(world, episodes, seed):
        count += chunk.live.shape[1]
        baseline = case.critic.ravel()[chunk.places]
        for of, (target, weight) in zip(sums, ways, strict=True):
            credit = (case.returns(chunk, target) - baseline) * chunk.live * weight ** np.arange(len(baseline))[:, None]
            norms = _squared_norms(chunk, flat, credit, process.horizon is not None)
            of += norms.sum(), (norms**2).sum()
    found = []
    for (first, second), (target, weight) in zip(sums / count, ways, strict=True):
        exact = gradient(process, scores, target_moments(process, target, case.critic), case.critic, weight)
        expected = float(process.starts.mean(exact.second))
        found.append((first - expected) / np.sqrt((second - first**2) / count))
    return np.array(found)


def _squared_norms(episodes: Episodes, policy: np.ndarray, credit: np.ndarray, once: bool) -> np.ndarray:
    """‖Σ_t credit ∇log π‖² of each episode; `once` says that no state is met twice."""
    directions = np.eye(policy.shape[1])[episodes.actions] - policy[episodes.places]
    if once:
        return ((directions**2).sum(-1) * credit**2).sum(0)
    total = np.zeros((credit.shape[1], *policy.shape))
    for t, live in enumerate(episodes.live):
        column = np.flatnonzero(live)
        total[column, episodes.places[t, column]] += credit[t, column, None] * directions[t, column]
    return (total**2).sum((1, 2))


def bound(tests: int) -> float:
    """Bonferroni's, at `LEVEL`."""
    return float(stats.norm.isf(LEVEL / (2 * tests)))


if __name__ == "__main__":
    many = int(sys.argv[1])
    for name in sys.argv[2:] or ("exam_question", "weekly_exam", "lucky_shifted_capped", "random_walk", "delayed_exam"):
        of_targets, of_gradients = target_scores(name, many, 1), gradient_scores(name, many // 10, 2)
        for what, z in (("targets", of_targets), ("gradients", of_gradients)):
            print(
                f"{name}, {what}: largest |z| of {len(z)} is {np.abs(z).max():.2f}, bound {bound(len(z)):.2f}",
                flush=True,
            )
