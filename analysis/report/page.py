"""`index.html`: a report as one self-contained file. No network, no library; every text is escaped.

Without scripts, and in print, everything is shown: the scripts only sort, switch and hide.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import numpy as np
from markupsafe import Markup, escape
from matplotlib.colors import to_hex
from matplotlib.markers import MarkerStyle

from analysis.figures import svg as svgs
from analysis.figures.style import Style
from analysis.report.document import Document
from analysis.tables.formats import Best, Tied, columns_of_words
from bench.errors import one_line


@dataclass(frozen=True)
class Drawing:
    """A figure as a page has it.

    Attributes:
        svg: its text.
        task: the one it is of, "" for all together.
        kind: "narrow" for phones alone, "wide-only" for other screens alone, "" for all.
    """

    svg: str
    task: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Parted:
    """A drawing in parts that stand beside each other where there is room.

    Attributes:
        svg: the parts, as SVGs of their own.
        arms: indices of the arms that need a legend.
    """

    svg: Markup
    arms: frozenset[int]


Drawings = Mapping[str, Sequence[Drawing]]  # by figure
_PIXELS = 96 / 72  # of a point


def html(document: Document, drawings: Drawings, styles: Mapping[str, Style]) -> str:
    """The whole file.

    Args:
        document: what it says.
        drawings: the SVGs of its figures.
        styles: of the arms, in order; an arm's rows and shapes have the class `arm-<index>`.
    """
    tasks = dict.fromkeys(drawing.task for found in drawings.values() for drawing in found if drawing.task)
    page = _templates().get_template("page.html")
    return page.render(document=document, drawings=drawings, styles=styles, tasks=list(tasks))


def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.report"),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"parted": _parted, "swatch": _swatch}
    templates.globals |= {"classes": _classes, "columns_of_words": columns_of_words, "width": _width}
    templates.tests |= {"best": lambda text: isinstance(text, Best), "tied": lambda text: isinstance(text, Tied)}
    return templates


def _shown(value: object) -> object:
    """Text in one line; what is a part of the page stays as it is."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _classes(*names: str) -> Markup:
    """The attribute of an element; nothing for no class."""
    given = " ".join(filter(None, names))
    return Markup(' class="{}"').format(given) if given else Markup()


def _width(text: str) -> str:
    """The class of a cell with much text, which is broken into lines."""
    return "long" if len(text) > 60 else "wide" if len(text) > 25 else ""


def _parted(svg: str, prefix: str) -> Parted:
    """The panels of a drawing as SVGs for the inside of a page: names clash with no other figure's."""
    shared, pieces = svgs.pieces(svg[svg.index("<svg") :])
    own = [f'<svg class="shared" aria-hidden="true">{shared}</svg>']
    for piece in pieces:
        left, top, width, height = piece.box
        own.append(
            f'<svg{_classes("key" if piece.name == svgs.LEGEND else "")} style="--width: {width * _PIXELS:.0f}px" '
            f'viewBox="{left:g} {top:g} {width:g} {height:g}" width="{width * _PIXELS:.0f}" '
            f'height="{height * _PIXELS:.0f}" role="{"group" if svgs.POINTS in piece.content else "img"}" '
            f'aria-label="{escape(prefix.rpartition("-")[0].replace("_", " "))}">{piece.content}</svg>'
        )
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', "".join(own))
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", body).replace("xlink:href", "href")
    found = {int(index) for index in re.findall(r'class="arm-(\d+)"', body)}
    return Parted(Markup(body), frozenset(found if f'class="{svgs.ARMS}"' in svg else ()))


def _swatch(style: Style) -> Markup:
    """The line and the marker of an arm, as in figures."""
    color = to_hex(style.color)
    dashes = "" if style.line == "-" else ",".join(f"{1.4 * length:g}" for length in style.line[1])
    marker = MarkerStyle(style.marker)
    outline = np.asarray(marker.get_path().transformed(marker.get_transform()).to_polygons(closed_only=False)[0], float)
    points = " ".join(f"{17 + 6 * x:.1f},{5 - 6 * y:.1f}" for x, y in outline.tolist())
    return Markup(
        '<svg class="swatch" viewBox="0 0 34 10" aria-hidden="true"><path d="M1 5H33" stroke="{0}" stroke-width="1.6" '
        'stroke-dasharray="{1}"/><polygon points="{2}" fill="{0}"/></svg>'
    ).format(color, dashes, points)
