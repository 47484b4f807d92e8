"""Which arms a page and its figures show, where there are more than anybody can look at."""

from dataclasses import dataclass

import pandas as pd

from analysis.load import labels
from analysis.load.records import Records

MOST_ARMS = 60  # that share tasks
BY = "normalised_stochastic"


@dataclass(frozen=True)
class Shown:
    """The arms that are shown, in the order of the study, of so many that there are."""

    arms: tuple[str, ...]
    every: int

    @property
    def note(self) -> str:
        """What is left out, in words; empty where nothing is."""
        if len(self.arms) == self.every:
            return ""
        return f"{len(self.arms):,} of {self.every:,} arms: those with the highest mean final score"

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table that are of these arms."""
        return table[table["arm"].isin(self.arms)] if self.note else table


def shown_arms(records: Records, most: int = MOST_ARMS) -> Shown:
    """The arms of a study that are shown: of those that share tasks at most `most`, the control among them.

    Where there are more, they are those whose normalised final scores of the stochastic policy are highest, on average
    over seeds and then over tasks; arms without a score come last.
    """
    runs = records.runs
    every = [str(arm) for arm in runs["arm"].unique()]
    chosen: set[str] = set()
    for _, arms in labels.related(runs):
        if len(arms) <= most:
            chosen |= arms
            continue
        mine = runs[runs["arm"].isin(arms)]
        means = mine[BY].astype(float).groupby([mine["arm"], mine["task"]], sort=False).mean()
        ordered = means.groupby(level=0, sort=False).mean().sort_values(ascending=False, kind="stable")
        control = [records.control] if records.control in arms else []
        chosen |= set([*control, *(str(arm) for arm in ordered.index if arm != records.control)][:most])
    return Shown(tuple(arm for arm in every if arm in chosen), len(every))
