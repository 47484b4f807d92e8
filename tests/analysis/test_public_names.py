"""The names of the analysis that other people's scripts call are where they were, and do what they did."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from analysis import figures, load, stats
from tests.analysis.conftest import ResultsWriter


def test_an_interquartile_mean() -> None:
    assert float(stats.iqm([[1.0, 2.0], [3.0, 94.0]])) == 2.5  # without the lowest and the highest of four


def test_an_interval() -> None:
    """With two seeds a resample's mean is 0, 1 or 2, with probabilities ¼, ½ and ¼."""
    rng = np.random.default_rng(0)
    assert stats.interval([0.0, 2.0], stats.mean, 1000, 0.95, rng) == (1.0, 0.0, 2.0)
    assert stats.interval([0.0, 2.0], stats.mean, reps=1000, confidence=0.4, rng=rng) == (1.0, 1.0, 1.0)
    paired = stats.interval([5.0, 7.0], stats.mean, 100, 0.95, rng, paired_with=[2.0, 4.0])
    assert paired == (3.0, 3.0, 3.0)


def test_the_probability_of_improvement() -> None:
    """Of four pairs three are won and one is a tie."""
    assert float(stats.probability_of_improvement([1.0, 3.0], [0.0, 1.0])) == 3.5 / 4


def test_a_performance_profile() -> None:
    assert stats.performance_profile([[0.0], [0.5], [1.0]], [-1.0, 0.25, 0.75, 1.0]).tolist() == [1, 2 / 3, 1 / 3, 0]


def test_holms_procedure() -> None:
    assert stats.holm([0.04, 0.01, 0.5]).tolist() == [0.08, 0.03, 0.5]


@pytest.fixture
def root(results: ResultsWriter) -> Path:
    """One arm with two seeds, whose deterministic returns rise to 100 and 101; stochastic ones lie 1 lower."""
    results.block("s", "cartpole", "ppo", [0, 1], lambda seed, share: 100 * share + seed, baseline="critic")
    return results.root


def test_loading_a_study(root: Path) -> None:
    runs, evaluations, training = load.load("s", root)
    assert runs[["arm", "seed", "status", "baseline"]].to_numpy().tolist() == [
        ["ppo", 0, "done", "critic"],
        ["ppo", 1, "done", "critic"],
    ]
    assert runs["final_stochastic"].tolist() == [99, 100]
    assert len(evaluations) == 2 * 6 * 2  # seeds, evaluations, modes
    assert set(evaluations["episodes"]) == {2}
    assert len(training) == 2 * 5
    assert set(evaluations["baseline"]) == {"critic"}
    records = load.read(["s"], root)
    assert isinstance(records, load.Records)
    assert records.factors == ("baseline", "budget")


def test_a_figure_of_ones_own(root: Path) -> None:
    records = load.read(["s"], root)
    curves = records.curves[records.curves["mode"] == "deterministic"]
    figure, ax = plt.subplots()
    figures.learning_curve(curves, figures.arm_styles(records.runs), ax=ax)
    assert ax.get_lines()[0].get_ydata() == pytest.approx([0.5, 20.5, 40.5, 60.5, 80.5, 100.5])
    plt.close(figure)
