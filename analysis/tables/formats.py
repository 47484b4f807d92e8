"""A table as text, and its Markdown, LaTeX and CSV."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.stats import Interval
from bench.errors import one_line
from bench.verdicts.numerals import decimals_of as decimals_of
from bench.verdicts.numerals import interval_text as interval_text
from bench.verdicts.numerals import number_text as number_text
from bench.verdicts.numerals import optional_text as optional_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how text begins that a spreadsheet calculates
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
    """A cell that is set in bold, such as the highest mean of its section."""


class Tied(str):
    """A cell that is set in italics: not told apart from one in bold."""


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


def thousands_text(value: float) -> str:
    """`12,000`; a dash where it is unknown."""
    return "–" if np.isnan(value) else f"{value:,.0f}"


def percent_text(share: float) -> str:
    """`35 %`; a dash where it is unknown."""
    return "–" if np.isnan(share) else f"{share:.0%}".replace("%", " %")


def p_text(p: float) -> str:
    """Three decimals, `<0.001` below them, a dash for a comparison that could not be made."""
    return "<0.001" if p < 0.001 else optional_text(p, 3)


def interval_of(row: pd.Series, name: str) -> Interval:
    """An estimate and its bounds from the columns `name`, `name_low` and `name_high`."""
    return float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"])


def markdown(table: Table) -> str:
    """A pipe table per section, each under its heading."""
    rule = "|---|" + "".join("---|" if left else "---:|" for left in columns_of_words(table)[1:])
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
    """Text that Markdown shows as it is: names may hold pipes, asterisks, tags, links or mathematics."""
    escaped = re.sub(r"([\\`*<>|#$])", r"\\\1", one_line(text)).replace("](", r"]\(").replace("~~", r"\~\~")
    escaped = re.sub(r"&(?=#?\w+;)", "&amp;", escaped)
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
    return "".join(_LATEX_SIGNS.get(sign, sign) for sign in one_line(text))


def columns_of_words(table: Table) -> list[bool]:
    """Which columns hold words, to be aligned left as the first is: those whose cells all begin with a letter."""
    rows = [row for section in table.sections for row in section.rows]
    return [bool(rows) and all(row[column][:1].isalpha() for row in rows) for column in range(len(table.header))]


def csv(frame: pd.DataFrame) -> str:
    """A tidy table with all its digits, for other programs.

    Text is in one line, and has an apostrophe before it where a spreadsheet would take it for a formula.
    """
    shown = frame.copy(deep=False)
    for column in frame.columns[[kind.kind not in "bifu" for kind in frame.dtypes]]:
        shown[column] = frame[column].map(_csv_cell)
    return shown.rename(columns=_csv_cell).to_csv(index=False, lineterminator="\n")


def _csv_cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    return f"'{one_line(value)}" if value.startswith(_FORMULA) else one_line(value)
