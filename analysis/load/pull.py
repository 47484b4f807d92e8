"""From Weights & Biases back to result folders: what the mirror holds, as blocks that the analysis reads like others.

The mirror has one run per seed. Its configuration is the seed's factors, all settings and the block's record. Its
history has a row per evaluation, with the means of the updates since the one before. Its summary is how the seed ended.
Single episodes and single updates are not sent, so they do not come back. The mirror says how many rows it sent: of a
run that has fewer, what is there comes back, and the seed counts as unfinished.
"""

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from analysis.load.blocks import Problem
from bench.errors import UserError, first_line
from bench.observer import EXACT
from bench.records import block as blocks
from bench.records import mirror, summaries
from bench.records.fields import DESIGN, wrong_with
from bench.records.files import LOCK, WRITING, refuse_full_disk, shown
from bench.records.index import DESIGNS, STUDY
from bench.records.metrics import DRAWDOWN, HALVES
from bench.records.recorder import OWN
from bench.records.tables import CURVES, TRAINING, write_rows
from bench.records.wandb_client import Client, check_timeout

PROCESS = "bench.records.pull_process"
_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*")  # one part of a path, and not a hidden one
_HASH = re.compile(r"[0-9a-f]{8}")
_EVALUATED = re.compile(r"eval/(?P<mode>deterministic|stochastic)_(?P<name>\w+)")
_TEMPORARY = ".temporary"  # the folder of temporary files
_OUTCOME = ("status", "cause", "env_steps", "updates", "unused_budget", *summaries.KEYS, DRAWDOWN)


@dataclass(frozen=True)
class Run:
    """One seed's run, wherever it was read: `history` has one mapping per logged row."""

    name: str
    task: str
    arm: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]


@dataclass
class Pulled:
    """What was brought back: the study's folder, how much of it, and the runs that could not be used."""

    folder: Path
    runs: int = 0
    blocks: int = 0
    problems: list[Problem] = field(default_factory=list)


class _Foreign(Exception):
    """Why a run, or a row of it, cannot be used."""


@dataclass(frozen=True)
class _Taken:
    """What is used of a run: the record of its block as far as the run tells it, and the rows of its seed."""

    seed: int
    record: Mapping[str, Any]
    curves: list[dict[str, Any]]
    training: list[dict[str, Any]]


def pull(source: str, results: Path, study: str, timeout: float = 60.0) -> Pulled:
    """Bring the runs of a W&B project back as a study.

    Args:
        source: `entity/project` of a W&B server.
        results: the folder of all studies.
        study: name of the new study below `results`; a folder of that name is never touched.
        timeout: seconds without another run after which the rest is given up.

    Raises:
        UserError: where there is nothing to read, the server cannot be reached, or the study exists already.
    """
    pulled = Pulled(results / study)
    check_timeout(timeout)
    if not _NAME.fullmatch(study):
        raise UserError(f"study={study}: must be a name, not a path")
    if pulled.folder.exists():
        raise UserError(f"study={study}: {pulled.folder} exists already; give another name")
    beside = results / f".{study}.pull"
    try:
        _clear(beside)  # a killed process has left it
        beside.mkdir(parents=True)
        (beside / _TEMPORARY).mkdir()  # of W&B's client, which leaves files there where it is killed
        try:
            runs = _runs(source, beside / _TEMPORARY, timeout, pulled.problems)
            _write(runs, beside, pulled, f"Pulled from {source}")
        except UserError:
            refuse_full_disk(beside / _TEMPORARY / "room")
            raise
        if not pulled.runs:
            reason = pulled.problems[0] if pulled.problems else "it has no runs"
            raise UserError(f"{source}: none of its runs can be used ({reason})")
        shutil.rmtree(beside / _TEMPORARY, ignore_errors=True)
        beside.rename(pulled.folder)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or results}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            _clear(beside)
    return pulled


def _clear(folder: Path) -> None:
    """Remove a folder with the files that a pull writes. Raises `OSError` where there are others in it."""
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, and links are not followed", str(folder))
    shutil.rmtree(folder / _TEMPORARY, ignore_errors=True)
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            if name.removeprefix(WRITING) in (*OWN, STUDY.file, LOCK):
                os.unlink(Path(place) / name)
        os.rmdir(place)


def _runs(source: str, temporary: Path, timeout: float, problems: list[Problem]) -> Iterator[Run]:
    """The runs of a project with every row of their history; those that cannot be read are added to `problems`.

    Raises:
        UserError: where none is.
    """
    if Path(source).is_dir():
        raise UserError(f"{source}: offline runs; send them first: python -m bench wandb-sync study=NAME")
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", source):
        raise UserError(f"'{source}': must be entity/project")
    console = Console(stderr=True)
    client = Client(PROCESS, [[source, timeout]], temporary)
    try:
        with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
            yield from _heard(client, source, timeout, problems, progress)
    finally:
        client.close()


def _heard(client: Client, source: str, timeout: float, problems: list[Problem], progress: Progress) -> Iterator[Run]:
    """What the process that reads them says, as long as it says something."""
    shown, total, read = progress.add_task("reading runs", total=None), 0, 0
    trouble: str | None = None
    is_done = False
    until = time.monotonic() + timeout
    while client.talks and trouble is None:
        for said in client.heard(0.2):
            until = time.monotonic() + timeout
            total, trouble, is_done = said.get("total", total), said.get("trouble"), "done" in said
            progress.update(shown, total=total or None)
            if "run" in said:
                read += 1
                progress.advance(shown)
                run = said["run"]
                if "unread" in run:
                    problems.append(Problem(run["name"], f"not read: {run['unread']}"))
                else:
                    yield Run(**{**run, "history": tuple(run["history"])})
        if time.monotonic() > until:
            trouble = f"no answer within {timeout:g} seconds"
    if not is_done:
        trouble = trouble or client.last_words()
        if not read:
            raise UserError(f"{source}: {' '.join(trouble.split())}")
        problems.append(Problem(source, f"{total - read} of its {total} runs were not read: {trouble}"))


def _write(runs: Iterable[Run], folder: Path, pulled: Pulled, title: str) -> None:
    """Write the runs as blocks: those of one cell that were trained together are one."""
    together: dict[str, dict[int, _Taken]] = {}
    for run in runs:
        try:
            taken = _taken(run, pulled)
        except _Foreign as error:
            pulled.problems.append(Problem(run.name, str(error)))
            continue
        block = {key: value for key, value in _without_settings(taken.record).items() if key != "seeds"}
        together.setdefault(json.dumps(block, sort_keys=True), {})[taken.seed] = taken
    cells: dict[str, dict[str, Any]] = {}
    designs: dict[str, Any] = {}
    for seeds in together.values():
        record = _together(seeds, pulled.folder.name)
        path = f"runs/{record['task']}/{record['arm']}-{record['hash']}"
        place = _place(folder / path, list(seeds))
        try:
            _write_block(place, record, seeds)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a number that no column holds
            pulled.problems.append(Problem(str(place.relative_to(folder)), f"not written: {first_line(error)}"))
            _clear(place)
            continue
        cell = cells.setdefault(path, {key: record[key] for key in ("task", "arm", "hash")} | {"seeds": []})
        cell |= {"seeds": sorted({*cell["seeds"], *seeds}), "path": path}
        if DESIGN in record:
            cell |= {DESIGN: record[DESIGN]["name"], "stratum": record[DESIGN]["stratum"]}
            designs[record[DESIGN]["name"]] = record[DESIGN]["plan"]
        pulled.runs, pulled.blocks = pulled.runs + len(seeds), pulled.blocks + 1
    header = {"name": pulled.folder.name, "title": title, "control": None, **({DESIGNS: designs} if designs else {})}
    STUDY.update(folder, lambda _: header | {"cells": list(cells.values())})


def _place(cell: Path, seeds: list[int]) -> Path:
    """A folder for a block of these seeds that is not there yet."""
    place, attempt = cell / blocks.seeds_name(seeds), 0
    while place.exists():
        attempt += 1
        place = cell / f"{blocks.seeds_name(seeds)}-retry-{attempt}"
    return place


def _taken(run: Run, pulled: Pulled) -> _Taken:
    """What is used of a run; what is odd in it, or missing, is added to the problems.

    Raises:
        _Foreign: where this suite did not mirror it.
    """
    config = run.config
    for key in ("hash", "seed", "study", "record"):
        if key not in config:
            raise _Foreign(f"not one of this suite's runs: no '{key}' in its configuration")
    seed, record = config["seed"], config["record"]
    if not isinstance(record, Mapping) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise _Foreign("its record or its seed is not what this suite writes")
    sent = config.get(mirror.SENT_KEY)
    if not isinstance(sent, Mapping) or not all(isinstance(sent.get(key), int) for key in ("points", "updates")):
        raise _Foreign("mirrored by an earlier version, which did not say how many rows it sent")
    if not _HASH.fullmatch(str(config["hash"])):
        raise _Foreign(f"hash {shown(config['hash'])}: not that of a cell")
    expected = mirror.id_of(config["hash"], seed, str(run.summary.get("block", "")))
    if run.name != expected and ("block" in run.summary or not run.name.startswith(expected)):
        raise _Foreign(f"not the run of its block, which is {expected}: another has taken its place")
    curves, training = _rows(run, seed, pulled.problems)
    told = {**{key: run.summary.get(key) for key in _OUTCOME}, HALVES: _halves(run)}
    outcome = told if "status" in run.summary else {"status": "running"}
    if (len(curves), len(training)) != (sent["points"], sent["updates"]):
        pulled.problems.append(
            Problem(
                run.name,
                f"seed {seed} counts as unfinished: W&B has {len(curves)} of the {sent['points']} points of its curves "
                f"and {len(training)} of the {sent['updates']} rows of its updates that were sent",
            )
        )
        outcome = {"status": "running"}
    found = _record(run, str(seed), outcome)
    for name in (found["task"], found["arm"]):
        if not _NAME.fullmatch(str(name)):
            raise _Foreign(f"task {shown(found['task'])}, arm {shown(found['arm'])}: not names of a cell")
    if wrong := wrong_with({**found, "study": pulled.folder.name}, measured=False):
        raise _Foreign(wrong)
    return _Taken(seed, found, curves, training)


def _record(run: Run, seed: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The `run.json` of a block of this seed alone; earlier versions told task and arm by what W&B groups by."""
    others = ("_wandb", "hash", "seed", "study", "record", "settings", mirror.SENT_KEY, mirror.RUN_KEY)
    factors = {key: value for key, value in run.config.items() if key not in others}
    named = {"schema": blocks.SCHEMA, "hash": run.config["hash"], "factors": factors, "seeds": {seed: dict(outcome)}}
    grouped = {"task": run.task, "arm": run.arm.removesuffix(f"-{run.config['hash']}")}
    return {**grouped, **run.config["record"], **named}


def _together(seeds: Mapping[int, _Taken], study: str) -> dict[str, Any]:
    """The `run.json` of a block, from its runs."""
    first = next(iter(seeds.values())).record
    outcomes = {seed: outcome for _, taken in sorted(seeds.items()) for seed, outcome in taken.record["seeds"].items()}
    found = {**first, "study": study, "seeds": outcomes}
    if DESIGN in first:
        settings = {key: own for taken in seeds.values() for key, own in taken.record[DESIGN]["settings"].items()}
        found |= {DESIGN: first[DESIGN] | {"settings": {key: settings[key] for key in sorted(settings, key=int)}}}
    return found


def _without_settings(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the runs of a block have in common: each run of a design tells its own setting alone."""
    return record if DESIGN not in record else {**record, DESIGN: {**record[DESIGN], "settings": None}}


def _halves(run: Run) -> Any:
    """The metrics from each half of the episodes; None where an earlier version, or somebody else, mirrored the run."""
    try:
        return json.loads(run.summary[HALVES])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _write_block(folder: Path, record: dict[str, Any], seeds: Mapping[int, _Taken]) -> None:
    folder.mkdir(parents=True)
    rows = {
        CURVES: [row for taken in seeds.values() for row in taken.curves],
        TRAINING: [row for taken in seeds.values() for row in taken.training],
    }
    blocks.write(folder, record, {name: partial(write_rows, name, rows[name]) for name in rows})


def _rows(run: Run, seed: int, problems: list[Problem]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the seed's curves and of its updates; those that are odd are added to the problems."""
    by_step: dict[int, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for number, row in enumerate(run.history):
        try:
            known = _numbers(row)
            found = _evaluated(seed, known), _updated(seed, known)
            if by_step.setdefault(known["step"], found) != found:
                raise _Foreign(f"it differs from an earlier row of step {known['step']}")
        except _Foreign as error:
            problems.append(Problem(run.name, f"row {number + 1} of its history is left out: {error}"))
    both = by_step.values()
    return [point for curves, _ in both for point in curves], [row for _, updates in both for row in updates]


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """What was logged in a row, all of it numbers; what is null was not. Raises `_Foreign`."""
    known = {key: _number(value) for key, value in row.items() if not key.startswith("_") and value is not None}
    for key, value in known.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _Foreign(f"'{key}' is {shown(value)}")
    for key in ("step", "update"):
        if key in known and not (float(known[key]).is_integer() and 0 <= known[key] < 2**62):
            raise _Foreign(f"'{key}' is {shown(known[key])}")
    if "step" not in known:
        raise _Foreign("it has no step")
    return known


def _updated(seed: int, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The means of the updates logged in a row, if there are any."""
    diagnostics = {key: value for key, value in row.items() if not key.startswith("eval/")}
    return [{"seed": seed, **diagnostics}] if "update" in diagnostics else []


def _evaluated(seed: int, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The evaluations logged in a row, one per mode. Nothing was logged as the variance of single episodes.

    Raises:
        _Foreign: where a part of one is missing.
    """
    by_mode: dict[str, dict[str, Any]] = {}
    for key, value in row.items():
        if found := _EVALUATED.fullmatch(key):
            mode, name = found["mode"], found["name"]
            point = by_mode.setdefault(mode, {"seed": seed, "step": row["step"], "mode": mode})
            point[name] = value
            if name != "episodes" and not name.startswith(EXACT) and not name.endswith("_variance"):
                point.setdefault(f"{name}_variance", None)
    for mode, point in by_mode.items():
        for name in ("episodes", "return", "length"):
            if name not in point:
                raise _Foreign(f"it has no eval/{mode}_{name}")
    return list(by_mode.values())


def _number(value: Any) -> Any:
    """W&B's JSON writes what is not finite as text."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
