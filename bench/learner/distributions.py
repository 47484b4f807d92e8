"""Action distributions of S replicas at once, from a network's outputs (S, out, B) and its other parameters (S, extra).

Actions are (S, K, B): K is 1 for a Discrete space and the number of components for a Box.
"""

import math
from abc import ABC, abstractmethod
from functools import cache, cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from torch import Tensor

from bench.errors import UserError
from bench.kernel.functions import choose, exp, log, log_softmax, mean_over, softmax, sum_over

Array = npt.NDArray[Any]


class Distribution(ABC):
    """π(·|s) of every replica and sample."""

    # Whether the outputs are followed by the features they were computed from: see `bench.learner.actor.Actor.outputs`.
    reads_features: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def sizes(cls, space: Any, features: int) -> tuple[int, int]:
        """Numbers of network outputs and of other parameters for actions in `space`, given the last layer's width."""

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
    def sizes(cls, space: Any, features: int) -> tuple[int, int]:  # noqa: ARG003 - the width does not matter
        """One logit per action."""
        return int(space.n), 0

    def __init__(self, outputs: Tensor, extras: Tensor) -> None:  # noqa: ARG002 - it has no other parameters
        self.logits = outputs

    @cached_property
    def log_probs(self) -> Tensor:
        """log π of every action, (S, A, B)."""
        return log_softmax(self.logits, 1)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """π of every action, (S, A, B), which sum to 1 in double precision."""
        return np.asarray(softmax(self.log_probs.double().cpu(), 1).numpy())

    @staticmethod
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Uniform numbers in [0, 1)."""
        return rng.random(shape, dtype=np.float32)

    def sample(self, noise: Tensor) -> Tensor:
        """Actions by inverting the cumulative distribution."""
        return choose(self.logits, noise)

    def mode(self) -> Tensor:
        """The likeliest actions."""
        return self.logits.argmax(1, keepdim=True)

    def log_prob(self, actions: Tensor) -> Tensor:
        """log π(a|s)."""
        return self.log_probs.gather(1, actions).squeeze(1)

    def entropy(self) -> Tensor:
        """−Σ π log π."""
        return -sum_over(exp(self.log_probs) * self.log_probs, 1)

    def kl(self, other: "Categorical") -> Tensor:
        """Σ π log(π / other)."""
        return sum_over(exp(self.log_probs) * (self.log_probs - other.log_probs), 1)

    def summary(self, actions: Tensor, share: Tensor) -> dict[str, Tensor]:
        """The share of each action."""
        taken = range(self.log_probs.shape[1])
        return {f"rollout/action_{action}": sum_over(share * (actions[:, 0] == action), 1) for action in taken}

    def backward(
        self,
        actions: Tensor,
        d_log_prob: Tensor,
        d_entropy: Tensor | None = None,
        old: "Categorical | None" = None,
        d_kl: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """By the logits: 1[action] − π for log π(a), −π (log π + H) for the entropy, π − old for KL(old ‖ π)."""
        probs = exp(self.log_probs)
        d_logits = (probs * -d_log_prob.unsqueeze(1)).scatter_add_(1, actions, d_log_prob.unsqueeze(1))
        if d_entropy is not None:
            d_logits -= d_entropy.unsqueeze(1) * probs * (self.log_probs + self.entropy().unsqueeze(1))
        if old is not None and d_kl is not None:
            d_logits += d_kl.unsqueeze(1) * (probs - exp(old.log_probs))
        return d_logits, None


class DiagonalGaussian(Distribution):
    """Independent normal components for a Box; the outputs are means (S, K, B), the extras log σ (S, K).

    As in Stable-Baselines3, log-probabilities are those of the unclipped actions.
    """

    @classmethod
    def sizes(cls, space: Any, features: int) -> tuple[int, int]:  # noqa: ARG003 - the width does not matter
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
        return self.mean + exp(self.log_std) * noise

    def mode(self) -> Tensor:
        """The means."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """Σ over components of −½ ((a − μ)/σ)² − log σ − ½ log 2π."""
        standardised = (actions - self.mean) * exp(-self.log_std)
        return sum_over(-0.5 * standardised.square() - self.log_std - 0.5 * math.log(2 * math.pi), 1)

    def entropy(self) -> Tensor:
        """Σ log σ + ½ log 2πe, the same in every state."""
        return sum_over(self.log_std + 0.5 * math.log(2 * math.pi * math.e), 1).expand(-1, self.mean.shape[2])

    def kl(self, other: "DiagonalGaussian") -> Tensor:
        """Σ log(σ'/σ) + (σ² + (μ − μ')²) / 2σ'² − ½."""
        variance, other_variance = exp(2 * self.log_std), exp(2 * other.log_std)
        distance = (self.mean - other.mean).square()
        return sum_over(other.log_std - self.log_std + (variance + distance) / (2 * other_variance) - 0.5, 1)

    def summary(self, actions: Tensor, share: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 - σ is the same in all states
        """The standard deviation, averaged over components, under Stable-Baselines3's name."""
        return {"train/std": mean_over(exp(self.log_std).flatten(1), 1)}

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
        inverse_std = exp(-self.log_std)
        standardised = (actions - self.mean) * inverse_std
        d_log_prob = d_log_prob.unsqueeze(1)
        d_mean = d_log_prob * standardised * inverse_std
        d_log_std = sum_over(d_log_prob * (standardised.square() - 1), 2)
        if d_entropy is not None:
            d_log_std += sum_over(d_entropy, 1, keepdim=True)
        if old is not None and d_kl is not None:
            d_kl = d_kl.unsqueeze(1)
            distance = (self.mean - old.mean) * inverse_std
            ratio = exp(old.log_std - self.log_std)  # of the standard deviations
            d_mean += d_kl * distance * inverse_std
            d_log_std += sum_over(d_kl * (1 - ratio.square() - distance.square()), 2)
        return d_mean, d_log_std


class StateDependentGaussian(Distribution):
    """Generalised state-dependent exploration (arXiv 2005.05719): a Gaussian whose noise is a function of the state.

    a = μ(s) + Θ φ(s), with φ (F,) the policy's last hidden layer and Θ (K, F) a matrix of independent normal numbers
    with standard deviations σ (K, F), which is held for several steps. A single action is then normal with the variance
    Σ_f (σ_kf φ_f)². As in Stable-Baselines3, no gradient flows through φ, actions are not squashed, and `EPSILON` is
    added to the variance. The outputs are means (S, K, B) followed by features (S, F, B), the extras log σ (S, K·F).
    """

    EPSILON = 1e-6
    reads_features = True
    components: ClassVar[int]  # K, set by `of`

    @classmethod
    @cache
    def of(cls, components: int) -> "type[StateDependentGaussian]":
        """The distribution over actions of K components, which the sizes of its parameters alone do not tell."""
        return type(f"{cls.__name__}{components}", (cls,), {"components": components})

    @classmethod
    def sizes(cls, space: Any, features: int) -> tuple[int, int]:
        """One mean per component, and one log standard deviation per component and feature."""
        return int(space.shape[0]), int(space.shape[0]) * features

    def __init__(self, outputs: Tensor, extras: Tensor) -> None:
        self.mean, self.features = outputs[:, : self.components], outputs[:, self.components :]
        self.log_std = extras.unflatten(1, (self.components, -1))

    @cached_property
    def variance(self) -> Tensor:
        """Of every component, (S, K, B)."""
        squares = exp(2 * self.log_std).unsqueeze(3) * self.features.square().unsqueeze(1)
        return sum_over(squares, 2) + self.EPSILON

    @staticmethod
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Standard normal numbers, one for each entry of Θ."""
        return rng.standard_normal(shape, dtype=np.float32)

    def sample(self, noise: Tensor) -> Tensor:
        """μ + Θφ with Θ = σ · noise, from noise (S, K·F, B)."""
        matrices: Tensor = exp(self.log_std).unsqueeze(3) * noise.unflatten(1, self.log_std.shape[1:])
        return self.mean + sum_over(matrices * self.features.unsqueeze(1), 2)

    def mode(self) -> Tensor:
        """The means."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """Σ over components of −½ (a − μ)²/v − ½ log 2πv, with v the variance."""
        squared = (actions - self.mean).square() / self.variance
        return sum_over(-0.5 * (squared + log(self.variance) + math.log(2 * math.pi)), 1)

    def entropy(self) -> Tensor:
        """Σ ½ log 2πev."""
        return sum_over(0.5 * (log(self.variance) + math.log(2 * math.pi * math.e)), 1)

    def kl(self, other: "StateDependentGaussian") -> Tensor:
        """Σ ½ (log(v'/v) + (v + (μ − μ')²)/v' − 1)."""
        distance = (self.mean - other.mean).square()
        logs = log(other.variance) - log(self.variance)
        return sum_over(0.5 * (logs + (self.variance + distance) / other.variance - 1), 1)

    def summary(self, actions: Tensor, share: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 - SB3 logs σ, not the spread
        """The mean of σ, under Stable-Baselines3's name."""
        return {"train/std": mean_over(exp(self.log_std).flatten(1), 1)}

    def backward(
        self,
        actions: Tensor,
        d_log_prob: Tensor,
        d_entropy: Tensor | None = None,
        old: "StateDependentGaussian | None" = None,
        d_kl: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """With d = a − μ, by (μ, v): (d/v, ½ (d²/v − 1)/v) for log π(a), (0, ½/v) for the entropy, and for KL(old ‖ π)
        ((μ − μ_old)/v, ½ (1 − (v_old + (μ − μ_old)²)/v)/v). The variance's derivative by log σ_kf is 2 σ_kf² φ_f².
        """
        inverse = 1 / self.variance
        difference = actions - self.mean
        d_log_prob = d_log_prob.unsqueeze(1)
        d_mean = d_log_prob * difference * inverse
        d_variance = d_log_prob * (0.5 * inverse * (difference.square() * inverse - 1))
        if d_entropy is not None:
            d_variance += d_entropy.unsqueeze(1) * (0.5 * inverse)
        if old is not None and d_kl is not None:
            d_kl = d_kl.unsqueeze(1)
            distance = self.mean - old.mean
            d_mean += d_kl * distance * inverse
            d_variance += d_kl * (0.5 * inverse * (1 - (old.variance + distance.square()) * inverse))
        d_squares = sum_over(d_variance.unsqueeze(2) * self.features.square().unsqueeze(1), 3)  # by σ², (S, K, F)
        return d_mean, (2 * exp(2 * self.log_std) * d_squares).flatten(1)


def distribution_for(space: spaces.Space[Any], exploration: str = "gaussian") -> type[Distribution]:
    """The distribution over an action space. Raises `UserError` for spaces that are not supported."""
    if isinstance(space, spaces.Discrete):
        return Categorical
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return StateDependentGaussian.of(space.shape[0]) if exploration == "sde" else DiagonalGaussian
    raise UserError(f"action space {space}: only Discrete and flat Box spaces are supported")


def env_actions(actions: Tensor, space: spaces.Space[Any]) -> Array:
    """Actions (S, K, N) as environments take them: (S·N,) integers, or (K, S·N) floats clipped to the Box."""
    columns: Array = actions.transpose(0, 1).flatten(1).cpu().numpy()
    if isinstance(space, spaces.Box):
        return columns.clip(space.low[:, None], space.high[:, None])
    single: Array = columns[0]
    return single
