"""This suite's learner, and the bound that its matrix products set."""

import dataclasses
import time

import torch

from bench.cells.composition import compose
from bench.learner import PolicyGradient
from bench.speed.stopwatch import Stopwatch
from bench.speed.workload import BATCH, EPOCHS, HIDDEN, N_ENVS, N_STEPS, Measurement, Workload
from bench.tasks.registry import GYMNASIUM_TASKS, environments, make
from bench.tasks.vec_env import BatchedVecEnv

# What `Workload.arm` may be: PPO; 48 complete episodes as a batch instead; and that without a critic.
EPISODES = (
    *("collect=episodes", "group.groups=6", "group.size=8"),
    *("grad_clip=separate", "advantage=monte_carlo", "truncation=end"),
)
ARMS: dict[str, tuple[str, ...]] = {
    "ppo": ("grad_clip=joint", f"collect.n_envs={N_ENVS}", f"collect.n_steps={N_STEPS}"),
    "episodes": (*EPISODES, "baseline=critic"),
    "critic_free": (*EPISODES, "baseline=batch_mean"),
}
EPISODE_RESERVE = 48 * 500  # the most steps that a batch of `EPISODES` takes on CartPole


def overrides(workload: Workload) -> list[str]:
    """Return the workload in the words of this suite's command line."""
    parts = BATCH // workload.minibatch
    return [
        *("preset=ppo", f"task={GYMNASIUM_TASKS[workload.task]}", *ARMS[workload.arm]),
        *(f"learning_rate={workload.learning_rate}", f"critic.learning_rate={workload.learning_rate}"),
        *(f"gae_lambda={workload.gae_lambda}", "gamma=0.99", f"hidden=[{HIDDEN},{HIDDEN}]"),
        *("norm_obs=false", "norm_reward=false"),
        *(f"{network}.epochs={workload.epochs}" for network in ("update", "critic")),
        *(f"{network}.minibatches={parts}" for network in ("update", "critic")),
        f"seeds={list(workload.seeds)}".replace(" ", ""),
    ]


def lockstep(workload: Workload) -> Measurement:
    """Measure `PolicyGradient.learn`, diagnostics included, without evaluations and records."""
    # A batch of episodes is not started unless it must fit: with this much more, each seed's last one begins in time.
    reserve = 0 if workload.arm == "ppo" else EPISODE_RESERVE
    config = compose([*overrides(workload), f"budget={workload.steps + BATCH + reserve}"])
    env = BatchedVecEnv(environments(make(config.task), config.seeds, config.n_envs))
    watch = Stopwatch(workload, iteration=BATCH if workload.arm == "ppo" else 1)  # one batch of episodes is enough
    model = PolicyGradient("MlpPolicy", env, config, config.seeds)
    model.learn(config.budget, watch, log_interval=None)
    measured = watch.measurement()
    if workload.arm == "ppo":
        return measured
    return dataclasses.replace(measured, env_steps=sum(model.env_steps) - watch.steps_before)


def matrix_products(workload: Workload) -> Measurement:
    """Measure the products of the updates alone, in preallocated memory: no learner of this kind can be faster."""
    replicas, samples = len(workload.seeds), workload.minibatch
    products = []
    for outputs in (2, 1):  # the heads of actor and critic
        for rows, columns in ((HIDDEN, 4), (HIDDEN, HIDDEN), (outputs, HIDDEN)):
            weight, inputs, d_outputs = (
                torch.randn(replicas, *shape) for shape in ((rows, columns), (columns, samples), (rows, samples))
            )
            products.append((weight, inputs, torch.empty_like(d_outputs)))
            products.append((d_outputs, inputs.transpose(1, 2), torch.empty_like(weight)))
            if columns == HIDDEN:  # nothing lies below the first layer
                products.append((weight.transpose(1, 2), d_outputs, torch.empty_like(inputs)))
    began = 0.0
    for iteration in range(workload.steps // BATCH + 1):
        if iteration == 1:  # the first one warms up
            began = time.perf_counter()
        for _ in range(EPOCHS * BATCH // samples):
            for left, right, out in products:
                torch.bmm(left, right, out=out)
    seconds = time.perf_counter() - began
    return Measurement(replicas * workload.steps, seconds, update_seconds=seconds)
