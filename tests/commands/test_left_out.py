"""Results that are handed on without their policies: complete in their numbers, and able to get the policies back."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import bench
from bench.commands import enjoy
from bench.commands.main import main
from bench.commands.rerun import rerun
from bench.commands.status import status
from bench.commands.verify import verify
from bench.config import saved_policies as policies
from bench.config.identity import cell_hash
from bench.errors import UserError
from bench.execution import execute
from bench.execution.reproduce import is_trainable, train_again
from bench.learner import train as learner
from bench.paths import CONF, ROOT
from bench.records import block as blocks
from bench.records import index, mirroring
from bench.records.tables import CURVES, TRAINING

FAKE = ("evaluation.points=2", "evaluation.episodes=2")  # what the fake learner reports
LEFT_OUT = ["policy.zip", "checkpoint.pt", "training.parquet", "episodes.parquet"]
TINY = ("budget=640", "evaluation.points=1", "evaluation.episodes=1", "hidden=[8,8]", "update.epochs=1")


def without_policies(path: Path) -> Path:
    for name in LEFT_OUT:
        (path / name).unlink()
    return path


def test_they_are_done_and_intact_and_can_be_trained_again(cell, learner):
    config = cell("seeds=2", *FAKE)
    index.plan([config])
    path = without_policies(execute.run(config))
    found = verify(path)
    assert (len(found.finished), found.unfinished, found.problems) == (1, 0, [])
    assert found.finished[0].left_out == LEFT_OUT
    text, intact = status(path.parents[4], "adhoc")
    assert intact
    assert text == "adhoc: 2 done (seeds of cells)"
    assert train_again(found.finished[0]) == dict.fromkeys(blocks.NUMBERS, True)
    calls = len(learner.calls)
    execute.run(config)
    assert len(learner.calls) == calls  # the same command again trains nothing


@pytest.mark.parametrize("name", [CURVES, blocks.CONFIG])
def test_nothing_else_may_be_left_out(cell, name):
    path = execute.run(cell("seeds=2", *FAKE))
    (path / name).unlink()
    assert any(problem.startswith(f"{path}: {name} cannot be read") for problem in verify(path).problems)


def test_diagnostics_are_left_out_with_policies_or_lost(cell):
    path = execute.run(cell("seeds=2", *FAKE))
    (path / TRAINING).unlink()
    assert verify(path).problems == [f"{path}: training.parquet cannot be read (No such file or directory)"]
    (path / blocks.POLICY).unlink()
    assert verify(path).problems == []


def test_diagnostics_that_were_left_out_can_not_be_mirrored(cell):
    config = cell("seeds=1", *FAKE)
    index.plan([config])
    path = without_policies(execute.run(config))
    with pytest.raises(UserError, match=r"its training\.parquet was left out; 'python -m bench rerun "):
        mirroring.sync(path.parents[4], "adhoc", upload=False, timeout=60.0)


def test_the_one_that_is_there_must_be_what_was_written(cell):
    path = execute.run(cell("seeds=2", *FAKE))
    (path / blocks.CHECKPOINT).unlink()
    (path / blocks.POLICY).write_bytes(b"another")
    assert verify(path).problems == [f"{path}: policy.zip is not the file that was written (checksum)"]


def test_a_rerun_gives_them_back(cell):
    path = execute.run(cell("seeds=2"))
    before = {name: (path / name).read_bytes() for name in blocks.FILES}
    again = rerun(without_policies(path))
    assert (list(again.put_back), list(again.still_out)) == (LEFT_OUT, [])
    assert {name: (path / name).read_bytes() for name in blocks.FILES} == before
    assert rerun(path).put_back == []


def test_a_rerun_gives_no_others_back(cell):
    """On another machine the last bit may differ: then the new policy stays where it was made."""
    path = without_policies(execute.run(cell("seeds=2")))
    record = json.loads((path / blocks.RECORD).read_text())
    record["checksums"]["policy.zip"] = "0" * 64
    (path / blocks.RECORD).write_text(json.dumps(blocks.sealed(record)))
    again = rerun(path)
    assert (list(again.put_back), list(again.still_out)) == (LEFT_OUT[1:], LEFT_OUT[:1])
    assert not (path / "policy.zip").exists()
    assert (again.path / "policy.zip").read_bytes() == b"policy"


def test_a_policy_that_is_wanted_is_said_to_be_left_out(cell):
    path = without_policies(execute.run(cell("seeds=2")))
    expected = f"{path}: its policy was left out; 'python -m bench rerun {path}' makes it again"
    with pytest.raises(UserError) as refused:
        enjoy.enjoy(path)
    assert str(refused.value) == expected
    with pytest.raises(UserError) as refused:
        policies.find(str(path.parents[2]))
    assert str(refused.value) == expected


def test_a_cell_held_to_a_policy_that_was_left_out_keeps_its_hash_and_waits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(execute, "train", learner.train)
    place = (f"results={tmp_path}", "wandb=disabled", "task=weekly_exam", "sample_solved=true", *TINY)
    honest = execute.run(bench.compose(["study.name=honest", "seeds=2", *place]))
    reference = ("reference=checkpoint", f"reference.path={honest.parents[2]}", "study.name=held", "seeds=2")
    held = execute.run(bench.compose([*reference, *place]))
    intact = verify(tmp_path)
    assert [is_trainable(block) for block in intact.finished] == [True, True]
    without_policies(honest)
    found = verify(tmp_path)
    assert (len(found.finished), found.problems) == (2, [])
    assert {block.path: is_trainable(block) for block in found.finished} == {honest: True, held: False}
    with pytest.raises(UserError, match="its policy was left out"):
        bench.compose([*reference, *place])
    assert main(["verify", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for what in ("policies", "checkpoints", "diagnostics", "single episodes"):
        assert f"{what} left out of 1 block; 'python -m bench rerun BLOCK' makes them again" in said
    assert "1 block held to a policy that is not here: not trained again" in said
    assert main(["rerun", str(honest)]) == 0  # its policy is found again although a copy lies in reruns/
    assert f"put back in {honest}: {', '.join(LEFT_OUT)}" in capsys.readouterr().out
    assert cell_hash(bench.compose([*reference, *place])) in held.parent.name


def committed(folder: Path) -> set[str]:
    """What `git add` takes of a folder."""
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    listed = subprocess.run(["git", "ls-files"], cwd=folder, check=True, capture_output=True, text=True)
    return set(listed.stdout.split())


def test_git_takes_records_scores_and_reports_and_nothing_else(tmp_path):
    taken = [
        "study.json",
        "tuning.json",
        "runs.tar.xz",
        "lab.tar.xz",
        "report/report.md",
        "report/comparison.csv",
        "report/costs.csv",
        "report/scores.md",
        "report/learning_curves_stochastic.svg",
        "report/figures/learning-curves.png",
    ]
    left = [
        ".lock",
        ".writing-runs.tar.xz",
        "lab/cartpole/end-01234567/seeds-000/run.json",
        "lab/cartpole/end-01234567/seeds-000/quantities.parquet",
        "runs/cartpole/ppo-01234567/seeds-000-019/run.json",
        "runs/cartpole/ppo-01234567/seeds-000-019/config.yaml",
        "runs/cartpole/ppo-01234567/seeds-000-019/curves.parquet",
        "runs/cartpole/ppo-01234567/seeds-000-019/episodes.parquet",
        "runs/cartpole/ppo-01234567/.leases/003",
        "runs/cartpole/ppo-01234567/seeds-000-019/policy.zip",
        "runs/cartpole/ppo-01234567/seeds-000-019/checkpoint.pt",
        "runs/cartpole/ppo-01234567/seeds-000-019/training.parquet",
        "runs/cartpole/ppo-01234567/seeds-000-019/partial.zip",
        "runs/cartpole/ppo-01234567/seeds-000-019/progress.json",
        "runs/cartpole/ppo-01234567/seeds-000-019/.writing-training.parquet",
        "wandb/offline-run-1/run-1.wandb",
        "damaged/cartpole/ppo-01234567/seeds-000-019-1/run.json",
        "reruns/cartpole/ppo-01234567/1/seeds-000-019/run.json",
        "videos/cartpole/ppo-01234567/seed-000.gif",
        ".submitit/1.out",
        "report/learning_curves_stochastic.png",
        "report/learning_curves_deterministic.svg",
        "report/report.pdf",
        "report/comparison.md",
        "report/comparison.tex",
        "report/index.html",
        "report/laboratory.csv",
        "report/policies.csv",
    ]
    for study in ("baselines", "article", "honest", "adhoc", "quick", "of-my-own"):
        for name in [*taken, *left]:
            file = tmp_path / "results" / study / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    for name in (".gitignore", "results/.gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    block = "runs/cartpole/ppo-01234567/seeds-000-019"
    kept = {f"results/{study}/{name}" for study in ("baselines", "article", "honest") for name in taken}
    needed = {f"results/honest/{block}/{name}" for name in ("policy.zip", "training.parquet")}  # by others
    found = {name for name in committed(tmp_path) if name.count("/") > 1}
    assert found == kept | needed


def test_every_shipped_study_but_the_quick_one_can_be_committed(tmp_path):
    names = {path.stem for path in (CONF / "study").glob("*.yaml")}
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.json").touch()
    shutil.copy(ROOT / "results" / ".gitignore", tmp_path)
    assert committed(tmp_path) == {".gitignore", *(f"{name}/study.json" for name in names - {"quick"})}
