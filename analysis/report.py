"""The report of a study: tables, figures and a page of text, written next to its runs."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from analysis import document, formats, gallery, page, tables
from analysis.claims import ClaimsFile
from analysis.gallery import FIGURES, Material
from analysis.load import MODES, Records
from analysis.style import FORMATS, Look, TooManyPanels, save
from bench.errors import UserError

MAIN_FIGURES = ("learning_curves_stochastic", "learning_curves_deterministic", "final_scores")  # in every format
LOOK = Look(panels=24)  # more would take minutes to draw and nobody could read them


def write(records: Records, folder: Path, claims_files: Sequence[ClaimsFile]) -> Iterator[Path]:
    """Write the report into `folder` and yield each file's path once it is there.

    Raises:
        UserError: if the folder cannot be written, or there is nothing to report.
    """
    if records.runs.empty:
        raise UserError(f"study={records.name}: no runs found, nothing to report")
    material = Material.of(records)
    yield from _write_tables(material, folder)
    main = gallery.chosen(MAIN_FIGURES)
    others = [name for name in FIGURES if name not in main]
    linked = []
    for path in chain(
        write_figures(material, main, folder, LOOK), write_figures(material, others, folder, LOOK, ["svg"])
    ):
        linked.append(path.stem)
        yield path
    drawings, too_large = _drawings(material)
    said = document.compose(material, claims_files, list(drawings), too_large)
    yield write_file(folder / "report.md", document.markdown(said, linked).encode())
    yield write_file(folder / "index.html", page.html(said, drawings, material.styles).encode())


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


def _drawings(material: Material) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The figures as SVG, one per task where a figure falls apart into tasks; and the names of those too large."""
    drawings: dict[str, dict[str, str]] = {}
    too_large = []
    parts = {task: material.only(task) for task in material.tasks}
    for name in FIGURES:
        shown = {"": material} if name in gallery.ACROSS_TASKS else parts
        try:
            drawn = {task: gallery.draw(name, part, LOOK) for task, part in shown.items()}
        except TooManyPanels:
            too_large.append(name)
            continue
        svgs = {task: save(figure, "svg", LOOK).decode() for task, figure in drawn.items() if figure}
        if svgs:
            drawings[name] = svgs
    return drawings, too_large


def write_figures(
    material: Material,
    names: Sequence[str],
    folder: Path,
    look: Look,
    formats: Sequence[str] = FORMATS,
    suffix: str = "",
) -> Iterator[Path]:
    """Draw the figures called `names`, each in all `formats`, and yield each file's path once it is there.

    A figure that the study holds nothing for, or that has too many panels for `look`, is left out.

    Raises:
        UserError: if the folder cannot be written.
    """
    for name in names:
        try:
            figure = gallery.draw(name, material, look)
        except TooManyPanels:
            continue
        if figure is not None:
            for kind in formats:
                yield write_file(folder / f"{name}{suffix}.{kind}", save(figure, kind, look))


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
