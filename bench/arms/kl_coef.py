"""How the weight β of a divergence follows it from update to update, for each replica by itself."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def adapted(kl: Array, target: float) -> Array:
    """The factor of β after an update that moved the policy by `kl` (arXiv 1707.06347, section 4)."""
    return np.where(kl < target / 1.5, 0.5, np.where(kl > target * 1.5, 2.0, 1.0))


def controlled(kl: Array, target: float) -> Array:
    """The factor of β after a batch whose divergence from the reference was `kl` (arXiv 1909.08593, section 2.2).

    A policy needs many updates to come near a reference. Doubled in each, β would meanwhile grow beyond all numbers.
    """
    return np.asarray(1 + 0.1 * np.clip((kl - target) / target, -0.2, 0.2))
