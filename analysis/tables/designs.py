"""The readings of a design of settings as numbers: one tidy frame each, from which tables and figures are made.

All scores are normalised (0 a random policy, 1 the reference). What chose is never what judges: a setting that won on
the tuning pool is scored by the other seeds of that pool in turn (cross-fitted), or by fresh seeds of another pool.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.claims.readings import SideBySide
from analysis.load.designed import Designed
from analysis.stats import CONFIDENCE, Array, Interval, generator
from analysis.stats import settings as stats
from bench.design.choices import HALVES

REPS = 500  # resamples of settings, and halves of them
BINS = 6  # of the range of a key, at most; fewer where they would hold less than `LEAST` settings
LEAST = 8
OVER_TASKS = "mean over tasks"
STRATUM = "stratum"
DEFAULT, BEST, WITHOUT, ALL_ROUND = "default", "best", "without", "all-round"
Places = NDArray[np.intp]
ORDER = (DEFAULT, BEST, *HALVES, WITHOUT, ALL_ROUND)


@dataclass(frozen=True)
class Readings:
    """All readings of one design; `claims` are those that were judged at four readings."""

    designed: Designed
    claims: tuple[SideBySide, ...] = ()

    @cached_property
    def chosen(self) -> pd.DataFrame:
        """See `chosen`."""
        return chosen(self.designed)

    @cached_property
    def expected(self) -> pd.DataFrame:
        """See `expected_best`."""
        return expected_best(self.designed)

    @cached_property
    def plane(self) -> pd.DataFrame:
        """See `sensitivities`."""
        return sensitivities(self.designed)

    @cached_property
    def responses(self) -> pd.DataFrame:
        """See `responses`."""
        return responses(self.designed)

    @cached_property
    def fits(self) -> pd.DataFrame:
        """See `fits`."""
        return fits(self.designed)


def chosen(designed: Designed) -> pd.DataFrame:
    """What was chosen for each arm on each task, and what it is worth on fresh seeds.

    Returns:
        A row per task, arm and `reading` (the arm's own numbers; its best; the best of each random half of settings;
        the best without this task; all-round): `setting` (−1 for its own numbers), `values`, `seeds` of the tuning pool
        and `tried`, their mean, which chose and is therefore too high; `n` fresh seeds with `fresh`, `fresh_low` and
        `fresh_high`; `optimism` with its bounds, the one less the other.
    """
    rows = []
    for arm in designed.arms:
        own = [(task, DEFAULT, -1) for task, name in designed.scores if name == arm]
        own += [(choice.task, choice.reading, choice.setting) for choice in designed.chosen(arm)]
        for task, reading, setting in own:
            default = reading == DEFAULT
            judged = designed.at_default(task, arm) if default else designed.judged(task, arm, setting)
            fresh = judged["score"].to_numpy(float)
            tried = np.array([]) if default else designed.scores[task, arm].loc[setting].to_numpy(float)
            rows.append(
                {
                    "task": task, "arm": arm, "reading": reading, "setting": setting,
                    "values": "" if default else values_text(designed.values(arm, setting)),
                    "seeds": len(tried), "tried": float(tried.mean()) if len(tried) else np.nan,
                    "n": len(fresh), **_columns("fresh", mean_interval(fresh)),
                    **_columns("optimism", stats.optimism(tried.tolist(), fresh.tolist(), CONFIDENCE)),
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table["reading"] = pd.Categorical(table["reading"], ORDER, ordered=True)
    places = {task: place for place, task in enumerate(designed.tasks)}
    order = table["task"].map(places)
    return table.assign(_place=order).sort_values(["_place", "arm", "reading"], kind="stable").drop(columns="_place")


def was_judged(readings: Readings, reading: str) -> bool:
    """Whether any setting that was chosen in this way has runs of fresh seeds."""
    table = readings.chosen
    return bool(not table.empty and (table.loc[table["reading"] == reading, "n"] > 0).any())


def paired(designed: Designed, arm: str, reading: str, other: str) -> tuple[Interval, int]:
    """The mean over tasks of one chosen setting's score less another's, on the fresh seeds that both have everywhere.

    Returns:
        The interval over seeds, and how many there are; NaN where a task has none.
    """
    differences = []
    for task, name in designed.scores:
        if name == arm:
            first, second = (_fresh(designed, task, arm, each) for each in (reading, other))
            differences.append(first - second)
    return over_tasks(differences)


def over_tasks(by_task: Sequence[pd.Series]) -> tuple[Interval, int]:
    """The mean over tasks, seed by seed, over the seeds that every task has: its interval, and how many there are."""
    if not by_task:
        return (float("nan"),) * 3, 0
    wide = pd.concat(by_task, axis=1).dropna()
    return mean_interval(wide.mean(axis=1).to_numpy(float)), len(wide)


def fresh_over_tasks(designed: Designed, arm: str, reading: str) -> tuple[Interval, int]:
    """The mean over tasks of what was chosen for an arm, on fresh seeds."""
    return over_tasks([_fresh(designed, task, arm, reading) for task, name in designed.scores if name == arm])


def optimism_over_tasks(designed: Designed, arm: str) -> tuple[Interval, int]:
    """What the best settings scored on the seeds that chose them less what they score on fresh ones, mean over tasks.

    Seeds of a pool are taken together over tasks, and the interval is Welch's between the two pools.
    """
    best = [choice for choice in designed.chosen(arm) if choice.reading == BEST]
    if not best:
        return (float("nan"),) * 3, 0
    tried = pd.concat([designed.scores[choice.task, arm].loc[choice.setting] for choice in best], axis=1).dropna()
    fresh = pd.concat([_fresh(designed, choice.task, arm, BEST) for choice in best], axis=1).dropna()
    before, after = (pool.mean(axis=1).tolist() for pool in (tried, fresh))
    return stats.optimism(before, after, CONFIDENCE), len(fresh)


def _fresh(designed: Designed, task: str, arm: str, reading: str) -> pd.Series:
    """The scores of fresh seeds, by seed; none where nothing was chosen."""
    if reading == DEFAULT:
        rows = designed.at_default(task, arm)
    else:
        settings = {f"{choice.task} {choice.reading}": choice.setting for choice in designed.chosen(arm)}
        rows = designed.judged(task, arm, settings.get(f"{task} {reading}", -1))
    return rows.set_index("seed")["score"].astype(float)


def tried_numbers(settings: int) -> list[int]:
    """1, 2, 4, … and the largest number of settings that has an interval."""
    most = max(settings // stats.FOR_EACH_TRIED, 1)
    return sorted({most, *(2**power for power in range(settings.bit_length()) if 2**power <= most)})


def expected_best(designed: Designed) -> pd.DataFrame:
    """The expected best of k settings that were tried, by task, arm and k, and the mean over tasks: each tuned apart.

    Empty where settings have one seed each: there is no other one to score what one chose.
    """
    rows = []
    for arm in designed.arms:
        by_task = {task: own.loc[designed.shared] for (task, name), own in designed.scores.items() if name == arm}
        if not by_task or any(own.shape[1] < 2 for own in by_task.values()):
            continue
        numbers = tried_numbers(len(designed.shared))
        arrays = {task: own.to_numpy(float) for task, own in by_task.items()}
        cube = designed.cube(arm)
        if cube is not None and len(arrays) > 1:
            arrays[OVER_TASKS] = cube
        for task, scores in arrays.items():
            rng = generator(designed.name, task, arm, "expected best")
            found = stats.expected_best_intervals(scores, numbers, REPS, CONFIDENCE, rng)
            rows += [
                {"task": task, "arm": arm, "k": k, **_columns("best", own)}
                for k, own in zip(numbers, found, strict=True)
            ]
    return pd.DataFrame(rows, columns=["task", "arm", "k", "best", "best_low", "best_high"])


def sensitivities(designed: Designed) -> pd.DataFrame:
    """Performance (mean over tasks of the per-task best) and sensitivity (that less the all-round setting), by arm.

    Both are cross-fitted, with delete-half jackknife intervals over settings (`performance`, `sensitivity`); and once
    more on fresh seeds, for the settings that this search found (`fresh_…`, over seeds). Empty for one task, where
    the best is the all-round setting.
    """
    rows = []
    strata = [designed.strata[setting] for setting in designed.shared]
    for arm in designed.arms:
        cube = designed.cube(arm)
        if cube is None or len(cube) < 2 or cube.shape[-1] < 2:
            continue

        def performance(places: Places, cube: Array = cube) -> float:
            return float(stats.best_cross_fitted(cube[:, places]).mean())

        def sensitivity(places: Places, cube: Array = cube) -> float:
            return stats.sensitivity(cube[:, places])

        row: dict[str, object] = {"arm": arm}
        for name, statistic in (("performance", performance), ("sensitivity", sensitivity)):
            rng = generator(designed.name, arm, name)
            row |= _columns(name, stats.half_samples(statistic, strata, REPS, CONFIDENCE, rng))
        row |= _columns("fresh_performance", fresh_over_tasks(designed, arm, BEST)[0])
        row |= _columns("fresh_sensitivity", paired(designed, arm, BEST, ALL_ROUND)[0])
        rows.append(row)
    return pd.DataFrame(rows)


def scaled(designed: Designed, key: str, values: Sequence[float] | Array) -> Array:
    """Values of a key as shares of its range, as the sequence drew them; the places of a choice's options.

    A value may lie outside of the range, 0 of a logarithmic one at −∞.
    """
    ((kind, arguments),) = designed.space[key].items()
    given = np.asarray(values, float)
    if kind == "choice":
        options = sorted(map(float, arguments))
        return np.asarray(np.searchsorted(options, given) / max(len(options) - 1, 1))
    low, high = map(float, arguments)
    if kind == "log_uniform":
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(given / low) / np.log(high / low))
    return np.asarray((given - low) / (high - low))


def edges(designed: Designed, key: str, settings: int) -> Array:
    """Where the bins of a key begin and end, as shares of its range; a bin for each option of a choice."""
    ((kind, arguments),) = designed.space[key].items()
    if kind == "choice":
        places = np.arange(len(arguments)) / max(len(arguments) - 1, 1)
        return np.concatenate([[-0.5], (places[1:] + places[:-1]) / 2, [1.5]])
    return np.linspace(0, 1, int(np.clip(settings // LEAST, 2, BINS)) + 1)


def responses(designed: Designed) -> pd.DataFrame:
    """The mean score over all other settings, in bins of each key's range, by task and arm; and in each stratum.

    Returns:
        `task`, `arm`, `key`, `place` of the bin, `at` (its middle, as a share of the range; the stratum's place),
        `settings` in it, `score` with its bounds: Student's over settings, weighted as strata are.
    """
    rows = []
    for (task, arm), scores in designed.scores.items():
        means, weights = scores.mean(axis=1).to_numpy(float), designed.weight_of(scores.index)
        for key, places, count, middles in _binned(designed, arm, scores.index):
            for place in range(count):
                inside = places == place
                found = stats.weighted_mean(means[inside], weights[inside], CONFIDENCE)
                rows.append(
                    {"task": task, "arm": arm, "key": key, "place": place, "at": middles[place],
                     "settings": int(inside.sum()), **_columns("score", found)}
                )  # fmt: skip
    return pd.DataFrame(rows)


def _binned(designed: Designed, arm: str, settings: pd.Index) -> list[tuple[str, Places, int, Sequence[float]]]:
    """By key that the arm reads: the bin of each setting, how many there are, and where their middles lie."""
    found: list[tuple[str, Places, int, Sequence[float]]] = []
    for key, shares in shares_of(designed, arm, settings).items():
        ends = edges(designed, key, len(settings))
        places = np.clip(np.searchsorted(ends, shares, side="right") - 1, 0, len(ends) - 2)
        found.append((key, places, len(ends) - 1, np.clip((ends[1:] + ends[:-1]) / 2, 0, 1).tolist()))
    names = list(designed.weights)
    if len(names) > 1:
        own = np.array([names.index(designed.strata[int(setting)]) for setting in settings])
        found.append((STRATUM, own, len(names), list(range(len(names)))))
    return found


def shares_of(designed: Designed, arm: str, settings: pd.Index) -> dict[str, Array]:
    """By key that an arm reads in every setting, the settings' values as shares of its range."""
    rows = designed.tried[designed.tried["arm"] == arm].drop_duplicates("setting").set_index("setting").loc[settings]
    keys = [key for key in designed.space if key in rows and rows[key].notna().all()]
    return {key: scaled(designed, key, rows[key].to_numpy(float)) for key in keys}


def fits(designed: Designed) -> pd.DataFrame:
    """What a fit of second degree in one key, or in two, foretells of settings it has not seen, by task and arm.

    Returns:
        `task`, `arm`, `first`, `second` ("" for one key) and the cross-validated `r_squared`.
    """
    rows = []
    for (task, arm), scores in designed.scores.items():
        means, weights = scores.mean(axis=1).to_numpy(float), designed.weight_of(scores.index)
        shares = shares_of(designed, arm, scores.index)
        for keys in (*((key,) for key in shares), *itertools.combinations(shares, 2)):
            found = stats.fit(np.column_stack([shares[key] for key in keys]), means, weights)
            second = keys[1] if len(keys) > 1 else ""
            rows.append({"task": task, "arm": arm, "first": keys[0], "second": second, "r_squared": found.r_squared})
    return pd.DataFrame(rows, columns=["task", "arm", "first", "second", "r_squared"])


def mean_interval(scores: Array) -> Interval:
    """The mean with Student's interval; see `analysis.stats.settings.weighted_mean`."""
    return stats.weighted_mean(scores, np.ones(len(scores)), CONFIDENCE)


def values_text(values: dict[str, float]) -> str:
    """As a command line takes them."""
    return " ".join(f"{key}={value:.3g}" for key, value in values.items())


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval[0], f"{name}_low": interval[1], f"{name}_high": interval[2]}
