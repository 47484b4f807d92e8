"""What the reader wants to see of a study: which arms, in which order, under which names, on which tasks."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from analysis.claims.comparisons import Compared
from analysis.claims.effects import Effect
from analysis.figures.gallery import ONE_PANEL
from analysis.load import Records, measures
from analysis.report.document import Verdicts
from bench.errors import UserError, unknown
from bench.verdicts.row import JudgedRow


@dataclass(frozen=True)
class Choice:
    """What is shown; all of it where nothing is chosen. Ranks and verdicts stay those of the whole study.

    Attributes:
        arms: labels, in the order wanted; none for all.
        tasks: in the order wanted; none for all.
        labels: by arm, what it is to be called.
        panel: the factor whose levels have panels of their own, `ONE_PANEL`, or "" to leave it to the arms.
    """

    arms: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    panel: str = ""

    @classmethod
    def read(cls, records: Records, arms: str, tasks: str, labels: str, panel: str) -> "Choice":
        """What was asked for: names or patterns (`critic-*`) with commas between, labels as `NAME:LABEL`.

        Raises:
            UserError: for an arm, a task or a factor that the study has not, and for two arms of one label.
        """
        known = [str(arm) for arm in records.runs["arm"].unique()]
        chosen = _names("arm", arms, known)
        pairs = [pair.rpartition(":") for pair in _split(labels, lambda text: text.rpartition(":")[0] in known)]
        for name, colon, label in pairs:
            if not colon or not label:
                raise UserError(f"labels={labels}: must be NAME:LABEL with commas between, not {name or label!r}")
            if name not in known:
                raise unknown("arm", name, known)
        renamed = {name: label for name, _, label in pairs}
        shown = [renamed.get(arm, arm) for arm in chosen or known]
        if twice := [name for name in shown if shown.count(name) > 1]:
            raise UserError(f"labels={labels}: two arms would be called {twice[0]}")
        if panel and panel not in (ONE_PANEL, *records.factors):
            raise unknown("panel", panel, [ONE_PANEL, *records.factors])
        of_tasks = _names("task", tasks, [str(task) for task in records.runs["task"].unique()])
        return cls(chosen, of_tasks, renamed, panel)

    @property
    def is_narrower(self) -> bool:
        """Whether anything is chosen or renamed."""
        return bool(self.arms or self.tasks or self.labels or self.panel)

    def called(self, arm: str) -> str:
        """What an arm is called."""
        return self.labels.get(arm, arm)

    def records(self, records: Records) -> Records:
        """The part of a study that is shown, in its order and under its names."""
        if not self.is_narrower:
            return records
        runs, evaluations, curves = map(self._table, (records.runs, records.evaluations, records.curves))
        order = {"task": self.tasks, "arm": tuple(map(self.called, self.arms))}
        for column in ("arm", "task"):
            if order[column]:
                runs = runs.sort_values(column, key=lambda own: own.map(order[column].index), kind="stable")
        control = records.control if records.control in set(self.arms or records.runs["arm"]) else None
        return replace(
            records,
            runs=runs.reset_index(drop=True),
            evaluations=evaluations,
            curves=curves,
            training=self._table(records.training),
            control=None if control is None else self.called(control),
        )

    def estimates(self, estimates: pd.DataFrame, records: Records) -> pd.DataFrame:
        """The rows of final scores that are shown: those over all tasks only where all are shown."""
        mine = estimates[estimates["arm"].isin(self.arms)] if self.arms else estimates
        if self.tasks:
            labels = [measure.label for measure in measures(records.runs) if measure.task in self.tasks]
            mine = mine[mine["task"].isin(labels)]
        return mine.assign(arm=mine["arm"].map(self.called))

    def effects(self, found: Sequence[Effect], records: Records) -> list[Effect]:
        """Those on the tasks that are shown; they are of all arms."""
        labels = [measure.label for measure in measures(records.runs) if not self.tasks or measure.task in self.tasks]
        return [each for each in found if each.task in labels]

    def verdicts(self, verdicts: Verdicts) -> Verdicts:
        """Those of the tasks that are shown, and of arms beside the control of those arms."""
        claims = tuple(
            (file, tuple(kept for each in judged if (kept := replace(each, rows=self._rows(each.rows))).rows))
            for file, judged in verdicts.claims
        )
        compared = [each for each in verdicts.compared if not self.arms or each.row.arm in self.arms]
        return Verdicts(
            tuple((file, judged) for file, judged in claims if judged),
            tuple(self._compared(each) for each in compared if not self.tasks or each.row.task in self.tasks),
            verdicts.undecided,
        )

    def _rows(self, rows: Sequence[JudgedRow]) -> tuple[JudgedRow, ...]:
        kept = (row for row in rows if not self.tasks or row.task in self.tasks)
        return tuple(replace(row, arm=self.called(row.arm), against=self.called(row.against)) for row in kept)

    def _compared(self, each: Compared) -> Compared:
        arm, against = self.called(each.row.arm), self.called(each.row.against)
        return replace(each, row=replace(each.row, name=arm, arm=arm, against=against))

    def _table(self, table: pd.DataFrame) -> pd.DataFrame:
        mine = table[table["arm"].isin(self.arms)] if self.arms else table
        mine = mine[mine["task"].isin(self.tasks)] if self.tasks else mine
        return mine.assign(arm=mine["arm"].astype(str).map(self.called))


def _names(what: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Names or patterns with commas between, as the names they stand for; a name may have commas itself."""
    found: list[str] = []
    for each in _split(text, lambda text: bool(_matching(text, known))):
        matching = _matching(each, known)
        if not matching:
            raise unknown(what, each, known)
        found += [name for name in matching if name not in found]
    return tuple(found)


def _matching(text: str, known: Sequence[str]) -> list[str]:
    return [text] if text in known else [name for name in known if fnmatch.fnmatchcase(name, text)]


def _split(text: str, is_one: Callable[[str], bool]) -> list[str]:
    """A text taken apart at its commas, but for those inside of what is one thing; the shortest counts."""
    pieces, found = text.split(",") if text else [], []
    while pieces:
        ends = [end for end in range(1, len(pieces) + 1) if is_one(",".join(pieces[:end]).strip())] or [1]
        found.append(",".join(pieces[: ends[0]]).strip())
        pieces = pieces[ends[0] :]
    return found
