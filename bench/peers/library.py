"""A library's algorithm with its environments, as its own users would build them.

It trains on Gymnasium's environments in the library's `DummyVecEnv` and `Monitor`, with its `VecNormalize` where the
task normalises. Nothing of ours stands between the two, so a comparison with a peer also holds our environments to
Gymnasium's.
"""

import math
import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule, set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from bench import plugin
from bench.config import peer_settings
from bench.config.schema import Config
from bench.errors import UserError, nearest
from bench.seeding import seed_sequence
from bench.tasks.base import Task
from bench.tasks.registry import gymnasium_env

CLASSES = {
    "sb3_ppo": "stable_baselines3.PPO",
    "sb3_a2c": "stable_baselines3.A2C",
    "contrib_trpo": "sb3_contrib.TRPO",
    "contrib_ars": "sb3_contrib.ARS",
}

plugin.allow(plugin.module_of(name) for name in CLASSES.values())


def library_class(config: Config) -> type[BaseAlgorithm]:
    """Return the class that trains. Raises `UserError` where there is none, or none with SB3's interface."""
    target = class_name(config)
    module, _, name = target.replace(":", ".").rpartition(".")
    where = f"algorithm._target_={target}"
    if not re.fullmatch(r"\w+(\.\w+)*", module):
        raise UserError(f"{where}: must be a class as package.module:Class")
    try:
        found = getattr(plugin.import_module(module), name, None)
    except ImportError as error:
        raise UserError(f"{where}: cannot import {module} ({error})") from error
    if found is None:
        raise UserError(f"{where}: {module} has no {name}{nearest(name, vars(sys.modules[module]))}")
    if not isinstance(found, type) or not issubclass(found, BaseAlgorithm):
        raise UserError(f"{where}: must be a subclass of stable_baselines3's BaseAlgorithm")
    return found


def class_name(config: Config) -> str:
    """Return what the configuration calls the class that trains."""
    return config.algorithm._target_ or CLASSES[config.algorithm.name]


def build(config: Config, task: Task, seed: int) -> tuple[BaseAlgorithm, "EpisodeLog"]:
    """Return the library's model of one seed with its environments, and the log of the episodes in them."""
    log = EpisodeLog(DummyVecEnv([lambda: Monitor(gymnasium_env(task))] * (config.algorithm.n_envs or 1)))
    env: VecEnv = log
    parameters = dict(config.algorithm.parameters)
    if config.norm_obs or config.norm_reward:
        env = VecNormalize(
            env,
            norm_obs=config.norm_obs,
            norm_reward=config.norm_reward,
            gamma=parameters.get("gamma", config.gamma),
        )
    for key in peer_settings.RATES:
        if isinstance(parameters.get(key), str):
            start = float(parameters[key].removeprefix(peer_settings.ANNEALED))
            parameters[key] = LinearSchedule(start, 0.0, end_fraction=1.0)
    model = library_class(config)(**parameters, env=env, seed=peer_seed(seed, config.seed_pool), device="cpu")
    model.set_logger(Logger(None, []))  # it prints and writes nothing
    return model, log


def peer_seed(seed: int, pool: str = "main") -> int:
    """Return a library's seed, 31 bits. SB3 seeds environment i with seed + i: neighbours would overlap."""
    return int(seed_sequence(seed, "peer", pool=pool).generate_state(1)[0]) >> 1


class EpisodeLog(VecEnvWrapper):
    """Keeps the raw return and length of the episodes that ended since somebody asked, whatever is wrapped around."""

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.episodes: list[tuple[float, int]] = []

    def reset(self) -> VecEnvObs:
        """Start anew."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Take one step of every environment."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.episodes += [(info["episode"]["r"], info["episode"]["l"]) for info in infos if "episode" in info]
        return observations, rewards, dones, infos

    def take(self) -> dict[str, float]:
        """Return mean return and length of those episodes under SB3's names, NaN without any, and forget them."""
        returns, lengths = zip(*self.episodes, strict=True) if self.episodes else ([math.nan], [math.nan])
        self.episodes = []
        return {"rollout/ep_rew_mean": float(np.mean(returns)), "rollout/ep_len_mean": float(np.mean(lengths))}


def batch_steps(model: BaseAlgorithm) -> int:
    """Return the steps between two updates of an on-policy algorithm; of one step of its environments for any other."""
    return model.n_envs * model.n_steps if isinstance(model, OnPolicyAlgorithm) else model.n_envs


@contextmanager
def library_streams(seed: int, *spaces: "gymnasium.Space[Any]") -> Iterator[None]:
    """Seed the generators of the whole process, from which libraries draw, and give them back as they were."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state libraries use
    samplers = [space.np_random.bit_generator for space in spaces]
    positions = [sampler.state for sampler in samplers]
    with torch.random.fork_rng(devices=[]):
        try:
            set_random_seed(seed)
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
            for sampler, position in zip(samplers, positions, strict=True):
                sampler.state = position
