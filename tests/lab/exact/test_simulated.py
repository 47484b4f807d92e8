"""Moments against simulated episodes: the largest of all |z|, on fixed seeds; `simulated.py` runs more of them."""

import numpy as np
import pytest

from tests.lab.exact.simulated import bound, gradient_scores, target_scores

EPISODES = {"exam_question": 100_000, "weekly_exam": 100_000, "random_walk": 20_000}  # a walk is long


@pytest.mark.slow
@pytest.mark.parametrize("world", EPISODES)
def test_means_and_variances_of_targets(world: str) -> None:
    scores = target_scores(world, EPISODES[world], 1)
    assert len(scores) > 100
    assert np.abs(scores).max() < bound(len(scores))
    assert 0.8 < scores.std() < 1.2  # neither too far from 0 nor too near it


@pytest.mark.slow
@pytest.mark.parametrize("world", EPISODES)
def test_variances_of_gradients(world: str) -> None:
    scores = gradient_scores(world, EPISODES[world], 2)
    assert np.abs(scores).max() < bound(len(scores))
