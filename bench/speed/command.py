"""`python -m bench speed`: what was asked for, measuring it, and the record."""

import dataclasses
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import UserError, unknown
from bench.runs import files, provenance
from bench.speed.programs import (
    BATCH,
    LEARNING_STEPS,
    N_ENVS,
    N_STEPS,
    PROGRAMS,
    Measurement,
    MeasurementFailed,
    Workload,
    spawn,
)
from bench.speed.tables import Measured, not_learning, notes, table

SCHEMA = 1  # of the record


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    only: str | None = None
    seeds: int = 10
    steps: int = 2 * LEARNING_STEPS
    repeats: int = 3
    minibatch: int = 256
    results: str = "results"

    def programs(self) -> list[str]:
        """The names of those to measure: all, without those that would measure the same twice."""
        if self.only is not None:
            return [self.only]
        return [name for name, program in PROGRAMS.items() if program.minibatch != self.minibatch]

    def workload(self, name: str, repeat: int) -> Workload:
        """What a program measures in a repeat."""
        program = PROGRAMS[name]
        minibatch = program.minibatch or self.minibatch
        if program.seeds == "together":
            return Workload(tuple(range(self.seeds)), self.steps if program.trains else 20 * BATCH, minibatch)
        return Workload((repeat,), min(self.steps, LEARNING_STEPS), minibatch)


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table and write a record; exit code 1 where a program crashes or does not learn.

    Raises:
        UserError: before anything starts, for the first thing that is wrong.
    """
    options = parse(arguments)
    folder = _folder(options)
    try:
        measured = _measure_all(options, spawn)
    except MeasurementFailed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    path = _write(folder, options, measured)
    print(table(measured))
    for line in notes(measured):
        print(line)
    print(f"record: {path}")
    if options.only is not None:
        speed = statistics.median(m.steps_per_second for m in measured[options.only])
        print(f"{speed:,.0f} steps/s")
    return 1 if not_learning(measured) else 0


def parse(arguments: Sequence[str]) -> Options:
    """The options of KEY=VALUE arguments. Raises `UserError`."""
    defaults = dataclasses.asdict(Options())
    given: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in defaults:
            raise unknown("argument of speed", argument, [f"{name}=…" for name in defaults])
        given[key] = _count(key, value) if isinstance(defaults[key], int) else value
    options = Options(**given)
    if options.only is not None and options.only not in PROGRAMS:
        raise unknown("program", options.only, PROGRAMS)
    if options.steps % BATCH:
        raise UserError(
            f"steps={options.steps}: must be a multiple of {BATCH} ({N_ENVS} environments x {N_STEPS} steps)"
        )
    if BATCH % options.minibatch or options.minibatch < 2:
        divisors = [size for size in range(2, BATCH + 1) if BATCH % size == 0]
        raise UserError(
            f"minibatch={options.minibatch}: must divide {BATCH} evenly: {', '.join(map(str, divisors))}"
            f"; did you mean {min(divisors, key=lambda size: abs(size - options.minibatch))}?"
        )
    return options


def _count(key: str, value: str) -> int:
    text = value.replace("_", "").replace(",", "")
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{key}={value}: must be a whole number of at least 1")
    return int(text)


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


def _measure_all(options: Options, measure: Callable[[str, Workload], Measurement]) -> Measured:
    """All repeats of all programs, interleaved, told about on stderr."""
    names = options.programs()
    measured: dict[str, list[Measurement]] = {name: [] for name in names}
    total = len(names) * options.repeats
    for place in range(total):
        repeat, name = place // len(names), names[place % len(names)]
        print(f"[{place + 1}/{total}] {PROGRAMS[name].title} …", end=" ", file=sys.stderr, flush=True)
        result = measure(name, options.workload(name, repeat))
        measured[name].append(result)
        print(f"{result.steps_per_second:,.0f} steps/s", file=sys.stderr, flush=True)
    return measured


def _write(folder: Path, options: Options, measured: Measured) -> Path:
    """Write the record of this run. Raises OSError where the disk is full."""
    now = datetime.now(UTC)
    path = folder / f"speed-{now:%Y%m%d-%H%M%S}.json"
    files.write_json(path, record(options, measured) | {"finished": now.isoformat(timespec="seconds")})
    return path


def record(options: Options, measured: Measured) -> dict[str, Any]:
    """Everything measured, and what it was measured with."""
    return {
        "schema": SCHEMA,
        "command": provenance.command(),
        "git": provenance.git(),
        "versions": provenance.versions(),
        "host": provenance.host(),
        "threads": provenance.THREADS,
        "options": dataclasses.asdict(options) | {"results": None},  # a place on this machine says nothing
        "measurements": [
            {"program": name, "repeat": repeat}
            | dataclasses.asdict(options.workload(name, repeat))
            | {"steps_per_second": result.steps_per_second}
            | dataclasses.asdict(result)
            for name, results in measured.items()
            for repeat, result in enumerate(results)
        ],
    }
