"""Numbers as a reader is shown them, in the terminal and in tables."""

from collections.abc import Sequence

import numpy as np

from bench.verdicts.estimates import Array


def interval_text(interval: Sequence[float], decimals: int) -> str:
    """`487.3 [480.1, 493.0]`; a dash where there is no run, the estimate alone where there is a single one."""
    estimate, low, high = (optional_text(value, decimals) for value in interval)
    return estimate if np.isnan(interval[1]) else f"{estimate} [{low}, {high}]"


def number_text(value: float, decimals: int) -> str:
    """A number with a fixed number of decimals and a true minus sign; never `-0.0`."""
    text = f"{value:,.{decimals}f}" if abs(value) >= 10_000 else f"{value:.{decimals}f}"
    if not text.strip("-0."):
        text = text.lstrip("-")
    return text.replace("-", "−")


def optional_text(value: float, decimals: int) -> str:
    """`number_text`, or a dash where there is no number."""
    return "–" if np.isnan(value) else number_text(value, decimals)


def decimals_of(values: Array) -> int:
    """Decimals that show four digits of the largest value, with one to three decimals."""
    finite = np.abs(values[np.isfinite(values)])
    if not finite.size or finite.max() == 0:
        return 1
    return int(np.clip(3 - np.floor(np.log10(finite.max())), 1, 3))
