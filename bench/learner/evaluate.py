"""Evaluation: own environments and streams, so that evaluating more often changes no training number."""

from collections.abc import Sequence

import numpy as np
import torch

from bench.learner.actor import Actor, stacked
from bench.learner.distributions import env_actions
from bench.learner.observer import Row
from bench.learner.rollouts import NOISE_CHUNK
from bench.streams import stream
from bench.tasks.base import Task
from bench.tasks.environments import Environments
from bench.tasks.registry import environments

MODES = ("deterministic", "stochastic")


def evaluate(
    actor: Actor, task: Task, seeds: Sequence[int], place: int, episodes: int, pool: str = "main"
) -> list[dict[str, float | int | str]]:
    """`episodes` complete episodes per seed and mode at `place` on the evaluation grid.

    → one row per episode: seed, mode, episode, return (undiscounted), length, and sums of the task's extras.
    """
    env = environments(task, seeds, 2 * episodes, pool, evaluation=place)
    streams = [stream(seed, "evaluation", place, 2, pool=pool) for seed in seeds]
    stochastic = torch.arange(2 * episodes) >= episodes
    env.restart()
    live = np.ones(env.n_columns, dtype=bool)
    totals = {name: np.zeros(env.n_columns) for name in ("return", *task.extras)}
    t = 0
    while live.any():
        if t % NOISE_CHUNK == 0:
            noise = actor.noise(streams, NOISE_CHUNK, 2 * episodes)
        policy = actor.policy(stacked(env.observation, len(seeds)))
        actions = torch.where(stochastic, policy.sample(noise[t % NOISE_CHUNK]), policy.mode())
        transition = env.step(env_actions(actions, task.action_space), live)
        totals["return"] += transition.reward
        for name in task.extras:
            totals[name] += transition.extras[name]
        live = live & ~(transition.terminated | transition.truncated)
        t += 1
    return [_row(env, totals, seed, column, episodes) for column, seed in enumerate(np.repeat(seeds, 2 * episodes))]


def _row(
    env: Environments, totals: dict[str, np.ndarray], seed: int, column: int, episodes: int
) -> dict[str, float | int | str]:
    mode, episode = divmod(column % env.n_envs, episodes)
    row: dict[str, float | int | str] = {"seed": int(seed), "mode": MODES[mode], "episode": episode}
    row |= {name: float(values[column]) for name, values in totals.items()}
    return row | {"length": int(env.elapsed[column])}


def mean_return(rows: Sequence[Row]) -> float:
    """Mean deterministic return of evaluation rows."""
    return float(np.mean([row["return"] for row in rows if row["mode"] == "deterministic"]))
