"""The report of a study as files, written next to its runs: tables, figures and a page of text."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.claims.effects import effects
from analysis.claims.readings import side_by_side
from analysis.figures import designs as design_figures
from analysis.figures import gallery, sheets, svg
from analysis.figures import lab as lab_figures
from analysis.figures.captions import caption
from analysis.figures.gallery import FIGURES, Material
from analysis.figures.style import FORMATS, Look, Style, arm_styles, save
from analysis.load import MODES, Records, designed
from analysis.load.designed import Designed
from analysis.report import designs, document, lab, page
from analysis.report.choice import Choice
from analysis.report.document import Document, Part, Verdicts
from analysis.report.page import Drawing
from analysis.tables import formats
from analysis.tables.comparisons import claims_table, rows_frame, rows_json
from analysis.tables.costs import costs_of_runs
from analysis.tables.designs import Readings
from analysis.tables.final_scores import comparison, comparison_table
from analysis.tables.lab import PAIRS, policies_table
from bench.errors import UserError
from bench.paths import refuse_links
from bench.records.files import write_atomic
from bench.verdicts.hypotheses import ClaimsFile
from bench.verdicts.row import JudgedRow

MAIN_FIGURES = ("learning_curves_stochastic", "learning_curves_deterministic", "final_scores")  # in every format
LOOK = Look(panels=24)  # more would take minutes to draw and nobody could read them

Drawn = Mapping[str, Mapping[str, bytes]]  # by figure, its bytes by format


def write_report(
    records: Records,
    folder: Path,
    claims_files: Sequence[ClaimsFile],
    tuning: Designed | None = None,
    everything: Records | None = None,
    choice: Choice | None = None,
) -> Generator[Path, None, Document]:
    """Write the report into `folder` and yield each file's path once it is there; return what the report says.

    Args:
        records: what is shown.
        folder: where to write.
        claims_files: the hypotheses to judge.
        tuning: the settings that were tried before, where the study was tuned before there were designs.
        everything: the runs of all pools of seeds, on which claims are judged; None where `records` has them.
        choice: what of it is shown; None for all.

    Raises:
        UserError: if the folder cannot be written, or there is nothing to report.
    """
    tuned = None if tuning is None else Readings(tuning)
    if records.designs:
        return (yield from _write_designs(records, folder, claims_files))
    if len(records.runs):
        verdicts = Verdicts.of(records, claims_files, everything)
        return (yield from _write_trained(records, folder, verdicts, tuned, choice or Choice()))
    if tuned is not None:
        return (yield from _write_readings(records, [tuned], folder))
    if not records.laboratory.empty:
        return (yield from _write_laboratory(records, folder, claims_files))
    (earlier,) = lab.earlier_lines(records.laboratory, records.name.split("+")) or ("nothing to report",)
    raise UserError(f"study={records.name}: no runs found; {earlier.rstrip('.')}")


def _write_trained(
    records: Records, folder: Path, verdicts: Verdicts, tuning: Readings | None, choice: Choice
) -> Generator[Path, None, Document]:
    estimates = choice.estimates(comparison(records.runs, records.control), records)
    found = choice.effects(effects(records), records)
    records, verdicts = choice.records(records), choice.verdicts(verdicts)
    material = replace(Material.of(records, verdicts.families, estimates), panel=choice.panel)
    names, too_large = choose(material, list(FIGURES), LOOK)
    apart, whole = sheets.of_page(names, material.tasks), sheets.of_files(names, gallery.chosen(MAIN_FIGURES))
    drawn = sheets.draw(material, [*apart, *whole], LOOK)  # goes on beside what follows
    yield from _write_tables(records, estimates, material, folder)
    yield from _write_verdicts(verdicts, document.of_control(verdicts, material), folder)
    as_trained = lab_figures.as_trained(records.runs, material.styles)
    measured = lab_figures.drawings(records.laboratory, LOOK, as_trained)
    if tuning is not None:
        measured |= design_figures.drawings(tuning, material.styles, LOOK)
        yield from _write_frames(tuning, folder)
    said = document.compose(records, estimates, material, verdicts, found, [*names, *measured], too_large)
    if tuning is not None:
        said = said.after("In short", designs.parts(tuning)[:2])  # the report has its words for the winners
    said = said.after("Final scores", _measured_parts(records, material.estimates, verdicts))
    saved = _saved(measured)
    yield from _write_measured(records, saved, folder)
    drawings: dict[str, list[Drawing]] = {name: [] for name in names}
    parted = {sheet.name for sheet in apart}  # figures that the page shows by task or by width
    for sheet, written in drawn:
        if written and (sheet.of_page or sheet.name not in parted):
            drawings[sheet.name].append(Drawing(written["svg"].decode(), sheet.task, sheet.screen))
        if not sheet.of_page:
            yield from _write_kinds(written, folder / sheet.name)
    said = _with_captions(said, [*drawings, *saved], material)
    yield from _write_document(said, drawings | _of_page(saved), material.styles, folder)
    return said


def _write_laboratory(
    records: Records, folder: Path, claims_files: Sequence[ClaimsFile]
) -> Generator[Path, None, Document]:
    """The report of a study that was measured and not trained."""
    saved = _saved(lab_figures.drawings(records.laboratory, LOOK))
    verdicts = Verdicts.of(records, claims_files)
    parts = [*_measured_parts(records, pd.DataFrame(), verdicts), Part("Figures", figures=tuple(saved))]
    said = _with_captions(document.compose_laboratory(records, verdicts, parts), saved)
    yield from _write_measured(records, saved, folder)
    yield from _write_verdicts(verdicts, None, folder)
    yield from _write_document(said, _of_page(saved), {}, folder)
    return said


def _write_designs(
    records: Records, folder: Path, claims_files: Sequence[ClaimsFile]
) -> Generator[Path, None, Document]:
    """The report of a study with designs of settings."""
    found = [Readings(each, tuple(side_by_side(each, records, claims_files))) for each in designed.of(records)]
    yield write_file(folder / "settings.csv", formats.csv(records.settings.drop(columns="block")).encode())
    if len(records.runs):
        yield write_file(folder / "runs.csv", formats.csv(records.runs.drop(columns="block")).encode())
    return (yield from _write_readings(records, found, folder))


def _write_readings(records: Records, found: Sequence[Readings], folder: Path) -> Generator[Path, None, Document]:
    """What designs are read for, and nothing more of arms at their own numbers."""
    styles = arm_styles(records.runs) if len(records.runs) else {}
    drawn: dict[str, Figure] = {}
    for each in found:
        yield from _write_frames(each, folder)
        drawn |= design_figures.drawings(each, styles, LOOK)
    saved = _saved(drawn)
    yield from _write_measured(records, saved, folder)
    parts = [part for each in found for part in designs.parts(each)]
    said = _with_captions(document.compose_designs(records, parts, list(saved)), saved)
    yield from _write_document(said, _of_page(saved), styles, folder)
    return said


def _write_frames(readings: Readings, folder: Path) -> Iterator[Path]:
    for name, table in designs.frames(readings).items():
        yield write_file(folder / f"{name}.csv", formats.csv(table).encode())


def _with_captions(said: Document, names: Iterable[str], material: Material | None = None) -> Document:
    found = {name: caption(name, material) for name in names}
    return replace(said, captions={name: text for name, text in found.items() if text})


def _measured_parts(records: Records, estimates: pd.DataFrame, verdicts: Verdicts) -> list[Part]:
    judged = {row.task for row in verdicts.rows if row.metric in {metric for metric, _, _ in PAIRS.values()}}
    return lab.parts(records.laboratory, estimates, records.runs, records.name.split("+"), judged)


def _saved(drawings: Mapping[str, Figure]) -> Drawn:
    return {name: {kind: save(figure, kind, LOOK) for kind in FORMATS} for name, figure in drawings.items()}


def _of_page(saved: Drawn) -> dict[str, list[Drawing]]:
    return {name: [Drawing(found["svg"].decode())] for name, found in saved.items()}


def _write_measured(records: Records, saved: Drawn, folder: Path) -> Iterator[Path]:
    if not records.laboratory.empty:
        yield write_file(folder / "laboratory.csv", formats.csv(records.laboratory.means).encode())
        yield write_file(folder / "policies.csv", formats.csv(policies_table(records.laboratory)).encode())
    for name, found in saved.items():
        yield from _write_kinds(found, folder / name)


def _write_document(
    said: Document, drawings: page.Drawings, styles: Mapping[str, Style], folder: Path
) -> Iterator[Path]:
    yield write_file(folder / "report.md", document.markdown(said).encode())
    yield write_file(folder / "index.html", page.html(said, drawings, styles).encode())


def _write_tables(records: Records, estimates: pd.DataFrame, material: Material, folder: Path) -> Iterator[Path]:
    """The tables: of all arms for other programs (CSV), of those that are shown for people."""
    runs = records.runs
    by_mode = [
        comparison_table(material.estimates, [mode], material.note).of("arm", "n", "mean") for mode in reversed(MODES)
    ]
    table = comparison_table(material.estimates, note=material.note)
    yield from write_table(folder / "comparison", table, estimates, by_mode)
    yield write_file(folder / "costs.csv", formats.csv(costs_of_runs(runs)).encode())
    yield write_file(folder / "runs.csv", formats.csv(runs.drop(columns="block")).encode())


def _write_verdicts(verdicts: Verdicts, control: formats.Table | None, folder: Path) -> Iterator[Path]:
    """The rows of claims, and of all arms beside the control, as files for other programs; tables as LaTeX."""
    tables = [claims_table(found, file.title) for file, found in verdicts.claims]
    yield from _write_rows(folder / "claims", verdicts.rows, tables)
    yield from _write_rows(folder / "control", [each.row for each in verdicts.compared], [control] if control else [])


def _write_rows(path: Path, rows: Sequence[JudgedRow], tables: Sequence[formats.Table]) -> Iterator[Path]:
    if rows:
        yield write_file(path.with_suffix(".csv"), formats.csv(rows_frame(rows)).encode())
        yield write_file(path.with_suffix(".json"), rows_json(rows).encode())
        narrow = [table.of("claim", "task", "arm", "verdict", "effect") for table in tables]
        yield write_file(path.with_suffix(".tex"), _latex(narrow, path.name))


def write_table(
    path: Path, table: formats.Table, numbers: pd.DataFrame, for_latex: Sequence[formats.Table] = ()
) -> Iterator[Path]:
    """Write a table as Markdown, CSV (all digits) and LaTeX; `for_latex` are narrower ones to write there instead."""
    yield write_file(path.with_suffix(".md"), formats.markdown(table).encode())
    yield write_file(path.with_suffix(".csv"), formats.csv(numbers).encode())
    yield write_file(path.with_suffix(".tex"), _latex(for_latex or [table], path.name))


def _latex(tables: Sequence[formats.Table], label: str) -> bytes:
    """Tables for LaTeX, with a label each."""
    labels = [f"{label}-{chr(ord('a') + place)}" if place else label for place in range(len(tables))]
    return "\n".join(map(formats.latex, tables, labels)).encode()


def choose(material: Material, names: Sequence[str], look: Look) -> tuple[list[str], list[str]]:
    """Of the figures called `names`, those the study has something for, and those too large for `look`."""
    panels = {name: gallery.count_panels(name, material, look) for name in names}
    too_large = [name for name, number in panels.items() if look.panels is not None and number > look.panels]
    return [name for name, number in panels.items() if number and name not in too_large], too_large


def write_figures(material: Material, names: Sequence[str], folder: Path, look: Look, suffix: str) -> Iterator[Path]:
    """Draw single figures, in every format, and yield each file's path. Raises `UserError` if that fails."""
    for sheet, found in sheets.draw(material, sheets.of_files(names), look):
        yield from _write_kinds(found, folder / f"{sheet.name}{suffix}")


def _write_kinds(found: Mapping[str, bytes], path: Path) -> Iterator[Path]:
    for kind, content in found.items():
        own = svg.without_points(content.decode()).encode() if kind == "svg" else content
        yield write_file(path.with_name(f"{path.name}.{kind}"), own)


def check_folder(report: Path) -> None:
    """Refuse a link in place of a study's folder, or of that of its report. Raises `UserError`."""
    try:
        refuse_links(report, 2)
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}") from error


def write_file(path: Path, content: bytes) -> Path:
    """Write `content` whole or not at all: whoever reads `path` never sees half a file. Raises `UserError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda beside: _write(beside, content))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
