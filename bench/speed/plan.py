"""What `python -m bench speed` measures: its options, and the jobs they stand for, interleaved."""

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import UserError, unknown
from bench.speed.programs import BATCH, LEARNING_STEPS, N_ENVS, N_STEPS, PROGRAMS, Workload

PARTS = ("workload", "small_minibatches", "seeds", "costs", "study")
ONCE = ("small_minibatches", "seeds", "costs", "study")  # measured in every third repeat
SEED_COUNTS = (1, 2, 5, 10, 20, 40, 64)
PPOS = ("lockstep", "sb3_ppo", "sbx_ppo", "rejax_ppo")  # the programs that can run every workload
STUDY_TASKS = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0")
SHORT = 20 * BATCH  # steps per seed where speed alone is measured
# Eight arms that all of these programs know.
STUDY_ARMS = tuple(itertools.product((4, 10), (128, 256), (0.8, 0.95)))  # epochs, minibatch, λ


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    only: str | None = None
    seeds: int = 10
    steps: int = LEARNING_STEPS
    repeats: int = 3
    minibatch: int = 256
    results: str = "results"
    part: str | None = None
    peers_python: str = sys.executable
    merge: str | None = None  # records, separated by commas, instead of measuring

    @property
    def parts(self) -> tuple[str, ...]:
        """What to measure: one program is measured on the workload alone."""
        if self.part is not None:
            return (self.part,)
        if self.only is None:
            return PARTS
        return ("costs",) if PROGRAMS[self.only].costs else ("workload",)


@dataclass(frozen=True)
class Job:
    """One process: a program's workloads, in a repeat of a part."""

    part: str
    program: str
    repeat: int
    workloads: tuple[Workload, ...]


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
    if options.part is not None and options.part not in PARTS:
        raise unknown("part", options.part, PARTS)
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


def jobs(options: Options, absent: Sequence[str] = ()) -> list[Job]:
    """All processes in their order: in each part the programs take turns, A B C A B C …"""
    return [
        Job(part, name, repeat, workloads)
        for part in options.parts
        for repeat in range(0, options.repeats, 3 if part in ONCE else 1)
        for name in PROGRAMS
        if name not in absent and options.only in (None, name)
        for workloads in _workloads(options, part, name, repeat)
    ]


def _workloads(options: Options, part: str, name: str, repeat: int) -> list[tuple[Workload, ...]]:
    """What each process of a program measures in a repeat of a part; none where it has no place in it."""
    program = PROGRAMS[name]
    if part == "costs":
        return _costs(options, name, repeat)
    if program.costs:
        return []
    if part == "workload":
        same = options.only is None and program.minibatch == options.minibatch  # would measure the same twice
        return [] if same else [(workload(options, name, repeat, options.minibatch),)]
    if part == "small_minibatches":
        small = name in PPOS or not program.trains
        short = dataclasses.replace(options, steps=min(options.steps, SHORT))
        return [(workload(short, name, repeat, 64),)] if small else []
    if name not in PPOS:
        return []
    if part == "seeds":
        counts = SEED_COUNTS if program.seeds == "together" else (1,)
        alike = [dataclasses.replace(options, seeds=count, steps=min(options.steps, SHORT // 2)) for count in counts]
        return [(workload(option, name, repeat, options.minibatch),) for option in alike]
    one = workload(dataclasses.replace(options, steps=min(options.steps, SHORT)), name, repeat, 256)
    return [
        tuple(
            dataclasses.replace(one, task=task, epochs=epochs, minibatch=minibatch, gae_lambda=gae_lambda)
            for task in STUDY_TASKS
            for epochs, minibatch, gae_lambda in STUDY_ARMS
        )
    ]


def _costs(options: Options, name: str, repeat: int) -> list[tuple[Workload, ...]]:
    """What this suite's own time depends on, in one process; and, in another, what its records cost."""
    if PROGRAMS[name].costs:
        # Twice as long, as most cells are: some costs come once for each run.
        return [(workload(dataclasses.replace(options, steps=2 * options.steps), name, repeat, 256),)]
    return [scaling(options)] if name == "lockstep" else []


def scaling(options: Options) -> tuple[Workload, ...]:
    """A cell, four times as many steps of it, another arm on another task, the cell again, and with complete episodes,
    those without a critic too. Nothing is learned, so that the lengths of episodes stay alike: 22 steps on average.
    """
    one = Workload(tuple(range(options.seeds)), min(options.steps, SHORT), 256, learning_rate=1e-12)
    longer, other = (
        dataclasses.replace(one, steps=4 * one.steps),
        dataclasses.replace(one, task="Acrobot-v1", epochs=4),
    )
    return one, longer, other, one, *(dataclasses.replace(one, arm=arm) for arm in ("episodes", "critic_free"))


def workload(options: Options, name: str, repeat: int, minibatch: int) -> Workload:
    """What a program measures in a repeat."""
    program = PROGRAMS[name]
    size = program.minibatch or minibatch
    if program.seeds == "together":
        return Workload(tuple(range(options.seeds)), options.steps if program.trains else SHORT, size)
    return Workload((repeat,), min(options.steps, LEARNING_STEPS), size)
