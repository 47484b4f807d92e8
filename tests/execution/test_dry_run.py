"""What a command would take, from the speed of training it for some seconds."""

import time
from pathlib import Path

import pytest

import bench
from bench.cells.grids import Cell
from bench.execution import dry_run as estimate
from bench.execution.launch import Job


@pytest.mark.parametrize("algorithm", ["policy_gradient", "sb3_ppo"])
def test_measuring_ends_when_its_time_is_up_and_begins_no_other_seed(monkeypatch, algorithm: str) -> None:
    """With no time at all, the first share of the budget that is reported ends it, whoever trains."""
    shares = []
    counted = estimate._Stopwatch.on_progress

    def on_progress(watch: estimate._Stopwatch, fraction: float, current_return: float | None) -> None:
        shares.append(fraction)
        counted(watch, fraction, current_return)

    monkeypatch.setattr(estimate._Stopwatch, "on_progress", on_progress)
    monkeypatch.setattr(estimate, "MEASURED_FOR", 0.0)
    preset = ["preset=ppo"] if algorithm == "policy_gradient" else [f"algorithm={algorithm}"]
    config = bench.compose(["task=exam_question", *preset, "seeds=3", "budget=8192", "evaluation.points=1"])
    started = time.perf_counter()
    speed = estimate._measured(config)
    passed = time.perf_counter() - started
    assert len([share for share in shares if share > 0]) == 1
    # What took `passed` was this share of the block.
    assert 0 < speed.seconds * estimate._work(config) <= passed / shares[-1]


def test_of_several_programs_each_is_measured_and_its_cells_are_reckoned_with_its_speed() -> None:
    """Ten seconds per million steps of a seed of the library's; of ours 10 seeds take 13/4 of one."""
    ours, more = (
        bench.compose(["task=exam_question", "preset=ppo", f"seeds={seeds}", "budget=8192"]) for seeds in (1, 10)
    )
    library = [
        bench.compose(["algorithm=sb3_ppo", f"task={task}", "seeds=5", "budget=8192"])
        for task in ("acrobot", "cartpole")
    ]
    assert estimate._typical([ours, more, *library]) == [ours, library[0], library[1]]
    assert estimate._typical([*library, ours, more]) == [library[0], ours, library[1]]
    speeds = [
        estimate.Speed("", "acrobot", "sb3_ppo", 1e-5),
        estimate.Speed("", "exam_question", "policy_gradient", 1 / estimate._work(ours)),
    ]
    assert estimate._seconds(library[1], speeds) == pytest.approx(5 * 8192 * 1e-5)
    assert estimate._seconds(more, speeds) == pytest.approx(13 / 4)


def test_a_program_without_a_recorded_speed_is_measured_beside_those_that_have_one(monkeypatch) -> None:
    """Another program's speed says nothing: its work is counted in another unit."""
    ours = bench.compose(["task=exam_question", "preset=ppo", "seeds=2", "budget=8192"])
    library = bench.compose(["algorithm=sb3_ppo", "task=cartpole", "seeds=1", "budget=8192"])
    todo = [Job(Cell(config, {}), Path("seeds-000"), None) for config in (ours, library)]
    recorded = [
        estimate.Speed("", "weekly_exam", program, seconds)
        for program, seconds in (("policy_gradient", 1e-7), ("contrib_ars", 1.0))
    ]
    monkeypatch.setattr(estimate, "_recorded", lambda _: recorded)
    monkeypatch.setattr(
        estimate, "_measured", lambda config: estimate.Speed("", "cartpole", config.algorithm.name, 1e-3)
    )
    seconds, source = estimate._reckoned(todo)
    assert seconds == pytest.approx([8192 * (10 + 20) * 5 / 4 * 1e-7, 8.192])  # 10 passes each of actor and critic
    assert source == "speed of 1 block trained on this machine, speed measured just now on cartpole"
