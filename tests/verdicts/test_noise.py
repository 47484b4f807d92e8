"""Shares of noise by hand, found again in draws, and where they cannot be known."""

import numpy as np
import pytest

from bench.verdicts.noise import noise_share


def test_a_share_of_noise_by_hand():
    """Means 0, 1, 2 have variance 1; the halves' covariance is ((−1.5) · (−.5) + 0 + 1.5 · .5)/2 = .75."""
    assert noise_share([-0.5, 1.0, 2.5], [0.5, 1.0, 1.5]) == pytest.approx(0.25)
    assert noise_share([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]) == pytest.approx(0.0)
    assert noise_share([1.0, -0.5], [-0.5, 1.5]) > 1  # chance


def test_a_share_of_noise_is_found_again():
    """Runs of variance 3 under halves of error variance 2, whose mean has 1: a quarter is noise."""
    rng = np.random.default_rng(3)
    runs = rng.normal(0, np.sqrt(3), 50_000)
    first, second = runs + rng.normal(0, np.sqrt(2), (2, 50_000))
    assert noise_share(first, second) == pytest.approx(0.25, abs=0.01)
    assert noise_share(*rng.normal(size=(2, 50_000))) == pytest.approx(1.0, abs=0.02)


def test_a_share_that_cannot_be_known_is_none():
    for first, second in (([], []), ([1.0], [2.0]), ([1.0, 1.0], [1.0, 1.0]), ([1.0, np.nan], [1.0, 2.0])):
        assert np.isnan(noise_share(first, second))
    with pytest.raises(ValueError, match="one shape"):
        noise_share([1.0, 2.0], [1.0])
