"""Looks at paired differences while seeds are added: boundaries, quantiles and repeated confidence intervals.

The design is the repeated confidence interval of Jennison and Turnbull (1989): at every look the interval is wide
enough that all intervals of all looks hold the true mean at once with probability 1 − α. How α is spent over the looks
depends on the largest number of pairs, which is therefore fixed before the first run.

>>> design = looks_up_to(640)
>>> quantiles(0.05 / 80, design.looks)
>>> repeated_interval(differences, design, 0.05 / 80, value_range=1.0)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
from numpy.typing import ArrayLike

from bench.verdicts.estimates import Array
from bench.verdicts.estimates import Interval as Interval

FIRST_LOOK = 20
MAX_PAIRS = 640
LEAST_LEVEL = 1e-12  # no smaller level of a family is tried
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)
_FARTHEST = 38.0  # standard normal tails beyond are 0 in double precision
POWER_Z = 0.84  # normal quantile of power 0.8
_SURE = 0.975  # probability with which a rate is seen at least once


@dataclass(frozen=True)
class Design:
    """When the pairs are looked at.

    Attributes:
        looks: numbers of pairs, increasing; the last is the most there will ever be.
        guarded: whether half-widths make room for a collapse that has not happened yet, see `half_width`.

    Raises:
        ValueError: for no looks, or numbers that are not positive and increasing.
    """

    looks: tuple[int, ...]
    guarded: bool = True

    def __post_init__(self) -> None:
        if not self.looks or any(late <= early for early, late in zip((0, *self.looks), self.looks, strict=False)):
            raise ValueError(f"looks={self.looks}: must be positive and increasing")


def looks_up_to(max_pairs: int = MAX_PAIRS, first: int = FIRST_LOOK) -> Design:
    """Looks at 20, 40, 80, … pairs up to `max_pairs`, from `first` on; what α there is up to `first` is spent there.

    Raises:
        ValueError: if `max_pairs` or `first` is none of 20, 40, 80, …, or `first` is the larger.
    """
    looks = [FIRST_LOOK]
    while looks[-1] < max_pairs:
        looks.append(2 * looks[-1])
    if looks[-1] != max_pairs or first not in looks:
        raise ValueError(f"max_pairs={max_pairs}, first={first}: must be 20, 40, 80, …, the first not the larger")
    return Design(tuple(looks[looks.index(first) :]))


def one_look(pairs: int) -> Design:
    """The fixed design: one look, Student's interval without the guard."""
    return Design((pairs,), guarded=False)


def spent(alpha: float, share: float) -> float:
    """The part of α that is spent when this share of all pairs is there: α ln(1 + (e − 1) t), Pocock's kind."""
    return alpha * math.log1p((math.e - 1) * share)


@lru_cache(maxsize=4096)
def boundaries(alpha: float, looks: tuple[int, ...]) -> tuple[float, ...]:
    """z_k: a standard normal random walk leaves (−z_k, z_k) at look k for the first time with the α spent there.

    S_k is the sum of the pairs seen at look k, scaled to variance t_k = n_k/n_K. Its sub-density f_k on
    (−z_k √t_k, z_k √t_k), where no boundary was crossed before, follows from the one before:
    f_k(x) = ∫ f_{k−1}(y) φ((x − y)/√(t_k − t_{k−1}))/√(t_k − t_{k−1}) dy, by Gauss-Legendre quadrature.

    Args:
        alpha: two-sided level of one row, between 0 and 1.
        looks: numbers of pairs, increasing, of which the last is the most there will be.

    Raises:
        ValueError: for a level outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha}: must lie between 0 and 1")
    found: list[float] = []
    at, mass = np.zeros(1), np.ones(1)  # nodes of y, and f_{k−1}(y) dy
    time, used = 0.0, 0.0
    for pairs in looks:
        share = pairs / looks[-1]
        step, scale = math.sqrt(share - time), math.sqrt(share)
        goal = spent(alpha, share) - used
        z = float(scipy.optimize.brentq(_excess, 0.0, _FARTHEST, (at / step, mass, scale / step, goal), xtol=1e-10))
        found.append(z)
        nodes = _NODES * z * scale
        kernel = np.exp(-(((nodes[:, None] - at) / step) ** 2) / 2) / (step * math.sqrt(2 * math.pi))
        at, mass = nodes, (kernel @ mass) * _WEIGHTS * z * scale
        time, used = share, used + goal
    return tuple(found)


def _excess(z: float, at: Array, mass: Array, scale: float, goal: float) -> float:
    """The probability of leaving (−z, z) at this look, on either side alike, less the α to spend on it."""
    return 2 * float(mass @ scipy.special.ndtr(at - z * scale)) - goal


@lru_cache(maxsize=4096)
def quantiles(alpha: float, looks: tuple[int, ...]) -> tuple[float, ...]:
    """q_k: Student's quantile with n_k − 1 degrees of freedom at the two-sided level of `boundaries`' z_k.

    Infinite at a look with a single pair, which tells nothing of the spread.
    """
    tails = [float(scipy.special.ndtr(-z)) for z in boundaries(alpha, looks)]
    return tuple(
        float(scipy.stats.t.isf(tail, pairs - 1)) if pairs > 1 else math.inf
        for tail, pairs in zip(tails, looks, strict=True)
    )


def shares(weights: Sequence[float]) -> list[float]:
    """Each row's share of a family's α, in the proportion of weights fixed beforehand; all 1: one over their number.

    Rows that were not run, or say nothing, keep their weight: they are planned members of the family.

    Raises:
        ValueError: for a weight that is not positive and finite.
    """
    if not all(0 < weight < math.inf for weight in weights):
        raise ValueError(f"weights={list(weights)}: must be positive and finite")
    return [weight / math.fsum(weights) for weight in weights]


def half_width(sd: ArrayLike, pairs: ArrayLike, quantile: ArrayLike, value_range: float | None = None) -> Array:
    """q · sd*/√n; with the range R of the metric, sd*² = ((n − 1) sd² + 2R²)/(n + 1), else sd* = sd.

    The guard counts two more pairs than were seen, one a whole range above the mean and one below. It stands for the
    collapse that has not happened yet, and for differences that are all equal so far.
    """
    sd, pairs, quantile = np.asarray(sd, float), np.asarray(pairs, float), np.asarray(quantile, float)
    if value_range is not None:
        sd = np.sqrt(((pairs - 1) * sd**2 + 2 * value_range**2) / (pairs + 1))
    return np.asarray(quantile * sd / np.sqrt(pairs))


def repeated_interval(
    differences: ArrayLike, design: Design, alpha: float, value_range: float | None = None
) -> Interval:
    """The mean of the differences with its interval at the look that has this many pairs.

    Args:
        differences: (pairs,), all of them: a run that failed counts with the worst value, none is left out.
        design: its looks must hold the number of pairs.
        alpha: two-sided level of this row over all looks.
        value_range: the largest less the smallest value of the metric; 1 on the normalised scale. Unguarded designs do
            not need it.

    Returns:
        Estimate, low and high. Fewer than two pairs say nothing: the whole line (and no estimate without a pair).

    Raises:
        ValueError: for a difference that is not finite, a number of pairs at which there is no look, or a range that
            is not positive and finite.
    """
    values = np.asarray(differences, float)
    if not np.isfinite(values).all():
        raise ValueError("differences must be finite: a failed run counts with the worst value of its metric")
    if design.guarded and (value_range is None or not 0 < value_range < math.inf):
        raise ValueError(f"value_range={value_range}: must be positive and finite")
    if len(values) < 2:
        return (float(values[0]) if len(values) else math.nan), -math.inf, math.inf
    if len(values) not in design.looks:
        raise ValueError(f"{len(values)} pairs: there are looks at {design.looks}")
    quantile = quantiles(alpha, design.looks)[design.looks.index(len(values))]
    centre, sd = float(values.mean()), float(values.std(ddof=1))
    half = float(half_width(sd, len(values), quantile, value_range if design.guarded else None))
    return centre, centre - half, centre + half


def least_level(holds: Callable[[float], bool], alpha: float) -> float:
    """The smallest level of a family, up to a thousandth of itself, at which something `holds` that does at `alpha`.

    Intervals widen as the level falls, so what they show is lost once and for all; the search halves the logarithm.
    `LEAST_LEVEL` where it holds even there: the true one is smaller still.

    Raises:
        ValueError: if it does not hold at `alpha`.
    """
    if not holds(alpha):
        raise ValueError(f"alpha={alpha}: it does not hold there")
    if holds(LEAST_LEVEL):
        return LEAST_LEVEL
    low, high = math.log(LEAST_LEVEL), math.log(alpha)
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(math.exp(middle)) else (middle, high)
    return min(math.exp(high), alpha)


def pairs_needed(
    effect: float, sd: float, margins: Sequence[float], z: float, value_range: float | None = None
) -> int | None:
    """((z + 0.84) sd/distance)²: the pairs that would decide, if effect and spread were what they seem now.

    With a range, z is of the spread that `half_width` counts with, which falls with the pairs. A plan, never evidence.

    Args:
        effect: the mean difference so far.
        sd: standard deviation of the differences so far.
        margins: the boundaries between verdicts; the nearest counts.
        z: the last of `boundaries` at the row's level.
        value_range: of the metric, in a guarded design.

    Returns:
        At least 2; None where the effect is at a margin or not known: no number of pairs would do.
    """
    distance = min(abs(effect - margin) for margin in margins)
    if not distance > 0 or not math.isfinite(sd):
        return None
    plain = max(2, math.ceil(((z + POWER_Z) * sd / distance) ** 2))
    if value_range is None:
        return plain

    def is_enough(pairs: int) -> bool:
        return float(half_width(sd, pairs, z, value_range)) + POWER_Z * sd / math.sqrt(pairs) <= distance

    low, high = plain - 1, plain  # too few, and perhaps enough
    while not is_enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def unseen_rate(pairs: int) -> float:
    """The largest rate of collapses that may have shown none in this many pairs: 1 − 0.025^(1/n), 1 without a pair."""
    return 1 - (1 - _SURE) ** (1 / pairs) if pairs > 0 else 1.0


def unseen(pairs: int) -> str:
    """`unseen_rate` as a sentence, of pairs among which no run collapsed."""
    return f"a collapse in fewer than 1 of {math.ceil(1 / unseen_rate(pairs))} runs could have gone unseen"
