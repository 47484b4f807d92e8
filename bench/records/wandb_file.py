"""A finished run as the file that W&B's client leaves of one offline; `wandb sync` sends it.

The file is a log in LevelDB's format whose records are W&B's own messages. It is written without W&B's service: there
is nothing to open, to wait for or to close, no other opinion of the run's id, nothing about the machine or its user.
"""

import datetime
import importlib
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HEADER = b":W&B\xe1\xbe\x00"  # W&B's name, its number 0xBEE1, version 0 of the format
BLOCK = 1 << 15  # bytes; a record that does not fit in what is left of a block goes on in the next
HEAD = struct.Struct("<IHB")  # of each piece of a record: checksum, bytes, kind
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4  # kinds of pieces
CONSUMER = "0.70.0"  # the first version of W&B's server that reads such files


@dataclass(frozen=True)
class Run:
    """A finished run: its names, what W&B's tables show, and what it logged.

    Attributes:
        id: unique in its project.
        history: one mapping per row; `step` is what its numbers are drawn against.
        started: when the training began.
        finished: when it ended.
        first_step: W&B's number of the first row, greater than those of the rows that it has.
    """

    id: str
    project: str
    name: str
    group: str
    job_type: str
    tags: Sequence[str]
    config: Mapping[str, Any]
    started: datetime.datetime
    finished: datetime.datetime
    history: Sequence[Mapping[str, Any]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    first_step: int = 0

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return folder(self.id, self.started)

    @property
    def file(self) -> str:
        """The name of its file in that folder."""
        return f"run-{self.id}.wandb"


def folder(id: str, started: datetime.datetime) -> str:
    """The name of the folder of a run with this id: W&B's program sends what begins like this."""
    return f"offline-run-{started.astimezone(datetime.UTC):%Y%m%d_%H%M%S}-{id}"


def content(run: Run) -> bytes:
    """The bytes of a run's file. Raises `ImportError` where W&B's messages cannot be loaded."""
    return HEADER + b"".join(_pieces(record.SerializeToString() for record in _records(run)))


def _pieces(records: Iterable[bytes]) -> Iterator[bytes]:
    """The records in LevelDB's log format, from behind the header on."""
    place = len(HEADER)
    for record in records:
        begun = False
        while True:
            room = BLOCK - place % BLOCK
            if room < HEAD.size:
                yield bytes(room)
                place, room = place + room, BLOCK
            piece, record = record[: room - HEAD.size], record[room - HEAD.size :]
            kind = (MIDDLE if begun else FIRST) if record else (LAST if begun else WHOLE)
            yield HEAD.pack(zlib.crc32(piece, zlib.crc32(bytes([kind]))), len(piece), kind) + piece
            place, begun = place + HEAD.size + len(piece), True
            if not record:
                break


def _records(run: Run) -> Iterator[Any]:
    """W&B's messages about a run, in its client's order."""
    import wandb

    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")  # made as it is imported

    number = 0

    def record(**kind: Any) -> Any:
        nonlocal number
        number += 1
        return messages.Record(num=number, **kind)

    version = messages.VersionInfo(producer=wandb.__version__, min_consumer=CONSUMER)
    yield record(header=messages.HeaderRecord(version_info=version))
    begun = messages.RunRecord(
        run_id=run.id,
        project=run.project,
        display_name=run.name,
        run_group=run.group,
        job_type=run.job_type,
        tags=run.tags,
        config=messages.ConfigRecord(update=_items(messages.ConfigItem, run.config)),
    )
    begun.start_time.FromDatetime(run.started)
    yield record(run=begun)
    options = messages.MetricOptions(step_sync=True, defined=True)
    yield record(metric=messages.MetricRecord(glob_name="*", step_metric="step", options=options))
    for place, row in enumerate(run.history, run.first_step):
        logged = {**row, "_step": place, "_timestamp": run.finished.timestamp()}
        step = messages.HistoryStep(num=place)
        yield record(history=messages.HistoryRecord(item=_items(messages.HistoryItem, logged), step=step))
    latest = {key: value for row in run.history for key, value in row.items()}
    summary = messages.SummaryRecord(update=_items(messages.SummaryItem, {**latest, **run.summary}))
    yield record(summary=summary)
    yield record(exit=messages.RunExitRecord(exit_code=0))


def _items(kind: Any, entries: Mapping[str, Any]) -> list[Any]:
    return [kind(key=key, value_json=json.dumps(value)) for key, value in entries.items()]
