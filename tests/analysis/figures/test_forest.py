"""The forest plot: what is drawn is what the rows say."""

import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.forest import FARTHEST, FIRST, MARKS, forest
from analysis.figures.style import Look, save
from bench.verdicts.row import JudgedRow
from bench.verdicts.words import Word

FINAL = "(final, s\u00a0=\u00a00.05)"  # never torn apart at the end of a line


def row(word: Word | None = Word.SUPPORTED, text: str = "", **given) -> JudgedRow:
    numbers = {"effect": 0.1, "low": 0.08, "high": 0.14, "pairs": 20} if word else {}
    named = {"file": "article", "name": "c", "statement": "A does more than B", "source": "article, step 2"}
    return JudgedRow(
        **{
            **named, "study": "s", "task": "cartpole", "arm": "a", "against": "b", "metric": "final",
            "direction": "higher", "margin": 0.05, "level": 0.05, "asked": 20, "word": word, "text": text or str(word),
            **numbers, **given,
        }
    )  # fmt: skip


def drawn(*rows: JudgedRow, look: Look | None = None) -> Figure:
    figure = forest({"T": rows}, look or Look())
    assert figure is not None
    return figure


def said(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def marks(figure: Figure) -> list[tuple[float, float, str]]:
    """Where the markers of rows stand: x, y and the marker."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    return [(*line.get_xydata()[0], line.get_marker()) for line in lines]


def intervals(figure: Figure) -> list[np.ndarray]:
    """The ends of horizontal lines: x and y of each."""
    segments = [segment for lines in figure.axes[0].collections for segment in lines.get_segments()]
    return [segment for segment in segments if segment[0, 1] == segment[1, 1]]


def test_a_row_stands_where_its_effect_is_in_margins():
    figure = drawn(row(), row(Word.REVERSED, task="weekly_exam", margin=0.1, effect=-0.3, low=-0.5, high=-0.2))
    # Lines from above: the step, the statement, and the rows.
    assert marks(figure) == [(pytest.approx(2), 2, "o"), (pytest.approx(-3), 3, "v")]
    ends = [segment[:, 0] for segment in intervals(figure)]
    np.testing.assert_allclose(ends, [[1.6, 2.8], [-5, -2]])
    low, high = figure.axes[0].get_ylim()
    assert low > high  # from above to below
    assert {"2. Critic", f"A does more than B {FINAL}", "cartpole", "weekly_exam"} <= set(said(figure))
    assert {"0.100 [0.080, 0.140]", "−0.300 [−0.500, −0.200]", "supported", "reversed", "20"} <= set(said(figure))


def test_the_boundaries_of_each_direction_are_drawn():
    figure = drawn(row(), row(direction="not_lower"), row(direction="equal"))
    upright = [segment for lines in figure.axes[0].collections for segment in lines.get_segments()]
    found = [(segment[0, 0], segment[:, 1].mean()) for segment in upright if segment[0, 0] == segment[1, 0]]
    assert sorted(found) == [(-1, 2), (-1, 3), (-1, 4), (1, 2), (1, 4)]


def test_words_differ_in_more_than_colour():
    looks = [(mark.marker, mark.filled) for mark in MARKS.values()]
    assert len(set(looks)) == len(looks)
    assert set(MARKS) == set(Word) - {Word.UNINFORMATIVE}


def test_what_was_not_judged_is_said_and_not_drawn():
    missing = row(None, "missing: not run")
    nothing = row(Word.UNINFORMATIVE, "uninformative: no arm has learned anything")
    figure = drawn(row(), missing, nothing)
    assert len(marks(figure)) == 1
    assert {"missing", "not run", "uninformative", "no arm has learned anything"} <= set(said(figure))
    assert "nothing to be judged (2)" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_first_results_are_drawn_without_a_word():
    """Of seeds that were seen before the claim was written: an effect and no verdict."""
    figure = drawn(row(), row(None, "not run yet: first results, which are not confirmatory, say supported",
                              effect=0.1, low=0.08, high=0.14, pairs=20))  # fmt: skip
    assert [marker for *_, marker in marks(figure)] == ["o", FIRST.marker]
    assert [x for x, *_ in marks(figure)] == pytest.approx([2, 2])
    assert {"not run yet", "0.100 [0.080, 0.140]"} <= set(said(figure))
    assert FIRST.marker not in {mark.marker for mark in MARKS.values()}
    assert FIRST.color not in {mark.color for mark in MARKS.values()}


@pytest.mark.parametrize(
    ("low", "effect", "high", "arrows"),
    [
        (0.1, 0.2, math.inf, [(FARTHEST, ">"), (4, "o")]),
        (-math.inf, 0.0, math.inf, [(-FARTHEST, "<"), (FARTHEST, ">"), (0, "o")]),
        (1.9, 2.0, 2.1, [(FARTHEST, ">")]),
        (-2.1, -2.0, -1.9, [(-FARTHEST, "<")]),
        (0.0, 0.0, 0.0, [(0, "o")]),
    ],
)
def test_what_lies_beyond_the_axis_is_an_arrow(low, effect, high, arrows):
    figure = drawn(row(low=low, effect=effect, high=high))
    assert [(pytest.approx(x), marker) for x, _, marker in marks(figure)] == arrows
    assert all(abs(x) <= FARTHEST for segment in intervals(figure) for x in segment[:, 0])


def test_arms_against_a_control_stand_under_their_task():
    of = {"file": "", "statement": "", "source": "", "against": "ppo"}
    figure = drawn(row(name="a", **of), row(name="b", **of), row(name="a", task="pendulum", **of))
    assert [place for _, place, _ in marks(figure)] == [1, 2, 4]
    assert {f"cartpole, against ppo {FINAL}", f"pendulum, against ppo {FINAL}", "a", "b"} <= set(said(figure))


@pytest.mark.parametrize("look", [Look(), Look("paper", 3.3), Look("slide", 12)], ids=lambda look: look.name)
def test_eighty_rows_overlap_nowhere(look):
    rows = [
        row(name=f"c{place}", statement=f"Arm {place} does more than the other one that it is compared with here",
            source=f"article, step {place // 10 + 1}", task=task)
        for place in range(40) for task in ("weekly_exam-pay-final", "cartpole")
    ]  # fmt: skip
    figure = drawn(*rows, look=look)
    renderer = FigureCanvasAgg(figure).get_renderer()
    ax = figure.axes[0]
    boxes = sorted((text.get_window_extent(renderer) for text in ax.texts), key=lambda box: box.y0)
    inside = figure.bbox
    assert all(box.x0 >= inside.x0 and box.x1 <= inside.x1 for box in boxes)
    for place, box in enumerate(boxes):
        for other in boxes[place + 1 : place + 12]:
            assert not box.shrunk(0.98, 0.8).overlaps(other.shrunk(0.98, 0.8))


def test_names_of_others_are_text_and_the_bytes_are_the_same():
    strange = row(name="$a$", statement="", task="$\\frac{1}{0}$", against="<b>&")
    assert save(drawn(strange), "svg", Look()) == save(drawn(strange), "svg", Look())


def test_nothing_is_no_figure():
    assert forest({}, Look()) is None
    assert forest({"T": []}, Look()) is None


def test_families_stand_under_their_titles():
    figure = forest({"First": [row()], "None": [], "Second": [row(file="published", source="arXiv")]}, Look())
    assert figure is not None
    assert [place for _, place, _ in marks(figure)] == [3, 6]  # title, step, statement, row; title, statement, row
    assert [text for text in said(figure) if text in ("First", "None", "Second")] == ["First", "Second"]
