"""How long stages will take to measure, and how much memory: as blocks took that this machine measured, or at most."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gymnasium import spaces

from bench.errors import counted
from bench.lab.planned import PlannedStage
from bench.lab.stages import START
from bench.records import block as blocks
from bench.records import provenance
from bench.tasks.exact import ExactTask
from bench.tasks.registry import make

# Of one core of the machine that the committed results come from, when two processes kept it busy.
STEPS_A_SECOND = 400_000  # environment steps with all that is asked about them
TRAINED_A_SECOND = 25_000  # environment steps of training, all seeds of a block together
EXACT_SECONDS = 5.0  # of a policy in a solved world of several steps
LONGEST = 500  # steps of an episode; a longer limit is there to end walks in circles
BASE_MEMORY, HELD_BYTES = 0.85e9, 1000.0  # of a process, and for each step of the batches that it holds at once
GIGA = 1e9


@dataclass(frozen=True)
class Forecast:
    """Seconds of one process, and bytes; `seen` says whether blocks of the stage were measured on this machine."""

    seconds: float
    memory: float
    seen: bool


def forecasts(wanted: Sequence[PlannedStage]) -> list[Forecast]:
    """Return what each of these stages will take."""
    seen = _seen(wanted[0].study_directory) if wanted else {}
    return [_as_before(each, seen) or _at_most(each) for each in wanted]


def told(wanted: Sequence[PlannedStage], before: int, jobs: int) -> list[str]:
    """Return what is to be measured in words: a line for each stage of each task, and one for all of them."""
    expected = forecasts(wanted)
    lines = []
    for task, stage in dict.fromkeys((each.task, each.stage) for each in wanted):
        mine = [
            (each, of) for each, of in zip(wanted, expected, strict=True) if (each.task, each.stage) == (task, stage)
        ]
        policies = _policies([each for each, _ in mine])
        lines.append(f"measure {task} {stage}, {policies}: {_words([of for _, of in mine], 1)}")
    done = f", {before} of {before + len(wanted)} blocks measured before" if before else ""
    if not wanted:
        return [f"nothing to measure{done}"]
    workers = min(jobs, len(wanted))
    memory = sum(sorted((of.memory for of in expected), reverse=True)[:workers]) / GIGA
    return [
        *lines,
        f"{counted(len(wanted), 'block')}, {_policies(wanted)}{done}: {_words(expected, workers)} with {workers} at "
        f"once, and at most {memory:.1f} GB of memory",
    ]


def _policies(wanted: Sequence[PlannedStage]) -> str:
    number = sum(len(each.seeds) for each in wanted)
    return "1 policy" if number == 1 else f"{number} policies"


def _words(expected: Sequence[Forecast], workers: int) -> str:
    seconds = [of.seconds for of in expected]
    whole = max(1, round(max(sum(seconds) / workers, max(seconds))))
    clock = f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"about {clock}, as on this machine before" if all(of.seen for of in expected) else f"at most about {clock}"


def _at_most(planned: PlannedStage) -> Forecast:
    """Return a bound from the sizes that are planned, at the speed of the machine of the committed results."""
    config, settings, task = planned.plan.config, planned.settings, make(planned.plan.config.task)
    solved = isinstance(task, ExactTask)
    horizon = min(task.horizon or LONGEST, LONGEST)
    actions = int(task.action_space.n) if isinstance(task.action_space, spaces.Discrete) else settings.actions
    futures = settings.times * actions * settings.futures * horizon / 2
    batches = settings.batches * config.n_envs * horizon
    sampled = settings.anchors * futures + batches
    if settings.precision is not None:
        sampled = max(sampled, settings.max_steps) + sampled
    in_company = [variant for variant in planned.plan.variants if not variant.alone]
    layouts = len({(variant.independent, variant.arm.group_baseline) for variant in in_company})
    companions = min(settings.accompanied, settings.anchors) * 2 * futures * settings.companions * layouts
    truths = 0 if solved else (2 if settings.precision is None else 4) * settings.truth_steps
    steps = sampled + companions * (config.n_envs - 1) + truths
    each = steps / STEPS_A_SECOND + (EXACT_SECONDS if solved and horizon > 1 else 1.0)
    trained = 0 if planned.stage == START or settings.policy is not None else config.budget * len(planned.seeds)
    held = max(batches, sampled / 2 if settings.precision is not None else 0)
    return Forecast(each * len(planned.seeds) + trained / TRAINED_A_SECOND, BASE_MEMORY + HELD_BYTES * held, seen=False)


_Seen = Mapping[tuple[str, str], Sequence[tuple[float, float]]]  # by task and stage: seconds of a policy, and bytes


def _as_before(planned: PlannedStage, seen: _Seen) -> Forecast | None:
    """Return what blocks of the same task and stage took; None where there are none."""
    found = np.array(seen.get((planned.task, planned.stage), ()))
    if not len(found):
        return None
    return Forecast(statistics.median(found[:, 0]) * len(planned.seeds), float(found[:, 1].max()), seen=True)


def _seen(study: Path) -> _Seen:
    """Return what the study's finished blocks took that this machine measured."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    here = provenance.host()["id"]
    for path in blocks.walk(study, blocks.LAB)[0]:
        try:
            block = blocks.read(path)
        except blocks.DamagedBlock:  # named where it is wanted
            continue
        if block is None or not block.finished or block.record["host"]["id"] != here or not block.seeds:
            continue
        took = block.record["wall_seconds"] / len(block.seeds), float(block.record["peak_memory_bytes"])
        found.setdefault((block.record["task"], block.record["stage"]), []).append(took)
    return found
