"""Evaluation of a library's policy in the environments an arm of ours would meet."""

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from bench.learner.evaluate import play
from bench.peers.library import library_streams
from bench.seeding import seed_sequence
from bench.tasks.base import Array, Task


def evaluate(
    model: BaseAlgorithm, task: Task, seed: int, index: int, episodes: int, pool: str = "main"
) -> list[dict[str, float | int | str]]:
    """Run `episodes` complete episodes of each mode and return the rows of `bench.learner.evaluate.play`.

    Scales are frozen, and what the library draws its actions from is given back as it was: evaluating more often
    changes no training number.
    """
    halves = [_player(model, deterministic) for deterministic in (True, False)]

    def act(observations: Array) -> Array:
        seen = np.ascontiguousarray(observations.T)
        normalisation = model.get_vec_normalize_env()
        if normalisation is not None:
            seen = np.asarray(normalisation.normalize_obs(seen))
        return np.concatenate([half(part) for half, part in zip(halves, np.split(seen, 2), strict=True)]).T

    entropy = seed_sequence(seed, "evaluation", index, 2, pool=pool).generate_state(1)
    with library_streams(int(entropy[0]), model.action_space):
        return play(act, task, [seed], index, episodes, pool)


def _player(model: BaseAlgorithm, deterministic: bool) -> Callable[[Array], Array]:
    """Return what acts in some environments from their start on; it carries the state of recurrent policies."""
    state: Any = None

    def play_on(observations: Array) -> Array:
        nonlocal state
        starts = np.full(len(observations), state is None)
        actions, state = model.predict(observations, state=state, episode_start=starts, deterministic=deterministic)
        return np.asarray(actions)

    return play_on
