"""The indexes of a study: JSON files in its folder that list what was planned, and where it lies.

`status` and the analysis read them and the records they lead to, and look for nothing else.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import design
from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError, unknown
from bench.paths import refuse_links
from bench.records import files, provenance, shapes
from bench.records.block import cell_directory, study_directory
from bench.records.files import SCHEMA, SEAL, Damaged, is_intact, sealed
from bench.records.shapes import Shape, misfit

ATTEMPTS = 10  # at being the last to write one

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Index:
    """A kind of index: the name of its file, the key of its list, what every entry of that has, and its other keys.

    It is sealed with the checksum of its content. Those of earlier versions are not: they are read all the same.
    """

    file: str
    entries: str
    keys: Mapping[str, Shape]
    header: Mapping[str, Shape]

    def load(self, study: Path) -> dict[str, Any]:
        """The index in a study's folder; one without entries where nothing was planned. Raises `Damaged`."""
        if not os.path.lexists(study / self.file):
            return {self.entries: []}
        index = files.read_json(study / self.file)
        if SEAL in index and not is_intact(index):
            raise Damaged("it does not match its own checksum")
        index.pop(SEAL, None)
        if unknown := index.keys() - {"schema", self.entries, *self.header}:
            raise Damaged(f"it has an unknown entry {files.shown(min(unknown))}")
        if not isinstance(index.get(self.entries), list):
            raise Damaged(f"no list '{self.entries}'")
        if wrong := misfit(index, {}, self.header):
            raise Damaged(wrong)
        for entry in index[self.entries]:
            wrong = misfit(entry, self.keys) if isinstance(entry, dict) else f"it is {files.shown(entry)}"
            if wrong:
                raise Damaged(f"an entry of '{self.entries}': {wrong}")
        return index

    def is_sealed(self, study: Path) -> bool:
        """Whether a damage of the index in a study's folder would be seen. Raises `Damaged`."""
        return not os.path.lexists(study / self.file) or SEAL in files.read_json(study / self.file)

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
            refuse_links(study / self.file, 2)
            for _ in range(ATTEMPTS):
                with files.locked(study):
                    files.write_json(study / self.file, sealed(self._with(merged, study)))
                # Where locks do not work, another machine may have replaced it just now.
                if self.read(study) == self._with(merged, study):
                    return
        except OSError as error:
            where = error.filename or study / self.file
            raise UserError(f"results={study.parent}: cannot write {where}: {error.strerror}") from error

    def _with(self, merged: Callable[[Mapping[str, Any]], Mapping[str, Any]], study: Path) -> dict[str, Any]:
        """What `merged` makes of the index, as it will be read back."""
        index: dict[str, Any] = json.loads(json.dumps({"schema": SCHEMA, **merged(self.read(study))}))
        return index


_OF_CELL = {"task": shapes.name, "hash": shapes.matching("[0-9a-f]{8}"), "path": shapes.folder}
DESIGNS = "designs"  # entry of a study with designs of settings
_OF_STUDY = {
    "name": shapes.name,
    "title": shapes.prose,
    "control": shapes.optional(shapes.name),
    DESIGNS: shapes.mapped(shapes.mapped(shapes.anything)),
}

STUDY = Index(  # cells that are trained
    "study.json", "cells", {**_OF_CELL, "arm": shapes.name, "seeds": shapes.seeds}, _OF_STUDY
)
LAB = Index(  # stages that are measured
    "lab.json", "cells", {**_OF_CELL, "stage": shapes.name}, _OF_STUDY
)
TUNING = Index(  # arms that were tuned before there were designs; read, and written no more
    "tuning.json",
    "candidates",
    {
        "task": shapes.name,
        "arm": shapes.name,
        "seeds": shapes.seeds,
        "settings": shapes.whole,
        "trials": shapes.listed(shapes.mapped(shapes.anything)),
    },
    {"design": shapes.mapped(shapes.anything)},
)
INDEXES = (STUDY, LAB, TUNING)


def plan(configs: Sequence[Config]) -> None:
    """Add the cells of one study to its index; cells planned before stay, with the seeds of both.

    Raises:
        UserError: where the folder cannot be written, its index is damaged, or a name holds a secret.
    """
    study, header = study_directory(configs[0]), configs[0].study
    named = {text for config in configs for text in (config.task_name, config.arm_name)}
    provenance.refuse_secrets("\n".join((header.name, header.title, header.control or "", *sorted(named))))
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
    found = {"name": header.name, "title": header.title, "control": header.control, "cells": list(cells.values())}
    designs = {**index.get(DESIGNS, {}), **_designs(configs)}
    return found | ({DESIGNS: designs} if designs else {})


def refuse_changed(configs: Sequence[Config]) -> None:
    """Refuse a design of settings that is not what its study has planned under its name. Raises `UserError`."""
    studies = {study_directory(config): config.study.name for config in configs if config.design is not None}
    for study in studies:
        planned = STUDY.read(study).get(DESIGNS, {})
        for name, given in _designs([config for config in configs if study_directory(config) == study]).items():
            if what := design.changed(planned.get(name, given), given):
                raise UserError(
                    f"design={name}: it has been changed since its runs in {study}: its {what}; give what is new a "
                    f"name of its own (design.name=…), or a study of its own (study.name=…)"
                )


def _designs(configs: Sequence[Config]) -> dict[str, dict[str, Any]]:
    """The designs of settings that cells belong to, by name, as JSON gives them back."""
    given = {config.design.name: config.design for config in configs if config.design is not None}
    found: dict[str, dict[str, Any]] = json.loads(
        json.dumps({name: design.plan_of(each) for name, each in given.items()})
    )
    return found


def _entry(config: Config, path: str, seeds: Iterable[int]) -> dict[str, Any]:
    design, pool = config.design, config.seed_pool
    of_design = {} if design is None else {"design": design.name, "stratum": design.stratum, "seed_pool": pool}
    return {
        "task": config.task_name,
        "arm": config.arm_name,
        "hash": cell_hash(config),
        "seeds": sorted(seeds),
        "path": path,
        **of_design,
    }


def study_folder(results: Path, study: str, indexes: Sequence[Index] = (STUDY,)) -> Path:
    """The folder of a study that has one of these indexes. Raises `UserError`, with the studies there are."""
    found = {path.parent for index in indexes for path in results.glob(f"*/{index.file}")}
    studies = sorted(path.name for path in found)
    if not studies:
        raise UserError(f"no study in {results} yet: 'python -m bench study=quick' makes one")
    if not study:
        raise UserError(f"which study? Give study=NAME: {results} has {', '.join(studies)}")
    if study not in studies:
        raise unknown(f"study in {results}", study, studies)
    if (results / study).is_symlink():
        raise UserError(f"study={study}: {results / study} is a link, and links are not followed")
    return results / study
