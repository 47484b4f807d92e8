"""What `python -m bench speed` measures: its options, and the jobs they stand for, interleaved."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.config import arguments
from bench.errors import UserError, unknown
from bench.speed.programs import PROGRAMS
from bench.speed.workload import BATCH, LEARNING_STEPS, N_ENVS, N_STEPS, Measurement, Workload

PPOS = ("lockstep", "sb3_ppo", "sbx_ppo", "rejax_ppo")
PARTS: Mapping[str, Sequence[str]] = {  # the programs of each
    "workload": (*PPOS, "sb3_ppo_64", "matrix_products"),
    "seeds": PPOS,
    "costs": ("lockstep", "two_blocks", "recorded"),
    "study": PPOS,
    "critic": ("update",),
}
WIDTHS = (64, 256, 1024)  # of both hidden layers, with a critic and without
SEED_COUNTS = (1, 2, 5, 10, 20)
STACKS = (64, 128, 320)  # numbers of seeds that only this suite trains
CRITIC_STEPS = 5 * 1024  # as many updates as steps / 1024; the first warms up
SHORT = 20 * BATCH  # steps per seed where speed alone is measured
STUDY_TASKS = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0")
STUDY_ARMS = tuple(itertools.product((4, 10), (128, 256), (0.8, 0.95)))  # epochs, minibatch, λ: all PPOs know them


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    only: str | None = None
    part: str | None = None
    seeds: int = 10
    steps: int = LEARNING_STEPS
    repeats: int = 3
    peers_python: str = sys.executable
    results: str = "results"

    @property
    def parts(self) -> Sequence[str]:
        """What to measure: of a program alone, the first part it is in."""
        if self.part is not None:
            return [self.part]
        found = [part for part, programs in PARTS.items() if self.only is None or self.only in programs]
        return found if self.only is None else found[:1]


@dataclass(frozen=True)
class Job:
    """One process: a program's workloads, in a repeat of a part."""

    part: str
    program: str
    repeat: int
    workloads: tuple[Workload, ...]


@dataclass(frozen=True)
class Result:
    """What a process measured, and how long it lived."""

    job: Job
    measurements: Sequence[Measurement]
    process_seconds: float

    @property
    def seeds(self) -> int:
        """The number of seeds that were trained together."""
        return len(self.job.workloads[0].seeds)

    @property
    def steps_per_second(self) -> float:
        """The speed over all measurements together."""
        return sum(m.env_steps for m in self.measurements) / sum(m.seconds for m in self.measurements)


def parse(words: Sequence[str]) -> Options:
    """Return the options of KEY=VALUE words. Raises `UserError`."""
    options = arguments.read("speed", words, Options)
    if options.part is not None and options.part not in PARTS:
        raise unknown("part", options.part, PARTS)
    programs = PROGRAMS if options.part is None else PARTS[options.part]
    if options.only is not None and options.only not in programs:
        raise unknown("program" if options.part is None else f"program of part={options.part}", options.only, programs)
    for key in ("seeds", "repeats"):
        if getattr(options, key) < 1:
            raise UserError(f"{key}={getattr(options, key)}: must be at least 1")
    if options.steps < 1 or options.steps % BATCH:
        allowed = f"must be a multiple of {BATCH} ({N_ENVS} environments x {N_STEPS} steps)"
        raise UserError(f"steps={options.steps}: {allowed}")
    return options


def jobs(options: Options, absent: Sequence[str] = ()) -> list[Job]:
    """Return all processes in their order: in the repeats of the workload, programs take turns, A B C A B C …"""
    return [
        Job(part, name, repeat, workloads)
        for part in options.parts
        for repeat in range(options.repeats if part == "workload" else 1)
        for name in PARTS[part]
        if name not in absent and options.only in (None, name)
        for workloads in _workloads(options, part, name, repeat)
    ]


def _workloads(options: Options, part: str, name: str, repeat: int) -> list[tuple[Workload, ...]]:
    """Return what each process of a program measures in a repeat of a part."""
    together = PROGRAMS[name].together
    one = Workload(tuple(range(options.seeds)) if together else (repeat,), options.steps)
    short = replace(one, steps=min(options.steps, SHORT))
    if part == "seeds":
        steps = min(options.steps, SHORT // 2)
        counts = (*SEED_COUNTS, *(STACKS if name == "lockstep" else ())) if together else (1,)
        return [(Workload(tuple(range(count)), steps),) for count in counts]
    if part == "study":
        return [study(short)]
    if part == "critic":  # a process each, so that none has the memory of another; one seed
        each = itertools.product(WIDTHS, ("critic", "critic_free"))
        return [(Workload((0,), CRITIC_STEPS, arm=arm, hidden=width, task="weekly_exam"),) for width, arm in each]
    if part == "costs":  # a recorded run twice as long, as most cells are: some costs come once for each run
        if name == "recorded":
            return [(replace(one, steps=2 * one.steps),)]
        return [costs(short) if name == "lockstep" else costs(short)[:1]]
    if name == "matrix_products":
        return [(short,)]
    if not together:  # more steps do not change the speed
        one = replace(one, steps=min(one.steps, LEARNING_STEPS), minibatch=64 if name == "sb3_ppo_64" else 256)
    return [(one,)]


def study(one: Workload) -> tuple[Workload, ...]:
    """Return an ablation of eight arms on three tasks."""
    return tuple(
        replace(one, task=task, epochs=epochs, minibatch=minibatch, gae_lambda=gae_lambda)
        for task in STUDY_TASKS
        for epochs, minibatch, gae_lambda in STUDY_ARMS
    )


def costs(one: Workload) -> tuple[Workload, ...]:
    """Return what the time of this suite depends on: a cell, and others that differ from it in one thing each.

    Four times as many steps, another arm on another task, the cell again, complete episodes, these without a critic.
    Nothing is learned, so that the lengths of episodes stay alike: 22 steps on average.
    """
    one = replace(one, learning_rate=1e-12)
    other = replace(one, task="Acrobot-v1", epochs=4)
    episodes, critic_free = (replace(one, arm=arm) for arm in ("episodes", "critic_free"))
    return one, replace(one, steps=4 * one.steps), other, one, episodes, critic_free
