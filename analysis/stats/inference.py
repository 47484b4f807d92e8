"""Permutation tests of ranks, and their adjustment for many: where no verdict is given, no p stands beside one.

Tests are paired by seed: arms share initial weights and starts, so the difference of two runs with one seed varies less
than the runs themselves. A pair in which one run is missing is left out.
"""

import numpy as np
from numpy.typing import ArrayLike

from bench.verdicts.estimates import Array

EXACT_PAIRS = 20  # up to a million sign patterns are enumerated, more are sampled
_TIE = 1e-9  # relative: sums of the same numbers in another order are no other sums


def sign_flip_test(differences: ArrayLike, rng: np.random.Generator, reps: int = 100_000) -> float:
    """Two-sided paired permutation test of a mean difference of zero (Fisher 1935).

    If the labels of a pair are exchangeable, every pattern of signs is equally likely; p is the share of patterns whose
    mean is at least as far from 0. Exact up to `EXACT_PAIRS` pairs; beyond, Monte Carlo with the observed pattern
    counted in, p = (1 + hits)/(1 + reps), which keeps the test's level.

    Args:
        differences: (pairs,), NaN where one of the two runs is missing.
        rng: used beyond `EXACT_PAIRS` pairs only.
        reps: sampled patterns.

    Returns:
        p; NaN without any pair, never below 2^(1 − pairs).
    """
    present = np.asarray(differences, float)
    present = present[~np.isnan(present)]
    if not present.size:
        return float("nan")
    observed = abs(present.sum()) - _TIE * np.abs(present).sum()
    if present.size <= EXACT_PAIRS:
        half = present.size // 2
        sums = np.add.outer(_signed_sums(present[:half]), _signed_sums(present[half:]))
        return float(np.mean(np.abs(sums) >= observed))
    hits = sum(
        int(np.count_nonzero(np.abs((rng.integers(0, 2, (size, present.size)) * 2 - 1) @ present) >= observed))
        for size in _batches(reps, 10_000)
    )
    return (1 + hits) / (1 + reps)


def _signed_sums(values: Array) -> Array:
    """(2^n,): the sum of `values` under every pattern of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _batches(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down adjusted p-values (Holm 1979): max over j ≤ i of (m − j + 1)·p₍ⱼ₎, at most 1.

    A comparison that was planned but could not be made is NaN: it stays NaN and still counts in the family's size m,
    so that a failed cell never makes the other comparisons look more certain.
    """
    raw = np.asarray(p_values, float)
    order = np.argsort(raw, axis=None)  # NaN goes last
    factor = raw.size - np.arange(raw.size)
    adjusted = np.minimum(np.maximum.accumulate(factor * raw.ravel()[order]), 1.0)
    result = np.empty(raw.size)
    result[order] = adjusted
    return result.reshape(raw.shape)
