"""Where variance comes from: what a baseline can change, and that nothing is lost or counted twice."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.lab.measure import measure
from bench.lab.plan import plan
from bench.lab.settings import read
from bench.lab.stages import Stage
from tests.lab.conftest import bonferroni, policy_of

PARTS = ("future", "action", "state", "companions")


@pytest.fixture(scope="module")
def steps() -> pd.DataFrame:
    """Quantities of single steps of the weekly exam, one row per variant and step."""
    given = {
        "baselines": ["none", "batch_mean", "critic", "group", "rloo", "time_mean", "vine"],
        "advantages": ["td0", "monte_carlo"],
        "critics": ["exact", "error"],
        "group_sizes": [2],
        "batch_multiples": [1],
        "batches": 64,
        "anchors": 24,
        "accompanied": 24,
        "exact": False,
        "times": 3,
        "overrides": {"group.size": 4, "vine.every": 4, "hidden": [8, 8]},
    }
    settings = read("none", given)
    planned = plan(settings, "weekly_exam")
    policy = policy_of(planned.config)
    measured = measure(replace(planned, sizes=()), settings, Stage("start", policy, None, 1.0, 0))
    rows = pd.DataFrame(measured.quantities)
    rows = rows[(rows["level"] == "step") & (rows["credit"] != "outcome")]
    keys = ["baseline", "advantage", "critic", "step"]
    return rows.pivot(index=keys, columns="quantity", values=["value", "error"])


def test_a_fixed_baseline_changes_the_action_part_only(steps: pd.DataFrame) -> None:
    """None, exact V and V with an error, under Monte Carlo: the same futures, so the same numbers but for Σ_a."""
    values = steps["value"].xs("monte_carlo", level="advantage")
    none, exact, wrong = (values.xs(key) for key in (("none", "none"), ("critic", "exact"), ("critic", "error")))
    for other in (exact, wrong):
        np.testing.assert_allclose(other["future"], none["future"], rtol=1e-5)
        scale = none["future"] + none["state"].abs()
        np.testing.assert_allclose((other["state"] - none["state"]) / scale, 0, atol=2e-3)
        assert (other["action"] < 0.5 * none["action"]).all()
    for fixed in (none, exact, wrong):
        assert (fixed["companions"] == 0).all()


def test_sampled_baselines_pay_with_a_fourth_part(steps: pd.DataFrame) -> None:
    values, errors = steps["value"], steps["error"]
    for baseline in ("batch_mean", "group", "rloo", "time_mean", "vine"):
        found = values.xs((baseline, "monte_carlo", "none"))["companions"]
        assert (found > 4 * errors.xs((baseline, "monte_carlo", "none"))["companions"]).all(), baseline


def test_leaving_oneself_out_leaves_the_future_part_alone(steps: pd.DataFrame) -> None:
    """Under rloo, Σ_τ is that of no baseline; in the group's mean one's own future is one part in four."""
    values = steps["value"].xs("monte_carlo", level="advantage").xs("none", level="critic")["future"]
    np.testing.assert_allclose(values.xs("group"), values.xs("rloo") * (3 / 4) ** 2, rtol=1e-9)
    none, rloo = values.xs("none"), values.xs("rloo")
    np.testing.assert_allclose(rloo, none, rtol=0.25)


def test_the_parts_sum_to_the_total(steps: pd.DataFrame) -> None:
    """The total is measured on batches as training collects them, without any reset."""
    values, errors = steps["value"], steps["error"]
    np.testing.assert_allclose(values[list(PARTS)].sum(axis=1), values["sum"], rtol=1e-6, atol=1e-9)
    z = (values["sum"] - values["total"]) / np.hypot(errors["sum"], errors["total"])
    assert z.abs().max() < bonferroni(len(z), 0.01)
    assert np.square(z).mean() < 2  # variants share their random numbers: no χ² law, but a plain bound
