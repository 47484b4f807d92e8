"""The arms of a task, with their factors as claims select them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.verdicts.selection import Factors


@dataclass(frozen=True)
class Arm:
    """An arm on a task: its label, the hash of its cell, and its factors (its `name` among them)."""

    label: str
    hash: str
    factors: Factors


def arms(runs: pd.DataFrame, factors: Sequence[str], pools: Mapping[str, str] | None = None) -> list[Arm]:
    """The arms in the rows of one task, those without a known factor aside: nothing of them was ever begun.

    Args:
        runs: as `analysis.load` gives them.
        factors: names of the factor columns.
        pools: the pool that a cell's seeds are of, by hash.
    """
    found = []
    first = runs.drop_duplicates("hash")
    names = [name for name in factors if name in first]
    columns = [first[name] if name in first else [None] * len(first) for name in ("arm", "hash", "name", *names)]
    for label, digest, own, *levels in zip(*columns, strict=True):
        known = {name: level for name, level in zip(names, levels, strict=True) if pd.notna(level)}
        if known or not factors:
            pool = {"seed_pool": (pools or {})[str(digest)]} if str(digest) in (pools or {}) else {}
            found.append(Arm(str(label), str(digest), {**known, "name": own, **pool}))
    return found
