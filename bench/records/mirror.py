"""The W&B mirror of a block: one W&B run per seed, made from the finished files.

The files are the truth, and what was mirrored before is left alone: any number of processes may mirror a block.
"""

import bisect
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import packs
from bench.errors import UserError, first_line
from bench.paths import refuse_links
from bench.records import block as blocks
from bench.records import files, index, scores
from bench.records.files import Damaged
from bench.records.tables import TRAINING, columns_of

COMPLETE = ".complete"  # in the folder of a run that was written to its end
PATIENCE = 30.0  # seconds to wait for a server


TableRow = Mapping[str, Any]  # of a Parquet file


def sync(results: Path, study: str, *, upload: bool) -> tuple[int, int, Path]:
    """Make up for every mirror that is missing, and upload those that W&B does not have; each run once.

    → how many runs were written, how many were there before, and the folder they are in.

    Raises:
        UserError: where there is no such study, a block of it is damaged, or W&B cannot be reached.
    """
    folder = index.study_folder(results, study)
    made = there = 0
    for cell in index.STUDY.read(folder)["cells"]:
        for block in blocks.in_cell(folder / cell["path"]):
            if block.finished:
                blocks.check(block)
                written = _written(block, folder)
                made, there = made + written, there + len(block.seeds) - written
    if upload:
        _upload(folder)
    return made, there, folder / "wandb"


def _written(block: blocks.Block, folder: Path) -> int:
    """How many offline runs of the block were missing, and are there now. Raises `UserError`."""
    try:
        return sum(1 for _ in write(block, folder, "offline"))
    except UserError:
        raise
    except Exception as error:  # whatever wandb raises
        raise UserError(f"{block.path}: not mirrored ({first_line(error)}); the same command goes on") from error


def _config(block: blocks.Block) -> dict[str, Any]:
    """The block's resolved configuration. Raises `UserError`."""
    try:
        return files.parse_yaml(packs.read_bytes(block.path / blocks.CONFIG))
    except (OSError, Damaged) as error:
        raise blocks.damaged(block.path, f"{blocks.CONFIG} cannot be read ({first_line(error)})") from error


def _project(block: blocks.Block, config: Mapping[str, Any]) -> str:
    """The W&B project its settings name. Raises `UserError`."""
    if "wandb_project" not in config:
        raise blocks.damaged(block.path, f"{blocks.CONFIG} names no wandb_project")
    return str(config["wandb_project"])


def _upload(folder: Path) -> None:
    """Let W&B's own program send the runs it has not sent; it marks those it has. Raises `UserError`."""
    waiting = [run for run in sorted((folder / "wandb").glob("offline-run-*")) if not list(run.glob("*.wandb.synced"))]
    for run in waiting:
        command = [sys.executable, "-m", "wandb", "sync", str(run)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode or not list(run.glob("*.wandb.synced")):
            said = (done.stderr or done.stdout).strip().splitlines() or ["it did not say why"]
            raise UserError(f"W&B did not take {run.name} ({said[-1]}); nothing is lost, the same command goes on")


def write(block: blocks.Block, study: Path, mode: str) -> Iterator[int]:
    """Write the W&B runs that a finished block lacks, and yield each seed whose run is now complete.

    `study` is the folder of the block's study, `mode` the setting `wandb`.

    Raises:
        UserError: where the block is damaged.
        Exception: whatever wandb raises; no run is left that was only begun.
    """
    seeds = missing(block, study)
    if not seeds:
        return
    _check_writable(study / "wandb")
    wandb = _wandb(mode)
    settings = _settings(wandb, mode)
    config = _config(block)
    project = _project(block, config)
    curves = blocks.curves(block)
    blocks.needed(block, TRAINING)
    updates = blocks.table(block, TRAINING, columns_of(TRAINING))
    histories = history(updates.to_pylist(), curves.to_pylist())
    summaries = summary(block.record, curves)
    for seed in seeds:
        with files.locked(study / "wandb"):
            if _complete(study, block, seed):
                continue  # another process was quicker
            _remove(study, block, seed)  # begun once, and not finished
            try:
                labels = {"id": run_id(block, seed), "project": project} | _labels(block.record, seed, config)
                _write_run(wandb, settings, study, labels, histories.get(seed, []), summaries[seed])
            except Exception:
                _remove(study, block, seed)
                raise
            for made in _runs(study, block, seed):
                (made / COMPLETE).touch()
        yield seed


def _write_run(
    wandb: Any,
    settings: Any,
    folder: Path,
    labels: Mapping[str, Any],
    rows: Iterable[Mapping[str, float]],
    summary: Mapping[str, Any],
) -> None:
    run = wandb.init(**labels, dir=folder, reinit="create_new", settings=settings)
    run.define_metric("*", step_metric="step")
    for row in rows:
        run.log(row)
    run.summary.update(summary)
    run.finish()


def rehearse() -> None:
    """Write a run that nobody wants, in a folder of its own: the first run is slow, as W&B loads and starts things.

    Raises:
        Exception: whatever wandb raises.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        wandb = _wandb("offline")
        labels = {"id": "rehearsal", "project": "rehearsal"}
        _write_run(wandb, _settings(wandb, "offline"), Path(folder), labels, [{"step": 0}], {"status": "done"})


def end() -> None:
    """Let W&B's service end. Raises whatever wandb raises, and ImportError where there is none."""
    import wandb

    wandb.teardown()


def missing(block: blocks.Block, study: Path) -> list[int]:
    """The seeds of a finished block that have no complete W&B run."""
    return [seed for seed in sorted(block.seeds) if not _complete(study, block, seed)]


def _check_writable(folder: Path) -> None:
    """Raise `OSError` for a link, and where W&B could not write; it would do so elsewhere, where nobody looks."""
    refuse_links(folder, 2)
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _complete(folder: Path, block: blocks.Block, seed: int) -> bool:
    return any((run / COMPLETE).exists() for run in _runs(folder, block, seed))


def _remove(folder: Path, block: blocks.Block, seed: int) -> None:
    for begun in _runs(folder, block, seed):
        shutil.rmtree(begun)


def _runs(folder: Path, block: blocks.Block, seed: int) -> list[Path]:
    """The folders W&B keeps of a seed's run."""
    return list((folder / "wandb").glob(f"*run-*-{run_id(block, seed)}"))


def run_id(block: blocks.Block, seed: int) -> str:
    """The W&B id of one seed: the same wherever and whenever it is mirrored, so that nothing is there twice."""
    return f"{block.record['hash']}-{seed:03d}"


def history(training: Iterable[TableRow], curves: Iterable[TableRow]) -> dict[int, list[dict[str, float]]]:
    """By seed, a row for each step of the evaluations: what curves have there, and means of the updates since the last.

    `update` is the last of these updates. What a seed learned after its last evaluation has a row at its last update.
    """
    rows: dict[int, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in curves:
        values = {name: row[name] for name in row.keys() - {"seed", "step", "mode"} if row[name] is not None}
        rows[row["seed"]][row["step"]] |= {f"eval/{row['mode']}_{name}": value for name, value in values.items()}
    grid = sorted({step for steps in rows.values() for step in steps})
    updates: dict[int, dict[int, list[TableRow]]] = defaultdict(lambda: defaultdict(list))
    for row in training:
        place = bisect.bisect_left(grid, row["step"])
        updates[row["seed"]][grid[place] if place < len(grid) else row["step"]].append(row)
    for seed, by_step in updates.items():
        for step, some in by_step.items():
            rows[seed][step] |= _means(some)
    return {seed: [{"step": step, **steps[step]} for step in sorted(steps)] for seed, steps in rows.items()}


def _means(updates: Sequence[TableRow]) -> dict[str, float]:
    """The means of diagnostics where they are numbers, and the number of the last update."""
    means: dict[str, float] = {"update": updates[-1]["update"]}
    for name in updates[0].keys() - {"seed", "step", "update"}:
        present = [row[name] for row in updates if row[name] is not None]
        known = [value for value in present if not math.isnan(value)]
        if present:
            means[name] = sum(known) / len(known) if known else math.nan
    return means


def summary(record: Mapping[str, Any], curves: pa.Table) -> dict[int, dict[str, Any]]:
    """By seed, how it ended: its outcome, and where it is done the final score of each mode."""
    result: dict[int, dict[str, Any]] = {int(seed): dict(outcome) for seed, outcome in record["seeds"].items()}
    random, reference = record["score"]["random"], record["score"]["reference"]
    for (seed, mode), score in scores.final_scores(curves, record["budget"], scores.judged(curves)).items():
        if result[seed]["status"] == "done":
            normalised = (score - random) / (reference - random)
            result[seed] |= {f"final_{mode}": score, f"normalised_{mode}": normalised}
    return result


def _labels(record: Mapping[str, Any], seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What W&B's tables group and filter by; all settings stand under `settings`.

    The group is the cell as its folder is called: arms of one name may differ in anything else.
    """
    cell = f"{record['arm']}-{record['hash']}"
    return {
        "name": f"{record['task']} {cell} {seed}",
        "group": cell,
        "job_type": record["task"],
        "tags": [record["study"], record["task"], record["arm"]],
        "config": record["factors"]
        | {"seed": seed, "hash": record["hash"], "study": record["study"], "record": _of_block(record)}
        | {"settings": settings},
    }


def _of_block(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says of the block as a whole: bounds, costs, provenance; enough to rebuild it from its runs."""
    elsewhere = ("schema", "study", "task", "arm", "hash", "factors", "seeds", "checksums", files.SEAL)
    return {key: value for key, value in record.items() if key not in elsewhere}


def _wandb(mode: str) -> Any:
    """The library. Raises `RuntimeError` where it would ask for a key at the terminal."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # read at import; it would look up a name even offline
    import wandb

    if mode == "online" and not wandb.login(prompt=False):
        raise RuntimeError("no API key: 'wandb login' or WANDB_API_KEY gives it one")
    return wandb


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
