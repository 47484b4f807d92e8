"""From result folders to tidy tables.

>>> runs, evaluations, training = load.load("quick")
>>> records = load.read(["quick", "article"])
"""

from analysis.load.blocks import SCORES, Problem
from analysis.load.records import (
    MODES,
    STATUSES,
    TRUE_SCORE,
    DamagedRecord,
    Measure,
    Records,
    curves,
    load,
    measures,
    read,
    seed_pools,
    with_factors,
)

__all__ = [
    "MODES",
    "SCORES",
    "STATUSES",
    "TRUE_SCORE",
    "DamagedRecord",
    "Measure",
    "Problem",
    "Records",
    "curves",
    "load",
    "measures",
    "read",
    "seed_pools",
    "with_factors",
]
