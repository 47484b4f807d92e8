"""Adam for a stack of replicas: one flat tensor, a learning rate and a step count for each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.kernel.engine import by_kernel
from bench.kernel.functions import call

Array = npt.NDArray[Any]


class Adam:
    """Adam (arXiv 1412.6980, algorithm 1) on parameters (S, P)."""

    beta1, beta2 = 0.9, 0.999

    def __init__(self, parameters: Tensor, eps: float = 1e-5) -> None:
        self.eps = eps
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.steps = np.zeros((len(parameters), 1))

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: Array, taken: Array | None = None) -> None:
        """Update `parameters` in place; `learning_rate` is (S, 1), `taken` (S,) says which replicas take the step."""
        taken = np.ones(len(parameters), dtype=bool) if taken is None else taken
        self.steps[taken] += 1
        counts = np.where(taken, self.steps[:, 0], 0).astype(np.int64)
        rates = np.ascontiguousarray(learning_rate[:, 0], dtype=np.float64)
        if not by_kernel():
            self._by_torch(parameters, gradient, rates, counts)
            return
        call(
            "adam", parameters, *parameters.shape, parameters, gradient, self.first, self.second,
            rates.ctypes.data, counts.ctypes.data, self.beta1, self.beta2, self.eps,
        )  # fmt: skip

    def _by_torch(self, parameters: Tensor, gradient: Tensor, rates: Array, counts: Array) -> None:
        rows = np.flatnonzero(counts)

        def column(values: Array) -> Tensor:
            return torch.from_numpy(values[rows, None]).to(parameters)

        step = column(rates / (1 - self.beta1 ** np.maximum(counts, 1)))
        scale = column(np.sqrt(1 - self.beta2 ** np.maximum(counts, 1)))
        first = self.beta1 * self.first[rows] + (1 - self.beta1) * gradient[rows]
        second = self.beta2 * self.second[rows] + (1 - self.beta2) * gradient[rows].square()
        parameters[rows] -= step * first / (second.sqrt() / scale + self.eps)
        self.first[rows], self.second[rows] = first, second

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

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> None:
        """Copy what `state_dict` returned; without `strict`, what there is of it. Raises KeyError.

        Rows of earlier versions are longer, with numbers that nothing reads.
        """
        for name, present in self.state_dict().items():
            if strict or name in state:
                present.copy_(state[name][:, : present.shape[1]])
