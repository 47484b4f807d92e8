"""The one look of all figures: styles of arms, fonts, sizes, legends, and the bytes of a file.

An arm's colour, line and marker never change from figure to figure, so an arm found in one is found in all. Hues are
Okabe and Ito's, which colour-blind readers can tell apart; line and marker differ as well, for grey print.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.scale import LogScale
from matplotlib.ticker import LogFormatterSciNotation
from matplotlib.transforms import ScaledTranslation

from analysis.figures.svg import compact
from analysis.load import labels

T = TypeVar("T")
FORMATS = ("svg", "png", "pdf")
LookName = Literal["screen", "paper", "slide"]

HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_FAMILY_HUES: Mapping[str, str] = {
    "none": "#4D4D4D",
    "critic": "#0072B2",
    "group": "#D55E00",
    "grpo": "#CC79A7",
    "rloo": "#009E73",
    "batch_mean": "#E69F00",
    "time_mean": "#56B4E9",
    "vine": "#8C510A",
}
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_RAISED = str.maketrans("0123456789-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")


@dataclass(frozen=True)
class Style:
    """How one arm is drawn, everywhere; `index` is the arm's place in the study and its class in an SVG (`arm-3`)."""

    index: int
    color: tuple[float, float, float]
    line: Any
    marker: str

    @property
    def gid(self) -> str:
        """Name of the arm's artists."""
        return f"arm-{self.index}"


def arm_styles(runs: pd.DataFrame) -> dict[str, Style]:
    """A style for every arm of `runs`, in order of appearance.

    Up to seven arms have a hue each. More share the hue of their baseline, in shades from dark to light; where all have
    the same one, they take turns. Arms are counted with those they share a task with, where `runs` has tasks: no figure
    has others beside them.
    """
    levels = labels.levels(runs, "baseline")
    groups = [arms for _, arms in labels.related(runs)] if "task" in runs else [set(levels)]
    styles: dict[str, Style] = {}
    for arms in groups:
        styles |= _styles_of({arm: str(level or "") for arm, level in levels.items() if arm in arms})
    return {arm: replace(styles[arm], index=place) for place, arm in enumerate(levels)}


def _styles_of(baselines: Mapping[str, str]) -> dict[str, Style]:
    """Styles of arms that are seen together, by their baselines."""
    names = list(baselines)
    if len(names) <= len(HUES):
        return {name: Style(i, to_rgb(HUES[i]), LINES[i % len(LINES)], MARKERS[i]) for i, name in enumerate(names)}
    families = dict.fromkeys(baselines.values())
    if len(families) == 1:
        baselines = {name: str(place % len(HUES)) for place, name in enumerate(names)}
        families = dict.fromkeys(baselines.values())
    hues = _hues(families)
    styles: dict[str, Style] = {}
    for family in families:
        members = [name for name in names if baselines[name] == family]
        for place, name in enumerate(members):
            shade = _shade(hues[family], place / max(len(members) - 1, 3))
            marker = MARKERS[(place + 3 * list(hues).index(family)) % len(MARKERS)]
            styles[name] = Style(names.index(name), shade, LINES[place % len(LINES)], marker)
    return styles


def _hues(families: Mapping[str, None]) -> dict[str, str]:
    """Known baselines keep their hue in every study; others take the free ones in order."""
    free = [hue for hue in HUES if hue not in {_FAMILY_HUES.get(family) for family in families}]
    unknown = [family for family in families if family not in _FAMILY_HUES]
    assigned = {family: free[place % len(free)] for place, family in enumerate(unknown)}
    return {family: _FAMILY_HUES.get(family) or assigned[family] for family in families}


def _shade(hue: str, lightness: float) -> tuple[float, float, float]:
    """`hue` darkened at 0, mixed with white at 1, still dark enough to be read on white."""
    start, end = 0.75, 0.5
    base = np.array(to_rgb(hue))
    dark = base * start
    light = base + (1 - base) * end
    red, green, blue = dark + (light - dark) * lightness
    return float(red), float(green), float(blue)


class TooManyPanels(Exception):
    """A figure with more panels than a look allows."""

    def __init__(self, panels: int, most: int) -> None:
        super().__init__(f"{panels} panels, at most {most}")
        self.panels = panels


@dataclass(frozen=True)
class Look:
    """Where a figure is going to be seen, and how wide it is there.

    Attributes:
        name: `screen`, `paper` (small type) or `slide` (large type).
        width: inches; None for the size the content asks for.
        panels: at most; None for any number.
    """

    name: LookName = "screen"
    width: float | None = None
    panels: int | None = None

    @property
    def scale(self) -> float:
        """Size of type and of panels, relative to the screen's."""
        return LOOKS[self.name]

    def check(self, panels: int) -> None:
        """Raise `TooManyPanels` if there are more than the look allows."""
        if self.panels is not None and panels > self.panels:
            raise TooManyPanels(panels, self.panels)

    def columns(self, wanted: int) -> int:
        """How many panels fit beside each other, at most `wanted`."""
        return wanted if self.width is None else max(1, min(wanted, int(self.width / (2.4 * self.scale))))


_CANVASES: Mapping[str, Any] = {"svg": FigureCanvasSVG, "png": FigureCanvasAgg, "pdf": FigureCanvasPdf}
LOOKS: Mapping[LookName, float] = {"screen": 1.0, "paper": 0.8, "slide": 1.6}


@contextmanager
def house_style(look: Look) -> Iterator[None]:
    """The style of all figures, whatever the machine's own matplotlib settings are."""
    settings: Any = {
        **mpl.rcParamsDefault,
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("paper", font_scale=look.scale),
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same bytes on every machine
        "axes.edgecolor": "0.6",
        "axes.titlesize": "medium",
        "grid.color": "0.9",
        "legend.fontsize": "small",
        "legend.frameon": False,
        "legend.handlelength": 3.2,
        "svg.hashsalt": "policy-gradient-bench",
        "text.parse_math": False,  # names of others may hold dollar signs
        "svg.fonttype": "none",  # text stays text: it can be searched and read aloud, and takes a third of the space
        "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    }
    settings.pop("backend")
    with mpl.rc_context(settings):
        yield


def grid(rows: int, columns: int, panel: tuple[float, float], look: Look, extra: float = 0.0) -> tuple[Figure, Any]:
    """A figure and its axes, without pyplot's global state.

    Args:
        rows: of panels.
        columns: of panels.
        panel: width and height of one on a screen, in inches.
        look: scales the panels; a given width wins.
        extra: height beside the panels, for a legend, in inches on a screen.

    Raises:
        TooManyPanels: where `look` allows fewer.
    """
    look.check(rows * columns)
    width = look.width or panel[0] * columns * look.scale
    height = (panel[1] * rows + 0.3 + extra) * look.scale
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def ragged(
    rows: Sequence[Sequence[T]], panel: tuple[float, float], look: Look, extra: float = 0.0
) -> tuple[Figure, list[list[tuple[Axes, T]]]]:
    """A `grid` for rows of different lengths: the figure, and what is in each row with its axes."""
    figure, axes = grid(len(rows), max(map(len, rows)), panel, look, extra)
    for across, row in zip(axes, rows, strict=True):
        for empty in across[len(row) :]:
            figure.delaxes(empty)
    return figure, [list(zip(across, row, strict=False)) for across, row in zip(axes, rows, strict=True)]


def say(figure: Figure, note: str) -> None:
    """Write a note above a figure's panels, such as what it leaves out."""
    figure.suptitle(note, x=0.01, ha="left", fontsize="small", color="0.35")


def wrapped(rows: Sequence[Sequence[T]], columns: int) -> list[list[T]]:
    """`rows` with those longer than `columns` broken into several."""
    return [list(row[start : start + columns]) for row in rows for start in range(0, len(row), columns)]


def logarithmic(ax: Axes, which: Literal["x", "y"], base: int = 10) -> None:
    """Make an axis logarithmic, with what is written beside its ticks as plain text: 10⁻², 2×10⁻²."""
    ax.set(**{f"{which}scale": LogScale(None, base=base)})
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_formatter(_Powers(base))
    axis.set_minor_formatter(_Powers(base))


class _Powers(LogFormatterSciNotation):
    """Matplotlib's own choice of what is written beside a logarithmic axis, without its mathematics."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = re.sub(r"\$\\mathdefault\{(.*)\}\$", r"\1", super().__call__(x, pos)).replace(r"\times", "×")
        return re.sub(r"\^\{(.*?)\}", lambda found: found[1].translate(_RAISED), text)


def handles(styles: Mapping[str, Style]) -> list[Line2D]:
    """Legend entries of arms."""
    return [
        Line2D([], [], color=style.color, linestyle=style.line, marker=style.marker, markersize=4, label=arm)
        for arm, style in styles.items()
    ]


def legend_right(ax: Axes, styles: Mapping[str, Style]) -> Legend:
    """The arms of a row of panels, to the right of its last panel, where no line can run into them."""
    return ax.legend(handles=handles(styles), loc="center left", bbox_to_anchor=(1.02, 0.5))


def legend_below(ax: Axes, styles: Mapping[str, Style], columns: int) -> Legend:
    """The arms of a panel, below it and its labels: for figures too narrow for anything beside the panels."""
    inches = ax.figure.dpi_scale_trans  # a share of the panel would move as it is laid out
    below = ScaledTranslation(0, -4.2 * mpl.rcParams["font.size"] / 72, inches)
    return ax.legend(
        handles=handles(styles), loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=ax.transAxes + below,
        ncols=columns, columnspacing=1.0,
    )  # fmt: skip


def save(figure: Figure, kind: str, look: Look) -> bytes:
    """`figure` as the bytes of an svg, png or pdf file; the same figure gives the same bytes."""
    dates: Mapping[str, dict[str, Any]] = {
        "svg": {"Date": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None},
    }
    buffer = io.BytesIO()
    with house_style(look), warnings.catch_warnings():
        # Names of others may hold signs that the font has not, or leave no room for a panel.
        warnings.filterwarnings("ignore", "(Glyph|constrained_layout not applied)", UserWarning)
        engine = figure.get_layout_engine()
        if engine is not None:  # laid out once, not again for every format
            engine.execute(figure)
            figure.set_layout_engine("none")
        figure.set_dpi(200 if kind == "png" else 72)
        canvas = _CANVASES[kind](figure)  # its own method: `savefig` would draw the figure once more to lay it out
        getattr(canvas, f"print_{kind}")(buffer, metadata=dates[kind])
    return compact(buffer.getvalue()) if kind == "svg" else buffer.getvalue()
