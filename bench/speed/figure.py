"""Steps per second against the number of seeds, and the time a study takes, by program."""

from collections.abc import Sequence
from pathlib import Path

from bench.speed.plan import Result
from bench.speed.programs import PROGRAMS
from bench.speed.tables import by_seeds, study_seconds


def draw(results: Sequence[Result], path: Path) -> Path:
    """Write the figure to `path`, whose suffix says in which format."""
    from matplotlib.figure import Figure  # half a second
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    figure = Figure(figsize=(10, 4), layout="constrained")
    speeds, times = figure.subplots(1, 2)
    colours = {name: f"C{place}" for place, name in enumerate(PROGRAMS)}
    measured = by_seeds(results)
    counts = sorted({seeds for of_program in measured.values() for seeds in of_program})
    for name, of_program in measured.items():
        x, y = list(of_program), [one.steps_per_second for one in of_program.values()]
        if not PROGRAMS[name].together:  # as fast with any number of seeds
            x, y = counts, y * len(counts)
        look = "o-" if PROGRAMS[name].together else "--"
        speeds.plot(x, y, look, color=colours[name], label=PROGRAMS[name].title)
    speeds.set(xscale="log", yscale="log", xlabel="seeds", ylabel="steps/s on one core, all seeds together")
    speeds.set_xticks(counts, labels=[str(count) for count in counts], minor=False)
    speeds.minorticks_off()
    speeds.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    speeds.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.legend(loc="outside lower center", ncols=4, fontsize="small", frameon=False)
    totals = study_seconds(results)
    bars = times.barh(list(totals), list(totals.values()), color=[colours[name] for name in totals])
    times.bar_label(bars, labels=[f"{seconds:,.0f} s" for seconds in totals.values()], padding=3)
    times.invert_yaxis()
    times.margins(x=0.25)
    times.set(xlabel="seconds for the study, with start-up and compiling")
    figure.savefig(path, dpi=150)
    return path
