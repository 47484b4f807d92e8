"""A study whose seeds are added until every comparison has a verdict: look, judge, go on with what is open.

Everything is derived from the ledger and from blocks on disk, so the same command goes on wherever it was interrupted.
The looks are at 20, 40, 80, … pairs. At each, the cells that still have an open comparison get the seeds up to it, as a
new block; a comparison whose verdict is not open has stopped, and nothing opens it again.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cells.grids import Cell
from bench.config.identity import cell_hash
from bench.design import comparisons, ledger
from bench.design.comparisons import Comparison, Planned
from bench.design.ledger import CHANGED, DESIGN, END, LOOK, Line
from bench.errors import UserError, counted
from bench.execution import dry_run as dry_runs
from bench.execution.launch import Report, Say, Sweep, jobs
from bench.records import block as blocks
from bench.records import provenance, shapes
from bench.records.files import SEAL
from bench.verdicts import hypotheses, judge, metrics, noise, sequential, spread, words
from bench.verdicts.judge import ALPHA, NotJudged
from bench.verdicts.metrics import Runs
from bench.verdicts.sequential import MAX_PAIRS, Design
from bench.verdicts.words import Word

WAIT = 5.0  # seconds after which one looks again at what another process trains


@dataclass(frozen=True)
class Study:
    """A study that goes on until it is decided: its cells by hash, its folder, comparisons and looks."""

    name: str
    folder: Path
    cells: Mapping[str, Cell]
    planned: Planned
    max_pairs: int

    @property
    def design(self) -> Design:
        """When it is looked at."""
        return sequential.looks_up_to(self.max_pairs)


def run(cells: Sequence[Cell], sweep: Sweep, say: Say, show: Say) -> Report:
    """Add seeds to the studies of these cells until their comparisons have verdicts, one study after another.

    Args:
        cells: of one or several studies.
        sweep: trains cells.
        say: takes what is going on.
        show: takes the tables of verdicts.

    Raises:
        UserError: before anything starts, for what cannot be decided or is not what the ledger has; and as
            `bench.execution.launch.sweep` does.
        Interrupted: as that does.
    """
    studies = read(cells)
    for each in studies:
        _check(each)
    reports = [_run(each, sweep, say, show) for each in studies]
    return Report(
        cells=sum(report.cells for report in reports),
        skipped=sum(report.skipped for report in reports),
        directory=reports[-1].directory,
        elsewhere=sum(report.elsewhere for report in reports),
        failures=list(dict.fromkeys(line for report in reports for line in report.failures)),
        warnings=list(dict.fromkeys(line for report in reports for line in report.warnings)),
    )


def read(cells: Sequence[Cell]) -> list[Study]:
    """The studies of these cells. Raises `UserError` for what cannot be decided."""
    found = []
    for folder in dict.fromkeys(blocks.study_directory(cell.config) for cell in cells):
        mine = comparisons.on_judging_pools([c for c in cells if blocks.study_directory(c.config) == folder])
        first = mine[0].config
        max_pairs = _max_pairs(first.max_pairs, folder)
        by_hash = {cell_hash(cell.config): cell for cell in reversed(mine)}  # of several labels the first
        found.append(Study(first.study.name, folder, by_hash, comparisons.plan(mine, max_pairs), max_pairs))
    return found


def _max_pairs(asked: int | None, folder: Path) -> int:
    """The most pairs of a study: what its ledger has, else what is asked for. Raises `UserError`."""
    lines = ledger.read(folder)
    sealed = lines[0]["max_pairs"] if lines else None
    if asked is not None and sealed is not None and asked != sealed:
        raise UserError(
            f"max_pairs={asked}: it was fixed at {sealed} before the first run ({folder / ledger.LEDGER}); "
            "leave it out, or give another study (study.name=…)"
        )
    chosen = asked or sealed or MAX_PAIRS
    try:
        most = sequential.looks_up_to(chosen).looks[-1]
    except ValueError as error:
        raise UserError(
            f"max_pairs={chosen}: must be 20, 40, 80, 160, 320, 640, …: each twice the one before"
        ) from error
    if most > comparisons.MOST_PAIRS:
        raise UserError(f"max_pairs={chosen}: at most {comparisons.MOST_PAIRS}")
    return most


def _check(study: Study) -> None:
    """Refuse a study that is not the one its ledger was opened for. Raises `UserError`."""
    lines = ledger.read(study.folder)
    if not lines:
        return
    where = f"{study.folder / ledger.LEDGER}; put it back, or give another study (study.name=…)"
    sealed = {(row["name"], row["task"]): row for row in lines[0]["rows"]}
    for row in study.planned.rows:
        known = sealed.pop(row.key, None)
        called = f"{row.name} on {row.task}"
        if known is None:
            raise UserError(f"{called}: this comparison is not one of those that were sealed in {where}")
        for key, value in row.planned().items():
            if known[key] != value and key != "cells":
                raise UserError(f"{called}: its {key} is {value}, and {known[key]} was sealed in {where}")
        if [cell.hash for cell in row.cells] != [cell["hash"] for cell in known["cells"]]:
            raise UserError(f"{called}: its arms have other settings than those sealed in {where}")
    for name, task in sealed:
        raise UserError(f"{name} on {task}: this comparison is missing, and was sealed in {where}")


def _run(study: Study, sweep: Sweep, say: Say, show: Say) -> Report:
    lines = _opened(study)
    for line in study.planned.left_out:
        say(f"left out: {line}")
    count = counted(len(study.planned.rows), "comparison")
    say(f"{study.name}: {count}{_on_seeds(study)}, looks at {_listed(study.design.looks)} pairs")
    report = Report(len(study.cells), 0, study.folder)
    swept = False
    while (look := _next(study, lines)) is not None:
        cells = _cells_at(study, lines, look)
        found = _trained(cells, sweep, say)
        report.failures += [line for line in found.failures if line not in report.failures]
        report.warnings += [line for line in found.warnings if line not in report.warnings]
        swept = True
        if waiting := [cell for cell in cells if not _is_finished(cell)]:
            names = ", ".join(f"{cell.config.task_name} {cell.config.arm_name}" for cell in waiting)
            report.warnings.append(f"the look at {look} pairs waits for {names}; the same command goes on")
            return report
        lines = ledger.append(study.folder, lambda known, look=look: _look(study, known, look))  # type: ignore[misc]
        show(table(lines, ledger.looks(lines)[-1]["pairs"]))  # another process may be further
    lines = ledger.append(study.folder, lambda known: _end(study, known))
    if not swept:
        report.skipped = report.cells
        show(table(lines))
    show(f"ledger: {study.folder / ledger.LEDGER}")
    return report


def _on_seeds(study: Study) -> str:
    """Of which pool the seeds of its comparisons are, where that is not the main one."""
    compared = {place.hash for place in _places(study.planned.rows)}
    pools = {cell.config.seed_pool for key, cell in study.cells.items() if key in compared} - {"main"}
    return "".join(f", on seeds of the {pool} pool" for pool in sorted(pools))


def _listed(looks: Sequence[int]) -> str:
    return ", ".join(map(str, looks))


def _opened(study: Study) -> list[Line]:
    """The lines of the study's ledger, with the design first, and a line where code or files changed since."""
    hashes = _hashes(study)

    def design_or_change(known: Sequence[Line]) -> Mapping[str, Any] | None:
        if not known:
            return _design(study, hashes)
        last = next(line for line in reversed(known) if "hashes" in line)
        ended = known[-1]["kind"] == END
        return None if ended or last["hashes"] == hashes else {"kind": CHANGED, "hashes": hashes, **_origin()}

    return ledger.append(study.folder, design_or_change)


def _design(study: Study, hashes: Mapping[str, str]) -> Mapping[str, Any]:
    already = {path: seal for cell in _places(study.planned.rows) for path, seal in _seals(study.folder, cell).items()}
    return {
        "kind": DESIGN,
        "study": study.name,
        "alpha": ALPHA,
        "max_pairs": study.max_pairs,
        "rows": [row.planned() for row in study.planned.rows],
        "left_out": list(study.planned.left_out),
        "hashes": hashes,
        "already": already,
        **_origin(),
    }


def _origin() -> dict[str, Any]:
    return {
        "git": provenance.git(),
        "versions": provenance.versions(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _hashes(study: Study) -> dict[str, str]:
    """What the verdicts depend on: claims files, the study's cells, the code that judges."""
    found = {file.path.name: file_hash(file.path) for file in study.planned.files}
    cells = sorted(f"{cell.config.task_name} {cell.config.arm_name} {key}" for key, cell in study.cells.items())
    return {**found, "study": hashlib.sha256("\n".join(cells).encode()).hexdigest(), "code": code_hash()}


def file_hash(path: Path) -> str:
    """The checksum of a file; "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def code_hash() -> str:
    """The checksum of the code that judges."""
    from bench.records import metrics as of_runs
    from bench.records import scores

    modules = (sequential, words, judge, metrics, noise, spread, hypotheses, of_runs, scores, comparisons)
    sources = [Path(str(module.__file__)) for module in modules]
    content = b"".join(source.read_bytes() for source in [*sources, Path(__file__)])
    return hashlib.sha256(content).hexdigest()


def _places(rows: Sequence[Comparison]) -> list[comparisons.Place]:
    return list(dict.fromkeys(cell for row in rows for cell in row.cells))


def _seals(study: Path, place: comparisons.Place) -> dict[str, str]:
    """The finished blocks of a cell by their path below the study, with the seals of their records."""
    return {seal_path(study, block): str(block.record.get(SEAL, "")) for block in comparisons.finished(study, place)}


def seal_path(study: Path, block: blocks.Block) -> str:
    """A block's path below its study."""
    return block.path.relative_to(study).as_posix()


def _open_rows(rows: Sequence[Comparison], lines: Sequence[Line]) -> list[Comparison]:
    """The comparisons that have no verdict yet."""
    found = ledger.latest(lines)
    return [row for row in rows if row.key not in found or found[row.key]["word"] == Word.OPEN]


def _next(study: Study, lines: Sequence[Line]) -> int | None:
    """The pairs of the next look; None where nothing is open or all looks are done."""
    done = len(ledger.looks(lines))
    looks = study.design.looks
    return looks[done] if done < len(looks) and _open_rows(study.planned.rows, lines) else None


def _cells_at(study: Study, lines: Sequence[Line], look: int) -> list[Cell]:
    """The cells of open comparisons, with the seeds of a look."""
    wanted = {place.hash for place in _places(_open_rows(study.planned.rows, lines))}
    return [_with_seeds(cell, look) for key, cell in study.cells.items() if key in wanted]


def _with_seeds(cell: Cell, pairs: int) -> Cell:
    config = dataclasses.replace(cell.config, seeds=tuple(range(pairs)))
    return dataclasses.replace(cell, config=config, overrides=[*cell.overrides, f"seeds={pairs}"])


def _trained(cells: Sequence[Cell], sweep: Sweep, say: Say) -> Report:
    """Train what is missing, and wait for what other processes train; what they leave is taken over."""
    report = sweep(cells)
    while report.elsewhere:
        say(f"waiting for {counted(report.elsewhere, 'cell')} in training by another process")
        while any(block.state == "running" for cell in cells for block in blocks.blocks(cell.config)):
            time.sleep(WAIT)
        report = sweep(cells)
    return report


def _is_finished(cell: Cell) -> bool:
    found = {seed for block in blocks.blocks(cell.config) if block.finished for seed in block.seeds}
    return found.issuperset(cell.config.seeds)


def _look(study: Study, lines: Sequence[Line], look: int) -> Mapping[str, Any] | None:
    """The line of a look at the open comparisons; None where another process was quicker."""
    if _next(study, lines) != look:
        return None
    rows = _open_rows(study.planned.rows, lines)
    places = _places(rows)
    seals = {path: seal for place in places for path, seal in _seals(study.folder, place).items()}
    return {
        "kind": LOOK,
        "pairs": look,
        "blocks": seals,
        "superseded": _superseded(lines, seals, places),
        **judged(study.folder, rows, study.max_pairs, look, seals),
        "written": _origin()["written"],
    }


def _superseded(lines: Sequence[Line], seals: Mapping[str, str], places: Sequence[comparisons.Place]) -> dict[str, str]:
    """Blocks of earlier looks at these cells that are gone or other ones now, with the seals they had."""
    before: dict[str, str] = {}
    for line in lines:
        before = {path: seal for path, seal in before.items() if path not in line.get("superseded", {})}
        before |= line["already"] if line["kind"] == DESIGN else line.get("blocks", {})
    return {
        path: seal
        for path, seal in before.items()
        if seals.get(path) != seal and any(path.startswith(f"{place.path}/") for place in places)
    }


def judged(
    study: Path, rows: Sequence[Comparison], max_pairs: int, pairs: int, paths: Collection[str]
) -> dict[str, Any]:
    """What a look at the first pairs of comparisons finds: `failed` seeds by cell, and `rows`.

    Args:
        study: its folder.
        rows: the comparisons that are open; those whose first look is a later one are not judged.
        max_pairs: the most there may be.
        pairs: of this look.
        paths: of the blocks that were there, below the study.

    Raises:
        UserError: for a damaged block.
    """
    rows = [row for row in rows if pairs in row.question.looks(max_pairs).looks]
    found = {
        place: [block for block in comparisons.finished(study, place) if seal_path(study, block) in paths]
        for place in _places(rows)
    }
    exact = {row.task: True for row in rows}  # a task has one kind of score, or arms would differ in their noise
    for row in rows:
        exact[row.task] &= all(comparisons.is_exact(found[cell]) for cell in row.cells)
    of_cell = {cell: exact[row.task] for row in rows for cell in row.cells}
    runs = {place: _runs(place, own, pairs, exact=of_cell[place]) for place, own in found.items()}
    failed = {place.path: list(own.failed) for place, own in runs.items() if own.failed}
    return {
        "failed": failed,
        "rows": [_judged(row, [runs[cell] for cell in row.cells], max_pairs) for row in rows],
    }


def _runs(place: comparisons.Place, found: Sequence[blocks.Block], pairs: int, *, exact: bool) -> Runs:
    """The first runs of a cell. Raises `UserError` where they are not all there."""
    measured = comparisons.measured(found, range(pairs), exact=exact)
    absent = next((seed for seed in range(pairs) if seed not in measured), None)
    if absent is not None:
        raise UserError(f"{place.path}: seed {absent} is in none of the blocks that the look at {pairs} pairs is of")
    return Runs.of(measured, range(pairs), exact=exact)


def _judged(row: Comparison, runs: Sequence[Runs], max_pairs: int) -> dict[str, Any]:
    try:
        found = judge.judge(row.question, runs, row.question.looks(max_pairs))
    except NotJudged as error:
        raise UserError(f"{row.name} on {row.task} cannot be judged: {error}") from error
    needed = found.row.needed if found.row.needed is None or found.row.needed <= shapes.LARGEST else None
    return {
        "name": row.name,
        "task": row.task,
        "pairs": found.row.pairs,
        "effect": found.row.effect,
        "low": found.row.low,
        "high": found.row.high,
        "sd": found.sd,
        "word": str(found.row.verdict.word),
        "text": found.row.verdict.text,
        "exact": all(own.exact for own in runs),
        "p": found.row.p,
        "needed": needed,
        "noise": found.noise,
        "failed": found.failed,
    }


def _end(study: Study, lines: Sequence[Line]) -> Mapping[str, Any] | None:
    if _next(study, lines) is not None or lines[-1]["kind"] == END:
        return None
    left = len(_open_rows(study.planned.rows, lines))
    return {"kind": END, "open": left, "decided": len(study.planned.rows) - left}


def table(lines: Sequence[Line], look: int | None = None) -> str:
    """Every comparison as it stands, as text; effects are oriented so that the claimed direction is positive.

    What an open one `needs` are the pairs of the look that would decide it if it went on as it began.
    """
    found, rows = ledger.latest(lines), [Comparison.read(row) for row in lines[0]["rows"]]
    decided = sum(row["word"] != Word.OPEN for row in found.values())
    head = "all looks done" if look is None else f"look at {look} pairs"
    cells = [("task", "comparison", "effect", "interval", "pairs", "p", "needs", "verdict")]
    design = sequential.looks_up_to(lines[0]["max_pairs"])
    left = design.looks[len(ledger.looks(lines)) :]
    for row in rows:
        if (own := found.get(row.key)) is not None:
            named = row.name if row.name not in (row.arm, "") else f"{row.arm} − {row.against}"
            interval = f"[{own['low']:.3f}, {own['high']:.3f}]"
            p = "" if own["p"] is None else f"{own['p']:.2g}"
            needed = ""
            if own["word"] == Word.OPEN:
                by = _decided_by(row, own, design.looks[-1], left)
                needed = f"more than {design.looks[-1]}" if by is None else str(by)
            cells.append((row.task, named, f"{own['effect']:.3f}", interval, str(own["pairs"]), p, needed, own["text"]))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    text.insert(0, f"{head}: {decided} of {len(rows)} comparisons decided")
    notes = [
        f"{path}: {counted(len(seeds), 'failed run')} counted with the worst value"
        for path, seeds in (ledger.looks(lines)[-1]["failed"].items() if ledger.looks(lines) else ())
    ]
    if already := lines[0]["already"]:
        notes.append(f"not planned: {counted(len(already), 'block')} of these cells were there before the ledger")
    if seen := sorted({row["pairs"] for row in found.values()}):
        notes.append("; ".join(f"with {pairs} pairs {sequential.unseen(pairs)}" for pairs in seen))
    return "\n".join([*text, *notes])


def dry_run(cells: Sequence[Cell], processes: int | None, check: Callable[[Sequence[Cell]], Sequence[Cell]]) -> str:
    """What the next look of each study costs and what is to be expected, as text; nothing is written.

    Raises:
        UserError: as `run` does before anything starts.
    """
    studies = read(cells)
    for each in studies:
        _check(each)
    return "\n".join(line for each in studies for line in _dry(each, processes, check))


def _dry(study: Study, processes: int | None, check: Callable[[Sequence[Cell]], Sequence[Cell]]) -> list[str]:
    lines = ledger.read(study.folder)
    look = _next(study, lines)
    if look is None:
        return [table(lines), "nothing to train"]
    rows = study.planned.rows
    left = _open_rows(rows, lines)
    said = [f"left out: {line}" for line in study.planned.left_out]
    count = f"{len(left)} of {counted(len(rows), 'comparison')}"
    said.append(f"{study.name}: {count} open{_on_seeds(study)}; the next look has {look} pairs")
    said.append(dry_runs.dry_run(check(_cells_at(study, lines, look)), processes))
    expected, from_effects = _expected(study, lines)
    seeds = {place.hash: max(expected[row.key] for row in left if place in row.cells) for place in _places(left)}
    todo = jobs([_with_seeds(cell, seeds[key]) for key, cell in study.cells.items() if key in seeds])
    basis = "as the effects and spreads so far would have it" if from_effects else "at the most"
    if todo:
        total = sum(len(job.cell.config.seeds) for job in todo)
        said.append(f"to be expected, {basis}: {total} seeds of cells; {dry_runs.how_long(todo, processes)}")
    return said


def _expected(study: Study, lines: Sequence[Line]) -> tuple[dict[tuple[str, str], int], bool]:
    """By comparison, the look that would decide it, else the last; and whether anything is known of effects yet."""
    found, looks = ledger.latest(lines), study.design.looks
    left = looks[len(ledger.looks(lines)) :]
    expected = {
        row.key: (_decided_by(row, found[row.key], study.max_pairs, left) if row.key in found else None) or looks[-1]
        for row in study.planned.rows
    }
    return expected, bool(found)


def _decided_by(row: Comparison, own: Mapping[str, Any], max_pairs: int, left: Sequence[int]) -> int | None:
    """The first look still to come that would decide a comparison with power 0.8; None where none would.

    Its half-width leaves room between the effect and the nearest margin, effect and spread being what they seem now.
    It is a plan, no evidence.
    """
    question = row.question
    distance = min(abs(own["effect"] - margin) for margin in words.margins(row.direction, row.margin))
    looks = question.looks(max_pairs).looks
    quantiles = dict(zip(looks, sequential.quantiles(ALPHA * row.share, looks), strict=True))
    for look in left:
        half = float(sequential.half_width(own["sd"], look, quantiles[look], question.span))
        if half + sequential.POWER_Z * own["sd"] / look**0.5 < distance:
            return look
    return None
