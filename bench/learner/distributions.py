"""Action distributions of S replicas at once, from a network's outputs (S, out, B) and its other parameters (S, extra).

Actions are (S, K, B): K is 1 for a Discrete space and the number of components for a Box.
"""

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from torch import Tensor

from bench.errors import UserError

Array = npt.NDArray[Any]


class Distribution(ABC):
    """π(·|s) of every replica and sample."""

    @classmethod
    @abstractmethod
    def sizes(cls, space: Any) -> tuple[int, int]:
        """Numbers of network outputs and of other parameters for actions in `space`."""

    @abstractmethod
    def __init__(self, outputs: Tensor, extras: Tensor) -> None: ...

    @staticmethod
    @abstractmethod
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The random numbers `sample` needs for actions of this shape."""

    @abstractmethod
    def sample(self, noise: Tensor) -> Tensor:
        """Actions (S, K, B) from noise of that shape."""

    @abstractmethod
    def mode(self) -> Tensor:
        """The likeliest actions, (S, K, B)."""

    @abstractmethod
    def log_prob(self, actions: Tensor) -> Tensor:
        """log π(a|s), (S, B)."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """In nats, (S, B)."""

    @abstractmethod
    def kl(self, other: Self) -> Tensor:
        """KL(self ‖ other), exactly, (S, B)."""

    @abstractmethod
    def summary(self, actions: Tensor, share: Tensor) -> dict[str, Tensor]:
        """What a batch's actions (S, K, B) were like, as diagnostics (S,); sums with `share` (S, B) are means."""

    @abstractmethod
    def backward(
        self,
        actions: Tensor,
        d_log_prob: Tensor,
        d_entropy: Tensor | None = None,
        old: Self | None = None,
        d_kl: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """A loss's gradients by the outputs (S, out, B) and the extras (S, extra), None where there are none.

        Given are those by `log_prob(actions)`, by `entropy()` and by `old.kl(self)`, all (S, B).
        """


class Categorical(Distribution):
    """A distribution over a Discrete space; the outputs are logits (S, A, B)."""

    @classmethod
    def sizes(cls, space: Any) -> tuple[int, int]:
        """One logit per action."""
        return int(space.n), 0

    def __init__(self, outputs: Tensor, extras: Tensor) -> None:  # noqa: ARG002 - it has no other parameters
        self.logits = outputs

    @cached_property
    def log_probs(self) -> Tensor:
        """log π of every action, (S, A, B)."""
        return self.logits.log_softmax(1)

    @staticmethod
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Uniform numbers in [0, 1)."""
        return rng.random(shape, dtype=np.float32)

    def sample(self, noise: Tensor) -> Tensor:
        """Actions by inverting the cumulative distribution."""
        cumulative = self.logits.softmax(1)[:, :-1].cumsum(1)
        return (noise > cumulative).sum(1, keepdim=True)

    def mode(self) -> Tensor:
        """The likeliest actions."""
        return self.logits.argmax(1, keepdim=True)

    def log_prob(self, actions: Tensor) -> Tensor:
        """log π(a|s)."""
        return self.log_probs.gather(1, actions).squeeze(1)

    def entropy(self) -> Tensor:
        """−Σ π log π."""
        return -(self.log_probs.exp() * self.log_probs).sum(1)

    def kl(self, other: "Categorical") -> Tensor:
        """Σ π log(π / other)."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(1)

    def summary(self, actions: Tensor, share: Tensor) -> dict[str, Tensor]:
        """The share of each action."""
        taken = range(self.log_probs.shape[1])
        return {f"rollout/action_{action}": (share * (actions[:, 0] == action)).sum(1) for action in taken}

    def backward(
        self,
        actions: Tensor,
        d_log_prob: Tensor,
        d_entropy: Tensor | None = None,
        old: "Categorical | None" = None,
        d_kl: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """By the logits: 1[action] − π for log π(a), −π (log π + H) for the entropy, π − old for KL(old ‖ π)."""
        probs = self.log_probs.exp()
        d_logits = (probs * -d_log_prob.unsqueeze(1)).scatter_add_(1, actions, d_log_prob.unsqueeze(1))
        if d_entropy is not None:
            d_logits -= d_entropy.unsqueeze(1) * probs * (self.log_probs + self.entropy().unsqueeze(1))
        if old is not None and d_kl is not None:
            d_logits += d_kl.unsqueeze(1) * (probs - old.log_probs.exp())
        return d_logits, None


class DiagonalGaussian(Distribution):
    """Independent normal components for a Box; the outputs are means (S, K, B), the extras log σ (S, K).

    As in Stable-Baselines3, log-probabilities are those of the unclipped actions.
    """

    @classmethod
    def sizes(cls, space: Any) -> tuple[int, int]:
        """One mean and one log standard deviation per component."""
        return int(space.shape[0]), int(space.shape[0])

    def __init__(self, outputs: Tensor, extras: Tensor) -> None:
        self.mean, self.log_std = outputs, extras.unsqueeze(2)

    @staticmethod
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Standard normal numbers."""
        return rng.standard_normal(shape, dtype=np.float32)

    def sample(self, noise: Tensor) -> Tensor:
        """μ + σ · noise."""
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> Tensor:
        """The means."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """Σ over components of −½ ((a − μ)/σ)² − log σ − ½ log 2π."""
        standardised = (actions - self.mean) * (-self.log_std).exp()
        return (-0.5 * standardised.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(1)

    def entropy(self) -> Tensor:
        """Σ log σ + ½ log 2πe, the same in every state."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(1).expand(-1, self.mean.shape[2])

    def kl(self, other: "DiagonalGaussian") -> Tensor:
        """Σ log(σ'/σ) + (σ² + (μ − μ')²) / 2σ'² − ½."""
        variance, other_variance = (2 * self.log_std).exp(), (2 * other.log_std).exp()
        distance = (self.mean - other.mean).square()
        return (other.log_std - self.log_std + (variance + distance) / (2 * other_variance) - 0.5).sum(1)

    def summary(self, actions: Tensor, share: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 - σ is the same in all states
        """The standard deviation, averaged over components, under Stable-Baselines3's name."""
        return {"train/std": self.log_std.exp().mean((1, 2))}

    def backward(
        self,
        actions: Tensor,
        d_log_prob: Tensor,
        d_entropy: Tensor | None = None,
        old: "DiagonalGaussian | None" = None,
        d_kl: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """With z = (a − μ)/σ, by (μ, log σ): (z/σ, z² − 1) for log π(a), (0, 1) for the entropy, and for KL(old ‖ π)
        ((μ − μ_old)/σ², 1 − (σ_old² + (μ − μ_old)²)/σ²).
        """
        inverse_std = (-self.log_std).exp()
        standardised = (actions - self.mean) * inverse_std
        d_log_prob = d_log_prob.unsqueeze(1)
        d_mean = d_log_prob * standardised * inverse_std
        d_log_std = (d_log_prob * (standardised.square() - 1)).sum(2)
        if d_entropy is not None:
            d_log_std += d_entropy.sum(1, keepdim=True)
        if old is not None and d_kl is not None:
            d_kl = d_kl.unsqueeze(1)
            distance = (self.mean - old.mean) * inverse_std
            ratio = (old.log_std - self.log_std).exp()  # of the standard deviations
            d_mean += d_kl * distance * inverse_std
            d_log_std += (d_kl * (1 - ratio.square() - distance.square())).sum(2)
        return d_mean, d_log_std


def distribution_for(space: spaces.Space[Any]) -> type[Distribution]:
    """The distribution over an action space. Raises `UserError` for spaces that are not supported."""
    if isinstance(space, spaces.Discrete):
        return Categorical
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return DiagonalGaussian
    raise UserError(f"action space {space}: only Discrete and flat Box spaces are supported")


def env_actions(actions: Tensor, space: spaces.Space[Any]) -> Array:
    """Actions (S, K, N) as environments take them: (S·N,) integers, or (K, S·N) floats clipped to the Box."""
    columns: Array = actions.transpose(0, 1).flatten(1).numpy()
    if isinstance(space, spaces.Box):
        return columns.clip(space.low[:, None], space.high[:, None])
    single: Array = columns[0]
    return single
