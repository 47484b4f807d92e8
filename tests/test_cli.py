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
            "unknown command 'lisst': allowed are list, results, status, rerun, verify, ",
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["status", "quick"],
            "unknown argument of status 'quick': allowed are study=…, results=…, all=…; did you mean 'study=qui",
        ),
        (["status", "study=a", "study=b"], "status: study is given twice, study=a and study=b"),
        (["quick"], "did you mean study=quick?"),
        (["train", "gamma=0.9"], "did you mean 'python -m bench KEY=VALUE'?"),
        (["report"], "did you mean 'python -m analysis study=NAME'?"),
        (["--algo", "ppo"], "unknown flag '--algo' ('python -m bench --help' shows them); did you mean preset=ppo?"),
        (["--run"], "unknown flag '--run'"),
        (["--experimental-rerun=x"], "unknown flag '--experimental-rerun'"),
        (["--cfg"], "--cfg/-c: expected one argument"),
        (["--cfg", "jobs"], "--cfg/-c: invalid choice: 'jobs'"),
        (["--cfg", "job", "gamma=0.9,1"], "gamma=0.9,1: --cfg prints one configuration; give one value"),
        (["--cfg", "job", "--info", "all"], "--cfg and --info: only one of them can be given"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
        ([""], "an empty word was typed: write KEY=VALUE"),
        (["gamma=0.9", ""], "an empty word was typed: write KEY=VALUE"),
        (["name=a\nb"], r"'name=a\nb': it has a line break, a control character, or bytes that are not UTF-8"),
        (["name=\0"], r"'name=\x00': it has a line break"),
        (["status", "study=\udcff"], r"'study=\udcff': it has a line break"),
        (
            ["study=quick", "study.control=nobody", "baseline=none"],
            "unknown study.control 'nobody': allowed are none-td0-",
        ),
        (["hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0: at least 1 cell must run at once"),
        (["hydra.launcher.n_jobs=1,2"], "settings of the launcher are no factor; give one value"),
        (["gamma=range(0,1,0.001)", "gae_lambda=range(0,1,0.01)"], "100000 cells are asked for; at most 20000"),
    ],
    ids=lambda value: repr(" ".join(value)) if isinstance(value, list) else "",
)
def test_a_word_in_the_wrong_place_is_one_line(bench, arguments, message, tmp_path):
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_typed_says_what_can_be_typed(bench, tmp_path):
    code, out, err = bench()
    assert (code, err) == (2, "")
    assert out.startswith("Trains arms of policy-gradient methods")
    assert list(tmp_path.iterdir()) == []


def test_illegal_cells_are_listed_or_left_out(bench, tmp_path):
    product = ["collect=segments", "baseline=none,group", "advantage=monte_carlo,gae", "dry_run=true"]
    code, out, err = bench(*product)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[0] == "error: 3 of 4 cells are not legal; illegal=skip leaves them out:"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  baseline=none advantage=monte_carlo",
        "  baseline=group advantage=monte_carlo",
        "  baseline=group advantage=gae",
    ]
    code, out, err = bench(*product, "illegal=skip")
    assert code == 0
    assert out.startswith("1 cell in results/adhoc: ")
    assert err.splitlines() == ["warning: 3 cells left out (illegal=skip):", *lines[1:]]
    folder = tmp_path / "mine" / "study"
    folder.mkdir(parents=True)
    grid = "{collect: segments, baseline: [none, group], advantage: [monte_carlo, gae]}"
    (folder / "own.yaml").write_text(f"# @package _global_\nillegal: skip\nstudy: {{name: own, grids: [{grid}]}}\n")
    code, out, again = bench("--config-dir", "mine", "study=own", "dry_run=true")
    assert (code, again) == (0, err)
    assert out.startswith("1 cell in results/own: ")


def test_a_setting_that_no_cell_reads_is_warned_of(bench):
    words = ["n_step=7", "clip_range=0.1", "batch.n_steps=7", "vine.every=3", "reference.coef=0.7"]
    code, _, err = bench("update=vanilla", "advantage=gae", *words, "dry_run=true")
    expected = [f"warning: {word} changes nothing: no cell asked for reads it" for word in words]
    assert (code, err.splitlines()) == (0, expected)
    code, _, err = bench("update=vanilla,clip", "advantage=gae,nstep", *words[:2], "dry_run=true")
    assert (code, err) == (0, "")  # some cells read them


def test_a_setting_that_is_read_or_has_its_value_anyhow_is_not(bench):
    words = ["n_step=5", "clip_range=0.2", "gamma=0.5", "seeds=3", "wandb=disabled", "evaluation.points=3"]
    assert bench("advantage=gae", *words, "dry_run=true")[::2] == (0, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "study=own: its file gives the study no name; write study: {name: own, ...}"),
        ("# @package _global_\n", "study=own: its file gives the study no name"),
        ("study: {name: own}\n", "study=own: its file sets study.study; begin it with the line '# @package _global_'"),
        ("# @package _global_\nstudy: {name: own, grids: {gamma: 1}}\n", "grids, for one, is a list of mappings"),
        ("# @package _global_\nstudy: [\n", "cannot read a file of conf: while parsing"),
        ("# @package _global_\nstudy: {name: l\xe4}\n", "own.yaml: it is not UTF-8"),
        ("# @package _global_\nlr: 3\nstudy: {name: own}\n", "unknown key 'lr'; did you mean 'learning_rate'?"),
        ("# @package _global_\nlearning_rate: fast\nstudy: {name: own}\n", "error: learning_rate=fast: must be a num"),
        ("# @package _global_\nstudy: {name: own, grids: [{seeds: [3, 5]}]}\n", "write seeds=[3,5] for these"),
        ("# @package _global_\nstudy: {name: own, grids: [{x: 3}]}\n", "unknown key 'x'"),
        ("# @package _global_\nstudy: {name: own, control: b, grids: [{name: a}]}\n", "unknown study.control 'b'"),
    ],
)
def test_a_mistake_in_a_study_of_ones_own_is_one_line(bench, tmp_path, text, message):
    folder = tmp_path / "mine" / "study"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_bytes(text.encode("latin-1"))
    code, out, err = bench("--config-dir", "mine", "study=own", "dry_run=true")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("learner")
def test_the_next_command_is_quoted(bench):
    assert bench(*SMALL, HERE, "results='my results'")[2].splitlines()[-1] == (
        "next: python -m analysis study=adhoc 'results=my results'"
    )


@pytest.mark.parametrize("arguments", [["list"], ["--cfg", "job"], ["seeds=1", "dry_run=true"]])
def test_a_reader_that_goes_away_is_no_error(arguments, tmp_path):
    process = subprocess.Popen(command(*arguments), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # before anything was written
    err = process.stderr.read()
    assert (process.wait(), err) == (128 + signal.SIGPIPE, b"")


@pytest.mark.usefixtures("learner")
def test_plugins_are_imported_first_and_recorded_but_never_by_a_record(bench, tmp_path):
    (tmp_path / "my_envs_of_a_test.py").write_text("import pathlib\npathlib.Path('imported').touch()\n")
    words = ["plugins=my_envs_of_a_test,json", *SMALL]
    program = "import sys; from bench.commands.main import main; sys.exit(main(sys.argv[1:]))"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        given = [sys.executable, "-c", program, *arguments]
        return subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run(*words, "dry_run=true").returncode == 0
    assert (tmp_path / "imported").exists()
    assert bench(*words, HERE)[0] == 0
    (record,) = Path("results").rglob("run.json")
    (tmp_path / "imported").unlink()
    refused = run("rerun", str(record.parent))
    assert refused.returncode == 2
    assert "plugins=my_envs_of_a_test" in refused.stderr
    assert not (tmp_path / "imported").exists()


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
    title, header, row, said = out.splitlines()
    assert title.startswith("final scores of adhoc: stochastic policy")
    assert header.split() == ["task", "arm", "mean", "95", "%", "interval", "n"]
    assert row.split()[:2] == ["weekly_exam", "critic-gae-clip"]
    assert said == "1 cell, 0 failures: results/adhoc"
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
    assert (code, out.splitlines()[-1]) == (0, "4 cells, 4 of them done before, 0 failures: results/adhoc")
    assert len(out.splitlines()) == 2 + 4 + 1
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


def planned(text: str) -> list[str]:
    """What the lines of a dry run say will be trained, of which task and arm."""
    lines = sorted(line for line in text.splitlines() if line.startswith("train"))
    return [line.split(" seeds ")[0].removeprefix("train  ") for line in lines]


def test_a_knob_is_one_of_the_tasks_that_the_study_has(bench):
    """The usual task, CartPole, has none of them; and an option has settings that the usual option has not."""
    code, out, err = bench("study=luck", "task.luck=1", "advantage=td0", "dry_run=true", HERE)
    assert (code, err, planned(out)) == (0, "", ["weekly_exam critic-td0-clip"])
    code, out, err = bench("study=caps", "task.luck=2", "task.reward_cap=0.7", "baseline=none", "dry_run=true", HERE)
    names = [f"weekly_exam-luck-2-reward_cap-0.7 none-monte_carlo-{update}" for update in ("clip", "vanilla")]
    assert (code, err, planned(out)) == (0, "", names)
    code, out, err = bench("study=pay", "task.luk=1", "dry_run=true", HERE)
    assert (code, out) == (2, "")
    assert err.startswith("error: unknown key 'task.luk' in 'task': allowed are name, luck, ")


def test_a_knob_restricts_where_grids_differ_in_it(bench):
    code, out, err = bench("study=delay", "task.delay=4", "task.hidden=true", "advantage=gae", "dry_run=true", HERE)
    assert (code, err, planned(out)) == (0, "", ["delayed_exam-delay-4-hidden-true critic-gae-clip"])
    assert "300,000 environment steps" in out  # the budget of this delay, and of no other
    code, _, err = bench("study=delay", "task.delay=3", "dry_run=true", HERE)
    assert code == 2
    assert err.startswith("error: task.delay=3: no cell of study delay asked for has it; they have 1, 2, 4, 8, 16, 32")


def test_a_knob_of_some_tasks_of_a_study_names_the_others(bench):
    code, _, err = bench("study=quick", "preset=ppo", "task.luck=2", "dry_run=true", HERE)
    assert code == 2
    assert err.startswith("error: unknown key 'task.luck' in 'task': allowed are name, budget")
    assert "(1 of 2 cells; illegal=skip leaves it out)" in err
    code, out, err = bench("study=quick", "preset=ppo", "task.luck=2", "illegal=skip", "dry_run=true", HERE)
    assert (code, planned(out)) == (0, ["weekly_exam-luck-2 ppo"])
    assert "1 cell left out" in err


def test_failures_are_listed_and_the_exit_code_is_1(bench, learner):
    def breaks():
        if len(learner.calls) == 1:
            raise ValueError("broken")

    learner.before = breaks
    code, out, err = bench(*SMALL, HERE, "gamma=0.9,1")
    assert code == 1
    assert "failed: weekly_exam critic-gae-clip (gamma=0.9) seeds 0,1: ValueError: broken" in err.splitlines()
    assert out.splitlines()[-1] == "2 cells, 1 failure: results/adhoc"
    broken = next(line for line in out.splitlines() if "(gamma=0.9)" in line)
    assert broken.split()[-5:] == ["–", "–", "0", "of", "2"]  # no number where there is none
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
    assert again.stdout.splitlines()[-1].startswith("2 cells, 0 failures")
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
