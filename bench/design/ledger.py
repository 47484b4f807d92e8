"""`ledger.jsonl` of a study whose seeds are added until it is decided: its design, then what every look said.

A line is a JSON object that is sealed with the checksum of its content, which holds the seal of the line before. So no
line can be changed, removed or put in between without a break that can be seen. `ledger-head.json` holds the number of
lines and the last seal, so that a ledger that was cut short is seen too.

Lines are only ever added. The file is replaced as a whole by one with one more line, which survives a kill and a power
cut at any moment; the folder's lock lets one process at a time do so.
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.paths import read_file, refuse_links
from bench.records import files, shapes
from bench.records.files import SEAL, Damaged, is_intact, sealed

LEDGER = "ledger.jsonl"
HEAD = "ledger-head.json"
SCHEMA = 1
DESIGN, LOOK, CHANGED, END = "design", "look", "changed", "end"  # kinds of lines

Line = Mapping[str, Any]

_HASH = shapes.matching("[0-9a-f]{64}")
_CELL_HASH = shapes.matching("[0-9a-f]{8}")
_BLOCKS = shapes.mapped(_HASH, shapes.folder)
_PLANNED = shapes.section(  # a comparison as it was planned
    {
        "name": shapes.name,
        "task": shapes.name,
        "arm": shapes.name,
        "against": shapes.name,
        "cells": shapes.listed(shapes.section({"hash": _CELL_HASH, "path": shapes.folder})),
        "constant": shapes.optional(shapes.number),
        "metric": shapes.name,
        "direction": shapes.matching("higher|lower|not_lower|equal"),
        "margin": shapes.number,
        "share": shapes.number,
        "logarithm": lambda value: isinstance(value, bool),
        "limits": shapes.optional(shapes.pair(shapes.number)),
    }
)
_JUDGED = shapes.section(  # a comparison as a look found it
    {
        "name": shapes.name,
        "task": shapes.name,
        "pairs": shapes.whole,
        **dict.fromkeys(("effect", "low", "high", "sd"), shapes.number),
        "word": shapes.name,
        "text": shapes.name,
        "exact": lambda value: isinstance(value, bool),
        "p": shapes.optional(shapes.number),
        "needed": shapes.optional(shapes.whole),
        "noise": shapes.optional(shapes.number),
        "failed": shapes.whole,
    }
)
_ALWAYS = {"schema": shapes.whole, "kind": shapes.name, "number": shapes.whole, "previous": shapes.optional(_HASH)}
_OF_KIND: Mapping[str, Mapping[str, shapes.Shape]] = {
    DESIGN: {
        "study": shapes.name,
        "alpha": shapes.number,
        "max_pairs": shapes.whole,
        "rows": shapes.listed(_PLANNED),
        "left_out": shapes.listed(shapes.prose),
        "hashes": shapes.mapped(_HASH),
        "already": _BLOCKS,
    },
    LOOK: {
        "pairs": shapes.whole,
        "blocks": _BLOCKS,
        "superseded": _BLOCKS,
        "failed": shapes.mapped(shapes.seeds, shapes.folder),
        "rows": shapes.listed(_JUDGED),
    },
    CHANGED: {"hashes": shapes.mapped(_HASH)},
    END: {"open": shapes.whole, "decided": shapes.whole},
}


def load(study: Path) -> list[Line]:
    """The lines of the ledger in a study's folder; none where there is none. Raises `Damaged`."""
    if not os.path.lexists(study / LEDGER):
        if os.path.lexists(study / HEAD):
            raise Damaged(f"{LEDGER} is missing, and {HEAD} is there")
        return []
    try:
        refuse_links(study / LEDGER, 2)
        content = read_file(study / LEDGER, files.LARGEST)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(f"it cannot be read ({error})") from error
    if not text.endswith("\n"):
        raise Damaged("its last line is cut off")
    lines: list[Line] = []
    for number, each in enumerate(text[:-1].split("\n")):
        line = _parsed(each, number)
        previous = lines[-1][SEAL] if lines else None
        if line["number"] != number or line["previous"] != previous:
            raise Damaged(f"line {number + 1} does not follow the one before: a line was removed, added or moved")
        lines.append(line)
    _check_head(study, lines)
    return lines


def _parsed(text: str, number: int) -> Line:
    try:
        line = files.parse_json(text.encode(), SCHEMA)
    except Damaged as error:
        raise Damaged(f"line {number + 1}: {error}") from error
    kind = line.get("kind")
    known = _OF_KIND.get(kind, {}) if isinstance(kind, str) else {}
    wrong = shapes.misfit(line, {**_ALWAYS, **known}) or ("" if known else f"'kind' is {files.shown(kind)}")
    if not wrong and (kind == DESIGN) != (number == 0):
        wrong = "the design is its first line, and no other"
    if wrong:
        raise Damaged(f"line {number + 1}: {wrong}")
    if not is_intact(line):
        raise Damaged(f"line {number + 1} does not match its own checksum")
    return line


def _check_head(study: Path, lines: Sequence[Line]) -> None:
    """Refuse a ledger that has fewer lines than it once had. One line more is what a kill leaves. Raises `Damaged`."""
    if not os.path.lexists(study / HEAD):
        if len(lines) > 1:
            raise Damaged(f"{HEAD} is missing, so that nobody knows how many lines there were")
        return
    head = files.read_json(study / HEAD)
    if wrong := shapes.misfit(head, {"lines": shapes.whole, "last": _HASH}):
        raise Damaged(f"{HEAD}: {wrong}")
    if not is_intact(head):
        raise Damaged(f"{HEAD} does not match its own checksum")
    known = head["lines"]
    if not 0 < known <= len(lines):
        raise Damaged(f"it has {len(lines)} lines, and {HEAD} knows of {known}: it was cut short")
    if len(lines) > known + 1 or lines[known - 1][SEAL] != head["last"]:
        raise Damaged(f"its lines are not those that {HEAD} knows of")


def read(study: Path) -> list[Line]:
    """As `load`. Raises `UserError` for a damaged one."""
    try:
        return load(study)
    except Damaged as error:
        raise UserError(f"damaged ledger {study / LEDGER} ({error}); nothing was changed") from error


def append(study: Path, makes: Callable[[Sequence[Line]], Mapping[str, Any] | None]) -> list[Line]:
    """Add the line that `makes` makes of those that are there, unless it is None; → all lines.

    Raises:
        UserError: where the ledger is damaged or cannot be written.
    """
    try:
        refuse_links(study / LEDGER, 2)
        with files.locked(study):
            lines = read(study)
            if lines:  # a kill may have left it one line behind
                _write_head(study, lines)
            content = makes(lines)
            if content is not None:
                previous = lines[-1][SEAL] if lines else None
                line = sealed({"schema": SCHEMA, "number": len(lines), "previous": previous, **content})
                lines = [*lines, json.loads(json.dumps(line))]
                files.write_text(study / LEDGER, "".join(f"{json.dumps(each)}\n" for each in lines))
                _write_head(study, lines)
            return lines
    except OSError as error:
        where = error.filename or study / LEDGER
        raise UserError(f"results={study.parent}: cannot write {where}: {error.strerror}") from error


def _write_head(study: Path, lines: Sequence[Line]) -> None:
    head = sealed({"schema": SCHEMA, "lines": len(lines), "last": lines[-1][SEAL]})
    known: Mapping[str, Any] = {}
    with contextlib.suppress(Damaged):
        known = files.read_json(study / HEAD)
    if known != head:
        files.write_json(study / HEAD, head)


def looks(lines: Sequence[Line]) -> list[Line]:
    """The lines of looks, in their order."""
    return [line for line in lines if line["kind"] == LOOK]


def latest(lines: Sequence[Line]) -> dict[tuple[str, str], Line]:
    """By name and task, what the last look at each comparison said."""
    return {(row["name"], row["task"]): row for line in looks(lines) for row in line["rows"]}


def summary(study: Path) -> list[str]:
    """Lines for `bench status`; none where there is no ledger. Raises `UserError` for a damaged one."""
    lines = read(study)
    if not lines:
        return []
    done, found, rows = looks(lines), latest(lines), lines[0]["rows"]
    decided = [row for row in found.values() if row["word"] != "open"]
    at = ", ".join(str(look["pairs"]) for look in done) or "none yet"
    ended = " (ended)" if lines[-1]["kind"] == END else ""
    said = [f"{row['task']} {row['name']}: {row['text']} ({row['pairs']} pairs)" for row in decided]
    return [
        f"looks at pairs: {at}, of at most {lines[0]['max_pairs']}; "
        f"{len(decided)} of {len(rows)} comparisons decided{ended}: {study / LEDGER}",
        *(f"  {each}" for each in said),
    ]
