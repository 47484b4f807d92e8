"""`python -m bench speed` itself: processes that measure, and what scripts read of it."""

import json
import os
import re

import numpy as np
import pytest

from bench.commands.main import main
from bench.errors import UserError
from bench.records import provenance
from bench.speed import command, programs, recorded
from bench.speed.programs import PROGRAMS
from bench.speed.stopwatch import Stopwatch
from bench.speed.workload import Workload
from tests.speed.conftest import took


def test_unwritable_results_are_found_out_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "spawn", lambda *_: pytest.fail("something was measured"))
    (tmp_path / "file").touch()
    assert main(["speed", f"results={tmp_path / 'file'}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: results={tmp_path / 'file'}: cannot write")


def test_what_is_absent_is_left_out_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "missing", lambda _: {"sbx_ppo": "sbx is not installed"})
    monkeypatch.setattr(command, "spawn", lambda _, workloads, __: [took(1) for _ in workloads])
    assert main(["speed", "part=workload", "repeats=1", f"results={tmp_path}"]) == 0
    said = capsys.readouterr()
    assert "SBX" not in said.err
    assert "not measured: sbx_ppo, because sbx is not installed" in said.out
    assert main(["speed", "only=sbx_ppo", f"results={tmp_path}"]) == 2
    assert "error: only=sbx_ppo: sbx is not installed" in capsys.readouterr().err


def test_everything_is_shown_drawn_and_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "missing", lambda _: {})
    monkeypatch.setattr(command, "spawn", lambda _, workloads, __: [took(1, mean_return=200.0) for _ in workloads])
    assert command.main([f"results={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    for title in ("the workload", "steps/s against the number of seeds", "a study", "targets"):
        assert f"\n{title}\n| " in printed
    (path,), (figure,) = (list((tmp_path / "speed").glob(f"*.{kind}")) for kind in ("json", "png"))
    assert figure.stem == path.stem
    data = json.loads(path.read_text())
    assert [set(target) for target in data["targets"]] == [{"target", "measured", "met"}] * len(data["targets"])
    assert {entry["part"] for entry in data["measurements"]} == {"workload", "seeds", "costs", "study", "critic"}


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("python -m bench speed", "python -m bench speed"),
        ("python -m bench speed peers_python=/a/b results='/my results' repeats=1", "python -m bench speed repeats=1"),
        (None, None),
    ],
)
def test_a_record_names_no_place_of_the_machine(line, kept):
    assert command.without_places(line) == kept


def test_a_program_that_does_not_learn_is_no_success(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "spawn", lambda *_: [took(1, mean_return=25.0)])
    assert command.main(["only=lockstep", f"results={tmp_path}"]) == 1
    assert "FAILED: lockstep does not learn" in capsys.readouterr().out


def test_failed_measurement_is_shown(tmp_path, monkeypatch, capsys):
    def crash(*_):
        raise programs.MeasurementFailed("sb3_ppo failed:\nImportError: no such thing")

    monkeypatch.setattr(command, "spawn", crash)
    assert command.main(["only=sb3_ppo", f"results={tmp_path}"]) == 1
    assert "ImportError: no such thing" in capsys.readouterr().err


@pytest.mark.parametrize(("steps", "expected"), [(51_200, 30.0), (50_176, None)])
def test_stopwatch(monkeypatch, steps, expected):
    """Three iterations whose rollouts take 1 s and updates 10 s; the first, slower one is warming up.

    An episode ends in each; only those of the last tenth of the steps count, and only in runs that are long enough.
    """
    now = 0.0
    monkeypatch.setattr("bench.speed.stopwatch.time.perf_counter", lambda: now)
    watch = Stopwatch(Workload((0,), steps), iteration=8)
    watch.model = type("Model", (), {"env_steps": [0, 0]})()
    for calls, slower, episode in ((1, 5, 10.0), (0.95 * steps / 8, 0, 20.0), (steps / 8, 0, 40.0)):
        watch.on_rollout_start()
        watch.n_calls = int(calls)
        watch.model.env_steps = [8 * watch.n_calls, 8 * watch.n_calls - 1]
        watch.locals = {"dones": np.array([False, True]), "infos": [{}, {"episode": {"r": episode}}]}
        watch._on_step()
        now += 1 + slower
        watch.on_rollout_end()
        now += 10 + slower
    watch.on_training_end()
    measured = watch.measurement()
    assert (measured.rollout_seconds, measured.update_seconds, measured.seconds) == (2, 20, 22)
    assert watch.steps_before == 15
    assert measured.mean_return == expected


def test_what_a_recorded_run_is_timed_by_is_there():
    for places in recorded.PLACES.values():
        for owner, name in places:
            assert callable(getattr(owner, name))


@pytest.mark.slow
def test_cells_of_what_time_depends_on(tmp_path, capsys):
    """They run, and complete episodes count live steps: at least those asked for, of 48 at a time."""
    assert main(["speed", "part=costs", "only=lockstep", "seeds=2", "steps=1024", f"results={tmp_path}"]) == 0
    assert "complete episodes, times the time of segments" in capsys.readouterr().out
    (path,) = (tmp_path / "speed").glob("speed-*.json")
    by_arm = {m["arm"]: m["env_steps"] for m in json.loads(path.read_text())["measurements"]}
    assert by_arm["ppo"] == 2 * 1024
    assert 2 * 1024 / 2 < by_arm["episodes"] < 2 * 1024 * 3


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "lockstep" else pytest.mark.slow) for name in PROGRAMS]
)
def test_every_program_runs_in_a_process_of_its_own(name, tmp_path, capsys, monkeypatch):
    if (package := PROGRAMS[name].needs) is not None:
        pytest.importorskip(package, reason="the extra `peers` is not installed")
    if PROGRAMS[name].copies > (os.cpu_count() or 1):
        pytest.skip("there is one core")
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", provenance.COMMAND):  # the command line sets them
        monkeypatch.setenv(variable, "")
    arguments = [f"only={name}", "seeds=2", "steps=1024", "repeats=1", f"results={tmp_path}"]
    assert main(["speed", *arguments]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"\d{1,3}(,\d{3})* steps/s", last)
    (path,) = (tmp_path / "speed").glob("speed-*.json")
    data = json.loads(path.read_text())
    assert data["threads"] == 1
    assert {"torch", "stable-baselines3", "numpy"} <= set(data["versions"])
    if name == "update":  # of three network sizes, with a critic and without
        assert len(data["measurements"]) == 6
        return
    (measurement,) = data["measurements"]
    assert measurement["env_steps"] == PROGRAMS[name].copies * len(measurement["seeds"]) * measurement["steps"]
    assert f"{measurement['steps_per_second']:,.0f} steps/s" == last


def test_a_python_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match="peers_python=/nowhere/python: cannot be run as Python"):
        command.main(["peers_python=/nowhere/python", f"results={tmp_path}"])
