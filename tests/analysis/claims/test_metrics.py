"""The metrics that claims are judged by, from runs made by hand."""

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.claims import metrics


def test_the_metrics_of_a_run_by_hand(results):
    top = [54.1 + 17.26 * share + 1 for share in (0.2, 0.5, 1.0)]  # the stochastic scores lie 1 lower
    results.block(
        "s", "weekly_exam", "a", range(3), lambda seed, _: top[seed], true=lambda seed, _: top[seed] - 1.726, k=0
    )
    found = metrics.run_metrics(load.read(["s"], results.root))
    assert found["final"].tolist() == pytest.approx([0.2, 0.5, 1.0])
    assert found["spread"].tolist() == pytest.approx([0.3, 0.0, 0.5])
    assert found["overstated"].tolist() == pytest.approx([0.1, 0.1, 0.1])
    assert found["steps"].tolist() == [1.0, 1.0, 0.0]  # two never get to 0.8, one begins above it
    assert found["log_parameters"].tolist() == pytest.approx([np.log(4610 + 4545)] * 3)


def test_the_largest_update_is_nearly_the_largest():
    training = pd.DataFrame({"task": "t", "hash": "h", "seed": 0, "train/kl": np.arange(101) / 100})
    runs = pd.DataFrame({"task": ["t", "t"], "hash": ["h", "h"], "seed": [0, 1]})
    np.testing.assert_allclose(metrics._largest(training, "train/kl", runs), [0.99, np.nan])
