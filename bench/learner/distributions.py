"""Action distributions of S replicas at once, from the network's outputs (S, out, B)."""

import numpy as np
import numpy.typing as npt
from torch import Tensor


class Categorical:
    """A distribution over `Discrete` actions, from logits (S, A, B); actions are (S, B) integers."""

    def __init__(self, logits: Tensor) -> None:
        self.log_probs = logits.log_softmax(1)

    @staticmethod
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The random numbers `sample` needs for actions of this shape."""
        return rng.random(shape, dtype=np.float32)

    def sample(self, uniforms: Tensor) -> Tensor:
        """Actions by inverting the cumulative distribution at `uniforms` (S, B)."""
        cumulative = self.log_probs[:, :-1].exp().cumsum(1)
        return (uniforms.unsqueeze(1) > cumulative).sum(1)

    def mode(self) -> Tensor:
        """The likeliest actions, (S, B)."""
        return self.log_probs.argmax(1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """log π(a|s), (S, B)."""
        return self.log_probs.gather(1, actions.unsqueeze(1)).squeeze(1)

    def entropy(self) -> Tensor:
        """In nats, (S, B)."""
        return -(self.log_probs.exp() * self.log_probs).sum(1)

    def kl(self, other: "Categorical") -> Tensor:
        """KL(self ‖ other), exactly, (S, B)."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(1)
