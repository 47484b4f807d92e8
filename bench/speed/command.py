"""`python -m bench speed`: measuring what was asked for, and the record."""

import dataclasses
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.records import files, provenance
from bench.speed.plan import PARTS, Job, Options, Result, jobs, parse
from bench.speed.programs import PROGRAMS, MeasurementFailed, missing, spawn
from bench.speed.tables import (
    by_program,
    costs_table,
    critic_table,
    not_learning,
    of_part,
    seeds_table,
    study_table,
    workload_table,
)
from bench.speed.targets import targets, targets_table

SCHEMA = 4  # of the records
PLACES = ("results", "peers_python")  # arguments that name places on this machine, which say nothing elsewhere
TABLES = {  # of each part, below its title
    "workload": ("the workload", workload_table),
    "seeds": ("steps/s against the number of seeds", seeds_table),
    "costs": ("what this suite's time depends on", costs_table),
    "study": ("a study", study_table),
    "critic": ("what a critic costs: an update of the same batch with one and without", critic_table),
}


def main(words: Sequence[str]) -> int:
    """Measure, print tables, write a record and a figure; exit code 1 where a program crashes or does not learn.

    Raises:
        UserError: before anything starts, for the first thing that is wrong.
    """
    options = parse(words)
    folder = _folder(options)
    absent = missing(options.peers_python)
    absent = {name: why for name, why in absent.items() if any(name in PARTS[part] for part in options.parts)}
    if options.only in absent:
        remedy = "; peers_python=PYTHON names another Python" if PROGRAMS[options.only].needs else ""
        raise UserError(f"only={options.only}: {absent[options.only]}{remedy}")
    try:
        results = _measure_all(jobs(options, list(absent)), options.peers_python)
    except MeasurementFailed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    path = folder / f"speed-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    files.write_json(path, record(options, results, absent))
    _show(results, absent if options.only is None else {})
    print(f"record: {path}")
    if of_part(results, "seeds") and of_part(results, "study"):
        from bench.speed.figure import draw  # with matplotlib

        print(f"figure: {draw(results, path.with_suffix('.png'))}")
    if options.only is not None:
        print(f"{statistics.median(result.steps_per_second for result in results):,.0f} steps/s")
    return 1 if not_learning(by_program(results, "workload")) else 0


def _folder(options: Options) -> Path:
    """Return where the record will go; found out before minutes are spent. Raises `UserError`."""
    folder = Path(options.results) / "speed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(f"results={options.results}: cannot write {error.filename}: {error.strerror}") from error


def _measure_all(planned: Sequence[Job], peers_python: str) -> list[Result]:
    """Return the results of all jobs, told about on stderr."""
    results = []
    for place, job in enumerate(planned, 1):
        title, _ = TABLES[job.part]
        first = job.workloads[0]
        seeds = f", {len(first.seeds)} seeds" if job.part == "seeds" else ""
        seeds += f", {first.arm}, {first.hidden} units" if job.part == "critic" else ""
        label = f"[{place}/{len(planned)}] {PROGRAMS[job.program].title}{seeds} ({title}) …"
        print(label, end=" ", file=sys.stderr, flush=True)
        clock = time.perf_counter()
        measurements = spawn(job.program, job.workloads, peers_python)
        results.append(Result(job, measurements, time.perf_counter() - clock))
        print(f"{results[-1].steps_per_second:,.0f} steps/s", file=sys.stderr, flush=True)
    return results


def _show(results: Sequence[Result], absent: Mapping[str, str]) -> None:
    for part, (title, table) in TABLES.items():
        if of_part(results, part) and (text := table(results)):
            print(f"\n{title}\n{text}")
    if judged := targets(results):
        print(f"\ntargets\n{targets_table(judged)}")
    for name, why in absent.items():
        print(f"not measured: {name}, because {why}")


def record(options: Options, results: Sequence[Result], absent: Mapping[str, str]) -> dict[str, Any]:
    """Return everything that was measured, and what it was measured with."""
    return {
        "schema": SCHEMA,
        "command": without_places(provenance.command()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": provenance.git(),
        "versions": provenance.versions(),
        "host": provenance.host(),
        "threads": provenance.THREADS,
        "options": dataclasses.asdict(options) | dict.fromkeys(PLACES),
        "not_measured": dict(absent),
        "measurements": [
            {"part": result.job.part, "program": result.job.program, "repeat": result.job.repeat}
            | {"process_seconds": result.process_seconds, "steps_per_second": measurement.steps_per_second}
            | dataclasses.asdict(workload)
            | dataclasses.asdict(measurement)
            for result in results
            for workload, measurement in zip(result.job.workloads, result.measurements, strict=True)
        ],
        "targets": [dataclasses.asdict(target) for target in targets(results)],
    }


def without_places(line: str | None) -> str | None:
    """Return a command line without the arguments that name places on this machine."""
    if line is None:
        return None
    return shlex.join(word for word in shlex.split(line) if word.partition("=")[0] not in PLACES)
