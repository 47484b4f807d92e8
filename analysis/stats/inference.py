"""Tests, equivalence and power: what a comparison of two arms can and cannot say.

All tests here are paired by seed: arms share initial weights and starts, so the difference of two runs with one seed
varies less than the runs themselves. A pair in which one run is missing is left out, and whoever prints a test prints
the number of pairs it rests on.
"""

import bisect

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import ArrayLike

from analysis.stats.scores import Array

WANTED = 0.8  # power that seeds are planned for
MOST_PAIRS = 10_000
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


def equivalence_test(differences: ArrayLike, margin: float) -> float:
    """TOST: the larger p of two one-sided paired t-tests against −margin and +margin (Schuirmann 1987).

    Args:
        differences: (pairs,), NaN where one of the two runs is missing.
        margin: the largest difference that counts as none, fixed before the runs, in the differences' units.

    Returns:
        p; below α, the difference lies within the margin. NaN with fewer than two pairs.

    Raises:
        ValueError: for a margin that is not positive.
    """
    if margin <= 0:
        raise ValueError(f"margin={margin}: must be greater than 0")
    present = np.asarray(differences, float)
    present = present[~np.isnan(present)]
    if present.size < 2:
        return float("nan")
    error = present.std(ddof=1) / np.sqrt(present.size)
    distance = margin - abs(present.mean())
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(scipy.stats.t.sf(distance / error, present.size - 1))


def power(effect: float, pairs: int, alpha: float = 0.05) -> float:
    """Power of a two-sided paired t-test, from the noncentral t distribution (Cohen 1988).

    Args:
        effect: the mean difference over the differences' standard deviation (d_z).
        pairs: how many.
        alpha: the test's level.
    """
    freedom = pairs - 1
    if freedom < 1:
        return float("nan")
    shift = abs(effect) * np.sqrt(pairs)
    critical = scipy.stats.t.isf(alpha / 2, freedom)
    above = scipy.stats.nct.sf(critical, freedom, shift)
    below = scipy.stats.nct.cdf(-critical, freedom, shift)
    return float(np.nan_to_num(above, nan=1.0) + np.nan_to_num(below))  # scipy gives NaN far in the tail


def seeds_needed(effect: float, alpha: float = 0.05) -> int | None:
    """The fewest pairs that reach the power `WANTED` for `effect`; None beyond `MOST_PAIRS`.

    `effect` must come from the smallest effect of interest, never from the effect observed: the latter only says p
    again.
    """
    numbers = range(2, MOST_PAIRS + 1)
    place = bisect.bisect_left(numbers, WANTED, key=lambda pairs: power(effect, pairs, alpha))
    return numbers[place] if place < len(numbers) else None


def minimum_detectable_effect(pairs: int, alpha: float = 0.05) -> float:
    """The smallest standardised effect (d_z) that `pairs` detect with power `WANTED`; infinite for fewer than two."""
    if pairs < 2:
        return float("inf")
    high = 1.0
    while power(high, pairs, alpha) < WANTED:
        high *= 2
    return float(scipy.optimize.brentq(lambda effect: power(effect, pairs, alpha) - WANTED, 0.0, high))


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
