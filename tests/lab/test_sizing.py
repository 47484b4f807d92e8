"""How many states and batches a precision takes, what that costs, and what is said where it costs too much."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.errors import UserError
from bench.lab.measure import measure
from bench.lab.plan import plan
from bench.lab.settings import Settings, read
from bench.lab.sizing import Cost, chosen, reached
from bench.lab.stages import optimum, trained
from bench.tasks.registry import make


def row(level: str, quantity: str, difference: float, error: float, **others: Any) -> dict[str, Any]:
    common = {"level": level, "quantity": quantity, "difference": difference, "difference_error": error}
    return common | {"baseline": "critic", "episodes": 8} | others


# Bias: the largest error is 0.1, the largest effect 0.5; variance: 1 and 4. The worse of the two shares is 0.25.
PILOT = [
    row("advantage", "relative_bias", -0.5, 0.02),
    row("advantage", "relative_bias", 0.1, 0.1),
    row("advantage", "relative_bias", 9.0, 9.0, baseline="rloo"),  # no target under the critic
    row("advantage", "relative_variance", 4.0, 1.0),
    row("gradient", "cosine", 0.2, 0.1),
    row("gradient", "cosine", 0.1, 5.0, episodes=16),  # no batch of training
    row("gradient", "trace", 0.1, 5.0),
]


def settings(**given: Any) -> Settings:
    return read("none", {"anchors": 4, "batches": 32, "batch_multiples": [1, 8], "precision": 0.1, **given})


def test_the_error_of_a_panel_is_a_share_of_its_largest_effect() -> None:
    assert reached(PILOT, "advantage") == pytest.approx(0.25)
    assert reached(PILOT, "gradient") == pytest.approx(0.5)
    assert reached([], "gradient") == 0  # of a policy without a gradient nothing is asked
    assert reached([row("gradient", "cosine", 0.0, 0.1)], "gradient") == np.inf
    exact = [row("gradient", "cosine", 1e-17, 2e-17)]  # exact, to rounding
    assert reached(exact, "gradient") == 0


def test_errors_fall_with_the_root_of_the_sizes() -> None:
    """Shares of 0.25 and 0.5 for a tenth: 6.25 times as many states, 25 times as many batches."""
    found = chosen(settings(), PILOT, Cost(0, 0), "it")
    assert (found.anchors, found.batches) == (25, 800)
    assert chosen(settings(precision=1.0), PILOT, Cost(0, 0), "it") == settings(precision=1.0)  # the least numbers


def test_what_costs_too_much_is_a_line_with_the_remedy() -> None:
    """10 steps for each of 25 states and 1 for each of 800 batches: 1,050."""
    cost = Cost(10, 1)
    assert chosen(settings(max_steps=1050), PILOT, cost, "it").batches == 800
    with pytest.raises(UserError) as caught:
        chosen(settings(max_steps=1049), PILOT, cost, "cartpole end of seed 3")
    line = str(caught.value)
    for part in ("precision=0.1", "cartpole end of seed 3 needs about 1e+03", "max_steps=1049", "shortfall=report"):
        assert part in line, line


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (450, (22, 224)),  # half for states, half for batches (a multiple of 8)
        (200, (10, 96)),
        (10, (4, 32)),  # never fewer than at least
        (1000, (25, 744)),  # all the states, and 750 steps for batches
    ],
)
def test_a_shortfall_goes_as_far_as_the_steps_allow(most: int, sizes: tuple[int, int]) -> None:
    found = chosen(settings(max_steps=most, shortfall="report"), PILOT, Cost(10, 1), "it")
    assert (found.anchors, found.batches) == sizes


def test_a_policy_is_measured_as_precisely_as_was_asked_for() -> None:
    """On a short CartPole, with the numbers in the record: what was chosen, what it cost, what was reached."""
    given = {
        "baselines": ["critic", "rloo"], "advantages": ["td0", "monte_carlo"], "critics": ["learned"],
        "group_sizes": [2], "batch_multiples": [1], "batches": 8, "anchors": 3, "accompanied": 3, "times": 2,
        "futures": 4, "gae_lambdas": [], "n_steps": [], "truth_steps": 300_000, "shortfall": "report",
        "precision": 0.1, "max_steps": 1_000_000,
        "overrides": {"group.size": 4, "task.time_limit": 60, "budget": 2000},
    }  # fmt: skip
    found = read("none", given)
    planned = replace(plan(found, "cartpole"), sizes=())
    (stage,) = trained(planned.config, [0], "start")
    rows = measure(planned, found, stage).quantities
    notes = {each["quantity"]: each["value"] for each in rows if each["level"] == "policy"}
    assert notes["anchors"] > 3
    assert notes["batches"] > 8
    assert notes["steps"] < 1_500_000
    least = measure(planned, replace(found, precision=None), stage).quantities
    before = {each["quantity"]: each["value"] for each in least if each["level"] == "policy"}
    assert notes["gradient_precision"] < before["gradient_precision"]
    assert before["anchors"] == 3


def test_a_policy_without_a_gradient_needs_no_batches() -> None:
    """The exact optimum of the exam question, where targets do not differ: the least numbers do."""
    given = {"baselines": ["critic"], "advantages": ["td0", "monte_carlo"], "critics": ["exact"], "precision": 0.01,
             "times": 1}  # fmt: skip
    found = read("none", given)
    planned = replace(plan(found, "exam_question"), sizes=())
    best = optimum(make(planned.config.task), "exam_question", 1.0)
    rows = measure(planned, found, best).quantities
    notes = {each["quantity"]: each["value"] for each in rows if each["level"] == "policy"}
    assert (notes["anchors"], notes["batches"]) == (found.anchors, found.batches)
