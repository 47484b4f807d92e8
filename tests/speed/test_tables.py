"""The arithmetic of the tables and of the figure."""

import math

import pytest

from bench.speed import figure, tables
from tests.speed.conftest import cells, result, took


def test_ratios_are_those_of_neighbours():
    """The machine is twice as slow in the second repeat, for both; the third is disturbed once."""
    results = [
        *(result("lockstep", took(seconds)) for seconds in (1, 2, 4)),
        *(result("sb3_ppo", took(seconds)) for seconds in (8, 16, 8)),
    ]
    assert tables.ratios(tables.by_program(results, "workload"), "lockstep", "sb3_ppo") == [8, 8, 2]
    _, _, lockstep, sb3, *_ = tables.workload_table(results).splitlines()
    assert cells(lockstep)[1:4] == ["500", "250 – 1,000", "8.0"]
    assert cells(sb3)[1:4] == ["125", "62 – 125", "1.0"]


def test_ratio_counts_steps_of_all_seeds():
    assert tables.ratios({"a": [took(2, 10_000)], "b": [took(1)]}, "a", "b") == [5]


def test_share_of_the_rollouts():
    results = [result("lockstep", took(10, rollout_seconds=1, update_seconds=9))]
    assert cells(tables.workload_table(results).splitlines()[2])[3] == "10%"


@pytest.mark.parametrize(("mean_return", "judgement"), [(20.0, ["lockstep"]), (math.nan, ["lockstep"]), (None, [])])
def test_learning_is_judged_where_it_can_be(mean_return, judgement):
    measured = {"lockstep": [took(1, mean_return=mean_return)], "matrix_products": [took(1)]}
    assert tables.not_learning(measured) == judgement
    assert ("these runs are shorter" in "".join(tables.notes(measured))) == (mean_return is None)


def test_a_busy_machine_is_told_about():
    assert tables.notes({"sb3_ppo": [took(1, mean_return=200, cpu_share=0.95)]}) == []
    (note,) = tables.notes({"sb3_ppo": [took(1, mean_return=200), took(1, mean_return=200, cpu_share=0.5)]})
    assert "only 50% of the time" in note


def test_a_recorded_runs_time():
    """Start-up is no part of it."""
    run = took(100, spent={"startup": 3.0, "diagnostics": 5.0})
    *_, row = tables.costs_table([result("recorded", run, part="costs")]).splitlines()
    assert cells(row) == ["diagnostics", "5.00", "5.0%"]


def test_a_study_takes_the_life_of_the_process_and_of_all_seeds():
    """Ten seeds together live 100 s; one of ten in turn lives 30 s, 20 of them training: 30 + 9 · 20."""
    together = result("lockstep", took(40), took(50), part="study", seeds=10, process=100)
    in_turn = result("sb3_ppo", took(5), took(15), part="study", process=30)
    other = result("lockstep", took(7), part="seeds", seeds=20, process=9)
    for results in ([together, in_turn], [other, together, in_turn]):
        assert tables.study_seconds(results) == {"lockstep": 100, "sb3_ppo": 210}
        assert cells(tables.study_table(results).splitlines()[-1])[1:] == ["210", "2.10"]


def test_the_figure_is_drawn(tmp_path):
    results = [
        *(result("lockstep", took(1), part="seeds", seeds=seeds) for seeds in (1, 2)),
        result("sb3_ppo", took(8), part="seeds"),
        result("lockstep", took(1), part="study", seeds=10, process=5),
        result("sb3_ppo", took(2), part="study", process=3),
    ]
    _, _, lockstep, sb3 = tables.seeds_table(results).splitlines()
    assert (cells(lockstep)[1:3], cells(sb3)[1:3]) == (["1,000", "1,000"], ["125", "–"])
    assert figure.draw(results, tmp_path / "speed.png").stat().st_size > 10_000
