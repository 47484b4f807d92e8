"""A stack of networks together with the optimiser that moves its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from bench.learner.network import Stack
from bench.learner.optimiser import Adam


@dataclass
class TrainState:
    """The networks of S replicas and their optimiser's state."""

    stack: Stack
    adam: Adam

    def select(self, rows: Sequence[int]) -> "TrainState":
        """Return copies of these replicas only."""
        return TrainState(self.stack.select(rows), self.adam.select(rows))

    def restore(self, rows: Sequence[int], chosen: "TrainState") -> None:
        """Write back what `select` took."""
        self.stack.flat[list(rows)] = chosen.stack.flat
        self.adam.restore(rows, chosen.adam)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the parameters and the optimiser's state, for saving."""
        return {"parameters": self.stack.flat.clone(), **self.adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy what `state_dict` returned; rows of earlier versions are longer, with numbers that nothing reads."""
        self.stack.flat.copy_(state["parameters"][:, : self.stack.used])
        self.adam.load_state_dict(state)
