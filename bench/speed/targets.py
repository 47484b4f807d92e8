"""What this suite wants to be, as ratios of one run, and whether it was."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.speed.plan import STACKS, Result
from bench.speed.tables import (
    REFERENCE,
    by_program,
    by_seeds,
    critic_pairs,
    markdown,
    of_part,
    ratios,
    study_seconds,
)

GIB = 2**30
SAVED = 0.75  # "saves memory and computing" is taken to mean a quarter or more; an equal network more is one half


@dataclass(frozen=True)
class Target:
    """Something this suite wants to be, what was measured, and whether it is met; None for what is only told."""

    target: str
    measured: str
    met: bool | None


def targets(results: Sequence[Result]) -> list[Target]:
    """Return all targets that these results can be held against."""
    return [target for judge in (_workload, _seeds, _costs, _recorded, _study, _critic) for target in judge(results)]


def targets_table(judged: Sequence[Target]) -> str:
    """A row per target; – where a number is only to be told."""
    words = {True: "yes", False: "no", None: "–"}
    return markdown([["target", "measured", "met"], *([t.target, t.measured, words[t.met]] for t in judged)])


def _at_least(what: str, limit: float, value: float) -> Target:
    return Target(f"{what}: at least {limit:g}", f"{value:.2f}", value >= limit)


def _at_most(what: str, limit: float, value: float) -> Target:
    return Target(f"{what}: at most {limit:g}", f"{value:.2f}", value <= limit)


def _workload(results: Sequence[Result]) -> Iterator[Target]:
    measured = by_program(results, "workload")
    if "lockstep" not in measured:
        return
    against = {name: statistics.median(ratios(measured, "lockstep", name)) for name in measured}
    seeds = next(result.seeds for result in results if result.job.program == "lockstep")
    if REFERENCE in against:
        for limit in (13.0, 11.0):  # what is aimed at, and what is acceptable
            yield _at_least(f"{seeds} seeds, times the speed of SB3's PPO", limit, against[REFERENCE])
    if f"{REFERENCE}_64" in against:
        yield _at_least("the same against its default minibatch of 64", 25, against[f"{REFERENCE}_64"])
    if "rejax_ppo" in against:
        for limit in (1.15, 1.0):
            what = "times the speed of rejax in its steady state, after compiling"
            yield _at_least(what, limit, against["rejax_ppo"])
    phases = [
        (one.rollout_seconds / one.seconds, one.update_seconds / one.env_steps)
        for one in measured["lockstep"]
        if one.rollout_seconds is not None and one.update_seconds is not None
    ]
    if phases and (products := measured.get("matrix_products")):
        shares = [one.seconds_per_step / update for one, (_, update) in zip(products, phases, strict=True)]
        yield _at_least("share of an update that its matrix products alone would take", 0.5, statistics.median(shares))
    if phases:
        yield _at_most("rollouts, share of a run", 0.15, statistics.median(rollouts for rollouts, _ in phases))


def _seeds(results: Sequence[Result]) -> Iterator[Target]:
    measured = by_seeds(results)
    ours, reference = measured.get("lockstep", {}), measured.get(REFERENCE, {})
    if 1 in ours and 1 in reference:
        ratio = reference[1].seconds_per_step / ours[1].seconds_per_step
        for limit in (4, 3.5):
            yield _at_least("one seed, times the speed of SB3's PPO", limit, ratio)
    for fewer, more in ((1, 2), (2, 5), (5, 10)):
        if fewer in ours and more in ours:
            linear = more / fewer
            value = linear * ours[more].seconds_per_step / ours[fewer].seconds_per_step
            what = f"{more} seeds, times the time of {fewer} ({linear:g} would be linear): less than {linear:g}"
            yield Target(what, f"{value:.2f}", value < linear)
    if 20 in ours:
        yield _at_most("20 seeds, memory in GiB", 0.4, ours[20].peak_memory / GIB)
    for count in STACKS:
        if 10 in ours and count in ours:
            share = ours[count].seconds_per_step / ours[10].seconds_per_step
            yield _at_most(f"{count} seeds, time per step, times that of 10", 1.15, share)


def _costs(results: Sequence[Result]) -> Iterator[Target]:
    """Of `bench.speed.plan.costs`, in whose order the cells are."""
    for result in of_part(results, "costs"):
        if result.job.program != "lockstep":
            continue
        one, longer, _, again, episodes, critic_free = (each.seconds_per_step for each in result.measurements)
        for two in by_program(results, "costs").get("two_blocks", ()):
            yield _at_least(
                "two blocks side by side on two cores, times the speed of one", 1.9, one / two.seconds_per_step
            )
        yield _at_most("time per step of four times as many steps (1 is linear)", 1.1, longer / one)
        what = "time per step of a cell after two others (1 is linear in arms and tasks)"
        yield _at_most(what, 1.1, again / one)
        yield _at_most("complete episodes, times the time of segments for as many live steps", 1.1, episodes / again)
        yield _at_most("an arm without a critic, times the time of the same with one", 0.6, critic_free / episodes)


def _recorded(results: Sequence[Result]) -> Iterator[Target]:
    """Shares of a run without its evaluations, whose number is a matter of taste."""
    for run in by_program(results, "costs").get("recorded", ()):
        if run.spent is not None:
            kept = sum(run.spent[name] for name in ("diagnostics", "records", "wandb"))
            share = kept / (run.seconds - run.spent["evaluation"])
            yield _at_most("diagnostics, records and W&B, share of a run", 0.05, share)
            yield _at_most("seconds from the command line to the first rollout", 4, run.spent["startup"])


def _critic(results: Sequence[Result]) -> Iterator[Target]:
    """Of the largest networks, where they are most of what there is; a critic as large as the actor doubles it."""
    pairs = critic_pairs(results)
    if not pairs:
        return
    width = max(pairs)
    with_one, without = (pairs[width][arm] for arm in ("critic", "critic_free"))
    of = f"an update without a critic, share of one with ({width} units)"
    for name, said in (("peak", "memory"), ("activations", "activations")):  # the others are arithmetic
        before, after = ((each.counted or {})[name] for each in (with_one, without))
        yield _at_most(f"{of}: {said}", SAVED, after / before)
    yield _at_most(f"{of}: time", SAVED, without.seconds / with_one.seconds)


def _study(results: Sequence[Result]) -> Iterator[Target]:
    times = study_seconds(results)
    if "lockstep" in times and "rejax_ppo" in times:
        ratio = times["rejax_ppo"] / times["lockstep"]
        yield _at_least("the study with start-up and compiling, times as fast as rejax", 3, ratio)
