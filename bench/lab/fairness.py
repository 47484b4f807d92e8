"""Fairness between kinds of episodes (brothers): whose gradient is learned from, and whose noise disturbs."""

from collections.abc import Sequence

import numpy as np

from bench.kernel import arrays
from bench.lab.statistics import Quantity, jackknife, relative
from bench.tasks.base import Array

FLIPS = 9_999
FLIP_LEVEL = 0.001  # low, since a table has dozens of rows


def kind_quantities(
    gradients: Array, scores: Array, batch: Array, kind: Array, names: Sequence[str]
) -> dict[str, dict[str, Quantity]]:
    """Return two measures of fairness between kinds of episodes (brothers), from the gradient of every episode (E, P).

    learning_share   ‖E[ĝ | kind]‖ as a share of the kinds' sum: how much of what is learned is about it
    variance_share   tr Cov(ĝ | kind) as a share of the kinds' sum: how much of the noise comes from it

    `batch` and `kind` (E,) say where an episode belongs. Episodes of a batch share a baseline, so lengths come from
    products of different batches, and errors from leaving out whole batches. Where a kind's mean is not told from
    zero, shares of what is learned are NaN: an estimate of a squared length below 0 counts as 0, and a share of exactly
    0 or 1 would look certain.

    `scores` (E, P) are Σ_t ∇log π of the same episodes, whose mean is 0 for every kind. Where a kind's is told from
    zero, the sample lacks the rare actions of an almost deterministic policy, on which both measures hang: all shares
    are NaN, since no spread of what is there tells of what is not.
    """
    batches = np.unique(batch)
    sums = np.stack([_sums(gradients[kind == k], batch[kind == k], batches) for k in range(len(names))])
    counts = np.stack([[((kind == k) & (batch == b)).sum() for b in batches] for k in range(len(names))])
    squares = np.square(gradients).sum(1)
    second = np.stack([[squares[(kind == k) & (batch == b)].sum() for b in batches] for k in range(len(names))])
    products = np.stack([arrays.matrix_product(of_kind, of_kind.T) for of_kind in sums])
    everything = np.ones(len(batches), dtype=bool)
    whole = _kind_shares(counts, second, products, everything)
    without = np.stack([_kind_shares(counts, second, products, batches != b) for b in batches])
    freedom = len(batches) - 1
    found = [
        [Quantity.of(*of, freedom) for of in zip(row, _errors(left), strict=True)]
        for row, left in zip(whole, without.swapaxes(0, 1), strict=True)
    ]
    learning, variance = found
    unknown = [Quantity.of(np.nan, np.nan, freedom)] * len(names)
    mean_scores = np.stack([_sums(scores[kind == k], batch[kind == k], batches) for k in range(len(names))])
    if any(is_told_from_zero(arrays.matrix_product(of_kind, of_kind.T)) for of_kind in mean_scores):
        learning = variance = unknown
    elif not all(is_told_from_zero(of_kind) for of_kind in products):
        learning = unknown
    return {name: {"learning_share": learning[k], "variance_share": variance[k]} for k, name in enumerate(names)}


def is_told_from_zero(products: Array, level: float = FLIP_LEVEL) -> bool:
    """Return whether the mean of vectors with these inner products (B, B) is told from zero, by a sign-flip test.

    Their sum over different vectors is held against those with random signs, which leave vectors that are symmetric
    around zero as they are. Near zero that sum is skewed, so that its standard error would tell too often.
    """
    different = products - np.diag(np.diag(products))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, len(products)))
    flipped = (arrays.matrix_product(signs, different) * signs).sum(1)
    return bool((1 + (flipped >= different.sum()).sum()) / (1 + FLIPS) <= level)


def _errors(without: Array) -> Array:
    """Return the jackknife's standard error of every column of (n, kinds)."""
    return np.sqrt([jackknife(column) for column in without.T])


def _sums(gradients: Array, batch: Array, batches: Array) -> Array:
    """Return the sum over each batch's episodes, (B, P)."""
    return arrays.matrix_product((batches[:, None] == batch).astype(float), gradients)


def _kind_shares(counts: Array, second: Array, products: Array, used: Array) -> Array:
    """Return both shares of every kind from the batches `used`, (2, kinds)."""
    counts, second, products = counts[:, used], second[:, used], products[:, used][:, :, used]
    total = counts.sum(1)
    diagonal = np.trace(products, axis1=1, axis2=2)
    different = np.square(total) - np.square(counts).sum(1)  # pairs of episodes of different batches
    lengths = relative(products.sum((1, 2)) - diagonal, different)
    variances = second.sum(1) / total - lengths
    norms = np.sqrt(np.maximum(lengths, 0))
    return np.stack([relative(norms, norms.sum()), relative(variances, variances.sum())])
