"""What a run costs, and what a critic costs, counted by hand."""

import pandas as pd
import pytest

from analysis import load
from analysis.tables.costs import cost_table, costs_of_runs, critic_costs, critic_table
from tests.analysis.conftest import ResultsWriter, edit


@pytest.fixture
def runs(results: ResultsWriter) -> pd.DataFrame:
    """Two seeds with a critic and two without; an update of both takes 0.02 s."""
    for arm, critic in (("with", 4545), ("without", 0)):
        block = results.block("s", "cartpole", arm, [0, 1], lambda seed, share: share + seed, critic=critic)
        edit(block, seconds_per_update=0.02, parameters={"actor": 4610, "critic": critic})
    return load.read(["s"], results.root).runs


def test_costs_are_per_run_and_per_block_where_they_must_be(runs: pd.DataFrame) -> None:
    row = costs_of_runs(runs).set_index("arm").loc["with"]
    assert row["wall_seconds"] == 30.0 / 2
    assert row["steps_per_second"] == 30_000
    assert row["parameters"] == 4610 + 4545
    text = cost_table(costs_of_runs(runs)).sections[0].rows[0]
    assert text == ("with", "1,000", "10", "15.00", "14.00", "30,000", "9,155", "400")


def test_what_a_critic_costs_is_counted(runs: pd.DataFrame) -> None:
    """4,610 + 4,545 parameters, 16 bytes each; 10 updates in 1,000 steps."""
    costs = critic_costs(runs).set_index("arm")
    with_critic, without = costs.loc["with"], costs.loc["without"]
    assert (with_critic["state_actor"], with_critic["state_critic"]) == (73_760, 72_720)
    assert (without["state_critic"], without["batch_critic"]) == (0, 0)
    assert with_critic["batch_critic"] == 8 * 100
    assert with_critic["update_seconds"] == pytest.approx(0.01)  # two seeds are updated together
    assert with_critic["update_share"] == pytest.approx(0.01 * 10 / 15)
    assert critic_table(runs) is not None


def test_a_study_whose_arms_all_have_a_critic_has_no_such_table(runs: pd.DataFrame) -> None:
    assert critic_table(runs[runs["arm"] == "with"]) is None
