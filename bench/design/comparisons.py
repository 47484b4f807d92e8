"""What a study that goes on until it is decided compares, and the values its blocks have for it.

A study with claims compares what they say, every other one each arm with the control.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cells.grids import Cell
from bench.cells.labels import labels
from bench.config.identity import cell_hash, factors
from bench.config.schema import Config
from bench.design.selection import MODE
from bench.errors import UserError
from bench.records import block as blocks
from bench.records import scores
from bench.verdicts import hypotheses
from bench.verdicts.curves import area_under_curve
from bench.verdicts.hypotheses import CONSTANT, Claim, ClaimsFile
from bench.verdicts.selection import Factors, confounded, not_comparable, selects
from bench.verdicts.words import Direction

MARGIN = 0.05  # smallest effect of interest where no claim says one, on the normalised scale
POOL = "seed_pool"  # the key of a cell and of a claim
METRICS: Mapping[str, str] = {  # those that are judged by looks, and the mode of evaluation they are of
    "final": MODE,
    "final_deterministic": "deterministic",
    "area": MODE,
}
MOST_PAIRS = 5120  # a cell may have 10,000 seeds, and the next look would have more
RANGE = 1.0  # of each of these metrics
FAILED = 0.0  # what a failed run counts as on the normalised scale: the random policy's score

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A cell: its hash, and its folder below the study's."""

    hash: str
    path: str


@dataclass(frozen=True)
class Comparison:
    """An arm against another on a task, or against a constant.

    Attributes:
        name: the claim's, with its file's; else the arm's.
        arm, against: labels; of a constant its value.
        cells: the arm's, and the other's where it is an arm.
        constant: the fixed value it is compared with; None where that is an arm.
        margin: the smallest effect of interest.
        share: of the level of its family.
    """

    name: str
    task: str
    arm: str
    against: str
    cells: tuple[Place, ...]
    constant: float | None
    metric: str
    direction: Direction
    margin: float
    share: float

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others of its study."""
        return self.name, self.task

    def planned(self) -> dict[str, Any]:
        """Its entry in the ledger's design."""
        return {**asdict(self), "cells": [asdict(cell) for cell in self.cells]}

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Comparison":
        """The comparison of an entry that `planned` made."""
        known = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**{**known, "cells": tuple(Place(cell["hash"], cell["path"]) for cell in row["cells"])})


@dataclass
class Planned:
    """The comparisons of a study, what of it is left out and why, and the claims files they are from."""

    rows: list[Comparison] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    files: list[ClaimsFile] = field(default_factory=list)


@dataclass(frozen=True)
class _Arm:
    config: Config
    task: str
    label: str
    place: Place
    factors: Factors

    @property
    def name(self) -> str:
        return self.label.removeprefix(f"{self.task} ")


def plan(cells: Sequence[Cell]) -> Planned:
    """The comparisons of one study's cells. Raises `UserError` where there are none."""
    study = cells[0].config.study
    arms = _arms(cells)
    files = _files(study.name)
    planned = _of_claims(study.name, arms, files) if files else _with_control(study.control, arms)
    if not planned.rows:
        reasons = planned.left_out or [f"study {study.name} has no claims and no study.control to compare arms with"]
        raise UserError("until=decided: there is nothing to decide:", reasons)
    return planned


def on_judging_pools(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of one study, on the pools of seeds that its claims are judged on.

    Those whose pool was asked for, and those of a study without claims, stay on theirs.
    """
    study = cells[0].config.study.name
    pools = dict.fromkeys(claim.seed_pool for file in _files(study) for claim in _claims(file, study).values())
    found: list[Cell] = []
    for cell in cells:
        if not pools or POOL in cell.choices or cell.vary is None:
            found.append(cell)
        else:
            found += [cell if pool == cell.config.seed_pool else cell.vary({POOL: pool}) for pool in pools]
    return found


def _files(study: str) -> list[ClaimsFile]:
    """The claims files with claims that are judged in a study."""
    return [file for file in hypotheses.read_all() if _claims(file, study)]


def _claims(file: ClaimsFile, study: str) -> dict[str, Claim]:
    return {name: claim for name, claim in file.claims.items() if study in claim.studies}


def _arms(cells: Sequence[Cell]) -> list[_Arm]:
    """The cells, each once, with what they are called."""
    called = labels([cell.config for cell in cells])
    found: dict[str, _Arm] = {}
    for cell in cells:
        config, digest = cell.config, cell_hash(cell.config)
        if digest not in found:
            place = Place(digest, _relative(config))
            own = {**factors(config), "name": config.arm_name, POOL: config.seed_pool}
            found[digest] = _Arm(config, config.task_name, called[digest, config.arm_name], place, own)
    return list(found.values())


def _relative(config: Config) -> str:
    return blocks.cell_directory(config).relative_to(blocks.study_directory(config)).as_posix()


def _with_control(control: str | None, arms: Sequence[_Arm]) -> Planned:
    """Every arm against the control of its task."""
    planned = Planned()
    if control is None:
        return planned
    found: list[tuple[_Arm, _Arm]] = []
    for task in dict.fromkeys(arm.task for arm in arms):
        mine = [arm for arm in arms if arm.task == task]
        controls = [arm for arm in mine if arm.config.arm_name == control]
        if len(controls) != 1:
            planned.left_out.append(f"{task}: {len(controls)} arms are called {control}, the control")
            continue
        for arm in mine:
            reason = not_comparable(arm.factors, controls[0].factors)
            if reason:
                planned.left_out.append(f"{arm.label}: {reason}")
            elif arm is not controls[0]:
                found.append((arm, controls[0]))
    for arm, other in found:
        cells = (arm.place, other.place)
        share = 1 / len(found)
        planned.rows.append(
            Comparison(arm.name, arm.task, arm.name, other.name, cells, None, "final", "higher", MARGIN, share)
        )
    return planned


def _of_claims(study: str, arms: Sequence[_Arm], files: Sequence[ClaimsFile]) -> Planned:
    """The rows of claims files; those of a file share its level, with its rows that this study does not have."""
    planned = Planned(files=list(files))
    for file in files:
        share = 1 / sum(len(claim.tasks) for claim in file.claims.values())
        for name, claim in _claims(file, study).items():
            for task in claim.tasks:
                row = _claimed(f"{file.path.stem}.{name}", claim, task, arms, share)
                if isinstance(row, str):
                    planned.left_out.append(f"{file.path.stem}.{name} on {task}: {row}")
                else:
                    planned.rows.append(row)
    return planned


def _claimed(name: str, claim: Claim, task: str, arms: Sequence[_Arm], share: float) -> Comparison | str:
    """The comparison of a claim on a task, or why there is none."""
    if claim.metric not in METRICS:
        return f"its metric {claim.metric} is not judged by looks"
    if claim.sesoi == 0:
        return "it has no smallest effect of interest (sesoi)"
    of_task = [arm for arm in arms if arm.task == task]
    mine = [arm for arm in of_task if selects({**claim.among, POOL: claim.seed_pool}, arm.factors)]
    if of_task and not any(arm.factors[POOL] == claim.seed_pool for arm in of_task):
        return f"it is judged on {POOL}={claim.seed_pool}, and {POOL}={of_task[0].factors[POOL]} was asked for"
    chosen: list[_Arm] = []
    for selector in (claim.arm, claim.against):
        if CONSTANT not in selector:
            found = [arm for arm in mine if selects(selector, arm.factors)]
            if len(found) != 1:
                text = ", ".join(f"{factor}={value}" for factor, value in selector.items())
                return f"{len(found)} of the arms have {text}"
            chosen += found
    named = {*claim.arm, *claim.against, "name"}
    if len(chosen) == 2 and (reason := confounded(chosen[0].factors, chosen[1].factors, named)):
        return reason
    constant = None if len(chosen) == 2 else float(claim.against[CONSTANT])
    against = chosen[1].name if constant is None else f"{constant:g}"
    cells = tuple(arm.place for arm in chosen)
    return Comparison(
        name, task, chosen[0].name, against, cells, constant, claim.metric, claim.direction, claim.sesoi, share
    )


@dataclass(frozen=True)
class Runs:
    """The first runs of a cell, seeds 0 to n − 1, on the normalised scale.

    Attributes:
        values: by metric, (n,), the worst value of the metric for a run that failed.
        gains: (n,), final score less that at the start; 0 for a run that failed.
        failed: the seeds that did.
    """

    values: Mapping[str, Array]
    gains: Array
    failed: tuple[int, ...]


def finished(study: Path, place: Place) -> list[blocks.Block]:
    """The finished blocks of a cell, by name. Raises `UserError` for a damaged one."""
    return [block for block in blocks.in_cell(study / place.path) if block.finished]


def is_exact(found: Sequence[blocks.Block]) -> bool:
    """Whether every evaluation in these blocks of a cell has the exact return. Raises `UserError` for a damaged one."""
    return all(scores.is_exact(table) for block in found if len(table := blocks.curves(block)))


def runs(found: Sequence[blocks.Block], pairs: int, column: str = "return") -> Runs:
    """What the blocks of a cell have of its seeds below `pairs`, all of which are finished.

    Of several runs of a seed the first that was begun counts, so that one that failed by itself has failed for good.

    Args:
        found: the blocks.
        pairs: how many seeds.
        column: of the curves, which is judged: the mean return of episodes, or the exact one.

    Raises:
        UserError: for a damaged block.
    """
    points: dict[int, dict[str, list[tuple[int, float]]]] = {}
    finals: dict[int, dict[str, float]] = {}
    seen: set[int] = set()
    for block in sorted(found, key=lambda block: str(block.record.get("started", ""))):
        wanted = block.taken("failed") - seen
        seen |= block.seeds
        if not any(seed < pairs for seed in wanted):
            continue
        table, score = blocks.curves(block), block.record["score"]
        low, width = score["random"], score["reference"] - score["random"]
        if not width:
            raise blocks.damaged(block.path, f"score bounds {[*score.values()]} must be two different numbers")
        for row in table.select(["seed", "step", "mode", column]).to_pylist():
            if row["seed"] in wanted:
                curve = points.setdefault(row["seed"], {}).setdefault(row["mode"], [])
                curve.append((row["step"], (row[column] - low) / width))
        for (seed, mode), final in scores.final_scores(table, block.record["budget"], column).items():
            if seed in wanted:
                finals.setdefault(seed, {})[mode] = (final - low) / width
    failed: list[int] = []
    values = {metric: np.full(pairs, FAILED) for metric in METRICS}
    gains = np.zeros(pairs)
    for seed in range(pairs):
        own = _of_run(points.get(seed, {}), finals.get(seed, {}))
        if own is None:
            failed.append(seed)
            continue
        for metric, value in own.items():
            values[metric][seed] = value
        gains[seed] = own["final"] - min(points[seed][MODE])[1]
    return Runs(values, gains, tuple(failed))


def _of_run(points: Mapping[str, list[tuple[int, float]]], finals: Mapping[str, float]) -> dict[str, float] | None:
    """The metrics of a run; None where one of its numbers is not finite, or not there."""
    if not all(mode in points and mode in finals for mode in blocks.MODES):
        return None
    curve = sorted(points[MODE])
    found = {metric: finals[mode] for metric, mode in METRICS.items()}
    if len(curve) < 2 or not all(math.isfinite(value) for _, value in curve):
        return None
    found["area"] = float(area_under_curve([step for step, _ in curve], [value for _, value in curve]))
    return found if all(map(math.isfinite, found.values())) else None
