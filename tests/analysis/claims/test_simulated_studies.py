"""A seeded fiftieth of the simulated studies; all of them: `python -m tests.analysis.claims.simulated_studies`."""

import numpy as np
import pytest
import scipy.stats

from analysis import stats
from bench.verdicts import words
from tests.analysis.claims import simulated_studies
from tests.analysis.claims.simulated_studies import DESIGN, DIRECTIONS, MARGIN, ROWS, STUDIES, TRUTHS, Case

FEW = STUDIES // 50
# Share of studies with any wrong verdict; of MountainCar's ten unpaired runs two never learn, as in a mixture.
MOST_WRONG = {"normal": 0.06, "committed": 0.06, "unpaired": 0.20, "mixture": 0.20}
CASES = list(simulated_studies.cases())


def named(part: str) -> Case:
    return next(case for case in CASES if part in case.name)


def test_the_cases_have_the_committed_differences_that_are_hardest() -> None:
    assert {case.kind for case in CASES} == set(MOST_WRONG)
    for name in ("truncation_matters_on_pendulum", "details_matter, cartpole", "clip_does_not_matter, cartpole"):
        values = named(name).draw(np.random.default_rng(0), (100, 640))
        assert abs(values.mean()) < 0.005
        assert values.min() < -0.1 or values.max() > 0.3  # a few pairs far from the others


@pytest.mark.parametrize("kind", MOST_WRONG)
def test_few_studies_have_any_wrong_verdict(kind: str) -> None:
    """More than so many of 40 would be seen once in ten thousand cases if the share were the one allowed."""
    most = scipy.stats.binom.isf(1e-4, FEW, MOST_WRONG[kind])
    found = {
        (case.name, each.direction, round(each.truth, 4)): each.wrong
        for case in CASES
        if case.kind == kind
        for each in simulated_studies.outcomes(case, FEW, TRUTHS)
    }
    assert {name: wrong for name, wrong in found.items() if wrong > most} == {}


def test_it_would_be_seen_if_looks_were_not_paid_for() -> None:
    """Student's 95 % interval at each of six looks: a single row is wrong at θ = s far more often than 1 in 20."""
    means, sds = simulated_studies.looked_at(named("normal, sd 0.2"), FEW, np.random.default_rng(0))
    pairs = np.array(DESIGN.looks)
    halves = scipy.stats.t.isf(0.025, pairs - 1) * sds / np.sqrt(pairs)
    line, _, lines = simulated_studies.stopped(MARGIN + means, halves, "higher")
    wrong = np.array([not each.holds(MARGIN) for each in lines])[line]
    assert len(wrong) == FEW * ROWS
    assert 0.12 < wrong.mean() < 0.25


def test_rows_are_decided_where_they_can_be() -> None:
    """Never by 20 pairs, which may hide a collapse; all by 320 where differences vary by .1."""
    for each in simulated_studies.outcomes(named("normal, sd 0.1"), FEW, [0.0, 2 * MARGIN]):
        assert each.decided[0] == 0.0
        assert each.decided[4] > 0.99
        assert list(each.decided) == sorted(each.decided)


def test_many_rows_at_once_are_each_row_alone() -> None:
    """The scalar way, look by look, for a few rows of a population with collapses."""
    case, rng = named("truncation_matters_on_pendulum"), np.random.default_rng(1)
    values = 0.03 + case.draw(rng, (8, DESIGN.looks[-1]))
    seen = [values[:, :pairs] for pairs in DESIGN.looks]
    means, sds = (np.stack([reduce(part) for part in seen], axis=1) for reduce in (mean, deviation))
    halves = stats.half_width(sds, DESIGN.looks, stats.quantiles(0.05 / ROWS, DESIGN.looks), 1.0)
    for direction in DIRECTIONS:
        effects = -means if direction == "lower" else means
        line, look, lines = simulated_studies.stopped(effects, halves, direction)
        for row in range(len(values)):
            at = [
                words.decide(values[row, :pairs], direction, MARGIN, DESIGN, alpha=0.05, share=1 / ROWS)
                for pairs in DESIGN.looks
            ]
            first = next((k for k, each in enumerate(at) if each.verdict.word is not words.Word.OPEN), len(at) - 1)
            assert (first, at[first].verdict.asserts) == (look[row], lines[line[row]])


def mean(values: stats.Array) -> stats.Array:
    return np.asarray(values.mean(axis=1))


def deviation(values: stats.Array) -> stats.Array:
    return np.asarray(values.std(axis=1, ddof=1))
