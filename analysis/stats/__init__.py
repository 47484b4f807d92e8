"""The statistics: estimates, intervals, tests and power, as pure functions of arrays.

>>> stats.interval(scores, stats.iqm, stats.REPS, stats.CONFIDENCE, stats.generator("cartpole", "ppo"))
"""

from analysis.stats.bootstrap import (
    CONFIDENCE,
    REPS,
    Interval,
    Statistic,
    difference_interval,
    generator,
    improvement_interval,
    interval,
    intervals,
    mean_band,
    mean_interval,
    percentiles,
    resample,
    resample_rows,
)
from analysis.stats.curves import curve_metrics
from analysis.stats.inference import (
    equivalence_test,
    holm,
    minimum_detectable_effect,
    power,
    seeds_needed,
    sign_flip_test,
)
from analysis.stats.scores import (
    Array,
    failure_rate,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)

__all__ = [
    "CONFIDENCE",
    "REPS",
    "Array",
    "Interval",
    "Statistic",
    "curve_metrics",
    "difference_interval",
    "equivalence_test",
    "failure_rate",
    "generator",
    "holm",
    "improvement_interval",
    "interval",
    "intervals",
    "iqm",
    "mean",
    "mean_band",
    "mean_interval",
    "median",
    "minimum_detectable_effect",
    "optimality_gap",
    "percentiles",
    "performance_profile",
    "power",
    "probability_of_improvement",
    "resample",
    "resample_rows",
    "seeds_needed",
    "sign_flip_test",
]
