"""The report of a study: tables, figures and a page of text, written next to its runs."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.claims.judge import ClaimsFile
from analysis.figures import gallery, sheets
from analysis.figures import lab as lab_figures
from analysis.figures.gallery import FIGURES, Material
from analysis.figures.style import FORMATS, Look, Style, save
from analysis.load.records import MODES, Records
from analysis.report import document, page
from analysis.tables import formats, tables, tuned
from analysis.tables import lab as lab_tables
from bench.errors import UserError

MAIN_FIGURES = ("learning_curves_stochastic", "learning_curves_deterministic", "final_scores")  # in every format
LOOK = Look(panels=24)  # more would take minutes to draw and nobody could read them


def write(
    records: Records, folder: Path, claims_files: Sequence[ClaimsFile], tuning: tuned.Tuned | None = None
) -> Iterator[Path]:
    """Write the report into `folder` and yield each file's path once it is there; the page before the large figures.

    Args:
        records: what is judged.
        folder: where to write.
        claims_files: the hypotheses to judge.
        tuning: the settings that were tried before, where the study is a tuned one.

    Raises:
        UserError: if the folder cannot be written, or there is nothing to report.
    """
    if records.runs.empty and tuning is not None:
        yield from _write_tuning(records, tuning, folder)
        return
    if records.runs.empty and records.laboratory.empty:
        raise UserError(f"study={records.name}: no runs found, nothing to report")
    if records.runs.empty:
        yield from _write_laboratory(records, folder, claims_files)
        return
    material = Material.of(records)
    names, too_large = choose(material, list(FIGURES), LOOK)
    by_task, whole = sheets.of_page(names, material.tasks), sheets.of_files(names, gallery.chosen(MAIN_FIGURES))
    whole.sort(key=lambda sheet: sheet.name in {other.name for other in by_task})  # first what the page needs too
    drawn = sheets.draw(material, [*by_task, *whole], LOOK)  # goes on beside what follows
    yield from _write_tables(material, folder)
    measured = lab_figures.drawings(records.laboratory, LOOK)
    if tuning is not None:
        measured |= tuned.drawings(tuning, material.styles, LOOK)
    said = document.compose(material, claims_files, [*names, *measured], too_large)
    if tuning is not None:
        said = said.after("In short", tuned.parts(tuning))
    said = said.after("Final scores", _measured_parts(records, material.estimates))
    yield from _write_measured(records, measured, folder)
    drawings: dict[str, dict[str, str]] = {name: {} for name in names}
    on_page = len(by_task) + len(set(names) - {sheet.name for sheet in by_task})
    for sheet, found in itertools.islice(drawn, on_page):
        drawings[sheet.name] |= {sheet.task: found["svg"].decode()} if found else {}
        yield from _write_kinds(found, folder / sheet.name) if not sheet.task else ()
    yield from _write_document(said, drawings | _as_svg(measured), material.styles, folder)
    for sheet, found in drawn:
        yield from _write_kinds(found, folder / sheet.name)


def _write_document(
    said: document.Document, drawings: page.Drawings, styles: Mapping[str, Style], folder: Path
) -> Iterator[Path]:
    yield write_file(folder / "report.md", document.markdown(said).encode())
    yield write_file(folder / "index.html", page.html(said, drawings, styles).encode())


def _write_laboratory(records: Records, folder: Path, claims_files: Sequence[ClaimsFile]) -> Iterator[Path]:
    """The report of a study that was measured and not trained."""
    measured = lab_figures.drawings(records.laboratory, LOOK)
    parts = [*_measured_parts(records, pd.DataFrame()), document.Part("Figures", figures=tuple(measured))]
    said = document.compose_laboratory(records, claims_files, parts)
    yield from _write_measured(records, measured, folder)
    yield from _write_document(said, _as_svg(measured), {}, folder)


def _measured_parts(records: Records, estimates: pd.DataFrame) -> list[document.Part]:
    return lab_tables.parts(records.laboratory, estimates, records.runs, records.name.split("+"))


def _write_tuning(records: Records, tuning: tuned.Tuned, folder: Path) -> Iterator[Path]:
    """The report of a study that has no winner yet."""
    drawn = tuned.drawings(tuning, {}, LOOK)
    parts = [*tuned.parts(tuning), document.Part("Figures", figures=tuple(drawn))]
    yield from _write_measured(records, drawn, folder)
    yield from _write_document(document.Document(records.title, tuple(parts)), _as_svg(drawn), {}, folder)


def _write_measured(records: Records, measured: Mapping[str, Figure], folder: Path) -> Iterator[Path]:
    if not records.laboratory.empty:
        yield write_file(folder / "laboratory.csv", formats.csv(records.laboratory.figures).encode())
    for name, figure in measured.items():
        yield from _write_kinds({kind: save(figure, kind, LOOK) for kind in FORMATS}, folder / name)


def _as_svg(measured: Mapping[str, Figure]) -> dict[str, dict[str, str]]:
    return {name: {"": save(figure, "svg", LOOK).decode()} for name, figure in measured.items()}


def _write_tables(material: Material, folder: Path) -> Iterator[Path]:
    estimates, runs = material.estimates, material.records.runs
    texts = {
        "comparison.md": formats.markdown(tables.comparison_table(estimates)),
        "comparison.csv": formats.csv(estimates),
        "comparison.tex": "\n".join(
            formats.latex(tables.comparison_table(estimates, [mode])) for mode in reversed(MODES)
        ),
        "costs.csv": formats.csv(tables.costs(runs)),
        "runs.csv": formats.csv(runs.drop(columns="block")),
    }
    for name, text in texts.items():
        yield write_file(folder / name, text.encode())


def choose(material: Material, names: Sequence[str], look: Look) -> tuple[list[str], list[str]]:
    """Of the figures called `names`, those the study has something for, and those too large for `look`."""
    panels = {name: gallery.panels(name, material, look) for name in names}
    too_large = [name for name, number in panels.items() if look.panels is not None and number > look.panels]
    return [name for name, number in panels.items() if number and name not in too_large], too_large


def write_figures(material: Material, names: Sequence[str], folder: Path, look: Look, suffix: str) -> Iterator[Path]:
    """Draw single figures, in every format, and yield each file's path. Raises `UserError` if that fails."""
    for sheet, found in sheets.draw(material, sheets.of_files(names), look):
        yield from _write_kinds(found, folder / f"{sheet.name}{suffix}")


def _write_kinds(found: Mapping[str, bytes], path: Path) -> Iterator[Path]:
    for kind, content in found.items():
        yield write_file(path.with_name(f"{path.name}.{kind}"), content)


def write_file(path: Path, content: bytes) -> Path:
    """Write `content` whole or not at all: whoever reads `path` never sees half a file. Raises `UserError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path
