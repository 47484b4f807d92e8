"""Ground truth by restored states: right where it can be checked."""

import numpy as np
import pytest

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
    return Estimates(advantage, zero, zero, zero, zero, zero, zero, 1)


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


def test_antithetic_futures_are_mirrored_and_drawn_from_the_policy() -> None:
    """CartPole at its first step: where one of a pair is pushed left by a small number, the other by a large one."""
    policy = policy_of(arm("cartpole", "critic", "gae", "task.time_limit=2"), spread=0.5)
    process, rng = RewardProcess(policy, 1.0), np.random.default_rng(11)
    pairs = 20_000
    states = np.repeat(process.from_start(rng, 1).states[0], 2 * pairs, axis=1)
    (actions,) = process.from_states(states, rng, antithetic=True).actions[:, 0].numpy().reshape(1, pairs, 2)
    p = float(policy.probabilities(states[:, :1])[1, 0])
    assert 0.2 < p < 0.8
    assert abs(actions.mean() - p) < 4 * np.sqrt(p * (1 - p) / pairs)
    # u and 1 − u fall on the same side only beyond the larger of p and 1 − p
    assert (actions[:, 0] == actions[:, 1]).mean() == pytest.approx(abs(1 - 2 * p), abs=4 * np.sqrt(0.25 / pairs))


def test_the_noise_of_continuous_actions_is_mirrored() -> None:
    policy = policy_of(arm("pendulum", "critic", "gae"))
    noise = policy.noise(np.random.default_rng(0), 5)
    np.testing.assert_array_equal(policy.mirrored(noise), -noise)
