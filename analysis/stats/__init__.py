"""The statistics: estimates, intervals, tests and power, as pure functions of arrays.

>>> stats.interval(scores, stats.iqm, stats.REPS, stats.CONFIDENCE, stats.generator("cartpole", "ppo"))
"""

from analysis.stats.inference import holm, sign_flip_test
from bench.records.metrics import cross_fitted_drawdown, drawdown, steps_to_threshold
from bench.verdicts.bootstrap import (
    CONFIDENCE,
    REPS,
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
from bench.verdicts.estimates import (
    Array,
    failure_rate,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from bench.verdicts.judge import improvements
from bench.verdicts.noise import noise_share
from bench.verdicts.sequential import (
    Design,
    Interval,
    boundaries,
    half_width,
    least_level,
    looks_up_to,
    one_look,
    pairs_needed,
    quantiles,
    repeated_interval,
    shares,
    spent,
    unseen,
    unseen_rate,
)
from bench.verdicts.spread import gini, gini_effect, gini_pseudo_values

__all__ = [
    "CONFIDENCE",
    "REPS",
    "Array",
    "Design",
    "Interval",
    "Statistic",
    "boundaries",
    "cross_fitted_drawdown",
    "difference_interval",
    "drawdown",
    "failure_rate",
    "generator",
    "gini",
    "gini_effect",
    "gini_pseudo_values",
    "half_width",
    "holm",
    "improvement_interval",
    "improvements",
    "interval",
    "intervals",
    "iqm",
    "least_level",
    "looks_up_to",
    "mean",
    "mean_band",
    "mean_interval",
    "median",
    "noise_share",
    "one_look",
    "optimality_gap",
    "pairs_needed",
    "percentiles",
    "performance_profile",
    "probability_of_improvement",
    "quantiles",
    "repeated_interval",
    "resample",
    "resample_rows",
    "shares",
    "sign_flip_test",
    "spent",
    "steps_to_threshold",
    "unseen",
    "unseen_rate",
]
