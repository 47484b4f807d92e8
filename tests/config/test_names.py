"""What tasks, arms and cells are called."""

import dataclasses

import pytest

import bench
from bench.cells.labels import labels
from bench.config import names
from bench.config.identity import cell_hash, factors
from bench.config.names import Named, arm_labels, joined, recorded_task, task_labels
from bench.config.parse import parse, to_mapping
from bench.errors import UserError
from bench.records import block as blocks
from bench.tasks.registry import TASKS

EPISODES = ["collect=episodes", "truncation=end"]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "critic-gae-clip"),
        (["preset=ppo"], "ppo"),
        (["preset=ppo", "baseline=critic", "truncation=bootstrap"], "ppo"),  # what it is anyway
        (["preset=ppo", "learning_rate=1e-4", "budget=50000"], "ppo"),  # its file says nothing of them
        (["preset=ppo", "baseline=none"], "ppo-baseline-none"),
        (["preset=ppo", "baseline=batch_mean"], "ppo-baseline-batch_mean"),
        (["preset=ppo", *EPISODES], "ppo-collect-episodes-truncation-end"),
        (["preset=ppo", "advantage_norm=rms"], "ppo-advantage_norm-rms"),
        (["preset=ppo", "reference=initial"], "ppo-reference-initial"),
        (["preset=ppo", "name=ppo", "truncation=end"], "ppo-truncation-end"),
        (["preset=ppo", "name=mine", "truncation=end"], "mine"),
        (["preset=grpo", "group.credit=process"], "grpo-group.credit-process"),
        (["preset=a2c", "gae_lambda=1"], "a2c"),
        (["preset=a2c", "gae_lambda=0.9"], "a2c-gae_lambda-0.9"),
        (["preset=ppo", "algorithm=sb3_ppo"], "sb3_ppo-ppo"),
    ],
)
def test_a_preset_keeps_its_name_while_it_is_one(overrides: list[str], name: str) -> None:
    assert bench.compose(overrides).arm_name == name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["task=cartpole"], "cartpole"),
        (["task=cartpole", "task.time_limit=500"], "cartpole"),
        (["task=cartpole", "task.time_limit=100"], "cartpole-time_limit-100"),
        (["task=gym", "task.id=Acrobot-v1"], "gym-Acrobot-v1"),
        (["task=gym", "task.id=Acrobot-v1", "task.time_limit=50"], "gym-Acrobot-v1-time_limit-50"),
        (["task=weekly_exam", "task.luck=0.5"], "weekly_exam-luck-0.5"),
        (["task=weekly_exam", "task.luck=1"], "weekly_exam"),
        (["task=weekly_exam_cheat", "task.reward=true"], "weekly_exam_cheat-reward-true"),
        (["task=exam_question", "task.answers=four"], "exam_question"),
        (["task=cartpole", "gamma=0.9", "norm_obs=true"], "cartpole"),  # the arm's, not the environment's
    ],
)
def test_what_makes_another_environment_is_in_the_name_of_the_task(overrides: list[str], name: str) -> None:
    config = bench.compose([*overrides, "group.start=independent"])
    assert config.task_name == name
    assert blocks.cell_directory(config).parent.name == name


def test_bare_names_stand_for_the_knobs_that_tasks_have_by_themselves() -> None:
    for name, usual in names._USUAL.items():
        defaults = {field.name: field.default for field in dataclasses.fields(TASKS[name])}  # type: ignore[arg-type]
        assert usual == {key: defaults[key] for key in usual}


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"gym"}))
def test_a_task_as_conf_has_it_has_its_bare_name(name: str) -> None:
    assert bench.compose([f"task={name}"]).task_name == name


def test_a_name_can_be_a_folder_and_no_two_become_one() -> None:
    found = [joined("gym", {"id": id}) for id in ("ALE/Pong-v5", "ALE-Pong-v5", "ALE:Pong-v5", "é" * 100, "e" * 100)]
    assert all(map(names.is_folder, found))
    assert len(set(found)) == len(found)
    assert joined("gym", {"id": "ALE-Pong-v5"}) == "gym-ALE-Pong-v5"


def test_records_of_earlier_versions_have_the_knobs_among_their_factors() -> None:
    assert recorded_task("gym", {"task": "gym", "task.id": "Acrobot-v1", "task.time_limit": None}) == "gym-Acrobot-v1"
    assert recorded_task("cartpole", {"task": "cartpole"}) == "cartpole"
    assert recorded_task("gym-Acrobot-v1", {"task": "gym", "task.id": "Acrobot-v1"}) == "gym-Acrobot-v1"


def test_tasks_of_one_name_whose_knobs_differ_are_told_apart() -> None:
    cells = [Named("maze", "a", str(size), {"task.plugin": "m:Maze", "task.size": size}) for size in (5, 9)]
    assert task_labels([*cells, Named("cartpole", "a", "c", {"gamma": 1.0})]) == [
        "maze (size=5)",
        "maze (size=9)",
        "cartpole",
    ]
    assert task_labels(cells[:1]) == ["maze"]


def test_arms_of_one_name_are_told_apart_by_what_differs() -> None:
    cells = [Named("t", "ppo", str(gamma), {"gamma": gamma, "hidden": [64]}) for gamma in (0.9, 0.99)]
    assert arm_labels(cells) == ["ppo (gamma=0.9)", "ppo (gamma=0.99)"]
    assert arm_labels(cells[:1]) == ["ppo"]
    assert arm_labels([cells[0], Named("t", "ppo", "f00", {})]) == ["ppo #0.9", "ppo #f00"]
    near = [Named("t", "ppo", str(place), {"gamma": 0.9 + place * 1e-16}) for place in (0, 1)]
    assert arm_labels(near) == ["ppo (gamma=0.9) #0", "ppo (gamma=0.9) #1"]


def test_no_two_cells_of_a_command_are_called_the_same() -> None:
    configs = []
    for baseline in ("critic", "none", "batch_mean"):
        for task in ("cartpole", "weekly_exam"):
            for rate in ("1e-3", "1e-4"):
                for limit in ("", "task.time_limit=100"):
                    overrides = ["preset=ppo", f"task={task}", f"learning_rate={rate}", f"baseline={baseline}", limit]
                    try:
                        configs.append(bench.compose(list(filter(None, overrides))))
                    except UserError:  # weekly_exam ends by itself
                        continue
    found = labels(configs)
    assert len({cell_hash(config) for config in configs}) == len(set(found.values())) == 18
    assert "cartpole-time_limit-100 ppo-baseline-none (learning_rate=0.0001)" in found.values()


@pytest.mark.parametrize(
    ("knobs", "name"),
    [([], "coin"), (["+task.prize=1"], "coin"), (["+task.prize=2.5"], "coin-prize-2.5")],
)
def test_a_plug_in_is_named_by_the_knobs_that_are_not_its_usual_ones(knobs: list[str], name: str) -> None:
    plug_in = ["task=plugin", "task.plugin=tests.plugins:Coin", "task.name=coin", "budget=1000"]
    config = bench.compose([*plug_in, *knobs])
    assert config.task_name == name
    assert parse(to_mapping(config), recorded=False).task_name == name  # what a worker makes of it
    assert recorded_task(name, factors(config)) == name
