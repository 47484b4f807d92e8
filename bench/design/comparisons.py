"""What a study that goes on until it is decided compares, and the values its blocks have for it.

A study with claims compares what they say, every other one each arm with the control.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.cells.grids import Cell
from bench.cells.labels import labels
from bench.config.identity import cell_hash, factors
from bench.config.schema import Config
from bench.errors import UserError
from bench.records import block as blocks
from bench.records import scores
from bench.records.files import Damaged
from bench.verdicts import hypotheses, metrics, selection
from bench.verdicts.hypotheses import CONSTANT, Claim, ClaimsFile
from bench.verdicts.judge import MARGIN, Question
from bench.verdicts.metrics import METRICS, Seeds
from bench.verdicts.selection import POOL, Factors, not_comparable
from bench.verdicts.words import Direction

MOST_PAIRS = 5120  # a cell may have 10,000 seeds, and the next look would have more


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
        logarithm, limits: see `bench.verdicts.judge.Question`.
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
    logarithm: bool = False
    limits: tuple[float, float] | None = None

    @property
    def question(self) -> Question:
        """What is asked of its arms."""
        return Question(
            self.metric, self.direction, self.margin, self.share, self.constant, self.logarithm, self.limits
        )

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others of its study."""
        return self.name, self.task

    def planned(self) -> dict[str, Any]:
        """Its entry in the ledger's design."""
        limits = None if self.limits is None else list(self.limits)
        return {**asdict(self), "cells": [asdict(cell) for cell in self.cells], "limits": limits}

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Comparison":
        """The comparison of an entry that `planned` made."""
        known = {name: row[name] for name in cls.__dataclass_fields__}
        limits = None if row["limits"] is None else tuple(row["limits"])
        cells = tuple(Place(cell["hash"], cell["path"]) for cell in row["cells"])
        return cls(**{**known, "cells": cells, "limits": limits})


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


def plan(cells: Sequence[Cell], max_pairs: int) -> Planned:
    """The comparisons of one study's cells, with at most so many pairs. Raises `UserError` where there are none."""
    study = cells[0].config.study
    arms = _arms(cells)
    files = _files(study.name)
    planned = _of_claims(study.name, arms, files, max_pairs) if files else _with_control(study.control, arms)
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


def _of_claims(study: str, arms: Sequence[_Arm], files: Sequence[ClaimsFile], max_pairs: int) -> Planned:
    """The rows of claims files; those of a file share its level, with its rows that this study does not have."""
    planned = Planned(files=list(files))
    for file in files:
        for name, claim in _claims(file, study).items():
            for task in claim.tasks:
                row = _claimed(f"{file.path.stem}.{name}", claim, task, arms, file.share(claim), max_pairs)
                if isinstance(row, str):
                    planned.left_out.append(f"{file.path.stem}.{name} on {task}: {row}")
                else:
                    planned.rows.append(row)
    return planned


def _claimed(
    name: str, claim: Claim, task: str, arms: Sequence[_Arm], share: float, max_pairs: int
) -> Comparison | str:
    """The comparison of a claim on a task, or why there is none."""
    if claim.withdrawn is not None:
        return f"withdrawn: {claim.withdrawn}"
    if claim.metric not in METRICS:
        return f"its metric {claim.metric} is not judged by looks: the laboratory measures it"
    chosen = selection.chosen(claim, [arm for arm in arms if arm.task == task])
    if isinstance(chosen, str):
        return chosen
    constant = None if len(chosen) == 2 else float(claim.against[CONSTANT])
    row = Comparison(
        name,
        task,
        chosen[0].name,
        chosen[1].name if constant is None else f"{constant:g}",
        tuple(arm.place for arm in chosen),
        constant,
        claim.metric,
        claim.direction,
        claim.sesoi,
        share,
        claim.logarithm,
        claim.range,
    )
    if row.question.span is None:
        return f"its metric {claim.metric} has no range, which looks need: the claim must declare one"
    if max_pairs < row.question.traits.first_look:
        return f"its metric {claim.metric} is first looked at with {row.question.traits.first_look} pairs"
    return row


def finished(study: Path, place: Place) -> list[blocks.Block]:
    """The finished blocks of a cell, by name. Raises `UserError` for a damaged one."""
    return [block for block in blocks.in_cell(study / place.path) if block.finished]


def is_exact(found: Sequence[blocks.Block]) -> bool:
    """Whether every evaluation in these blocks of a cell has the exact return. Raises `UserError` for a damaged one."""
    return all(scores.is_exact(table) for block in found if len(table := blocks.curves(block)))


def measured(found: Sequence[blocks.Block], wanted: Collection[int], *, exact: bool) -> Seeds:
    """What the blocks of a cell have of these seeds; of several runs of a seed the one that was begun first.

    Args:
        found: the blocks.
        wanted: the seeds; a block with none of them is not read.
        exact: whether to take exact returns.

    Raises:
        UserError: for a damaged block.
    """
    read = []
    for block in found:
        if block.seeds.isdisjoint(wanted):
            continue
        if block.record["score"]["random"] == block.record["score"]["reference"]:
            bounds = [*block.record["score"].values()]
            raise blocks.damaged(block.path, f"score bounds {bounds} must be two different numbers")
        try:
            played = None if exact else metrics.episodes(block)
        except Damaged as error:
            raise blocks.damaged(block.path, str(error)) from error
        read.append((block.record, metrics.of_block(block, blocks.curves(block), played, exact=exact)))
    return metrics.merged(read)
