"""Peers written in JAX; they may live in an environment of their own (`peers_python=`, the extra `peers`).

XLA has no option for one thread: `bench.speed.programs.spawn` confines every measurement to one core instead.
"""

import functools
import math
import time
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from gymnax.wrappers.purerl import GymnaxWrapper

from bench.speed.programs import BATCH, HIDDEN, LEARNING_RATE, LEARNING_STEPS, N_ENVS, N_STEPS, Measurement, Workload


def sbx_ppo(workload: Workload) -> Measurement:
    """SBX's PPO: Stable-Baselines3's loop around a compiled update."""
    from sbx import PPO

    from bench.speed.programs import stock

    policy = {"net_arch": {"pi": [HIDDEN, HIDDEN], "vf": [HIDDEN, HIDDEN]}, "activation_fn": linen.tanh}
    return stock(
        PPO,
        workload,
        n_steps=N_STEPS,
        learning_rate=LEARNING_RATE,
        batch_size=workload.minibatch,
        n_epochs=workload.epochs,
        gae_lambda=workload.gae_lambda,
        policy_kwargs=policy,
    )


class _Counted(NamedTuple):
    """An environment's state, its running return, and the sum and number of the returns so far."""

    env_state: Any
    running: Any
    total: Any
    episodes: Any


class _Counting(GymnaxWrapper):  # type: ignore[misc]  # gymnax has no types
    """Counts the returns of finished episodes, which rejax does not report."""

    def __deepcopy__(self, memo: Any) -> "_Counting":  # rejax copies its settings; gymnax's wrappers cannot be copied
        return self

    @functools.partial(jax.jit, static_argnames=("self",))
    def reset(self, key: Any, params: Any = None) -> Any:
        observation, state = self._env.reset(key, params)
        return observation, _Counted(state, 0.0, 0.0, 0)

    @functools.partial(jax.jit, static_argnames=("self",))
    def step(self, key: Any, state: _Counted, action: Any, params: Any = None) -> Any:
        observation, env_state, reward, done, info = self._env.step(key, state.env_state, action, params)
        running = state.running + reward.squeeze()
        counted = _Counted(env_state, running * (1 - done), state.total + running * done, state.episodes + done)
        return observation, counted, reward, done, info


def rejax_ppo(workload: Workload) -> Measurement:
    """rejax's PPO, all seeds in one compiled iteration. It clips gradients by value and the critic's steps as well."""
    from rejax import PPO

    env, params = gymnax.make(workload.task)
    algorithm = PPO.create(
        env=_Counting(env),
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
    state = jax.vmap(algorithm.init_state)(jnp.stack([jax.random.PRNGKey(seed) for seed in workload.seeds]))
    state = jax.jit(lambda tree: jax.tree.map(jnp.asarray, tree))(state)
    iteration = jax.jit(jax.vmap(algorithm.train_iteration)).lower(state).compile()
    state = jax.block_until_ready(iteration(state))  # warming up, as with the other programs
    began = time.time()
    wall, cpu = time.perf_counter(), time.process_time()
    counts = [_counts(state)]
    for _ in range(workload.steps // BATCH):
        state = iteration(state)
        counts.append(_counts(state))
    return Measurement(
        env_steps=len(workload.seeds) * workload.steps,
        seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
        returns=_late_returns(counts, workload.steps),
        began=began,
    )


def _counts(state: Any) -> Any:
    """Sum and number of the returns of each seed's finished episodes, (2, S)."""
    counted = state.env_state
    return np.array([np.asarray(counted.total).sum(1), np.asarray(counted.episodes).sum(1)])


def _late_returns(counts: list[Any], steps: int) -> tuple[float, ...] | None:
    """As `bench.speed.programs.late_returns`, from the counts after 1, 2, … iterations."""
    if steps < LEARNING_STEPS:
        return None
    last = LEARNING_STEPS // BATCH
    totals, episodes = counts[last - 1] - counts[round(0.9 * last) - 1]
    return tuple(float(total / count) if count else math.nan for total, count in zip(totals, episodes, strict=True))
