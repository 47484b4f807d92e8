"""The W&B mirror of a block: one W&B run per seed, made from the finished files.

The files are the truth. A mirror that cannot be made is a warning, never a failed run.
"""

import math
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.config import Config
from bench.runs import block as blocks
from bench.runs.curves import EVALUATIONS, TRAINING

FINAL_SHARE = 0.9  # the final score is the mean of the evaluations after this share of the budget
PATIENCE = 30.0  # seconds to wait for a server

Row = Mapping[str, Any]


class MirrorWarning(UserWarning):
    """Why a block has no mirror."""


def mirror(config: Config, directory: Path) -> None:
    """Write the W&B runs of the finished block in `directory`; what was mirrored before is left alone."""
    if config.wandb == "disabled":
        return
    block = blocks.read(directory)
    if block is None or not block.finished:
        return
    try:
        _mirror(config, block)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        warnings.warn(f"wandb={config.wandb}: not mirrored ({reason})", MirrorWarning, stacklevel=2)


def _mirror(config: Config, block: blocks.Block) -> None:
    folder = blocks.study_directory(config)
    histories = history(pq.read_table(block.path / TRAINING).to_pylist(), _evaluations(block))
    for seed in sorted(block.seeds):
        name = run_id(block, seed)
        if not any((folder / "wandb").glob(f"*run-*-{name}")):
            _write(config, block, seed, name, folder, histories.get(seed, []))


def run_id(block: blocks.Block, seed: int) -> str:
    """The W&B id of one seed: the same wherever and whenever it is mirrored, so that nothing is there twice."""
    return f"{block.record['hash']}-{seed:03d}"


def history(training: Iterable[Row], evaluations: Iterable[Row]) -> dict[int, list[dict[str, float]]]:
    """By seed, one row per step: the diagnostics of the update and the means of the evaluation at that step."""
    rows: dict[int, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in training:
        values = {name: value for name, value in row.items() if name not in ("seed", "step") and value is not None}
        rows[row["seed"]][row["step"]] |= values
    for (seed, step, mode), episodes in _grouped(evaluations, "seed", "step", "mode").items():
        for name in episodes[0].keys() - {"seed", "step", "mode", "episode"}:
            rows[seed][step][f"eval/{mode}_{name}"] = _mean([row[name] for row in episodes])
    return {seed: [{"step": step, **steps[step]} for step in sorted(steps)] for seed, steps in rows.items()}


def summary(block: blocks.Block, seed: int) -> dict[str, Any]:
    """How the seed ended: its outcome, and of a seed that is done the final score of each mode."""
    record = block.record
    result: dict[str, Any] = dict(record["seeds"][str(seed)])
    final = [row for row in _evaluations(block) if row["seed"] == seed and row["step"] > FINAL_SHARE * record["budget"]]
    if result["status"] == "done":
        random, reference = record["score"]["random"], record["score"]["reference"]
        for (mode,), episodes in _grouped(final, "mode").items():
            result[f"final_{mode}"] = _mean([row["return"] for row in episodes])
            result[f"normalised_{mode}"] = (result[f"final_{mode}"] - random) / (reference - random)
    return result


def _write(
    config: Config, block: blocks.Block, seed: int, name: str, folder: Path, rows: Sequence[dict[str, float]]
) -> None:
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # read at import; it would look up a name even offline
    import wandb

    if config.wandb == "online" and wandb.api.api_key is None:  # it would ask at the terminal
        raise RuntimeError("no API key: 'wandb login' or WANDB_API_KEY gives it one")
    record = block.record
    run = wandb.init(
        project=config.wandb_project,
        id=name,
        name=f"{record['task']} {record['arm']} {seed}",
        group=record["arm"],
        job_type=record["task"],
        tags=[record["study"], record["task"], record["arm"]],
        config=record["factors"] | {"seed": seed, "hash": record["hash"], "study": record["study"]},
        dir=folder,
        reinit="create_new",
        settings=_settings(wandb, config.wandb),
    )
    run.define_metric("*", step_metric="step")
    for row in rows:
        run.log(row)
    run.summary.update(summary(block, seed))
    run.finish()


def _settings(wandb: Any, mode: str) -> Any:
    """Nothing about the machine or its user, nothing printed, nothing that takes time."""
    return wandb.Settings(
        mode=mode,
        silent=True,
        console="off",
        init_timeout=PATIENCE,
        symlink=False,
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )


def _evaluations(block: blocks.Block) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(block.path / EVALUATIONS).to_pylist()
    return rows


def _grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
