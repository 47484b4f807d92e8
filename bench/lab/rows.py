"""The tables of a measured stage: one row per quantity, per state, and per variant's costs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bench.lab.advantages import Errors
from bench.lab.anchors import Anchors
from bench.lab.estimators import Variant
from bench.lab.statistics import Quantity

Row = dict[str, Any]

_WHERE: Row = {"level": "", "weights": "", "episodes": None, "step": None, "kind": ""}


@dataclass
class Measured:
    """Rows of quantities, of states, and of costs; `notes` holds the truth's precision."""

    quantities: list[Row] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)
    costs: list[Row] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)

    def add(self, variant: Variant, quantities: Mapping[str, Quantity], **where: Any) -> None:
        """Add one row per quantity of a variant; `where` says at which level, step and so on it was measured."""
        for name, quantity in quantities.items():
            self.quantities.append(described(variant) | _WHERE | where | {"quantity": name} | asdict(quantity))

    def add_states(self, variant: Variant, found: Errors, anchors: Sequence[Anchors]) -> None:
        """Add one row per state in which a variant's errors were found."""
        columns = asdict(found)
        steps = np.concatenate([np.full(at.shape[0], at.step) for at in anchors])
        states = np.concatenate([at.states for at in anchors], 1)
        for index, step in enumerate(steps):
            coordinates = {f"state_{row}": float(value) for row, value in enumerate(states[:, index])}
            errors = {name: float(values[index]) for name, values in columns.items()}
            self.states.append(described(variant) | {"step": int(step)} | coordinates | errors)

    def add_cost(self, variant: Variant, episodes: int, steps: float, seconds: float) -> None:
        """Add the environment steps and the seconds of one batch of a variant."""
        self.costs.append(described(variant) | {"episodes": episodes, "steps": steps, "seconds": seconds})


def described(variant: Variant) -> Row:
    """Describe a variant in columns; None where it reads no such setting."""
    arm = variant.arm
    return {
        "baseline": arm.baseline.name,
        "advantage": arm.advantage.name,
        "critic": variant.critic,
        "gae_lambda": arm.gae_lambda if arm.advantage.name == "gae" else None,
        "n_step": arm.n_step if arm.advantage.name == "nstep" else None,
        "group_size": arm.group.size if arm.group_baseline else None,
        "credit": arm.group.credit if arm.group_baseline else "",
    }
