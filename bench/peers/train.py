"""Peers: algorithms of Stable-Baselines3's interface, trained seed after seed and recorded like our own.

A peer trains as its own users would train it: on Gymnasium's environments in the library's `DummyVecEnv` and `Monitor`,
with its `VecNormalize` where the task normalises. Nothing of ours stands between the two, so a comparison with a peer
also holds our environments to Gymnasium's. It is judged like an arm of ours: in the same evaluation environments, with
the same streams, at the same steps.
"""

import importlib
import inspect
import math
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.utils import LinearSchedule, set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from bench.config import peer_settings as library
from bench.config.schema import Config
from bench.errors import UserError, nearest
from bench.learner import archive
from bench.learner.evaluate import mean_return, play
from bench.learner.spaces import space_to_json
from bench.observer import Observer, SeedOutcome
from bench.seeding import seed_sequence
from bench.tasks.base import Array, Task
from bench.tasks.registry import gymnasium_env, make

CLASSES = {
    "sb3_ppo": "stable_baselines3.PPO",
    "sb3_a2c": "stable_baselines3.A2C",
    "contrib_trpo": "sb3_contrib.TRPO",
    "contrib_ars": "sb3_contrib.ARS",
}
FORMAT = "peer 1"  # of saved policies
MOST_ROWS = 1000  # of diagnostics a seed leaves


def check(config: Config) -> None:
    """Build the peer once, before anything runs. Raises `UserError` for what its library does not take."""
    name, parameters = _called(config), config.algorithm.parameters
    accepted = inspect.signature(library_class(config)).parameters
    for key in parameters:
        if key not in accepted:
            raise UserError(f"algorithm.parameters.{key}: {name} has no such argument{nearest(key, accepted)}")
    try:
        with _library_streams(0):
            model, _ = build(config, make(config.task), 0)
    except UserError:
        raise
    except Exception as error:  # whatever a library raises for settings it does not like
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"algorithm={config.algorithm.name}: {name} refuses these settings ({reason})") from error
    batch = _batch(model)
    if batch > config.budget:
        raise UserError(f"budget={config.budget}: not one batch of {batch} steps fits; use at least {batch}")


def library_class(config: Config) -> type[BaseAlgorithm]:
    """The class that trains. Raises `UserError` where there is none, or none with SB3's interface."""
    target = _called(config)
    module, _, name = target.replace(":", ".").rpartition(".")
    where = f"algorithm._target_={target}"
    if not re.fullmatch(r"\w+(\.\w+)*", module):
        raise UserError(f"{where}: must be a class as package.module:Class")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise UserError(f"{where}: cannot import {module} ({error})") from error
    if found is None:
        raise UserError(f"{where}: {module} has no {name}{nearest(name, vars(sys.modules[module]))}")
    if not isinstance(found, type) or not issubclass(found, BaseAlgorithm):
        raise UserError(f"{where}: must be a subclass of stable_baselines3's BaseAlgorithm")
    return found


def _called(config: Config) -> str:
    return config.algorithm._target_ or CLASSES[config.algorithm.name]


def build(config: Config, task: Task, seed: int) -> tuple[BaseAlgorithm, "EpisodeLog"]:
    """The library's model of one seed with its environments, and the log of the episodes in them."""
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
    for key in library.RATES:
        if isinstance(parameters.get(key), str):
            start = float(parameters[key].removeprefix(library.ANNEALED))
            parameters[key] = LinearSchedule(start, 0.0, end_fraction=1.0)
    model = library_class(config)(**parameters, env=env, seed=peer_seed(seed, config.seed_pool), device="cpu")
    model.set_logger(Logger(None, []))  # it prints and writes nothing
    return model, log


def peer_seed(seed: int, pool: str = "main") -> int:
    """What a library is seeded with, 31 bits. SB3 seeds environment i with seed + i: neighbours would overlap."""
    return int(seed_sequence(seed, "peer", pool=pool).generate_state(1)[0]) >> 1


class EpisodeLog(VecEnvWrapper):
    """Keeps the raw return and length of the episodes that ended since somebody looked, whatever is wrapped around."""

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.episodes: list[tuple[float, int]] = []

    def reset(self) -> VecEnvObs:
        """Start anew."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """One step of every environment."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.episodes += [(info["episode"]["r"], info["episode"]["l"]) for info in infos if "episode" in info]
        return observations, rewards, dones, infos

    def take(self) -> dict[str, float]:
        """Mean return and length of those episodes under SB3's names, NaN without any; they are forgotten."""
        returns, lengths = zip(*self.episodes, strict=True) if self.episodes else ([math.nan], [math.nan])
        self.episodes = []
        return {"rollout/ep_rew_mean": float(np.mean(returns)), "rollout/ep_len_mean": float(np.mean(lengths))}


@dataclass(frozen=True)
class TrainedPeers:
    """A finished block of a peer; see `bench.observer.Trained`.

    `weights` and `states` hold, by seed, the policy with its scales and everything the library itself would save.
    """

    description: Mapping[str, Any]
    outcomes: dict[int, SeedOutcome] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    weights: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save_policy(self, path: Path) -> None:
        """Write the policies' weights and JSON; nothing in the file is executed when it is read."""
        archive.write(path, self.description, self.weights)

    def save_checkpoint(self, path: Path) -> None:
        """Write what the library's `get_parameters` gives for each seed; loadable with `weights_only`."""
        torch.save(self.states, path)

    def keep(self, seed: int, model: BaseAlgorithm) -> None:
        """Take in a trained seed; the model itself, with its buffers, can go."""
        state = {name: value.detach().clone() for name, value in model.policy.state_dict().items()}
        self.weights[str(seed)] = {"policy": state, **_scales(model.get_vec_normalize_env())}
        self.states[str(seed)] = model.get_parameters()
        critic = {name for name in state if re.search(r"(^|[._])(value|critic)", name)}
        sizes = {name: value.numel() for name, value in model.policy.named_parameters()}
        total, critics = sum(sizes.values()), sum(size for name, size in sizes.items() if name in critic)
        self.parameters.update({"actor": total - critics, **({"critic": critics} if critics else {})})


def _scales(normalisation: VecNormalize | None) -> dict[str, dict[str, torch.Tensor]]:
    """The running moments of observations and rewards, under the names of our own saved policies."""
    scales = {}
    if normalisation is not None and normalisation.norm_obs:
        assert isinstance(normalisation.obs_rms, RunningMeanStd)  # tasks have flat observations
        scales["observations"] = _moments(normalisation.obs_rms)
    if normalisation is not None and normalisation.norm_reward:
        scales["rewards"] = _moments(normalisation.ret_rms)
    return scales


def _moments(running: RunningMeanStd) -> dict[str, torch.Tensor]:
    found = {"mean": running.mean, "variance": running.var, "count": running.count}
    return {name: torch.as_tensor(value) for name, value in found.items()}


def load(path: str | Path, config: Config, seed: int) -> BaseAlgorithm:
    """A trained seed of a block's `policy.zip` as the library's own model, its scales frozen.

    The class and its settings are `config`'s: the file says nothing that is imported or executed. Raises `UserError`.
    """
    description, weights = archive.read(path)
    if description.get("format") != FORMAT:
        raise UserError(f"{path} has format {description.get('format')}: not the policies of a peer")
    if str(seed) not in weights:
        raise UserError(f"{path} has no seed {seed}: it holds {', '.join(weights)}")
    model, _ = build(config, make(config.task), seed)
    model.policy.load_state_dict(weights[str(seed)]["policy"])
    normalisation = model.get_vec_normalize_env()
    if normalisation is not None:
        normalisation.training = False
        for name, running in (("observations", normalisation.obs_rms), ("rewards", normalisation.ret_rms)):
            if name in weights[str(seed)]:
                assert isinstance(running, RunningMeanStd)
                found = {key: value.numpy() for key, value in weights[str(seed)][name].items()}
                running.mean, running.var, running.count = found["mean"], found["variance"], float(found["count"])
    return model


def train(config: Config, seeds: Sequence[int], observer: Observer) -> TrainedPeers:
    """Train the peer with one seed after another, telling `observer` what a block of our own would tell.

    A seed that raises, or whose weights are not finite, is marked failed; the others go on.
    """
    task = make(config.task)
    description = {
        "format": FORMAT,
        "class": _called(config),
        "parameters": dict(config.algorithm.parameters),
        "seeds": {str(seed): peer_seed(seed, config.seed_pool) for seed in seeds},
        "observation_space": space_to_json(task.observation_space),
        "action_space": space_to_json(task.action_space),
    }
    trained = TrainedPeers(description)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for place, seed in enumerate(seeds):
            share = (place / len(seeds), 1 / len(seeds))
            with _library_streams(peer_seed(seed, config.seed_pool)):
                trained.outcomes[seed] = _train_seed(config, task, seed, observer, share, trained)
    finally:
        torch.set_num_threads(threads)
    return trained


def _train_seed(
    config: Config, task: Task, seed: int, observer: Observer, share: tuple[float, float], trained: TrainedPeers
) -> SeedOutcome:
    watch: _Watch | None = None
    cause: str | None = None
    try:
        model, log = build(config, task, seed)
        watch = _Watch(config, task, seed, observer, log, share)
        with suppress(_BudgetUsed):
            model.learn(config.budget, watch, log_interval=sys.maxsize)
        watch.finish()
        trained.keep(seed, model)
        if not all(bool(value.isfinite().all()) for value in model.policy.parameters()):
            cause = "the weights were not finite at the end"
    except Exception as error:  # whatever a library raises while it trains: the other seeds go on
        cause = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    steps, updates = (watch.num_timesteps, watch.updates) if watch else (0, 0)
    return SeedOutcome("failed" if cause else "done", cause, steps, updates, max(0, config.budget - steps))


class _BudgetUsed(Exception):
    """What comes next would not fit the budget. Not every library stops when a callback returns False."""


class _Watch(BaseCallback):
    """Reports one seed's updates, judges its policy at every grid step, and ends it with its budget.

    A grid step is judged with the policy that step was taken with, as for our own learner.
    """

    def __init__(
        self, config: Config, task: Task, seed: int, observer: Observer, log: EpisodeLog, share: tuple[float, float]
    ) -> None:
        super().__init__()
        self.config, self.task, self.seed, self.observer, self.log = config, task, seed, observer, log
        self.before, self.share = share  # of the block's work: done by other seeds, and this seed's
        points = config.evaluation.points
        self.grid = [round(config.budget * place / points) for place in range(points + 1)]
        self.next_place = 0
        self.current_return: float | None = None
        self.updates = 0
        self._learned = 0  # the library's own count of updates when we last looked
        self._reported = 0  # the step of the last row

    def _on_rollout_start(self) -> None:
        self._report()
        if isinstance(self.model, OnPolicyAlgorithm) and self.num_timesteps + _batch(self.model) > self.config.budget:
            raise _BudgetUsed

    def _on_step(self) -> bool:
        self.num_timesteps = self.model.num_timesteps  # ARS counts on after it has called
        self._judge(self.num_timesteps)
        self._progress(self.num_timesteps / self.config.budget)
        fits = self.num_timesteps + self.training_env.num_envs <= self.config.budget
        if not fits and not isinstance(self.model, OnPolicyAlgorithm):
            raise _BudgetUsed
        return True

    def finish(self) -> None:
        """What is left of the grid is judged with the final policy."""
        self._report(last=True)
        self._judge(self.config.budget + 1)
        self._progress(1.0)

    def _progress(self, used: float) -> None:
        self.observer.on_progress(min(1.0, self.before + self.share * min(1.0, used)), self.current_return)

    def _report(self, *, last: bool = False) -> None:
        """A row of diagnostics where the library has learned since the last; few enough of them for a quick learner."""
        if self.model._n_updates == self._learned:
            return
        self._learned = self.model._n_updates
        self.updates += 1
        if not last and self.num_timesteps - self._reported < self.config.budget // MOST_ROWS:
            return
        self._reported = self.num_timesteps
        logged = {name: _number(value) for name, value in self.logger.name_to_value.items() if "/" in name}
        row: dict[str, float] = {"seed": self.seed, "step": self.num_timesteps, "update": self.updates}
        kept = {name: value for name, value in logged.items() if value is not None and not name.startswith("time/")}
        self.observer.on_update([row | kept | self.log.take()])

    def _judge(self, steps: int) -> None:
        evaluation, pool = self.config.evaluation, self.config.seed_pool
        while self.next_place < len(self.grid) and self.grid[self.next_place] < steps:
            place = self.next_place
            rows = evaluate(self.model, self.task, self.seed, place, evaluation.episodes, pool)
            self.current_return = mean_return(rows)
            self.observer.on_evaluation([{"step": self.grid[place], **row} for row in rows])
            self.next_place += 1


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _batch(model: BaseAlgorithm) -> int:
    """Steps between two updates of an on-policy algorithm; those of one step of the environments for any other."""
    return model.n_envs * model.n_steps if isinstance(model, OnPolicyAlgorithm) else model.n_envs


def evaluate(
    model: BaseAlgorithm, task: Task, seed: int, place: int, episodes: int, pool: str = "main"
) -> list[dict[str, float | int | str]]:
    """`episodes` complete episodes of each mode in the environments an arm of ours would meet; → rows of `play`.

    Scales are frozen, and what the library draws its actions from is given back as it was: evaluating more often
    changes no training number.
    """
    halves = [_player(model, deterministic) for deterministic in (True, False)]

    def act(observations: Array) -> Array:
        seen = np.ascontiguousarray(observations.T)
        normalisation = model.get_vec_normalize_env()
        if normalisation is not None:
            seen = np.asarray(normalisation.normalize_obs(seen))
        return np.concatenate([half(part) for half, part in zip(halves, np.split(seen, 2), strict=True)]).T

    entropy = seed_sequence(seed, "evaluation", place, 2, pool=pool).generate_state(1)
    with _library_streams(int(entropy[0]), model.action_space):
        return play(act, task, [seed], place, episodes, pool)


def _player(model: BaseAlgorithm, deterministic: bool) -> Callable[[Array], Array]:
    """What acts in some environments from their start on; it carries the state of recurrent policies."""
    state: Any = None

    def play_on(observations: Array) -> Array:
        nonlocal state
        starts = np.full(len(observations), state is None)
        actions, state = model.predict(observations, state=state, episode_start=starts, deterministic=deterministic)
        return np.asarray(actions)

    return play_on


@contextmanager
def _library_streams(seed: int, *spaces: "gymnasium.Space[Any]") -> Iterator[None]:
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
