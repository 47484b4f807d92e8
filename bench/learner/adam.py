"""Adam for a stack of replicas: one flat tensor, a learning rate and a step count for each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


class Adam:
    """Adam (arXiv 1412.6980, algorithm 1) on parameters (S, P), as `torch.optim.Adam` computes it."""

    beta1, beta2 = 0.9, 0.999

    def __init__(self, parameters: Tensor, eps: float = 1e-5) -> None:
        self.eps = eps
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        # In double precision, since 1 − βᵗ cancels catastrophically in single; NumPy is quicker on so few numbers.
        self.steps = np.zeros((len(parameters), 1))
        self._change = torch.empty_like(parameters)

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: Array) -> None:
        """Update `parameters` in place; `learning_rate` is (S, 1).

        α m̂ / (√v̂ + ε) is computed as (α √c₂ / c₁) m / (√v + ε √c₂), with the bias corrections c₁ and c₂.
        """
        self.steps += 1
        root = np.sqrt(1 - self.beta2**self.steps)
        rate = learning_rate * root / (1 - self.beta1**self.steps)
        self.first.lerp_(gradient, 1 - self.beta1)
        self.second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        torch.sqrt(self.second, out=self._change).add_(self._column(self.eps * root))
        torch.div(self.first, self._change, out=self._change).mul_(self._column(rate))
        parameters.sub_(self._change)

    def _column(self, values: Array) -> Tensor:
        return torch.from_numpy(values).to(self.first)

    def select(self, rows: Sequence[int]) -> "Adam":
        """The state of these replicas only, copied."""
        chosen = Adam(self.first[list(rows)], self.eps)
        chosen.first, chosen.second = self.first[list(rows)], self.second[list(rows)]
        chosen.steps = self.steps[list(rows)].copy()
        return chosen

    def restore(self, rows: Sequence[int], chosen: "Adam") -> None:
        """Write back what `select` took."""
        for name in ("first", "second", "steps"):
            getattr(self, name)[list(rows)] = getattr(chosen, name)

    def state_dict(self) -> dict[str, Tensor]:
        """Both moments (S, P) and the step counts (S, 1)."""
        return {"first": self.first, "second": self.second, "steps": torch.from_numpy(self.steps)}

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> None:  # noqa: ARG002 - SB3 passes it
        """Copy what `state_dict` returned."""
        self.first.copy_(state["first"])
        self.second.copy_(state["second"])
        self.steps[:] = state["steps"].numpy()
