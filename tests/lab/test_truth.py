"""Ground truth by restored states: right where it can be checked, and precise enough that more would change nothing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.lab import truth as truths
from bench.lab.advantages import Estimates, errors
from bench.lab.anchors import anchors_at
from bench.lab.measure import Laboratory
from bench.lab.settings import Plan, plan, read
from bench.lab.simulate import simulate, starts
from bench.lab.stages import Stage, trained
from bench.lab.truth import RolledOut, RolledOutGradient, World, exact_truth, solution
from tests.lab.conftest import arm, policy_of


def test_restored_states_find_the_exact_values() -> None:
    """On the weekly exam, where both are known: z of Q has a standard deviation of 1."""
    config = arm("weekly_exam", "critic", "gae", "gamma=0.9")
    policy, rng = policy_of(config), np.random.default_rng(9)
    pool = simulate(policy, starts(policy.task, rng, 100, 1), np.zeros(100, dtype=int), rng)
    anchors = [anchors_at(policy, pool, step, 8, 0, rng) for step in (0, 6, 13)]
    rolled = RolledOut(World(policy, 0.9, "time_limited"), anchors, lambda *keys: np.random.default_rng(keys))
    rolled.add(100)
    rolled.add(100)
    solved = solution(policy.task, policy, 0.9)  # type: ignore[arg-type]
    z = []
    for part, truth in zip(anchors, rolled.truth(), strict=True):
        exact = exact_truth(policy.task, solved, part)  # type: ignore[arg-type]
        z.append((truth.q_values - exact.q_values) / np.sqrt(truth.q_error))
        nothing = errors(_says(truth.advantage), truth, part.weights, part.drawn)
        np.testing.assert_allclose(nothing.action_bias, -(part.weights * (1 - part.weights) * truth.q_error).sum(1))
    assert np.abs(z).max() < 4.5
    assert 0.75 < np.std(z) < 1.25


def _says(advantage: np.ndarray) -> Estimates:
    zero = np.zeros_like(advantage)
    return Estimates(advantage, zero, zero, zero)


def test_continuing_and_time_limited_truth_differ() -> None:
    """CartPole pays 1 per step: near the limit, what is left ends with it, or goes on."""
    config = arm("cartpole", "critic", "gae", "task.time_limit=20", "gamma=0.9")
    policy, rng = policy_of(config, spread=0.0), np.random.default_rng(10)
    pool = simulate(policy, starts(policy.task, rng, 200, 1), np.zeros(200, dtype=int), rng)
    anchors = [anchors_at(policy, pool, 17, 6, 0, rng)]
    found = {}
    for kind in ("time_limited", "continuing"):
        rolled = RolledOut(World(policy, 0.9, kind), anchors, lambda *keys: np.random.default_rng(keys))  # type: ignore[arg-type]
        rolled.add(60)
        found[kind] = rolled.truth()[0].q_values
    most = 1 + 0.9 + 0.81  # three steps are left
    assert (found["time_limited"] <= most + 1e-12).all()
    assert found["continuing"].mean() > most


def test_merged_blocks_of_the_true_gradient_keep_its_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most `MOST_BLOCKS` blocks are kept, each the mean of as many neighbours, from the same steps."""
    config = arm("cartpole", "critic", "gae", "task.time_limit=20")
    world = World(policy_of(config), 0.99, "time_limited")
    found = []
    for most in (64, 8):
        monkeypatch.setattr(truths, "MOST_BLOCKS", most)
        rolled = RolledOutGradient(world, None, 2, lambda *keys: np.random.default_rng([5, *keys]))
        for blocks in (8, 8, 16, 32):
            rolled.add(blocks)
        found.append(rolled)
    apart, merged = found[0].truth(), found[1].truth()
    assert found[0].steps == found[1].steps
    for weights in ("discounted", "undiscounted"):
        assert (len(apart[weights]), len(merged[weights])) == (64, 8)
        np.testing.assert_allclose(merged[weights], apart[weights].reshape(8, 8, -1).mean(1), rtol=1e-6, atol=1e-9)


def measured(given: dict[str, object], planned: Plan, stage: Stage) -> pd.DataFrame:
    settings = read("none", given)
    laboratory = Laboratory(planned, settings, stage)
    rows = pd.DataFrame(laboratory.run().figures)
    keys = ["baseline", "advantage", "critic", "level", "weights", "episodes", "step", "kind", "quantity"]
    return rows[rows["level"].isin(["advantage", "gradient"])].set_index(keys)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["cartpole", "pendulum"])
def test_doubling_the_truths_budget_moves_no_figure_beyond_its_interval(task: str) -> None:
    base: dict[str, object] = {
        "baselines": ["none", "critic", "rloo"], "advantages": ["td0", "monte_carlo"], "critics": ["learned"],
        "group_sizes": [2], "batch_multiples": [1], "batches": 24, "anchors": 6, "times": 3, "actions": 3, "futures": 6,
        "n_steps": [5], "gae_lambdas": [0.95], "precision": 1e-6, "shortfall": "report",
        "overrides": {"group.size": 4, "task.time_limit": 60, "budget": 2000},
    }  # fmt: skip
    settings = read("none", base)
    planned = replace(plan(settings, task), sizes=())
    stage = trained(planned.config, 0, "end")
    once = measured(base | {"truth_steps": 400_000}, planned, stage)
    twice = measured(base | {"truth_steps": 800_000}, planned, stage)
    assert len(once) > 80
    moved = (twice["value"] - once["value"]).abs()
    half = (once["high"] - once["low"]) / 2
    beyond = moved[(moved > half) & once["value"].notna() & twice["value"].notna()]
    assert beyond.empty, beyond
    assert (moved > 0).any()
