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


_GAP = 5.0  # points between columns
_FEW = 5  # columns, of which the numbers too may be broken to fit a column of a paper
_LETTERS = {"footnotesize": 4.5, "scriptsize": 4.2, "tiny": 3.7}  # width of a letter in points, names in small letters
_COLUMN, _PAGE = 200.0, 410.0  # points: a column, and the text, of a two-column article on the smallest usual paper
_FORMS = (
    ("table", _COLUMN, ("footnotesize", "scriptsize")),
    ("table*", _PAGE, ("footnotesize", "scriptsize", "tiny")),
)


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

    def of(self, *names: str) -> "Table":
        """With these columns alone, those that it has."""
        places = [self.header.index(name) for name in names if name in self.header]
        sections = tuple(
            Section(section.heading, tuple(tuple(row[place] for place in places) for row in section.rows))
            for section in self.sections
        )
        return Table(self.caption, tuple(self.header[place] for place in places), sections)


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


def latex(table: Table, label: str) -> str:
    """`table` environments with booktabs rules, one for each section; needs `\\usepackage{booktabs}`.

    They fit a column of a two-column paper: words are broken into lines and type is as small as needed. What does not
    fit so is a `table*`, as wide as the page.

    Args:
        table: what they hold.
        label: of the first float, `tab:<label>`; those that follow have a number behind it.
    """
    return "\n".join(
        _latex_float(table, section, f"{label}-{place + 1}" if place else label)
        for place, section in enumerate(table.sections)
    )


def _latex_float(table: Table, section: Section, label: str) -> str:
    form = _form([table.header, *section.rows], columns_of_words(table))
    caption = f"{section.heading}. {table.caption}" if section.heading else table.caption
    lines = [
        rf"\begin{{{form.float}}}",
        r"  \centering",
        rf"  \{form.size}",
        rf"  \setlength{{\tabcolsep}}{{{_GAP / 2}pt}}",
        rf"  \caption{{{latex_text(caption)}}}",
        rf"  \label{{tab:{re.sub(r'[^A-Za-z0-9:-]', '-', label)}}}",
        rf"  \begin{{tabular}}{{@{{}}{''.join(form.columns)}@{{}}}}",
        r"    \toprule",
        rf"    {_latex_row(table.header, form)}",
        r"    \midrule",
        *(f"    {_latex_row(row, form)}" for row in section.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        rf"\end{{{form.float}}}",
        "",
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Form:
    """How a table is set: the environment, the size of its type, and its columns as `tabular` takes them."""

    float: str
    size: str
    columns: tuple[str, ...]


def _form(rows: Sequence[Sequence[str]], words: Sequence[bool]) -> _Form:
    """The form with the largest type in which a table fits: a column of a paper first, then the whole page.

    Words are broken into lines before numbers are, such as an interval below its estimate.
    """
    kinds = tuple("l" if word or not column else "r" for column, word in enumerate(words))
    letters = [max(len(row[column]) for row in rows) for column in range(len(kinds))]
    least = [max(_longest_word(row[column]) for row in rows) for column in range(len(kinds))]
    of_words = [column for column, kind in enumerate(kinds) if kind == "l"]
    for environment, room, sizes in _FORMS:
        for breakable in (of_words, range(len(kinds)) if len(kinds) <= _FEW or room == _PAGE else of_words):
            for size in sizes:
                whole, parts = ([_LETTERS[size] * number for number in each] for each in (letters, least))
                widths = _widths(whole, parts, breakable, room - _GAP * (len(kinds) - 1))
                if widths is not None:
                    columns = (f"p{{{widths[at]:.0f}pt}}" if at in widths else kind for at, kind in enumerate(kinds))
                    return _Form(environment, size, tuple(columns))
    return _Form("table*", "tiny", kinds)


def _widths(
    whole: Sequence[float], parts: Sequence[float], breakable: Sequence[int], room: float
) -> dict[int, float] | None:
    """The widths of the columns that are broken into lines, by place; None where not even that fits."""
    if sum(whole) <= room:
        return {}
    broken = [column for column in breakable if parts[column] < whole[column]]
    spare = room - sum(parts[at] if at in broken else width for at, width in enumerate(whole))
    if not broken or spare < 0:
        return None
    wanted = sum(whole[column] - parts[column] for column in broken)
    return {column: parts[column] + spare * (whole[column] - parts[column]) / wanted for column in broken}


def _longest_word(text: str) -> int:
    """Letters of the longest part of a text that TeX does not break."""
    return max(map(len, re.split(r"(?<=[-–/_]) *| +", text)), default=0)


def _latex_row(row: Sequence[str], form: _Form) -> str:
    # a row that starts with a bracket would be read as the argument of the \\ before it
    cells = [
        r"\raggedright{}" + _latex_cell(cell).replace(r"\_", r"\_\allowbreak{}")
        if column.startswith("p")
        else ("{}" if cell.startswith("[") else "") + _latex_cell(cell)
        for cell, column in zip(row, form.columns, strict=True)
    ]
    return " & ".join(cells) + r" \tabularnewline"


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
