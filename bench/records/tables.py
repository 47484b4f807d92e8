"""The tables of a block as Parquet: the same numbers give the same bytes."""

import hashlib
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench import packs
from bench.errors import first_line
from bench.observer import EXACT, RETURN_OF, Row
from bench.records.files import Damaged, shown
from bench.records.scores import mean

CURVES = "curves.parquet"  # means over the episodes of each evaluation
EPISODES = "episodes.parquet"
TRAINING = "training.parquet"
EXACT_RETURNS = "exact_returns.parquet"  # of an unfinished block; a finished one has them in its curves
QUANTITIES, STATES, COSTS = "quantities.parquet", "states.parquet", "costs.parquet"  # of a measured stage
EXACT_RETURN = f"{EXACT}return"  # a column of curves where the world is solved
MOST_ROWS = 10_000_000  # of a table that is read, where its record does not say how many it has
MOST_COLUMNS = 512
MOST_GROUPS = 1000  # parts that a table is stored in
WIDEST = 16  # bytes of a value, before it is compressed: 8, and what pages and levels take
ROOM = 1 << 20  # bytes of a column that a table may take beyond that
LONGEST_TEXT = 1000  # letters of one
LEVEL = 19  # of zstd: these tables are small
REPEATED = 6  # times, on average, that a value must be seen for a dictionary to be smaller

# The columns every block has, in file order, with the order of rows. Further columns are float64, by name.
_COLUMNS: Mapping[str, Mapping[str, pa.DataType]] = {
    CURVES: {
        "seed": pa.int32(),
        "step": pa.int64(),
        "mode": pa.string(),
        "episodes": pa.int32(),
        "return": pa.float64(),
        "return_variance": pa.float64(),
        "length": pa.float64(),
        "length_variance": pa.float64(),
    },
    EPISODES: {
        "seed": pa.int32(),
        "step": pa.int64(),
        "mode": pa.string(),
        "episode": pa.int32(),
        "return": pa.float64(),
        "length": pa.int32(),
    },
    TRAINING: {"seed": pa.int32(), "step": pa.int64(), "update": pa.int32()},
    EXACT_RETURNS: {"seed": pa.int32(), "step": pa.int64(), "mode": pa.string(), EXACT_RETURN: pa.float64()},
}
_ORDER: Mapping[str, Sequence[str]] = {
    CURVES: ("seed", "step", "mode"),
    EPISODES: ("seed", "step", "mode", "episode"),
    TRAINING: ("seed", "step", "update"),
    EXACT_RETURNS: ("seed", "step", "mode"),
}

_TEXTS = (pa.string(), pa.large_string())
_TYPES = (pa.int32(), pa.int64(), pa.float64(), pa.bool_(), *_TEXTS)  # of all columns there are
_LIKE = (pa.types.is_integer, pa.types.is_floating, pa.types.is_string)
_UNREADABLE = (  # what pyarrow raises for bytes that it did not write
    *(pa.ArrowException, OSError, ValueError, LookupError, TypeError, NotImplementedError, OverflowError, MemoryError),
)


def write_rows(kind: str, rows: Sequence[Row], path: Path | BinaryIO) -> None:
    """Write `rows` of a `kind` (CURVES, EPISODES or TRAINING) to `path`.

    Raises:
        KeyError: where a row lacks a column every block has.
        OSError: where `path` cannot be written.
    """
    common = _COLUMNS[kind]
    further = sorted({name for row in rows for name in row} - set(common))
    ordered = sorted(rows, key=lambda row: tuple(row[name] for name in _ORDER[kind]))
    columns = [_column([row[name] for row in ordered], type) for name, type in common.items()]
    columns += [_column([row.get(name) for row in ordered], pa.float64()) for name in further]
    schema = pa.schema([*common.items(), *((name, pa.float64()) for name in further)])
    _write(pa.Table.from_arrays(columns, schema=schema), path)


def _column(values: Sequence[Any], type: pa.DataType) -> pa.Array:
    """Return values of whole numbers, numbers with gaps (None), or texts as pyarrow keeps them.

    `pyarrow.array` would import pandas to see whether the values are its own, which takes half a second.
    """
    if type in _TEXTS:
        texts = [str(value).encode() for value in values]
        offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32 if type == pa.string() else np.int64)
        return pa.Array.from_buffers(type, len(texts), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))])
    present = np.array([value is not None for value in values], dtype=bool)
    numbers = np.array([0 if value is None else value for value in values], dtype=type.to_pandas_dtype())
    gaps = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(type, len(values), [gaps, pa.py_buffer(numbers)])


def _write(table: pa.Table, path: Path | BinaryIO) -> None:
    pq.write_table(
        table, path, compression="zstd", compression_level=LEVEL, version="2.6", store_schema=False, **_encodings(table)
    )


def curve_rows(episodes: Iterable[Row], exact_returns: Iterable[Row] = ()) -> list[dict[str, Any]]:
    """Return a row for each seed, step and mode of rows of episodes and of exact ones, in this order.

    `episodes` is their number. Every number `X` of an episode has its mean, `X`, and its unbiased variance,
    `X_variance`, which is None for a single episode. Sums are rounded once, so the order of the episodes does not show;
    one that is not finite makes the mean of its point not finite, and its variance NaN. The rows of `exact_returns`
    are joined to those of the same seed, step and mode. Where no episode was sampled, `episodes` is 0, the means are
    the exact ones, and the variances None; of the kinds of episodes there are the exact returns alone. A number that
    only some episodes have (`return_of_younger`) is averaged over these, and left out of a point where none has it.
    """
    points: dict[tuple[Any, ...], list[Row]] = {}
    for row in episodes:
        points.setdefault(tuple(row[name] for name in _ORDER[CURVES]), []).append(row)
    known = {tuple(row[name] for name in _ORDER[CURVES]): row for row in exact_returns}
    return [_curve_row(key, points.get(key, ()), known.get(key, {})) for key in sorted({*points, *known})]


def _curve_row(key: Sequence[Any], episodes: Sequence[Row], exact: Row) -> dict[str, Any]:
    row = {**dict(zip(_ORDER[CURVES], key, strict=True)), "episodes": len(episodes), **exact}
    if not episodes:
        known = [name.removeprefix(EXACT) for name in exact if name.startswith(EXACT)]
        for name in (name for name in known if not name.startswith(RETURN_OF)):
            row |= {name: exact[f"{EXACT}{name}"], f"{name}_variance": None}
        return row
    for name in {name for episode in episodes for name in episode} - {*_ORDER[CURVES], "episode"}:
        values = [float(value) for episode in episodes if (value := episode.get(name)) is not None]
        if values:
            row |= {name: mean(values), f"{name}_variance": _variance(values)}
    return row


def with_columns(path: Path, names: Collection[str]) -> bytes:
    """The bytes of a table with those of its columns alone that have one of these names. Raises `Damaged`."""
    table = parsed(path.read_bytes())
    content = io.BytesIO()
    _write(table.select([name for name in table.column_names if name in names]), content)
    return content.getvalue()


def _variance(values: Sequence[float]) -> float | None:
    """The unbiased variance; None for a single value, NaN where one of several is not finite."""
    if len(values) == 1:
        return None
    middle = mean(values)
    if not math.isfinite(middle):
        return math.nan
    return mean([(value - middle) * (value - middle) for value in values], len(values) - 1)


def _encodings(table: pa.Table) -> dict[str, Any]:
    """What stores the same numbers in the least space: float columns byte by byte, unless most values are repeated.

    A float64 that was computed as a float32 has three bytes of zeros, and exponents are much alike: laid side by side
    they compress to nothing, which takes a third off the files.
    """
    streams = [name for name in table.column_names if _is_varied(table[name])]
    dictionary = [name for name in table.column_names if name not in streams]
    return {"use_dictionary": dictionary, "column_encoding": dict.fromkeys(streams, "BYTE_STREAM_SPLIT")}


def _is_varied(column: pa.ChunkedArray) -> bool:
    """Whether it holds real numbers of which a value is seen fewer than `REPEATED` times on average."""
    return bool(pa.types.is_floating(column.type) and pc.count_distinct(column).as_py() * REPEATED > len(column))


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows of any columns, which are laid in the order of the first row that has them.

    Raises:
        OSError: where `path` cannot be written.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: pa.array([row.get(name) for row in rows], _type(rows, name)) for name in names}
    _write(pa.table(columns), path)


def _type(rows: Sequence[Mapping[str, Any]], name: str) -> pa.DataType:
    """The type of a column's numbers or texts; float64 for one that is empty."""
    kinds = {str: pa.string(), int: pa.int64()}
    return kinds.get(type(next((row[name] for row in rows if row.get(name) is not None), 0.0)), pa.float64())


def parsed(content: bytes, most_rows: int = MOST_ROWS) -> pa.Table:
    """The table in a Parquet file's bytes.

    On this thread alone: threads that a short command leaves behind can abort it while it exits.

    Raises:
        Damaged: where it is none, or larger than `most_rows` rows of numbers and short texts: that is known before
            anything is unpacked.
    """
    try:
        source = pa.BufferReader(content)
        file = pq.ParquetFile(source, pre_buffer=False, thrift_string_size_limit=ROOM, thrift_container_size_limit=ROOM)
        texts = _texts(file.schema_arrow)
        _check_size(file.metadata, most_rows)
        # `pq.read_table` imports pandas first, which takes longer than to read a whole block.
        table = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False, read_dictionary=texts).read(
            use_threads=False
        )
        for name in texts:
            index = table.column_names.index(name)
            table = table.set_column(index, name, _as_text(table[name]))
    except _UNREADABLE as error:
        raise Damaged(f"not readable as parquet ({first_line(error)})") from error
    return table


def _texts(schema: pa.Schema) -> list[str]:
    """The columns of text. Raises `Damaged` where there is anything but numbers and text, or a name is there twice."""
    for field in schema:
        if field.type not in _TYPES:
            raise Damaged(f"its column {shown(field.name)} is of type {field.type}")
    if len(set(schema.names)) < len(schema.names):
        raise Damaged("it has two columns of the same name")
    return [field.name for field in schema if field.type in _TEXTS]


def _check_size(found: pq.FileMetaData, most_rows: int) -> None:
    """Refuse a table by what its footer says, before anything is unpacked. Raises `Damaged`."""
    if found.num_rows > most_rows:
        raise Damaged(f"it has {found.num_rows} rows, at most {most_rows} are possible")
    if found.num_columns > MOST_COLUMNS or found.num_row_groups > MOST_GROUPS:
        raise Damaged(f"it has {found.num_columns} columns in {found.num_row_groups} parts")
    groups = [found.row_group(index) for index in range(found.num_row_groups)]
    if sum(group.num_rows for group in groups) != found.num_rows:
        raise Damaged("its parts do not have the rows it says")
    for group in groups:
        for index in range(group.num_columns):
            column = group.column(index)
            if column.num_values != group.num_rows or column.total_uncompressed_size > WIDEST * group.num_rows + ROOM:
                raise Damaged(f"its column {shown(column.path_in_schema)} is larger than {group.num_rows} rows are")


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text from a dictionary of it, which keeps a long one that is named often in one place. Raises `Damaged`."""
    for chunk in column.chunks:
        longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() if pa.types.is_dictionary(chunk.type) else 0
        if (longest or 0) > LONGEST_TEXT:
            raise Damaged(f"it has a text of {longest} bytes")
    return column.cast(pa.string())


def read_table(path: Path, checksum: str | None, columns: Collection[str], most_rows: int = MOST_ROWS) -> pa.Table:
    """A table with these columns, of the very bytes whose checksum was recorded. Raises `Damaged`."""
    try:
        content = packs.read_bytes(path)
    except FileNotFoundError as error:
        raise Damaged(f"{path.name} is not there") from error
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise Damaged(f"{path.name} does not match its checksum")
    try:
        table = parsed(content, most_rows)
    except Damaged as error:
        raise Damaged(f"{path.name}: {error}") from error
    try:
        check_columns(table, path.name, columns)
    except Damaged as error:
        raise Damaged(f"{path.name} {error}") from error
    return table


def columns_of(kind: str) -> Collection[str]:
    """The columns that every table of a kind has."""
    return _COLUMNS[kind]


def check_columns(table: pa.Table, kind: str, columns: Collection[str]) -> None:
    """Refuse a table without some columns, with others of the kind than there are, or texts. Raises `Damaged`."""
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise Damaged(f"has no column '{missing[0]}'")
    for name, type in _COLUMNS.get(kind, {}).items():
        if name in table.column_names:
            _check_column(kind, name, table[name], type)
    for name in table.column_names if kind in _COLUMNS else ():
        if name not in _COLUMNS[kind] and table[name].type in _TEXTS:
            raise Damaged(f"has a column {shown(name)} of type {table[name].type}, not {pa.float64()}")


def _check_column(kind: str, name: str, column: pa.ChunkedArray, type: pa.DataType) -> None:
    """Refuse a column of another type, and one with gaps that has none. Raises `Damaged`."""
    if not any(is_like(type) and is_like(column.type) for is_like in _LIKE):
        raise Damaged(f"has a column '{name}' of type {column.type}, not {type}")
    if column.null_count and (name in _ORDER[kind] or not pa.types.is_floating(type)):
        raise Damaged(f"has gaps in its column '{name}'")
