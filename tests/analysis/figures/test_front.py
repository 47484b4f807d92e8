"""The figure of the front page: two panels of at most six lines, and what they end at in words."""

from pathlib import Path

import pytest

from analysis import load
from analysis.figures import front
from analysis.load import Records
from tests.analysis.conftest import ResultsWriter

ENDS = {  # by study, the arm, its factors and the return it ends at
    "baselines": [
        ("none-monte_carlo-clip", {"baseline": "none"}, 100),
        ("critic-monte_carlo-clip", {"baseline": "critic"}, 200),
        ("group-monte_carlo-clip", {"baseline": "group"}, 300),
        ("another", {"baseline": "group", "advantage": "gae"}, 7),
    ],
    "estimators": [
        ("critic-td0-clip", {"baseline": "critic", "advantage": "td0", "critic.target": "same"}, 110),
        ("critic-td0-clip", {"baseline": "critic", "advantage": "td0", "critic.target": "gae"}, 7),
        ("critic-gae-clip", {"baseline": "critic", "advantage": "gae", "critic.target": "same"}, 210),
        ("critic-monte_carlo-clip", {"baseline": "critic", "advantage": "monte_carlo", "critic.target": "same"}, 310),
    ],
}


def write(results: ResultsWriter, left_out: str = "") -> dict[str, Records]:
    for study, arms in ENDS.items():
        kept = [(arm, {"update": "clip", **factors}, end) for arm, factors, end in arms if arm != left_out]
        cells = [{"task": "cartpole", "arm": arm, "seeds": [0, 1], **factors} for arm, factors, _ in kept]
        results.study(study, cells)
        for arm, factors, end in kept:
            curve = lambda seed, share, end=end: end * share + 2 * seed  # noqa: E731  # on average 1 more, less 1
            results.block(study, "cartpole", arm, [0, 1], curve, **factors)
    return {study: load.read([study], results.root) for study in ENDS}


def test_each_panel_has_its_arms_and_no_other(results: ResultsWriter) -> None:
    figure = front.front(write(results))
    assert figure is not None
    ends = [[float(line.get_ydata()[-1]) for line in ax.lines] for ax in figure.axes]
    assert ends == [pytest.approx([100, 200, 300]), pytest.approx([110, 210, 310])]
    assert sum(map(len, ends)) <= 6
    assert len({line.get_color() for ax in figure.axes for line in ax.lines}) == 6  # an arm, a colour


def test_what_they_end_at_is_said_in_words(results: ResultsWriter) -> None:
    assert front.finals(write(results)) == [
        "none 100, a critic 200, a group's mean 300",
        "TD(0) 110, GAE 210, Monte Carlo 310",
    ]


def test_without_an_arm_or_a_study_there_is_no_figure(results: ResultsWriter, tmp_path: Path) -> None:
    studies = write(results)
    assert front.front({"baselines": studies["baselines"]}) is None
    assert front.front({}) is None
    assert front.finals({}) == ["", ""]
    fewer = write(ResultsWriter(tmp_path / "fewer"), left_out="critic-gae-clip")
    assert front.front(fewer) is None
