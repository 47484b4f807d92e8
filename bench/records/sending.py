"""Sending offline runs to Weights & Biases by its own program, and asking it whether it has them.

Its program counts a run as sent when the server refused a part of it, too. So it is asked, and what it says it has must
bear the checksum of the block that the run was made from, and as many rows as were sent. To a run that it has already
it adds what it is sent: so it is sent what it lacks. Only processes that can be
ended do this: see `bench.records.wandb_client`.
"""

import dataclasses
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.records import block as blocks
from bench.records import mirror, wandb_file

TOGETHER = 50  # runs that are sent by one call of W&B's program
LOOKS = (0.0, 0.5, 1.0, 2.0, 4.0)  # seconds before each look at what W&B has: it takes a moment to show what it got

Call = Callable[[list[str]], tuple[int, str]]  # of a program: its exit code and what it printed


@dataclass(frozen=True)
class Waiting:
    """The run of one seed that W&B does not have, as far as is known."""

    study: Path
    block: blocks.Block
    seed: int
    project: str
    extra: mirror.Extra

    @property
    def id(self) -> str:
        """What W&B calls it."""
        return mirror.run_id(self.block, self.seed)

    def is_sent(self) -> bool:
        """Whether W&B has it by now."""
        return mirror.is_marked(mirror.SENT, self.block, self.seed, self.study)

    def folder(self) -> Path:
        """Where it lies, without the mark of W&B's program, which would pass it over."""
        found = mirror.folder(self.study, self.block, self.seed)
        for mark in found.glob("*.wandb.synced"):
            mark.unlink()
        return found


class Refused(Exception):
    """Why W&B does not have a run."""


def send(waiting: Sequence[Waiting], call: Call) -> Iterator[Waiting]:
    """Send what W&B does not have, and yield each run that it says it has.

    Raises:
        Refused: for the first reason why it does not have one.
        Exception: whatever wandb raises.
    """
    if not waiting:
        return
    import wandb

    api = wandb.Api()
    entity = _entity(api)
    for project in dict.fromkeys(run.project for run in waiting):
        runs = [run for run in waiting if run.project == project]
        for first in range(0, len(runs), TOGETHER):
            yield from _send(api, entity, project, runs[first : first + TOGETHER], call)


def send_live(runs: Sequence[wandb_file.Run], call: Call) -> None:
    """Send of runs that go on what W&B does not have of them yet.

    Raises:
        Refused: for the first reason why it does not take it.
        Exception: whatever wandb raises.
    """
    import wandb

    api = wandb.Api()
    entity = _entity(api)
    for project in dict.fromkeys(run.project for run in runs):
        begun = _begun(api, f"{entity}/{project}", [run.id for run in runs if run.project == project])
        wanted = [_lacking(run, begun[run.id]) if run.id in begun else run for run in runs if run.project == project]
        for first in range(0, len(wanted), TOGETHER):
            some = [run for run in wanted[first : first + TOGETHER] if run.history]
            with tempfile.TemporaryDirectory() as temporary:
                code, said = (
                    call(_command(entity, project, [_put(run, Path(temporary)) for run in some])) if some else (0, "")
                )
            complaint = _complaint(said, _logged())
            if code or complaint:
                raise Refused(complaint or f"its program ended with code {code}")


def _entity(api: Any) -> str:
    """Whose projects they are. Raises `Refused` where nobody says."""
    entity = api.settings["entity"] or api.default_entity
    if not entity:
        raise Refused("it names no entity for this key; WANDB_ENTITY gives one")
    return str(entity)


def _command(entity: str, project: str, folders: Sequence[Path]) -> list[str]:
    """The call of W&B's program that sends the runs in some folders."""
    command = [sys.executable, "-P", "-m", "wandb", "sync", "--entity", entity, "--project", project]
    return [*command, *map(str, folders)]


def _send(api: Any, entity: str, project: str, runs: list[Waiting], call: Call) -> Iterator[Waiting]:
    left = {run.id: run for run in runs}
    begun: dict[str, Any] = {}
    yield from _there(api, f"{entity}/{project}", left, begun)
    if not left:
        return
    with tempfile.TemporaryDirectory() as temporary:
        folders = [_rest(run, begun[id], Path(temporary)) if id in begun else run.folder() for id, run in left.items()]
        code, said = call(_command(entity, project, folders))
    complaint = _complaint(said, _logged())
    for pause in LOOKS:
        time.sleep(pause)
        yield from _there(api, f"{entity}/{project}", left, {})
        if not left:
            return
        if code or complaint:
            break
    raise Refused(complaint or f"it does not show all of {min(left)}, which was sent")


def _rest(waiting: Waiting, there: Any, folder: Path) -> Path:
    """Write the rows that W&B lacks of a run that it has in part, for it adds what it is sent to what it has."""
    run = mirror.runs(waiting.block, [waiting.seed], waiting.extra)[waiting.seed]
    return _put(_lacking(run, there), folder)


def _lacking(run: wandb_file.Run, there: Any) -> wandb_file.Run:
    """The run with those of its rows alone that W&B lacks."""
    steps = {row.get("step") for row in there.scan_history(use_cache=False)}
    rows = [row for row in run.history if row["step"] not in steps]
    return dataclasses.replace(run, history=rows, first_step=there.lastHistoryStep + 1)


def _put(run: wandb_file.Run, folder: Path) -> Path:
    """Write a run to a folder of its own below this one, which is returned."""
    (folder / run.folder).mkdir()
    (folder / run.folder / run.file).write_bytes(wandb_file.content(run))
    return folder / run.folder


def _there(api: Any, path: str, left: dict[str, Waiting], begun: dict[str, Any]) -> Iterator[Waiting]:
    """Those of the runs that W&B has, which are taken out of `left`; those that it has in part are put into `begun`."""
    found = _begun(api, path, sorted(left))
    for id in found.keys() & left.keys():
        if _is_whole(found[id], mirror.checksum(left[id].block)):
            yield left.pop(id)
        else:
            begun[id] = found[id]


def _begun(api: Any, path: str, ids: Sequence[str]) -> dict[str, Any]:
    """Those of the runs with these names that W&B has anything of."""
    api.flush()  # or it would give the answer of before
    runs = api.runs(path, filters={"name": {"$in": list(ids)}}, per_page=TOGETHER, lazy=False)
    try:
        return {run.id: run for run in runs}
    except ValueError:  # there is no such project yet
        return {}


def _is_whole(run: Any, checksum: str) -> bool:
    """Whether a run of W&B's was made from the block with this checksum, and has all of its rows."""
    sent = run.config.get(mirror.SENT_KEY)
    rows = sent.get("rows") if isinstance(sent, Mapping) else None
    there = getattr(run, "historyLineCount", None)
    return run.summary.get("block") == checksum and isinstance(rows, int) and (there is None or there >= rows)


def _complaint(said: str, logged: str) -> str | None:
    """What W&B's program says went wrong, with the server's answer from its log; None where it complains of nothing."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in said.splitlines()]
    found = [line for line in lines if re.search(r"\b(error|fatal|failed)\b", line, re.IGNORECASE)]
    if not found:
        return None
    answer = re.search(r"filestream: fatal error: .*?(HTTP [45]\d\d|[45]\d\d [A-Z][A-Za-z ]+)", logged)
    complaint = re.sub(r"^wandb: *(ERROR|WARNING)? *", "", found[-1]).partition(". ")[0]
    return f"{complaint}: {answer[1].removesuffix(' url')}" if answer else complaint


def _logged() -> str:
    """What W&B's program wrote to its log, which is among the temporary files."""
    logs = Path(os.environ["WANDB_DIR"]).glob("wandb/**/debug-sync*")
    return "".join(log.read_text(errors="replace") for log in sorted(logs)[-1:])
