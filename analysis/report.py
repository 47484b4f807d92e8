"""The report of a study: tables, figures and a page of text, written next to its runs."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import document, formats, gallery, lab, page, tables, tuned
from analysis.claims import ClaimsFile
from analysis.gallery import FIGURES, Material
from analysis.load import MODES, Records
from analysis.style import FORMATS, Look, Style, TooManyPanels, save
from bench.errors import UserError

MAIN_FIGURES = ("learning_curves_stochastic", "learning_curves_deterministic", "final_scores")  # in every format
LOOK = Look(panels=24)  # more would take minutes to draw and nobody could read them


def write(
    records: Records, folder: Path, claims_files: Sequence[ClaimsFile], tuning: tuned.Tuned | None = None
) -> Iterator[Path]:
    """Write the report into `folder` and yield each file's path once it is there.

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
    yield from _write_tables(material, folder)
    drawn, too_large = draw(material, list(FIGURES), LOOK)
    main = gallery.chosen(MAIN_FIGURES)
    for name, figure in drawn.items():
        yield from _write_figure(figure, folder / name, LOOK, FORMATS if name in main else ["svg"])
    laboratory = lab.read(folder.parent)
    measured = {} if laboratory is None else lab.drawings(laboratory, LOOK)
    if tuning is not None:
        measured |= tuned.drawings(tuning, material.styles, LOOK)
    said = document.compose(material, claims_files, [*drawn, *measured], too_large)
    if tuning is not None:
        said = said.after("In short", tuned.parts(tuning))
    if laboratory is not None:
        said = said.after("Final scores", lab.parts(laboratory, material.estimates, records.runs))
    yield from _write_measured(measured, folder)
    drawings = {name: _drawings(name, material) for name in drawn} | _as_svg(measured)
    yield from _write_document(said, drawings, material.styles, folder)


def _write_document(
    said: document.Document, drawings: page.Drawings, styles: Mapping[str, Style], folder: Path
) -> Iterator[Path]:
    yield write_file(folder / "report.md", document.markdown(said).encode())
    yield write_file(folder / "index.html", page.html(said, drawings, styles).encode())


def _write_laboratory(records: Records, folder: Path, claims_files: Sequence[ClaimsFile]) -> Iterator[Path]:
    """The report of a study that was measured and not trained."""
    said = document.compose_laboratory(records, claims_files)
    laboratory = lab.read(folder.parent)
    measured = {} if laboratory is None else lab.drawings(laboratory, LOOK)
    if laboratory is not None:
        parts = lab.parts(laboratory, pd.DataFrame(), pd.DataFrame())
        figures = document.Part("Figures", figures=tuple(measured))
        said = said.after("Bias and variance", [*parts, figures])
    yield from _write_measured(measured, folder)
    yield from _write_document(said, _as_svg(measured), {}, folder)


def _write_tuning(records: Records, tuning: tuned.Tuned, folder: Path) -> Iterator[Path]:
    """The report of a study that has no winner yet."""
    drawn = tuned.drawings(tuning, {}, LOOK)
    parts = [*tuned.parts(tuning), document.Part("Figures", figures=tuple(drawn))]
    yield from _write_measured(drawn, folder)
    yield from _write_document(document.Document(records.title, tuple(parts)), _as_svg(drawn), {}, folder)


def _write_measured(measured: Mapping[str, Figure], folder: Path) -> Iterator[Path]:
    for name, figure in measured.items():
        yield from _write_figure(figure, folder / name, LOOK, FORMATS)


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


def _drawings(name: str, material: Material) -> dict[str, str]:
    """A figure as SVG by task, so that a page can switch; under "" where it is of all tasks together."""
    tasks = [""] if name in gallery.ACROSS_TASKS else material.tasks
    figures = {task: gallery.draw(name, material.only(task) if task else material, LOOK) for task in tasks}
    return {task: save(figure, "svg", LOOK).decode() for task, figure in figures.items() if figure is not None}


def draw(material: Material, names: Sequence[str], look: Look) -> tuple[dict[str, Figure], list[str]]:
    """The figures called `names` that the study has something for, and the names of those too large for `look`."""
    figures: dict[str, Figure] = {}
    too_large = []
    for name in names:
        try:
            figure = gallery.draw(name, material, look)
        except TooManyPanels:
            too_large.append(name)
        else:
            figures |= {name: figure} if figure is not None else {}
    return figures, too_large


def write_figures(material: Material, names: Sequence[str], folder: Path, look: Look, suffix: str) -> Iterator[Path]:
    """Draw single figures, in every format, and yield each file's path. Raises `UserError` if that fails."""
    for name, figure in draw(material, names, look)[0].items():
        yield from _write_figure(figure, folder / f"{name}{suffix}", look, FORMATS)


def _write_figure(figure: Figure, path: Path, look: Look, kinds: Sequence[str]) -> Iterator[Path]:
    for kind in kinds:
        yield write_file(path.with_name(f"{path.name}.{kind}"), save(figure, kind, look))


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
