"""The one look of all figures: styles of arms, fonts, sizes, legends, and the bytes of a file.

An arm's colour, line and marker never change from figure to figure, so an arm found in one is found in all. Hues are
Okabe and Ito's, which colour-blind readers can tell apart; line and marker differ as well, for grey print.
"""

import io
import json
import re
import textwrap
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

from analysis.figures.svg import ARMS, LEGEND, PANEL, Region, compact
from analysis.load import labels

T = TypeVar("T")
FORMATS = ("svg", "png", "pdf")
LookName = Literal["screen", "paper", "slide"]

HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C510A")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_RAISED = str.maketrans("0123456789-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻")
_ROOM = 3.0  # points
WIDEST_NAME = 44  # letters of a line
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


def arm_styles(runs: pd.DataFrame, factors: Sequence[str] = labels.COMPARED) -> dict[str, Style]:
    """A style for every arm of `runs`, in order of appearance.

    Arms that are drawn on one axis have a hue, a line and a marker each, see `analysis.load.labels.together`; arms of
    different axes that share a hue differ in its shade. Arms are counted with those they share a task with, where
    `runs` has tasks: no figure has others beside them.
    """
    order = [str(arm) for arm in runs["arm"].unique()]
    groups = [runs[runs["arm"].isin(arms)] for _, arms in labels.related(runs)] if "task" in runs else [runs]
    styles: dict[str, Style] = {}
    for group in groups:
        axes = list(labels.together(group, factors, len(HUES)).values())
        for place, arms in enumerate(axes):
            shade = place / max(len(axes) - 1, 3)
            for number, arm in enumerate(arms):
                color = to_rgb(HUES[number]) if len(axes) == 1 else _shade(HUES[number], shade)
                line, marker = LINES[number % len(LINES)], MARKERS[(number + 3 * place) % len(MARKERS)]
                styles[arm] = Style(order.index(arm), color, line, marker)
    return {arm: styles[arm] for arm in order}


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


@dataclass(frozen=True)
class Trace:
    """A line of a panel in numbers: an arm, and by x its mean with its interval.

    Attributes:
        arm: its index.
        n: seeds behind it.
        x, mean, low, high: (points,), as the axes have them.
    """

    arm: int
    n: int
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def tell(ax: Axes, trace: Trace) -> None:
    """Keep what a page says where a reader points at a line of these axes."""
    # They are kept with the axes, which a figure carries to where its page is written.
    ax.traces = [*getattr(ax, "traces", []), trace]  # type: ignore[attr-defined]  # an attribute of our own


def say(figure: Figure, note: str) -> None:
    """Write a note above a figure's panels, such as what it leaves out."""
    figure.suptitle(note, x=0.01, ha="left", fontsize="small", color="0.35")


def wrapped(rows: Sequence[Sequence[T]], columns: int) -> list[list[T]]:
    """`rows` with those longer than `columns` broken into several."""
    return [list(row[start : start + columns]) for row in rows for start in range(0, len(row), columns)]


def logarithmic(ax: Axes, which: Literal["x", "y"], base: int = 10) -> None:
    """Make an axis logarithmic, with plain numbers beside its ticks (0.02, 3.2), and powers (10⁻⁵) far from 1."""
    ax.set(**{f"{which}scale": LogScale(None, base=base)})
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_formatter(_Powers(base))
    axis.set_minor_formatter(_Powers(base))


class _Powers(LogFormatterSciNotation):
    """Matplotlib's own choice of which ticks are named, without its mathematics."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = re.sub(r"\$\\mathdefault\{(.*)\}\$", r"\1", super().__call__(x, pos)).replace(r"\times", "×")
        if text and 1e-3 <= abs(x) < 1e5:
            return f"{x:.6g}"
        return re.sub(r"\^\{(.*?)\}", lambda found: found[1].translate(_RAISED), text)


def written(arm: str) -> str:
    """An arm's name as figures write it: broken into lines where it is long."""
    return "\n".join(textwrap.wrap(arm, WIDEST_NAME, break_on_hyphens=False)) if len(arm) > WIDEST_NAME else arm


def lines(arms: Iterable[str]) -> int:
    """The most lines that one of these names has."""
    return max((written(arm).count("\n") + 1 for arm in arms), default=1)


def handles(styles: Mapping[str, Style]) -> list[Line2D]:
    """Legend entries of arms."""
    return [
        Line2D([], [], color=style.color, linestyle=style.line, marker=style.marker, markersize=4, label=written(arm))
        for arm, style in styles.items()
    ]


def legend_below(ax: Axes, styles: Mapping[str, Style], columns: int) -> Legend:
    """The arms of a panel, below it and its labels."""
    inches = ax.figure.dpi_scale_trans  # a share of the panel would move as it is laid out
    below = ScaledTranslation(0, -4.2 * mpl.rcParams["font.size"] / 72, inches)
    legend = ax.legend(
        handles=handles(styles), loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=ax.transAxes + below,
        ncols=columns, columnspacing=1.0,
    )  # fmt: skip
    legend.set_gid(ARMS)
    return legend


def legend_columns(names: Collection[str], width: float) -> int:
    """How many columns of a legend with these names fit below a figure of so many inches on a screen."""
    entry = 0.075 * min(max(map(len, names), default=1), WIDEST_NAME) + 0.75
    return max(1, min(len(names), int(width / entry)))


def legend_size(styles: Mapping[str, Style], width: float, look: Look) -> tuple[int, float]:
    """Columns and height (inches on a screen) of a legend of arms below a figure of this width on a screen."""
    columns = legend_columns(styles, width if look.width is None else look.width / look.scale)
    return columns, (0.06 + 0.14 * lines(styles)) * -(-len(styles) // columns)


def legend_of_arms(figure: Figure, styles: Mapping[str, Style], columns: int) -> Legend:
    """The arms of all panels, below them."""
    legend = figure.legend(handles=handles(styles), loc="outside lower center", ncols=columns)
    legend.set_gid(ARMS)
    return legend


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
        regions = _regions(figure) if kind == "svg" else []
        figure.set_dpi(200 if kind == "png" else 72)
        canvas = _CANVASES[kind](figure)  # its own method: `savefig` would draw the figure once more to lay it out
        getattr(canvas, f"print_{kind}")(buffer, metadata=dates[kind])
    return compact(buffer.getvalue(), regions) if kind == "svg" else buffer.getvalue()


def _regions(figure: Figure) -> list[Region]:
    """The panels and legends of a figure, named for its SVG; none where a colour bar belongs to them."""
    if any(ax.get_label() == "<colorbar>" for ax in figure.axes):
        return []
    figure.set_dpi(72)
    height = figure.get_figheight() * 72
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    found = []
    for ax in figure.axes:
        ax.set_gid(PANEL)
        legend = ax.get_legend()
        if legend is not None:
            legend.set_in_layout(False)
        found.append(Region(PANEL, _box(ax.get_tightbbox(renderer), height), _points(ax, height)))
        if legend is not None:
            found.append(_legend(legend, renderer, height))
    return [*found, *(_legend(legend, renderer, height) for legend in figure.legends)]


def _legend(legend: Legend, renderer: Any, height: float) -> Region:
    if legend.get_gid() != ARMS:
        legend.set_gid(LEGEND)
    return Region(str(legend.get_gid()), _box(legend.get_window_extent(renderer), height))


def _box(extent: Any, height: float) -> tuple[float, float, float, float]:
    """Left, top, width and height with room around them: another machine's letters may be wider."""
    left, bottom, right, top = (float(each) for each in extent.extents)
    return left - _ROOM, height - top - _ROOM, right - left + 2 * _ROOM, top - bottom + 2 * _ROOM


def _points(ax: Axes, height: float) -> str:
    """What is told of the lines of a panel, with where its axes lie and what they run over; "" for nothing."""
    traces: Sequence[Trace] = getattr(ax, "traces", [])
    if not traces:
        return ""
    left, bottom, right, top = (float(each) for each in ax.get_window_extent().extents)
    lines = [
        [
            trace.arm,
            trace.n,
            *([_short(value) for value in each] for each in (trace.x, trace.mean, trace.low, trace.high)),
        ]
        for trace in traces
    ]
    frame = [round(each, 1) for each in (left, height - top, right, height - bottom)]
    told = {"frame": frame, "x": list(map(float, ax.get_xlim())), "y": list(map(float, ax.get_ylim()))}
    return json.dumps({**told, "name": ax.get_xlabel(), "lines": lines}, separators=(",", ":"))


def _short(value: float) -> float | None:
    """Four digits, which a tooltip shows; None for what is no number."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
