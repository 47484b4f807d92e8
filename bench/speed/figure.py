"""Steps per second against the number of seeds, and the time a study takes, by program."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.speed.programs import PROGRAMS
from bench.speed.tables import Result, by_program, by_seeds, study_seconds


def draw(results: Sequence[Result], path: Path) -> Path:
    """Write the figure to `path`, whose suffix says in which format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    speeds, times = figure.subplots(1, 2)
    counts = sorted({seeds for _, seeds in by_seeds(results)})
    for name in by_program(results, "seeds"):
        measured = {seeds: statistics.median(v) for (n, seeds), v in by_seeds(results).items() if n == name}
        alone = PROGRAMS[name].seeds == "in_turn"
        x, y = (counts, list(measured.values()) * len(counts)) if alone else (list(measured), list(measured.values()))
        speeds.plot(x, y, "--" if alone else "o-", label=PROGRAMS[name].title)
    speeds.set(xscale="log", yscale="log", xlabel="seeds", ylabel="steps/s on one core, all seeds together")
    speeds.set_xticks(counts, labels=[str(count) for count in counts], minor=False)
    speeds.minorticks_off()
    speeds.legend(fontsize="small")
    totals = {name: statistics.median(values) for name, values in study_seconds(results).items()}
    bars = times.barh([PROGRAMS[name].title for name in totals], list(totals.values()))
    times.bar_label(bars, fmt="%.0f s", padding=3)
    times.invert_yaxis()
    times.margins(x=0.15)
    times.set(xlabel="seconds for the study, start-up and compiling included")
    figure.savefig(path, dpi=150)
    return path
