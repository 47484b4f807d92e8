"""From measurements to what is printed."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.speed.plan import SEED_COUNTS, Job
from bench.speed.programs import LEARNING_STEPS, PROGRAMS, Measurement

REFERENCE = "sb3_ppo"  # ratios are to this program
MIN_RETURN = 100.0  # a random policy has 22, the best 500
QUIET = 0.9  # share of the wall-clock time a process must have had its core, or the notes say so


@dataclass(frozen=True)
class Target:
    """Something this suite wants to be, what was measured, and whether it is met; None for what is only told."""

    target: str
    measured: str
    met: bool | None


Measured = Mapping[str, Sequence[Measurement]]  # by program, one per repeat


@dataclass(frozen=True)
class Result:
    """What a process measured, when it was started (UNIX time), and how long it lived."""

    job: Job
    measurements: tuple[Measurement, ...]
    started: float
    process_seconds: float

    @property
    def steps_per_second(self) -> float:
        """Of all its measurements together."""
        return sum(m.env_steps for m in self.measurements) / sum(m.seconds for m in self.measurements)

    @property
    def startup_seconds(self) -> float | None:
        """From the start of the process until timing began: imports, compiling and one iteration of warming up."""
        began = self.measurements[0].began
        return None if began is None else began - self.started


def by_program(results: Sequence[Result], part: str) -> Measured:
    """The measurements of a part, one per repeat."""
    chosen = [result for result in results if result.job.part == part]
    names = dict.fromkeys(result.job.program for result in chosen)
    return {name: [r.measurements[0] for r in chosen if r.job.program == name] for name in names}


def by_seeds(results: Sequence[Result]) -> dict[tuple[str, int], list[float]]:
    """Steps per second by program and number of seeds, one per repeat."""
    speeds: dict[tuple[str, int], list[float]] = {}
    for result in results:
        if result.job.part == "seeds":
            key = (result.job.program, len(result.job.workloads[0].seeds))
            speeds.setdefault(key, []).append(result.steps_per_second)
    return speeds


def seeds_table(results: Sequence[Result]) -> str:
    """Median steps per second, a row per program and a column per number of seeds."""
    speeds = by_seeds(results)
    rows = [["program", *(f"{count} seeds" for count in SEED_COUNTS)]]
    for name in by_program(results, "seeds"):
        cells = [statistics.median(speeds[name, count]) if (name, count) in speeds else None for count in SEED_COUNTS]
        rows.append([PROGRAMS[name].title, *("–" if cell is None else f"{cell:,.0f}" for cell in cells)])
    return _markdown(rows)


def costs_table(results: Sequence[Result]) -> str:
    """A row for each cell, in the order they were trained, and one for each thing that a run spends time on."""
    rows = [["cell", "seeds × steps", "µs per step", "rollouts"]]
    spent = [["share of a run", "seconds", "share"]]
    for result in (result for result in results if result.job.part == "costs"):
        for work, measured in zip(result.job.workloads, result.measurements, strict=True):
            if measured.spent is None:
                name = f"{work.arm} on {work.task}, {work.epochs} epochs"
                per_step = f"{1e6 * measured.seconds / measured.env_steps:.2f}"
                rows.append([name, f"{measured.env_steps:,}", per_step, _share([measured], "rollout_seconds")])
            else:
                shares = [(name, s) for name, s in measured.spent.items() if name != "startup"]
                spent += [[name, f"{s:.2f}", f"{s / measured.seconds:.1%}"] for name, s in shares]
    return "\n\n".join(_markdown(part) for part in (rows, spent) if len(part) > 1)


def targets_table(judged: Sequence[Target]) -> str:
    """A row per target; – where a number is only to be told."""
    words = {True: "yes", False: "no", None: "–"}
    return _markdown([["target", "measured", "met"], *([t.target, t.measured, words[t.met]] for t in judged)])


def study_seconds(results: Sequence[Result]) -> dict[str, list[float]]:
    """How long each program takes for the study on one core, one per repeat.

    The life of the process that trained every cell, where seeds train together. A program that trains them in turn
    trained one of each cell: its training time counts once for each seed, everything else once.
    """
    study = [result for result in results if result.job.part == "study"]
    together = [r for r in study if PROGRAMS[r.job.program].seeds == "together"]
    count = max((len(result.job.workloads[0].seeds) for result in together), default=1)
    times: dict[str, list[float]] = {}
    for result in study:
        training = sum(measurement.seconds for measurement in result.measurements)
        further = count - 1 if PROGRAMS[result.job.program].seeds == "in_turn" else 0
        times.setdefault(result.job.program, []).append(result.process_seconds + further * training)
    return times


def study_table(results: Sequence[Result]) -> str:
    """Seconds for the study, start-up and compiling included."""
    times = study_seconds(results)
    ours = times.get("lockstep")
    rows = [["program", "seconds", "min – max", "× lockstep"]]
    for name, values in times.items():
        ratio = "–" if ours is None else f"{statistics.median(v / o for v, o in zip(values, ours, strict=True)):.2f}"
        spread = f"{min(values):,.0f} – {max(values):,.0f}"
        rows.append([PROGRAMS[name].title, f"{statistics.median(values):,.0f}", spread, ratio])
    return _markdown(rows)


def ratios(measured: Measured, name: str, reference: str, cpu: bool = False) -> list[float]:
    """How many times the steps per second of `reference` a program has, repeat by repeat."""

    def per_step(measurement: Measurement) -> float:
        return (measurement.cpu_seconds if cpu else measurement.seconds) / measurement.env_steps

    pairs = zip(measured[name], measured[reference], strict=True)
    return [per_step(theirs) / per_step(ours) for ours, theirs in pairs]


def table(measured: Measured) -> str:
    """One row per program, in Markdown."""
    references = [name for name in (REFERENCE, f"{REFERENCE}_64") if name in measured]
    header = ["program", "steps/s on one core", "min – max"]
    header += [f"× {name}" for name in references] + ["rollouts", "updates", "memory", "return"]
    rows = []
    for name, results in measured.items():
        speeds = [result.steps_per_second for result in results]
        cells = [PROGRAMS[name].title, f"{statistics.median(speeds):,.0f}", f"{min(speeds):,.0f} – {max(speeds):,.0f}"]
        cells += [f"{statistics.median(ratios(measured, name, reference)):.1f}" for reference in references]
        cells += [_share(results, "rollout_seconds"), _share(results, "update_seconds")]
        cells += [f"{max(result.peak_memory for result in results) / 2**20:,.0f} MiB", _return(name, results)]
        rows.append(cells)
    return _markdown([header, *rows])


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """A padded table; the first column is text, the others numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def _share(results: Sequence[Measurement], phase: Literal["rollout_seconds", "update_seconds"]) -> str:
    shares = [value / result.seconds for result in results if (value := getattr(result, phase)) is not None]
    return f"{statistics.median(shares):.0%}" if shares else "–"


def _return(name: str, results: Sequence[Measurement]) -> str:
    """Mean and standard error over seeds."""
    values = late_returns(name, results)
    if not PROGRAMS[name].trains:
        return "–"
    if not values:
        return "not judged"
    if len(values) == 1:
        return f"{values[0]:.0f}"
    return f"{statistics.fmean(values):.0f} ± {statistics.stdev(values) / len(values) ** 0.5:.0f}"


def late_returns(name: str, results: Sequence[Measurement]) -> list[float]:
    """The returns by which learning is judged, one per seed: seeds trained together are the same in every repeat."""
    different = results[:1] if PROGRAMS[name].seeds == "together" else results
    return [value for result in different for value in result.returns or ()]


def not_learning(measured: Measured) -> list[str]:
    """The programs that ran long enough to be judged and have learned nothing worth timing."""
    judged = {name: late_returns(name, results) for name, results in measured.items()}
    return [name for name, values in judged.items() if values and not statistics.fmean(values) >= MIN_RETURN]


def notes(measured: Measured) -> list[str]:
    """What a reader of the table must know, one line each."""
    lines = [f"FAILED: {name} does not learn (mean return below {MIN_RETURN:.0f})" for name in not_learning(measured)]
    if any(PROGRAMS[name].trains and not late_returns(name, results) for name, results in measured.items()):
        lines.append(f"learning is judged from {LEARNING_STEPS:,} steps per seed on; these runs are shorter")
    return lines + _floor(measured) + _busy(measured)


def _floor(measured: Measured) -> list[str]:
    shares = floor_shares(measured)
    return (
        [f"matrix products alone would take {statistics.median(shares):.0%} of this suite's updates"] if shares else []
    )


def floor_shares(measured: Measured) -> list[float]:
    """The share of the updates that the matrix products would take by themselves, repeat by repeat."""
    if not {"lockstep", "matrix_products"} <= set(measured):
        return []
    return [
        (floor.seconds / floor.env_steps) / (ours.update_seconds / ours.env_steps)
        for floor, ours in zip(measured["matrix_products"], measured["lockstep"], strict=True)
        if ours.update_seconds is not None
    ]


def _busy(measured: Measured) -> list[str]:
    """Whether other programs took the core, and what the ratios are by CPU time alone."""
    every = [result for results in measured.values() for result in results]
    least = min(result.cpu_seconds / result.seconds for result in every)
    if least >= QUIET:
        return []
    lines = [f"busy machine: a measurement had its core for only {least:.0%} of the time; trust ratios, not speeds"]
    if {"lockstep", REFERENCE} <= set(measured):
        ratio = statistics.median(ratios(measured, "lockstep", REFERENCE, cpu=True))
        lines.append(f"by CPU time alone, lockstep has {ratio:.1f} times the speed of {REFERENCE}")
    return lines
