"""`python -m bench lab`: what was asked for, checked before anything starts, then measured side by side."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from joblib import Parallel, delayed
from rich.console import Console

from bench import interruption
from bench.config.arguments import read, typed
from bench.config.parse import allow_code
from bench.errors import UserError, counted, first_line, nearest
from bench.execution import launch, progress
from bench.kernel.engine import computing_with
from bench.lab import stages
from bench.lab.forecast import forecasts, told
from bench.lab.measure import measure as measure_stage
from bench.lab.plan import Plan, plan
from bench.lab.planned import PlannedStage, add_to_index, finish, subject
from bench.lab.rows import Measured
from bench.lab.settings import FOLDER, STAGES, Settings
from bench.lab.settings import read as read_settings
from bench.lab.unread import refuse_unread
from bench.records import block as blocks
from bench.records.recorder import Busy, Recorder, recording
from bench.tasks.registry import TASKS, make

USAGE = """\
python -m bench lab [KEY=VALUE ...]              measure the bias and variance of estimators against ground truth
python -m bench lab task=cartpole stages=end     one task, one stage of a training run of this suite
python -m bench lab study=NAME [...]             what conf/lab/NAME.yaml plans; what is done is not measured again

  task=A,B  stages=start,halfway,end,optimum  policy=RUN_DIR  baselines=…  advantages=…  critics=exact,learned,error
  truth=time_limited|continuing  precision=…  truth_steps=…  shortfall=refuse|report  seeds=…  jobs=…  results=…
  dry_run=true: what there is to measure, how long it will take and how much memory, and nothing else
  and every other key of conf/lab/default.yaml, or of training's configuration (gamma=…, group.size=…)"""
NESTED = ("by_task", "overrides")  # settings of settings, given as YAML
BLOCK = 5  # policies that are measured by one process and recorded together
TRAINING = 0.1  # share of the work, roughly


@dataclass(frozen=True)
class Arguments:
    """What is the command's own; its other keys are the laboratory's settings, or training's."""

    study: str = ""
    results: str = "results"
    jobs: int = min(os.cpu_count() or 1, 8)
    dry_run: bool = False


@dataclass(frozen=True)
class Request:
    """A command line: where results go, how many processes, and what is measured."""

    study: str
    results: str
    jobs: int
    settings: Settings
    given: Mapping[str, Any]
    dry_run: bool = False


def main(words: Sequence[str]) -> int:
    """Run `python -m bench lab`; the exit code: 0, 1 where a stage failed, 2 for a mistake. Raises `UserError`."""
    if {"-h", "--help", "help"} & set(words):
        print(USAGE)
        return 0
    torch.set_num_threads(1)
    request = parse(words)
    wanted = plan_stages(request)
    blocks.refuse_other_versions(wanted[0].study_directory)
    left = [each for each in wanted if not each.done]
    for line in announced(left):
        print(line)
    if request.dry_run:
        print("\n".join(told(left, len(wanted) - len(left), request.jobs)))
        return 0
    add_to_index(wanted)
    sys.stdout.flush()  # before the progress, which goes to the standard error, where both go to one file
    with interruption.leading():
        failures = _measure(left, len(wanted) - len(left), request.jobs)
        if (asked := interruption.asked()) is not None:
            raise interruption.Interrupted(asked)
    for failure in failures:
        print(f"failed: {failure.line}", file=sys.stderr)
    before = f", {len(wanted) - len(left)} of them measured before" if len(left) < len(wanted) else ""
    print(f"{counted(len(wanted), 'stage')}{before}, {len(failures)} failures: {wanted[0].study_directory / 'lab'}")
    return max((2 if failure.mistake else 1 for failure in failures), default=0)


def announced(left: Sequence[PlannedStage]) -> list[str]:
    """What is going to be measured, and how many environment steps that may take: a line per task."""
    lines = []
    for task in dict.fromkeys(each.task for each in left):
        mine = [each for each in left if each.task == task]
        settings = mine[0].settings
        policies = counted(len({seed for each in mine for seed in each.seeds}), "training run")
        stages_text = counted(len({each.stage for each in mine}), "stage")
        size = f"{settings.anchors} states at {settings.times} time steps and {settings.batches} batches"
        if settings.precision is not None:
            size = (
                f"at least {size}; for precision={settings.precision} at most {settings.max_steps:,} environment steps"
            )
        lines.append(f"{task}: the policies of {policies} at {stages_text}, for each {size}")
    return lines


@dataclass(frozen=True)
class Failure:
    """Why a stage was not measured, in one line; a `mistake` is the user's to mend."""

    line: str
    mistake: bool = False


def parse(words: Sequence[str]) -> Request:
    """What a command line asks for. Raises `UserError`."""
    own, given, training = _sorted(words)
    asked = read("lab", own, Arguments)
    study = asked.study or "lab"
    if asked.study and not (FOLDER / f"{study}.yaml").exists():
        known = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "default")
        raise UserError(f"unknown study '{study}': conf/lab has {', '.join(known)}{nearest(study, known)}")
    if asked.jobs < 1:
        raise UserError(f"jobs={asked.jobs}: must be a whole number of at least 1")
    found = read_settings(study, given)
    if training:
        found = read_settings(study, {**given, "overrides": {**found.overrides, **training}})
    return Request(study, asked.results, asked.jobs, found, given, asked.dry_run)


def _sorted(words: Sequence[str]) -> tuple[list[str], dict[str, Any], dict[str, str]]:
    """The command's own words, the values of the laboratory's settings, and training's keys as they were typed."""
    mine = {field.name for field in fields(Settings)}
    own: list[str] = []
    texts: dict[str, str] = {}
    training: dict[str, str] = {}
    words_of: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UserError(f"lab: cannot read '{word}': write KEY=VALUE")
        key = "tasks" if key == "task" else key
        if words_of.setdefault(key, word) != word:
            raise UserError(f"lab: {key} is given twice, {words_of[key]} and {word}")
        if key in {field.name for field in fields(Arguments)}:
            own.append(word)
        elif key in mine:
            texts[key] = text
        else:
            training[key] = text
    given: dict[str, Any] = {key: _mapping(key, texts.pop(key)) for key in NESTED if key in texts}
    if texts.get("seeds", "").isdigit():  # their number
        given["seeds"] = int(texts.pop("seeds"))
    return own, given | typed(texts, Settings), training


def _mapping(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"lab: cannot read '{key}={text}': write {key}={{…}} as in conf/lab") from error


def plan_stages(request: Request) -> list[PlannedStage]:
    """The stages, every one checked. Raises `UserError` for the first that cannot be measured."""
    wanted = []
    for task in (*request.settings.tasks, *request.settings.by_task):
        if task not in TASKS:
            raise UserError(f"unknown task '{task}': allowed are {', '.join(TASKS)}{nearest(task, TASKS)}")
    plans = {task: plan(request.settings.of(task), task) for task in request.settings.tasks}
    refuse_unread(request.given, {task: (request.settings.of(task), found) for task, found in plans.items()})
    for task, found in plans.items():
        settings = request.settings.of(task)
        for name in [stages.RECORDED] if settings.policy else settings.stages:
            seeds = _check_stage(request, settings, found, name)
            for start in range(0, len(seeds), BLOCK):
                block = tuple(seeds[start : start + BLOCK])
                wanted.append(PlannedStage(found, settings, name, block, request.study, request.results))
    return wanted


def _check_stage(request: Request, settings: Settings, found: Plan, name: str) -> Sequence[int]:
    """Return the seeds whose policies are measured.

    Raises `UserError` where there is no such policy, or it was trained without the learned critic that is asked for.
    """
    seeds: Sequence[int] = settings.seeds
    if settings.policy is not None:
        named = settings.seeds if "seeds" in request.given else None
        config, recorded = stages.recorded(Path(settings.policy), found.config.task.name, named)
        seeds = [stage.seed for stage in recorded]
        has_critic, arm = recorded[0].critic is not None, config.arm_name
    elif name == stages.OPTIMUM:
        stages.optimum(make(found.config.task), found.config.task.name, found.config.gamma)
        seeds, has_critic, arm = [0], False, "the exact optimum"
    else:
        has_critic, arm = found.config.has_critic, found.config.arm_name
    used = {variant.critic for variant in found.variants}
    if "learned" in used and not has_critic:
        known = "critics=exact" if "exact" in used else "a policy that was trained with a critic"
        raise UserError(f"critics=learned on {found.config.task.name} {name}: {arm} has no critic; use {known}")
    return seeds


def _measure(wanted: Sequence[PlannedStage], done_before: int, jobs: int) -> list[Failure]:
    """Measure stages in processes of their own, the longest first; → what went wrong.

    A process takes all stages of the same training runs, which are trained once for them.
    """
    if not wanted:
        return []
    costs = [of.seconds for of in forecasts(wanted)]
    items = [progress.Item(planned.label, planned.directory, cost) for planned, cost in zip(wanted, costs, strict=True)]
    together: dict[tuple[str, tuple[int, ...]], list[PlannedStage]] = {}
    work: dict[tuple[str, tuple[int, ...]], float] = {}
    for planned, cost in zip(wanted, costs, strict=True):
        together.setdefault((planned.task, planned.seeds), []).append(planned)
        work[planned.task, planned.seeds] = work.get((planned.task, planned.seeds), 0.0) + cost
    ordered = [together[key] for key in sorted(together, key=lambda key: work[key], reverse=True)]
    with progress.Display(Console(stderr=True)).watching(items, done_before):
        workers = min(jobs, len(ordered))
        if workers == 1:
            found = [measure_together(each) for each in ordered]
        else:
            try:
                found = Parallel(n_jobs=workers, backend="loky", batch_size=1)(
                    delayed(measure_together)(each) for each in ordered
                )
            except Exception as error:  # whatever joblib raises when one of its processes dies
                return [Failure(f"{launch.DEATH} ({type(error).__name__}); the same command goes on from there")]
    return [failure for failures in found for failure in failures]


def measure_together(planned: Sequence[PlannedStage]) -> list[Failure]:
    """Measure stages of the same training runs, one after another, and record them; → what went wrong."""
    training = stages.Training(planned[0].plan.config, planned[0].seeds)
    return [failure for each in planned if (failure := measure(each, training)) is not None]


def measure(planned: PlannedStage, training: stages.Training) -> Failure | None:
    """Measure one stage of training runs and record it; → what went wrong."""
    torch.set_num_threads(1)
    allow_code(planned.plan.config)  # in a process of its own, where nobody has named it
    if interruption.asked() is not None:
        return Failure(f"{planned.label}: not begun, since a signal asked to stop")
    try:
        with computing_with(planned.plan.config.engine), recording(Recorder(subject(planned))) as recorder:
            _measure_all(planned, training, recorder)
    except interruption.Interrupted:
        return Failure(f"{planned.label}: interrupted")
    except Busy as error:
        return Failure(f"{planned.label}: {error}")
    except Exception as error:  # whatever measuring raises is recorded: the other stages go on
        mistake = isinstance(error, UserError)
        kind = "" if mistake else f"{type(error).__name__}: "
        return Failure(f"{planned.label}: {kind}{first_line(error)}", mistake)
    return None


def _measure_all(planned: PlannedStage, training: stages.Training, recorder: Recorder) -> None:
    """Measure every policy of a stage, and finish its record."""
    policies = _policies(planned, training, lambda done: recorder.progress(TRAINING * done))
    measured = Measured()
    for index, stage in enumerate(policies):

        def progress(done: float, before: int = index) -> None:
            recorder.progress(TRAINING + (1 - TRAINING) * (before + done) / len(policies))

        measured.extend(measure_stage(planned.plan, planned.settings, stage, progress))
    finish(recorder, measured, {stage.seed: stage.env_steps for stage in policies})


def _policies(
    planned: PlannedStage, training: stages.Training, progress: Callable[[float], None]
) -> list[stages.Stage]:
    settings, config = planned.settings, planned.plan.config
    if settings.policy is not None:
        return stages.recorded(Path(settings.policy), planned.task, planned.seeds)[1]
    if planned.stage == stages.OPTIMUM:
        return [stages.optimum(make(config.task), planned.task, config.gamma)]
    assert planned.stage in STAGES
    return training.stage(planned.stage, progress)
