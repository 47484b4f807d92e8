"""From Weights & Biases back to result folders: what the mirror holds, as blocks that the analysis reads like others.

The mirror has one run per seed. Its configuration is the seed's factors, all settings and the block's record. Its
history has a row per evaluation, with the means of the updates since the one before. Its summary is how the seed ended.
Single episodes and single updates are not sent, so they do not come back.
"""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from analysis.load.blocks import Problem
from bench.errors import UserError
from bench.observer import EXACT
from bench.records import block as blocks
from bench.records import summaries
from bench.records.files import LOCK, WRITING, refuse_full_disk
from bench.records.index import STUDY
from bench.records.recorder import OWN
from bench.records.tables import CURVES, TRAINING, write_rows

_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*")  # one part of a path, and not a hidden one
_HASH = re.compile(r"[0-9a-f]{8}")
_EVALUATED = re.compile(r"eval/(?P<mode>deterministic|stochastic)_(?P<name>\w+)")
_TEMPORARY = ".temporary"  # the folder of temporary files
_OUTCOME = ("status", "cause", "env_steps", "updates", "unused_budget", *summaries.KEYS)


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
    """Why a run cannot be used."""


def pull(source: str, results: Path, study: str) -> Pulled:
    """Bring the runs of a W&B project back as a study.

    Args:
        source: `entity/project` of a W&B server.
        results: the folder of all studies.
        study: name of the new study below `results`; a folder of that name is never touched.

    Raises:
        UserError: where there is nothing to read, the server cannot be reached, or the study exists already.
    """
    pulled = Pulled(results / study)
    if not _NAME.fullmatch(study):
        raise UserError(f"study={study}: must be a name, not a path")
    if pulled.folder.exists():
        raise UserError(f"study={study}: {pulled.folder} exists already; give another name")
    beside = results / f".{study}.pull"
    try:
        _clear(beside)  # a killed process has left it
        beside.mkdir(parents=True)
        with _temporary_files(beside / _TEMPORARY):
            _write(_runs(source), beside, pulled, f"Pulled from {source}")
        if not pulled.runs:
            reason = pulled.problems[0] if pulled.problems else "it has no runs"
            raise UserError(f"{source}: none of its runs is one of this suite's ({reason})")
        shutil.rmtree(beside / _TEMPORARY)
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


@contextmanager
def _temporary_files(folder: Path) -> Iterator[None]:
    """Have temporary files made in `folder`: those of W&B's client, which stay where it is killed.

    Raises:
        OSError: where the body failed and the disk is full, whatever W&B's client says of it.
    """
    before = tempfile.tempdir
    folder.mkdir()
    tempfile.tempdir = str(folder.absolute())
    try:
        yield
    except UserError:
        refuse_full_disk(folder / "room")
        raise
    finally:
        tempfile.tempdir = before


def _runs(source: str) -> Iterator[Run]:
    """The runs of a project with every row of their history."""
    if Path(source).is_dir():
        raise UserError(f"{source}: offline runs; send them first: python -m bench wandb-sync study=NAME")
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", source):
        raise UserError(f"'{source}': must be entity/project")
    import wandb  # seconds, which a report need not wait for

    console = Console(stderr=True)
    quiet = not console.is_terminal
    try:
        runs = wandb.Api(timeout=60).runs(source, lazy=False)
        for run in track(runs, "reading runs", len(runs), console=console, disable=quiet, transient=True):
            history = tuple(dict(row) for row in run.scan_history(use_cache=False))
            yield Run(run.id, run.job_type or "", run.group or "", dict(run.config), dict(run.summary), history)
    except (wandb.Error, ValueError) as error:  # no key, no connection; no such project
        raise UserError(f"{source}: {' '.join(str(error).split())}") from error


def _write(runs: Iterable[Run], folder: Path, pulled: Pulled, title: str) -> None:
    """Write the runs as blocks: those of one cell that were trained together are one."""
    together: dict[str, dict[int, Run]] = {}
    for run in runs:
        run = replace(run, arm=run.arm.removesuffix(f"-{run.config.get('hash')}"))  # the group is a cell
        try:
            seed = _checked(run)
        except _Foreign as error:
            pulled.problems.append(Problem(run.name, str(error)))
            continue
        together.setdefault(json.dumps([run.task, run.arm, run.config["record"]], sort_keys=True), {})[seed] = run
    cells: dict[str, dict[str, Any]] = {}
    for seeds in together.values():
        record = _record(seeds, pulled.folder.name)
        path = f"runs/{record['task']}/{record['arm']}-{record['hash']}"
        _write_block(folder / path / blocks.seeds_name(list(seeds)), record, seeds)
        cell = cells.setdefault(path, {key: record[key] for key in ("task", "arm", "hash")} | {"seeds": []})
        cell |= {"seeds": sorted({*cell["seeds"], *seeds}), "path": path}
        pulled.runs, pulled.blocks = pulled.runs + len(seeds), pulled.blocks + 1
    header = {"name": pulled.folder.name, "title": title, "control": None}
    STUDY.update(folder, lambda _: header | {"cells": list(cells.values())})


def _checked(run: Run) -> int:
    """The seed of a run that this suite mirrored. Raises `_Foreign` for any other."""
    config = run.config
    for key in ("hash", "seed", "study", "record"):
        if key not in config:
            raise _Foreign(f"not one of this suite's runs: no '{key}' in its configuration")
    if not _NAME.fullmatch(run.task) or not _NAME.fullmatch(run.arm) or not _HASH.fullmatch(str(config["hash"])):
        raise _Foreign(f"task '{run.task}', arm '{run.arm}', hash '{config['hash']}': not names of a cell")
    if not isinstance(config["record"], Mapping) or not isinstance(config["seed"], int) or config["seed"] < 0:
        raise _Foreign("its record or its seed is not what this suite writes")
    if any(_EVALUATED.fullmatch(key) for row in run.history for key in row) and not any(
        key.endswith("_episodes") for row in run.history for key in row
    ):
        raise _Foreign("mirrored by an earlier version, which did not send how many episodes there were")
    return int(config["seed"])


def _record(seeds: Mapping[int, Run], study: str) -> dict[str, Any]:
    """The `run.json` of a block, from its runs; one without an outcome is unfinished."""
    first = next(iter(seeds.values()))
    others = ("_wandb", "hash", "seed", "study", "record", "settings")
    factors = {key: value for key, value in first.config.items() if key not in others}
    outcomes = {
        str(seed): {key: run.summary.get(key) for key in _OUTCOME} if "status" in run.summary else {"status": "running"}
        for seed, run in sorted(seeds.items())
    }
    named = {
        "schema": blocks.SCHEMA,
        "study": study,
        "task": first.task,
        "arm": first.arm,
        "hash": first.config["hash"],
    }
    return {**first.config["record"], **named, "factors": factors, "seeds": outcomes}


def _write_block(folder: Path, record: dict[str, Any], seeds: Mapping[int, Run]) -> None:
    folder.mkdir(parents=True)
    training, curves = [], []
    for seed, run in seeds.items():
        for row in run.history:
            known = {key: _number(value) for key, value in row.items() if not key.startswith("_")}
            diagnostics = {key: value for key, value in known.items() if not key.startswith("eval/")}
            training += [{"seed": seed, **diagnostics}] if "update" in diagnostics else []
            curves += _evaluated(seed, known)
    rows = {CURVES: curves, TRAINING: training}
    blocks.write(folder, record, {name: partial(write_rows, name, rows[name]) for name in rows})


def _evaluated(seed: int, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The evaluations logged in a row, one per mode. Nothing was logged as the variance of single episodes."""
    by_mode: dict[str, dict[str, Any]] = {}
    for key, value in row.items():
        if found := _EVALUATED.fullmatch(key):
            mode, name = found["mode"], found["name"]
            point = by_mode.setdefault(mode, {"seed": seed, "step": row["step"], "mode": mode})
            point[name] = value
            if name != "episodes" and not name.startswith(EXACT) and not name.endswith("_variance"):
                point.setdefault(f"{name}_variance", None)
    return list(by_mode.values())


def _number(value: Any) -> Any:
    """W&B's JSON writes what is not finite as text."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
