"""Figures as files: each is drawn once, on one of the cores, and saved in all its formats from that drawing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.figures import gallery
from analysis.figures.gallery import Material
from analysis.figures.style import FORMATS, Look, save
from bench import parallel

WIDTHS = {"narrow": 3.9, "wide-only": 12.5}  # inches: of a phone, and of other screens


@dataclass(frozen=True)
class Sheet:
    """One drawing.

    Attributes:
        name: of the figure.
        task: the one it is of, "" for all together.
        kinds: formats it is wanted in; none where the study holds nothing to draw.
        screen: "narrow" for phones alone, "wide-only" for other screens alone, "" for a file or any screen.
    """

    name: str
    task: str
    kinds: tuple[str, ...]
    screen: str = ""

    @property
    def of_page(self) -> bool:
        """Whether a page alone shows it, and it is no file."""
        return bool(self.task or self.screen)


def of_files(names: Sequence[str], main: Sequence[str] | None = None) -> list[Sheet]:
    """Figures of all tasks together: those called `main` in every format, others as SVG."""
    return [Sheet(name, "", FORMATS if main is None or name in main else ("svg",)) for name in names]


def of_page(names: Sequence[str], tasks: Sequence[str]) -> list[Sheet]:
    """What a page shows in place of `of_files`: a figure by task, so that the reader can switch, and by width.

    Nothing by task where a figure is of all tasks together, or a study has one task only: there both are the same
    drawing. Only figures whose parts cannot stand below each other need a drawing for phones and one for other screens.
    """
    apart = [name for name in names if name not in gallery.ACROSS_TASKS] if len(tasks) > 1 else []
    return [
        Sheet(name, task, ("svg",), screen)
        for name in names
        if name in apart or name in gallery.WIDE
        for screen in (WIDTHS if name in gallery.WIDE else [""])
        for task in (tasks if name in apart else [""])
    ]


def draw(material: Material, sheets: Sequence[Sheet], look: Look) -> Iterator[tuple[Sheet, Mapping[str, bytes]]]:
    """Every sheet with its bytes by format, in order; none where the study holds nothing for it."""

    def drawn(sheet: Sheet) -> dict[str, bytes]:
        own = replace(look, width=WIDTHS[sheet.screen]) if sheet.screen else look
        figure = gallery.draw(sheet.name, material.only(sheet.task) if sheet.task else material, own)
        return {} if figure is None else {kind: save(figure, kind, own) for kind in sheet.kinds}

    return zip(sheets, parallel.each(drawn, sheets), strict=True)
