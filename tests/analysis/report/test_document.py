"""What a report says of how its scores were measured."""

import pytest

from analysis.load import read
from analysis.report.document import how_measured


@pytest.mark.parametrize(
    ("exact", "expected"),
    [
        ({}, ()),
        (
            {("weekly_exam", 0), ("weekly_exam", 1)},
            (
                "Scores on weekly_exam are exact: the expected return of each policy, without noise of evaluations; "
                "elsewhere, means of 2 episodes.",
            ),
        ),
        (
            {("weekly_exam", 1), ("cartpole", 0), ("cartpole", 1)},
            (
                "Scores on cartpole are exact: the expected return of each policy, without noise of evaluations; "
                "elsewhere, means of 2 episodes.",
                "Only some blocks of weekly_exam have exact returns, so their scores are means of 2 episodes.",
            ),
        ),
        (
            {(task, k) for task in ("weekly_exam", "cartpole") for k in (0, 1)},
            (
                "Scores on cartpole and weekly_exam are exact: the expected return of each policy, without noise of "
                "evaluations.",
            ),
        ),
    ],
)
def test_a_report_says_which_scores_are_exact(results, exact, expected):
    for k in (0, 1):
        for task in ("weekly_exam", "cartpole"):
            results.block("s", task, f"arm{k}", [0], lambda *_: 60.0, exact=(task, k) in exact, k=k)
    assert how_measured(read(["s"], results.root)) == expected
