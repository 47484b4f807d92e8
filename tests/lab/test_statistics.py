"""Quantities are unbiased, and their intervals cover what is known in closed form."""

import numpy as np
import pytest

from bench.lab.statistics import Quantity, Vectors, angles, gradient_estimates, mean_estimate


def test_quantities_of_known_gradients() -> None:
    """Normal gradients around a known mean, against a known truth: every quantity covers its closed form."""
    rng = np.random.default_rng(6)
    dimensions, n, sigma = 40, 400, 0.3
    truth, mean = np.zeros(dimensions), np.zeros(dimensions)
    truth[0], mean[0], mean[1] = 2.0, 1.0, 1.0
    found = mean + sigma * rng.standard_normal((n, dimensions))
    estimates = gradient_estimates(Vectors(found), Vectors(truth[None]))
    quantities = {name: each.quantity for name, each in estimates.items()}
    quantities |= angles(quantities["cosine_truth"])
    trace = sigma**2 * dimensions
    expected = {
        "squared_bias": 2 / 4,
        "cosine_truth": 2**-0.5,
        "angle": 45.0,
        "direction_error": 2**-0.5,
        "trace": trace / 4,
        "trace_absolute": trace,
        "signal_to_noise": 2 / trace,
        "least_error": 1 - 2**2 / ((2 + trace) * 4),  # 1 − (E ĝ · g)² / (E ‖ĝ‖² ‖g‖²)
    }
    for name, value in expected.items():
        quantity = quantities[name]
        assert abs(quantity.value - value) < 4 * quantity.error, name
        assert quantity.low < quantity.value < quantity.high
    assert quantities["cosine"].value == pytest.approx(2 / (2 + trace), abs=0.03)  # E cos ≈ SNR / (1 + SNR)


def test_the_truths_own_error_is_carried_through() -> None:
    """With the truth known from few noisy blocks, intervals widen and no bias appears."""
    rng = np.random.default_rng(7)
    mean = np.ones(30)
    found = mean + rng.standard_normal((300, 30))
    exact = gradient_estimates(Vectors(found), Vectors(mean[None]))["squared_bias"]
    blocks = mean + 3 * rng.standard_normal((20, 30))
    noisy = gradient_estimates(Vectors(found), Vectors(blocks))["squared_bias"]
    assert noisy.error > 3 * exact.error
    assert abs(noisy.value) < 4 * noisy.error


def test_no_direction_is_made_up_where_the_mean_is_not_told_from_zero() -> None:
    """Two opposite gradients: the estimate of ‖E ĝ‖², a product of different batches, is −1, so there is no angle."""
    estimates = gradient_estimates(Vectors(np.array([[1.0, 0.0], [-1.0, 0.0]])), Vectors(np.array([[0.0, 1.0]])))
    quantities = angles(estimates["cosine_truth"].quantity)
    for name in ("cosine_truth", "angle", "direction_error"):
        assert np.isnan(quantities[name].value), name


def test_a_difference_has_the_error_of_paired_differences() -> None:
    """Five states, two estimators: the textbook's standard error of the mean difference, not of two separate means."""
    first, second = np.array([1.0, 2.0, 4.0, 8.0, 3.0]), np.array([1.5, 2.4, 4.6, 8.3, 3.7])
    strata = np.zeros(5)
    found = mean_estimate(first, strata) - mean_estimate(second, strata)
    differences = first - second
    assert found.value == pytest.approx(differences.mean(), abs=1e-15)
    assert found.error == pytest.approx(differences.std(ddof=1) / np.sqrt(5), abs=1e-15)
    apart = np.hypot(first.std(ddof=1), second.std(ddof=1)) / np.sqrt(5)
    assert mean_estimate(first, strata).error == pytest.approx(first.std(ddof=1) / np.sqrt(5), abs=1e-15)
    assert apart > 10 * found.error


def test_a_ratio_has_the_spread_of_ratios_of_means() -> None:
    """Correlated numerator and denominator, in two strata, against 4,000 repetitions."""
    rng = np.random.default_rng(4)
    strata = np.repeat([0, 1], [30, 20])

    def ratio() -> tuple[float, float]:
        common = rng.normal(0, 0.3, 50)
        top, bottom = 2 + common + rng.normal(0, 0.2, 50), 1 + 0.2 * strata + common
        found = mean_estimate(top, strata).over(mean_estimate(bottom, strata))
        return found.value, found.error

    values, errors = np.array([ratio() for _ in range(4000)]).T
    assert values.std(ddof=1) == pytest.approx(np.sqrt(np.square(errors).mean()), rel=0.06)
    assert np.isnan(mean_estimate(np.ones(4), np.zeros(4)).over(mean_estimate(-np.ones(4), np.zeros(4))).value)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_pair_means_are_those_of_all_pairs(n: int) -> None:
    """Against the plain double loop, and the same without each vector."""
    rows = np.random.default_rng(n).normal(size=(n, 5))
    rows[0] = 0.0  # a gradient without a direction

    def mean(vectors: np.ndarray) -> float:
        count = len(vectors)
        found = [vectors[i] @ vectors[j] for i in range(count) for j in range(count) if i != j]
        return float(np.mean(found)) if found else 0.0

    for vectors, plain in (
        (Vectors(rows), rows),
        (Vectors(rows).directions, rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-300)[:, None]),
    ):
        whole, without = vectors.pairs
        assert whole == pytest.approx(mean(plain), abs=1e-12)
        np.testing.assert_allclose(without, [mean(np.delete(plain, i, 0)) for i in range(n)], atol=1e-12)


def test_of_an_unknown_cosine_the_angle_is_unknown_with_its_error() -> None:
    """And that of an exact one, 60 degrees for .5, is exact."""
    unknown = angles(Quantity.of(np.nan, np.nan, 5))
    assert all(np.isnan([each.value, each.error, each.low, each.high]).all() for each in unknown.values())
    exact = angles(Quantity.of(0.5, 0.0, 5))["angle"]
    assert (exact.value, exact.error) == (pytest.approx(60), 0.0)
