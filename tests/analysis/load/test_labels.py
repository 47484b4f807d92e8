"""Which arms a figure joins by a line: those that differ in what its axis says, and in nothing else."""

import pandas as pd
import pytest

from analysis.load.labels import families, level_text


def runs(*cells: dict[str, object]) -> pd.DataFrame:
    """Two seeds of every cell."""
    return pd.DataFrame([cell for cell in cells for _ in range(2)])


def test_arms_that_differ_in_another_factor_are_families_of_their_own() -> None:
    """A linear policy is no further γ of the multi-layer one, and a baseline is no λ."""
    cells = [
        {"name": "ppo", "baseline": "critic", "gamma": gamma, "gae_lambda": lam}
        for gamma in (0.9, 1.0)
        for lam in (0.0, 0.5, 1.0)
    ]
    cells.append({"name": "ppo", "baseline": "time_mean", "gamma": 1.0, "gae_lambda": 1.0})
    found = families(runs(*cells), ["baseline", "gamma", "gae_lambda"], ["gae_lambda"], 3)
    assert set(found) == {"ppo (gamma=0.9)", "ppo (gamma=1.0)"}
    assert {len(family) for family in found.values()} == {6}
    assert all(set(family["baseline"]) == {"critic"} for family in found.values())


def test_what_follows_from_the_factor_may_differ_with_it() -> None:
    """As many groups as make 64 episodes: one line over the group's size."""
    cells = [{"name": "of-64", "group.size": size, "group.groups": 64 // size} for size in (2, 8, 32)]
    found = families(runs(*cells), ["group.size", "group.groups"], ["group.size"], 3)
    assert list(found) == ["of-64"]
    assert len(found["of-64"]) == 6


def test_a_map_needs_two_levels_of_both() -> None:
    grid = [{"name": "ppo", "gamma": g, "gae_lambda": lam, "policy": "mlp"} for g in (0.9, 1.0) for lam in (0.0, 1.0)]
    line = [{"name": "linear", "gamma": 0.9, "gae_lambda": lam, "policy": "linear"} for lam in (0.0, 1.0)]
    found = families(runs(*grid, *line), ["gamma", "gae_lambda", "policy"], ["gae_lambda", "gamma"], 2)
    assert list(found) == ["ppo"]
    assert set(found["ppo"]["policy"]) == {"mlp"}


@pytest.mark.parametrize(
    ("level", "shown"), [(2.0, "2"), (0.5, "0.5"), ("critic", "critic"), (None, "other"), (float("nan"), "other")]
)
def test_what_stands_above_a_panel(level, shown):
    assert level_text("key", level) == f"key = {shown}"
