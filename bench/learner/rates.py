"""What may differ between replicas in an update."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from bench.arms.numbers import Numbers
from bench.config.schema import Arm

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rates:
    """What may differ between replicas in an update, each (S, 1): schedules follow the budget a replica has used.

    `numbers` has the rest of what they have of their own, for `number`; None: all have the numbers of the arm.
    """

    actor: Array
    critic: Array
    clip_range: Tensor
    kl_coef: Tensor
    reference_coef: Tensor
    numbers: Numbers | None = None

    @classmethod
    def of(cls, arm: Arm, numbers: Numbers, budget_left: Array, kl_coef: Tensor, reference_coef: Tensor) -> "Rates":
        """Return the rates of replicas with these numbers that have these shares (S, 1) of their budget left."""

        def scheduled(key: str, schedule: str) -> Array:
            return numbers[key] if schedule == "constant" else numbers[key] * budget_left

        return cls(
            actor=scheduled("learning_rate", arm.learning_rate_schedule),
            critic=scheduled("critic.learning_rate", arm.learning_rate_schedule),
            clip_range=torch.from_numpy(scheduled("clip_range", arm.clip_range_schedule)).to(kl_coef),
            kl_coef=kl_coef,
            reference_coef=reference_coef,
            numbers=numbers,
        )

    def number(self, key: str, arm: Arm) -> Array:
        """Return a number of an update that no schedule changes, each replica's own (S, 1) or the arm's (1, 1)."""
        return (Numbers.of([arm]) if self.numbers is None else self.numbers)[key]
