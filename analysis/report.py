"""The report of a study: tables, figures and a page of text, written next to its runs."""

import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from analysis import document, formats, gallery, page, tables
from analysis.claims import ClaimsFile
from analysis.gallery import FIGURES, Material
from analysis.load import MODES, Records
from analysis.style import FORMATS, Look, save
from bench.errors import UserError

MAIN_FIGURES = ("learning_curves_stochastic", "learning_curves_deterministic", "final_scores")  # in every format


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
    drawn = yield from write_figures(material, main, folder, Look())
    drawn += yield from write_figures(material, [name for name in FIGURES if name not in main], folder, Look(), ["svg"])
    said = document.compose(material, claims_files, drawn)
    yield write_file(folder / "report.md", document.markdown(said).encode())
    yield write_file(folder / "index.html", page.html(said, _drawings(material, drawn), material.styles).encode())


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


def _drawings(material: Material, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The figures as SVG, one per task where a figure falls apart into tasks."""
    drawings: dict[str, dict[str, str]] = {}
    parts = {task: material.only(task) for task in material.tasks}
    for name in names:
        figures = {"": material} if name in gallery.ACROSS_TASKS else parts
        drawn = {task: gallery.draw(name, part, Look()) for task, part in figures.items()}
        drawings[name] = {task: save(figure, "svg", Look()).decode() for task, figure in drawn.items() if figure}
    return drawings


def write_figures(
    material: Material,
    names: Sequence[str],
    folder: Path,
    look: Look,
    formats: Sequence[str] = FORMATS,
    suffix: str = "",
) -> Generator[Path, None, list[str]]:
    """Draw the figures called `names`, each in all `formats`, and yield each file's path once it is there.

    Returns:
        The names of the figures drawn; the study may hold nothing for some of them.

    Raises:
        UserError: if the folder cannot be written.
    """
    drawn = []
    for name in names:
        figure = gallery.draw(name, material, look)
        if figure is not None:
            drawn.append(name)
            for kind in formats:
                yield write_file(folder / f"{name}{suffix}.{kind}", save(figure, kind, look))
    return drawn


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
