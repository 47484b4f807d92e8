"""From measurements to what is printed."""

import statistics
from collections.abc import Mapping, Sequence

from bench.speed.plan import SEED_COUNTS, Result
from bench.speed.programs import PROGRAMS
from bench.speed.workload import LEARNING_STEPS, Measurement

REFERENCE = "sb3_ppo"  # ratios are to this program
MIN_RETURN = 100.0  # a random policy has 22, the best 500
QUIET = 0.9  # share of the time a process must have had its core, or the notes say so

Measured = Mapping[str, Sequence[Measurement]]  # by program, one per repeat


def of_part(results: Sequence[Result], part: str) -> list[Result]:
    """Return the results of a part."""
    return [result for result in results if result.job.part == part]


def by_program(results: Sequence[Result], part: str) -> Measured:
    """Return the measurements of a part, one per repeat."""
    measured: dict[str, list[Measurement]] = {}
    for result in of_part(results, part):
        measured.setdefault(result.job.program, []).append(result.measurements[0])
    return measured


def by_seeds(results: Sequence[Result]) -> dict[str, dict[int, Measurement]]:
    """Return the measurements of `part=seeds` by program and number of seeds."""
    measured: dict[str, dict[int, Measurement]] = {}
    for result in of_part(results, "seeds"):
        measured.setdefault(result.job.program, {})[result.seeds] = result.measurements[0]
    return measured


def study_seconds(results: Sequence[Result]) -> dict[str, float]:
    """Return how long each program takes for the study on one core.

    The life of the process that trained every cell, where seeds train together. A program that trains them in turn
    trained one of each cell: its training time counts once for each seed, everything else once.
    """
    study = of_part(results, "study")
    seeds = max((result.seeds for result in study), default=1)
    times = {}
    for result in study:
        training = sum(measurement.seconds for measurement in result.measurements)
        further = 0 if PROGRAMS[result.job.program].together else seeds - 1
        times[result.job.program] = result.process_seconds + further * training
    return times


def ratios(measured: Measured, name: str, reference: str) -> list[float]:
    """Return how many times the steps per second of `reference` a program has, repeat by repeat."""
    pairs = zip(measured[name], measured[reference], strict=True)
    return [theirs.seconds_per_step / ours.seconds_per_step for ours, theirs in pairs]


def workload_table(results: Sequence[Result]) -> str:
    """A row per program, and what a reader must know."""
    measured = by_program(results, "workload")
    references = [name for name in (REFERENCE, f"{REFERENCE}_64") if name in measured]
    header = ["program", "steps/s on one core", "min – max", *(f"× {name}" for name in references)]
    rows = [[*header, "rollouts", "return"]]
    for name, repeats in measured.items():
        speeds = [one.steps_per_second for one in repeats]
        rollouts = [one.rollout_seconds / one.seconds for one in repeats if one.rollout_seconds is not None]
        cells = [PROGRAMS[name].title, f"{statistics.median(speeds):,.0f}", f"{min(speeds):,.0f} – {max(speeds):,.0f}"]
        cells += [f"{statistics.median(ratios(measured, name, reference)):.1f}" for reference in references]
        cells.append(f"{statistics.median(rollouts):.0%}" if rollouts else "–")
        cells.append("–" if (value := mean_return(repeats)) is None else f"{value:.0f}")
        rows.append(cells)
    return "\n".join([markdown(rows), *notes(measured)])


def seeds_table(results: Sequence[Result]) -> str:
    """Steps per second, a row per program and a column per number of seeds."""
    by_name = by_seeds(results)
    counts = sorted({*SEED_COUNTS, *(count for measured in by_name.values() for count in measured)})
    rows = [["program", *(f"{count} seeds" for count in counts)]]
    for name, measured in by_name.items():
        cells = [f"{measured[n].steps_per_second:,.0f}" if n in measured else "–" for n in counts]
        rows.append([PROGRAMS[name].title, *cells])
    return markdown(rows)


def costs_table(results: Sequence[Result]) -> str:
    """What a recorded run spends its time on."""
    rows = [["share of a run", "seconds", "share"]]
    for measured in by_program(results, "costs").get("recorded", ()):
        shares = [(name, seconds) for name, seconds in (measured.spent or {}).items() if name != "startup"]
        rows += [[name, f"{seconds:.2f}", f"{seconds / measured.seconds:.1%}"] for name, seconds in shares]
    return markdown(rows) if len(rows) > 1 else ""


def critic_pairs(results: Sequence[Result]) -> dict[int, dict[str, Measurement]]:
    """Return, by the width of the hidden layers, the measurements with a critic and without."""
    found: dict[int, dict[str, Measurement]] = {}
    for result in of_part(results, "critic"):
        (workload,), (measured,) = result.job.workloads, result.measurements
        if measured.counted is not None:
            found.setdefault(workload.hidden, {})[workload.arm] = measured
    return {width: pair for width, pair in found.items() if len(pair) == 2}


def critic_table(results: Sequence[Result]) -> str:
    """A row per width and arm: parameters, bytes and milliseconds of an update of one seed."""
    names = {"critic": "with a critic", "critic_free": "without"}
    kilobytes = {"weights": "weights and gradients kB", "optimiser": "Adam kB", "activations": "activations kB"}
    rows = [["hidden units", "arm", "parameters", *kilobytes.values(), "peak MB", "update, CPU ms"]]
    for width, pair in critic_pairs(results).items():
        for arm, title in names.items():
            counted = pair[arm].counted or {}
            parameters = counted["actor_parameters"] + counted["critic_parameters"]
            sizes = [f"{counted[name] / 1e3:,.0f}" for name in kilobytes]
            seconds = f"{1e3 * pair[arm].seconds:,.1f}"
            rows.append(
                [f"{width}, {width}", title, f"{parameters:,}", *sizes, f"{counted['peak'] / 1e6:,.1f}", seconds]
            )
    return markdown(rows) if len(rows) > 1 else ""


def study_table(results: Sequence[Result]) -> str:
    """Seconds for the study, start-up and compiling included."""
    times = study_seconds(results)
    ours = times.get("lockstep")
    rows = [["program", "seconds", "× lockstep"]]
    for name, seconds in times.items():
        rows.append([PROGRAMS[name].title, f"{seconds:,.0f}", f"{seconds / ours:.2f}" if ours else "–"])
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A padded table; the first column is text, the others numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def mean_return(repeats: Sequence[Measurement]) -> float | None:
    """Return what learning is judged by; None where runs were too short."""
    values = [one.mean_return for one in repeats if one.mean_return is not None]
    return statistics.fmean(values) if values else None


def not_learning(measured: Measured) -> list[str]:
    """Return the programs that ran long enough to be judged and have learned nothing worth timing."""
    judged = {name: mean_return(repeats) for name, repeats in measured.items()}
    return [name for name, value in judged.items() if value is not None and not value >= MIN_RETURN]


def notes(measured: Measured) -> list[str]:
    """Return what a reader of the workload's table must know, one line each."""
    lines = [f"FAILED: {name} does not learn (mean return below {MIN_RETURN:.0f})" for name in not_learning(measured)]
    if all(mean_return(repeats) is None for repeats in measured.values()):
        lines.append(f"learning is judged from {LEARNING_STEPS:,} steps per seed on; these runs are shorter")
    least = min(one.cpu_share for repeats in measured.values() for one in repeats)
    if least < QUIET:
        lines.append(f"busy machine: a process had its core for only {least:.0%} of the time; trust ratios, not speeds")
    return lines
