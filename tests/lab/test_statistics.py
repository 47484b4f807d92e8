"""Quantities are unbiased, and their intervals cover what is known in closed form."""

import numpy as np
import pytest

from bench.lab.statistics import Products, gradient_quantities


def test_quantities_of_known_gradients() -> None:
    """Normal gradients around a known mean, against a known truth: every quantity covers its closed form."""
    rng = np.random.default_rng(6)
    dimensions, n, sigma = 40, 400, 0.3
    truth, mean = np.zeros(dimensions), np.zeros(dimensions)
    truth[0], mean[0], mean[1] = 2.0, 1.0, 1.0
    found = mean + sigma * rng.standard_normal((n, dimensions))
    quantities = gradient_quantities(Products.of(found, truth[None]))
    trace = sigma**2 * dimensions
    expected = {
        "squared_bias": 2 / 4,
        "cosine_truth": 2**-0.5,
        "angle": 45.0,
        "direction_error": 2**-0.5,
        "trace": trace / 4,
        "trace_absolute": trace,
        "signal_to_noise": 2 / trace,
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
    exact = gradient_quantities(Products.of(found, mean[None]))["squared_bias"]
    blocks = mean + 3 * rng.standard_normal((20, 30))
    noisy = gradient_quantities(Products.of(found, blocks))["squared_bias"]
    assert noisy.error > 3 * exact.error
    assert abs(noisy.value) < 4 * noisy.error


def test_no_direction_is_made_up_where_the_mean_is_not_told_from_zero() -> None:
    """Two opposite gradients: the estimate of ‖E ĝ‖², a product of different batches, is −1, so there is no angle."""
    quantities = gradient_quantities(Products.of(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[0.0, 1.0]])))
    for name in ("cosine_truth", "angle", "direction_error"):
        assert np.isnan(quantities[name].value), name
