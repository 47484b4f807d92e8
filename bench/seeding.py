"""Named random streams: one per seed and purpose, so that arms are paired and no purpose disturbs another.

A seed's streams are children of one `numpy.random.SeedSequence`. Drawing more from one (an arm with a critic, a
longer episode, one more evaluation) leaves every other untouched.
"""

from typing import Literal

import numpy as np

Purpose = Literal["actor", "critic", "reset", "dynamics", "action", "minibatch", "evaluation", "peer", "vine"]
PURPOSES: tuple[Purpose, ...] = (
    "actor",  # initial actor weights
    "critic",  # initial critic weights
    "reset",  # start states; further key: environment
    "dynamics",  # the environment's own noise
    "action",  # sampled actions
    "minibatch",  # permutations of the batch
    "evaluation",  # everything in an evaluation; further key: its place on the grid
    "peer",  # the integer seed of a library's algorithm
    "vine",  # episodes from restored states; further key: 0 for sampled actions, 1 for the environment's noise
)
SEED_POOLS = (  # a later one comes last: its place is a key of its streams
    "main",
    "tuning",  # chooses settings, and never judges the winner
    "confirmation",  # judges claims that were written after results of the main pool were seen
)


def seed_sequence(seed: int, purpose: Purpose, *keys: int, pool: str = "main") -> np.random.SeedSequence:
    """The seed sequence of one purpose of one seed; `keys` tell apart environments, evaluations, …"""
    return np.random.SeedSequence(entropy=seed, spawn_key=(SEED_POOLS.index(pool), PURPOSES.index(purpose), *keys))


def stream(seed: int, purpose: Purpose, *keys: int, pool: str = "main") -> np.random.Generator:
    """A fresh generator at the beginning of that stream."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, purpose, *keys, pool=pool)))
