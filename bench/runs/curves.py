"""The rows of a block as Parquet: the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:  # importing anything of the learner's imports torch, which takes seconds
    from bench.learner.observer import Row


EVALUATIONS = "evaluations.parquet"
TRAINING = "training.parquet"

# The columns every block has, in file order, with the order of rows. Further columns are float64, by name.
_COLUMNS: Mapping[str, Mapping[str, pa.DataType]] = {
    EVALUATIONS: {
        "seed": pa.int32(),
        "step": pa.int64(),
        "mode": pa.string(),
        "episode": pa.int32(),
        "return": pa.float64(),
        "length": pa.int32(),
    },
    TRAINING: {"seed": pa.int32(), "step": pa.int64(), "update": pa.int32()},
}
_ORDER: Mapping[str, Sequence[str]] = {
    EVALUATIONS: ("seed", "step", "mode", "episode"),
    TRAINING: ("seed", "step", "update"),
}


def write_rows(kind: str, rows: Sequence[Row], path: Path | BinaryIO) -> None:
    """Write `rows` of a `kind` (EVALUATIONS or TRAINING) to `path`.

    Raises:
        KeyError: where a row lacks a column every block has.
        OSError: where `path` cannot be written.
    """
    common = _COLUMNS[kind]
    further = sorted({name for row in rows for name in row} - set(common))
    ordered = sorted(rows, key=lambda row: tuple(row[name] for name in _ORDER[kind]))
    columns = {name: [_plain(row[name]) for row in ordered] for name in common}
    columns |= {name: [_plain(row.get(name)) for row in ordered] for name in further}
    schema = pa.schema([*common.items(), *((name, pa.float64()) for name in further)])
    table = pa.table(columns, schema=schema)
    pq.write_table(table, path, compression="zstd", version="2.6", store_schema=False)


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's: pyarrow refuses some of them in lists."""
    return value.item() if hasattr(value, "item") else value
