"""Whether a ledger is what looks at its blocks give: what was forged, shortened, moved or removed since is named."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.design import comparisons, ledger, looks
from bench.design.comparisons import Comparison
from bench.design.ledger import CHANGED, DESIGN, END, LOOK, Line
from bench.errors import UserError, counted
from bench.records import block as blocks
from bench.records.files import SEAL, Damaged
from bench.verdicts import hypotheses, sequential
from bench.verdicts.judge import ALPHA, MARGIN
from bench.verdicts.metrics import METRICS
from bench.verdicts.sequential import Design
from bench.verdicts.words import Word

CLOSE = 1e-9  # numbers of a look may differ by this where it is computed on another machine


def audit(study: Path) -> tuple[list[str], list[str]]:
    """What is wrong with the ledger in a study's folder, and what should be known of it; a line each.

    Everything is empty where there is no ledger.
    """
    where = study / ledger.LEDGER
    try:
        lines = ledger.load(study)
    except Damaged as error:
        return [f"damaged ledger {where} ({error})"], []
    if not lines:
        return [], []
    try:
        design = sequential.looks_up_to(lines[0]["max_pairs"])
        rows = [Comparison.read(row) for row in lines[0]["rows"]]
        problems = list(_planned(lines[0], rows)) or list(_order(lines, rows, design))
        if not problems:
            problems = [*_blocks(study, lines, rows, design), *_numbers(study, lines, rows, design)]
    except (ValueError, UserError) as error:
        problems = [str(error)]
    return [f"ledger {where}: {problem}" for problem in problems], [f"{where}: {note}" for note in _notes(lines)]


def _planned(design: Line, rows: Sequence[Comparison]) -> Iterator[str]:
    """What of the design is not what this suite, or its claims files, would have planned."""
    if design["alpha"] != ALPHA:
        yield f"its level is {design['alpha']}, not {ALPHA}"
    files = {file.path.stem: file for file in hypotheses.read_all()}
    for row in rows:
        stem, dot, name = row.name.partition(".")
        called = f"{row.name} on {row.task}"
        if f"{stem}.yaml" not in design["hashes"] or not dot:
            planned: Mapping[str, Any] = {
                "metric": "final",
                "direction": "higher",
                "margin": MARGIN,
                "share": 1 / len(rows),
                "logarithm": False,
                "limits": None,
            }
        elif stem not in files or name not in files[stem].claims:
            yield f"{called}: {stem}.yaml has no such claim any more"
            continue
        else:
            claim = files[stem].claims[name]
            planned = {
                "metric": claim.metric,
                "direction": claim.direction,
                "margin": claim.sesoi,
                "share": files[stem].share(claim),
                "logarithm": claim.logarithm,
                "limits": claim.range,
            }
        if len(row.cells) != (2 if row.constant is None else 1) or row.metric not in METRICS:
            yield f"{called}: it is no comparison of {row.metric} that looks judge"
        for key, value in planned.items():
            if getattr(row, key) != value:
                yield f"{called}: its {key} is {getattr(row, key)} in the ledger, and {value} where it was planned"


def _order(lines: Sequence[Line], rows: Sequence[Comparison], design: Design) -> Iterator[str]:
    """Looks that are missing, repeated or out of place, and comparisons that were judged when they were not open."""
    done = ledger.looks(lines)
    pairs = [line["pairs"] for line in done]
    if len(set(pairs)) < len(pairs):
        again = next(number for number in pairs if pairs.count(number) > 1)
        yield f"the look at {again} pairs is repeated"
    elif pairs != list(design.looks[: len(pairs)]):
        strange = next((number for number in pairs if number not in design.looks), None)
        if strange is not None:
            yield f"a look at {strange} pairs is none of its {len(design.looks)}"
        else:
            missing = next(look for look, found in zip(design.looks, pairs, strict=False) if look != found)
            yield f"the look at {missing} pairs is missing"
    still = {row.key for row in rows}
    first = {row.key: row.question.traits.first_look for row in rows}
    for line in done:
        judged = [(row["name"], row["task"]) for row in line["rows"]]
        due = {key for key in still if first[key] <= line["pairs"]}
        if len(set(judged)) < len(judged) or set(judged) != due:
            yield f"the look at {line['pairs']} pairs did not judge the comparisons that were open, each once"
        still -= {(row["name"], row["task"]) for row in line["rows"] if row["word"] != Word.OPEN}
    ends = [line for line in lines if line["kind"] == END]
    if ends and (lines[-1] is not ends[0] or (still and len(done) < len(design.looks))):
        yield "its end comes before the last look at what is open"
    elif ends and (ends[0]["open"], ends[0]["decided"]) != (len(still), len(rows) - len(still)):
        yield "its end does not count what its looks decided"


def _blocks(study: Path, lines: Sequence[Line], rows: Sequence[Comparison], design: Design) -> Iterator[str]:
    """Blocks that are gone, or other ones than those looked at; seeds that no look has asked for."""
    known: dict[str, tuple[str, str]] = {}
    for line in lines:
        for path in line.get("superseded", {}):
            known.pop(path, None)
        if line["kind"] in (DESIGN, LOOK):
            what = "there before" if line["kind"] == DESIGN else f"of the look at {line['pairs']} pairs"
            for path, seal in (line["already"] if line["kind"] == DESIGN else line["blocks"]).items():
                known.setdefault(path, (seal, what))
    done = len(ledger.looks(lines))
    asked = design.looks[min(done, len(design.looks) - 1)]
    found: dict[str, blocks.Block] = {}
    for place in dict.fromkeys(cell for row in rows for cell in row.cells):
        found |= {looks.seal_path(study, block): block for block in comparisons.finished(study, place)}
    for path, (seal, what) in known.items():
        if path not in found:
            yield f"block {path}, {what}, was removed"
        elif found[path].record.get(SEAL) != seal:
            yield f"block {path}, {what}, is another one now"
    ended = lines[-1]["kind"] == END  # whoever trains more seeds then does so for something else
    for path, block in found.items():
        if not ended and path not in known and max(block.seeds) >= asked:
            yield f"block {path} has seed {max(block.seeds)}, and the last look is missing that would have asked for it"


def _numbers(study: Path, lines: Sequence[Line], rows: Sequence[Comparison], design: Design) -> Iterator[str]:
    """Verdicts and numbers that the blocks do not give."""
    by_key = {row.key: row for row in rows}
    cells = dict.fromkeys(cell for row in rows for cell in row.cells)
    there = {looks.seal_path(study, block) for cell in cells for block in comparisons.finished(study, cell)}
    for line in ledger.looks(lines):
        if not there.issuperset(line["blocks"]):  # that one was removed is told by `_blocks`
            continue
        mine = [by_key[row["name"], row["task"]] for row in line["rows"]]
        again = looks.judged(study, mine, design.looks[-1], line["pairs"], line["blocks"])
        if again["failed"] != dict(line["failed"]):
            yield f"the look at {line['pairs']} pairs: other runs failed than it says"
        for said, own in zip(line["rows"], again["rows"], strict=True):
            different = next((key for key in own if not _alike(said[key], own[key])), None)
            if different is not None:
                yield (
                    f"the look at {line['pairs']} pairs: {own['name']} on {own['task']} has {different} "
                    f"{said[different]}, and its blocks give {own[different]}"
                )


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
    return bool(one == other)


def _notes(lines: Sequence[Line]) -> Iterator[str]:
    """What a reader of the verdicts should know."""
    if already := lines[0]["already"]:
        yield f"not planned: {counted(len(already), 'block')} of its cells, there before it"
    for number, line in enumerate(lines):
        if line["kind"] == CHANGED:
            before = next(each["hashes"] for each in reversed(lines[:number]) if "hashes" in each)
            now = line["hashes"]
            names = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
            yield f"changed after {counted(len(ledger.looks(lines[:number])), 'look')}: {', '.join(names)}"
        for path in line.get("superseded", {}):
            yield f"superseded before the look at {line['pairs']} pairs: {path}"
    current = looks.code_hash()
    last = next(line for line in reversed(lines) if "hashes" in line)
    if last["hashes"].get("code") != current:
        yield "the code that judges was changed since the last look"
    for name, digest in last["hashes"].items():
        if name.endswith(".yaml") and digest != looks.file_hash(hypotheses.FOLDER / name):
            yield f"{name} was changed since the last look"
