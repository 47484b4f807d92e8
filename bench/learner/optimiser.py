"""Adam for a stack of replicas: one flat tensor, a learning rate and a step count for each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


class Adam:
    """Adam (arXiv 1412.6980, algorithm 1) on parameters (S, P): torch's fused kernel, one pass over memory.

    P is a multiple of the processor's vector length (`bench.learner.network.VECTOR`), so a row's bits are the same in
    a call of its own and in one for all rows.
    """

    beta1, beta2 = 0.9, 0.999

    def __init__(self, parameters: Tensor, eps: float = 1e-5) -> None:
        self.eps = eps
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.steps = np.zeros((len(parameters), 1))

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: Array) -> None:
        """Update `parameters` in place; `learning_rate` is (S, 1)."""
        self.steps += 1
        # The kernel takes one learning rate and one step count: rows that agree on both go together.
        if (learning_rate == learning_rate[0]).all() and (self.steps == self.steps[0]).all():
            self._step(slice(None), parameters, gradient, learning_rate[0, 0], self.steps[0, 0])
            return
        for row, (rate, count) in enumerate(zip(learning_rate[:, 0], self.steps[:, 0], strict=True)):
            self._step(slice(row, row + 1), parameters, gradient, rate, count)

    def _step(self, rows: slice, parameters: Tensor, gradient: Tensor, learning_rate: float, count: float) -> None:
        torch._fused_adam_(
            [parameters[rows]],
            [gradient[rows]],
            [self.first[rows]],
            [self.second[rows]],
            [],
            [torch.full((), count, dtype=torch.float32, device=parameters.device)],
            lr=float(learning_rate),
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

    def select(self, rows: Sequence[int]) -> "Adam":
        """Return copies of the state of these replicas only."""
        chosen = Adam(self.first[list(rows)], self.eps)
        chosen.first, chosen.second = self.first[list(rows)], self.second[list(rows)]
        chosen.steps = self.steps[list(rows)].copy()
        return chosen

    def restore(self, rows: Sequence[int], chosen: "Adam") -> None:
        """Write back what `select` took."""
        for name in ("first", "second", "steps"):
            getattr(self, name)[list(rows)] = getattr(chosen, name)

    def state_dict(self) -> dict[str, Tensor]:
        """Return both moments (S, P) and the step counts (S, 1)."""
        return {"first": self.first, "second": self.second, "steps": torch.from_numpy(self.steps)}

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> None:  # noqa: ARG002 - SB3 passes it
        """Copy what `state_dict` returned."""
        self.first.copy_(state["first"])
        self.second.copy_(state["second"])
        self.steps[:] = state["steps"].numpy()
