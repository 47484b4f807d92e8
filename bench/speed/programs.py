"""What is measured: the programs, their common workload, and the process each measurement gets to itself."""

import dataclasses
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.errors import UserError
from bench.paths import ROOT

N_ENVS, N_STEPS, EPOCHS, HIDDEN, LEARNING_RATE = 8, 128, 10, 64, 3e-4  # CartPole-v1 with these for every program
BATCH = N_ENVS * N_STEPS
EPISODE_RESERVE = 48 * 500  # the most steps that a batch of `EPISODES` takes on CartPole
# Whether a program learns is judged by the episodes that end in the last tenth of this many steps per seed.
LEARNING_STEPS = 51_200


# What `Workload.arm` may be: this suite's PPO; 48 complete episodes as a batch instead; and that without a critic.
EPISODES = (
    *(
        "collect=episodes",
        "group.groups=6",
        "group.size=8",
        "grad_clip=separate",
        "advantage=monte_carlo",
        "truncation=end",
    ),
)
ARMS: dict[str, tuple[str, ...]] = {
    "ppo": ("grad_clip=joint", f"collect.n_envs={N_ENVS}", f"collect.n_steps={N_STEPS}"),
    "episodes": (*EPISODES, "baseline=critic"),
    "critic_free": (*EPISODES, "baseline=batch_mean"),
}


@dataclass(frozen=True)
class Workload:
    """What one process measures: `steps` for each seed after one iteration of warming up."""

    seeds: tuple[int, ...]
    steps: int
    minibatch: int
    task: str = "CartPole-v1"
    epochs: int = EPOCHS
    gae_lambda: float = 0.95
    arm: str = "ppo"  # of `ARMS`
    learning_rate: float = LEARNING_RATE


@dataclass(frozen=True)
class Measurement:
    """What came of it; phases and returns are None where a program has none.

    `returns` has one entry per seed: the mean return of the episodes that ended between 90 % and 100 % of
    `LEARNING_STEPS`; None for shorter runs.
    """

    env_steps: int  # of all seeds together
    seconds: float
    cpu_seconds: float
    rollout_seconds: float | None = None
    update_seconds: float | None = None
    returns: tuple[float, ...] | None = None
    peak_memory: int = 0  # bytes
    began: float | None = None  # UNIX time at which timing began, after imports, compiling and warming up
    spent: Mapping[str, float] | None = None  # seconds, of `bench.speed.recorded`

    @property
    def steps_per_second(self) -> float:
        """By the clock on the wall."""
        return self.env_steps / self.seconds


@dataclass(frozen=True)
class Program:
    """Something that trains, or a bound for it.

    seeds       together: all of them at once; in_turn: one after another, so that one of them, a different one in each
                repeat and on no more steps than learning is judged by, stands for all
    minibatch   its own, where it has one
    trains      False for a bound
    needs       the packages beside this suite's own; they may be in another environment
    costs       measured only where costs are, see `bench.speed.plan`
    """

    title: str
    measure: Callable[[Workload], Measurement]
    seeds: Literal["together", "in_turn"] = "in_turn"
    minibatch: int | None = None
    trains: bool = True
    needs: tuple[str, ...] = ()
    costs: bool = False


def overrides(workload: Workload) -> list[str]:
    """The workload in the words of this suite's command line."""
    from bench.tasks.registry import GYMNASIUM_TASKS

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


def _lockstep(workload: Workload) -> Measurement:
    import bench
    from bench.learner import PolicyGradient
    from bench.speed.stopwatch import Stopwatch
    from bench.tasks.registry import environments, make
    from bench.tasks.vec_env import BatchedVecEnv

    # A batch of episodes is not started unless it must fit: with this much more, each seed's last one begins in time.
    reserve = 0 if workload.arm == "ppo" else EPISODE_RESERVE
    config = bench.compose([*overrides(workload), f"budget={workload.steps + BATCH + reserve}"])
    env = BatchedVecEnv(environments(make(config.task), config.seeds, config.n_envs))
    watch = Stopwatch(N_ENVS, iteration=BATCH if workload.arm == "ppo" else 1)  # one batch of episodes is enough
    model = PolicyGradient("MlpPolicy", env, config, config.seeds)
    model.learn(config.budget, watch, log_interval=None)  # type: ignore[arg-type]  # SB3 takes None
    measured = _trained(watch, workload)
    if workload.arm == "ppo":
        return measured
    return dataclasses.replace(measured, env_steps=sum(model.env_steps) - watch.steps_before, returns=None)


def stock(algorithm: Any, workload: Workload, **settings: Any) -> Measurement:
    """A learner with Stable-Baselines3's interface, on one seed and eight environments."""
    import numpy as np
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv

    from bench.speed.stopwatch import Stopwatch

    (seed,) = workload.seeds
    # SB3 seeds environment i with seed + i: neighbouring seeds would share environments.
    apart = int(np.random.SeedSequence(seed).generate_state(1)[0]) >> 1
    env = make_vec_env(workload.task, N_ENVS, vec_env_cls=DummyVecEnv)
    model = algorithm("MlpPolicy", env, seed=apart, device="cpu", **settings)
    watch = Stopwatch(N_ENVS, iteration=BATCH)
    model.learn(workload.steps + BATCH, watch, log_interval=None)
    return _trained(watch, workload)


def _networks() -> dict[str, Any]:
    from torch import nn

    return {"net_arch": {"pi": [HIDDEN, HIDDEN], "vf": [HIDDEN, HIDDEN]}, "activation_fn": nn.Tanh}


def _sb3_ppo(workload: Workload) -> Measurement:
    from stable_baselines3 import PPO

    return stock(
        PPO,
        workload,
        n_steps=N_STEPS,
        learning_rate=LEARNING_RATE,
        batch_size=workload.minibatch,
        n_epochs=workload.epochs,
        gae_lambda=workload.gae_lambda,
        policy_kwargs=_networks(),
    )


def _sb3_a2c(workload: Workload) -> Measurement:
    """With its own defaults: one gradient step on every five steps of the environments."""
    from stable_baselines3 import A2C

    return stock(A2C, workload, policy_kwargs=_networks())


def _contrib_trpo(workload: Workload) -> Measurement:
    """With its own defaults but for the length of a rollout."""
    from sb3_contrib import TRPO

    return stock(TRPO, workload, n_steps=N_STEPS, policy_kwargs=_networks())


def _sbx_ppo(workload: Workload) -> Measurement:
    from bench.speed import jax_programs

    return jax_programs.sbx_ppo(workload)


def _rejax_ppo(workload: Workload) -> Measurement:
    from bench.speed import jax_programs

    return jax_programs.rejax_ppo(workload)


def _trained(watch: Any, workload: Workload) -> Measurement:
    """The measurement of a `bench.speed.stopwatch.Stopwatch`."""
    (rollouts, rollouts_cpu), (updates, updates_cpu) = watch.rollouts.tolist(), watch.updates.tolist()
    return Measurement(
        env_steps=len(workload.seeds) * workload.steps,
        seconds=rollouts + updates,
        cpu_seconds=rollouts_cpu + updates_cpu,
        rollout_seconds=rollouts,
        update_seconds=updates,
        returns=late_returns(watch.episodes, len(workload.seeds), workload.steps),
        began=watch.began,
    )


def late_returns(episodes: Iterable[tuple[int, int, float]], seeds: int, steps: int) -> tuple[float, ...] | None:
    """Each seed's mean return at the end of `LEARNING_STEPS`, from (steps, environment, return); None before that."""
    if steps < LEARNING_STEPS:
        return None
    late: list[list[float]] = [[] for _ in range(seeds)]
    for step, column, result in episodes:
        if 0.9 * LEARNING_STEPS < step <= LEARNING_STEPS:
            late[column // N_ENVS].append(result)
    return tuple(statistics.fmean(results) if results else math.nan for results in late)


def _recorded(workload: Workload) -> Measurement:
    from bench.speed import recorded

    return recorded.measure(workload)


def _matrix_products(workload: Workload) -> Measurement:
    """The products of the updates alone, in preallocated memory: no learner of this kind can be faster."""
    import torch

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
    passes = EPOCHS * BATCH // samples
    began: list[float] = []
    for iteration in range(workload.steps // BATCH + 1):
        if iteration == 1:
            began = [time.perf_counter(), time.process_time(), time.time()]
        for _ in range(passes):
            for left, right, out in products:
                torch.bmm(left, right, out=out)
    seconds, cpu_seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    return Measurement(replicas * workload.steps, seconds, cpu_seconds, None, seconds, began=began[2])


# A peer is one more entry: a function from a workload to a measurement, run in a process of its own.
PROGRAMS: dict[str, Program] = {
    "lockstep": Program("this suite, seeds in lockstep", _lockstep, seeds="together"),
    "sb3_ppo": Program("SB3 PPO, seed after seed", _sb3_ppo),
    "sb3_ppo_64": Program("SB3 PPO, its default minibatch", _sb3_ppo, minibatch=64),
    "sb3_a2c": Program("SB3 A2C, its defaults, seed after seed", _sb3_a2c),
    "contrib_trpo": Program("SB3-Contrib TRPO, seed after seed", _contrib_trpo),
    "sbx_ppo": Program("SBX PPO (JAX), seed after seed", _sbx_ppo, needs=("sbx", "jax")),
    "rejax_ppo": Program("rejax PPO (JAX), seeds in one program", _rejax_ppo, "together", needs=("rejax", "gymnax")),
    "matrix_products": Program("matrix products of the updates alone", _matrix_products, "together", trains=False),
    "recorded": Program("this suite's command, with all records", _recorded, "together", costs=True),
}


class MeasurementFailed(Exception):
    """A program crashed; the message holds what it said."""


def missing(python: str) -> dict[str, str]:
    """The programs that `python` cannot run, with the packages it lacks. Raises `UserError` where it is no Python."""
    needed = sorted({package for program in PROGRAMS.values() for package in program.needs})
    code = "import importlib.util as u, sys; print(*[p for p in sys.argv[1:] if u.find_spec(p) is None])"
    try:
        done = subprocess.run([python, "-c", code, *needed], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"peers_python={python}: cannot be run as Python ({error})") from error
    absent = set(done.stdout.split())
    return {name: ", ".join(sorted(absent & set(p.needs))) for name, p in PROGRAMS.items() if absent & set(p.needs)}


def spawn(name: str, workloads: Sequence[Workload], python: str = sys.executable) -> list[Measurement]:
    """Measure workloads one after another in a fresh process with one thread on one core.

    Raises:
        MeasurementFailed: with what the process said.
    """
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    path = (str(ROOT), os.environ.get("PYTHONPATH"))
    request = json.dumps({"program": name, "workloads": [dataclasses.asdict(workload) for workload in workloads]})
    done = subprocess.run(
        [python if PROGRAMS[name].needs else sys.executable, "-m", "bench.speed", request],
        env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(filter(None, path)), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MeasurementFailed(f"{name} failed:\n{done.stderr.strip()}")
    return [_measurement(data) for data in json.loads(done.stdout.splitlines()[-1])]


def _measurement(data: Mapping[str, Any]) -> Measurement:
    returns = data["returns"]
    return Measurement(**{**data, "returns": None if returns is None else tuple(returns)})


def work(request: str) -> None:
    """In the fresh process: measure, and print the measurements as the last line."""
    if hasattr(os, "sched_setaffinity"):  # every program on the same core, the last this process may use
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    data = json.loads(request)
    measure = PROGRAMS[data["program"]].measure
    results = [measure(Workload(**{**given, "seeds": tuple(given["seeds"])})) for given in data["workloads"]]
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps([dataclasses.asdict(dataclasses.replace(result, peak_memory=memory)) for result in results]))
