"""A table as text, and its Markdown, LaTeX, HTML and CSV."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

_LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": r"\textminus{}",
}


class Best(str):
    """A cell that holds the best value of its section."""


class Tied(str):
    """A cell whose value may be as good as the best."""


@dataclass(frozen=True)
class Section:
    """Rows of text under one heading."""

    heading: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Table:
    """A table as text: the first column is aligned left, the others right."""

    caption: str
    header: tuple[str, ...]
    sections: tuple[Section, ...]


def interval_text(interval: Sequence[float], decimals: int) -> str:
    """`487.3 [480.1, 493.0]`; a dash where there is no run."""
    if np.isnan(interval[0]):
        return "–"
    estimate, low, high = (number_text(value, decimals) for value in interval)
    return f"{estimate} [{low}, {high}]"


def number_text(value: float, decimals: int) -> str:
    """A number with a fixed number of decimals and a true minus sign; never `-0.0`."""
    text = f"{value:,.{decimals}f}" if abs(value) >= 10_000 else f"{value:.{decimals}f}"
    if not text.strip("-0."):
        text = text.lstrip("-")
    return text.replace("-", "−")


def optional_text(value: float, decimals: int) -> str:
    """`number_text`, or a dash where there is no number."""
    return "–" if np.isnan(value) else number_text(value, decimals)


def markdown(table: Table) -> str:
    """A pipe table per section, each under its heading."""
    rule = "|---|" + "".join("---|" if left else "---:|" for left in _columns_of_words(table)[1:])
    parts = [table.caption]
    for section in table.sections:
        rows = [table.header, *section.rows]
        lines = ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in rows]
        heading = [f"**{_markdown_cell(section.heading)}**"] if section.heading else []
        parts += [*heading, "\n".join([lines[0], rule, *lines[1:]])]
    return "\n\n".join(parts) + "\n"


def _markdown_cell(text: str) -> str:
    shown = markdown_text(text)
    return f"**{shown}**" if isinstance(text, Best) else f"*{shown}*" if isinstance(text, Tied) else shown


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is: names may hold pipes, asterisks or tags."""
    escaped = re.sub(r"([\\`*<>|#])", r"\\\1", text.replace("\n", " "))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)  # an underscore within a word is no emphasis


def latex(table: Table) -> str:
    """A `table` environment with booktabs rules; needs `\\usepackage{booktabs}`."""
    columns = len(table.header)
    lines = [
        r"\begin{table}",
        r"  \centering",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{4pt}",
        rf"  \caption{{{latex_text(table.caption)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        r"    \toprule",
        rf"    {_latex_row(table.header)}",
    ]
    for section in table.sections:
        lines.append(r"    \midrule")
        if section.heading:
            lines += [rf"    \multicolumn{{{columns}}}{{l}}{{\emph{{{latex_text(section.heading)}}}}} \\"]
        lines += [f"    {_latex_row(row)}" for row in section.rows]
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def _latex_row(row: Sequence[str]) -> str:
    # a row that starts with a bracket would be read as the argument of the \\ before it
    return " & ".join(("{}" if cell.startswith("[") else "") + _latex_cell(cell) for cell in row) + r" \\"


def _latex_cell(text: str) -> str:
    shown = latex_text(text)
    return (
        rf"\textbf{{{shown}}}" if isinstance(text, Best) else rf"\emph{{{shown}}}" if isinstance(text, Tied) else shown
    )


def latex_text(text: str) -> str:
    """`text` with every sign that means something to LaTeX escaped."""
    return "".join(_LATEX_SIGNS.get(sign, sign) for sign in text.replace("\n", " "))


def html(table: Table, classes: Mapping[str, str] | None = None) -> str:
    """A `table` element per section, each under its heading; every text is escaped.

    `classes` gives rows that begin with one of its keys a class, so that a page can hide them.
    """
    words = _columns_of_words(table)
    names = zip(table.header, words, strict=True)
    head = "".join(f"<th scope=col{_class('words' if left else '')}>{escape(name)}</th>" for name, left in names)
    parts = [f"<p class=caption>{escape(table.caption)}</p>"]
    for section in table.sections:
        rows = "\n".join(_html_row(row, words, (classes or {}).get(row[0], "")) for row in section.rows)
        caption = f"<caption>{escape(section.heading)}</caption>" if section.heading else ""
        head_row = f"<thead><tr>{head}</tr></thead>"
        parts.append(f"<div class=scroll><table>{caption}{head_row}\n<tbody>\n{rows}\n</tbody></table></div>")
    return "\n".join(parts) + "\n"


def _columns_of_words(table: Table) -> list[bool]:
    """Which columns hold words, to be aligned left as the first is: those whose cells all begin with a letter."""
    rows = [row for section in table.sections for row in section.rows]
    return [bool(rows) and all(row[column][:1].isalpha() for row in rows) for column in range(len(table.header))]


def _html_row(row: Sequence[str], words: Sequence[bool], name: str) -> str:
    first, *others = row
    cells = "".join(
        f"<td{_class(_width(cell), 'words' if left else '')}>{_html_cell(cell)}</td>"
        for cell, left in zip(others, words[1:], strict=True)
    )
    return f"<tr{_class(name)}><th scope=row{_class(_width(first))}>{_html_cell(first)}</th>{cells}</tr>"


def _class(*names: str) -> str:
    """The attribute, "" for no class."""
    given = " ".join(filter(None, names))
    return f' class="{given}"' if " " in given else f" class={given}" if given else ""


def _width(text: str) -> str:
    return "long" if len(text) > 60 else "wide" if len(text) > 25 else ""


def _html_cell(text: str) -> str:
    shown = escape(text)
    if isinstance(text, Best):
        return f"<strong>{shown}</strong>"
    return f"<em>{shown}</em>" if isinstance(text, Tied) else shown


def csv(frame: pd.DataFrame) -> str:
    """A tidy table with all its digits, for other programs."""
    return frame.to_csv(index=False, lineterminator="\n")
