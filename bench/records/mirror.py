"""The W&B mirror of a block: one W&B run per seed, made from the finished files, offline; see `sending` for the rest.

The files are the truth, and what was mirrored before is left alone: any number of processes may mirror a block. A run
is complete where it bears the checksum of the block that it was made from.
"""

import bisect
import dataclasses
import datetime
import hashlib
import json
import math
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import packs
from bench.config.design import seed_of, setting_of
from bench.errors import first_line
from bench.paths import read_file, refuse_links
from bench.records import block as blocks
from bench.records import files, partial, provenance, scores, wandb_file
from bench.records.fields import DESIGN
from bench.records.files import Damaged
from bench.records.metrics import HALVES
from bench.records.tables import TRAINING, columns_of, curve_rows

# In the folder of a run, once it was written to its end and once W&B has it: the checksum of its block.
COMPLETE, SENT = ".complete", ".sent"
SENT_KEY = "sent"  # of a run's configuration: how much its history has
RUN_KEY = "run"  # of the configuration of a design's run: its setting, the seed of its streams, its numbers
FOLDER = "wandb"  # of a study, with the offline runs
SENDING = ".sending"  # in it, the folder whose lock the process has that sends some of them
LIVE = "live"  # in the names of the runs of what is being trained, and of their project
LARGEST_MARK = 1 << 10  # bytes
LONGEST_TAG = 64  # letters, for W&B

TableRow = Mapping[str, Any]  # of a Parquet file


def _config(block: blocks.Block) -> dict[str, Any]:
    """The block's resolved configuration. Raises `UserError`."""
    try:
        return files.parse_yaml(packs.read_bytes(block.path / blocks.CONFIG))
    except (OSError, Damaged) as error:
        raise blocks.damaged(block.path, f"{blocks.CONFIG} cannot be read ({first_line(error)})") from error


def project(block: blocks.Block) -> str:
    """The W&B project that a block's settings name. Raises `UserError`."""
    return _project(block, _config(block))


def _project(block: blocks.Block, config: Mapping[str, Any]) -> str:
    if "wandb_project" not in config:
        raise blocks.damaged(block.path, f"{blocks.CONFIG} names no wandb_project")
    return str(config["wandb_project"])


@dataclass(frozen=True)
class Extra:
    """What the user wants W&B's tables to have beside: tags, and a group in place of a run's cell."""

    tags: tuple[str, ...] = ()
    group: str | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Extra":
        """That of the environment, as W&B reads it."""
        tags = (tag.strip() for tag in environ.get("WANDB_TAGS", "").split(","))
        return cls(tuple(filter(None, tags)), environ.get("WANDB_RUN_GROUP") or None)


def write(block: blocks.Block, study: Path, extra: Extra = Extra()) -> Iterator[int]:
    """Write the offline runs that a finished block lacks, and yield each seed whose run is now complete.

    `study` is the folder of the block's study.

    Raises:
        UserError: where the block is damaged, or holds what the environment keeps secret.
        Exception: whatever wandb raises; no run is left that was only begun.
    """
    seeds = missing(block, study)
    if not seeds:
        return
    _check_writable(study / FOLDER)
    for seed, run in runs(block, seeds, extra).items():
        content = wandb_file.content(run)
        with files.locked(study / FOLDER):
            if is_marked(COMPLETE, block, seed, study):
                continue  # another process was quicker
            if (begun := folder(study, block, seed)).is_dir():
                shutil.rmtree(begun)
            _put(study / FOLDER, run, content, checksum(block))
        yield seed


def _put(folder: Path, run: wandb_file.Run, content: bytes, checksum: str) -> None:
    """Put a run's folder in place in one step. Raises `OSError`."""
    begun = folder / f"{files.WRITING}{run.id}"
    shutil.rmtree(begun, ignore_errors=True)  # a killed process has left it
    begun.mkdir()
    try:
        (begun / run.file).write_bytes(content)
        (begun / COMPLETE).write_text(checksum)
        begun.rename(folder / run.folder)
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def runs(block: blocks.Block, seeds: Iterable[int], extra: Extra = Extra()) -> dict[int, wandb_file.Run]:
    """The W&B runs of some seeds of a finished block. Raises `UserError` where it is damaged."""
    config = _config(block)
    curves = blocks.curves(block)
    blocks.needed(block, TRAINING)
    points = curves.to_pylist()
    histories = history(blocks.table(block, TRAINING, columns_of(TRAINING)).to_pylist(), points)
    summaries = summary(block.record, curves)
    found = {}
    for seed in seeds:
        rows = histories.get(seed, [])
        sent = {
            "rows": len(rows),
            "points": sum(point["seed"] == seed for point in points),
            "updates": sum("update" in row for row in rows),
        }
        run = _run(block, seed, config, extra, sent)
        provenance.refuse_secrets(str(run))
        found[seed] = dataclasses.replace(run, history=rows, summary=summaries[seed])
    return found


def live(block: blocks.Block, moment: partial.Partial, extra: Extra = Extra()) -> list[wandb_file.Run]:
    """The W&B runs of a block that is being trained, with what its last saved moment has of each seed.

    They are of a project of their own and have names of their own: what a run has cannot be forgotten, and the name of
    a finished block's run is known when it is finished. A row is there once the next evaluation is: it does not change.

    Raises:
        UserError: where the block's settings cannot be read.
    """
    config = _config(block)
    points = curve_rows(moment.episodes, moment.exact_returns)
    last = {seed: max((row["step"] for row in points if row["seed"] == seed), default=-1) for seed in block.seeds}
    until = min(last.values())
    columns = {name for row in moment.training for name in row}
    training = [{name: row.get(name) for name in columns} for row in moment.training if int(row["step"]) <= until]
    histories = history(training, [row for row in points if row["step"] <= until])
    record = {**block.record, "finished": datetime.datetime.now(datetime.UTC).isoformat()}
    begun = dataclasses.replace(block, record=record)
    key = hashlib.sha256(f"{record['study']} {record['started']}".encode()).hexdigest()[:8]
    found = []
    for seed in sorted(block.seeds):
        run = dataclasses.replace(
            _run(begun, seed, config, extra, {"rows": len(histories.get(seed, []))}),
            id=f"{record['hash']}-{seed:03d}-{LIVE}-{key}",
            project=f"{_project(block, config)}-{LIVE}",
            history=histories.get(seed, []),
        )
        provenance.refuse_secrets(str(run))
        found.append(run)
    return found


def _run(
    block: blocks.Block, seed: int, config: Mapping[str, Any], extra: Extra, sent: Mapping[str, int]
) -> wandb_file.Run:
    """A run without its numbers: what W&B's tables group and filter by; all settings stand under `settings`.

    The group is the cell as its folder is called: arms of one name may differ in anything else.

    Raises:
        UserError: where the block is damaged.
    """
    record = block.record
    cell = f"{record['arm']}-{record['hash']}"
    tags = (record["study"], record["task"], record["arm"], *extra.tags)
    of_block, own = _of_block(record), dict[str, Any]()
    if DESIGN in record:
        of_block, config, own = _of_run(of_block, config, seed)
    shown = {"seed": seed, "hash": record["hash"], "study": record["study"], "record": of_block}
    started, finished = _times(block)
    return wandb_file.Run(
        id=run_id(block, seed),
        project=_project(block, config),
        name=f"{record['task']} {cell} {seed}",
        group=extra.group or cell,
        job_type=record["task"],
        tags=list(dict.fromkeys(tag[:LONGEST_TAG] for tag in tags)),
        config={**record["factors"], **shown, **own, SENT_KEY: dict(sent), "settings": config},
        started=started,
        finished=finished,
    )


def _of_run(
    of_block: Mapping[str, Any], config: Mapping[str, Any], run: int
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What is told of one run of a design: of the settings of its block its own alone, and that by itself."""
    setting, design, section = str(setting_of(run)), of_block[DESIGN], config.get(DESIGN) or {}
    values = dict(design["settings"][setting])
    alone = {DESIGN: {**design, "settings": {setting: values}}}
    its_own = {RUN_KEY: {"setting": int(setting), "seed": seed_of(run), **values}}
    return {**of_block, **alone}, {**config, DESIGN: {**section, "drawn": {setting: values}}}, its_own


def missing(block: blocks.Block, study: Path, mark: str = COMPLETE) -> list[int]:
    """The seeds whose run is made from a finished block that have none, or none that W&B has (`mark=SENT`)."""
    return [seed for seed in sorted(block.seeds) if not is_marked(mark, block, seed, study)]


def checksum(block: blocks.Block) -> str:
    """What tells a finished block from every other, and from itself trained again."""
    return str(files.sealed(block.record)[files.SEAL])


def is_marked(mark: str, block: blocks.Block, seed: int, study: Path) -> bool:
    """Whether a seed has a run with this mark, made from this block."""
    return _read(folder(study, block, seed) / mark) == checksum(block)


def mark(mark: str, block: blocks.Block, seed: int, study: Path) -> None:
    """Mark the run of a seed that was made from this block. Raises `OSError`."""
    (folder(study, block, seed) / mark).write_text(checksum(block))


def _read(path: Path) -> str | None:
    try:
        return read_file(path, LARGEST_MARK).decode(errors="replace")
    except OSError:
        return None


def _check_writable(folder: Path) -> None:
    """Raise `OSError` for a link, and where W&B could not write; it would do so elsewhere, where nobody looks."""
    refuse_links(folder, 2)
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def folder(study: Path, block: blocks.Block, seed: int) -> Path:
    """The folder of a seed's run. Raises `UserError` where the block is damaged."""
    return study / FOLDER / wandb_file.folder(run_id(block, seed), _times(block)[0])


def _times(block: blocks.Block) -> tuple[datetime.datetime, datetime.datetime]:
    """When a block began and ended. Raises `UserError`."""
    try:
        began, ended = (datetime.datetime.fromisoformat(block.record[name]) for name in ("started", "finished"))
    except (KeyError, ValueError) as error:
        raise blocks.damaged(block.path, f"{blocks.RECORD} does not say when it began and ended") from error
    return began, ended


def run_id(block: blocks.Block, seed: int) -> str:
    """The W&B id of one seed: the same wherever and whenever its block is mirrored, so that nothing is there twice.

    It is the block's, whatever the environment says: a W&B sweep's agent, for one, has one id for all seeds. What was
    trained again, or for another study, has an id of its own, as W&B cannot forget the rows that it has of a run.
    """
    return id_of(block.record["hash"], seed, checksum(block))


def id_of(cell: str, seed: int, checksum: str) -> str:
    """The W&B id of a seed of the cell with this hash, in the block with this checksum."""
    return f"{cell}-{seed:03d}-{checksum[:8]}"


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
    """By seed, how it ended: its outcome, where it is done the final score of each mode, and its block's checksum."""
    of_block = {"block": files.sealed(record)[files.SEAL]}
    outcomes: Mapping[str, Mapping[str, Any]] = record["seeds"]
    result = {int(seed): {**outcome, **of_block} for seed, outcome in outcomes.items()}
    for outcome in result.values():
        if HALVES in outcome:  # as text: W&B gives mappings back as a kind of its own
            outcome[HALVES] = json.dumps(outcome[HALVES])
    random, reference = record["score"]["random"], record["score"]["reference"]
    for (seed, mode), score in scores.final_scores(curves, record["budget"], scores.judged(curves)).items():
        if result[seed]["status"] == "done":
            normalised = (score - random) / (reference - random)
            result[seed] |= {f"final_{mode}": score, f"normalised_{mode}": normalised}
    return result


def _of_block(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says of the block as a whole: bounds, costs, provenance; enough to rebuild it from its runs."""
    elsewhere = ("schema", "study", "hash", "factors", "seeds", "checksums", files.SEAL)
    return {key: value for key, value in record.items() if key not in elsewhere}
