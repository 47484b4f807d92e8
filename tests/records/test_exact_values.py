"""What a record says about policies in the cheating world, held against numbers that follow from the world's rules."""

import json

import numpy as np
import pytest

from bench import compose
from bench.execution import execute
from bench.records import exact_values
from bench.tasks.weekly_exam import CHEAT, WEEKS, WeeklyExamCheat


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two seeds, hardly trained, held to where they began."""
    root = tmp_path_factory.mktemp("results")
    settings = ["task=weekly_exam_cheat", "baseline=critic", "collect=episodes", "reference=initial", "gamma=1.0"]
    budget = ["reference.coef=0.03", "budget=600", "seeds=2", "evaluation.points=2", "evaluation.episodes=2"]
    config = compose([*settings, *budget, f"results={root}", "wandb=disabled"])
    return json.loads((execute.run(config) / "run.json").read_text())


def test_who_always_cheats_is_paid_thirty_points_a_week_too_much():
    task = WeeklyExamCheat()
    cheat = task.plans.index(CHEAT)
    policy = np.zeros((*task.model.table, task.model.n_actions))
    policy[..., cheat] = 1.0
    found = exact_values.point(task, policy)
    assert found["cheating"] == pytest.approx(1.0)
    assert task.solve(cheat).objective - found["true_score"] == pytest.approx(0.3 * WEEKS)


def test_the_optimum_goes_from_the_unbounded_one_to_the_reference_as_the_weight_grows(recorded):
    task = WeeklyExamCheat()
    free = exact_values.point(task, task.solve().policy)
    for values in recorded["exact_values"].values():
        points = values["optimum"]
        coefs = [point["coef"] for point in points]
        assert coefs == sorted({*exact_values.COEFS, 0.03})
        assert points[0]["cheating"] == pytest.approx(free["cheating"], abs=0.1)
        start, end = (abs(points[place]["cheating"] - values["reference"]["cheating"]) for place in (0, -1))
        assert end < 0.2 * start


def test_the_initial_policy_is_nearly_uniform(recorded):
    for values in recorded["exact_values"].values():
        assert values["reference"]["cheating"] == pytest.approx(1 / 5, abs=0.02)


def test_the_time_of_an_update_is_part_of_the_wall_time(recorded):
    updates = max(seed["updates"] for seed in recorded["seeds"].values())
    assert 0 < recorded["seconds_per_update"] * updates < recorded["wall_seconds"]


def test_other_worlds_have_no_exact_values_in_their_record(tmp_path):
    settings = ["task=weekly_exam", "baseline=none", "collect=episodes", "budget=300", "seeds=1"]
    config = compose([*settings, "evaluation.points=1", "evaluation.episodes=1", f"results={tmp_path}"])
    assert json.loads((execute.run(config) / "run.json").read_text())["exact_values"] is None
