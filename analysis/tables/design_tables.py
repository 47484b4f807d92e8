"""The readings of a design of settings as tables for people; `analysis.tables.designs` has the numbers."""

from collections.abc import Sequence

import numpy as np

from analysis.claims import readings as four
from analysis.claims.readings import SideBySide
from analysis.load.designed import Designed
from analysis.stats import CONFIDENCE, Interval
from analysis.stats import settings as stats
from analysis.tables.designs import (
    ALL_ROUND,
    BEST,
    DEFAULT,
    OVER_TASKS,
    WITHOUT,
    Readings,
    fresh_over_tasks,
    optimism_over_tasks,
    paired,
    was_judged,
)
from analysis.tables.formats import Section, Table, interval_of, interval_text, optional_text
from bench.design.choices import HALVES
from bench.verdicts.judge import ALPHA
from bench.verdicts.row import overall

DECIMALS = 2  # of scores between 0 and 1
MOST_ROWS = 24  # of claims and tasks, that a report has one by one
_CLAIMS = (
    "Claims at four readings: at the arms' own numbers; at each arm's own best setting; at the one setting "
    "that suits both arms and all tasks best (all three on fresh seeds); on average over the space, where the unit "
    f"is a setting. Each reading is a family of its own at level {ALPHA:g}, so that their levels add up. "
    f"{four.ROBUST}: the same word at all four, none open; {four.TURNS}: supported at one, reversed or no "
    "difference at another"
)
TRIED = (1, 4, 16)  # numbers of settings in the table; the figure has them all


def space_table(designed: Designed) -> Table:
    """What the settings are drawn from, and which arms read it."""
    rows = []
    for key, distribution in designed.space.items():
        ((kind, arguments),) = distribution.items()
        readers = [arm for arm in dict.fromkeys(name for _, name in designed.by_arm) if key in _keys(designed, arm)]
        drawn = f"{kind.replace('_', '-')} {', '.join(f'{float(each):g}' for each in arguments)}"
        rows.append((key, drawn, str(len(readers))))
    counts = {name: sum(own == name for own in designed.strata.values()) for name in designed.weights}
    strata = ", ".join(f"{name} ({counts[name]}, weight {weight:g})" for name, weight in designed.weights.items())
    return Table(
        caption=f"Settings of the design {designed.name}, the same for all arms, each in its own keys. Strata and "
        f"their settings: {strata}.",
        header=("key", "drawn from", "arms that read it"),
        sections=(Section("", tuple(rows)),),
    )


def _keys(designed: Designed, arm: str) -> list[str]:
    rows = designed.tried[designed.tried["arm"] == arm]
    return [key for key in designed.space if key in rows and rows[key].notna().any()]


def gains_table(readings: Readings) -> Table:
    """What tuning buys each arm: own numbers, the expected best of k, the own best on both pools."""
    designed, expected = readings.designed, readings.expected
    numbers = [k for k in TRIED if k in set(expected["k"])]
    task = OVER_TASKS if len(designed.tasks) > 1 else next(iter(designed.tasks), "")
    rows = []
    for arm in designed.arms:
        mine = expected[(expected["task"] == task) & (expected["arm"] == arm)]
        best_of = {int(row["k"]): interval_of(row, "best") for _, row in mine.iterrows()}
        rows.append(
            (
                arm,
                _text(fresh_over_tasks(designed, arm, DEFAULT)[0]),
                *(_text(best_of[k]) if k in best_of else "–" for k in numbers),
                _text(fresh_over_tasks(designed, arm, BEST)[0]),
                *(optional_text(fresh_over_tasks(designed, arm, half)[0][0], DECIMALS) for half in HALVES),
                _text(optimism_over_tasks(designed, arm)[0]),
                optional_text(_expected_optimism(designed, arm), DECIMALS),
            )
        )
    return Table(
        caption="What tuning buys, mean over tasks. Own numbers and own best: fresh seeds, with Student's "
        f"{CONFIDENCE:.0%} interval over seeds. Best of k: expected, cross-fitted, with a bootstrap interval over "
        "settings. Halves: the best of each random half of the settings, on fresh seeds, which shows the luck of the "
        "search. Optimism: the best setting's score on the seeds that chose it, less that on fresh ones; expected: "
        "c_k σ/√n, the mean of that for equally good settings.",
        header=(
            "arm", "own numbers", *(f"best of {k}" for k in numbers), "own best", "half 1", "half 2", "optimism",
            "expected",
        ),
        sections=(Section("", tuple(rows)),),
    )  # fmt: skip


def _expected_optimism(designed: Designed, arm: str) -> float:
    own = [scores.to_numpy(float) for (_, name), scores in designed.scores.items() if name == arm]
    return float(np.mean([stats.expected_optimism(scores.tolist()) for scores in own])) if own else float("nan")


def plane_table(readings: Readings) -> Table | None:
    """Performance and sensitivity of every arm; None where they have none."""
    table = readings.plane
    if table.empty:
        return None
    rounds = {choice.arm: choice.setting for arm in readings.designed.arms for choice in readings.designed.chosen(arm)
              if choice.reading == ALL_ROUND}  # fmt: skip
    names = ("performance", "sensitivity", "fresh_performance", "fresh_sensitivity")
    rows = [
        (str(row["arm"]), str(rounds.get(str(row["arm"]), "–")),
         *(_text((row[name], row[f"{name}_low"], row[f"{name}_high"])) for name in names))
        for row in table.to_dict("records")
    ]  # fmt: skip
    return Table(
        caption="Performance: mean over tasks of the per-task best. Sensitivity: that less the all-round setting, the "
        "one that is best on average over tasks (arXiv 2412.07165, which normalises by percentiles; here scores have "
        "fixed bounds). Cross-fitted, with a delete-half jackknife interval over settings; below 0 where one seed of "
        "one task chooses worse than one seed of all tasks. Fresh: for the settings found, over fresh seeds.",
        header=("arm", "all-round", "performance", "sensitivity", "performance, fresh", "sensitivity, fresh"),
        sections=(Section("", tuple(rows)),),
    )


def left_out_table(readings: Readings) -> Table | None:
    """What settings that were chosen on the other tasks are worth; None for a single task."""
    designed = readings.designed
    if len(designed.tasks) < 2 or not was_judged(readings, WITHOUT):
        return None
    rows = []
    for arm in designed.arms:
        rows.append(
            (
                arm,
                *(_text(fresh_over_tasks(designed, arm, each)[0]) for each in (DEFAULT, BEST, WITHOUT)),
                *(_text(paired(designed, arm, WITHOUT, each)[0]) for each in (BEST, DEFAULT)),
            )
        )
    number = len(designed.tasks)
    return Table(
        caption="Leave one task out: each task's setting is chosen on the others and judged on it with fresh seeds; "
        f"mean over tasks, interval over fresh seeds only. These {number} tasks say nothing about another one.",
        header=("arm", "own numbers", "own best", "without the task", "less own best", "less own numbers"),
        sections=(Section("", tuple(rows)),),
    )


def fits_table(readings: Readings) -> Table | None:
    """How much of the scores of unseen settings each key foretells; None where no arm reads two."""
    table = readings.fits[readings.fits["second"] == ""]
    if table.empty:
        return None
    keys = [key for key in readings.designed.space if (table["first"] == key).any()]
    rows = []
    for arm in readings.designed.arms:
        mine = table[table["arm"] == arm]
        found = [mine.loc[mine["first"] == key, "r_squared"].median() for key in keys]
        rows.append((arm, *(optional_text(float(value), DECIMALS) for value in found)))
    return Table(
        caption="What a key alone foretells of a setting's score: cross-validated R² of a fit of second degree, median "
        "over tasks. 0 or less: nothing.",
        header=("arm", *keys),
        sections=(Section("", tuple(rows)),),
    )


def claims_table(found: Sequence[SideBySide]) -> Table:
    """Claims at four readings, each with its effect and whether it stands; of many, how many tasks say what."""
    if len(found) > MOST_ROWS:
        return _many_claims(found)
    sections = []
    for name in dict.fromkeys(each.first.name for each in found):
        own = [each for each in found if each.first.name == name]
        head = own[0].first
        heading = f"{name}: {head.statement or f'{head.arm} − {head.against}'} ({head.metric}, {head.direction})"
        sections.append(Section(heading, tuple(_claim_row(each) for each in own)))
    return Table(
        caption=f"{_CLAIMS}.",
        header=("task", *four.READINGS, "stands"),
        sections=tuple(sections),
    )


def _many_claims(found: Sequence[SideBySide]) -> Table:
    """A row for each claim: how many of its tasks say what."""
    rows = []
    for name in dict.fromkeys(each.first.name for each in found):
        own = [each for each in found if each.first.name == name]
        said = [overall([each.rows[reading] for each in own]) for reading in four.READINGS]
        stands = [each.standing for each in own]
        counts = ", ".join(f"{word} on {stands.count(word)}" for word in dict.fromkeys(stands))
        rows.append((name, *said, counts))
    return Table(
        caption=f"{_CLAIMS}. Tasks one by one, with effects and intervals, are in the figure and the CSV file.",
        header=("claim", *four.READINGS, "stands"),
        sections=(Section("", tuple(rows)),),
    )


def _claim_row(each: SideBySide) -> tuple[str, ...]:
    cells = []
    for row in each.rows.values():
        effect = "" if np.isnan(row.effect) else f" {_text((row.effect, row.low, row.high))}"
        cells.append(f"{row.finding if row.word is not None else row.text}{effect}")
    return (each.first.task, *cells, each.standing)


def _text(interval: Interval) -> str:
    return interval_text(interval, DECIMALS)
