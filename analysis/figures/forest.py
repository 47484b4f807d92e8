"""The forest plot: every judged comparison in a line, its interval beside its margins, and its verdict as a word.

Comparisons of several metrics stand in one figure, so effects are in units of their own margin s: a verdict is where an
interval lies to −1, 0 and 1. Words are told apart by colour and by marker. What was not judged is said in text.
"""

import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform, blended_transform_factory

from analysis.figures.style import HUES, Look, house_style
from bench.verdicts.row import JudgedRow
from bench.verdicts.words import Word

Families = Mapping[str, Sequence[JudgedRow]]

STEPS = {  # of the article
    1: "Reward only",
    2: "Critic",
    3: "Clip and min",
    4: "Reference model",
    5: "GRPO",
    6: "Many exams",
    7: "TD residual",
    8: "Monte Carlo",
    9: "GAE",
}
FARTHEST = 30  # margins: what lies beyond is an arrow at the end of the axis
TICKS, FEW_TICKS = (-30, -10, -5, -2, -1, 0, 1, 2, 5, 10, 30), (-10, -1, 0, 1, 10)
# Inches on a screen:
NARROW = 6.0  # width of a whole figure below which there is room for verdicts, and not for numbers
LINE = 0.19  # height of a line
ABOVE, BELOW = 0.45, 1.0  # the axis: ticks; ticks, label and key
AXIS = 3.7  # width of the axis, where the figure may be as wide as it needs
LEAST_LABEL, MOST_LABEL = 1.1, 2.8  # width of the names of tasks or arms, left of the axis
NUMBERS, PAIRS, VERDICTS = 0.08, 1.62, 1.72  # where they begin (pairs: end) right of the axis
LEAST_VERDICT, MOST_VERDICT = 0.9, 2.5  # width of the verdicts
LETTER, SMALL_LETTER = 0.068, 0.057  # width of a letter


@dataclass(frozen=True)
class Mark:
    """How a word is drawn: hue, marker, and whether the marker is filled."""

    color: str
    marker: str
    filled: bool = True


MARKS: Mapping[Word, Mark] = {
    Word.SUPPORTED: Mark(HUES[2], "o"),
    Word.REVERSED: Mark(HUES[1], "v"),
    Word.DIFFERENT: Mark(HUES[3], "X"),
    Word.SMALLER: Mark(HUES[0], "^"),
    Word.NO_DIFFERENCE: Mark(HUES[0], "s"),
    Word.AT_THE_MARGIN: Mark("#A86A00", "D"),
    Word.OPEN: Mark("#595959", "o", filled=False),
}
FIRST = Mark("#6E6E6E", "P")  # of what has an effect and no verdict: seeds that were seen before the claim was written
_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1.2}  # behind text, so that nothing runs through it


@dataclass(frozen=True)
class _Line:
    """A line of the figure: a title, a heading, a statement, or a row."""

    text: str = ""
    style: Mapping[str, Any] = field(default_factory=dict)
    row: JudgedRow | None = None


def forest(families: Families, look: Look) -> Figure | None:
    """All rows of claims files, or every arm against the control, by the article's steps or by task; None for none.

    Args:
        families: by title, rows in the order they are shown. Those of a claim lie together.
        look: where the figure is going to be seen. With little width the numbers are left out, and verdicts stay.

    Raises:
        TooManyPanels: where `look` allows none.
    """
    if not any(families.values()):
        return None
    look.check(1)
    with house_style(look):
        return _figure({title: rows for title, rows in families.items() if rows}, look)


def _figure(families: Families, look: Look) -> Figure:
    rows = [row for family in families.values() for row in family]
    given = None if look.width is None else look.width / look.scale
    numbers = given is None or given >= NARROW
    verdict = max(len(row.finding) for row in rows) * SMALL_LETTER + 0.1
    verdict = min(max(verdict, LEAST_VERDICT), MOST_VERDICT if given is None else max(given / 3, LEAST_VERDICT))
    right = (VERDICTS if numbers else NUMBERS) + verdict
    wanted = max(len(_name(row)) for row in rows) * SMALL_LETTER + 0.15
    labels = min(max(wanted, LEAST_LABEL), MOST_LABEL if given is None else given / 4)
    width = given or labels + AXIS + right
    lines = list(_lines(families, int(width / LETTER)))
    height = LINE * len(lines) + ABOVE + BELOW
    figure = Figure(figsize=(width * look.scale, height * look.scale))
    ax = figure.add_axes((labels / width, BELOW / height, 1 - (labels + right) / width, LINE * len(lines) / height))
    draw = _Drawing(ax, look.scale, labels, verdict, numbers=numbers)
    draw.axis(len(lines))
    for place, line in enumerate(lines):
        if line.row is None:
            draw.say(line, place)
        else:
            draw.row(line.row, place)
    _key(figure, rows, 4 if numbers else 2)
    return figure


def _lines(families: Families, letters: int) -> Iterator[_Line]:
    """The lines from top to bottom."""
    for title, rows in families.items():
        if len(families) > 1:
            yield _Line(title, {"weight": "bold", "fontsize": "medium"})
        heading, claim = "", ""
        for row in rows:
            if (found := _heading(row)) != heading:
                heading = found
                yield _Line(heading, {"weight": "bold", "fontsize": "small"})
            if row.statement and row.name != claim:
                claim = row.name
                said = f"{row.statement} ({row.metric.replace('_', ' ')}, s\u00a0=\u00a0{row.margin:g})"
                yield from (_Line(text, {"fontsize": "small"}) for text in textwrap.wrap(said, max(letters, 20)))
            yield _Line(row=row)


def _heading(row: JudgedRow) -> str:
    """What a row stands under: the article's step, the task of an arm against the control, or nothing."""
    if not row.statement:
        return f"{row.task}, against {row.against} ({row.metric.replace('_', ' ')}, s\u00a0=\u00a0{row.margin:g})"
    step = re.search(r"\bsteps? (\d+)", row.source)
    return f"{step[1]}. {STEPS[int(step[1])]}" if step and int(step[1]) in STEPS else ""


def _name(row: JudgedRow) -> str:
    """What stands beside the line of a row: the task of a claim, else the arm."""
    return row.task if row.statement else row.name


@dataclass(frozen=True)
class _Drawing:
    """The axis with what stands beside it; lengths are inches on a screen."""

    ax: Axes
    scale: float
    labels: float
    verdict: float
    numbers: bool

    def axis(self, lines: int) -> None:
        """Draw the scale in margins: even between −1 and 1, closer and closer together beyond."""
        ax = self.ax
        ax.set_xscale("asinh", linear_width=1.0)
        ax.set_xlim(-FARTHEST * 1.3, FARTHEST * 1.3)
        ticks = TICKS if self.numbers else FEW_TICKS
        ax.set_xticks(ticks, [str(tick).replace("-", "−") for tick in ticks])
        ax.minorticks_off()
        ax.tick_params(axis="x", labeltop=True, labelsize="x-small")
        ax.set_xlabel("effect in the direction claimed, in margins s", fontsize="small")
        ax.set_ylim(lines - 0.5, -0.5)
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        ax.axvspan(-1, 1, color="0.93", zorder=0)
        ax.axvline(0, color="0.5", linewidth=0.8, zorder=1)
        if self.numbers:
            for at, text, align in (
                (NUMBERS, "effect, interval", "left"), (PAIRS, "pairs", "right"), (VERDICTS, "verdict", "left"),
            ):  # fmt: skip
                self._text(1, at, -1.1, text, ha=align, fontsize="x-small", color="0.3")

    def say(self, line: _Line, place: int) -> None:
        """Write a heading or a statement across the figure, with nothing of the axis behind it."""
        self._text(0, -self.labels + 0.08, place, line.text, ha="left", bbox=_WHITE, zorder=5, **line.style)

    def row(self, row: JudgedRow, place: int) -> None:
        """Draw a row: what it is called, its interval beside its margins, its numbers and its verdict."""
        letters = max(int((self.labels - 0.1) / SMALL_LETTER), 8)
        named = textwrap.wrap(_name(row), letters, max_lines=2, placeholder="…")
        self._text(0, -0.06, place, "\n".join(named), ha="right", fontsize="x-small" if len(named) == 1 else "xx-small")
        mark = MARKS.get(row.word) if row.word is not None else FIRST
        if mark is not None and math.isfinite(row.effect):
            for boundary in row.boundaries:
                self.ax.vlines(boundary / row.margin, place - 0.4, place + 0.4, color="0.35", linewidth=0.9, zorder=2)
            _interval(self.ax, row, place, mark)
            self._numbers(row, place)
        else:
            mark = FIRST
            self._why(row, place)
        fits = max(int(self.verdict / SMALL_LETTER), 8)
        said = "\n".join(textwrap.wrap(row.finding, fits, max_lines=2, placeholder="…"))
        size, at = "x-small" if "\n" not in said else "xx-small", VERDICTS if self.numbers else NUMBERS
        self._text(1, at, place, said, ha="left", fontsize=size, color=mark.color)

    def _numbers(self, row: JudgedRow, place: int) -> None:
        """Write effect, interval and pairs, where there is room."""
        if self.numbers:
            shown = f"{_number(row.effect)} [{_number(row.low)}, {_number(row.high)}]"
            self._text(1, NUMBERS, place, shown, ha="left", fontsize="x-small")
            self._text(1, PAIRS, place, str(row.pairs), ha="right", fontsize="x-small")

    def _why(self, row: JudgedRow, place: int) -> None:
        """Write into the axis why a row has no interval, where there is room."""
        reason = row.text.partition(": ")[2]
        if self.numbers and reason:
            said = textwrap.shorten(reason, 60, placeholder="…")
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": "x-small", "style": "italic"}
            self.ax.text(0, place, said, color="0.3", bbox=_WHITE, zorder=5, **style)

    def _text(self, side: float, right: float, place: float, text: str, **style: Any) -> None:
        """Write beside the axis: so far right of its left (0) or right (1) end."""
        away = ScaledTranslation(right * self.scale, 0, self.ax.figure.dpi_scale_trans)
        at: Transform = blended_transform_factory(self.ax.transAxes, self.ax.transData) + away
        self.ax.text(side, place, text, transform=at, va="center", **style)


def _interval(ax: Axes, row: JudgedRow, place: int, mark: Mark) -> None:
    """The estimate with its interval; an arrow at the end of the axis for what lies beyond."""
    low, centre, high = (min(max(each / row.margin, -FARTHEST), FARTHEST) for each in (row.low, row.effect, row.high))
    ax.hlines(place, low, high, color=mark.color, linewidth=1.8, zorder=3)
    style: dict[str, Any] = {"color": mark.color, "zorder": 4, "markersize": 4.5, "linestyle": ""}
    for end, arrow in ((low, "<"), (high, ">")):
        if abs(end) == FARTHEST and (end > 0) == (arrow == ">"):
            ax.plot(end, place, marker=arrow, **style)
    if abs(centre) < FARTHEST:
        ax.plot(centre, place, marker=mark.marker, markerfacecolor=mark.color if mark.filled else "white", **style)


def _number(value: float) -> str:
    text = f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
    return "0.000" if text == "-0.000" else text.replace("-", "−").replace("inf", "∞")


def _key(figure: Figure, rows: Sequence[JudgedRow], columns: int) -> None:
    """The words that occur, how often, and what the greys are."""
    counts = {word: sum(row.word is word for row in rows) for word in MARKS}
    entries = [_entry(MARKS[word], f"{word} ({count})") for word, count in counts.items() if count]
    if first := sum(row.word is None and math.isfinite(row.effect) for row in rows):
        entries.append(_entry(FIRST, f"first results, which confirm nothing ({first})"))
    if others := len(rows) - sum(counts.values()) - first:
        entries.append(Line2D([], [], linestyle="", label=f"nothing to be judged ({others})"))
    entries.append(Line2D([], [], color="0.85", linewidth=6, label="within the margin"))
    figure.legend(handles=entries, loc="lower center", ncols=columns, fontsize="x-small")


def _entry(mark: Mark, label: str) -> Line2D:
    face = mark.color if mark.filled else "white"
    return Line2D([], [], color=mark.color, marker=mark.marker, markerfacecolor=face, label=label)
