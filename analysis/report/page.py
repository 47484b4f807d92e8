"""`index.html`: a report as one self-contained file. No network, no library; every text is escaped.

Without scripts, and in print, everything is shown: the scripts only sort, switch and hide.
"""

import re
from collections.abc import Mapping

import jinja2
from markupsafe import Markup

from analysis.figures.style import Style
from analysis.report.document import Document
from analysis.tables.formats import Best, Tied, columns_of_words
from bench.errors import one_line

# By figure: by task ("" where it is of all tasks), the SVG's text.
Drawings = Mapping[str, Mapping[str, str]]


def html(document: Document, drawings: Drawings, styles: Mapping[str, Style]) -> str:
    """The whole file.

    Args:
        document: what it says.
        drawings: the SVGs of its figures.
        styles: of the arms, in order; an arm's rows and shapes have the class `arm-<index>`.
    """
    tasks = dict.fromkeys(task for by_task in drawings.values() for task in by_task if task)
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
    templates.filters["inline"] = _inline
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


def _inline(svg: str, prefix: str) -> Markup:
    """An SVG for the inside of a page: no prologue, and names that clash with no other figure's."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    return Markup(re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", body))
