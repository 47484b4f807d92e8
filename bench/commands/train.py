"""`python -m bench KEY=VALUE …`: Hydra composes the cells, its launcher runs those that are not done."""

import argparse
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from bench import interruption
from bench.cells.composition import is_setting
from bench.cells.grids import Cell
from bench.cells.jobs import job, settings_of
from bench.cells.mistakes import check as check_words
from bench.cells.mistakes import explained
from bench.cells.overrides import written
from bench.cells.planning import plan_command
from bench.config import options
from bench.config.identity import cell_hash
from bench.design import phases
from bench.errors import RunWarning, UserError, counted, first_line, shortened
from bench.execution import beside, dry_run, launch, progress
from bench.execution.checks import check
from bench.execution.execute import train_missing
from bench.execution.launch import Outcome, Report
from bench.paths import CONF
from bench.records import block as blocks

MOST_LINES = 60  # warnings that are printed
_TYPED: ContextVar[Sequence[str]] = ContextVar("typed", default=())  # overrides, those of Hydra's own keys left out


class SweepFailed(Exception):
    """Some cells failed, and have been listed. Hydra hands no return value on, so this carries the exit code."""


def main(words: Sequence[str]) -> int:
    """Hand the command line to Hydra, whose sweeper calls `sweep`; the exit code. Raises `UserError`."""
    asked = _flags(words)
    check_words(asked.overrides)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come back here instead of being printed
    if not (asked.cfg or asked.info or asked.hydra_help or asked.shell_completion):
        kept_back = _of_options(asked.overrides)
        words = [word for word in words if word not in kept_back]
        if not asked.multirun:
            words = ["--multirun", *words]  # one cell is a sweep of one: the same checks, display and exit codes
    token = _TYPED.set([word for word in asked.overrides if not word.lstrip("+~").startswith("hydra")])
    before, sys.argv = sys.argv, ["bench", *words]
    heard, logging.raiseExceptions = logging.raiseExceptions, False  # --info is logged, maybe to a closed pipe
    try:
        with explained():
            hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(run_cell)()
    except SweepFailed:
        return 1
    except SystemExit as ended:  # of Hydra's flags, after its own line
        return 2 if ended.code else 0
    finally:
        sys.argv, logging.raiseExceptions = before, heard
        _TYPED.reset(token)
    return 0


def _of_options(overrides: Sequence[str]) -> list[str]:
    """The settings of options of a factor, such as a knob of a task.

    Hydra's first composition, which only finds the launcher, would look for them among the usual options of factors,
    and not among those that a study chooses. Every cell is composed with them.
    """
    with explained():
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    roots = {group for group in options.groups() if group not in options.optional()}
    return [
        str(each.input_line)
        for each in parsed
        if is_setting(each) and not each.is_sweep_override() and each.key_or_group.partition(".")[0] in roots
    ]


def _flags(words: Sequence[str]) -> argparse.Namespace:
    """What Hydra's own flags among the words say. Raises `UserError` for one without its value, or with a wrong one."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message.replace('argument ', '', 1)} ('python -m bench --hydra-help' shows the flags)")

    parser.error = refuse  # type: ignore[method-assign]  # it would print its usage and end the process
    asked = parser.parse_args(list(words))
    if asked.resolve and not asked.cfg:
        raise UserError("--resolve: it belongs to --cfg, such as --cfg job --resolve")
    several = [flag for flag in ("cfg", "info", "multirun", "shell_completion") if getattr(asked, flag)]
    if len(several) > 1:
        raise UserError(f"{' and '.join(f'--{flag}' for flag in several)}: only one of them can be given")
    if asked.config_dir is not None and not os.path.isdir(asked.config_dir):
        raise UserError(f"--config-dir {asked.config_dir}: there is no such folder")
    if asked.cfg:  # what would be printed is one composition
        _refuse_sweeps(asked.overrides)
    return asked


def _refuse_sweeps(words: Sequence[str]) -> None:
    with explained():
        for override in OverridesParser.create().parse_overrides(list(words)):
            if override.is_sweep_override():
                raise UserError(f"{override.input_line}: --cfg prints one configuration; give one value")


def run_cell(cfg: Any) -> Outcome:
    """Run one job of a sweep, in a worker; failures are told instead of raised, for the neighbours' sake."""
    error, stopped = None, None
    with interruption.heeding(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunWarning)
        try:
            if (asked := interruption.asked()) is not None:
                raise interruption.Interrupted(asked)
            train_missing(settings_of(cfg), HydraConfig.get().overrides.task)
        except interruption.Interrupted as interrupt:
            stopped = str(interrupt)
        except Exception as raised:  # whatever training raises: the other cells go on
            error = f"{type(raised).__name__}: {first_line(raised)}"
    return Outcome(error, _texts(caught), stopped)


def _texts(caught: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
    """What a user should know of a run, each once."""
    return tuple(dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, RunWarning)))


def sweep(config: Any, words: Sequence[str], load: Callable[..., Any], launcher: Callable[..., Any]) -> None:
    """Plan the cells of a command line, run those that are not done, and say how it went.

    `config` is what Hydra composed; `load` composes one cell from overrides, `launcher` runs a list of jobs. `words`
    are those that Hydra was given; all that were typed count, where `main` was called.

    Raises:
        UserError: before anything starts, for the first thing that is wrong.
        SweepFailed: at the end, where cells failed.
        Interrupted: where a signal asked to stop, after what was being trained is saved.
    """
    processes, words = _processes(config), _TYPED.get() or words
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunWarning)
        planned = plan_command(words, lambda overrides: load(config, overrides), check)
    cells = planned.cells
    decided = any(cell.config.until == "decided" for cell in cells)
    if decided and "seeds" in planned.asked:
        asked = ",".join(map(written, planned.asked["seeds"]))
        raise UserError(f"seeds={asked}: until=decided finds out how many; max_pairs=… bounds them")
    configs = [cell.config for cell in cells]
    beside.check_controls(configs)
    lines = [*planned.warnings, *_texts(caught), *beside.other_budgets(configs)]
    if any(cell.config.dry_run for cell in cells):
        if decided:
            from bench.design import looks  # SciPy takes a second

            text = looks.dry_run(cells, processes, _checked)
        else:
            text = dry_run.dry_run(_checked(phases.dry_cells(cells)), processes)
        _warn(lines)
        print(text)
        return

    def launch_cells(cells: Sequence[Cell]) -> list[Outcome]:
        return [_outcome(ended) for ended in launcher([job(cell) for cell in cells], initial_job_idx=0)]

    def how_long(todo: Sequence[launch.Job]) -> str:
        return dry_run.how_long(todo, processes)

    display = progress.Display(Console(stderr=True))

    def run_cells(cells: Sequence[Cell]) -> Report:
        checked = _checked(cells)
        _warn(lines)
        lines.clear()  # once, where a study is tuned and then judged
        return launch.sweep(checked, launch_cells, display, how_long)

    if decided:
        from bench.design import looks  # SciPy takes a second

        report = looks.run(cells, run_cells, display.say, print)
    else:
        report = phases.run(cells, run_cells, display.say)
    _conclude(report, cells)


def _warn(lines: Sequence[str]) -> None:
    for line in shortened(lines, MOST_LINES):
        print(line if line.startswith(" ") else f"warning: {line}", file=sys.stderr)


def _checked(cells: Sequence[Cell]) -> Sequence[Cell]:
    """Return the cells, every one of which can be trained here. Raises `UserError`."""
    for cell in cells:
        check(cell.config)
    return cells


def _processes(config: Any) -> int | None:
    """How many cells the launcher runs at once; None where that is the cluster's affair."""
    launcher = config.hydra.launcher
    if launcher.get("n_jobs") is None:
        return 1 if "BasicLauncher" in launcher._target_ else None
    if launcher.n_jobs == 0:
        raise UserError(
            "hydra.launcher.n_jobs=0: at least 1 cell must run at once; -1 stands for as many as processors"
        )
    return int(launcher.n_jobs) if launcher.n_jobs > 0 else os.cpu_count() or 1


def _outcome(ended: Any) -> Outcome:
    """What a Hydra job returned, or why there is nothing: it may have failed before `run_cell` was called."""
    try:
        outcome: Outcome = ended.return_value
        return outcome
    except Exception as error:  # what the launcher raised in the job's place
        return Outcome(error=f"{type(error).__name__}: {first_line(error)}")


def _conclude(report: Report, cells: Sequence[Cell]) -> None:
    """Print the final scores, and how a sweep ended. Raises `SweepFailed`."""
    _warn(report.warnings)
    for study in {blocks.study_directory(cell.config): None for cell in cells}:
        _print_scores(study, cells)
    status = f"; '{_next('bench', 'status', report.directory)}' names them"
    for line in shortened(report.failures, further=status):
        print(f"failed: {line}", file=sys.stderr)
    counts = [counted(report.cells, "cell")]
    if report.skipped:
        counts.append(f"{report.skipped} of them done before")
    if report.elsewhere:
        counts.append(f"{report.elsewhere} still in training by another process")
    print(f"{', '.join([*counts, counted(len(report.failures), 'failure')])}: {report.directory}", flush=True)
    if report.failures:
        raise SweepFailed
    if not report.elsewhere:
        print(f"next: {_next('analysis', '', report.directory)}", file=sys.stderr)


def _print_scores(study: Path, cells: Sequence[Cell]) -> None:
    """Print the final scores of the cells of one study, as far as there are any; of a design those of own numbers."""
    from bench.commands import results  # NumPy takes a moment, and workers import this file

    ordinary = [cell for cell in cells if cell.config.design is None]
    keys = {(cell_hash(cell.config), cell.config.arm_name) for cell in [*ordinary, *phases.own_numbers(cells)]}
    found = results.final_scores(study, keys)
    if any(row.n for row in found.rows):
        print(found.text(f"{_next('bench', 'results', study)} all=true"))


def _next(module: str, verb: str, study: Path) -> str:
    """Return a command about the study in a folder."""
    results = [] if study.parent == Path("results") else [f"results={study.parent}"]
    return shlex.join(["python", "-m", module, *([verb] if verb else []), f"study={study.name}", *results])
