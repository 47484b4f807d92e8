"""The same numbers are the same bytes."""

import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.records.tables import EPISODES, TRAINING, write_rows


def training_rows():
    return [
        {"seed": seed, "step": step, "update": step // 10, "train/kl": seed / (step + 1), "train/b": float("nan")}
        for step in (10, 20, 100)
        for seed in (0, 1, 10)
    ]


def evaluation_rows():
    return [
        {"seed": seed, "step": 0, "mode": mode, "episode": episode, "return": 0.1 * episode, "length": 9, "extra": 1}
        for seed in (0, 1)
        for mode in ("stochastic", "deterministic")
        for episode in range(3)
    ]


@pytest.mark.parametrize(("kind", "rows"), [(TRAINING, training_rows()), (EPISODES, evaluation_rows())])
def test_the_order_of_reporting_does_not_show(kind, rows, tmp_path):
    write_rows(kind, rows, tmp_path / "a")
    shuffled = [dict(reversed(row.items())) for row in random.Random(0).sample(rows, len(rows))]
    write_rows(kind, shuffled, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_columns_and_types_are_fixed(tmp_path):
    write_rows(EPISODES, evaluation_rows(), tmp_path / "e")
    write_rows(TRAINING, training_rows(), tmp_path / "t")
    types = {name: str(kind) for name, kind in zip(*_schema(tmp_path / "e"), strict=True)}
    assert types == {
        "seed": "int32",
        "step": "int64",
        "mode": "string",
        "episode": "int32",
        "return": "double",
        "length": "int32",
        "extra": "double",
    }
    assert _schema(tmp_path / "t")[0] == ["seed", "step", "update", "train/b", "train/kl"]


def test_rows_come_back_as_they_went_in(tmp_path):
    write_rows(TRAINING, training_rows(), tmp_path / "t")
    rows = pq.read_table(tmp_path / "t").to_pylist()
    assert [(row["seed"], row["step"]) for row in rows] == sorted((row["seed"], row["step"]) for row in training_rows())
    assert all(row["train/kl"] == row["seed"] / (row["step"] + 1) and np.isnan(row["train/b"]) for row in rows)


@pytest.mark.parametrize("varied", [False, True])
def test_every_float_comes_back_to_the_bit(varied, tmp_path):
    """Varied columns are stored byte by byte, others by a dictionary; NaN, infinities and -0 are among both."""
    rng = np.random.default_rng(0)
    special = [float("nan"), float("inf"), -float("inf"), -0.0, 5e-324, 0.1, float(np.float32(0.1))]
    values = [*special, *rng.normal(size=400)] if varied else special * 60
    rows = [{"seed": 0, "step": step, "update": step, "train/x": value} for step, value in enumerate(values)]
    write_rows(TRAINING, rows, tmp_path / "t")
    (column,) = [c for c in _chunks(tmp_path / "t") if c.path_in_schema == "train/x"]
    assert ("BYTE_STREAM_SPLIT" in column.encodings) == varied
    found = pq.read_table(tmp_path / "t")["train/x"].to_numpy()
    assert found.tobytes() == np.array(values).tobytes()


def _chunks(path):
    group = pq.ParquetFile(path).metadata.row_group(0)
    return [group.column(place) for place in range(group.num_columns)]


def test_numpy_scalars_are_numbers_and_gaps_are_null(tmp_path):
    rows = [
        {"seed": np.int64(0), "step": np.int64(5), "update": np.int64(0), "x": np.float32(0.5)},
        {"seed": 0, "step": 6, "update": 1},
    ]
    write_rows(TRAINING, rows, tmp_path / "t")
    assert pq.read_table(tmp_path / "t")["x"].to_pylist() == [0.5, None]


def test_no_rows_still_make_a_table(tmp_path):
    write_rows(TRAINING, [], tmp_path / "t")
    assert _schema(tmp_path / "t")[0] == ["seed", "step", "update"]


def test_a_row_without_its_seed_is_a_mistake(tmp_path):
    with pytest.raises(KeyError, match="seed"):
        write_rows(TRAINING, [{"step": 0, "update": 0}], tmp_path / "t")


def _schema(path):
    schema = pq.read_schema(path)
    return schema.names, schema.types
