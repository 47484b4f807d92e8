"""The index of a study: which cells were planned, and where they lie.

`status` and the analysis read this file and the records it leads to, and look for nothing else.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError, unknown
from bench.records import files
from bench.records.block import cell_directory, study_directory

INDEX = "study.json"
SCHEMA = 1
ATTEMPTS = 10  # at being the last to write it

Entry = Mapping[str, Any]  # task, arm, hash, seeds, path: a planned cell


def update(configs: Sequence[Config]) -> None:
    """Add the cells of one study to its index; cells planned before stay, with the seeds of both.

    Raises:
        UserError: where the folder cannot be written, or its index is damaged.
    """
    study = study_directory(configs[0])
    try:
        for _ in range(ATTEMPTS):
            with files.locked(study):
                index = _merged(read(study), configs, study)
                files.write_json(study / INDEX, index)
            # Where locks do not work, another machine may have replaced it just now.
            if _merged(read(study), configs, study) == read(study):
                return
    except OSError as error:
        raise UserError(f"results={configs[0].results}: cannot write {error.filename}: {error.strerror}") from error


def _merged(index: Mapping[str, Any], configs: Sequence[Config], study: Path) -> dict[str, Any]:
    """An index that also has these cells."""
    cells = {(cell["hash"], cell["arm"]): dict(cell) for cell in index["cells"]}
    paths = {cell["hash"]: cell["path"] for cell in cells.values()}
    for config in configs:
        key = (cell_hash(config), config.arm_name)
        if cell_hash(config) not in paths:  # one cell may have two labels
            paths[cell_hash(config)] = cell_directory(config).relative_to(study).as_posix()
        known = cells.get(key, {"seeds": []})
        cells[key] = _entry(config, paths[cell_hash(config)], {*config.seeds, *known["seeds"]})
    return _header(configs[0]) | {"cells": list(cells.values())}


def study_folder(results: Path, study: str) -> Path:
    """The folder of a study that was run. Raises `UserError`, with the studies there are, where there is none."""
    studies = sorted(path.parent.name for path in results.glob(f"*/{INDEX}"))
    if not studies:
        raise UserError(f"no study in {results} yet: 'python -m bench study=quick' makes one")
    if not study:
        raise UserError(f"which study? Give study=NAME: {results} has {', '.join(studies)}")
    if study not in studies:
        raise unknown(f"study in {results}", study, studies)
    return results / study


def read(study: Path) -> dict[str, Any]:
    """A study's index; one without cells where nothing was planned. Raises `UserError` for a damaged one."""
    path = study / INDEX
    if not path.exists():
        return {"cells": []}
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if index["schema"] != SCHEMA:
            raise ValueError(f"schema {index['schema']}")
        for cell in index["cells"]:
            cell["task"], cell["arm"], cell["hash"], cell["seeds"], cell["path"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"damaged index {path} ({type(error).__name__}: {error}); nothing was changed") from error
    return index


def _header(config: Config) -> dict[str, Any]:
    study = config.study
    return {"schema": SCHEMA, "name": study.name, "title": study.title, "control": study.control}


def _entry(config: Config, path: str, seeds: Iterable[int]) -> dict[str, Any]:
    return {
        "task": config.task.name,
        "arm": config.arm_name,
        "hash": cell_hash(config),
        "seeds": sorted(seeds),
        "path": path,
    }
