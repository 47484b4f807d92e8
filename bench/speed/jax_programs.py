"""Peers written in JAX, of the extra `peers`.

XLA has no option for one thread: `bench.speed.programs.spawn` confines every measurement to one core instead.
"""

import time

import gymnax
import jax
import jax.numpy as jnp
from flax import linen

from bench.speed.workload import (
    BATCH,
    HIDDEN,
    LEARNING_RATE,
    LEARNING_STEPS,
    N_ENVS,
    N_STEPS,
    Measurement,
    Workload,
)


def sbx_ppo(workload: Workload) -> Measurement:
    """Measure SBX's PPO: Stable-Baselines3's loop around a compiled update."""
    from sbx import PPO  # with torch, which rejax does without

    from bench.speed.sb3_programs import ppo

    return ppo(PPO, linen.tanh, workload)


def rejax_ppo(workload: Workload) -> Measurement:
    """Measure rejax's PPO, all seeds in one compiled iteration.

    It clips gradients by value and the critic's steps as well. It reports no episodes of its training, so its
    policies are evaluated when it is over.
    """
    from rejax import PPO

    env, params = gymnax.make(workload.task)
    algorithm = PPO.create(
        env=env,
        env_params=params,
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (HIDDEN, HIDDEN)},
        num_envs=N_ENVS,
        num_steps=N_STEPS,
        num_epochs=workload.epochs,
        num_minibatches=BATCH // workload.minibatch,
        learning_rate=LEARNING_RATE,
        gamma=0.99,
        gae_lambda=workload.gae_lambda,
        clip_eps=0.2,
        vf_coef=0.5,
        ent_coef=0.0,
        max_grad_norm=0.5,
        total_timesteps=workload.steps,
        skip_initial_evaluation=True,
    )
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in workload.seeds])
    state = jax.vmap(algorithm.init_state)(keys)
    state = jax.jit(lambda tree: jax.tree.map(jnp.asarray, tree))(state)
    iteration = jax.jit(jax.vmap(algorithm.train_iteration)).lower(state).compile()
    state = jax.block_until_ready(iteration(state))  # warming up, as with the other programs
    began = time.perf_counter()
    for _ in range(workload.steps // BATCH):
        state = iteration(state)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - began
    mean_return = None
    if workload.steps >= LEARNING_STEPS:
        _, returns = jax.vmap(lambda trained, key: algorithm.eval_callback(algorithm, trained, key))(state, keys)
        mean_return = float(returns.mean())
    return Measurement(len(workload.seeds) * workload.steps, seconds, mean_return=mean_return)
