"""What is measured does not hang on how much is spent on the truth."""

from dataclasses import replace

import pandas as pd
import pytest
import scipy.stats

from bench.lab.measure import measure
from bench.lab.plan import Plan, plan
from bench.lab.settings import read
from bench.lab.stages import Stage, trained


def rows_of(given: dict[str, object], planned: Plan, stage: Stage) -> pd.DataFrame:
    settings = read("none", given)
    rows = pd.DataFrame(measure(planned, settings, stage).quantities)
    keys = ["baseline", "advantage", "critic", "level", "weights", "episodes", "step", "kind", "quantity"]
    return rows[rows["level"].isin(["advantage", "gradient"])].set_index(keys)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["cartpole", "pendulum"])
def test_doubling_the_truths_budget_moves_no_quantity_beyond_its_interval(task: str) -> None:
    base: dict[str, object] = {
        "baselines": ["none", "critic", "rloo"], "advantages": ["td0", "monte_carlo"], "critics": ["learned"],
        "group_sizes": [2], "batch_multiples": [1], "batches": 24, "anchors": 6, "times": 3, "actions": 3, "futures": 6,
        "n_steps": [5], "gae_lambdas": [0.95], "truth_precision": 1e-6, "shortfall": "report",
        "overrides": {"group.size": 4, "task.time_limit": 60, "budget": 2000},
    }  # fmt: skip
    settings = read("none", base)
    planned = replace(plan(settings, task), sizes=())
    (stage,) = trained(planned.config, [0], "end")
    once = rows_of(base | {"truth_steps": 400_000}, planned, stage)
    twice = rows_of(base | {"truth_steps": 800_000}, planned, stage)
    assert len(once) > 80
    moved = (twice["value"] - once["value"]).abs()
    half = scipy.stats.t.ppf(0.975, once["freedom"].astype(float)) * once["error"].astype(float)
    beyond = moved[(moved > half) & once["value"].notna() & twice["value"].notna()]
    assert beyond.empty, beyond
    assert (moved > 0).any()
