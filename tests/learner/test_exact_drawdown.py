"""What a run loses again, by exact returns and by episodes: dice make it look like much more than it is."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

import bench
from analysis import stats
from bench.learner.evaluate import MODES
from bench.learner.train import train
from bench.tasks.exact import ExactTask
from bench.tasks.registry import make
from tests.learner.test_exact_returns import Seen, table_of
from tests.tasks.simulation import standard_errors, totals

SEEDS = (0, 1)
EPISODES = 10_000  # of each policy
LARGEST_ERROR = 4.0  # standard errors; of the 252 points of all cells, one is as far by chance in one of 60 such tests
ARMS = {"none": ("baseline=none", "advantage=monte_carlo"), "critic": ("baseline=critic", "advantage=gae")}


def curves_of(rows: Sequence[dict[str, float]], column: str, steps: Sequence[float]) -> np.ndarray:
    """Stochastic means by seed and step, (S, points)."""
    chosen = [row for row in rows if row["mode"] == MODES[1]]
    return np.array(
        [
            [np.mean([row[column] for row in chosen if (row["seed"], row["step"]) == (seed, step)]) for step in steps]
            for seed in SEEDS
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", ["exam_question", "weekly_exam", "random_walk"])
def test_exact_drawdowns_are_those_of_very_many_episodes(name: str, arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vanilla arms at their full budgets: no more than .02 from 10,000 episodes a point, and below that of 20."""
    given = (f"task={name}", *ARMS[arm], "update=vanilla", "sample_solved=true")
    config, notes = dataclasses.replace(bench.compose(given), seeds=SEEDS), Seen(monkeypatch)
    train(config, SEEDS, notes)
    task, steps = make(config.task), sorted({row["step"] for row in notes.exact_returns})
    exact = curves_of(notes.exact_returns, "exact_return", steps)
    many = np.empty_like(exact)
    assert isinstance(task, ExactTask)
    for (index, seed), actor in notes.actors.items():
        policy, expected = table_of(actor, task, MODES[1]), exact[SEEDS.index(seed), index]
        _, sample, _ = totals(task, policy, EPISODES, seed=1000 * seed + index)
        many[SEEDS.index(seed), index] = sample.mean()
        if np.ptp(sample) > 0:
            assert abs(standard_errors(sample, expected)) < LARGEST_ERROR, (index, seed)
        else:
            assert sample[0] == pytest.approx(expected, abs=1e-9)
    score = config.task.score
    assert score.random is not None
    assert score.reference is not None
    few = curves_of(notes.evaluations, "return", steps)
    of_few, of_many, of_exact = (
        float(np.mean(stats.drawdown((curve - score.random) / (score.reference - score.random))))
        for curve in (few, many, exact)
    )
    print(f"{name} {arm}: drawdown {of_few:.3f} by 20 episodes, {of_many:.3f} by {EPISODES}, {of_exact:.3f} exactly")
    assert abs(of_exact - of_many) < 0.02
    assert of_exact < of_few
