"""What this suite wants to be, as ratios of one run, and whether it was."""

import statistics
from collections.abc import Callable, Sequence

from bench.speed.programs import Measurement
from bench.speed.tables import REFERENCE, Result, Target, by_program, by_seeds, floor_shares, ratios, study_seconds

GIB = 2**30


def targets(results: Sequence[Result]) -> list[Target]:
    """All targets that these results can be held against."""
    judges: tuple[Callable[[Sequence[Result]], list[Target]], ...] = (
        _peers,
        _phases,
        _seeds,
        _costs,
        _recorded,
        _study,
    )
    return [target for judge in judges for target in judge(results)]


def _at_least(what: str, limit: float, values: Sequence[float]) -> Target:
    """Met where the median of the repeats is at least `limit`."""
    value = statistics.median(values)
    return Target(f"{what}: at least {limit:g}", f"{value:.2f}", value >= limit)


def _at_most(what: str, limit: float, values: Sequence[float]) -> Target:
    """Met where the median of the repeats is at most `limit`."""
    value = statistics.median(values)
    return Target(f"{what}: at most {limit:g}", f"{value:.2f}", value <= limit)


def _peers(results: Sequence[Result]) -> list[Target]:
    measured = by_program(results, "workload")
    found = []
    if {"lockstep", REFERENCE} <= set(measured):
        seeds = next(len(r.job.workloads[0].seeds) for r in results if r.job.program == "lockstep")
        values = ratios(measured, "lockstep", REFERENCE)
        found += [
            _at_least(f"{seeds} seeds, times the speed of SB3's PPO", limit, values) for limit in (10, 8)
        ]  # what is aimed at, and what is acceptable
    if {"lockstep", f"{REFERENCE}_64"} <= set(measured):
        values = ratios(measured, "lockstep", f"{REFERENCE}_64")
        found.append(_at_least("the same against its default minibatch of 64", 15, values))
    if {"lockstep", "rejax_ppo"} <= set(measured):
        value = statistics.median(ratios(measured, "lockstep", "rejax_ppo"))
        found.append(Target("times the speed of rejax in its steady state, after compiling", f"{value:.2f}", None))
    return found


def _phases(results: Sequence[Result]) -> list[Target]:
    measured = by_program(results, "workload")
    found = []
    if shares := floor_shares(measured):
        found.append(_at_least("share of an update that its matrix products alone would take", 0.5, shares))
    rollouts = [m.rollout_seconds / m.seconds for m in measured.get("lockstep", ()) if m.rollout_seconds is not None]
    return [*found, _at_most("rollouts, share of a run", 0.15, rollouts)] if rollouts else found


def _seeds(results: Sequence[Result]) -> list[Target]:
    """Of `part=seeds`."""
    speeds = {seeds: values for (name, seeds), values in by_seeds(results).items() if name == "lockstep"}
    reference = by_seeds(results).get((REFERENCE, 1))
    found = []
    if 1 in speeds and reference:
        values = [ours / theirs for ours, theirs in zip(speeds[1], reference, strict=True)]
        found.append(_at_least("one seed, times the speed of SB3's PPO", 2, values))
    for fewer, more in ((1, 2), (2, 5), (5, 10)):
        if {fewer, more} <= set(speeds):
            times = [more / fewer * a / b for a, b in zip(speeds[fewer], speeds[more], strict=True)]
            what = f"{more} seeds, times the time of {fewer} ({more / fewer:g} would be linear)"
            value = statistics.median(times)
            found.append(Target(f"{what}: less than {more / fewer:g}", f"{value:.2f}", value < more / fewer))
    peaks = [
        result.measurements[0].peak_memory / GIB
        for result in results
        if result.job.part == "seeds" and result.job.program == "lockstep" and len(result.job.workloads[0].seeds) == 20
    ]
    return [*found, _at_most("20 seeds, memory in GiB", 1, peaks)] if peaks else found


def _costs(results: Sequence[Result]) -> list[Target]:
    """Of `bench.speed.plan.scaling`, in whose order the cells are."""
    runs = [r.measurements for r in results if r.job.part == "costs" and r.job.program == "lockstep"]
    if not runs:
        return []

    def over(numerator: int, denominator: int) -> list[float]:
        return [_per_step(run[numerator]) / _per_step(run[denominator]) for run in runs]

    one, longer, _, again, episodes, critic_free = range(6)
    return [
        _at_most("time per step of four times as many steps (1 is linear)", 1.1, over(longer, one)),
        _at_most("time per step of a cell after two others (1 is linear in arms and tasks)", 1.1, over(again, one)),
        _at_most("complete episodes, times the time of segments for as many live steps", 1.5, over(episodes, again)),
        _at_most("an arm without a critic, times the time of the same with one", 0.6, over(critic_free, episodes)),
    ]


def _per_step(measurement: Measurement) -> float:
    return measurement.seconds / measurement.env_steps


def _recorded(results: Sequence[Result]) -> list[Target]:
    """Of `bench.speed.recorded`: shares of a run without its evaluations, whose number is a matter of taste."""
    runs = [m for r in results if r.job.program == "recorded" for m in r.measurements if m.spent is not None]
    spent = [(run.spent, run.seconds - run.spent["evaluation"]) for run in runs if run.spent is not None]
    if not spent:
        return []
    shares = [sum(s[name] for name in ("diagnostics", "records", "wandb")) / seconds for s, seconds in spent]
    return [
        _at_most("diagnostics, records and W&B, share of a run", 0.05, shares),
        _at_most("seconds from the command line to the first rollout", 4, [s["startup"] for s, _ in spent]),
    ]


def _study(results: Sequence[Result]) -> list[Target]:
    times = study_seconds(results)
    if not {"lockstep", "rejax_ppo"} <= set(times):
        return []
    values = [theirs / ours for ours, theirs in zip(times["lockstep"], times["rejax_ppo"], strict=True)]
    return [_at_least("the study with start-up and compiling, times as fast as rejax", 2, values)]
