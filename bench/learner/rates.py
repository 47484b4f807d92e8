"""What may differ between replicas in an update."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.config.schema import Arm

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rates:
    """What may differ between replicas in an update, each (S, 1): schedules follow the budget a replica has used."""

    actor: Array
    critic: Array
    clip_range: Tensor
    kl_coef: Tensor
    reference_coef: Tensor

    @classmethod
    def of(cls, arm: Arm, budget_left: Array, kl_coef: Tensor, reference_coef: Tensor) -> "Rates":
        """Return the rates of replicas that have these shares (S, 1) of their budget left."""

        def scheduled(value: float, schedule: str) -> Array:
            return np.full_like(budget_left, value) if schedule == "constant" else value * budget_left

        return cls(
            actor=scheduled(arm.learning_rate, arm.learning_rate_schedule),
            critic=scheduled(arm.critic.learning_rate, arm.learning_rate_schedule),
            clip_range=torch.from_numpy(scheduled(arm.clip_range, arm.clip_range_schedule)).to(kl_coef),
            kl_coef=kl_coef,
            reference_coef=reference_coef,
        )
