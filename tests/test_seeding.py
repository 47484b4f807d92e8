"""Streams of many seeds at once against NumPy's own seed sequences."""

import numpy as np
import pytest

from bench.seeding import SEED_POOLS, stream, streams

SEEDS = (0, 1, 7, 2**32 - 1, 2**32, 2**40 + 3, 2**63 - 1)


@pytest.mark.parametrize("pool", SEED_POOLS)
@pytest.mark.parametrize("keys", [(), (3,), (0, 1), (5, 0, 39), (2**32 - 1, 0, 12, 9)])
def test_streams_are_those_of_numpys_seed_sequences(keys: tuple[int, ...], pool: str) -> None:
    found = streams(SEEDS, "evaluation", [keys] * len(SEEDS), pool)
    expected = [stream(seed, "evaluation", *keys, pool=pool) for seed in SEEDS]
    assert [one.bit_generator.state for one in found] == [one.bit_generator.state for one in expected]
    assert [one.standard_normal() for one in found] == [one.standard_normal() for one in expected]


def test_every_row_has_its_own_keys_and_its_own_stream() -> None:
    keys = [(place, env) for place in range(3) for env in range(4)]
    found = [one.random() for one in streams([8] * 12, "evaluation", keys)]
    assert found == [stream(8, "evaluation", *each).random() for each in keys]
    assert len(np.unique(found)) == 12
    assert streams([], "reset", np.zeros((0, 1))) == []
