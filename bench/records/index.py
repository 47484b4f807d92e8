"""The indexes of a study: JSON files in its folder that list what was planned, and where it lies.

`status` and the analysis read them and the records they lead to, and look for nothing else.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError, unknown
from bench.records import files
from bench.records.block import cell_directory, study_directory
from bench.records.files import SCHEMA, Damaged

ATTEMPTS = 10  # at being the last to write one

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Index:
    """A kind of index: the name of its file, the key of its list, and what every entry of that list has."""

    file: str
    entries: str
    keys: Mapping[str, type]

    def load(self, study: Path) -> dict[str, Any]:
        """The index in a study's folder; one without entries where nothing was planned. Raises `Damaged`."""
        if not (study / self.file).exists():
            return {self.entries: []}
        index = files.read_json(study / self.file)
        if not isinstance(index.get(self.entries), list):
            raise Damaged(f"no list '{self.entries}'")
        for entry in index[self.entries]:
            for key, kind in self.keys.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
                    raise Damaged(f"an entry of '{self.entries}' has no '{key}'")
        return index

    def read(self, study: Path) -> dict[str, Any]:
        """As `load`. Raises `UserError` for a damaged one."""
        try:
            return self.load(study)
        except Damaged as error:
            raise UserError(f"damaged index {study / self.file} ({error}); nothing was changed") from error

    def update(self, study: Path, merged: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Replace the index by what `merged` makes of the one that is there; any number of processes may do so at once.

        Raises:
            UserError: where the folder cannot be written, or the index is damaged.
        """
        try:
            for _ in range(ATTEMPTS):
                with files.locked(study):
                    files.write_json(study / self.file, self._with(merged, study))
                # Where locks do not work, another machine may have replaced it just now.
                if self.read(study) == self._with(merged, study):
                    return
        except OSError as error:
            raise UserError(f"results={study.parent}: cannot write {error.filename}: {error.strerror}") from error

    def _with(self, merged: Callable[[Mapping[str, Any]], Mapping[str, Any]], study: Path) -> dict[str, Any]:
        """What `merged` makes of the index, as it will be read back."""
        index: dict[str, Any] = json.loads(json.dumps({"schema": SCHEMA, **merged(self.read(study))}))
        return index


STUDY = Index(  # cells that are trained
    "study.json", "cells", {"task": str, "arm": str, "hash": str, "seeds": list, "path": str}
)
LAB = Index(  # stages that are measured
    "lab.json", "cells", {"task": str, "stage": str, "hash": str, "path": str}
)
TUNING = Index(  # arms that are tuned
    "tuning.json", "candidates", {"task": str, "arm": str, "seeds": list, "settings": int, "trials": list}
)


def plan(configs: Sequence[Config]) -> None:
    """Add the cells of one study to its index; cells planned before stay, with the seeds of both.

    Raises:
        UserError: where the folder cannot be written, or its index is damaged.
    """
    study = study_directory(configs[0])
    STUDY.update(study, lambda index: _merged(index, configs, study))


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
    header = configs[0].study
    return {"name": header.name, "title": header.title, "control": header.control, "cells": list(cells.values())}


def _entry(config: Config, path: str, seeds: Iterable[int]) -> dict[str, Any]:
    return {
        "task": config.task.name,
        "arm": config.arm_name,
        "hash": cell_hash(config),
        "seeds": sorted(seeds),
        "path": path,
    }


def study_folder(results: Path, study: str, indexes: Sequence[Index] = (STUDY,)) -> Path:
    """The folder of a study that has one of these indexes. Raises `UserError`, with the studies there are."""
    studies = sorted({path.parent.name for index in indexes for path in results.glob(f"*/{index.file}")})
    if not studies:
        raise UserError(f"no study in {results} yet: 'python -m bench study=quick' makes one")
    if not study:
        raise UserError(f"which study? Give study=NAME: {results} has {', '.join(studies)}")
    if study not in studies:
        raise unknown(f"study in {results}", study, studies)
    return results / study
