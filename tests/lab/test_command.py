"""`python -m bench lab` from the command line: mistakes cost a line, results are kept, blocks are whole."""

import json
import os
import re
import signal
from pathlib import Path
from typing import NoReturn

import pandas as pd
import pytest

import bench
from bench.commands import lab
from bench.commands.lab import parse, plan_stages
from bench.commands.main import main
from bench.config.schema import Config
from bench.errors import UserError
from bench.lab.planned import subject
from bench.records.recorder import Recorder

SMALL = [
    "task=exam_question", "stages=start", "jobs=1", "baselines=none,critic,rloo", "advantages=monte_carlo",
    "critics=exact", "anchors=3", "times=1", "futures=3", "batches=8", "batch_multiples=1,2", "group_sizes=2",
    "seeds=1",
]  # fmt: skip


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on the screen."""
    assert main(["lab", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["task=cartpol"], ["cartpol", "did you mean 'cartpole'"]),
        (["stages=halfwy"], ["halfwy", "halfway"]),
        (["study=bias"], ["bias", "bias_variance"]),
        (["anchrs=3"], ["anchrs"]),
        (["nonsense"], ["nonsense", "KEY=VALUE"]),
        (["task=cartpole", "critics=exact"], ["not known exactly", "critics=learned"]),
        (["task=cartpole", "stages=optimum"], ["no exact solution", "start, halfway, end"]),
        (["task=weekly_exam", "stages=optimum"], ["learned", "critics=exact"]),
        (["task=weekly_exam", "truth=continuing"], ["gamma=1", "truth=time_limited"]),
        (["task=weekly_exam", "baselines=none", "advantages=monte_carlo", "critics=exact"],
         ["none of these arms has a critic", "advantages=gae"]),
        (["task=weekly_exam", "critics=learned", "baseline=none", "advantage=monte_carlo"],
         ["has no critic", "a policy that was trained with a critic"]),
        (["batches=16", "batch_multiples=8"], ["8", "raise batches"]),
        (["group_sizes=3,8"], ["divide the largest"]),
        (["policy=/nowhere"], ["/nowhere", "run.json"]),
        (["jobs=0"], ["jobs=0", "at least 1"]),
        (["precision=0"], ["precision=0", "greater than 0"]),
        (["truth_precision=-1"], ["truth_precision=-1", "greater than 0"]),
        (["seeds=0"], ["seeds=0", "at least 1 seed"]),
        (["seeds=[2,2]"], ["a seed is named twice"]),
        (["wandb=disabled"], ["wandb=disabled", "does not read it", "leave wandb out"]),
        (["evaluation.points=3"], ["evaluation.points=3", "does not read it"]),
        (["device=cuda"], ["device=cuda", "does not read it"]),
        (["hydra.launcher.n_jobs=2"], ["hydra.launcher.n_jobs=2", "does not read it"]),
        (["overrides={until: decided}"], ["until=decided", "does not read it"]),
        (["algorithm=sb3_ppo"], ["algorithm=sb3_ppo", "this suite trains"]),
        (["gamma=0.9", "gamma=0.8"], ["gamma is given twice", "gamma=0.9 and gamma=0.8"]),
        (["anchors=4", "anchors=5"], ["anchors is given twice"]),
        (["task=weekly_exam", "task=cartpole"], ["given twice", "task=weekly_exam and task=cartpole"]),
        (["dry_run=maybe"], ["dry_run=maybe", "true or false"]),
        (["task=cartpole", "critic_error=0.1"], ["critic_error=0.1 on cartpole", "critics=error"]),
        (["task=cartpole", "exact=false"], ["exact=false on cartpole", "no world that is measured is solved"]),
        (["task=weekly_exam", "truth_steps=10"], ["truth_steps=10 on weekly_exam", "the truth is exact"]),
        (["task=cartpole", "actions=3"], ["actions=3 on cartpole", "all actions of a state"]),
        (["max_steps=10"], ["max_steps=10", "precision"]),
        (["baselines=none", "n_steps=3"], ["n_steps=[3]", "nstep is not measured"]),
        (["baselines=critic", "companions=3"], ["companions=3", "reads other episodes"]),
        (["baselines=none", "advantages=monte_carlo", "precision=0.1"], ["precision=0.1", "add baselines=critic"]),
        (["policy=/nowhere", "stages=end"], ["stages=", "policies of one stage"]),
    ],
)  # fmt: skip
def test_a_mistake_costs_one_line(
    arguments: list[str], fragments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = mistake(capsys, *arguments, f"results={tmp_path}")
    assert all(fragment in line for fragment in fragments), line
    assert not any(tmp_path.iterdir())


def test_arms_left_out_are_recorded_with_the_reason(tmp_path: Path) -> None:
    """CartPole's restored episodes cost more than this budget, so that no vine arm is measured."""
    request = parse(["task=cartpole", "stages=start", "critics=learned", "budget=20_000", f"results={tmp_path}"])
    (cell,) = plan_stages(request)
    names = {variant.arm.baseline.name for variant in cell.plan.variants}
    assert "vine" not in names
    assert set(cell.plan.left_out) == {f"vine-{target}" for target in ("td0", "nstep", "gae", "monte_carlo")}
    assert all("larger vine.every" in reason for reason in cell.plan.left_out.values())
    recorder = Recorder(subject(cell))
    recorder.begin()
    recorder.close()
    assert json.loads((cell.directory / "run.json").read_text())["left_out"] == cell.plan.left_out


def test_the_studies_measure_every_arm_that_is_legal() -> None:
    """Only vine is refused: where rewards are scaled, and where a walk may take longer than the budget."""
    left_out = {cell.task: set(cell.plan.left_out) for cell in plan_stages(parse(["study=bias_variance"]))}
    assert {task for task, arms in left_out.items() if arms} == {"acrobot", "mountain_car", "random_walk"}
    assert {arm.partition("-")[0] for arms in left_out.values() for arm in arms} == {"vine"}
    article = plan_stages(parse(["study=article"]))
    assert {(cell.task, cell.stage) for cell in article} == {
        (task, stage) for task in ("exam_question", "weekly_exam") for stage in ("start", "halfway", "end")
    }
    assert not any(cell.plan.left_out for cell in article)


def test_settings_of_one_task() -> None:
    """The study's file asks for no precision in solved worlds; what is given holds for all, and hashes tell it."""
    small = ["study=bias_variance", "baselines=critic", "advantages=monte_carlo"]
    cells = {given: plan_stages(parse([*small, *given])) for given in [(), ("precision=0.1",)]}
    precisions = {given: {cell.task: cell.settings.precision for cell in found} for given, found in cells.items()}
    solved = {"weekly_exam", "exam_question", "random_walk"}
    assert precisions[()] == precisions["precision=0.1",] | dict.fromkeys(solved)
    assert set(precisions["precision=0.1",].values()) == {0.1}
    differing = {ours.task for ours, other in zip(*cells.values(), strict=True) if ours.hash != other.hash}
    assert differing == solved


@pytest.mark.parametrize(
    ("by_task", "parts"),
    [
        ("{exam_questoin: {batches: 8}}", ["unknown task 'exam_questoin'", "did you mean 'exam_question'"]),
        ("{exam_question: {stages: end}}", ["by_task.exam_question", "stages", "batches"]),
        ("{exam_question: {batches: 2}}", ["batches=2: must be at least 4"]),
    ],
)
def test_mistakes_in_the_settings_of_one_task(
    by_task: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = mistake(capsys, "task=exam_question", f"by_task={by_task}")
    assert all(part in line for part in parts), line


def test_a_policy_of_another_task_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = mistake(capsys, "task=weekly_exam", f"policy={trained}")
    assert "exam_question, not in weekly_exam" in line
    assert "use task=exam_question" in line


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded block of an arm without a critic."""
    config: Config = bench.compose(
        ["task=exam_question", "baseline=none", "advantage=monte_carlo", "seeds=2", "budget=64", "evaluation.points=1",
         "evaluation.episodes=1", "wandb=disabled", f"results={tmp_path_factory.mktemp('results')}"]
    )  # fmt: skip
    return bench.run(config)


def test_a_recorded_policy_is_measured(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no critic" in mistake(capsys, "task=exam_question", f"policy={trained}", "critics=learned")
    assert "no policy of seed 7; it has those of 0, 1" in mistake(
        capsys, "task=exam_question", "critics=exact", f"policy={trained}", "seeds=[7]"
    )
    small = [word for word in SMALL if not word.startswith(("seeds=", "stages="))]
    assert main(["lab", *small, f"policy={trained}", f"results={tmp_path}"]) == 0
    (record,) = tmp_path.glob("lab/lab/exam_question/recorded-*/seeds-000-001/run.json")
    assert json.loads(record.read_text())["status"] == "done"
    quantities = pd.read_parquet(record.with_name("quantities.parquet"))
    assert set(quantities["seed"]) == {0, 1}


def test_what_is_measured_is_kept_and_repeats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second call measures nothing; elsewhere, the same settings give the same bytes."""
    assert main(["lab", *SMALL, f"results={tmp_path / 'a'}"]) == 0
    (block,) = (tmp_path / "a").glob("lab/lab/exam_question/start-*/seeds-000")
    before = {path.name: path.stat().st_mtime_ns for path in block.iterdir()}
    assert set(before) == {"run.json", "config.yaml", "quantities.parquet", "states.parquet", "costs.parquet"}
    capsys.readouterr()
    assert main(["lab", *SMALL, f"results={tmp_path / 'a'}"]) == 0
    assert "1 of them measured before" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in block.iterdir()} == before
    assert main(["lab", *SMALL, f"results={tmp_path / 'b'}"]) == 0
    (again,) = (tmp_path / "b").glob("lab/lab/exam_question/start-*/seeds-000")
    for name in ("quantities.parquet", "states.parquet"):
        assert (block / name).read_bytes() == (again / name).read_bytes()
    quantities = pd.read_parquet(block / "quantities.parquet")
    assert set(quantities["level"]) == {"policy", "advantage", "step", "gradient", "kind", "size"}


def test_a_dry_run_says_what_there_is_to_do_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours, policies and memory: at most, and once a block was measured here, as it was."""
    small = [*SMALL, f"results={tmp_path}"]
    assert main(["lab", *small, "dry_run=true"]) == 0
    said = capsys.readouterr()
    assert not any(tmp_path.iterdir())
    assert "measure exam_question start, 1 policy: at most about 0:00:0" in said.out
    assert re.search(r"^1 block, 1 policy: at most about 0:00:\d\d with 1 at once, .* GB of memory$", said.out, re.M)
    assert main(["lab", *small]) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    assert main(["lab", *small, "dry_run=true"]) == 0
    assert capsys.readouterr().out == "nothing to measure, 1 of 1 blocks measured before\n"
    more = [word for word in small if not word.startswith("seeds=")]
    assert main(["lab", *more, "seeds=[1,2]", "dry_run=true"]) == 0
    said = capsys.readouterr()
    assert re.search(r"^1 block, 2 policies: about 0:00:\d\d, as on this machine before", said.out, re.M), said.out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_stages_are_the_same_together_and_alone(tmp_path: Path) -> None:
    """A process trains once for all stages of the same seeds: bytes are those of a stage that was asked for alone."""
    others = [word for word in SMALL if not word.startswith(("stages=", "critics="))]
    given = [*others, "critics=learned", "budget=400"]
    assert main(["lab", *given, "stages=start,halfway,end", f"results={tmp_path / 'a'}"]) == 0
    for stage in ("start", "end", "halfway"):
        assert main(["lab", *given, f"stages={stage}", f"results={tmp_path / 'b'}"]) == 0
        (one,), (other,) = ((tmp_path / each).glob(f"lab/lab/*/{stage}-*/seeds-000") for each in "ab")
        for name in ("quantities.parquet", "states.parquet"):
            assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_damaged_block_is_said_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", *SMALL, f"results={tmp_path}"]) == 0
    (quantities,) = tmp_path.glob("lab/lab/exam_question/start-*/seeds-000/quantities.parquet")
    quantities.write_bytes(b"other")
    capsys.readouterr()
    assert "damaged block" in mistake(capsys, *SMALL, f"results={tmp_path}")
    assert quantities.read_bytes() == b"other"


def test_too_small_a_budget_names_what_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [argument for argument in SMALL if not argument.startswith(("task=", "critics="))]
    settings = ["task=cartpole", "critics=learned", "truth_steps=1000", "truth_precision=0.001", f"results={tmp_path}"]
    assert main(["lab", *small, *settings]) == 2
    said = capsys.readouterr().err
    assert "truth_steps=1000" in said
    assert "raise truth_steps or truth_precision, or use shortfall=report" in said


@pytest.mark.parametrize("asked", [False, True])
def test_a_process_that_dies_is_a_line(
    asked: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Killed by the system, or by the signal that asked all of the command's processes to stop."""

    def dies(**_: object) -> NoReturn:
        if asked:
            os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("a worker was terminated")

    monkeypatch.setattr(lab, "Parallel", dies)
    others = [word for word in SMALL if not word.startswith(("seeds=", "jobs="))]
    code = main(["lab", *others, "seeds=6", "jobs=2", f"results={tmp_path}"])
    lines = capsys.readouterr().err.splitlines()
    assert code == (128 + signal.SIGTERM if asked else 1)
    assert lines[-1].startswith("interrupted: " if asked else "failed: the process died without a word")


def test_a_comparator_that_errs_is_refused() -> None:
    """Its errors come from training's streams, of which the laboratory has none."""
    noisy = "overrides={baseline: group, group.scale: rank, group.temperature: 2}"
    request = parse(["tasks=exam_question", "baselines=[group]", "advantages=[monte_carlo]", "stages=start", noisy])
    with pytest.raises(UserError, match=r"group\.temperature=2: the laboratory draws no errors of comparisons"):
        plan_stages(request)
