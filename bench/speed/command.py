"""`python -m bench speed`: measuring what was asked for, and the record."""

import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.records import files, provenance
from bench.speed.merge import SCHEMA, merged
from bench.speed.plan import Job, Options, jobs, parse
from bench.speed.programs import PROGRAMS, Measurement, MeasurementFailed, Workload, missing, spawn
from bench.speed.tables import (
    Result,
    by_program,
    costs_table,
    not_learning,
    notes,
    seeds_table,
    study_table,
    table,
    targets_table,
)
from bench.speed.targets import targets

TITLES = {
    "workload": "the workload",
    "small_minibatches": "minibatches of 64",
    "seeds": "steps/s against the number of seeds",
    "costs": "what this suite's time depends on",
    "study": "a study",
}

Measure = Callable[[str, Sequence[Workload], str], list[Measurement]]


def main(arguments: Sequence[str]) -> int:
    """Measure, print tables, write a record and a figure; exit code 1 where a program crashes or does not learn.

    Raises:
        UserError: before anything starts, for the first thing that is wrong.
    """
    options = parse(arguments)
    folder = _folder(options)
    if options.merge is not None:
        results = merged([Path(name) for name in options.merge.split(",")])
        return _tell(folder, options, results, {})
    absent = missing(options.peers_python)
    if options.only in absent:
        raise UserError(
            f"only={options.only}: needs {absent[options.only]}, which {options.peers_python} does not have: "
            "pip install -c constraints.txt -e '.[peers]', or peers_python=PYTHON"
        )
    try:
        results = _measure_all(jobs(options, list(absent)), spawn, options.peers_python)
    except MeasurementFailed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return _tell(folder, options, results, absent)


def _tell(folder: Path, options: Options, results: Sequence[Result], absent: dict[str, str]) -> int:
    """Write and print what was measured; → the exit code."""
    path = _write(folder, options, results, absent)
    _show(results, options)
    for name, packages in absent.items() if options.only is None else ():
        print(
            f"not measured: {name}, because {packages} is not installed (pip install -e '.[peers]', or peers_python=)"
        )
    print(f"record: {path}")
    if {"seeds", "study"} <= {result.job.part for result in results}:
        from bench.speed.figure import draw

        print(f"figure: {draw(results, path.with_suffix('.png'))}")
    if options.only is not None and (alone := by_program(results, options.parts[0]).get(options.only)):
        print(f"{statistics.median(m.steps_per_second for m in alone):,.0f} steps/s")
    return 1 if not_learning(by_program(results, "workload")) else 0


def _show(results: Sequence[Result], options: Options) -> None:
    for part in options.parts:
        if not any(result.job.part == part for result in results):
            continue
        measured = by_program(results, part)
        if len(options.parts) > 1:
            print(f"\n{TITLES[part]}")
        if part == "seeds":
            print(seeds_table(results))
        elif part == "study":
            print(study_table(results))
        elif part == "costs":
            print(costs_table(results))
        else:
            print(table(measured))
            for line in notes(measured):
                print(line)
    if judged := targets(results):
        print(f"\ntargets\n{targets_table(judged)}")


def _folder(options: Options) -> Path:
    """Where the record will go; found out before minutes are spent. Raises `UserError`."""
    folder = Path(options.results) / "speed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"results={options.results}: cannot write {error.filename}: {error.strerror}") from error
    return folder


def _measure_all(planned: Sequence[Job], measure: Measure, python: str) -> list[Result]:
    """The results of all jobs, told about on stderr."""
    results = []
    for place, job in enumerate(planned, 1):
        seeds = f", {len(job.workloads[0].seeds)} seeds" if job.part == "seeds" else ""
        title = f"{PROGRAMS[job.program].title}{seeds} ({TITLES[job.part]})"
        print(f"[{place}/{len(planned)}] {title} …", end=" ", file=sys.stderr, flush=True)
        started, clock = time.time(), time.perf_counter()
        measurements = measure(job.program, job.workloads, python)
        result = Result(job, tuple(measurements), started, time.perf_counter() - clock)
        results.append(result)
        print(f"{result.steps_per_second:,.0f} steps/s", file=sys.stderr, flush=True)
    return results


def _write(folder: Path, options: Options, results: Sequence[Result], absent: dict[str, str]) -> Path:
    """Write the record of this run. Raises OSError where the disk is full."""
    now = datetime.now(UTC)
    path = folder / f"speed-{now:%Y%m%d-%H%M%S}.json"
    finished = {"finished": now.isoformat(timespec="seconds"), "not_measured": absent}
    files.write_json(path, record(options, results) | finished)
    return path


def record(options: Options, results: Sequence[Result]) -> dict[str, Any]:
    """Everything measured, and what it was measured with."""
    return {
        "schema": SCHEMA,
        "command": provenance.command(),
        "git": provenance.git(),
        "versions": provenance.versions(),
        "host": provenance.host(),
        "threads": provenance.THREADS,
        # places on this machine say nothing
        "options": dataclasses.asdict(options) | {"results": None, "peers_python": None, "merge": None},
        "measurements": [
            {"part": result.job.part, "program": result.job.program, "repeat": result.job.repeat}
            | {"process_seconds": result.process_seconds, "startup_seconds": result.startup_seconds}
            | dataclasses.asdict(workload)
            | {"steps_per_second": measurement.steps_per_second}
            | dataclasses.asdict(measurement)
            for result in results
            for workload, measurement in zip(result.job.workloads, result.measurements, strict=True)
        ],
        "targets": [dataclasses.asdict(target) for target in targets(results)],
    }
