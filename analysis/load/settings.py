"""The runs of designs of settings: a row for each setting and seed, apart from the runs of ordinary cells.

A design's blocks have numbers of runs where others have seeds; `bench.config.design` says how a setting and a seed make
one. Settings are no seeds, so their runs are in no table of arms.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.load.blocks import LoadedBlock, PlannedCell
from bench.config.design import seed_of, setting_of
from bench.verdicts.metrics import METRICS, Measured

COLUMNS = (
    "study", "design", "task", "arm", "hash", "stratum", "weight", "setting", "seed", "seed_pool", "status", "cause",
    "failed", "score", "start", "exact", "budget", "env_steps", "cpu_seconds", "block",
)  # fmt: skip
_RUN = ["task", "hash", "seed", "setting"]


def split(
    blocks: Sequence[LoadedBlock], plans: Sequence[PlannedCell]
) -> tuple[tuple[list[LoadedBlock], list[PlannedCell]], tuple[list[LoadedBlock], list[PlannedCell]]]:
    """Blocks and planned cells: the ordinary ones, and those of designs."""
    hashes = {cell.hash for cell in plans if cell.design}
    of_design = [block for block in blocks if "design" in block.record or block.record.get("hash") in hashes]
    paths = {block.path for block in of_design}
    ordinary = [block for block in blocks if block.path not in paths]
    return (ordinary, [cell for cell in plans if not cell.design]), (of_design, [cell for cell in plans if cell.design])


def frame(
    blocks: Sequence[LoadedBlock],
    plans: Sequence[PlannedCell],
    designs: Sequence[Mapping[str, Any]],
    exact: Collection[str],
    statuses: Sequence[str],
) -> pd.DataFrame:
    """The runs of designs.

    Args:
        blocks, plans: those of designs, see `split`.
        designs: the sections of the designs.
        exact: the tasks that are judged by exact returns.
        statuses: a run found several times counts as the first of these.

    Returns:
        `COLUMNS`, the keys of the designs' spaces (NaN where the arm does not read one) and the metrics there are.
        `score` is the normalised final score of the stochastic policy, 0 of a run that failed by itself; `start` that
        before training. A failed run has each metric's worst value. What is not there is NaN.
    """
    keys = list(dict.fromkeys(key for design in designs for key in design["space"]))
    rows = [row for index, block in enumerate(blocks) for row in _of_block(index, block, block.record["task"] in exact)]
    rows += [row for cell in plans for row in _planned(cell, designs)]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*COLUMNS, *keys, *METRICS])))
    table["_rank"] = table["status"].map(list(statuses).index)
    table = table.sort_values("_rank", kind="stable").drop_duplicates(_RUN).drop(columns="_rank")
    table = table.sort_values(["task", "arm", "seed_pool", "setting", "seed"], kind="stable").reset_index(drop=True)
    empty = [metric for metric in METRICS if table[metric].isna().all()]
    numbers = ("weight", "score", "start", "budget", "env_steps", "cpu_seconds", *keys)
    return table.drop(columns=empty).astype(dict.fromkeys(numbers, float) | {"failed": bool, "exact": bool})


def _of_block(index: int, block: LoadedBlock, exact: bool) -> Iterator[dict[str, Any]]:
    record = block.record
    design = record.get("design", {"name": "", "stratum": "", "weight": np.nan, "settings": {}})
    common = {"study": block.study, "block": index, "seed_pool": record.get("seed_pool"), "exact": exact}
    common |= {key: record.get(key) for key in ("task", "arm", "hash")} | {"budget": record.get("budget", np.nan)}
    common |= {"design": design["name"], "stratum": design["stratum"], "weight": design["weight"]}
    common["cpu_seconds"] = (record.get("cpu_seconds") or np.nan) / max(len(block.statuses), 1)
    measured = block.exact_measured if exact and block.exact_measured else block.measured
    for run, status in block.statuses.items():
        outcome = record.get("seeds", {}).get(str(run), {})
        status = "failed" if status == "done" and measured.get(run, ...) is None else status
        yield {
            **common, "setting": setting_of(run), "seed": seed_of(run), "status": status,
            "cause": outcome.get("cause"), "env_steps": outcome.get("env_steps", np.nan),
            **design["settings"].get(str(setting_of(run)), {}), **_scores(status, measured.get(run)),
        }  # fmt: skip


def _scores(status: str, run: Measured | None) -> dict[str, Any]:
    """What a run comes to."""
    if status == "failed":
        worst = {metric: about.worst for metric, about in METRICS.items() if np.isfinite(about.worst)}
        return {"failed": True, "score": 0.0, **worst}
    if status != "done" or run is None:
        return {"failed": False, "score": np.nan}
    values = {name: value for name, value in run.values.items() if name in METRICS or name == "start"}
    return {"failed": False, "score": run.values.get("final", np.nan), **values}


def _planned(cell: PlannedCell, designs: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of the runs that a study planned."""
    design: Mapping[str, Any] = next((each for each in designs if each["name"] == cell.design), {"strata": {}})
    weight = design["strata"].get(cell.stratum, {}).get("weight", np.nan)
    common = {"study": cell.study, "task": cell.task, "arm": cell.arm, "hash": cell.hash, "block": -1, "exact": False}
    common |= {"design": cell.design, "stratum": cell.stratum, "weight": weight, "status": "missing", "failed": False}
    common["seed_pool"] = cell.seed_pool
    for run in cell.seeds:
        yield {**common, "setting": setting_of(run), "seed": seed_of(run), "score": np.nan}
