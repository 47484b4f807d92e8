"""What a report says of a design of settings: its readings, in the order of what they answer."""

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.claims.readings import STANDINGS, SideBySide
from analysis.report.answer import listed
from analysis.report.document import Part
from analysis.tables import design_tables
from analysis.tables.comparisons import rows_frame
from analysis.tables.designs import Readings
from bench.errors import counted


def parts(readings: Readings) -> list[Part]:
    """The parts of a report, without figures."""
    found = [Part(f"Settings of {readings.designed.name}", tuple(_sentences(readings)), tuple(_standing(readings)))]
    if readings.claims:
        found.append(Part("Claims at four readings", tables=(design_tables.claims_table(readings.claims),)))
    tables = {
        "What tuning buys": design_tables.gains_table(readings),
        "Performance and sensitivity": design_tables.plane_table(readings),
        "One task left out": design_tables.left_out_table(readings),
        "The space": design_tables.space_table(readings.designed),
        "What each key foretells": design_tables.fits_table(readings),
    }
    shown = {heading: table for heading, table in tables.items() if table is not None and table.sections[0].rows}
    return found + [Part(heading, tables=(table,)) for heading, table in shown.items()]


def _sentences(readings: Readings) -> list[str]:
    """How many runs there are, what waits, and what the numbers are."""
    designed = readings.designed
    tried, settings = designed.tried, len(designed.strata)
    done = int((tried["status"] == "done").sum())
    failed = int(tried["failed"].sum())
    arms, tasks = (counted(tried[name].nunique(), name) for name in ("arm", "task"))
    lost = f", {failed} failed and score as a random policy" if failed else ""
    said = [
        f"{settings} settings, the same for {arms} on {tasks}: {done} of {len(tried)} runs are done{lost}; "
        f"{len(designed.fresh)} runs of fresh seeds judge what was chosen."
    ]
    if designed.waiting:
        said.append(f"Not finished, and left out of the readings: {', '.join(designed.waiting)}.")
    shared = len(designed.shared)
    if shared < settings:
        said.append(
            f"Readings of single arms use the {shared} settings that every arm has on every task; claims use those "
            "that both of their arms have."
        )
    return said


def _standing(readings: Readings) -> list[str]:
    """How many claims stand, and for each that a claims file states, on which tasks it does what."""
    found = [each.standing for each in readings.claims]
    counts = ", ".join(f"{found.count(word)} {word}" for word in dict.fromkeys(found))
    return [f"Claims on a task each, at four readings: {counts}.", *_stated(readings.claims)] if found else []


def _stated(claims: Sequence[SideBySide]) -> Iterator[str]:
    """A line for each statement: what it does on which tasks."""
    by_statement: dict[str, dict[str, list[str]]] = {}
    for each in claims:
        by_standing = by_statement.setdefault(each.first.statement, {})
        by_standing.setdefault(each.standing, []).append(each.first.task)
    for statement, by_standing in by_statement.items():
        if statement:
            told = [f"{word} on {listed(by_standing[word])}" for word in STANDINGS if word in by_standing]
            yield f"{statement}: {'; '.join(told)}."


def frames(readings: Readings) -> dict[str, pd.DataFrame]:
    """The readings for other programs, by the name of the file; those that have a row."""
    name = readings.designed.name
    found = {
        f"design_chosen_{name}": readings.chosen,
        f"design_expected_best_{name}": readings.expected,
        f"design_sensitivity_{name}": readings.plane,
        f"design_responses_{name}": readings.responses,
        f"design_fits_{name}": readings.fits,
        f"design_claims_{name}": _claims_frame(readings),
    }
    return {file: table for file, table in found.items() if not table.empty}


def _claims_frame(readings: Readings) -> pd.DataFrame:
    """Each claim's rows by reading, those of random halves too, with whether it stands."""
    parts_of = []
    for each in readings.claims:
        named = [*each.rows.items(), *((f"own best, half {place}", row) for place, row in enumerate(each.halves, 1))]
        table = rows_frame([row for _, row in named])
        parts_of.append(table.assign(reading=[name for name, _ in named], stands=each.standing))
    return pd.concat(parts_of, ignore_index=True) if parts_of else pd.DataFrame()
