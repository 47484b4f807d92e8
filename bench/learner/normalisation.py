"""Running statistics of observations and returns, per replica, so that arms need no scale of their own.

They are frozen while a batch is collected and learned from, and take it in afterwards: the policy that acted is exactly
the policy that is differentiated. Evaluation freezes them too.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bench.kernel.functions import sqrt, sum_over

CLIP = 10.0  # standard deviations, as Stable-Baselines3's VecNormalize
EPSILON = 1e-8


class RunningMeanStd:
    """Mean and variance (S, F) of everything seen, by the parallel algorithm (Chan, Golub & LeVeque 1979)."""

    def __init__(self, replicas: int, features: int, device: torch.device | str = "cpu") -> None:
        self.mean = torch.zeros(replicas, features, dtype=torch.float64, device=device)
        self.variance = torch.ones(replicas, features, dtype=torch.float64, device=device)
        self.count = torch.zeros(replicas, 1, dtype=torch.float64, device=device)

    def update(self, values: Tensor, live: Tensor) -> None:
        """Take in values (S, F, M) where `live` (S, M)."""
        present = live.unsqueeze(1).to(torch.float64)
        count = sum_over(present, 2)
        share = present / count.clamp(min=1).unsqueeze(2)
        mean = sum_over(values * share, 2)
        variance = sum_over((values - mean.unsqueeze(2)).square() * share, 2)
        total = (self.count + count).clamp(min=1)
        difference = mean - self.mean
        between = difference.square() * self.count * count / total
        self.variance = torch.where(
            self.count + count > 0, (self.variance * self.count + variance * count + between) / total, self.variance
        )
        self.mean = self.mean + difference * count / total
        self.count = self.count + count

    def update_rows(self, rows: Sequence[int], values: Tensor, live: Tensor) -> "RunningMeanStd":
        """Take in the values of these replicas only, and return copies of their statistics."""
        chosen = self.select(rows)
        chosen.update(values, live)
        self.restore(rows, chosen)
        return chosen

    def standardise(self, values: Tensor) -> Tensor:
        """Return (values − mean) / std, clipped, in single precision; values (S, F, …)."""
        shape = (*self.mean.shape, *[1] * (values.dim() - 2))
        standardised = (values - self.mean.view(shape)) / sqrt(self.variance.view(shape) + EPSILON)
        return standardised.clamp(-CLIP, CLIP).to(torch.float32)

    def select(self, rows: Sequence[int]) -> "RunningMeanStd":
        """Return copies of these replicas' statistics."""
        return self.of({name: value[list(rows)] for name, value in self.state_dict().items()}, self.mean.device)

    @classmethod
    def joined(cls, several: Sequence["RunningMeanStd"]) -> "RunningMeanStd":
        """Return the statistics of the replicas of several."""
        states = [one.state_dict() for one in several]
        whole = {name: torch.cat([state[name] for state in states]) for name in states[0]}
        return cls.of(whole, whole["mean"].device)

    @classmethod
    def of(cls, state: Mapping[str, Tensor], device: torch.device | str) -> "RunningMeanStd":
        """Return the statistics that `state_dict` returned, on this device."""
        made = cls(0, 0, device)
        made.load_state_dict(state)
        return made

    def restore(self, rows: Sequence[int], chosen: "RunningMeanStd") -> None:
        """Write back what `select` took."""
        for name, value in chosen.state_dict().items():
            getattr(self, name)[list(rows)] = value

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything, for saving."""
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> None:
        """Copy what `state_dict` returned; without `strict`, what there is of it. Raises KeyError."""
        for name, present in self.state_dict().items():
            if strict or name in state:
                setattr(self, name, state[name].to(present.device, copy=True))


class RewardScale:
    """Divides rewards by the standard deviation of the running discounted return; never shifts them."""

    def __init__(self, replicas: int, envs: int, device: torch.device | str = "cpu") -> None:
        self.ret_rms = RunningMeanStd(replicas, 1, device)
        # Each environment's discounted return so far.
        self.running = torch.zeros(replicas, envs, dtype=torch.float64, device=device)

    def __call__(
        self, rows: Sequence[int], rewards: Tensor, done: Tensor, live: Tensor, gamma: float | Tensor
    ) -> Tensor:
        """Return the scaled rewards (T, S, N) of the replicas `rows`, whose batch is taken in first.

        `gamma` is a number for all of them, or one for each, (S, 1).
        """
        running, seen = self.running[list(rows)], []
        for reward, ended in zip(rewards, done, strict=True):
            running = running * gamma + reward
            seen.append(running)
            running = torch.where(ended, 0.0, running)
        self.running[list(rows)] = running
        returns, present = torch.stack(seen, 1).flatten(1).unsqueeze(1), live.transpose(0, 1).flatten(1)
        scale = sqrt(self.ret_rms.update_rows(rows, returns, present).variance + EPSILON)
        return (rewards / scale.unsqueeze(0)).clamp(-CLIP, CLIP).to(rewards.dtype)

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything, for saving."""
        return {**self.ret_rms.state_dict(), "running": self.running}

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> None:
        """Copy what `state_dict` returned; without `strict`, what there is of it. Raises KeyError."""
        if strict or "running" in state:
            self.running = state["running"].to(self.running.device, copy=True)
        self.ret_rms.load_state_dict(state, strict)
