"""Result folders: what a study planned, and its blocks, each read whole or with the reason why not."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bench import packs
from bench.errors import UserError, unknown
from bench.observer import EXACT
from bench.records import block as blocks
from bench.records.files import Damaged, OtherSchema
from bench.records.index import STUDY, Index
from bench.records.scores import final_scores, is_exact
from bench.records.tables import CURVES, TRAINING
from bench.verdicts import metrics

COLUMNS: Mapping[str, tuple[str, ...]] = {
    CURVES: ("seed", "step", "mode", "episodes", "return", "return_variance", "length", "length_variance"),
    TRAINING: ("seed", "step", "update"),
}
# By column of the curves, the prefixes of its final score and of the same normalised: what was paid, and on tasks
# where that is not what was meant, what it is worth.
SCORES: Mapping[str, tuple[str, str]] = {
    "return": ("final", "normalised"),
    "true_return": ("true_final", "true_normalised"),
}


@dataclass(frozen=True)
class Problem:
    """A file that could not be used: its path below the results folder, and the cause."""

    path: str
    cause: str

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}"


@dataclass(frozen=True)
class LoadedBlock:
    """One block as read: its record, the status of each seed, and where it has finished its rows.

    Attributes:
        scores: by seed, its final scores, such as `final_stochastic`; see `SCORES`.
        exact_scores: the same from exact returns; None where not every evaluation has them.
        measured: by seed, what its evaluations come to; see `bench.verdicts.metrics`.
        exact_measured: the same from exact returns.
    """

    study: str
    path: str
    record: Mapping[str, Any]
    statuses: Mapping[int, str]
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    scores: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    exact_scores: Mapping[int, Mapping[str, float]] | None = None
    measured: metrics.Seeds = field(default_factory=dict)
    exact_measured: metrics.Seeds = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedCell:
    """A cell a study planned; of a design of settings, with its stratum, and numbers of runs in place of seeds."""

    study: str
    task: str
    arm: str
    hash: str
    seeds: tuple[int, ...]
    design: str = ""
    stratum: str = ""
    seed_pool: str = ""


def study_folder(root: Path, name: str) -> Path:
    """The folder of a study below `root`. Raises `UserError`, with the studies there are, if it does not exist."""
    found = (path for path in root.glob("[!.]*") if path.is_dir())
    existing = sorted(path.name for path in found if _is_study(path))
    if not existing:
        raise UserError(f"study={name}: {root} has no results yet; 'python -m bench study=quick' makes some")
    if name not in existing:
        raise unknown("study", name, existing)
    return root / name


def _is_study(folder: Path) -> bool:
    """Whether it has a plan, or blocks, be they packed."""
    parts = (folder / part for part in (blocks.RUNS, blocks.LAB))
    return (folder / STUDY.file).exists() or any(part.exists() or packs.children(part) for part in parts)


def plan(folder: Path, root: Path, problems: list[Problem]) -> tuple[Mapping[str, Any], list[PlannedCell]]:
    """The study's own file: its header and its planned cells. Cells run by hand have no such file."""
    header = planned(STUDY, folder, root, problems)
    cells = [
        PlannedCell(
            folder.name,
            cell["task"],
            cell["arm"],
            cell["hash"],
            tuple(cell["seeds"]),
            cell.get("design", ""),
            cell.get("stratum", ""),
            cell.get("seed_pool", ""),
        )
        for cell in header["cells"]
    ]
    return header, cells


def planned(index: Index, folder: Path, root: Path, problems: list[Problem]) -> Mapping[str, Any]:
    """An index of a study; one without cells where it cannot be used, which is added to `problems`.

    Raises:
        UserError: where another version wrote it.
    """
    try:
        return index.load(folder)
    except OtherSchema as error:
        raise UserError(f"{folder / index.file}: {error}") from error
    except Damaged as error:
        problems.append(Problem(str((folder / index.file).relative_to(root)), f"unusable: {error}"))
        return {"cells": []}


def read_blocks(folder: Path, root: Path, problems: list[Problem]) -> list[LoadedBlock]:
    """Every block below a study's folder; what cannot be used is added to `problems` and stands for damaged seeds."""
    paths, foreign = blocks.walk(folder)
    problems += [Problem(str(path.relative_to(root)), "foreign file, not a block") for path in foreign]
    with ThreadPoolExecutor() as pool:  # reading and unpacking happen outside of Python
        found = list(pool.map(lambda path: _read_block(folder.name, path, str(path.relative_to(root))), paths))
    problems += [problem for _, problem in found if problem is not None]
    return [block for block, _ in found]


def _read_block(study: str, path: Path, name: str) -> tuple[LoadedBlock, Problem | None]:
    try:
        found = blocks.load(path)
        loaded = LoadedBlock(study, name, found.record, _statuses(found.record))
        if not found.finished:
            return loaded, None
        if "done" not in loaded.statuses.values():
            return replace(loaded, measured=dict.fromkeys(loaded.statuses)), None
        kept = {file: columns for file, columns in COLUMNS.items() if file not in found.left_out}
        tables = {file: blocks.table(found, file, columns) for file, columns in kept.items()}
        curves, budget = tables[CURVES], found.record["budget"]
        played, problem = _episodes(found, name)
        loaded = replace(
            loaded,
            tables=tables,
            scores=_scores(curves, budget),
            measured=metrics.of_block(found, curves, played, exact=False),
        )
        if is_exact(curves):
            exact = metrics.of_block(found, curves, None, exact=True)
            loaded = replace(loaded, exact_scores=_scores(curves, budget, EXACT), exact_measured=exact)
        return loaded, problem
    except Damaged as error:
        return _damaged_block(study, path, name), Problem(name, str(error))


def _episodes(found: blocks.Block, name: str) -> tuple[pa.Table | None, Problem | None]:
    """The single episodes that the metrics of a block need, and the problem where these cannot be used."""
    try:
        return metrics.episodes(found), None
    except Damaged as error:
        return None, Problem(name, f"its curves are used, its episodes are not: {error}")


def _scores(curves: pa.Table, budget: int, prefix: str = "") -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for column, (final, _) in SCORES.items():
        if column in curves.column_names:
            for (seed, mode), score in final_scores(curves, budget, f"{prefix}{column}").items():
                found.setdefault(seed, {})[f"{final}_{mode}"] = score
    return found


def _statuses(record: Mapping[str, Any]) -> dict[int, str]:
    """The status of each seed. A block that is running has none that is done; one that has ended, none that goes on."""
    unfinished = "failed" if record["status"] == "failed" else "unfinished"
    found = {int(seed): str(outcome["status"]) for seed, outcome in record["seeds"].items()}
    if record["status"] == "running":
        return dict.fromkeys(found, "unfinished")
    return {seed: unfinished if status == "running" else status for seed, status in found.items()}


def frame(block: blocks.Block, file: str, columns: Collection[str]) -> pd.DataFrame:
    """One of a block's tables. Raises `Damaged`."""
    table: pd.DataFrame = blocks.table(block, file, columns).to_pandas()
    return table


def _damaged_block(study: str, path: Path, name: str) -> LoadedBlock:
    """A stand-in for a block that cannot be read: what its folder's name says."""
    cell, seeds = blocks.cell_of(path), blocks.seeds_of(path.name)
    if cell is None or seeds is None:
        return LoadedBlock(study, name, {}, {})
    record = {"task": path.parent.parent.name, "arm": cell[0], "hash": cell[1]}
    return LoadedBlock(study, name, record, dict.fromkeys(seeds, "damaged"))
