"""The tables of a measured stage: one row per quantity, per state, and per variant's costs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bench.lab.advantages import Errors
from bench.lab.anchors import Anchors
from bench.lab.estimators import Variant, reference_of
from bench.lab.statistics import Estimate, Quantity, angles

Row = dict[str, Any]

POLICY = "policy"  # the level of numbers of a policy itself
_NO_VARIANT: Row = {
    **dict.fromkeys(("baseline", "advantage", "critic"), ""),
    **dict.fromkeys(("gae_lambda", "n_step", "group_size")),
    "credit": "",
}
_UNPAIRED: Row = {"against": "", "difference": None, "difference_error": None}
_WHERE: Row = {"level": "", "weights": "", "episodes": None, "step": None, "kind": ""}


@dataclass(frozen=True)
class Reference:
    """The variant that others of the same states, futures or batches are compared with, and its estimates."""

    variant: Variant
    estimates: Mapping[str, Estimate]

    def difference(self, name: str, estimate: Estimate | Quantity) -> Row:
        """Return a quantity's difference from that of the reference, with its paired error."""
        other = self.estimates.get(name)
        if other is None or not isinstance(estimate, Estimate):
            return _UNPAIRED
        found = estimate - other
        return {"against": self.variant.name, "difference": found.value, "difference_error": _short(found.error)}


@dataclass
class Measured:
    """Rows of quantities, of states, and of costs, of policies that are told apart by the seed of their training."""

    seed: int = 0
    quantities: list[Row] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)
    costs: list[Row] = field(default_factory=list)

    def add(
        self,
        variant: Variant | None,
        quantities: Mapping[str, Quantity | Estimate],
        reference: Reference | None = None,
        **where: Any,
    ) -> None:
        """Add one row per quantity of a variant, or of the policy itself; `where` says at which level, step and so on.

        With a `reference`, the difference from its quantity of the same name comes with it.
        """
        for name, found in quantities.items():
            quantity = found.quantity if isinstance(found, Estimate) else found
            paired = _UNPAIRED if reference is None else reference.difference(name, found)
            numbers = {"value": quantity.value, "error": _short(quantity.error), "freedom": quantity.freedom}
            self.quantities.append(self._row(variant) | _WHERE | where | {"quantity": name} | numbers | paired)

    def add_compared(self, found: Sequence[tuple[Variant, Mapping[str, Estimate]]], **where: Any) -> None:
        """Add the quantities of variants that were measured on the same states, futures or batches, compared."""
        for variant, estimates in found:
            other = reference_of(variant, [each for each, _ in found])
            reference = next((Reference(each, own) for each, own in found if each is other), None)
            derived = angles(estimates["cosine_truth"].quantity) if "cosine_truth" in estimates else {}
            self.add(variant, {**estimates, **derived}, reference, **where)

    def note(self, **numbers: float) -> None:
        """Add numbers of the policy itself and of its measurement, such as its score and how precise the truth is."""
        for name, number in numbers.items():
            self.add(None, {name: Quantity(number, 0.0, number, number)}, level=POLICY)

    def extend(self, other: "Measured") -> None:
        """Add the rows of other policies."""
        self.quantities += other.quantities
        self.states += other.states
        self.costs += other.costs

    def _row(self, variant: Variant | None) -> Row:
        return {"seed": self.seed} | described(variant)

    def add_states(self, variant: Variant, found: Errors, anchors: Sequence[Anchors]) -> None:
        """Add one row per state in which a variant's errors were found."""
        columns = asdict(found)
        steps = np.concatenate([np.full(at.shape[0], at.step) for at in anchors])
        states = np.concatenate([at.states for at in anchors], 1)
        for index, step in enumerate(steps):
            coordinates = {f"state_{row}": float(value) for row, value in enumerate(states[:, index])}
            errors = {name: float(values[index]) for name, values in columns.items()}
            self.states.append(self._row(variant) | {"step": int(step)} | coordinates | errors)

    def add_cost(self, variant: Variant, episodes: int, steps: float, seconds: float) -> None:
        """Add the environment steps and the seconds of one batch of a variant."""
        self.costs.append(self._row(variant) | {"episodes": episodes, "steps": steps, "seconds": seconds})


def _short(error: float) -> float:
    """Return an error in single precision, which takes half the space and is more than it is known to."""
    return float(np.float32(error))


def described(variant: Variant | None) -> Row:
    """Describe a variant in columns; None where it reads no such setting."""
    if variant is None:
        return _NO_VARIANT
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
