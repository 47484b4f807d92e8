"""Stable-Baselines3's PPO, and whatever has its interface."""

from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from bench.speed.stopwatch import Stopwatch
from bench.speed.workload import BATCH, HIDDEN, LEARNING_RATE, N_ENVS, N_STEPS, Measurement, Workload


def sb3_ppo(workload: Workload) -> Measurement:
    """Measure Stable-Baselines3's PPO on one seed."""
    return ppo(PPO, nn.Tanh, workload)


def ppo(algorithm: Any, activation: Any, workload: Workload) -> Measurement:
    """Measure a PPO with Stable-Baselines3's interface on one seed and eight environments."""
    (seed,) = workload.seeds
    # SB3 seeds environment i with seed + i: neighbouring seeds would share environments.
    apart = int(np.random.SeedSequence(seed).generate_state(1)[0]) >> 1
    env = make_vec_env(workload.task, N_ENVS, vec_env_cls=DummyVecEnv)
    model = algorithm(
        "MlpPolicy",
        env,
        seed=apart,
        device="cpu",
        n_steps=N_STEPS,
        learning_rate=LEARNING_RATE,
        batch_size=workload.minibatch,
        n_epochs=workload.epochs,
        gae_lambda=workload.gae_lambda,
        policy_kwargs={"net_arch": {"pi": [HIDDEN, HIDDEN], "vf": [HIDDEN, HIDDEN]}, "activation_fn": activation},
    )
    watch = Stopwatch(workload, iteration=BATCH)
    model.learn(workload.steps + BATCH, watch, log_interval=None)
    return watch.measurement()
