"""What a model is made of: its arm, its seeds and its environments, from what its user gives of them."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from bench import plugin
from bench.config import legality
from bench.config.build import whole
from bench.config.schema import Arm, Config
from bench.errors import UserError, unknown
from bench.learner.policy import StackedPolicy
from bench.learner.sb3_settings import FIELDS, applied, as_config, composed
from bench.seeding import SEED_POOLS
from bench.tasks.base import Task
from bench.tasks.copied import CopiedTask, copied_task
from bench.tasks.foreign import GymTask
from bench.tasks.registry import GYMNASIUM_TASKS, TASKS, environments, make
from bench.tasks.spaces import check_spaces, shown
from bench.tasks.vec_env import BatchedVecEnv

MOST_SEEDS = 10_000
MANY_STEPS = 2**62  # of a budget, where it is looked at later

# Vectorised environments of Stable-Baselines3's that cannot be used, and what to use.
INSTEAD: Mapping[str, str] = {
    "VecNormalize": "each seed has scales of its own; give what it wraps, and normalize=True",
    "SubprocVecEnv": "its environments are in other processes; give one environment, of which each seed gets copies",
    "VecFrameStack": "wrap each environment in FrameStackObservation and FlattenObservation of gymnasium.wrappers",
    "VecTransposeImage": "observations must be flat, and images are not",
    "VecExtractDictObs": "wrap each environment in FilterObservation and FlattenObservation of gymnasium.wrappers",
    "VecCheckNan": "a seed that meets a number that is not finite fails by itself; give what it wraps",
    "VecMonitor": "it writes a file, in which all seeds would be mixed; give what it wraps",
}


class OtherSpaces(UserError, ValueError):
    """Environments of other spaces than the model's: a `ValueError`, as Stable-Baselines3's."""


@dataclass(frozen=True)
class Ingredients:
    """What a model is made of; `task` is the name of its task where that is known."""

    arm: Arm
    task: str | None
    env: BatchedVecEnv | None
    seeds: tuple[int, ...]


def completed(
    env: object,
    arm: Arm | None,
    seeds: int | Sequence[int] | None,
    seed_pool: str,
    given: Mapping[str, Any],
    *,
    repeated: bool = False,
) -> Ingredients:
    """Return what a model is made of, where its user leaves something open.

    `env` may be the name of a task, an id of Gymnasium's, an environment or a `DummyVecEnv`, which are copied for each
    seed, or a `BatchedVecEnv`. Without `arm`, the settings are those of `bench.compose()` on that task; in segments
    where no limit of an episode is known, or where `env` says how many environments there are. `given` are settings
    by Stable-Baselines3's names, see `bench.learner.sb3_settings`. `seeds` are `repeated` where they are a model's own,
    whose replicas may differ in their numbers.

    Raises:
        UserError: for what cannot be used, in one line.
    """
    if arm is not None and not isinstance(arm, Arm):
        raise UserError(
            f"arm={shown(arm)}: must be what bench.compose returns; give the settings of Stable-Baselines3 by name, "
            f"such as learning_rate=0.001"
        )
    if arm is not None and arm.is_peer:
        raise UserError(f"arm: algorithm={arm.algorithm.label} is a library's own; bench.run trains it")
    if seed_pool not in SEED_POOLS:
        raise unknown("seed_pool", seed_pool, SEED_POOLS)
    source = _source(env)
    chosen = tuple(seeds) if repeated and isinstance(seeds, tuple) else _seeds(seeds, given.get("seed"), source)
    many = _many(source)
    if many is not None and arm is None:
        given = {"n_envs": many, **given}
    config = arm or _arm_on(source)
    config = applied(config, given)
    if many is not None and many != config.n_envs:
        key = "group.groups times group.size" if config.collect.name == "episodes" else "collect.n_envs"
        raise UserError(f"env: it has {many} environments for each seed, the arm {config.n_envs} ({key})")
    venv = source if isinstance(source, BatchedVecEnv) else _environments(source, config, chosen, seed_pool)
    if venv is not None:
        _check(venv, config, chosen)
    return Ingredients(config, _name(source, arm), venv, chosen)


def _source(env: object) -> BatchedVecEnv | Task | None:
    """Return the environments, or the task to make them of. Raises `UserError`."""
    if env is None or isinstance(env, BatchedVecEnv | Task):
        return env
    if isinstance(env, str):
        return _named(env)
    if isinstance(env, gymnasium.Env):
        return copied_task([env])
    if isinstance(env, VecMonitor) and env.results_writer is None:
        return _source(env.venv)  # what it would add is there
    if isinstance(env, DummyVecEnv):
        return copied_task(env.envs)
    kind = type(env).__name__
    if isinstance(env, VecEnv):
        raise UserError(f"env: {kind} cannot be used: {INSTEAD.get(kind, 'give the environments that it wraps')}")
    raise UserError(
        f"env={shown(env)}: must be the id of a task or of Gymnasium, an environment of Gymnasium's, or a DummyVecEnv"
    )


def _named(name: str) -> Task:
    known = GYMNASIUM_TASKS.get(name, name)
    if known not in TASKS and (known in gymnasium.registry or ":" in known or re.search(r"-v\d+$", known)):
        plugin.allow([plugin.module_of(known)])
        return GymTask(known)
    return make(composed(f"task={known}").task)


def _seeds(seeds: int | Sequence[int] | None, seed: object, source: BatchedVecEnv | Task | None) -> tuple[int, ...]:
    if seed is not None:
        if seeds is not None:
            raise UserError(f"seed={shown(seed)}, seeds={shown(seeds)}: give one of them")
        seeds = [seed]  # type: ignore[list-item]  # looked at below
    if seeds is None:
        return source.batched.seeds if isinstance(source, BatchedVecEnv) else (0,)
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        if not 1 <= seeds <= MOST_SEEDS:
            raise UserError(f"seeds={seeds}: a count is at least 1 and at most {MOST_SEEDS}; one seed is seeds=[3]")
        return tuple(range(int(seeds)))
    named = tuple(seeds) if isinstance(seeds, Iterable) else ()
    numbers = [isinstance(each, int | np.integer) and not isinstance(each, bool) for each in named]
    if not named or not all(numbers) or min(named) < 0 or len(set(named)) < len(named):
        raise UserError(
            f"seeds={shown(seeds)}: must be a count of seeds, or a list of different whole numbers of at least 0"
        )
    return tuple(int(each) for each in named)


def _many(source: BatchedVecEnv | Task | None) -> int | None:
    """Return how many environments of each seed are given; None for one, of which there may be as many as needed."""
    if isinstance(source, BatchedVecEnv):
        return source.batched.n_envs
    return len(source.originals) if isinstance(source, CopiedTask) and len(source.originals) > 1 else None


def _arm_on(source: BatchedVecEnv | Task | None) -> Arm:
    """Return the settings of `bench.compose()` on a task."""
    if source is None or isinstance(source, BatchedVecEnv):
        return composed()
    if not isinstance(source, GymTask):
        name = _name(source, None)
        return composed(*([] if name is None else [f"task={name}"]))
    collect = ["collect=segments"] if source.time_limit is None else []
    copied = isinstance(source, CopiedTask)
    which = [] if copied else [f"task.id={source.id}"]
    config = composed("task=gym", "group.start=independent", *which, *collect)
    return Arm(**{name: getattr(config, name) for name in FIELDS}) if copied else config


def _environments(source: Task | None, arm: Arm, seeds: Sequence[int], seed_pool: str) -> BatchedVecEnv | None:
    if source is None:
        return None
    if isinstance(source, GymTask) and source.time_limit is None and arm.collect.name == "episodes":
        raise UserError(
            f"{source.name}: nothing limits its episodes, and the arm collects complete ones; wrap it in "
            f"gymnasium.wrappers.TimeLimit, or use collect=segments"
        )
    return BatchedVecEnv(environments(source, seeds, arm.n_envs, seed_pool))


def _check(venv: BatchedVecEnv, arm: Arm, seeds: Sequence[int]) -> None:
    """Refuse environments that are not those of these seeds, or in which the arm cannot learn. Raises `UserError`."""
    env = venv.batched
    if env.seeds != tuple(seeds):
        raise UserError(f"env: its seeds are {shown(env.seeds)}, the model's are {shown(tuple(seeds))}")
    check_spaces("env", venv.observation_space, venv.action_space)
    config = as_config(arm)
    named = dataclasses.replace(config.task, name=getattr(env.task, "id", type(env.task).__name__))
    discrete = isinstance(venv.action_space, spaces.Discrete)
    legality.check_task(
        dataclasses.replace(config, budget=MANY_STEPS, task=named),
        horizon=env.task.horizon,
        restorable=env.task.restorable,
        discrete=discrete,
    )


def _name(source: BatchedVecEnv | Task | None, arm: Arm | None) -> str | None:
    if isinstance(arm, Config):
        return arm.task.name
    if source is None or isinstance(source, BatchedVecEnv | CopiedTask):
        return None
    return next((name for name, cls in TASKS.items() if type(source) is cls), None)


def refuse_other_spaces(env: VecEnv, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
    """Refuse environments that a model of these spaces cannot be in. Raises `OtherSpaces`."""
    for name, own, given in (
        ("Observation", observation, env.observation_space),
        ("Action", action, env.action_space),
    ):
        if own != given:
            raise OtherSpaces(f"env: {name} spaces do not match: the model's is {shown(own)}, not {shown(given)}")


def checked_policy(policy: object) -> str:
    """Return the policy as Stable-Baselines3 takes it. Raises `UserError` for one there is not."""
    if policy == "MlpPolicy" or policy is StackedPolicy:
        return "MlpPolicy"
    raise UserError(
        f"policy={shown(getattr(policy, '__name__', policy))}: must be 'MlpPolicy': observations are flat, and the arm "
        f"says what the networks are (policy_kwargs=dict(net_arch=…))"
    )


def whole_steps(total: object) -> int:
    """Return a number of steps, such as 1e5, as what it is. Raises `UserError`."""
    number = whole(total.item() if isinstance(total, np.generic) else total)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UserError(f"total_timesteps={shown(total)}: must be a whole number of at least 1")
    return number
