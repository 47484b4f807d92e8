"""The command line: what it says, its exit codes, and what it leaves on disk."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.commands.main import VERBS, main
from bench.execution import execute
from bench.records import block as blocks
from bench.records import provenance
from tests.fake_learner import FakeLearner

SMALL = ["task=weekly_exam", "budget=1000", "seeds=2", "wandb=disabled"]
HERE = "hydra/launcher=basic"  # in this process, where the fake learner is


@pytest.fixture
def learner(monkeypatch) -> FakeLearner:
    fake = FakeLearner()
    monkeypatch.setattr(execute, "train", fake)
    return fake


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys):
    """Run a command line in a folder of its own; → exit code, stdout, stderr."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "HYDRA_FULL_ERROR", provenance.COMMAND):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


def index(study="adhoc") -> list[dict]:
    return json.loads(Path("results", study, "study.json").read_text())["cells"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study=quik"], "; did you mean 'quick'?"),
        (
            ["lisst"],
            "unknown command 'lisst': allowed are list, status, rerun, verify, ",
        ),
        (["list", "tasks"], "list takes no arguments, not 'tasks'"),
        (["status"], "no study in results yet: 'python -m bench study=quick' makes one"),
        (["status", "study=quick"], "no study in results yet"),
        (
            ["-study=quick"],
            "unknown flag '-study' ('python -m bench --help' shows them); settings have no dashes: study=V",
        ),
        (["--study", "quick"], "unknown flag '--study'"),
        (["--multirum", "study=quick"], "; did you mean '--multirun'?"),
        (["study", "=", "quick"], "'study =': write KEY=VALUE without spaces"),
        (["baseline", "=group"], "'baseline =group': write KEY=VALUE without spaces"),
        (["status", "stduy=quick"], "unknown argument of status 'stduy=quick': allowed are study=…, results=…"),
        (["rerun"], "rerun: give the folder of one block"),
        (["rerun", "nowhere"], "nowhere: no finished block"),
        (["foo=1"], "unknown key 'foo' ('python -m bench list' shows them)"),
        (["+foo=1"], "unknown key 'foo'"),
        (["taks=cartpole"], "unknown key 'taks' ('python -m bench list' shows them); did you mean 'task'?"),
        (["task=cartpole,acrobatt"], "unknown task 'acrobatt': allowed are"),
        (["baseline=none,grup"], "; did you mean 'group'?"),
        (["gamma=0.9,1.5"], "gamma=1.5: must lie in [0, 1]"),
        (["checkpoint_minutes=-1"], "checkpoint_minutes=-1.0: must be at least 0"),
        (["collect=segments", "baseline=none,group"], "baseline=group with collect=segments"),
        (["gamma=interval(0,1)"], "gamma=interval(0,1): name the values"),
        (["seeds=3,5"], "seeds=3,5: seeds are no factor; write seeds=[3,5] for these"),
        (["baseline="], "unknown baseline ''"),
        (["gamma={"], "cannot read 'gamma={'"),
        (["hydra.mode=RUN"], "hydra.mode: cannot be chosen"),
        (
            ["study=quick", "task=acrobot"],
            "task=acrobot: no cell of study quick asked for has it; they have cartpole, wee",
        ),
        (["study=quick", "seeds=0"], "seeds=0: at least 1 seed is needed"),
        (["study=quick,quik", "gamma=0.9"], "unknown study 'quik'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_writes_nothing(bench, arguments, message, tmp_path):
    code, out, err = bench(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_conf_that_is_no_yaml_is_one_line(bench, tmp_path):
    (tmp_path / "mine" / "study").mkdir(parents=True)
    (tmp_path / "mine" / "study" / "bad.yaml").write_text("study: [")
    code, _, err = bench("--config-dir", "mine", "--multirun", "study=bad")
    assert code == 2
    assert err.startswith("error: cannot read a file of conf: ")
    assert err.count("\n") == 1


def test_a_study_of_ones_own_is_found_and_its_grids_checked(bench, tmp_path, learner):
    folder = tmp_path / "mine" / "study"
    folder.mkdir(parents=True)
    header = "# @package _global_\nstudy:\n  name: own\n  title: Mine\n"
    (folder / "own.yaml").write_text(f"{header}  grids:\n    - {{gamma: [0.5, 0.9], hidden: [[8, 8]]}}\n")
    (folder / "bad.yaml").write_text(f"{header}  grids: {{gamma: 1}}\n")
    own = ["--config-dir", "mine", "--multirun", *SMALL, HERE]
    assert bench(*own, "study=bad")[0] == 2
    assert bench(*own, "study=own")[0] == 0
    assert len(index("own")) == 2
    assert len(learner.calls) == 2


def test_an_unwritable_results_folder_is_one_line(bench, tmp_path):
    (tmp_path / "results").write_text("a file")
    code, _, err = bench(*SMALL)
    assert code == 2
    assert err.startswith("error: results=results: cannot write ")


def test_one_cell(bench, learner):
    code, out, _ = bench(*SMALL, HERE)
    assert code == 0
    assert out == "1 cell, 0 failures: results/adhoc\n"
    (cell,) = index()
    run = json.loads(Path("results/adhoc", cell["path"], "seeds-000-001", "run.json").read_text())
    assert run["command"] == f"python -m bench {' '.join(SMALL)} {HERE}"
    assert set(SMALL) <= set(run["overrides"])
    assert learner.calls == [(0, 1)]


def test_lists_of_values_train_every_combination_once(bench, learner):
    arguments = ["-m", *SMALL, HERE, "baseline=none,critic", "gamma=0.9,1", "group.size=2"]
    assert bench(*arguments)[0] == 0
    assert len(index()) == len(learner.calls) == 4
    code, out, _ = bench(*arguments)
    assert (code, out) == (0, "4 cells, 4 of them done before, 0 failures: results/adhoc\n")
    assert len(learner.calls) == 4


def test_a_study_sweeps_by_itself_and_can_be_restricted(bench, learner):
    small = [*SMALL, "budget=2000", HERE]
    assert bench("study=quick", *small, "baseline=none,critic", "advantage=gae")[0] == 0
    assert sorted(cell["arm"] for cell in index("quick")) == ["critic-gae-clip", "none-gae-clip", "ppo"]
    assert bench("study=quick", *small, "preset=reinforce")[0] == 0
    assert sorted(cell["arm"] for cell in index("quick")) == ["critic-gae-clip", "none-gae-clip", "ppo", "reinforce"]
    assert len(learner.calls) == 4
    header = json.loads(Path("results/quick/study.json").read_text())
    assert (header["schema"], header["name"], header["control"]) == (1, "quick", "critic-gae-clip")


def test_failures_are_listed_and_the_exit_code_is_1(bench, learner):
    def breaks():
        if len(learner.calls) == 1:
            raise ValueError("broken")

    learner.before = breaks
    code, out, err = bench(*SMALL, HERE, "gamma=0.9,1")
    assert code == 1
    assert "failed: weekly_exam critic-gae-clip (gamma=0.9) seeds 0,1: ValueError: broken" in err.splitlines()
    assert out == "2 cells, 1 failure: results/adhoc\n"
    assert bench(*SMALL, HERE, "gamma=0.9,1")[0] == 0


def test_damage_is_one_line_and_exit_code_2(bench, learner):
    bench(*SMALL, HERE)
    (record,) = Path("results").rglob("run.json")
    record.write_text("{")
    code, _, err = bench(*SMALL, HERE)
    assert code == 2
    assert err.startswith(f"error: damaged block {record.parent}: run.json cannot be read")
    assert record.read_text() == "{"
    assert bench("status", "study=adhoc")[0] == 2
    assert len(learner.calls) == 1


def test_ctrl_c_is_one_line(bench, learner):
    def interrupt():
        raise KeyboardInterrupt

    learner.before = interrupt
    code, _, err = bench(*SMALL, HERE)
    assert code == 130
    assert err.splitlines()[-1].startswith("interrupted: ")
    learner.before = lambda: None
    assert bench(*SMALL, HERE)[0] == 0


@pytest.mark.usefixtures("learner")
def test_status_and_rerun(bench):
    bench(*SMALL, HERE)
    assert bench("status", "study=adhoc") == (0, "adhoc: 2 done (seeds of cells)\n", "")
    (record,) = Path("results").rglob("run.json")
    code, out, _ = bench("rerun", str(record.parent))
    assert code == 0
    assert out.splitlines()[1:] == [f"{name}.parquet: the same bytes" for name in ("curves", "episodes", "training")]


def test_list_describes_every_choice(bench):
    code, out, _ = bench("list")
    assert code == 0
    lines = out.splitlines()
    assert "  rloo        mean of the other members (arXiv 2402.14740)" in lines
    assert any(line.startswith("  quick  ") for line in lines)
    assert any(line.startswith("  evaluation.points=20 ") for line in lines)
    options = [line.split() for line in lines if line.startswith("  ") and "=" not in line.split()[0]]
    assert all(len(words) > 1 for words in options), "an option without a description"


def test_help_names_every_command(bench):
    code, out, _ = bench("--help")
    assert code == 0
    assert all(f"python -m bench {command}" in out for command in VERBS)


def test_the_composed_configuration_can_be_printed(bench, tmp_path):
    code, out, _ = bench("--cfg", "job", "preset=ppo")
    assert code == 0
    assert "truncation: bootstrap" in out
    assert list(tmp_path.iterdir()) == []


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench", *arguments]


@pytest.mark.parametrize("arguments", [("list",), ("study=quik",), ("status", "study=quick")])
def test_an_answer_needs_neither_torch_nor_the_learner(arguments, tmp_path):
    code = (
        "import sys; from bench.commands.main import main; main(sys.argv[1:]);"
        "sys.exit(bool({'torch', 'stable_baselines3', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.slow
def test_a_killed_worker_is_noticed_and_its_cells_run_again(tmp_path):
    arguments = ["task=weekly_exam", "budget=20000", "seeds=2", "wandb=disabled", "advantage=td0,gae,nstep"]
    child = subprocess.Popen(command(*arguments), cwd=tmp_path, text=True, stderr=subprocess.PIPE)
    os.kill(_worker(tmp_path), signal.SIGKILL)
    _, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    records = list(tmp_path.rglob("run.json"))
    assert len(records) == 3
    assert {json.loads(record.read_text())["status"] for record in records} == {"done"}


@pytest.mark.slow
def test_a_killed_sweep_is_continued_by_the_same_command(tmp_path):
    arguments = ["task=weekly_exam", "budget=20000", "seeds=2", "wandb=disabled", "advantage=td0,gae"]
    child = subprocess.Popen(command(*arguments), cwd=tmp_path, start_new_session=True)
    _worker(tmp_path)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert (
        "stale"
        in subprocess.run(
            command("status", "study=adhoc"), cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
    )
    again = subprocess.run(command(*arguments), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("2 cells, 0 failures")
    assert all(blocks.read(record.parent).state == "done" for record in tmp_path.rglob("run.json"))


@pytest.mark.slow
def test_ctrl_c_at_the_terminal_leaves_one_line(tmp_path):
    arguments = ["task=weekly_exam", "budget=20000", "seeds=2", "wandb=disabled", "advantage=td0,gae"]
    child = subprocess.Popen(
        command(*arguments), cwd=tmp_path, start_new_session=True, text=True, stderr=subprocess.PIPE
    )
    _worker(tmp_path)
    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("interrupted: ")


def _worker(folder: Path) -> int:
    """The number of a process that is training, as soon as there is one."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in folder.rglob("run.json"):
            block = blocks.read(path.parent)
            if block is not None and block.state == "running" and (path.parent / blocks.PROGRESS).exists():
                return int(block.record["process"].partition("-")[0])
        time.sleep(0.1)
    raise AssertionError("nothing began to train")
