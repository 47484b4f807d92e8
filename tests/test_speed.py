"""`python -m bench speed`: what it accepts, the arithmetic of its table, and what scripts read from it."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench.commands import cli
from bench.errors import UserError
from bench.records import provenance
from bench.speed import command, figure, programs, tables
from bench.speed.plan import STUDY_ARMS, STUDY_TASKS, Job, Options, jobs, parse, scaling, workload
from bench.speed.programs import PROGRAMS, Measurement, Workload, late_returns
from bench.speed.stopwatch import Stopwatch
from bench.speed.tables import Result
from bench.speed.targets import targets


def took(seconds: float, cpu: float | None = None, returns: tuple[float, ...] | None = (200.0,), **further):
    """A measurement of 1000 steps."""
    return Measurement(1000, seconds, seconds if cpu is None else cpu, returns=returns, **further)


def result(name: str, *measurements: Measurement, part: str = "workload", seeds: int = 1, process: float = 0) -> Result:
    """What a process came to that was started at 1000 s."""
    return Result(Job(part, name, 0, (Workload(tuple(range(seeds)), 1000, 256),)), measurements, 1000.0, process)


def cells(row: str) -> list[str]:
    """The entries of a row of a table."""
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["only=lokstep"], "unknown program 'lokstep': allowed are lockstep, sb3_ppo"),
        (["only=lokstep"], "did you mean 'lockstep'?"),
        (["sedes=3"], "unknown argument of speed 'sedes=3': allowed are only=…, seeds=…"),
        (["lockstep"], "unknown argument of speed 'lockstep'"),
        (
            ["part=seed"],
            "unknown part 'seed': allowed are workload, small_minibatches, seeds, costs, study; did you mean 'seeds'",
        ),
        (["seeds=0"], "seeds=0: must be a whole number of at least 1"),
        (["repeats=-1"], "repeats=-1: must be a whole number of at least 1"),
        (["steps=many"], "steps=many: must be a whole number of at least 1"),
        (["steps=1000"], "steps=1000: must be a multiple of 1024 (8 environments x 128 steps)"),
        (["minibatch=100"], "minibatch=100: must divide 1024 evenly: 2, 4, 8"),
        (["minibatch=1"], "minibatch=1: must divide"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(arguments, message):
    with pytest.raises(UserError) as caught:
        parse(arguments)
    assert message in str(caught.value)


def test_options():
    assert parse([]) == Options(None, 10, 51_200, 3, 256, "results")
    assert parse(["only=lockstep", "seeds=2", "steps=51_200"]) == Options("lockstep", 2, 51_200)


def test_unwritable_results_are_found_out_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "spawn", lambda *_: pytest.fail("something was measured"))
    (tmp_path / "file").touch()
    assert cli.main(["speed", f"results={tmp_path / 'file'}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: results={tmp_path / 'file'}: cannot write")


def planned(part: str, **options) -> list[str]:
    return [job.program for job in jobs(Options(repeats=1, **options)) if job.part == part]


def test_programs_of_a_run():
    assert planned("workload") == list(PROGRAMS)[:-1]  # "recorded" has no peers
    assert planned("costs") == ["lockstep", "recorded"]
    assert "sb3_ppo_64" not in planned("workload", minibatch=64)  # it would measure the same twice
    assert planned("workload", only="sb3_ppo_64", minibatch=64) == ["sb3_ppo_64"]
    assert planned("small_minibatches") == ["lockstep", "sb3_ppo", "sbx_ppo", "rejax_ppo", "matrix_products"]
    assert planned("study") == ["lockstep", "sb3_ppo", "sbx_ppo", "rejax_ppo"]
    assert planned("seeds", only="lockstep") == []


def test_a_study_is_the_same_cells_for_every_program():
    cells_of = {job.program: job.workloads for job in jobs(Options(part="study", repeats=1))}
    without_seeds = {
        name: {(w.task, w.epochs, w.minibatch, w.gae_lambda, w.steps) for w in workloads}
        for name, workloads in cells_of.items()
    }
    assert all(len(workloads) == 24 for workloads in cells_of.values())
    assert len(set(map(frozenset, without_seeds.values()))) == 1
    assert len(STUDY_TASKS) * len(STUDY_ARMS) == len(without_seeds["lockstep"]) == 24


def test_what_is_absent_is_left_out_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "missing", lambda _: {"sbx_ppo": "jax, sbx"})
    monkeypatch.setattr(command, "spawn", lambda _, workloads, __: [took(1) for _ in workloads])
    assert "sbx_ppo" not in [job.program for job in jobs(Options(), ["sbx_ppo"])]
    assert cli.main(["speed", "part=workload", "repeats=1", f"results={tmp_path}"]) == 0
    assert "not measured: sbx_ppo, because jax, sbx is not installed" in capsys.readouterr().out
    assert cli.main(["speed", "only=sbx_ppo", f"results={tmp_path}"]) == 2
    assert "error: only=sbx_ppo: needs jax, sbx" in capsys.readouterr().err


def test_a_python_that_is_none_is_refused():
    with pytest.raises(UserError, match="peers_python=/nowhere/python"):
        programs.missing("/nowhere/python")


def test_workloads():
    options = Options(seeds=3, steps=102_400)
    assert workload(options, "lockstep", 1, 256) == Workload((0, 1, 2), 102_400, 256)
    assert workload(options, "sb3_ppo", 1, 256) == Workload((1,), 51_200, 256)
    assert workload(options, "sb3_ppo_64", 2, 256) == Workload((2,), 51_200, 64)
    assert workload(Options(steps=2048), "sb3_ppo", 0, 256).steps == 2048


def test_repeats_are_interleaved():
    order = []
    options = Options(seeds=2, steps=1024, repeats=2, part="workload")
    command._measure_all(jobs(options), lambda name, *_: order.append(name) or [took(1)], "python")
    assert order == list(PROGRAMS)[:-1] * 2


def test_long_parts_are_measured_in_every_third_repeat():
    assert [job.repeat for job in jobs(Options(part="study", repeats=4)) if job.program == "lockstep"] == [0, 3]


def test_a_study_takes_the_life_of_the_process_and_of_all_seeds():
    """Ten seeds together live 100 s; one of ten in turn lives 30 s, 20 of them training: 30 + 9 · 20."""
    together = result("lockstep", took(40), took(50), part="study", seeds=10, process=100)
    in_turn = result("sb3_ppo", took(5), took(15), part="study", process=30)
    other = result("lockstep", took(7), part="seeds", seeds=64, process=9)
    for results in ([together, in_turn], [other, together, in_turn]):
        assert tables.study_seconds(results) == {"lockstep": [100], "sb3_ppo": [210]}
        assert cells(tables.study_table(results).splitlines()[-1])[1:] == ["210", "210 – 210", "2.10"]


def test_start_up_lasts_until_timing_began():
    assert result("lockstep", took(1, began=1003.5)).startup_seconds == 3.5


def test_the_figure_is_drawn(tmp_path):
    results = [
        *(result("lockstep", took(1), part="seeds", seeds=seeds) for seeds in (1, 2, 4)),
        result("sb3_ppo", took(9), part="seeds"),
        result("lockstep", took(1), part="study", seeds=10, process=5),
        result("sb3_ppo", took(2), part="study", process=3),
    ]
    assert tables.by_seeds(results) == {("lockstep", s): [1000] for s in (1, 2, 4)} | {("sb3_ppo", 1): [1000 / 9]}
    assert figure.draw(results, tmp_path / "speed.png").stat().st_size > 10_000


def test_ratios_are_those_of_neighbours():
    """The machine is twice as slow in the second repeat, for both; the third is disturbed once."""
    measured = {"lockstep": [took(1), took(2), took(4)], "sb3_ppo": [took(8), took(16), took(8)]}
    assert tables.ratios(measured, "lockstep", "sb3_ppo") == [8, 8, 2]
    _, _, lockstep, sb3 = tables.table(measured).splitlines()
    assert cells(lockstep)[1:4] == ["500", "250 – 1,000", "8.0"]
    assert cells(sb3)[1:4] == ["125", "62 – 125", "1.0"]


def test_ratio_counts_steps_of_all_seeds():
    ten_at_once = Measurement(env_steps=10_000, seconds=2, cpu_seconds=2)
    assert tables.ratios({"lockstep": [ten_at_once], "sb3_ppo": [took(1)]}, "lockstep", "sb3_ppo") == [5]


def test_shares_of_the_phases():
    measured = {"lockstep": [took(10, rollout_seconds=1, update_seconds=9)]}
    assert cells(tables.table(measured).splitlines()[-1])[3:5] == ["10%", "90%"]


def test_share_of_the_matrix_products():
    """4 of the 8 seconds of updates, on other numbers of steps."""
    floor = Measurement(env_steps=500, seconds=2, cpu_seconds=2)
    measured = {"lockstep": [took(9, rollout_seconds=1, update_seconds=8)], "matrix_products": [floor]}
    assert tables.notes(measured) == ["matrix products alone would take 50% of this suite's updates"]


def test_a_busy_machine_is_told_about():
    measured = {"lockstep": [took(2, cpu=1)], "sb3_ppo": [took(8, cpu=6)]}
    busy, by_cpu = tables.notes(measured)
    assert "only 50% of the time" in busy
    assert "6.0 times the speed of sb3_ppo" in by_cpu


def test_a_program_that_does_not_learn_is_no_success(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "spawn", lambda *_: [took(1, returns=(20.0, 30.0))])
    assert command.main(["only=lockstep", f"results={tmp_path}"]) == 1
    assert "FAILED: lockstep does not learn" in capsys.readouterr().out


@pytest.mark.parametrize(("returns", "judgement"), [((20.0,), ["lockstep"]), ((np.nan,), ["lockstep"]), (None, [])])
def test_learning_is_judged_where_it_can_be(returns, judgement):
    measured = {"lockstep": [took(1, returns=returns)]}
    assert tables.not_learning(measured) == judgement
    assert ("not judged" in tables.table(measured)) == (returns is None)


def test_seeds_trained_together_are_counted_once():
    """Their repeats are the same run; repeats of one seed after another are different seeds."""
    repeats = [took(1, returns=(100.0, 200.0)), took(1, returns=(100.0, 200.0))]
    assert tables.late_returns("lockstep", repeats) == [100, 200]
    assert tables.late_returns("sb3_ppo", [took(1, returns=(100.0,)), took(1, returns=(100.0,))]) == [100, 100]


def test_late_returns():
    """Two seeds of eight environments: only what ended in the last tenth of 51,200 steps, also in a longer run."""
    episodes = [(46_080, 0, 1.0), (46_088, 0, 10.0), (51_200, 7, 30.0), (51_200, 8, 50.0), (51_208, 15, 2.0)]
    assert late_returns(episodes, 2, 102_400) == (20, 50)
    assert late_returns(episodes, 2, 50_176) is None
    assert np.isnan(late_returns(episodes[:1], 1, 51_200)).all()


def test_stopwatch(monkeypatch):
    """Three iterations whose rollouts take 1 s and updates 10 s; the first, slower one is warming up."""
    clock = np.zeros(2)
    monkeypatch.setattr("bench.speed.stopwatch._now", clock.copy)
    watch = Stopwatch(n_envs=8, iteration=8)
    watch.model = SimpleNamespace(env_steps=[0, 0])
    for slower in (5, 0, 0):
        watch.on_rollout_start()
        watch.n_calls += 1
        watch.model.env_steps = [watch.n_calls * 8, watch.n_calls * 8 - 1]
        clock += 1 + slower
        watch.on_rollout_end()
        clock += 10 + slower
    watch.on_training_end()
    assert watch.steps_before == 15
    assert watch.rollouts.tolist() == [2, 2]
    assert watch.updates.tolist() == [20, 20]


def test_parts_can_be_measured_one_by_one_and_merged(tmp_path, monkeypatch, capsys):
    """The merged record holds what the two do, in their order, and has their tables, their targets and the figure."""
    monkeypatch.setattr(command, "missing", lambda _: {})
    seconds = iter(range(1, 1000))
    monkeypatch.setattr(
        command, "spawn", lambda _, workloads, __: [took(next(seconds), began=2e9, peak_memory=7) for _ in workloads]
    )
    parts = []
    for part in ("seeds", "study"):
        assert command.main([f"part={part}", f"results={tmp_path / part}"]) == 0
        parts += (tmp_path / part / "speed").glob("*.json")
    capsys.readouterr()
    assert command.main([f"merge={parts[0]},{parts[1]}", f"results={tmp_path / 'both'}"]) == 0
    printed = capsys.readouterr().out
    assert "the study with start-up and compiling" in printed
    assert "one seed, times the speed" in printed
    (both,), (figure,) = (list((tmp_path / "both" / "speed").glob(f"*.{kind}")) for kind in ("json", "png"))
    together, first, second = (json.loads(path.read_text()) for path in (both, *parts))
    assert together["measurements"] == first["measurements"] + second["measurements"]
    assert together["targets"] == first["targets"] + second["targets"]
    assert figure.stem == both.stem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "has schema 2: this version reads 3"),
        ({"git": {"commit": "another"}}, "is of another git (code) than"),
        ({"host": None}, "is of another host (machine) than"),
    ],
)
def test_records_that_cannot_be_merged(change, message, tmp_path):
    data = {"schema": 3, "git": None, "versions": {}, "host": {}, "measurements": []}
    for name, content in (("a", data), ("b", data | change)):
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        command.main([f"merge={tmp_path / 'a'},{tmp_path / 'b'}", f"results={tmp_path}"])
    assert message in str(caught.value)
    with pytest.raises(UserError, match="is no record of speed"):
        command.main([f"merge={tmp_path / 'c'}", f"results={tmp_path}"])


def test_failed_measurement_is_shown(tmp_path, monkeypatch, capsys):
    def crash(*_):
        raise programs.MeasurementFailed("sb3_ppo failed:\nImportError: no such thing")

    monkeypatch.setattr(command, "spawn", crash)
    assert command.main(["only=sb3_ppo", f"results={tmp_path}"]) == 1
    assert "ImportError: no such thing" in capsys.readouterr().err


def met(*results: Result) -> dict[str, tuple[str, bool | None]]:
    """What was measured of each target, and whether it is met."""
    return {target.target: (target.measured, target.met) for target in targets(results)}


def test_targets_against_peers():
    """Ten seeds at 9 times the speed of one after another; 4 of 8 seconds of updates are products."""
    ours = Measurement(10_000, 10, 10, rollout_seconds=2, update_seconds=8)
    floor = Measurement(10_000, 4, 4)
    found = met(
        result("lockstep", ours, seeds=10),
        result("matrix_products", floor),
        result("sb3_ppo", took(9)),
        result("sb3_ppo_64", took(15)),
        result("rejax_ppo", took(0.5)),
    )
    assert found == {
        "10 seeds, times the speed of SB3's PPO: at least 10": ("9.00", False),
        "10 seeds, times the speed of SB3's PPO: at least 8": ("9.00", True),
        "the same against its default minibatch of 64: at least 15": ("15.00", True),
        "times the speed of rejax in its steady state, after compiling": ("0.50", None),
        "share of an update that its matrix products alone would take: at least 0.5": ("0.50", True),
        "rollouts, share of a run: at most 0.15": ("0.20", False),
    }


def test_targets_of_the_number_of_seeds():
    """1, 2, 5 and 10 seeds on 1000 steps each in 4, 4, 10 and 25 s: the last step is worse than linear."""
    lockstep = [(1, 4.0), (2, 4.0), (5, 10.0), (10, 25.0), (20, 50.0)]
    found = met(
        *(
            result("lockstep", Measurement(1000 * n, seconds, 0, peak_memory=n * 2**26), part="seeds", seeds=n)
            for n, seconds in lockstep
        ),
        result("sb3_ppo", took(8), part="seeds"),
    )
    assert found == {
        "one seed, times the speed of SB3's PPO: at least 2": ("2.00", True),
        "2 seeds, times the time of 1 (2 would be linear): less than 2": ("1.00", True),
        "5 seeds, times the time of 2 (2.5 would be linear): less than 2.5": ("2.50", False),
        "10 seeds, times the time of 5 (2 would be linear): less than 2": ("2.50", False),
        "20 seeds, memory in GiB: at most 1": ("1.25", False),
    }


def test_targets_of_what_time_depends_on():
    seconds = (2.0, 2.1, 9.0, 2.0, 3.2, 1.6)  # for 1000 steps of each of the cells of `plan.scaling`
    assert met(result("lockstep", *map(took, seconds), part="costs")) == {
        "time per step of four times as many steps (1 is linear): at most 1.1": ("1.05", True),
        "time per step of a cell after two others (1 is linear in arms and tasks): at most 1.1": ("1.00", True),
        "complete episodes, times the time of segments for as many live steps: at most 1.5": ("1.60", False),
        "an arm without a critic, times the time of the same with one: at most 0.6": ("0.50", True),
    }


def test_targets_of_a_recorded_run():
    """1 + 2 + 3 of the 60 s that are left without evaluations."""
    spent = {"startup": 3.5, "diagnostics": 1.0, "evaluation": 40.0, "records": 2.0, "wandb": 3.0}
    assert met(result("recorded", took(100, spent=spent), part="costs")) == {
        "diagnostics, records and W&B, share of a run: at most 0.05": ("0.10", False),
        "seconds from the command line to the first rollout: at most 4": ("3.50", True),
    }


def test_target_of_a_study():
    ours = result("lockstep", took(1), part="study", seeds=10, process=100)
    rejax = result("rejax_ppo", took(1), part="study", seeds=10, process=250)
    assert met(ours, rejax) == {
        "the study with start-up and compiling, times as fast as rejax: at least 2": ("2.50", True)
    }


def test_what_time_depends_on_is_measured_on_the_same_cell():
    """The targets above read the measurements by their place."""
    one, longer, other, again, episodes, critic_free = scaling(Options(seeds=3))
    assert one == again
    assert longer == replace(one, steps=4 * one.steps)
    assert (other.task, other.epochs) != (one.task, one.epochs)
    assert episodes == replace(critic_free, arm="episodes") == replace(one, arm="episodes")


@pytest.mark.slow
def test_cells_of_what_time_depends_on(tmp_path, capsys):
    """They run, and complete episodes count live steps: at least those asked for, of 48 at a time."""
    assert cli.main(["speed", "part=costs", "only=lockstep", "seeds=2", "steps=1024", f"results={tmp_path}"]) == 0
    assert "complete episodes, times the time of segments" in capsys.readouterr().out
    (path,) = (tmp_path / "speed").glob("speed-*.json")
    data = json.loads(path.read_text())
    by_arm = {m["arm"]: m["env_steps"] for m in data["measurements"]}
    assert by_arm["ppo"] == 2 * 1024
    assert 2 * 1024 / 2 < by_arm["episodes"] < 2 * 1024 * 3
    assert [set(target) for target in data["targets"]] == [{"target", "measured", "met"}] * 4


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "lockstep" else pytest.mark.slow) for name in PROGRAMS]
)
def test_every_program_runs_in_a_process_of_its_own(name, tmp_path, capsys, monkeypatch):
    for package in PROGRAMS[name].needs:
        pytest.importorskip(package, reason="the extra `peers` is not installed")
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", provenance.COMMAND):  # the command line sets them
        monkeypatch.setenv(variable, "")
    arguments = [f"only={name}", "seeds=2", "steps=1024", "repeats=1", f"results={tmp_path}"]
    assert cli.main(["speed", *arguments]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"\d{1,3}(,\d{3})* steps/s", last)
    (path,) = (tmp_path / "speed").glob("speed-*.json")
    data = json.loads(path.read_text())
    (measurement,) = data["measurements"]
    assert measurement["env_steps"] == len(measurement["seeds"]) * measurement["steps"]
    assert f"{measurement['steps_per_second']:,.0f} steps/s" == last
    assert data["threads"] == 1
    assert {"torch", "stable-baselines3", "numpy"} <= set(data["versions"])
