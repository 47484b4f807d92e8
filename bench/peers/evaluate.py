"""Evaluation of a library's policy in the environments an arm of ours would meet."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy

from bench.kernel import arrays
from bench.learner.evaluate import exact_rows, has_table, play
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

    def act(observations: Array, _live: Array) -> Array:  # whoever draws, draws for all: libraries draw in batches
        seen = _seen(model, observations)
        return np.concatenate([half(part) for half, part in zip(halves, np.split(seen, 2), strict=True)]).T

    entropy = seed_sequence(seed, "evaluation", index, 2, pool=pool).generate_state(1)
    with library_streams(int(entropy[0]), model.action_space):
        return play(act, task, [seed], index, episodes, pool)


def exact_returns(
    model: BaseAlgorithm, task: Task, seed: int, *, lengths: bool = False
) -> list[dict[str, float | int | str]]:
    """Return the rows of `bench.learner.evaluate.exact_rows`; none where the task or the policy has no table.

    Policies that have one are SB3's actor-critics for Discrete actions. Others (recurrent and masked ones, those of
    Q-learning and of ARS) say no probabilities in the same way.
    """
    policy = model.policy
    if not has_table(task) or not isinstance(policy, ActorCriticPolicy):
        return []
    if any(
        getattr(type(policy), name) is not getattr(ActorCriticPolicy, name) for name in ("get_distribution", "_predict")
    ):
        return []
    policy.set_training_mode(False)
    with torch.no_grad():
        found = policy.get_distribution(policy.obs_to_tensor(_seen(model, task.reached_observations))[0])
    if not isinstance(found, CategoricalDistribution):
        return []
    probabilities = arrays.softmax(found.distribution.logits.double().cpu().numpy())
    return exact_rows(task, [seed], found.mode().cpu().numpy()[None], probabilities[None], lengths=lengths)


def _seen(model: BaseAlgorithm, observations: Array) -> Array:
    """Return observations (O, n) as the library's policy is given them, (n, O)."""
    seen = np.ascontiguousarray(observations.T)
    normalisation = model.get_vec_normalize_env()
    return seen if normalisation is None else np.asarray(normalisation.normalize_obs(seen))


def _player(model: BaseAlgorithm, deterministic: bool) -> Callable[[Array], Array]:
    """Return what acts in some environments from their start on; it carries the state of recurrent policies."""
    state: Any = None

    def play_on(observations: Array) -> Array:
        nonlocal state
        starts = np.full(len(observations), state is None)
        actions, state = model.predict(observations, state=state, episode_start=starts, deterministic=deterministic)
        return np.asarray(actions)

    return play_on
