"""What `python -m bench speed` accepts, and which processes it starts in which order."""

import sys
from dataclasses import replace

import pytest

from bench.errors import UserError
from bench.speed.plan import PARTS, STUDY_ARMS, STUDY_TASKS, Options, costs, jobs, parse
from bench.speed.programs import PROGRAMS
from bench.speed.workload import Workload


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["only=lokstep"], "unknown program 'lokstep': allowed are lockstep, sb3_ppo"),
        (["only=lokstep"], "did you mean 'lockstep'?"),
        (["only=recorded", "part=study"], "unknown program of part=study 'recorded': allowed are lockstep, sb3_ppo"),
        (["sedes=3"], "unknown argument of speed 'sedes=3': allowed are only=…, part=…, seeds=…"),
        (["lockstep"], "unknown argument of speed 'lockstep'"),
        (["part=seed"], "unknown part 'seed': allowed are workload, seeds, costs, study, critic; did you mean 'seeds'"),
        (["seeds=0"], "seeds=0: must be at least 1"),
        (["repeats=-1"], "repeats=-1: must be at least 1"),
        (["steps=many"], "steps=many: must be a whole number"),
        (["steps=0"], "steps=0: must be a multiple of 1024"),
        (["steps=1000"], "steps=1000: must be a multiple of 1024 (8 environments x 128 steps)"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(arguments, message):
    with pytest.raises(UserError) as caught:
        parse(arguments)
    assert message in str(caught.value)


def test_options():
    assert parse([]) == Options(None, None, 10, 51_200, 3, sys.executable, "results")
    assert parse(["only=lockstep", "seeds=2", "steps=51_200"]) == Options("lockstep", None, 2, 51_200)


def planned(options: Options, part: str) -> list[tuple[str, tuple[Workload, ...]]]:
    return [(job.program, job.workloads) for job in jobs(options) if job.part == part]


def test_every_program_has_a_part():
    assert {name for programs in PARTS.values() for name in programs} == set(PROGRAMS)


def test_a_program_alone_is_measured_once_and_on_the_workload_if_it_can_be():
    assert [(job.part, job.program) for job in jobs(Options("lockstep", repeats=1))] == [("workload", "lockstep")]
    assert [(job.part, job.program) for job in jobs(Options("recorded", repeats=1))] == [("costs", "recorded")]
    assert {job.part for job in jobs(Options("lockstep", "costs"))} == {"costs"}


def test_repeats_of_the_workload_are_interleaved_and_nothing_else_is_repeated():
    options = Options(repeats=2)
    assert [name for name, _ in planned(options, "workload")] == [*PARTS["workload"], *PARTS["workload"]]
    for part in ("costs", "study"):
        assert [name for name, _ in planned(options, part)] == list(PARTS[part])


def test_workloads():
    found = planned(Options(seeds=3, steps=102_400, repeats=2), "workload")
    first, second = (dict(found[: len(found) // 2]), dict(found[len(found) // 2 :]))
    assert first["lockstep"] == second["lockstep"] == (Workload((0, 1, 2), 102_400, 256),)
    assert (first["sb3_ppo"], second["sb3_ppo"]) == ((Workload((0,), 51_200, 256),), (Workload((1,), 51_200, 256),))
    assert second["sb3_ppo_64"] == (Workload((1,), 51_200, 64),)
    assert first["matrix_products"] == (Workload((0, 1, 2), 20_480, 256),)


def test_numbers_of_seeds():
    found = planned(Options(seeds=3), "seeds")
    assert [len(work.seeds) for name, (work,) in found if name == "rejax_ppo"] == [1, 2, 5, 10, 20]
    assert [len(work.seeds) for name, (work,) in found if name == "lockstep"] == [1, 2, 5, 10, 20, 64, 128, 320]
    assert [len(work.seeds) for name, (work,) in found if name == "sb3_ppo"] == [1]  # one seed after another
    assert {work.steps for _, (work,) in found} == {10_240}


def test_a_study_is_the_same_cells_for_every_program():
    found = dict(planned(Options(), "study"))
    alike = [{replace(work, seeds=()) for work in workloads} for workloads in found.values()]
    assert all(cells == alike[0] for cells in alike)
    assert len(STUDY_TASKS) * len(STUDY_ARMS) == len(alike[0]) == 24
    assert {len(work.seeds) for work in found["lockstep"]} == {10}
    assert {len(work.seeds) for work in found["sb3_ppo"]} == {1}


def test_what_time_depends_on_is_measured_on_the_same_cell():
    """The targets read the measurements by their place."""
    one, longer, other, again, episodes, critic_free = costs(Workload((0, 1, 2), 1024))
    assert one == again
    assert longer == replace(one, steps=4 * one.steps)
    assert (other.task, other.epochs) != (one.task, one.epochs)
    assert episodes == replace(critic_free, arm="episodes") == replace(one, arm="episodes")
