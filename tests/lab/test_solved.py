"""In a solved world the exact quantities stand where sampled ones would, and are what sampling finds."""

from dataclasses import replace

import pandas as pd
import pytest

from bench.errors import UserError
from bench.lab.measure import measure
from bench.lab.plan import plan
from bench.lab.settings import read
from bench.lab.stages import Stage, optimum
from bench.tasks.registry import make
from tests.lab.conftest import bonferroni, policy_of

KEYS = ["baseline", "advantage", "critic", "gae_lambda", "n_step", "group_size", "credit", "level", "weights",
        "episodes", "kind", "quantity"]  # fmt: skip
GIVEN = {
    "baselines": ["none", "batch_mean", "critic", "group", "grpo", "rloo", "time_mean"],
    "advantages": ["td0", "monte_carlo"],
    "critics": ["exact", "error"],
    "gae_lambdas": [],
    "group_sizes": [2],
    "batch_multiples": [1, 2],
    "batches": 96,
    "anchors": 6,
    "accompanied": 6,
    "times": 16,  # all of them, as exact averages have
    "overrides": {"group.size": 4, "hidden": [8, 8], "gamma": 0.9},
}


def rows_of(task: str, **changes: object) -> pd.DataFrame:
    settings = read("none", GIVEN | changes)
    planned = plan(settings, task)
    return pd.DataFrame(measure(planned, settings, Stage("start", policy_of(planned.config), None, 1.0, 0)).quantities)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Exact numbers of the weekly exam (x) beside sampled ones (y)."""
    exact, sampled = rows_of("weekly_exam"), rows_of("weekly_exam", exact=False)
    steps = sampled[sampled["level"] == "step"].groupby(KEYS, dropna=False)  # sampled step by step
    averaged = steps.agg(value=("value", "mean"), error=("error", lambda e: (e**2).sum() ** 0.5 / len(e)))
    sampled = pd.concat([sampled[sampled["level"] != "step"], averaged.reset_index()])
    return exact.merge(sampled, on=KEYS)


def test_exact_numbers_are_what_sampling_finds(rows: pd.DataFrame) -> None:
    """Estimators share their episodes, so that there is no χ² law; every |z| lies below the Bonferroni bound.

    Ratios and angles are left to what they are made of: at this size their estimates are biased.
    """
    kept = ["action_bias", "state_bias", "variance", "signal", "trace_absolute", "squared_bias", "variance_share",
            "future", "action", "companions", "sum"]  # fmt: skip
    found = rows[rows["quantity"].isin(kept) & (rows["error_x"] == 0) & (rows["error_y"] > 1e-12)]
    assert set(found["level"]) == {"advantage", "gradient", "size", "kind", "step"}
    assert len(found) > 180
    z = (found["value_x"] - found["value_y"]) / found["error_y"]
    assert z.abs().max() < bonferroni(len(z), 0.001), found.loc[z.abs().idxmax(), [*KEYS, "value_x", "value_y"]]
    assert (z**2).mean() < 3


def test_every_exact_number_has_no_error_and_the_others_have_one(rows: pd.DataFrame) -> None:
    """GRPO divides by what it finds in the group, and the cosine of two batches has no moments: these are sampled."""
    of_gradients = rows[rows["level"].isin(["gradient", "size"]) & (rows["baseline"] != "")]
    exact = of_gradients["error_x"] == 0
    sampled = (of_gradients["baseline"] == "grpo") | (of_gradients["quantity"] == "cosine")
    assert (exact | sampled).all()
    assert not (exact & (of_gradients["quantity"] == "cosine")).any()
    advantages = rows[rows["level"] == "advantage"]
    assert ((advantages["error_x"] > 0) == (advantages["baseline"] == "grpo")).all()


def test_algebra_holds_to_rounding(rows: pd.DataFrame) -> None:
    """Monte Carlo's action-dependent bias is 0 under state baselines; the parts sum to the total of each step."""
    full = rows[(rows["advantage"] == "monte_carlo") & rows["baseline"].isin(["none", "critic"])]
    assert full.loc[full["quantity"] == "action_bias", "value_x"].abs().max() < 1e-20
    assert full.loc[full["quantity"] == "squared_bias", "value_x"].loc[full["level"] == "gradient"].max() < 1.0
    undiscounted = full[(full["weights"] == "undiscounted") & (full["quantity"] == "squared_bias")]
    assert undiscounted["value_x"].max() < 1e-10
    steps = rows[(rows["level"] == "step") & (rows["error_x"] == 0)]
    wide = steps.pivot_table(index=["baseline", "advantage", "critic"], columns="quantity", values="value_x")
    assert ((wide[["future", "action", "state", "companions"]].sum(axis=1) - wide["sum"]).abs() < 1e-12).all()


def test_a_policy_without_a_network_has_exact_advantages_alone() -> None:
    settings = read(
        "none", {"baselines": ["none", "critic"], "advantages": ["td0", "monte_carlo"], "critics": ["exact"]}
    )
    planned = replace(plan(settings, "weekly_exam"), sizes=())
    rows = pd.DataFrame(measure(planned, settings, optimum(make(planned.config.task), "weekly_exam", 1.0)).quantities)
    assert set(rows["level"]) == {"policy", "advantage"}
    assert (rows.loc[rows["level"] == "advantage", "error"].fillna(0) == 0).all()


def test_a_world_too_large_is_a_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.lab.exact.process.MOST_NUMBERS", 1000)
    with pytest.raises(UserError, match=r"WeeklyExam is too large to enumerate.*exact=false"):
        rows_of("weekly_exam")


def test_a_walk_has_exact_gradients_and_sampled_advantages_of_whole_returns() -> None:
    """What an episode had earned before a step is not known where only chance ends it; every baseline is measured."""
    small = {"batches": 8, "anchors": 3, "accompanied": 3, "times": 2, "futures": 2, "companions": 1, "group_sizes": []}
    rows = rows_of("random_walk", **small, baselines=["critic", "group", "rloo", "grpo", "batch_mean"])
    outcomes = rows[(rows["credit"] == "outcome") & (rows["level"] == "advantage") & (rows["quantity"] == "variance")]
    assert set(outcomes["baseline"]) == {"group", "rloo", "grpo"}
    assert (outcomes["error"] > 0).all()
    traces = rows[(rows["level"] == "gradient") & (rows["quantity"] == "trace_absolute") & (rows["baseline"] != "")]
    assert set(traces.loc[traces["error"] == 0, "baseline"]) == {"critic"}
    assert {"group", "rloo", "grpo", "batch_mean"} <= set(traces["baseline"])
