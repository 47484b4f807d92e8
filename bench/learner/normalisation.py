"""Running moments of observations and returns, per replica, so that arms need no scale of their own.

Statistics are frozen while a batch is collected and learned from, and take it in afterwards: the policy that acted is
exactly the policy that is differentiated. Evaluation freezes them too.
"""

from collections.abc import Mapping, Sequence

import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor

CLIP = 10.0  # standard deviations, as Stable-Baselines3's VecNormalize
EPSILON = 1e-8


class Moments:
    """Mean and variance (S, F) of everything seen, by the parallel algorithm (Chan, Golub & LeVeque 1979)."""

    def __init__(self, replicas: int, features: int, device: torch.device | str = "cpu") -> None:
        self.mean = torch.zeros(replicas, features, dtype=torch.float64, device=device)
        self.variance = torch.ones(replicas, features, dtype=torch.float64, device=device)
        self.count = torch.zeros(replicas, 1, dtype=torch.float64, device=device)

    def update(self, values: Tensor, live: Tensor) -> None:
        """Take in values (S, F, M) where `live` (S, M)."""
        present = live.unsqueeze(1).to(torch.float64)
        count = present.sum(2)
        share = present / count.clamp(min=1).unsqueeze(2)
        mean = (values * share).sum(2)
        variance = ((values - mean.unsqueeze(2)).square() * share).sum(2)
        total = (self.count + count).clamp(min=1)
        difference = mean - self.mean
        between = difference.square() * self.count * count / total
        self.variance = torch.where(
            self.count + count > 0, (self.variance * self.count + variance * count + between) / total, self.variance
        )
        self.mean = self.mean + difference * count / total
        self.count = self.count + count

    def standardise(self, values: Tensor) -> Tensor:
        """(values − mean) / std, clipped, in single precision; values (S, F, …)."""
        shape = (*self.mean.shape, *[1] * (values.dim() - 2))
        standardised = (values - self.mean.view(shape)) / (self.variance.view(shape) + EPSILON).sqrt()
        return standardised.clamp(-CLIP, CLIP).to(torch.float32)

    def select(self, rows: Sequence[int]) -> "Moments":
        """Copies of these replicas' moments."""
        chosen = Moments(0, 0, self.mean.device)
        chosen.load_state_dict({name: value[list(rows)] for name, value in self.state_dict().items()})
        return chosen

    @classmethod
    def joined(cls, parts: Sequence["Moments"]) -> "Moments":
        """The moments of the replicas of several."""
        whole = cls(0, 0, parts[0].mean.device)
        states = [part.state_dict() for part in parts]
        whole.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})
        return whole

    def restore(self, rows: Sequence[int], chosen: "Moments") -> None:
        """Write back what `select` took."""
        for name, value in chosen.state_dict().items():
            getattr(self, name)[list(rows)] = value

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, for saving."""
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy what `state_dict` returned."""
        self.mean, self.variance, self.count = (
            state[name].to(self.mean.device, copy=True) for name in ("mean", "variance", "count")
        )


class RewardScale:
    """Divides rewards by the standard deviation of the running discounted return; never shifts them."""

    def __init__(self, replicas: int, envs: int, device: torch.device | str = "cpu") -> None:
        self.moments = Moments(replicas, 1, device)
        # Each environment's discounted return so far.
        self.running = torch.zeros(replicas, envs, dtype=torch.float64, device=device)

    def __call__(self, rows: Sequence[int], rewards: Tensor, done: Tensor, live: Tensor, gamma: float) -> Tensor:
        """Scaled rewards (T, S, N) of the replicas `rows`, whose batch is taken in first."""
        running, seen = self.running[list(rows)], []
        for reward, ended in zip(rewards, done, strict=True):
            running = running * gamma + reward
            seen.append(running)
            running = torch.where(ended, 0.0, running)
        self.running[list(rows)] = running
        moments = self.moments.select(rows)
        moments.update(torch.stack(seen, 1).flatten(1).unsqueeze(1), live.transpose(0, 1).flatten(1))
        self.moments.restore(rows, moments)
        scale = (moments.variance + EPSILON).sqrt()
        return (rewards / scale.unsqueeze(0)).clamp(-CLIP, CLIP).to(rewards.dtype)


def vec_normalize(
    venv: VecEnv, replica: int, observations: Moments | None, rewards: RewardScale | None, gamma: float
) -> VecNormalize:
    """One replica's scales as SB3's wrapper of `venv`, frozen; what is None is not normalised."""
    wrapper = VecNormalize(
        venv,
        training=False,
        norm_obs=observations is not None,
        norm_reward=rewards is not None,
        clip_obs=CLIP,
        clip_reward=CLIP,
        gamma=gamma,
        epsilon=EPSILON,
    )
    if observations is not None:
        assert isinstance(wrapper.obs_rms, RunningMeanStd)  # observations are flat Boxes
        _fill(wrapper.obs_rms, observations, replica)
    if rewards is not None:
        _fill(wrapper.ret_rms, rewards.moments, replica)
    return wrapper


def _fill(running: RunningMeanStd, moments: Moments, replica: int) -> None:
    """Give SB3's statistics the numbers of one replica's moments."""
    shape = running.mean.shape
    running.mean = moments.mean[replica].clone().cpu().numpy().reshape(shape)
    running.var = moments.variance[replica].clone().cpu().numpy().reshape(shape)
    running.count = float(moments.count[replica])
