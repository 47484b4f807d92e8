"""Who wins: the best mean over all seeds; what failed cannot win."""

import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis import load
from bench.design import selection
from bench.design.selection import MODE, Result, winner
from bench.records.scores import final_scores
from bench.records.tables import CURVES
from tests.analysis.conftest import ResultsWriter

NAN = math.nan


def result(number: int, *scores: float | None) -> Result:
    """A setting; None for a seed that is not finished."""
    known = {seed: score for seed, score in enumerate(scores) if score is not None}
    return Result(number, {"learning_rate": 0.001 * (number + 1)}, tuple(range(len(scores))), known)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result(0, 1.0, 2.0), result(1, 2.0, 3.0), result(2, 1.0, 3.0)], 1),
        ([result(0, 1.0, 2.0), result(1, 3.0, 1.0), result(2, 1.0, 3.0)], 1),  # a tie goes to the first tried
        ([result(2, 1.0, 3.0), result(1, 3.0, 1.0)], 1),  # whatever the order
        ([result(0, 9.0, NAN), result(1, 1.0, 1.0)], 1),  # one seed failed: its other seed does not count
        ([result(0, 9.0, math.inf), result(1, 1.0, 1.0)], 1),
        ([result(0, 9.0, None), result(1, 1.0, 1.0)], 1),  # not finished
        ([result(0, -5.0, -7.0), result(1, NAN, NAN)], 0),  # NaN is not better than a negative score
        ([result(0, NAN, 1.0), result(1, NAN, NAN)], None),
        ([], None),
    ],
)
def test_the_winner_of_a_table_made_by_hand(results, expected):
    found = winner(results)
    assert (None if found is None else found.number) == expected


def test_a_settings_state():
    assert [result(0, *scores).state for scores in ((1.0, 2.0), (1.0, NAN), (1.0, None), (NAN, None))] == [
        "done",
        "failed",
        "unfinished",
        "unfinished",
    ]
    assert result(0, 1.0, 2.0).mean == 1.5
    assert math.isnan(result(0, 1.0, NAN).mean)


def test_the_score_that_chooses_is_the_score_of_the_report(tmp_path):
    results = ResultsWriter(tmp_path)
    cell = {"task": "cartpole", "arm": "a", "baseline": "none"}
    results.study("s", [cell | {"seeds": range(3)}])
    rng = np.random.default_rng(0)
    block = results.block(
        "s",
        "cartpole",
        "a",
        range(3),
        lambda seed, share: 100 * share + seed + rng.normal(),
        points=30,
        baseline="none",
    )
    runs, _, _ = load.load("s", tmp_path)
    expected = dict(zip(runs["seed"], runs[f"final_{MODE}"], strict=True))
    found = final_scores(pq.read_table(block / CURVES), 1000)
    assert {seed: found[seed, MODE] for seed in range(3)} == expected


@pytest.mark.parametrize("second", [True, False])
def test_settings_are_compared_by_exact_returns_where_all_have_them(tmp_path, monkeypatch, second):
    """Exact returns lie a tenth above the episodes' means; a failed block without evaluations says nothing."""
    results = ResultsWriter(tmp_path)
    made = {
        name: [results.block("s", "weekly_exam", name, [0, 1], lambda seed, _: 60.0 + seed, exact=exact)]
        for name, exact in (("a", True), ("b", second))
    }
    made["b"].append(results.block("s", "weekly_exam", "b", [2], lambda *_: 0.0, failed={2: "NaN"}))
    monkeypatch.setattr(selection.blocks, "blocks", lambda name: [selection.blocks.load(path) for path in made[name]])
    further = 0.1 if second else 0.0
    first, other = selection.scores(["a", "b"])
    assert first == pytest.approx({0: 59 + further, 1: 60 + further})
    assert other == pytest.approx({0: 59 + further, 1: 60 + further, 2: NAN}, nan_ok=True)
