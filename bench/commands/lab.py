"""`python -m bench lab`: what was asked for, checked before anything starts, then measured side by side."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from joblib import Parallel, delayed
from rich.console import Console

from bench import interruption
from bench.errors import UserError, nearest
from bench.execution import progress
from bench.lab import stages
from bench.lab.measure import Laboratory
from bench.lab.record import Cell, Recorder, done, update_index
from bench.lab.settings import FOLDER, STAGES, Plan, Settings, plan, read
from bench.records.recorder import Busy
from bench.tasks.registry import TASKS, make

USAGE = """\
python -m bench lab [KEY=VALUE ...]              measure the bias and variance of estimators against ground truth
python -m bench lab task=cartpole stages=end     one task, one stage of a training run of this suite
python -m bench lab study=NAME [...]             what conf/lab/NAME.yaml plans; what is done is not measured again

  task=A,B  stages=start,halfway,end,optimum  policy=RUN_DIR  baselines=…  advantages=…  critics=exact,learned,error
  truth=time_limited|continuing  precision=…  truth_steps=…  shortfall=refuse|report  seed=…  jobs=…  results=…
  and every other key of conf/lab/default.yaml, or of training's configuration (gamma=…, group.size=…)"""

OWN = ("study", "results", "jobs")


@dataclass(frozen=True)
class Request:
    """A command line: where results go, how many processes, and what is measured."""

    study: str
    results: str
    jobs: int
    settings: Settings
    given: Mapping[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Run `python -m bench lab`; the exit code: 0, 1 where a cell failed, 2 for a mistake. Raises `UserError`."""
    if arguments and arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    torch.set_num_threads(1)
    request = parse(arguments)
    cells = planned(request)
    update_index(cells)
    left = [cell for cell in cells if not done(cell)]
    with interruption.leading():
        failures = _measure(left, len(cells) - len(left), request.jobs)
        if (asked := interruption.asked()) is not None:
            raise interruption.Interrupted(asked)
    for failure in failures:
        print(f"failed: {failure.line}", file=sys.stderr)
    before = f", {len(cells) - len(left)} of them measured before" if len(left) < len(cells) else ""
    stages = "1 stage" if len(cells) == 1 else f"{len(cells)} stages"
    print(f"{stages}{before}, {len(failures)} failures: {cells[0].study_directory / 'lab'}")
    return max((2 if failure.mistake else 1 for failure in failures), default=0)


@dataclass(frozen=True)
class Failure:
    """Why a cell was not measured, in one line; a `mistake` is the user's to mend."""

    line: str
    mistake: bool = False


def parse(arguments: Sequence[str]) -> Request:
    """What a command line asks for. Raises `UserError`."""
    given = dict(map(_pair, arguments))
    own = {key: given.pop(key) for key in OWN if key in given}
    study = str(own.get("study", "lab"))
    if "study" in own and not (FOLDER / f"{study}.yaml").exists():
        known = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "default")
        raise UserError(f"unknown study '{study}': conf/lab has {', '.join(known)}{nearest(study, known)}")
    if "task" in given:
        given["tasks"] = given.pop("task")
    mine = {field.name for field in fields(Settings)}
    training = {key: value for key, value in given.items() if key not in mine}
    settings = {key: value for key, value in given.items() if key in mine}
    found = read(study, settings)
    if training:
        found = read(study, settings | {"overrides": dict(found.overrides) | training})
    jobs = own.get("jobs", min(os.cpu_count() or 1, 8))
    if not isinstance(jobs, int) or jobs < 1:
        raise UserError(f"jobs={jobs}: must be a whole number of at least 1")
    return Request(study, str(own.get("results", "results")), jobs, found, given)


def _pair(argument: str) -> tuple[str, Any]:
    """KEY=VALUE; `a,b` is a list, as for training."""
    key, equals, text = argument.partition("=")
    if not equals or not key:
        raise UserError(f"lab: cannot read '{argument}': write KEY=VALUE")
    listed = f"[{text}]" if "," in text and not text.startswith(("[", "{")) else text
    try:
        return key, yaml.safe_load(listed)
    except yaml.YAMLError as error:
        raise UserError(f"lab: cannot read '{argument}': write KEY=VALUE") from error


def planned(request: Request) -> list[Cell]:
    """The cells, every one checked. Raises `UserError` for the first that cannot be measured."""
    cells = []
    for task in (*request.settings.tasks, *request.settings.by_task):
        if task not in TASKS:
            raise UserError(f"unknown task '{task}': allowed are {', '.join(TASKS)}{nearest(task, TASKS)}")
    for task in request.settings.tasks:
        settings = request.settings.of(task)
        found = plan(settings, task)
        _check_critics(request, found)
        for name in [stages.RECORDED] if settings.policy else settings.stages:
            _check_stage(settings, found, name)
            cells.append(Cell(found, settings, name, request.study, request.results))
    return sorted(cells, key=_work, reverse=True)


def _check_critics(request: Request, found: Plan) -> None:
    """Refuse a critic where no arm that is measured has one."""
    if "critics" in request.given and not any(variant.arm.has_critic for variant in found.variants):
        critics = ",".join(request.settings.critics)
        raise UserError(
            f"critics={critics} with baselines={','.join(request.settings.baselines)} "
            f"advantages={','.join(request.settings.advantages)}: none of these arms has a critic; "
            f"leave critics out, or add baselines=critic or advantages=gae"
        )


def _check_stage(settings: Settings, found: Plan, name: str) -> None:
    """Refuse a policy there is not, and a learned critic where the policy was trained without one."""
    if settings.policy is not None:
        config, stage = stages.recorded(Path(settings.policy), found.config.task.name, settings.seed)
        has_critic, arm = stage.critic is not None, config.arm_name
    elif name == stages.OPTIMUM:
        stages.optimum(make(found.config.task), found.config.task.name, found.config.gamma)
        has_critic, arm = False, "the exact optimum"
    else:
        has_critic, arm = found.config.has_critic, found.config.arm_name
    used = {variant.critic for variant in found.variants}
    if "learned" in used and not has_critic:
        known = "critics=exact" if "exact" in used else "a policy that was trained with a critic"
        raise UserError(f"critics=learned on {found.config.task.name} {name}: {arm} has no critic; use {known}")


def _work(cell: Cell) -> float:
    """How much there is to do, in no particular unit."""
    horizon = make(cell.plan.config.task).horizon or 1
    trained = cell.plan.config.budget if cell.stage in (stages.HALFWAY, stages.END) else 0
    return len(cell.plan.variants) * min(horizon, 500) + trained / 10


def _measure(cells: Sequence[Cell], done_before: int, jobs: int) -> list[Failure]:
    """Measure cells in processes of their own, the longest first; → what went wrong."""
    if not cells:
        return []
    items = [progress.Item(cell.label, cell.directory, _work(cell)) for cell in cells]
    with progress.Display(Console(stderr=True)).watching(items, done_before):
        workers = min(jobs, len(cells))
        if workers == 1:
            found = [measure(cell) for cell in cells]
        else:
            found = Parallel(n_jobs=workers, backend="loky", batch_size=1)(delayed(measure)(cell) for cell in cells)
    return [failure for failure in found if failure is not None]


def measure(cell: Cell) -> Failure | None:
    """Measure one cell and record it; → what went wrong."""
    torch.set_num_threads(1)
    if interruption.asked() is not None:
        return Failure(f"{cell.label}: not begun, since a signal asked to stop")
    recorder = Recorder(cell)
    try:
        recorder.begin()
    except Busy as error:
        return Failure(f"{cell.label}: {error}")
    try:
        stage = _stage(cell)
        recorder.on_progress(0.1)
        laboratory = Laboratory(cell.plan, cell.settings, stage, lambda share: recorder.on_progress(0.1 + 0.9 * share))
        recorder.finish(laboratory.run(), stage.env_steps)
    except interruption.Interrupted:
        recorder.release()
        return Failure(f"{cell.label}: interrupted")
    except Exception as error:  # whatever measuring raises is recorded: the other stages go on
        recorder.fail(error)
        mistake = isinstance(error, UserError)
        kind = "" if mistake else f"{type(error).__name__}: "
        return Failure(f"{cell.label}: {kind}{error}".splitlines()[0], mistake)
    except BaseException:
        recorder.release()
        raise
    finally:
        recorder.close()
    return None


def _stage(cell: Cell) -> stages.Stage:
    settings, config = cell.settings, cell.plan.config
    if settings.policy is not None:
        return stages.recorded(Path(settings.policy), cell.task, settings.seed)[1]
    if cell.stage == stages.OPTIMUM:
        return stages.optimum(make(config.task), cell.task, config.gamma)
    assert cell.stage in STAGES
    return stages.trained(config, settings.seed, cell.stage)
