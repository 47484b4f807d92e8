"""The command line: `python -m bench`."""

import itertools
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import plugin
from bench.errors import RunWarning, UserError, nearest, unknown
from bench.records.provenance import COMMAND, THREADS

USAGE = """\
Trains arms of policy-gradient methods, many seeds at a time, and records what happened below results/.

python -m bench [KEY=VALUE ...]     train one cell; several values (KEY=A,B) train every combination
python -m bench [...] dry_run=true  what there is to train, and how long it will take; or retry=failed
python -m bench study=NAME [...]    train a study's cells that are not done
python -m bench list                factors and their options, presets, tasks, studies
python -m bench status study=NAME   what is done, running, failed or missing
python -m bench rerun RUN_DIR       train a block again, beside the results, and compare the numbers
python -m bench verify RESULTS      hold files against their checksums and train a random block again
python -m bench enjoy RUN_DIR [seed=3]       an episode as an animation, or as text
python -m bench wandb-sync study=NAME        what Weights & Biases does not have yet
python -m bench lab study=NAME      bias and variance of every estimator against ground truth
python -m bench speed               this suite and its peers, side by side
python -m bench --cfg job [...]     print the composed configuration; --hydra-help for Hydra's other flags

For example: python -m bench baseline=none,critic advantage=gae task=weekly_exam seeds=5 budget=20000
Then `python -m analysis study=NAME` writes the report; without study=NAME runs go to the study adhoc."""
FLAGS = (  # of Hydra's, that are of use here
    "--hydra-help", "--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i", "--run", "-r", "--multirun", "-m",
    "--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--shell-completion", "-sc",
    "--experimental-rerun",
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run a command line; the exit code: 0, 1 where a cell failed, 2 for a mistake in what was asked for."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before NumPy and torch are loaded, here and in the workers
        os.environ[name] = str(THREADS)
    os.environ[COMMAND] = shlex.join(["python", "-m", "bench", *arguments])
    try:
        return _dispatch(list(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("interrupted: what is done is kept, the same command goes on from there", file=sys.stderr)
        return 128 + getattr(interrupt, "signal", signal.SIGINT)


def _dispatch(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    asks_for_help = bool({"-h", "--help"} & set(arguments))
    if first == "help" or (asks_for_help and first not in _COMMANDS):
        print(USAGE)
        return 0
    if first == "--version":
        print(f"policy-gradient-bench {version('policy-gradient-bench')}")
        return 0
    if first in _COMMANDS:
        if asks_for_help and first != "lab":
            print("\n".join(line for line in USAGE.splitlines() if line.startswith(f"python -m bench {first} ")))
            return 0
        return _COMMANDS[first](arguments[1:])
    _check_signs(arguments)
    if first and "=" not in first and not first.startswith(("-", "~")):
        raise unknown("command", first, _COMMANDS)
    return _train(arguments)


def _check_signs(arguments: Sequence[str]) -> None:
    """Refuse what Hydra would answer with its own usage: spaces around a sign, flags it does not have."""
    for first, second in itertools.pairwise(arguments):
        if second.startswith("=") and "=" not in first:
            raise UserError(f"'{first} {second}': write KEY=VALUE without spaces, such as baseline=group")
    for argument in arguments:
        flag = argument.partition("=")[0]
        if flag.startswith("-") and flag not in FLAGS:
            hint = nearest(flag, FLAGS) or f"; settings have no dashes: {flag.lstrip('-')}=VALUE"
            raise UserError(f"unknown flag '{flag}' ('python -m bench --help' shows them){hint}")


def _list(arguments: Sequence[str]) -> int:
    from bench.cells.catalogue import catalogue

    if arguments:
        raise UserError(f"list takes no arguments, not {arguments[0]!r}")
    print(catalogue())
    return 0


def _status(arguments: Sequence[str]) -> int:
    from bench.commands.status import status
    from bench.design import record

    given = _settings("status", arguments, study="", results="results")
    text, intact = status(Path(given["results"]), given["study"])
    print(text)
    if (tuning := record.summary(Path(given["results"]) / given["study"])) is not None:
        print(tuning)
    return 0 if intact else 2


def _settings(command: str, arguments: Sequence[str], **given: str) -> dict[str, str]:
    """The KEY=VALUE arguments of a command over its defaults. Raises `UserError`."""
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in given:
            raise unknown(f"argument of {command}", argument, [f"{name}=…" for name in given])
        given[key] = value
    return given


def _number(key: str, value: str) -> int:
    if not value.isdigit():
        raise UserError(f"{key}={value}: must be a whole number of at least 0")
    return int(value)


def _rerun(arguments: Sequence[str]) -> int:
    from bench.commands.rerun import rerun

    if not arguments or "=" in arguments[0]:
        raise UserError("rerun: give the folder of one block, such as results/quick/runs/cartpole/…/seeds-000-009")
    plugin.import_modules(_settings("rerun", arguments[1:], plugins="")["plugins"])
    again = rerun(Path(arguments[0]))
    print(again.path)
    if again.put_back:
        print(f"put back in {arguments[0]}: {', '.join(again.put_back)}")
    if again.still_out:
        print(f"not the bytes that were recorded, so only in the folder above: {', '.join(again.still_out)}")
    return _say_agreement(again.agrees)


def _say_agreement(agrees: Mapping[str, bool]) -> int:
    for name, same in agrees.items():
        print(f"{name}: {'the same bytes' if same else 'DIFFERENT'}")
    return 0 if all(agrees.values()) else 1


def _verify(arguments: Sequence[str]) -> int:
    from bench.commands import verify

    if not arguments or "=" in arguments[0]:
        raise UserError("verify: give a results folder, a study's or a block's, such as results/quick")
    given = _settings("verify", arguments[1:], rerun="1", plugins="")
    plugin.import_modules(given["plugins"])
    again = _number("rerun", given["rerun"])
    found = verify.verify(Path(arguments[0]))
    for problem in found.problems:
        print(f"problem: {problem}")
    print(
        f"{_count(len(found.finished), 'finished block')}, {found.unfinished} unfinished, "
        f"{_count(len(found.problems), 'problem')} with their files"
    )
    for what, number in verify.left_out(found.finished).items():
        print(f"{what} left out of {_count(number, 'block')}; 'python -m bench rerun BLOCK' makes them again")
    able = [block for block in found.finished if verify.is_trainable(block)]
    if again and len(able) < len(found.finished):
        print(
            f"{_count(len(found.finished) - len(able), 'block')} held to a policy that is not here: not trained again"
        )
    agree = 0
    for block in verify.pick(able, again):
        print(f"training {block.path} again", file=sys.stderr)
        agrees = verify.train_again(block)
        print(f"{block.path} trained again:")
        agree = max(agree, _say_agreement(agrees))
    return 1 if found.problems else agree


def _enjoy(arguments: Sequence[str]) -> int:
    from bench.commands.enjoy import enjoy

    if not arguments or "=" in arguments[0]:
        raise UserError("enjoy: give the folder of one block, such as results/quick/runs/cartpole/…/seeds-000-009")
    given = _settings("enjoy", arguments[1:], seed="", episode="0", mode="deterministic", format="gif", plugins="")
    plugin.import_modules(given["plugins"])
    seed = _number("seed", given["seed"]) if given["seed"] else None
    path, total = enjoy(Path(arguments[0]), seed, _number("episode", given["episode"]), given["mode"], given["format"])
    print(f"return {total:.6g}: {path}")
    return 0


def _wandb_sync(arguments: Sequence[str]) -> int:
    from bench.records import mirror

    given = _settings("wandb-sync", arguments, study="", results="results", wandb="online")
    if given["wandb"] not in ("online", "offline"):
        raise unknown("wandb", given["wandb"], ["online", "offline"])
    made, there, folder = mirror.sync(Path(given["results"]), given["study"], upload=given["wandb"] == "online")
    print(f"{_count(made, 'run')} written, {there} there before: {folder}")
    return 0


def _lab(arguments: Sequence[str]) -> int:
    from bench.commands import lab as command

    return command.main(arguments)


def _speed(arguments: Sequence[str]) -> int:
    from bench import speed

    return speed.main(arguments)


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "list": _list,
    "status": _status,
    "rerun": _rerun,
    "verify": _verify,
    "enjoy": _enjoy,
    "wandb-sync": _wandb_sync,
    "speed": _speed,
    "lab": _lab,
}


class SweepFailed(Exception):
    """Some cells failed, and have been listed. Hydra hands no return value on, so this carries the exit code."""


def _train(arguments: list[str]) -> int:
    """Hand the command line to Hydra, whose sweeper calls `sweep`. Raises `UserError`."""
    import hydra

    from bench.cells.composition import explained
    from bench.paths import CONF

    if any(argument.startswith("hydra.mode=") for argument in arguments):
        raise UserError("hydra.mode: cannot be chosen; one cell is a sweep of one, several values are a sweep of all")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come back here instead of being printed
    if not any(argument.startswith("-") for argument in arguments):
        arguments = ["--multirun", *arguments]  # one cell is a sweep of one: the same checks, display and exit codes
    before, sys.argv = sys.argv, ["bench", *arguments]
    try:
        with explained():
            hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(run_cell)()
    except SweepFailed:
        return 1
    finally:
        sys.argv = before
    return 0


def run_cell(cfg: Any) -> Any:
    """One job of a sweep, in a worker: tells of failures instead of raising them, for its neighbours' sake."""
    from hydra.core.hydra_config import HydraConfig

    from bench import interruption
    from bench.cells.composition import settings_of
    from bench.execution.execute import run
    from bench.execution.launch import Outcome

    error, stopped = None, None
    with interruption.heeding(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunWarning)
        try:
            if (asked := interruption.asked()) is not None:
                raise interruption.Interrupted(asked)
            run(settings_of(cfg), HydraConfig.get().overrides.task)
        except interruption.Interrupted as interrupt:
            stopped = str(interrupt)
        except Exception as raised:  # whatever training raises: the other cells go on
            error = f"{type(raised).__name__}: {raised}".splitlines()[0]
    texts = dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, RunWarning))
    return Outcome(error, tuple(texts), stopped)


def sweep(config: Any, arguments: Sequence[str], load: Callable[..., Any], launch: Callable[..., Any]) -> None:
    """Plan the cells of a command line, run those that are not done, and say how it went.

    `config` is what Hydra composed; its `load` composes one cell from overrides, its `launch` runs a list of them.

    Raises:
        UserError: before anything starts, for the first thing that is wrong.
        SweepFailed: at the end, where cells failed.
        Interrupted: where a signal asked to stop, after what was being trained is saved.
    """
    from rich.console import Console

    from bench.cells import grids as plan
    from bench.cells.composition import job, plan_studies
    from bench.design import phases
    from bench.execution import dry_run as estimate
    from bench.execution import launch as sweep
    from bench.execution import progress

    cells = plan_studies(arguments, lambda overrides: load(config, overrides))
    if any(cell.config.dry_run for cell in cells):
        print(estimate.dry_run(phases.dry_cells(cells), _processes(config)))
        return

    def launch_cells(cells: Sequence[plan.Cell]) -> list[sweep.Outcome]:
        return [_outcome(ended) for ended in launch([job(cell) for cell in cells], initial_job_idx=0)]

    def how_long(todo: Sequence[sweep.Job]) -> str:
        return estimate.how_long(todo, _processes(config))

    display = progress.Display(Console(stderr=True))
    _conclude(phases.run(cells, lambda cells: sweep.sweep(cells, launch_cells, display, how_long), display.say))


def _processes(config: Any) -> int | None:
    """How many cells the launcher runs at once; None where that is the cluster's affair."""
    launcher = config.hydra.launcher
    if launcher.get("n_jobs") is None:
        return 1 if "BasicLauncher" in launcher._target_ else None
    return int(launcher.n_jobs) if launcher.n_jobs > 0 else os.cpu_count() or 1


def _conclude(report: Any) -> None:
    """Print how a sweep ended. Raises `SweepFailed`."""
    for line in report.warnings:
        print(f"warning: {line}", file=sys.stderr)
    for line in report.failures:
        print(f"failed: {line}", file=sys.stderr)
    counts = [_count(report.cells, "cell")]
    if report.skipped:
        counts.append(f"{report.skipped} of them done before")
    if report.elsewhere:
        counts.append(f"{report.elsewhere} still in training by another process")
    print(f"{', '.join([*counts, _count(len(report.failures), 'failure')])}: {report.directory}", flush=True)
    if report.failures:
        raise SweepFailed
    if not report.elsewhere:
        results = "" if report.directory.parent == Path("results") else f" results={report.directory.parent}"
        print(f"next: python -m analysis study={report.directory.name}{results}", file=sys.stderr)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _outcome(job: Any) -> Any:
    """What a Hydra job returned, or why there is nothing: it may have failed before `run_cell` was called."""
    from bench.execution.launch import Outcome

    try:
        return job.return_value
    except Exception as error:  # what the launcher raised in the job's place
        return Outcome(error=f"{type(error).__name__}: {error}".splitlines()[0])
