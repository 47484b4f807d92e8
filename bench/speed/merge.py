"""Several records as one: parts that were measured at different times, when the machine was quiet."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UserError, first_line
from bench.speed.plan import Job
from bench.speed.programs import Measurement, Workload
from bench.speed.tables import Result

SCHEMA = 3  # of the records


def merged(paths: Sequence[Path]) -> list[Result]:
    """The results of these records, in their order.

    Raises:
        UserError: for a file that is no such record, or records of different code or machines.
    """
    records = {path: _read(path) for path in paths}
    first = records[paths[0]]
    for path, data in records.items():
        for key, what in (("git", "code"), ("versions", "packages"), ("host", "machine")):
            if data[key] != first[key]:
                raise UserError(
                    f"merge: {path} is of another {key} ({what}) than {paths[0]}; measure one of them again"
                )
    return [result for data in records.values() for result in _results(data["measurements"])]


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = data["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"merge: {path} is no record of speed: {first_line(error)}") from error
    if schema != SCHEMA:
        raise UserError(f"merge: {path} has schema {schema}: this version reads {SCHEMA}")
    return data


def _results(entries: Sequence[Mapping[str, Any]]) -> list[Result]:
    """The processes behind the measurements: neighbours that say the same of theirs."""
    keys = ("part", "program", "repeat", "process_seconds", "startup_seconds")
    processes = itertools.groupby(entries, lambda entry: tuple(entry[key] for key in keys))
    return [_result(dict(zip(keys, process, strict=True)), list(group)) for process, group in processes]


def _result(process: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Result:
    workloads = tuple(Workload(**_fields(Workload, entry)) for entry in entries)
    measurements = tuple(Measurement(**_fields(Measurement, entry)) for entry in entries)
    began, startup = measurements[0].began, process["startup_seconds"]
    started = 0.0 if began is None or startup is None else began - startup
    job = Job(process["part"], process["program"], process["repeat"], workloads)
    return Result(job, measurements, started, process["process_seconds"])


def _fields(kind: type, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the record holds of a dataclass, lists as the tuples they were."""
    names = [field.name for field in dataclasses.fields(kind)]
    return {name: tuple(entry[name]) if isinstance(entry[name], list) else entry[name] for name in names}
