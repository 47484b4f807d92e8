"""What an unfinished block can go on from: one archive with the learner's state and the rows reported so far.

It is replaced in one step, so it is always of one moment. Every part is held against its checksum when it is read.
"""

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import archives
from bench.config.build import build
from bench.errors import UserError, first_line
from bench.observer import Row
from bench.paths import refuse_links
from bench.records import files
from bench.records.files import Damaged
from bench.records.tables import EPISODES, EXACT_RETURNS, TRAINING, check_columns, columns_of, parsed, write_rows

PARTIAL = "partial.zip"
SCHEMA = 3  # 2 had no exact returns
_STATE, _HEADER = "state.pt", "partial.json"
_TABLES = (EPISODES, TRAINING, EXACT_RETURNS)  # in the order of `Partial`


@dataclass(frozen=True)
class Header:
    """Whose state it is, what made it, and what it has cost so far."""

    hash: str
    seeds: tuple[int, ...]
    git: Mapping[str, Any]
    versions: Mapping[str, str]
    started: str
    wall_seconds: float
    cpu_seconds: float
    resumed: tuple[Mapping[str, Any], ...]  # when and where it was gone on with, as in run.json


@dataclass(frozen=True)
class Partial:
    """A saved moment of a block."""

    header: Header
    state: bytes
    episodes: list[Row] = field(default_factory=list)
    training: list[Row] = field(default_factory=list)
    exact_returns: list[Row] = field(default_factory=list)

    def tables(self) -> dict[str, list[Row]]:
        """The rows reported so far, by the name of their part of the archive."""
        return dict(zip(_TABLES, (self.episodes, self.training, self.exact_returns), strict=True))


def write(path: Path, partial: Partial) -> None:
    """Replace the archive at `path` by this moment. Raises `OSError`; what was there is then still there."""
    parts = {
        _STATE: partial.state,
        **{kind: _table(kind, rows) for kind, rows in partial.tables().items()},
    }
    header = {
        "schema": SCHEMA,
        "checksums": {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()},
        **dataclasses.asdict(partial.header),
    }
    parts[_HEADER] = json.dumps(header, indent=1).encode()

    def fill(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)

    files.write_atomic(path, fill)


def read(path: Path) -> Partial | None:
    """The moment saved at `path`; None where there is none. Raises `Damaged`."""
    if not os.path.lexists(path):
        return None
    try:
        refuse_links(path, 1)
        parts = archives.read(path, (_HEADER, _STATE, *_TABLES))
        header = files.parse_json(parts.pop(_HEADER), SCHEMA)
        checksums = header.pop("checksums", None)
        for name, content in parts.items():
            if not isinstance(checksums, dict) or hashlib.sha256(content).hexdigest() != checksums.get(name):
                raise Damaged(f"{name} is not what was written (checksum)")
        del header["schema"]
        return Partial(build(Header, header), parts[_STATE], *(_rows(kind, parts[kind]) for kind in _TABLES))
    except (OSError, UserError, archives.BadArchive) as error:
        raise Damaged(first_line(error)) from error


def _table(kind: str, rows: Sequence[Row]) -> bytes:
    content = io.BytesIO()
    write_rows(kind, rows, content)
    return content.getvalue()


def _rows(kind: str, content: bytes) -> list[Row]:
    """The rows as they were reported: a column a row did not have is not in it. Raises `Damaged`."""
    table = parsed(content)
    check_columns(table, kind, columns_of(kind))
    rows = table.to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]
