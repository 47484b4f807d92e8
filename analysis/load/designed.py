"""A design of settings as its readings ask for it: scores by setting and seed, where they chose and on fresh seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.load.records import JUDGING, Records
from bench.design import choices
from bench.design.choices import Choice, Means
from bench.verdicts.metrics import METRICS, Measured, Runs
from bench.verdicts.selection import MAIN

_KEY = ["task", "arm"]
FINISHED = ("done", "failed")


@dataclass(frozen=True)
class Designed:
    """A design with the runs of its settings; every score is normalised, and that of a failed run is 0.

    Attributes:
        name: the design's.
        space: by key its distribution, `{kind: arguments}` as the design's file has it.
        weights: of the strata.
        scramble: seed of the sequence, and of the random halves.
        tried: a row for each run on the pool that chooses: task, arm, stratum, setting, seed, `score`, `failed`, the
            values of the arm's own keys, and the metrics of `bench.verdicts.metrics`.
        fresh: the same of a pool that judges, where chosen settings are judged.
        default: the runs of the arms' own numbers on such a pool: task, arm, seed, `score`, and the values of keys.
    """

    name: str
    space: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, float]
    scramble: int
    tried: pd.DataFrame
    fresh: pd.DataFrame
    default: pd.DataFrame

    @cached_property
    def strata(self) -> dict[int, str]:
        """The stratum of each setting."""
        rows = self.tried.drop_duplicates("setting")
        return {int(setting): str(name) for setting, name in zip(rows["setting"], rows["stratum"], strict=True)}

    @cached_property
    def by_arm(self) -> dict[tuple[str, str], pd.DataFrame]:
        """By task and arm, the runs on the pool that chooses."""
        return {(str(task), str(arm)): own for (task, arm), own in self.tried.groupby(_KEY, sort=False)}

    @cached_property
    def scores(self) -> dict[tuple[str, str], pd.DataFrame]:
        """By task and arm, settings × seeds: of those where every run is finished, the others wait."""
        return {
            key: own.pivot(index="setting", columns="seed", values="score").sort_index()
            for key, own in self.by_arm.items()
            if own["status"].isin(FINISHED).all()
        }

    @property
    def tasks(self) -> list[str]:
        """In order; those where an arm is finished."""
        return list(dict.fromkeys(task for task, _ in self.scores))

    @property
    def arms(self) -> list[str]:
        """In order; those that are finished on a task."""
        return list(dict.fromkeys(arm for _, arm in self.scores))

    @property
    def waiting(self) -> list[str]:
        """The arms, on a task each, with runs that are not finished."""
        return [f"{arm} on {task}" for task, arm in self.by_arm if (task, arm) not in self.scores]

    @cached_property
    def shared(self) -> list[int]:
        """The settings that every arm has on every task: those of strata in which all are legal."""
        every = [set(scores.index) for scores in self.scores.values()]
        return sorted(set.intersection(*every)) if every else []

    def means(self, arm: str) -> dict[str, Means]:
        """By task, the mean over seeds of each setting of an arm, among those that all arms share."""
        return {task: self.means_of(task, name) for task, name in self.scores if name == arm}

    def means_of(self, task: str, arm: str, *, every: bool = False) -> dict[int, float]:
        """The mean over seeds of each setting; of `every` one, or of those that all arms share."""
        scores = self.scores[task, arm]
        kept = scores if every else scores.loc[self.shared]
        means = kept.mean(axis=1)
        return dict(zip(map(int, means.index), map(float, means), strict=True))

    def cube(self, arm: str) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """(tasks, settings, seeds) of an arm's shared settings; None where it is not finished on every task."""
        if any((task, arm) not in self.scores for task in self.tasks):
            return None
        return np.stack([self.scores[task, arm].loc[self.shared].to_numpy(float) for task in self.tasks])

    def chosen(self, arm: str) -> list[Choice]:
        """What is chosen for an arm, among the settings that all arms share."""
        means = self.means(arm)
        return choices.of_arm(arm, means, self.strata, self.scramble) if self.shared else []

    def chosen_for(self, arms: tuple[str, str]) -> list[Choice]:
        """What is chosen for two arms that are compared, among the settings that both have."""
        scores = {
            arm: {task: self.means_of(task, name, every=True) for task, name in self.scores if name == arm}
            for arm in arms
        }
        return choices.of_pair(arms, scores, self.strata, self.scramble)

    def values(self, arm: str, setting: int) -> dict[str, float]:
        """The values of an arm's own keys in a setting."""
        rows = self.tried[(self.tried["arm"] == arm) & (self.tried["setting"] == setting)]
        return {key: float(rows[key].iloc[0]) for key in self.space if key in rows and pd.notna(rows[key].iloc[0])}

    def weight_of(self, settings: pd.Index) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The weight of each setting: that of its stratum, shared by the settings of it that are here."""
        strata = [self.strata[int(setting)] for setting in settings]
        return np.array([self.weights[name] / strata.count(name) for name in strata])

    def judged(self, task: str, arm: str, setting: int) -> pd.DataFrame:
        """The finished runs of a setting on fresh seeds, in order of seeds."""
        return _finished(self.fresh[self.fresh["setting"] == setting], task, arm)

    def at_default(self, task: str, arm: str) -> pd.DataFrame:
        """The finished runs of an arm's own numbers, in order of seeds."""
        return _finished(self.default, task, arm)


def _finished(rows: pd.DataFrame, task: str, arm: str) -> pd.DataFrame:
    mine = rows[(rows["task"] == task) & (rows["arm"] == arm) & rows["status"].isin(FINISHED)]
    return mine.sort_values("seed")


def runs_of(rows: pd.DataFrame) -> Runs:
    """Runs as the judge takes them, in the order of `rows`."""
    known = [name for name in ("start", *METRICS) if name in rows]
    measured = [
        None if failed else Measured({name: value for name, value in zip(known, values, strict=True) if value == value})
        for failed, *values in zip(rows["failed"], *(rows[name].astype(float) for name in known), strict=True)
    ]
    return Runs(tuple(map(int, rows["seed"])), tuple(measured), exact=bool(rows["exact"].all()))


def of(records: Records) -> list[Designed]:
    """The designs that were run in these studies."""
    return [_of(records, design) for design in records.designs]


def _of(records: Records, design: Mapping[str, Any]) -> Designed:
    rows = records.settings[records.settings["design"] == design["name"]]
    weights = {str(row.stratum): float(row.weight) for row in rows.drop_duplicates("stratum").itertuples()}
    pools = rows["seed_pool"]
    # Seeds of two pools share their numbers and nothing else, so one pool judges.
    judging = next((pool for pool in JUDGING if (pools == pool).any()), None)
    return Designed(
        str(design["name"]), design["space"], weights, int(design["scramble"]),
        rows[~pools.isin(JUDGING)], rows[pools == judging],
        _defaults(records, JUDGING if judging is None else (judging,), list(design["space"])),
    )  # fmt: skip


def _defaults(records: Records, judging: Sequence[str], keys: list[str]) -> pd.DataFrame:
    """The runs of ordinary cells on these pools of seeds, with their numbers of the keys that are factors."""
    pools = {str(record.get("hash")): record.get("seed_pool") for record in records.blocks}
    runs = records.runs[records.runs["hash"].map(lambda digest: pools.get(str(digest), MAIN) in judging)]
    failed = runs["status"] == "failed"
    score = runs["normalised_stochastic"].astype(float).where(~failed, 0.0)
    known = runs[[key for key in keys if key in runs]]
    return runs[["task", "hash", "seed", "status"]].assign(arm=runs["name"], failed=failed, score=score, **known)
