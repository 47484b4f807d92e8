"""Plug-ins as a user would write them."""

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces

from bench import plugin
from bench.tasks.base import Step, Task


@plugin.target(bootstraps=False)
def two_rewards(batch, arm, weight=1.0):
    following = torch.cat([batch.rewards[1:], torch.zeros_like(batch.rewards[:1])])
    return batch.rewards + arm.gamma * weight * following


@plugin.target(bootstraps=True)
def one_step(batch, arm):
    return batch.rewards + arm.gamma * torch.where(batch.terminated | batch.truncated, 0.0, batch.next_values)


@plugin.target(bootstraps=False)
def misshapen(batch, arm):
    return batch.rewards.sum(0)


@plugin.baseline(values=True)
def half_value(targets, batch, arm):
    return targets - batch.values / 2


@plugin.baseline(episodes=True)
def best_episode(targets, batch, arm):
    return targets - targets.amax(2, keepdim=True)


@plugin.update()
def tilted(log_prob, log_prob_old, advantage, *, clip_range, kl_coef, kl):
    return (log_prob - log_prob_old).exp() * advantage


@plugin.update()
def aloof(log_prob, log_prob_old, advantage, *, clip_range, kl_coef, kl):
    return advantage


@plugin.task
@dataclass(frozen=True)
class Coin(Task):
    """One step: calling heads (1) earns `prize`."""

    prize: float = 1.0
    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Discrete(2)
    time_limit = None
    horizon = 1

    def start(self, rng, n):
        return np.zeros((1, n))

    def step(self, state, action, noise):
        return Step(state, self.prize * action, np.ones(state.shape[1], dtype=bool), {})

    def observe(self, state):
        return state.astype(np.float32)


def unmarked(batch, arm):
    return batch.rewards
