"""What the tasks and arms of result folders are called, and which of them belong together."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.load.blocks import LoadedBlock, PlannedCell
from bench.config import names

COMPARED = ("advantage", "baseline", "update")  # what studies are about, the first first
WIDEST_LEVEL = 40  # letters of a factor's level
MOST_TOGETHER = 8  # more lines with bands on one axis cannot be told apart
LEAST_TOGETHER = 3  # arms a panel, on average: a panel of one line compares nothing


def arm_labels(runs: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """A label for every row of `runs`, the same for the same arm on every task; see `bench.config.names`."""
    cells = runs.drop_duplicates(["task", "hash"])
    rows = cells[list(factors)].to_dict("records")
    named = [
        names.Named(task, arm, digest, {str(key): value for key, value in row.items() if not _absent(value)})
        for task, arm, digest, row in zip(cells["task"], cells["arm"], cells["hash"], rows, strict=True)
    ]
    text = {(cell.task, cell.hash): label for cell, label in zip(named, names.arm_labels(named), strict=True)}
    return [text[key] for key in zip(runs["task"], runs["hash"], strict=True)]


def with_tasks_apart(
    blocks: Sequence[LoadedBlock], plans: Sequence[PlannedCell]
) -> tuple[list[LoadedBlock], list[PlannedCell]]:
    """Blocks and planned cells with labels for their tasks, so that no environment is taken for an arm of another."""
    named = [_named(block.record) for block in blocks]
    known = [cell for cell in named if cell is not None]
    label = dict(zip(((cell.task, cell.hash) for cell in known), names.task_labels(known), strict=True))
    recorded = {
        (block.record["task"], block.record["hash"]): label[cell.task, cell.hash]
        for block, cell in zip(blocks, named, strict=True)
        if cell is not None
    }

    def renamed(block: LoadedBlock) -> LoadedBlock:
        task = recorded.get((block.record.get("task"), block.record.get("hash")))
        return block if task is None else replace(block, record={**block.record, "task": task})

    cells = [replace(cell, task=recorded.get((cell.task, cell.hash), cell.task)) for cell in plans]
    return list(map(renamed, blocks)), cells


def _named(record: Mapping[str, Any]) -> names.Named | None:
    """What a record says of its cell; None where it cannot be read."""
    factors = record.get("factors")
    if factors is None:
        return None
    task = names.recorded_task(record["task"], factors)
    return names.Named(task, record["arm"], record["hash"], factors)


def families(runs: pd.DataFrame, factors: Sequence[str], swept: Sequence[str], least: int) -> dict[str, pd.DataFrame]:
    """The runs of one task that differ in `swept` alone, by what they are called.

    Args:
        runs: of one task; arms of one `name` may belong together.
        factors: names of all factor columns of `runs`.
        swept: the factors a figure has on its axes. What follows from them (as many groups as make 64 episodes) may
            differ with them; arms that differ in anything else are families of their own.
        least: how many levels a family must have of each.
    """
    found: list[tuple[str, dict[str, object], pd.DataFrame]] = []
    for name, mine in runs.groupby("name", sort=False):
        others = [factor for factor in factors if factor not in swept]
        by_level = mine.groupby(list(swept))
        free = [factor for factor in others if by_level[factor].nunique(dropna=False).max() > 1]
        pieces = mine.groupby(free, dropna=False, sort=False) if free else [((), mine)]
        found += [
            (str(name), dict(zip(free, key, strict=True)), piece)
            for key, piece in pieces
            if all(piece[factor].nunique() >= least for factor in swept)
        ]
    levels: dict[tuple[str, str], set[str]] = {}
    for name, key, _ in found:
        for factor, level in key.items():
            levels.setdefault((name, factor), set()).add(str(level))
    labelled = {}
    for name, key, piece in found:
        told = [f"{factor}={level}" for factor, level in key.items() if len(levels[name, factor]) > 1]
        labelled[f"{name} ({', '.join(told)})" if told else name] = piece
    return labelled


def together(runs: pd.DataFrame, factors: Sequence[str] = COMPARED, most: int = MOST_TOGETHER) -> dict[str, list[str]]:
    """The arms that are drawn on one axis, by what they have in common: all, where these are few.

    What is compared stays on one axis: of many arms the return target where they have several, else the baseline, the
    objective, or what has the most levels. They are split by the factors, three at most, that give the fewest parts;
    where no factors split them small enough, they are taken in order.

    Args:
        runs: of arms that are seen together.
        factors: names of the factor columns that may split them.
        most: arms on one axis.
    """
    arms = [str(name) for name in runs["arm"].unique()]
    if len(arms) <= most:
        return {"": arms}
    rows = runs.drop_duplicates("arm") if "arm" in runs else runs
    known = {factor: levels(runs, factor) for factor in dict.fromkeys((*COMPARED, *factors)) if factor in rows}
    varying = [factor for factor, own in known.items() if len({*map(str, own.values())} - {"None", "nan"}) > 1]
    free = [factor for factor in varying if factor != _compared(varying, known)]
    usual = [factor for factor in free if factor in COMPARED]
    for candidates, number in ((usual, 1), (usual, 2), (free, 1), (free, 2), (free, 3)):
        splits = [_split(arms, known, chosen) for chosen in itertools.combinations(candidates, number)]
        fit = [
            parts
            for parts in splits
            if max(map(len, parts.values())) <= most and LEAST_TOGETHER * len(parts) <= len(arms)
        ]
        if fit:
            return min(fit, key=len)
    parts = [arms[start : start + most] for start in range(0, len(arms), most)]
    return {f"part {place} of {len(parts)}": part for place, part in enumerate(parts, start=1)}


def _compared(varying: Sequence[str], known: Mapping[str, Mapping[str, object]]) -> str | None:
    """The factor whose levels are never taken apart."""
    by_levels = sorted(varying, key=lambda factor: -len({*map(str, known[factor].values())}))
    return next(iter([*(factor for factor in COMPARED if factor in varying), *by_levels]), None)


def _split(arms: Sequence[str], known: Mapping[str, Mapping[str, object]], by: Sequence[str]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for arm in arms:
        parts.setdefault(", ".join(level_text(factor, known[factor][arm]) for factor in by), []).append(arm)
    return parts


def level_text(factor: str, level: object) -> str:
    """`baseline = critic`: what stands above a panel; values of others are text of one line.

    Whole numbers lose the `.0` that pandas gives them where other arms have none.
    """
    return f"{factor} = {'other' if _absent(level) else names.bounded(str(level).removesuffix('.0'), WIDEST_LEVEL)}"


def related(runs: pd.DataFrame) -> list[tuple[list[str], set[str]]]:
    """Tasks that have arms in common, with their arms: where two share none, each is an experiment of its own."""
    groups: list[tuple[list[str], set[str]]] = []
    for task, found in runs.groupby("task", sort=False)["arm"].unique().items():
        arms = set(map(str, found))
        alike = [group for group in groups if group[1] & arms]
        groups = [group for group in groups if group not in alike]
        tasks = [name for names, _ in alike for name in names]
        groups.append(([*tasks, str(task)], arms.union(*(own for _, own in alike))))
    return groups


def levels(runs: pd.DataFrame, factor: str) -> dict[str, object]:
    """By arm, in order of appearance, its level of a factor; None where no run knows it, as of planned ones."""
    arms = dict.fromkeys(map(str, runs["arm"]))
    if factor not in runs:
        return dict.fromkeys(arms)
    known = runs[runs[factor].notna()].drop_duplicates("arm").set_index("arm")[factor]
    return {arm: known.get(arm) for arm in arms}


def _absent(value: object) -> bool:
    return value is None or value != value
