"""Gini's mean difference against its definition, known distributions and removal of pairs one by one."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.verdicts import sequential, spread

pairs_of_runs = arrays(float, st.tuples(st.just(2), st.integers(3, 9)), elements=st.integers(-5, 5))


def by_definition(values) -> float:
    return float(np.mean([abs(a - b) for a, b in itertools.combinations(values, 2)]))


def test_by_hand():
    assert spread.gini([1.0, 2.0, 4.0]) == pytest.approx((1 + 3 + 2) / 3)
    assert spread.gini([0.0, 1.0]) == 1.0
    assert spread.gini_effect([1.0, 2.0, 4.0], [0.0, 0.0, 0.3]) == pytest.approx(2 - 0.2)
    # Without each pair in turn: |2 − 4|, |1 − 4|, |1 − 2|, so 3 · 2 − 2 · (2, 3, 1).
    assert spread.gini_pseudo_values([1.0, 2.0, 4.0], [5.0] * 3).tolist() == pytest.approx([2.0, 0.0, 4.0])


@given(pairs_of_runs)
def test_pseudo_values_are_those_of_removing_every_pair_from_both_arms(runs):
    n = runs.shape[1]
    whole = by_definition(runs[0]) - by_definition(runs[1])
    left_out = [np.delete(runs, i, axis=1) for i in range(n)]
    expected = [n * whole - (n - 1) * (by_definition(rest[0]) - by_definition(rest[1])) for rest in left_out]
    np.testing.assert_allclose(spread.gini_pseudo_values(*runs), expected, atol=1e-9)
    assert spread.gini_effect(*runs) == pytest.approx(whole, abs=1e-12)
    assert spread.gini_pseudo_values(*runs).mean() == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda rng: rng.normal(0, 2, 200_000), 2 * 2 / np.sqrt(np.pi)),
        (lambda rng: rng.uniform(0, 1, 200_000), 1 / 3),
        (lambda rng: rng.exponential(3, 200_000), 3.0),
    ],
)
def test_of_known_distributions(draw, expected):
    assert spread.gini(draw(np.random.default_rng(0))) == pytest.approx(expected, rel=0.01)


def test_runs_that_are_all_equal_have_none_exactly():
    assert spread.gini(np.full(80, 0.1)) == 0.0
    assert spread.gini_pseudo_values(np.full(80, 0.1), np.full(80, 0.7)).tolist() == [0.0] * 80


def test_it_neither_moves_with_the_runs_nor_depends_on_their_order():
    rng = np.random.default_rng(1)
    values = rng.normal(size=50)
    assert spread.gini(values + 1e6) == pytest.approx(spread.gini(values), rel=1e-8)
    assert spread.gini(-3 * rng.permutation(values)) == pytest.approx(3 * spread.gini(values))
    first, second = rng.normal(size=(2, 50))
    order = rng.permutation(50)
    np.testing.assert_allclose(
        spread.gini_pseudo_values(first[order], second[order]), spread.gini_pseudo_values(first, second)[order]
    )


def test_too_few_runs_unlike_arms_and_missing_values_are_refused():
    for few in ([], [1.0]):
        with pytest.raises(ValueError, match="at least 2"):
            spread.gini(few)
    with pytest.raises(ValueError, match="at least 3"):
        spread.gini_pseudo_values([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="same seeds"):
        spread.gini_pseudo_values([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0])
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            spread.gini([1.0, 2.0, wrong])


Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
DRAWS: dict[str, tuple[Draw, float]] = {  # and Gini's mean difference
    "normal": (lambda rng, shape: rng.normal(size=shape), 2 / np.sqrt(np.pi)),
    "uniform": (lambda rng, shape: rng.uniform(size=shape), 1 / 3),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
}
STUDIES = 4000


def coverage(first: np.ndarray, second: np.ndarray, truth: float) -> float:
    """How often Student's 95 % interval of the pseudo-values of (studies, pairs) holds the true effect."""
    design = sequential.one_look(first.shape[1])
    found = [
        sequential.repeated_interval(spread.gini_pseudo_values(*arms), design, 0.05, 1.0)
        for arms in zip(first, second, strict=True)
    ]
    return float(np.mean([low <= truth <= high for _, low, high in found]))


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [80, 160, 320])
@pytest.mark.parametrize("name", DRAWS)
def test_the_interval_of_pseudo_values_covers_from_80_pairs_on(name: str, pairs: int) -> None:
    """One arm twice as spread as the other; 1.5 points are more than four standard errors."""
    draw, unit = DRAWS[name]
    rng = np.random.default_rng(pairs)
    first, second = (draw(rng, (STUDIES, pairs)) for _ in range(2))
    assert coverage(2 * first, second, unit) == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
def test_it_covers_also_where_the_runs_of_a_pair_are_alike() -> None:
    rng = np.random.default_rng(0)
    first, noise = rng.normal(size=(2, STUDIES, 80))
    assert coverage(2 * first, 0.9 * first + np.sqrt(0.19) * noise, 2 / np.sqrt(np.pi)) == pytest.approx(
        0.95, abs=0.015
    )


def of_mixture(share: float, shift: float, sd: float) -> float:
    """E|X − Y| of independent normals of which a share is shifted: folded normals, weighed."""
    wide = sd * math.sqrt(2)
    apart = wide * math.sqrt(2 / math.pi) * math.exp(-((shift / wide) ** 2) / 2) + shift * math.erf(
        shift / wide / 2**0.5
    )
    return (share**2 + (1 - share) ** 2) * of_normal(sd) + 2 * share * (1 - share) * apart


def of_normal(sd: float) -> float:
    return 2 * sd / math.sqrt(math.pi)


# (two standard normals, uniforms) → values of both arms, and their true difference.
POPULATIONS = {
    "alike": (lambda z, _: (0.1 * z[0], 0.1 * z[1]), 0.0),
    "twice as wide": (lambda z, _: (0.2 * z[0], 0.1 * z[1]), of_normal(0.2) - of_normal(0.1)),
    "log-normal": (
        lambda z, _: (np.exp(z[0] / 2), 0.1 * z[1]),
        2 * math.exp(1 / 8) * math.erf(1 / 4) - of_normal(0.1),
    ),
    "5 % collapse": (
        lambda z, u: (0.1 * z[0] - 0.8 * (u < 0.05), 0.1 * z[1]),
        of_mixture(0.05, 0.8, 0.1) - of_normal(0.1),
    ),
}


@pytest.mark.parametrize("pairs", [80, 160])
@pytest.mark.parametrize("name", POPULATIONS)
def test_intervals_of_the_difference_cover_it_from_eighty_pairs_on(name, pairs):
    """1,000 studies of paired arms. The range guard takes R = 2: a run moves its value by up to twice the range."""
    values, truth = POPULATIONS[name]
    rng = np.random.default_rng(pairs)
    plain = guarded = 0
    for _ in range(1_000):
        z = rng.normal(size=(2, pairs))
        z[1] = 0.6 * z[0] + 0.8 * z[1]
        found = spread.gini_pseudo_values(*values(z, rng.random(pairs)))
        error, sd, q = abs(found.mean() - truth), found.std(ddof=1), scipy.stats.t.ppf(0.975, pairs - 1)
        plain += error <= q * sd / math.sqrt(pairs)
        guarded += error <= sequential.half_width(sd, pairs, q, 2.0)
    assert plain >= 900  # jackknife intervals of skewed values are somewhat short at 80 pairs: .91 to .96
    assert guarded >= 935  # 950 less twice the standard error of such a count
