"""A claim at four readings of a design of settings, side by side, and whether it stands at all of them.

At the arms' own numbers; at each arm's own best; at the one setting that suits both; on average over the space. Each
reading is a family of its own, at the same level, and its words are those of `bench.verdicts.words`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from analysis.claims.comparisons import against_control
from analysis.claims.verdicts import judge, judged_row
from analysis.load import Records
from analysis.load.designed import Designed, runs_of
from analysis.stats.settings import over_space
from bench.design.choices import HALVES, Choice
from bench.records.metrics import DRAWDOWN
from bench.verdicts import words
from bench.verdicts.hypotheses import CONSTANT, ClaimsFile
from bench.verdicts.judge import ALPHA, Question
from bench.verdicts.metrics import Runs
from bench.verdicts.row import MISSING, JudgedRow
from bench.verdicts.sequential import Interval
from bench.verdicts.words import Word

DEFAULT: Final = "default"
BEST: Final = "own best"
COMMON: Final = "best common"
SPACE: Final = "over the space"
READINGS: Final = (DEFAULT, BEST, COMMON, SPACE)

ROBUST: Final = "robust"
TURNS: Final = "turns around"
NOT_SHOWN: Final = "not shown to be robust"
STANDINGS: Final = (ROBUST, TURNS, NOT_SHOWN)
_AGAINST: Final = (Word.REVERSED, Word.NO_DIFFERENCE, Word.DIFFERENT)  # of what is supported in another reading


@dataclass(frozen=True)
class SideBySide:
    """A claim on a task.

    Attributes:
        rows: its verdict by reading, in the order of `READINGS`.
        chosen: by reading that chose, the settings of the two arms.
        halves: what each arm's own best comes to where only one random half of the settings had been tried.
    """

    rows: Mapping[str, JudgedRow]
    chosen: Mapping[str, tuple[int, int]]
    halves: tuple[JudgedRow, ...] = ()

    @property
    def first(self) -> JudgedRow:
        """The row at the arms' own numbers, which names claim, task and arms."""
        return self.rows[DEFAULT]

    @property
    def standing(self) -> str:
        """Whether the claim stands at every reading."""
        return standing(list(self.rows.values()))


def standing(rows: Sequence[JudgedRow]) -> str:
    """`ROBUST` for one finding in all rows; `TURNS` where some contradict what others support; else `NOT_SHOWN`.

    A finding is a word with its side. Rows that are open, say nothing or were not judged show nothing. A claim of
    equality is contradicted by a difference, and a difference by one of the other sign.
    """
    found = {row.finding for row in rows}
    told = {row.word for row in rows}
    if len(found) == 1 and not told & {None, Word.OPEN, Word.UNINFORMATIVE}:
        return ROBUST
    two_signs = len({row.finding for row in rows if row.word is Word.DIFFERENT}) > 1
    if two_signs or (Word.SUPPORTED in told and told & set(_AGAINST)):
        return TURNS
    return NOT_SHOWN


def side_by_side(designed: Designed, records: Records, claims_files: Sequence[ClaimsFile]) -> list[SideBySide]:
    """Every claim that is judged in these studies at four readings; without claims, every arm beside the control."""
    asked = _asked(records, claims_files)
    cells = records.runs.drop_duplicates(["task", "arm"])
    labels = zip(cells["task"], cells["arm"], strict=True)
    names = dict(zip(labels, map(str, cells["name"]), strict=True))
    return [
        of_row(designed, row, question, (names.get((row.task, row.arm), ""), names.get((row.task, row.against), "")))
        for row, question in asked
    ]


def _asked(records: Records, claims_files: Sequence[ClaimsFile]) -> list[tuple[JudgedRow, Question]]:
    found = []
    for file in claims_files:
        for judged in judge(file, records):
            claim = judged.claim
            if CONSTANT in claim.against or claim.withdrawn is not None:
                continue
            question = Question(
                claim.metric, claim.direction, claim.sesoi, file.share(claim), None, claim.logarithm, claim.range
            )
            found += [(row, question) for row in judged.rows]
    if found:
        return found
    compared = [each.row for each in against_control(records)]
    return [(row, Question(row.metric, row.direction, row.margin, row.level / ALPHA)) for row in compared]


def of_row(designed: Designed, default: JudgedRow, question: Question, arms: tuple[str, str]) -> SideBySide:
    """A claim at four readings.

    Args:
        designed: the design.
        default: its row at the arms' own numbers.
        question: what was asked there.
        arms: their names in the design.
    """
    blank = replace(
        default, looks=(), pairs=0, effect=np.nan, low=np.nan, high=np.nan, word=None, text=MISSING, p=None,
        needed=None, noise=None, failed=0,
    )  # fmt: skip
    task = default.task
    if absent := [arm or label for arm, label in zip(arms, (default.arm, default.against), strict=True)
                  if (task, arm) not in designed.scores]:  # fmt: skip
        text = f"{MISSING}: the settings of {' and '.join(absent) or 'its arms'} are not finished"
        return SideBySide({DEFAULT: default, **dict.fromkeys(READINGS[1:], replace(blank, text=text))}, {})
    choices = [choice for choice in designed.chosen_for(arms) if choice.task == task]
    chosen = {
        name: found
        for name, reading in ((BEST, "best"), (COMMON, "common"), *zip(HALVES, HALVES, strict=True))
        if (found := _pair(choices, reading, arms)) is not None
    }
    fresh = {name: _on_fresh_seeds(designed, blank, question, arms, own) for name, own in chosen.items()}
    none = replace(blank, text=f"{MISSING}: the arms have no setting in common")
    rows = {
        DEFAULT: default, BEST: fresh.get(BEST, none), COMMON: fresh.get(COMMON, none),
        SPACE: _over_space(designed, blank, question, arms) if chosen else none,
    }  # fmt: skip
    return SideBySide(rows, chosen, tuple(fresh[half] for half in HALVES if half in fresh))


def _pair(choices: Sequence[Choice], reading: str, arms: tuple[str, str]) -> tuple[int, int] | None:
    found = {choice.arm: choice.setting for choice in choices if choice.reading == reading}
    return (found[arms[0]], found[arms[1]]) if set(arms) <= found.keys() else None


def _on_fresh_seeds(
    designed: Designed, blank: JudgedRow, question: Question, arms: tuple[str, str], chosen: tuple[int, int]
) -> JudgedRow:
    """The row of two chosen settings, from the runs of fresh seeds that both have."""
    first, second = (designed.judged(blank.task, arm, setting) for arm, setting in zip(arms, chosen, strict=True))
    both = sorted(set(first["seed"]) & set(second["seed"]))[: blank.asked]
    if not both:
        return replace(blank, text=f"{MISSING}: not judged on fresh seeds yet")
    of_arms = [runs_of(rows[rows["seed"].isin(both)]) for rows in (first, second)]
    return judged_row(blank, question, of_arms)


def _over_space(designed: Designed, blank: JudgedRow, question: Question, arms: tuple[str, str]) -> JudgedRow:
    """The row of the mean difference over the space: the unit is a setting, its value a mean over its seeds."""
    if question.traits.of_final and question.metric != "final":
        return replace(
            blank, text=f"{MISSING}: {question.metric} is no number of a run, so settings have no mean of it"
        )
    rows = [designed.by_arm[blank.task, arm] for arm in arms]
    shared = sorted(set(rows[0]["setting"]) & set(rows[1]["setting"]))
    tables = [own[own["setting"].isin(shared)].sort_values(["setting", "seed"]) for own in rows]
    of_arms = [runs_of(own) for own in tables]
    strata = [designed.strata[setting] for setting in shared]
    weights = {name: designed.weights[name] for name in dict.fromkeys(strata)}

    def of_settings(values: np.ndarray, table: int) -> np.ndarray:
        return tables[table].assign(value=values).groupby("setting")["value"].mean().to_numpy(float)

    def interval(values: np.ndarray, level: float) -> Interval:
        return over_space(values, strata, weights, 1 - level * question.share)

    values = [
        question.scaled(np.where(runs.lost, question.traits.worst, runs.values(question.metric))) for runs in of_arms
    ]
    if not np.isfinite(np.concatenate(values)).all():
        return replace(blank, text=f"{MISSING}: {question.metric} was not recorded for every run")
    differences = of_settings(values[0], 0) - of_settings(values[1], 1)
    effect, low, high = words.oriented(interval(differences, ALPHA), question.direction)
    if np.isnan(low):
        return replace(blank, text=f"{MISSING}: a stratum has a single setting")
    at_bound = words.at_one_bound(np.concatenate(values), *question.bounds)
    gains = [of_settings(_gain(runs), place) for place, runs in enumerate(of_arms)]
    learned = any(np.isfinite(own).all() and words.learned(interval(own, ALPHA)) for own in gains)
    unequal = "" if learned else "no arm has learned anything"
    if question.metric == DRAWDOWN and not all(runs.exact for runs in of_arms):
        unequal = unequal or "a drawdown is measured too small, and its share of noise is not known"
    found = words.verdict(
        low, high, question.direction, question.margin,
        says_nothing="every run of both arms is at the same bound" if at_bound else "", no_equality=unequal,
    )  # fmt: skip
    p = words.p_value(lambda level: interval(differences, level), found, ALPHA, question.direction)
    return replace(
        blank, looks=(len(shared),), pairs=len(shared), asked=len(shared), effect=effect, low=low, high=high,
        word=found.word, text=found.text, p=p, failed=sum(len(runs.failed) for runs in of_arms),
    )  # fmt: skip


def _gain(runs: Runs) -> np.ndarray:
    return np.where(runs.lost, 0.0, runs.values("final") - runs.values("start"))
