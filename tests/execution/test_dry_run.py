"""What a command would take: steps, and time at the speeds that were recorded on this machine."""

import json
import re
from pathlib import Path

import pytest

import bench
from bench.cells.grids import Cell
from bench.execution import dry_run, execute, launch
from bench.execution.launch import Job
from bench.records import block as blocks


def test_cells_are_reckoned_with_the_speed_of_their_own_program() -> None:
    """The library's 5 seeds take five times one, our 10 take 13/4 of one."""
    ours, more = (
        bench.compose(["task=exam_question", "preset=ppo", f"seeds={seeds}", "budget=8192"]) for seeds in (1, 10)
    )
    library = bench.compose(["algorithm=sb3_ppo", "task=cartpole", "seeds=5", "budget=8192"])
    speeds = [
        dry_run.Speed("", "acrobot", "sb3_ppo", 1 / launch.work("sb3_ppo", 8192, 0, 1)),
        dry_run.Speed("", "exam_question", "policy_gradient", 1 / launch.cost(ours)),
    ]
    assert dry_run._seconds(library, speeds) == pytest.approx(5)
    assert dry_run._seconds(more, speeds) == pytest.approx(13 / 4)
    assert dry_run._seconds(library, speeds[1:]) is None


def test_small_batches_are_reckoned_with_the_speed_of_small_batches() -> None:
    """Twenty times the seconds per unit, as 4 answers an update take beside 1,024."""
    few = bench.compose(["task=exam_question", "group.groups=1", "group.size=4", "critic.epochs=40"])
    many = bench.compose(["task=exam_question", "collect=segments", "critic.epochs=40"])
    speeds = [
        dry_run.Speed("", "exam_question", "policy_gradient", 20.0, ("episodes", None, None, 1, 4)),
        *[dry_run.Speed("", "exam_question", "policy_gradient", 1.0)] * 2,
    ]
    assert dry_run._seconds(few, speeds) == pytest.approx(20 * launch.cost(few))
    assert dry_run._seconds(many, speeds) == pytest.approx(launch.cost(many))


def test_a_program_without_a_recorded_speed_is_told_in_steps_beside_those_that_have_one(monkeypatch) -> None:
    """Another program's speed says nothing: its work is counted in another unit."""
    ours = bench.compose(["task=exam_question", "preset=ppo", "seeds=2", "budget=8192"])
    library = bench.compose(["algorithm=sb3_ppo", "task=cartpole", "seeds=1", "budget=8192"])
    todo = [Job(Cell(config, {}), Path("seeds-000"), None, "cell") for config in (ours, library)]
    recorded = [
        dry_run.Speed("", "weekly_exam", program, seconds)
        for program, seconds in (("policy_gradient", 1e-5), ("contrib_ars", 1.0))
    ]
    monkeypatch.setattr(dry_run, "_recorded", lambda _: recorded)
    seconds = 8192 * (10 + 20) * 5 / 4 * 1e-5  # 10 passes each of actor and critic: 3.07
    assert [each.seconds for each in dry_run._needed(todo)] == [pytest.approx(seconds), None]
    assert dry_run.how_long(todo, 2) == (
        "16,384 environment steps: about 0:00:03 with 2 at once at the speed recorded on this machine; "
        "no recorded speed on this machine yet: 8,192 environment steps"
    )


def test_what_was_trained_here_tells_how_long_the_rest_takes(cell):
    """Four times the seeds of a block that took 100 s: its 2 seeds are 5/4 units of work, 8 seeds are 11/4."""
    first, more = cell("seeds=2", "gamma=0.5"), cell("seeds=8")
    todo = [Cell(first, {}), Cell(more, {})]
    before = dry_run.dry_run(todo, 1).splitlines()
    assert before[-1] == "no recorded speed on this machine yet: 10,000 environment steps"
    assert "train  weekly_exam critic-gae-clip (gamma=0.5) seeds 000-001: 2,000 environment steps" in before
    path = execute.run(first)
    record = json.loads((path / blocks.RECORD).read_text())
    (path / blocks.RECORD).write_text(json.dumps(blocks.sealed(record | {"wall_seconds": 100.0})))
    after = dry_run.dry_run(todo, 1).splitlines()
    assert re.fullmatch(r"2 cells in .*: 2 seeds of cells done", after[0])
    assert after[1:] == [
        "train  weekly_exam critic-gae-clip (gamma=1) seeds 000-007: 0:03:40",
        "8,000 environment steps: about 0:03:40 with 1 at once at the speed recorded on this machine",
    ]
    for other in ({"host": {"id": "elsewhere"}}, {"converted_from": 1}):  # another machine's, another version's
        (path / blocks.RECORD).write_text(json.dumps(blocks.sealed(record | {"wall_seconds": 100.0} | other)))
        assert dry_run.dry_run(todo, 1).endswith("no recorded speed on this machine yet: 8,000 environment steps")
