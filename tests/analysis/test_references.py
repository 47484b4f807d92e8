"""Arms held to a reference: numbers by hand, through the table, the lines and the figure."""

import json

import matplotlib.pyplot as plt
import pytest

from analysis.figures import gallery
from analysis.figures.style import Look
from analysis.load import records as load
from analysis.tables import references, tables


def give(block, seeds, learned, optimum, *, critic=True):
    """Write what the learner would have: points are (true score, share of cheating)."""

    def point(pair, **more):
        return more | {"true_score": pair[0], "cheating": pair[1]}

    values = {
        str(seed): {"learned": point((learned[0] + seed, learned[1]))}
        | ({"reference": point((11.0, 0.01))} if optimum else {})
        | ({"optimum": [point(pair, coef=coef) for coef, pair in optimum.items()]} if optimum else {})
        for seed in seeds
    }
    path = block / "run.json"
    record = json.loads(path.read_text())
    record |= {"exact_values": values, "seconds_per_update": 0.02}
    if not critic:
        record["parameters"]["critic"] = 0
    path.write_text(json.dumps(record))


@pytest.fixture
def records(results):
    def curve(seed, share):
        return share + seed

    task, optimum = "weekly_exam_cheat", {0.05: (10.5, 0.2), 0.1: (11.2, 0.1), 0.2: (11.1, 0.05)}
    free = results.block("s", task, "free", [0, 1], curve, reference="none")
    give(free, [0, 1], (9.0, 0.7), {}, critic=False)
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
    references.beta_curve(values, lines, "cheating", ax=ax)
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


def test_what_a_critic_costs_is_counted(records):
    """4,610 + 4,545 parameters, 16 bytes each; 10 updates in 1,000 steps or as many as the budget says."""
    costs = tables.critic_costs(records.runs).set_index("arm")
    with_critic, without = costs.loc["honest (reference.coef=0.2)"], costs.loc["free"]
    assert (with_critic["state_actor"], with_critic["state_critic"]) == (73_760, 72_720)
    assert (without["state_critic"], without["batch_critic"]) == (0, 0)
    steps = records.runs["env_steps"].iloc[0] / 10
    assert with_critic["batch_critic"] == 8 * steps
    assert with_critic["update_seconds"] == pytest.approx(0.01)  # two seeds are updated together
    assert with_critic["update_share"] == pytest.approx(0.01 * 10 / 15)
    assert tables.critic_table(records.runs) is not None


def test_a_study_whose_arms_all_have_a_critic_has_no_such_table(results):
    results.block("s", "cartpole", "a", [0], lambda _, share: share, k=1)
    assert tables.critic_table(load.read(["s"], results.root).runs) is None
