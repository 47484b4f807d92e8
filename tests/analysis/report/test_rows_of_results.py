"""Rows of the scoreboard of the committed results, against numbers computed from their Parquet files by plain numpy."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats

from analysis.report import scoreboard
from analysis.tables import formats
from bench.paths import ROOT
from bench.verdicts import hypotheses

RESULTS = ROOT / "results"
CLAIMS = """
title: First results
defaults: {source: here, among: {collect: episodes, truncation: end}, sesoi: 0.05, seeds: 20}
claims:
  critic:
    statement: A
    studies: [article]
    arm: {baseline: critic, advantage: monte_carlo, update: vanilla}
    against: {baseline: none, advantage: monte_carlo, update: vanilla}
    tasks: [exam_question, weekly_exam, cartpole]
    metric: final
    direction: higher
  no_baseline:
    statement: B
    studies: [baselines]
    arm: {baseline: none, advantage: monte_carlo, update: clip}
    against: {baseline: critic, advantage: monte_carlo, update: clip}
    among: {collect: episodes, truncation: end, group.start: shared}
    tasks: [acrobot, pendulum]
    metric: area
    direction: lower
"""
ROWS = 5
ARMS = {  # the folders of the arms of each claim
    "critic": ("article", "critic-monte_carlo-vanilla", "none-monte_carlo-vanilla"),
    "no_baseline": ("baselines", "none-monte_carlo-clip", "critic-monte_carlo-clip"),
}


def blocks(study: str, task: str, arm: str) -> list[tuple[dict, dict[str, np.ndarray]]]:
    """The record and the curves of every block in the pack whose arm has this very name."""
    found = []
    with tarfile.open(RESULTS / study / "runs.tar.xz") as pack:
        files = {member.name: member for member in pack.getmembers() if f"runs/{task}/{arm}-" in member.name}
        for name in files:
            if name.endswith("run.json"):
                record = json.loads(pack.extractfile(name).read())  # type: ignore[union-attr]
                if record["arm"] == arm:
                    table = pq.read_table(
                        io.BytesIO(pack.extractfile(name.replace("run.json", "curves.parquet")).read())
                    )  # type: ignore[union-attr]
                    found.append((record, {column: table[column].to_numpy() for column in table.column_names}))
    return found


def scores(study: str, task: str, arm: str, metric: str) -> np.ndarray:
    """By seed, 0 to 19: the mean of the last tenth, or the mean height, on the normalised scale."""
    values: dict[int, float] = {}
    for record, curves in blocks(study, task, arm):
        low, high = record["score"]["random"], record["score"]["reference"]
        for seed in np.unique(curves["seed"]):
            own = (curves["seed"] == seed) & (curves["mode"] == "stochastic")
            steps, returns = curves["step"][own], (curves["return"][own] - low) / (high - low)
            order = np.argsort(steps)
            steps, returns = steps[order], returns[order]
            if metric == "final":
                values[int(seed)] = returns[steps > 0.9 * record["budget"]].mean()
            else:
                heights = (returns[1:] + returns[:-1]) / 2
                values[int(seed)] = (heights * np.diff(steps)).sum() / (steps[-1] - steps[0])
    assert sorted(values) == list(range(20))
    return np.array([values[seed] for seed in range(20)])


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, scoreboard.Answer]:
    path: Path = tmp_path_factory.mktemp("claims") / "first.yaml"
    path.write_text(CLAIMS)
    file = hypotheses.read(path)
    studies = {name: scoreboard.read(RESULTS, name, [file]) for name in ("article", "baselines")}
    return {answer.name: answer for answer in scoreboard.answers(file, studies)}


@pytest.mark.parametrize("claim", ARMS)
def test_effects_and_intervals_are_those_of_plain_numpy(answers, claim):
    study, arm, against = ARMS[claim]
    assert answers[claim].rows
    for row in answers[claim].rows:
        differences = scores(study, row.task, arm, row.metric) - scores(study, row.task, against, row.metric)
        if row.direction == "lower":
            differences = -differences
        half = scipy.stats.t.isf(0.05 / ROWS / 2, 19) * differences.std(ddof=1) / np.sqrt(20)
        effect = differences.mean()
        assert (row.effect, row.low, row.high) == pytest.approx((effect, effect - half, effect + half), abs=1e-6)
        assert (row.verdict == "supported") == (effect - half > 0.05)
        shown = f"{formats.interval_text((effect, effect - half, effect + half), 3)} | 20 |"
        assert shown in scoreboard.table([answers[claim]])
