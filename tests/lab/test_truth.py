"""Ground truth by restored states: right where it can be checked."""

import numpy as np

from bench.lab.advantages import Estimates, errors
from bench.lab.anchors import anchors_at
from bench.lab.simulate import RewardProcess, TruthKind
from bench.lab.truth import RolledOutValues, exact_truth, solution
from tests.lab.conftest import arm, policy_of


def test_restored_states_find_the_exact_values() -> None:
    """On the weekly exam, where both are known: z of Q has a standard deviation of 1."""
    config = arm("weekly_exam", "critic", "gae", "gamma=0.9")
    policy, rng = policy_of(config), np.random.default_rng(9)
    process = RewardProcess(policy, 0.9)
    pool = process.from_start(rng, 100)
    anchors = [anchors_at(policy, pool, step, 8, 0, rng) for step in (0, 6, 13)]
    rolled = RolledOutValues(process, anchors, lambda *keys: np.random.default_rng(keys))
    rolled.add(100)
    rolled.add(100)
    solved = solution(policy.task, policy, 0.9)  # type: ignore[arg-type]
    z = []
    for at, truth in zip(anchors, rolled.truth(), strict=True):
        exact = exact_truth(policy.task, solved, at)  # type: ignore[arg-type]
        z.append((truth.q_values - exact.q_values) / np.sqrt(truth.q_error))
        nothing = errors(_says(truth.advantage), truth, at.weights, at.drawn)
        np.testing.assert_allclose(nothing.action_bias, -(at.weights * (1 - at.weights) * truth.q_error).sum(1))
    assert np.abs(z).max() < 4.5
    assert 0.75 < np.std(z) < 1.25


def _says(advantage: np.ndarray) -> Estimates:
    zero = np.zeros_like(advantage)
    return Estimates(advantage, zero, zero, zero)


def test_continuing_and_time_limited_truth_differ() -> None:
    """CartPole pays 1 per step: near the limit, what is left ends with it, or goes on."""
    config = arm("cartpole", "critic", "gae", "task.time_limit=20", "gamma=0.9")
    policy, rng = policy_of(config, spread=0.0), np.random.default_rng(10)
    pool = RewardProcess(policy, 0.9).from_start(rng, 200)
    anchors = [anchors_at(policy, pool, 17, 6, 0, rng)]
    kinds: tuple[TruthKind, ...] = ("time_limited", "continuing")
    found = {}
    for kind in kinds:
        process = RewardProcess(policy, 0.9, kind)
        rolled = RolledOutValues(process, anchors, lambda *keys: np.random.default_rng(keys))
        rolled.add(60)
        found[kind] = rolled.truth()[0].q_values
    most = 1 + 0.9 + 0.81  # three steps are left
    assert (found["time_limited"] <= most + 1e-12).all()
    assert found["continuing"].mean() > most
