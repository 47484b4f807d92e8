"""From tidy tables to figures.

>>> figures.learning_curve(curves, figures.arm_styles(records.runs), ax=ax)
"""

from analysis.figures.panel import (
    diagnostic,
    factor_curve,
    final_scores,
    heat_map,
    improvement,
    learning_curve,
    performance_profile,
    sample_efficiency,
    spaghetti,
)
from analysis.figures.references import beta_curve
from analysis.figures.style import arm_styles

__all__ = [
    "arm_styles",
    "beta_curve",
    "diagnostic",
    "factor_curve",
    "final_scores",
    "heat_map",
    "improvement",
    "learning_curve",
    "performance_profile",
    "sample_efficiency",
    "spaghetti",
]
