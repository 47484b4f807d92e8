"""A tuned study: every setting that was tried, the winners on both pools of seeds, and the optimism between them.

The settings' runs, on the tuning pool, are taken out of the tables of arms: those are judged on the main pool alone.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.integrate
import scipy.stats

from analysis.load import Records
from analysis.stats import CONFIDENCE, Interval
from analysis.tables.formats import Best, Section, Table, decimals_of, interval_text, number_text, optional_text
from bench.design import record

SCORE, NORMALISED = "final_stochastic", "normalised_stochastic"


@dataclass(frozen=True)
class Setting:
    """A setting with the final scores of its seeds that are done, raw and normalised, and what became of the others."""

    number: int
    values: Mapping[str, Any]
    scores: Mapping[int, float]
    normalised: Mapping[int, float]
    trouble: str

    @property
    def mean(self) -> float:
        """NaN where a seed failed or is not finished: such a setting cannot win."""
        return float(np.mean(list(self.scores.values()))) if self.scores and not self.trouble else float("nan")

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds."""
        return float(np.std(list(self.scores.values()), ddof=1)) if len(self.scores) > 1 else float("nan")


@dataclass(frozen=True)
class TunedArm:
    """An arm on a task: its settings, the winner among them, and that one's scores on the main pool."""

    task: str
    arm: str
    planned: int
    settings: tuple[Setting, ...]
    winner: Setting | None
    fresh: Mapping[int, float]
    fresh_normalised: Mapping[int, float]

    @property
    def keys(self) -> list[str]:
        """What was tuned."""
        return list(dict.fromkeys(key for setting in self.settings for key in setting.values))


@dataclass(frozen=True)
class Tuned:
    """What a study's `tuning.json` plans, with the scores of its blocks; `runs` are those of the tuning pool."""

    arms: tuple[TunedArm, ...]
    runs: pd.DataFrame

    @property
    def tasks(self) -> list[str]:
        """In order."""
        return list(dict.fromkeys(arm.task for arm in self.arms))

    @property
    def keys(self) -> list[str]:
        """All that was tuned."""
        return list(dict.fromkeys(key for arm in self.arms for key in arm.keys))

    def of(self, task: str) -> list[TunedArm]:
        """The arms of a task."""
        return [arm for arm in self.arms if arm.task == task]


def split(records: Records, study: Path) -> tuple[Records, Tuned | None]:
    """What judges, and what tuned; None where the study tuned nothing. Raises `UserError` for a damaged file."""
    candidates = record.read(study)
    if not candidates:
        return records, None
    hashes = {trial.hash for candidate in candidates for trial in candidate.trials}
    runs = records.runs
    tried = runs["hash"].isin(hashes)
    if "seed_pool" in runs:  # earlier designs' too
        tried |= runs["seed_pool"] == "tuning"
    found = Tuned(tuple(_arm(candidate, runs) for candidate in candidates), runs[tried])
    gone = set(runs.loc[tried, "hash"])

    def kept(table: pd.DataFrame) -> pd.DataFrame:
        return table[~table["hash"].isin(gone)].reset_index(drop=True)

    judged = replace(
        records,
        factors=tuple(factor for factor in records.factors if factor not in found.keys),
        runs=kept(runs),
        evaluations=kept(records.evaluations),
        curves=kept(records.curves),
        training=kept(records.training),
    )
    return judged, found


def _arm(candidate: record.Candidate, runs: pd.DataFrame) -> TunedArm:
    mine = runs[runs["task"] == candidate.task]
    settings = tuple(_setting(trial, candidate, mine) for trial in candidate.trials)
    winner = next((each for each in settings if each.number == candidate.winner), None)
    fresh = mine[(mine["hash"] == candidate.judged) & (mine["status"] == "done")]
    return TunedArm(
        candidate.task,
        candidate.arm,
        candidate.settings,
        settings,
        winner,
        _by_seed(fresh, SCORE),
        _by_seed(fresh, NORMALISED),
    )


def _setting(trial: record.Trial, candidate: record.Candidate, runs: pd.DataFrame) -> Setting:
    mine = runs[(runs["hash"] == trial.hash) & runs["seed"].isin(candidate.seeds)]
    done = mine[mine["status"] == "done"]
    return Setting(
        trial.number, trial.values, _by_seed(done, SCORE), _by_seed(done, NORMALISED), _trouble(mine, candidate.seeds)
    )


def _by_seed(runs: pd.DataFrame, column: str) -> dict[int, float]:
    scores = runs.set_index("seed")[column].astype(float)
    return {int(str(seed)): float(score) for seed, score in scores.items() if np.isfinite(score)}


def _trouble(runs: pd.DataFrame, seeds: Sequence[int]) -> str:
    """What became of the seeds that have no score; "" where all have one."""
    left = [seed for seed in seeds if seed not in _by_seed(runs[runs["status"] == "done"], SCORE)]
    if not left:
        return ""
    failed = runs[runs["seed"].isin(left) & (runs["status"] == "failed")]
    if failed.empty:
        return f"{len(left)} of {len(seeds)} seeds not finished"
    return f"{len(left)} of {len(seeds)} seeds failed: {failed['cause'].iloc[0]}"


@functools.cache
def expected_maximum(k: int) -> float:
    """c_k, the mean of the largest of k independent standard normal variables: ∫ x k φ(x) Φ(x)^(k−1) dx."""

    def density(x: float) -> float:
        return float(x * k * scipy.stats.norm.pdf(x) * scipy.stats.norm.cdf(x) ** (k - 1))

    return float(scipy.integrate.quad(density, -12, 12)[0])


def expected_optimism(settings: Sequence[Sequence[float]]) -> float:
    """c_k σ/√n: by how much the best of k equally good settings flatters itself, each tried on n seeds.

    σ is the standard deviation over seeds, pooled over the settings (n scores each); NaN for n < 2.
    """
    scores = np.asarray(settings, float)
    if scores.ndim != 2 or scores.shape[1] < 2:
        return float("nan")
    k, n = scores.shape
    return expected_maximum(k) * float(np.sqrt(scores.var(axis=1, ddof=1).mean() / n))


def optimism(tuning: Sequence[float], fresh: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean on the tuning pool minus mean on fresh seeds, with Welch's t-interval: five seeds are too few to resample.

    NaN where one of the pools has no score, bounds where it has a single one.
    """
    first, second = np.asarray(tuning, float), np.asarray(fresh, float)
    if not first.size or not second.size:
        return float("nan"), float("nan"), float("nan")
    difference = float(first.mean() - second.mean())
    if first.size < 2 or second.size < 2:
        return difference, float("nan"), float("nan")
    if np.ptp(first) == np.ptp(second) == 0:
        return difference, difference, difference
    low, high = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval(confidence)
    return difference, float(low), float(high)


def overall_optimism(found: Tuned) -> tuple[Interval, float, int] | None:
    """Optimism of the mean over all judged arms, seed by seed, since arms share seeds; and what was expected."""
    arms = [arm for arm in found.arms if arm.winner is not None and arm.fresh]
    if len(arms) < 2:
        return None
    before = _seed_means([arm.winner.normalised for arm in arms if arm.winner is not None])
    after = _seed_means([arm.fresh_normalised for arm in arms])
    expected = float(np.mean([expected_optimism(_complete(arm, normalised=True)) for arm in arms]))
    return optimism(before, after), expected, len(arms)


def _seed_means(scores: Sequence[Mapping[int, float]]) -> list[float]:
    """The mean over arms for every seed that all of them have."""
    shared = set.intersection(*(set(each) for each in scores))
    return [float(np.mean([each[seed] for each in scores])) for seed in sorted(shared)]


def _complete(arm: TunedArm, *, normalised: bool = False) -> list[list[float]]:
    """The scores of the settings that could win."""
    done = [setting for setting in arm.settings if not setting.trouble]
    return [list((setting.normalised if normalised else setting.scores).values()) for setting in done]


def winner_table(found: Tuned) -> Table:
    """Every arm's winner: its values, its score on both pools, the optimism, and what one expects."""
    sections = []
    for task in found.tasks:
        arms = found.of(task)
        decimals = _decimals(arms)
        sections.append(Section(task, tuple(_winner_row(arm, found.keys, decimals) for arm in arms)))
    return Table(
        caption="Winners of the tuning: final stochastic score on the seeds that chose them and on fresh ones of the "
        f"main pool (n seeds), and the optimism, the difference of the two, with Welch's {CONFIDENCE:.0%} interval. "
        "Expected: c_k σ/√n, the mean optimism of the best of k equally good settings with σ pooled over settings; "
        "less where settings differ, or share the luck of their seeds.",
        header=("arm", *found.keys, "k", "tuning pool", "fresh seeds", "optimism", "expected"),
        sections=tuple(sections),
    )


def _winner_row(arm: TunedArm, keys: Sequence[str], decimals: int) -> tuple[str, ...]:
    complete = _complete(arm)
    if arm.winner is None:
        return (arm.arm, *("–" for _ in keys), str(len(complete)), "no winner yet", "–", "–", "–")
    tuning, fresh = list(arm.winner.scores.values()), list(arm.fresh.values())
    return (
        arm.arm,
        *(_value_text(arm.winner.values.get(key)) for key in keys),
        str(len(complete)),
        f"{optional_text(arm.winner.mean, decimals)} (n={len(tuning)})",
        f"{number_text(float(np.mean(fresh)), decimals)} (n={len(fresh)})" if fresh else "not judged yet",
        interval_text(optimism(tuning, fresh), decimals),
        optional_text(expected_optimism(complete), decimals),
    )


def _decimals(arms: Sequence[TunedArm]) -> int:
    return decimals_of(np.array([setting.mean for arm in arms for setting in arm.settings], float))


def _value_text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def setting_table(found: Tuned) -> Table:
    """Every setting of every arm, best first; those that failed or are not finished last, with the reason."""
    sections = []
    for arm in found.arms:
        decimals = _decimals(found.of(arm.task))
        rows = [_setting_row(arm, setting, found.keys, decimals) for setting in sorted(arm.settings, key=_rank)]
        sections.append(Section(f"{arm.task} · {arm.arm}", tuple(rows)))
    return Table(
        caption="Every setting: mean and standard deviation over the seeds of the tuning pool of the final stochastic "
        "score. Bold: the winner. Settings with the same number are the same draw for every arm, as far as it "
        "reads it.",
        header=("setting", *found.keys, "mean", "sd", "seeds", "trouble"),
        sections=tuple(sections),
    )


def _rank(setting: Setting) -> tuple[bool, float, int]:
    return bool(setting.trouble), -np.nan_to_num(setting.mean), setting.number


def _setting_row(arm: TunedArm, setting: Setting, keys: Sequence[str], decimals: int) -> tuple[str, ...]:
    mean = optional_text(setting.mean, decimals)
    won = arm.winner is not None and arm.winner.number == setting.number
    return (
        str(setting.number),
        *(_value_text(setting.values.get(key)) for key in keys),
        Best(mean) if won else mean,
        optional_text(setting.deviation, decimals),
        str(len(setting.scores)),
        setting.trouble or "–",
    )
