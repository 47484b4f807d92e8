"""Record rliable's answers for `test_rliable.py`; rliable itself is no dependency (it needs pandas below 3).

Run in an environment of its own, from the repository's root:

    python3 -m venv /tmp/rliable && /tmp/rliable/bin/pip install rliable==1.2.0 "pandas<3"
    /tmp/rliable/bin/python tests/analysis/stats/record_rliable.py

Point estimates are exact. Its bootstrap ignores a passed random state, so intervals are recorded from many resamples
and compared with a tolerance.
"""

import json
from pathlib import Path

import numpy as np
from rliable import library, metrics

REPS = 20_000
TAUS = [-0.5, 0.0, 0.25, 0.5, 1.0, 1.5]


def main() -> None:
    rng = np.random.default_rng(7)
    x = np.round(rng.normal(0.6, 0.4, (10, 4)) + np.array([0.0, 0.1, -0.2, 0.3]), 3)
    y = np.round(rng.normal(0.4, 0.3, (12, 4)), 3)
    np.random.seed(0)  # noqa: NPY002, the only state rliable's bootstrap reads

    def estimates(scores: np.ndarray) -> np.ndarray:
        return np.array([metrics.aggregate_iqm(scores), metrics.aggregate_mean(scores)])

    _, interval = library.get_interval_estimates({"x": x}, estimates, reps=REPS)
    _, improvement = library.get_interval_estimates(
        {"x,y": (x, y)}, lambda a, b: np.array([metrics.probability_of_improvement(a, b)]), reps=2000
    )
    profile, _ = library.create_performance_profile({"x": x}, np.array(TAUS), reps=2)
    record = {
        "x": x.tolist(),
        "y": y.tolist(),
        "iqm": float(metrics.aggregate_iqm(x)),
        "mean": float(metrics.aggregate_mean(x)),
        "median": float(metrics.aggregate_median(x)),
        "optimality_gap": float(metrics.aggregate_optimality_gap(x)),
        "probability_of_improvement": float(metrics.probability_of_improvement(x, y)),
        "iqm_interval": interval["x"][:, 0].tolist(),
        "mean_interval": interval["x"][:, 1].tolist(),
        "probability_of_improvement_interval": improvement["x,y"][:, 0].tolist(),
        "taus": TAUS,
        "profile": profile["x"].tolist(),
    }
    Path(__file__).with_name("rliable.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
