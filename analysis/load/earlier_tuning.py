"""Studies that were tuned before there were designs of settings: `tuning.json` beside their runs, read as a design.

Each arm tried the same random settings on the tuning pool, one cell for each, and its best was judged on fresh seeds.
Arms were not judged at their own numbers, and nothing but the best was judged at all: those readings are missing.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.load.designed import Designed
from analysis.load.records import Records
from bench.records.index import TUNING

NAME, STRATUM = "tuning", "all"


def split(records: Records, study: Path) -> tuple[Records, Designed | None]:
    """What judges, and what tuned; None where the study tuned nothing in this way, or has a design since.

    The runs of settings are taken out of the records: arms are compared on the main pool alone. Raises `UserError` for
    a damaged file.
    """
    found = TUNING.read(study)
    if not found["candidates"]:
        return records, None
    if records.designs:
        return _without(records, {*_trials(found), *(candidate["judged"] for candidate in found["candidates"])}), None
    runs, space = records.runs, found["design"].get("space", {})
    tried = pd.concat([_tried(candidate, runs) for candidate in found["candidates"]], ignore_index=True)
    fresh = pd.concat([_fresh(candidate, runs, tried) for candidate in found["candidates"]], ignore_index=True)
    of_pool = (
        runs["seed_pool"] == "tuning" if "seed_pool" in runs else np.zeros(len(runs), bool)
    )  # earlier searches', too
    judged = _without(records, {*_trials(found), *runs.loc[of_pool, "hash"]})
    factors = tuple(factor for factor in records.factors if factor not in space)  # each arm has its own
    seed = int(found["design"].get("design", 0))
    tuned = Designed(NAME, space, {STRATUM: 1.0}, seed, tried, fresh, fresh.iloc[:0])
    return replace(judged, factors=factors), tuned


def _trials(found: Mapping[str, Any]) -> set[str]:
    return {trial["hash"] for candidate in found["candidates"] for trial in candidate["trials"]}


def _without(records: Records, gone: Collection[str]) -> Records:
    """Records without the runs of some cells."""

    def kept(table: pd.DataFrame) -> pd.DataFrame:
        return table[~table["hash"].isin(gone)].reset_index(drop=True)

    return replace(
        records,
        runs=kept(records.runs),
        evaluations=kept(records.evaluations),
        curves=kept(records.curves),
        training=kept(records.training),
    )


def _tried(candidate: Mapping[str, Any], runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting and seed of an arm on a task; runs that are not there are missing."""
    planned = pd.DataFrame(
        [
            {"hash": trial["hash"], "setting": trial["number"], "seed": seed, **trial["values"]}
            for trial in candidate["trials"]
            for seed in candidate["seeds"]
        ]
    )
    return _scored(candidate, planned, runs)


def _fresh(candidate: Mapping[str, Any], runs: pd.DataFrame, tried: pd.DataFrame) -> pd.DataFrame:
    """The runs of an arm's best setting on the main pool."""
    rows = runs.loc[(runs["hash"] == candidate["judged"]) & (runs["task"] == candidate["task"]), ["hash", "seed"]]
    return _scored(candidate, rows.assign(setting=candidate["winner"]), runs).reindex(columns=tried.columns)


def _scored(candidate: Mapping[str, Any], planned: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    known = ["hash", "seed", "status", "cause", "normalised_stochastic", "env_steps", "cpu_seconds"]
    mine = runs.loc[runs["task"] == candidate["task"], known]
    rows = planned.merge(mine, on=["hash", "seed"], how="left").rename(columns={"normalised_stochastic": "score"})
    failed = rows["status"] == "failed"
    return rows.assign(
        task=candidate["task"], arm=candidate["arm"], stratum=STRATUM, weight=1.0, exact=False, failed=failed,
        status=rows["status"].fillna("missing"), score=rows["score"].astype(float).where(~failed, 0.0),
    )  # fmt: skip
