"""Adam for a stack of replicas: one flat tensor, a learning rate and a step count for each."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Adam:
    """Adam (arXiv 1412.6980, algorithm 1) on parameters (S, P), as `torch.optim.Adam` computes it."""

    beta1, beta2 = 0.9, 0.999

    def __init__(self, parameters: Tensor, eps: float = 1e-5) -> None:
        self.eps = eps
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        # The bias corrections 1 − βᵗ cancel catastrophically in single precision.
        self.steps = torch.zeros(len(parameters), 1, dtype=torch.float64, device=parameters.device)
        self._numerator, self._denominator = torch.empty_like(parameters), torch.empty_like(parameters)

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: Tensor) -> None:
        """Update `parameters` in place; `learning_rate` is (S, 1)."""
        self.steps += 1
        self.first.lerp_(gradient, 1 - self.beta1)
        self.second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        step_size = (learning_rate / (1 - self.beta1**self.steps)).to(parameters.dtype)
        correction = (1 - self.beta2**self.steps).sqrt().to(parameters.dtype)
        torch.mul(self.first, step_size, out=self._numerator)
        torch.sqrt(self.second, out=self._denominator).div_(correction).add_(self.eps)
        parameters.addcdiv_(self._numerator, self._denominator, value=-1)

    def select(self, rows: Sequence[int]) -> "Adam":
        """The state of these replicas only, copied."""
        chosen = Adam(self.first[list(rows)], self.eps)
        chosen.first, chosen.second = self.first[list(rows)], self.second[list(rows)]
        chosen.steps = self.steps[list(rows)]
        return chosen

    def restore(self, rows: Sequence[int], chosen: "Adam") -> None:
        """Write back what `select` took."""
        for name in ("first", "second", "steps"):
            getattr(self, name)[list(rows)] = getattr(chosen, name)

    def state_dict(self) -> dict[str, Tensor]:
        """Both moments (S, P) and the step counts (S, 1)."""
        return {"first": self.first, "second": self.second, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Tensor], strict: bool = True) -> None:  # noqa: ARG002 - SB3 passes it
        """Copy what `state_dict` returned."""
        for name, value in state.items():
            getattr(self, name).copy_(value)
