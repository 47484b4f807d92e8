"""Arms held to a reference: numbers by hand, through the table, the lines and the figure."""

import matplotlib.pyplot as plt
import pytest

from analysis import load
from analysis.figures import beta_curve, gallery
from analysis.figures.style import Look
from analysis.tables import references
from tests.analysis.conftest import edit


def give(block, seeds, learned, optimum):
    """Write what the learner would have: points are (true score, share of cheating)."""

    def point(pair, **more):
        return more | {"true_score": pair[0], "cheating": pair[1]}

    values = {
        str(seed): {"learned": point((learned[0] + seed, learned[1]))}
        | ({"reference": point((11.0, 0.01))} if optimum else {})
        | ({"optimum": [point(pair, coef=coef) for coef, pair in optimum.items()]} if optimum else {})
        for seed in seeds
    }
    edit(block, exact_values=values)


@pytest.fixture
def records(results):
    def curve(seed, share):
        return share + seed

    task, optimum = "weekly_exam_cheat", {0.05: (10.5, 0.2), 0.1: (11.2, 0.1), 0.2: (11.1, 0.05)}
    free = results.block("s", task, "free", [0, 1], curve, reference="none")
    give(free, [0, 1], (9.0, 0.7), {})
    for coef, learned in ((0.05, (10.0, 0.3)), (0.2, (11.0, 0.04))):
        factors = {"reference": "checkpoint", "reference.coef": coef, "reference.target": None}
        give(results.block("s", task, "honest", [0, 1], curve, **factors), [0, 1], learned, optimum)
    return load.read(["s"], results.root)


def test_an_arm_stands_beside_the_optimum_at_its_own_weight(records):
    (section,) = references.table(references.exact_values(records)).sections
    by_arm = {row[0]: row[1:] for row in section.rows}
    assert by_arm["free"] == ("–", "2", "9.50 [9.00, 10.00]", "–", "–", "0.700 [0.700, 0.700]", "–", "–")
    first = by_arm["honest (reference.coef=0.05)"]
    assert first[:4] == ("0.05", "2", "10.50 [10.00, 11.00]", "10.50 [10.50, 10.50]")
    assert first[5:7] == ("0.300 [0.300, 0.300]", "0.200 [0.200, 0.200]")
    assert by_arm["honest (reference.coef=0.2)"][6] == "0.050 [0.050, 0.050]"


def test_the_curve_draws_every_weight_of_the_optimum_and_the_measured_points(records):
    values = references.exact_values(records)
    lines = references.series(records, values)
    assert {label: len(arms) for label, arms in lines.items()} == {"honest": 2}
    _, ax = plt.subplots()
    beta_curve(values, lines, "cheating", ax=ax)
    drawn = {line.get_label(): line for line in ax.lines}
    assert list(drawn["exact optimum as for honest"].get_xdata()) == [0.05, 0.1, 0.2]
    assert list(drawn["exact optimum as for honest"].get_ydata()) == [0.2, 0.1, 0.05]
    assert drawn["no reference"].get_ydata()[0] == pytest.approx(0.7)
    (bars,) = ax.containers
    assert list(bars.lines[0].get_ydata()) == pytest.approx([0.3, 0.04])
    plt.close("all")


def test_the_figure_has_a_panel_per_quantity_and_other_studies_have_none(records, results):
    assert len(gallery.draw("beta_curves", gallery.Material.of(records), Look()).axes) == 2
    results.block("other", "cartpole", "a", [0], lambda _, share: share, k=1)
    other = gallery.Material.of(load.read(["other"], results.root))
    assert gallery.draw("beta_curves", other, Look()) is None
