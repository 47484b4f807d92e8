"""From Weights & Biases back to result folders: what the mirror holds, as blocks that the analysis reads like others.

The mirror has one run per seed: its configuration is the seed's factors and the block's record, its history one row per
update and evaluation. Evaluations come back as the mean over their episodes, which is all it was sent.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from analysis.load.blocks import EVALUATIONS, SCHEMA, TRAINING, Problem
from bench.errors import UserError
from bench.records import block as blocks_on_disk
from bench.records import files
from bench.records.tables import write_rows

_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*")  # one part of a path, and not a hidden one
_HASH = re.compile(r"[0-9a-f]{8}")
_EVALUATED = re.compile(r"eval/(?P<mode>deterministic|stochastic)_(?P<name>\w+)")
_OUTCOME = ("status", "cause", "env_steps", "updates", "unused_budget")


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


T = TypeVar("T")


class _Foreign(Exception):
    """Why a run cannot be used."""


def pull(source: str, results: Path, study: str) -> Pulled:
    """Bring the runs of `source` back as the study `study` below `results`.

    Args:
        source: `entity/project` of a W&B server, or a folder of offline runs.
        results: the folder of all studies.
        study: name of the new study; a folder of that name is never touched.

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
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        _write(_runs(source, pulled.problems), beside, pulled, f"Pulled from {source}")
        if not pulled.runs:
            raise UserError(f"{source}: none of its runs is one of this suite's ({_first(pulled.problems)})")
        beside.rename(pulled.folder)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or results}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return pulled


def _first(problems: list[Problem]) -> str:
    return str(problems[0]) if problems else "it has no runs"


def _runs(source: str, problems: list[Problem]) -> Iterator[Run]:
    """The runs of a folder if there is one of that name, else of a server."""
    folder = Path(source)
    if folder.is_dir():
        return _offline(folder, problems)
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", source):
        raise UserError(f"'{source}': neither a folder nor entity/project")
    return _online(source)


def _progress(runs: Collection[T]) -> Iterable[T]:
    console = Console(stderr=True)
    return track(runs, "reading runs", len(runs), console=console, disable=not console.is_terminal, transient=True)


def _offline(folder: Path, problems: list[Problem]) -> Iterator[Run]:
    """Runs that W&B keeps in a folder, read by its own reader. Of several with one id, the last."""
    logs = {path.name: path for path in sorted(folder.glob("*run-*/*.wandb"))}
    with ThreadPoolExecutor(os.cpu_count()) as readers:
        for path, records in zip(_progress(logs.values()), readers.map(_read_log, logs.values()), strict=True):
            name = str(path.relative_to(folder))
            try:
                yield _from_log(name, records)
            except (_Foreign, KeyError, TypeError) as error:
                problems.append(Problem(name, str(error) or type(error).__name__))


def _read_log(path: Path) -> list[Mapping[str, Any]]:
    """The records of a transaction log; what could be read of one that is cut off."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines() if line.endswith("}")]


def _from_log(name: str, records: Iterable[Mapping[str, Any]]) -> Run:
    """A run from the records of its transaction log."""
    opened: Mapping[str, Any] = {}
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history = []
    for record in records:
        body = record.get(record["type"], {})
        if record["type"] == "run":
            opened = body
            config |= body.get("config", {}).get("update", {})
        elif record["type"] == "config":
            config |= body.get("update", {})
        elif record["type"] == "summary":
            summary |= body.get("update", {})
        elif record["type"] == "history":
            history.append(body["item"])
    if not opened:
        raise _Foreign("W&B's reader finds no run in it")
    return Run(name, str(opened.get("job_type", "")), str(opened.get("run_group", "")), config, summary, tuple(history))


def _online(source: str) -> Iterator[Run]:
    """Runs of a project on a server, with every row of their history."""
    import wandb  # seconds, which a report need not wait for

    try:
        for run in _progress(wandb.Api(timeout=60).runs(source, lazy=False)):
            history = tuple(dict(row) for row in run.scan_history(use_cache=False))
            yield Run(run.id, run.job_type or "", run.group or "", dict(run.config), dict(run.summary), history)
    except (wandb.Error, ValueError) as error:  # no key, no connection; no such project
        raise UserError(f"{source}: {' '.join(str(error).split())}") from error


def _write(runs: Iterable[Run], folder: Path, pulled: Pulled, title: str) -> None:
    """Write the runs as blocks: those of one cell that were trained together are one."""
    together: dict[str, dict[int, Run]] = {}
    for run in runs:
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
        _write_block(folder / path / f"seeds-{min(seeds):03d}-{max(seeds):03d}", record, seeds)
        cell = cells.setdefault(path, {key: record[key] for key in ("task", "arm", "hash")} | {"seeds": []})
        cell |= {"seeds": sorted({*cell["seeds"], *seeds}), "path": path}
        pulled.runs, pulled.blocks = pulled.runs + len(seeds), pulled.blocks + 1
    header = {"schema": SCHEMA, "name": pulled.folder.name, "title": title, "control": None}
    files.write_json(folder / "study.json", header | {"cells": list(cells.values())})


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
    return int(config["seed"])


def _record(seeds: Mapping[int, Run], study: str) -> dict[str, Any]:
    """The `run.json` of a block, from its runs; one without an outcome is unfinished."""
    first = next(iter(seeds.values()))
    others = ("_wandb", "hash", "seed", "study", "record")
    factors = {key: value for key, value in first.config.items() if key not in others}
    outcomes = {
        str(seed): {key: run.summary.get(key) for key in _OUTCOME} if "status" in run.summary else {"status": "running"}
        for seed, run in sorted(seeds.items())
    }
    named = {"schema": SCHEMA, "study": study, "task": first.task, "arm": first.arm, "hash": first.config["hash"]}
    return {**first.config["record"], **named, "factors": factors, "seeds": outcomes}


def _write_block(folder: Path, record: dict[str, Any], seeds: Mapping[int, Run]) -> None:
    folder.mkdir(parents=True)
    training, evaluations = [], []
    for seed, run in seeds.items():
        for row in run.history:
            known = {key: _number(value) for key, value in row.items() if not key.startswith("_")}
            diagnostics = {key: value for key, value in known.items() if not key.startswith("eval/")}
            training += [{"seed": seed, **diagnostics}] if "update" in diagnostics else []
            evaluations += _evaluated(seed, known)
    write_rows(TRAINING, training, folder / TRAINING)
    columns = ["seed", "step", "mode", "episode", "return", "length"]
    table = pd.DataFrame(evaluations, columns=None if evaluations else columns)
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), folder / EVALUATIONS)
    checksums = {path.name: files.sha256(path) for path in (folder / TRAINING, folder / EVALUATIONS)}
    files.write_json(folder / "run.json", blocks_on_disk.sealed(record | {"checksums": checksums}))


def _evaluated(seed: int, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The evaluations logged in a row: one per mode, the means over its episodes as one episode."""
    by_mode: dict[str, dict[str, Any]] = {}
    for key, value in row.items():
        if found := _EVALUATED.fullmatch(key):
            mode = found["mode"]
            by_mode.setdefault(mode, {"seed": seed, "step": row["step"], "mode": mode, "episode": 0})
            by_mode[mode][found["name"]] = value
    return list(by_mode.values())


def _number(value: Any) -> Any:
    """W&B's JSON writes what is not finite as text."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
