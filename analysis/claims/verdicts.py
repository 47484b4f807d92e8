"""Claims and arms against the control, judged: every row by `bench.verdicts.judge`, as looks are.

A study with a fixed number of seeds is a design of one look: Student's interval at the row's share of its family's
level. A study whose seeds were added until it was decided has the verdicts of its ledger.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.claims.arms import Arm, arms
from analysis.load import Records, laboratory
from bench.design import ledger
from bench.design.comparisons import Comparison
from bench.verdicts import judge as judges
from bench.verdicts import row as rows
from bench.verdicts import selection, sequential, words
from bench.verdicts.hypotheses import CONSTANT, Claim, ClaimsFile
from bench.verdicts.judge import ALPHA, NotJudged, Question
from bench.verdicts.metrics import Runs
from bench.verdicts.row import MISSING, JudgedRow
from bench.verdicts.selection import MAIN, POOL
from bench.verdicts.words import Word

PLANNED = "planned"
KNOWN = "not planned: written knowing these runs"
WITHDRAWN = "withdrawn"
NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Judged:
    """A claim with its rows, one for each task."""

    name: str
    claim: Claim
    rows: tuple[JudgedRow, ...]

    @property
    def verdict(self) -> str:
        """What it comes to over its tasks."""
        return rows.overall(self.rows)


def judge(file: ClaimsFile, records: Records) -> list[Judged]:
    """The rows of every claim of a file that is judged in these studies.

    A claim is judged on the studies it names, and on nothing else that is read beside them. A study that a claim was
    not planned for speaks for the tasks it has, the planned one for all that were promised.
    """
    studies = records.name.split("+")
    judged = []
    for name, claim in file.claims.items():
        if mine := [study for study in studies if study in claim.studies]:
            runs = records.runs_of(claim.studies, records.runs)
            tasks = list(claim.tasks)
            if claim.studies[0] not in studies and claim.metric not in laboratory.METRICS:
                tasks = [task for task in tasks if (runs["task"] == task).any()] or tasks
            found = [_row(_blank(file, name, claim, task, mine), file, claim, records, runs) for task in tasks]
            judged.append(Judged(name, claim, tuple(found)))
    return judged


def not_run(file: ClaimsFile, name: str, claim: Claim) -> list[JudgedRow]:
    """The rows of a claim none of whose studies is there."""
    return [replace(_blank(file, name, claim, task, claim.studies[:1]), text=NOT_RUN) for task in claim.tasks]


def _blank(file: ClaimsFile, name: str, claim: Claim, task: str, studies: Sequence[str]) -> JudgedRow:
    """The row of a claim on a task before it is judged."""
    return JudgedRow(
        file=file.path.stem,
        name=name,
        statement=claim.statement,
        source=claim.source,
        study="+".join(studies),
        task=task,
        arm="",
        against=f"{claim.against[CONSTANT]:g}" if CONSTANT in claim.against else "",
        metric=claim.metric,
        direction=claim.direction,
        margin=claim.sesoi,
        level=ALPHA * file.share(claim),
        asked=claim.pairs(task),
    )


def _row(blank: JudgedRow, file: ClaimsFile, claim: Claim, records: Records, runs: pd.DataFrame) -> JudgedRow:
    if claim.withdrawn is not None:
        return replace(blank, text=f"{WITHDRAWN}: {claim.withdrawn}")
    if claim.metric in laboratory.METRICS:
        return _measured(blank, file, claim, records)
    name = f"{blank.file}.{blank.name}"
    found = looked_at(blank, records, lambda row: row.key == (name, blank.task))
    return found or _fixed(blank, file, claim, records, runs[runs["task"] == blank.task])


# Looks


def looked_at(blank: JudgedRow, records: Records, is_it: Callable[[Comparison], bool]) -> JudgedRow | None:
    """The row of a comparison in a ledger of its studies, as the last look at it left it; None where there is none."""
    for study in blank.study.split("+"):
        share = records.shares[study]
        if share.ledger is None:
            return replace(blank, study=study, text=f"{MISSING}: the ledger of its looks is damaged")
        for planned in map(Comparison.read, share.ledger[0]["rows"] if share.ledger else ()):
            if is_it(planned):
                return _looked_at(replace(blank, study=study), planned, share.ledger, forged=share.forged)
    return None


def _looked_at(blank: JudgedRow, planned: Comparison, lines: Sequence[ledger.Line], *, forged: bool) -> JudgedRow:
    blank = replace(
        blank,
        arm=planned.arm,
        against=planned.against,
        metric=planned.metric,
        direction=planned.direction,
        margin=planned.margin,
        level=lines[0]["alpha"] * planned.share,
        asked=lines[0]["max_pairs"],
        planned=_standing(lines, forged=forged),
    )
    found = ledger.latest(lines).get(planned.key)
    if found is None:
        return replace(blank, text=f"{MISSING}: no look yet")
    first = planned.question.traits.first_look
    return replace(
        blank,
        looks=tuple(line["pairs"] for line in ledger.looks(lines) if first <= line["pairs"] <= found["pairs"]),
        word=Word(found["word"]),
        pairs=found["pairs"],
        effect=found["effect"],
        low=found["low"],
        high=found["high"],
        text=found["text"],
        p=found["p"],
        needed=found["needed"],
        noise=found["noise"],
        failed=found["failed"],
    )


def _standing(lines: Sequence[ledger.Line], *, forged: bool) -> str:
    """Whether a ledger was there first, or since when it says something else."""
    if forged:
        return "not planned: the ledger is not what its blocks give"
    if already := lines[0]["already"]:
        return f"not planned: {len(already)} blocks were there before the ledger"
    for number, line in enumerate(lines):
        if line["kind"] == ledger.CHANGED:
            looks = len(ledger.looks(lines[:number]))
            before = next(each["hashes"] for each in reversed(lines[:number]) if "hashes" in each)
            names = [name for name in line["hashes"] if line["hashes"][name] != before.get(name)]
            return f"not planned since look {looks + 1}: changed {', '.join(names)}"
    return PLANNED


# A fixed number of seeds


def _fixed(blank: JudgedRow, file: ClaimsFile, claim: Claim, records: Records, runs: pd.DataFrame) -> JudgedRow:
    if runs.empty:
        return replace(blank, text=f"{MISSING}: no runs of this task")
    of_task = arms(runs, records.factors, _pools(records))
    if not any(arm.factors.get(POOL, MAIN) == claim.seed_pool for arm in of_task):
        return _first_results(blank, file, claim, records, runs)
    found = selection.chosen(claim, of_task)
    if isinstance(found, str):
        return replace(blank, text=f"{MISSING}: {found}")
    constant = float(claim.against[CONSTANT]) if CONSTANT in claim.against else None
    question = Question(
        claim.metric, claim.direction, claim.sesoi, file.share(claim), constant, claim.logarithm, claim.range
    )
    against = found[1].label if len(found) == 2 else blank.against
    planned = _committed(file, records, blank.task, found)
    blank = replace(blank, arm=found[0].label, against=against, planned=planned)
    return one_look(blank, question, found, runs, records)


def _first_results(blank: JudgedRow, file: ClaimsFile, claim: Claim, records: Records, runs: pd.DataFrame) -> JudgedRow:
    """What the main pool says of a claim that was written knowing it: an effect with its interval, and no verdict."""
    text = f"{NOT_RUN}: no runs on {POOL}={claim.seed_pool}, which judges it"
    if claim.seed_pool == MAIN:
        return replace(blank, text=text)
    row = _fixed(blank, file, replace(claim, seed_pool=MAIN), records, runs)
    return _without_verdict(row, text)


def _without_verdict(row: JudgedRow, text: str) -> JudgedRow:
    """A row of the main pool for a claim that was written knowing it; `text` where it says nothing at all."""
    if row.word is not None:
        text = f"{NOT_RUN}: first results say {row.text}"
    return replace(row, word=None, text=text, p=None, needed=None, planned=KNOWN)


def one_look(
    blank: JudgedRow, question: Question, found: Sequence[Arm], runs: pd.DataFrame, records: Records
) -> JudgedRow:
    """A row of a fixed design: the first pairs asked for, of which every one must be there before it has a verdict."""
    seeds = sorted({int(seed) for seed in runs.loc[runs["hash"].isin([arm.hash for arm in found]), "seed"]})
    cells = [(blank.task, arm.hash) for arm in found]
    exact = all(cell in records.exact_measured for cell in cells)  # as looks do: the cells that are compared count
    own = [(records.exact_measured if exact else records.measured).get(cell, {}) for cell in cells]
    there = [seed for seed in seeds[: blank.asked] if all(seed in each for each in own)]
    of_arms = [Runs.of(each, there, exact=exact) for each in own]
    return judged_row(blank, question, of_arms)


def judged_row(blank: JudgedRow, question: Question, of_arms: Sequence[Runs]) -> JudgedRow:
    """A row of a fixed design from the runs of its arms; open, and what it says so far, where these are too few."""
    try:
        judged = judges.judge(question, of_arms, sequential.one_look(max(len(of_arms[0].seeds), 1)))
    except NotJudged as error:
        return replace(blank, text=f"{MISSING}: {error}")
    row = replace(_filled(blank, judged.row), noise=judged.noise, failed=judged.failed)
    return _incomplete(row, "pairs") if row.pairs < row.asked else row


def _filled(blank: JudgedRow, found: words.Row) -> JudgedRow:
    """A row of one look."""
    return replace(
        blank,
        looks=(found.pairs,),
        pairs=found.pairs,
        effect=found.effect,
        low=found.low,
        high=found.high,
        word=found.verdict.word,
        text=found.verdict.text,
        p=found.p,
        needed=found.needed,
    )


def _incomplete(row: JudgedRow, unit: str) -> JudgedRow:
    """A row with fewer pairs (or policies) than its claim asks for decides nothing, and says what it would."""
    so_far = "" if row.word is Word.OPEN else f" ({row.text} so far)"
    text = f"{Word.OPEN}: {row.pairs} of the {row.asked} {unit} asked for{so_far}"
    return replace(row, word=Word.OPEN, text=text, p=None, needed=max(row.asked, row.needed or 0))


def _pools(records: Records) -> dict[str, str]:
    """The pool that the seeds of each cell are of, by hash."""
    return {str(record["hash"]): str(record["seed_pool"]) for record in records.blocks if "seed_pool" in record}


def _committed(file: ClaimsFile, records: Records, task: str, found: Sequence[Arm]) -> str:
    """Whether a claims file was committed before the first run of what is judged; "" where a time is unknown."""
    cells = {(task, arm.hash) for arm in found}
    made = [record for record in records.blocks if (record["task"], record["hash"]) in cells]
    return _told(file, [str(record["started"]) for record in made if record.get("started")])


def _told(file: ClaimsFile, started: Collection[str]) -> str:
    if not started or not file.committed:
        return ""
    first = min(pd.Timestamp(time) for time in started)
    return PLANNED if pd.Timestamp(file.committed) < first else "not planned: committed after the first run"


# The laboratory


def _measured(blank: JudgedRow, file: ClaimsFile, claim: Claim, records: Records) -> JudgedRow:
    """What the laboratory says: differences between two estimators, paired by the policy they were asked about."""
    found = records.measured_in(claim.studies, claim.seed_pool)
    started = found.notes.loc[
        (found.notes["task"] == blank.task) & (found.notes["stage"] == laboratory.STAGE), "started"
    ]
    blank = replace(blank, planned=_told(file, list(started) if all(started) else []))
    quantities, share = found.quantities, file.share(claim)
    first, second = (
        laboratory.of_policies(quantities, claim.metric, blank.task, selector)
        for selector in (claim.arm, claim.against)
    )
    if first.empty or second.empty:
        command = f"python -m bench lab study={claim.studies[0]}"
        if claim.seed_pool == MAIN:
            return replace(blank, text=f"{MISSING}: not measured; {command} measures it")
        text = f"{NOT_RUN}: {command} {POOL}={claim.seed_pool} measures it"
        return _without_verdict(_measured(blank, file, replace(claim, seed_pool=MAIN), records), text)
    differences = (first - second).to_numpy(float)[: blank.asked]
    known = differences[~np.isnan(differences)]
    if len(known) < 2:
        return replace(blank, text=f"{MISSING}: {len(known)} policies, of {len(differences)} measured, told from zero")
    decided = words.decide(
        known, claim.direction, claim.sesoi, sequential.one_look(len(known)), alpha=ALPHA, share=share, value_range=None
    )
    named = [" ".join(f"{value}" for value in selector.values()) for selector in (claim.arm, claim.against)]
    row = _filled(replace(blank, arm=named[0], against=named[1]), decided)
    return _incomplete(row, "policies") if row.pairs < row.asked else row
