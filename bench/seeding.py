"""Named random streams: one per seed and purpose, so that arms are paired and no purpose disturbs another.

A seed's streams are children of one `numpy.random.SeedSequence`. Drawing more from one (an arm with a critic, a
longer episode, one more evaluation) leaves every other untouched.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

Purpose = Literal[
    "actor", "critic", "reset", "dynamics", "action", "minibatch", "evaluation", "peer", "vine", "comparator"
]
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
    "comparator",  # errors of comparisons of a group's members; further key: the number of the update
)
POOL, MASK = 4, 0xFFFFFFFF  # words of 32 bits in a `SeedSequence`'s pool, and one of them
SEED_POOLS = (  # a later one comes last: its place is a key of its streams
    "main",
    "tuning",  # chooses settings, and never judges the winner
    "confirmation",  # judges claims that were written after results of the main pool were seen
)


def seed_sequence(seed: int, purpose: Purpose, *keys: int, pool: str = "main") -> np.random.SeedSequence:
    """The seed sequence of one purpose of one seed; `keys` tell apart environments, evaluations, …"""
    return np.random.SeedSequence(entropy=seed, spawn_key=(SEED_POOLS.index(pool), PURPOSES.index(purpose), *keys))


def streams(
    seeds: Sequence[int], purpose: Purpose, keys: npt.ArrayLike, pool: str = "main"
) -> list[np.random.Generator]:
    """Fresh generators, each that of `stream` for one of `seeds` and its row of `keys` (n, k); many times as fast."""
    further = np.asarray(keys, dtype=np.uint32)
    begun = np.array([SEED_POOLS.index(pool), PURPOSES.index(purpose)], dtype=np.uint32)
    entropy = np.zeros((POOL + 2 + further.shape[1], len(seeds)), dtype=np.uint32)
    for word in range(POOL):
        entropy[word] = [seed >> 32 * word & MASK for seed in seeds]
    entropy[POOL : POOL + 2], entropy[POOL + 2 :] = begun[:, None], further.T
    mixed: list[Any] = [_Mixed(words) for words in _states(entropy)]  # NumPy's types know its own class alone
    return [np.random.Generator(np.random.PCG64(each)) for each in mixed]


class _Mixed(ISeedSequence):
    """A seed sequence whose one state is known."""

    def __init__(self, words: Any) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Any:
        """Return the state that PCG64 asks for: four words of 64 bits."""
        assert (n_words, np.dtype(dtype)) == (len(self.words), self.words.dtype)
        return self.words


def _states(entropy: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """Return what `SeedSequence.generate_state(4, numpy.uint64)` says for entropy (words, n), of many at once: (n, 4).

    It is NumPy's algorithm, which is documented not to change (O'Neill, "Developing a seed_seq alternative", 2015).
    """
    constant = 0x43B0D7E5

    def hashed(values: npt.NDArray[np.uint32], factor: int = 0x931E8875) -> npt.NDArray[np.uint32]:
        nonlocal constant
        values = values ^ np.uint32(constant)
        constant = constant * factor & MASK
        values = values * np.uint32(constant)
        return values ^ values >> np.uint32(16)

    def mixed(x: npt.NDArray[np.uint32], y: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        result: npt.NDArray[np.uint32] = np.uint32(0xCA01F9DD) * x - np.uint32(0x4973F715) * y
        return result ^ result >> np.uint32(16)

    pool = [hashed(words) for words in entropy[:POOL]]
    for source in range(POOL):
        for target in range(POOL):
            if source != target:
                pool[target] = mixed(pool[target], hashed(pool[source]))
    for words in entropy[POOL:]:
        pool = [mixed(each, hashed(words)) for each in pool]
    constant = 0x8B51F9DD
    state = [hashed(pool[word % POOL], 0x58F38DED) for word in range(2 * POOL)]
    low, high = (np.stack(state[part::2], axis=1).astype(np.uint64) for part in (0, 1))
    return low | high << np.uint64(32)


def stream(seed: int, purpose: Purpose, *keys: int, pool: str = "main") -> np.random.Generator:
    """A fresh generator at the beginning of that stream."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, purpose, *keys, pool=pool)))
