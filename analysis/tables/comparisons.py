"""Judged rows as tables: claims, and arms beside the control."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from analysis.claims.comparisons import Compared
from analysis.claims.verdicts import Judged
from analysis.load.laboratory import METRICS
from analysis.tables.formats import Section, Table, interval_text, optional_text, p_text
from bench.verdicts.judge import ALPHA
from bench.verdicts.row import JudgedRow
from bench.verdicts.sequential import unseen

HEADER = ("verdict", "effect", "pairs", "p", "needs", "noise")
FIELDS = (  # of a row as other programs read it
    "file", "name", "statement", "source", "study", "task", "arm", "against", "metric", "direction", "margin", "level",
    "asked", "pairs", "looks", "effect", "low", "high", "verdict", "text", "p", "needed", "noise", "failed", "planned",
)  # fmt: skip
_MEANING = (
    "The verdict is that of the interval against the smallest effect of interest. With probability "
    f"{1 - ALPHA:.0%} all intervals of a family hold at once: each has its row's share of {ALPHA:g}. "
    "p: the smallest level of the family at which the verdict still holds. "
    "Needs: the pairs that would decide an open row if it went on as it began; a plan. "
    "Noise: the share of evaluations' scatter in the variance between pairs, 0 where returns are exact."
)


def claims_table(judged: Sequence[Judged], title: str) -> Table:
    """Claims with their verdicts as text: a row per claim and task; effects point in the direction of the claim.

    What is said of a claim as a whole is said in the row of its first task.
    """
    rows = []
    for claim in judged:
        about = (f"{claim.claim.statement} ({claim.claim.source})", claim.verdict)
        for place, row in enumerate(claim.rows):
            rows.append((*(("", "") if place else about), row.task, claimed_text(row), *row_cells(row)))
    return Table(
        caption=f"{title}. Effects are differences in the direction the claim predicts, paired by seed. {_MEANING}"
        f"{_unseen(row for claim in judged for row in claim.rows)}",
        header=("claim", "over its tasks", "task", "claimed", *HEADER),
        sections=(Section("", tuple(rows)),),
    )


def control_table(compared: Sequence[Compared], control: str, note: str = "") -> Table:
    """Arms beside the control as text: a section per task, a row per arm. `note` says which arms are left out."""
    by_task: dict[str, list[tuple[str, ...]]] = {}
    for each in compared:
        described = (optional_text(each.effect, 2), optional_text(each.improvement, 2))
        by_task.setdefault(each.measure.label, []).append((each.row.arm, *row_cells(each.row), *described))
    margins = sorted({f"{each.row.margin:g}" for each in compared})
    return Table(
        caption=f"Difference to {control} of the normalised final stochastic score, paired by seed. Claimed is that "
        f"each arm is higher by more than {', '.join(margins)}. {_MEANING} d: mean over standard deviation of the "
        "differences. P(better): how often a run of the arm beats one of the control."
        f"{_unseen(each.row for each in compared)}"
        + (f" Here are {note}; the family is that of all arms, and control.csv has them." if note else ""),
        header=("arm", *HEADER, "d", "P(better)"),
        sections=tuple(Section(task, tuple(rows)) for task, rows in by_task.items()),
    )


def row_cells(row: JudgedRow) -> tuple[str, ...]:
    """The columns of `HEADER`."""
    return (
        row.text,
        interval_text((row.effect, row.low, row.high), 3),
        _pairs(row),
        "–" if row.p is None else p_text(row.p),
        "–" if row.needed is None else str(row.needed),
        "–" if row.noise is None else optional_text(row.noise, 2),
    )


def _pairs(row: JudgedRow) -> str:
    """`20`, or `80 (look 3; 2 failed runs)`; a dash where nothing was judged. Of the laboratory, policies."""
    if not row.pairs:
        return "–"
    told = [f"look {len(row.looks)}"] if len(row.looks) > 1 else []
    told += [f"{row.failed} failed {'run' if row.failed == 1 else 'runs'}"] if row.failed else []
    return f"{row.pairs} ({'; '.join(told)})" if told else str(row.pairs)


def _unseen(rows: Iterable[JudgedRow]) -> str:
    """What so few pairs cannot show, as sentences; nothing where none was judged."""
    seen = sorted({row.pairs for row in rows if row.pairs and row.metric not in METRICS})
    return "".join(f" With {pairs} pairs, {unseen(pairs)}." for pairs in seen)


def claimed_text(row: JudgedRow) -> str:
    """What is claimed: `area higher by more than 0.05`."""
    metric, size = row.metric.replace("_", " "), f"{row.margin:g}"
    by = {"equal": f"equal within {size}", "not_lower": f"lower by less than {size}"}
    return f"{metric} {by.get(row.direction, f'{row.direction} by more than {size}')}"


def rows_frame(rows: Sequence[JudgedRow]) -> pd.DataFrame:
    """Rows with all their digits, a column per field; looks are numbers of pairs with spaces between."""
    found = [{**_fields(row), "looks": " ".join(map(str, row.looks))} for row in rows]
    return pd.DataFrame(found, columns=list(FIELDS))


def rows_json(rows: Sequence[JudgedRow]) -> str:
    """The same as JSON: a list of objects, with null where there is no number."""
    found = [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in each.items()}
        for each in map(_fields, rows)
    ]
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _fields(row: JudgedRow) -> dict[str, Any]:
    known = {**asdict(row), "verdict": row.verdict, "looks": list(row.looks)}
    return {name: known[name] for name in FIELDS}
