"""Of more arms than anybody can look at, the best are shown, and the others are said to be left out."""

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.figures import gallery
from analysis.figures.captions import caption
from analysis.figures.style import Look
from analysis.load import shown
from analysis.report import files

ARMS = 9


@pytest.fixture
def many(results, monkeypatch):
    """Arms of one task whose returns rise with their number; the control is the worst, the last one has no run."""
    monkeypatch.setattr(shown.shown_arms, "__defaults__", (4,))
    cells = [{"task": "cartpole", "arm": f"a{n}", "seeds": [0, 1], "baseline": "none", "n": n} for n in range(ARMS)]
    results.study("s", cells, control="a0")
    for n, cell in enumerate(cells[:-1]):
        results.block("s", "cartpole", cell["arm"], [0, 1], lambda *_, n=n: 100.0 * n, baseline="none", n=n)
    return results


def test_the_arms_with_the_highest_means_and_the_control_are_shown_in_their_order(many):
    chosen = shown.shown_arms(load.read(["s"], many.root))
    assert chosen.arms == ("a0", "a5", "a6", "a7")
    assert chosen.note == "4 of 9 arms: those with the highest mean final score"


def test_all_are_shown_where_they_are_few(many, monkeypatch):
    chosen = shown.shown_arms(load.read(["s"], many.root), ARMS)
    assert (len(chosen.arms), chosen.note) == (ARMS, "")
    monkeypatch.setattr(shown.shown_arms, "__defaults__", (ARMS,))
    assert "Shown" not in caption("heat_map", gallery.Material.of(load.read(["s"], many.root)))


def test_a_figure_says_what_it_leaves_out(many):
    material = gallery.Material.of(load.read(["s"], many.root))
    figure = gallery.draw("final_scores_stochastic", material, Look())
    assert figure.get_suptitle() == "4 of 9 arms: those with the highest mean final score"
    assert caption("final_scores_stochastic", material).endswith(
        "n = 2 seeds for each arm. Shown are 4 of 9 arms: those with the highest mean final score."
    )
    assert caption("heat_map", material).endswith(
        " Shown are at most 12 families of arms: those with the highest mean scores."
    )
    labels = [label.get_text().split()[0] for label in figure.axes[0].get_yticklabels()]
    assert labels == ["a0", "a5", "a6", "a7"]


@pytest.mark.usefixtures("svg_only")
def test_the_page_is_of_the_best_and_the_csv_files_are_of_all(many, tmp_path):
    written = {path.name: path for path in files.write_report(load.read(["s"], many.root), tmp_path / "report", [])}
    text = written["report.md"].read_text()
    best = "4 of 9 arms: those with the highest mean final score"
    assert (
        f"Tables and figures show {best}; every arm is in comparison.csv, control.csv, costs.csv and runs.csv" in text
    )
    assert f"Here are {best}; the family is that of all arms, and control.csv has them." in text
    assert "| a3 |" not in text
    assert "| a5 |" in text
    rows = written["comparison.csv"].read_text().splitlines()[1:]
    assert {row.split(",")[1] for row in rows} == {f"a{n}" for n in range(ARMS)}
    beside = pd.read_csv(written["control.csv"]).set_index("arm")
    assert sorted(beside.index) == [f"a{n}" for n in range(1, ARMS)]
    assert beside["level"].tolist() == pytest.approx([0.05 / (ARMS - 1)] * (ARMS - 1))
    table = [line.split(" & ")[0].strip() for line in written["control.tex"].read_text().splitlines() if " & " in line]
    assert [arm for arm in table if arm != "arm"] == ["a5", "a6", "a7"]
    assert 'data-arm="4"' not in written["index.html"].read_text()


def test_of_many_families_those_with_the_highest_means_are_drawn(results, monkeypatch):
    """A line for each family of arms that differ in gamma alone; their means rise with the learning rate."""
    monkeypatch.setattr(gallery, "MOST_FAMILIES", 2)
    rates, gammas = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    cells = [
        {"task": "cartpole", "arm": "x", "seeds": [0], "learning_rate": rate, "gamma": gamma}
        for rate in rates
        for gamma in gammas
    ]
    results.study("s", cells)
    for cell in cells:
        known = {name: cell[name] for name in ("learning_rate", "gamma")}
        results.block("s", "cartpole", "x", [0], lambda *_, r=cell["learning_rate"]: 1000 * r, **known)
    figure = gallery.draw("factor_curves", gallery.Material.of(load.read(["s"], results.root)), Look())
    assert "gamma, cartpole 2 of 3" in figure.get_suptitle()
    drawn = [np.asarray(line.get_ydata()) for line in figure.axes[0].lines if len(line.get_ydata()) == 3]
    assert len(drawn) >= 2
