"""Saved models and checkpoints: weights, numbers and text. Nothing in them is executed when they are loaded.

A saved model (`policy.zip`) acts, and learns on with fresh streams and environments; a checkpoint (`checkpoint.pt`)
holds all that a run needs to go on bit for bit. Both are plain state, which `PolicyGradient` writes and takes back.
"""

import dataclasses
import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

from gymnasium import spaces

from bench.archives import BadArchive
from bench.arms.numbers import Settings
from bench.config.build import build
from bench.config.parse import arm_to_mapping, parse_arm
from bench.config.schema import Arm
from bench.errors import DamagedCheckpoint, UserError, first_line
from bench.learner import archive
from bench.learner.actor import Actor
from bench.learner.policy import StackedPolicy, Weights
from bench.learner.spaces import space_from_json, space_to_json
from bench.paths import private

FORMAT = 1  # of saved models
CHECKPOINT_FORMAT = 2
_OWN = ("names", "settings")  # what only a model has whose replicas have numbers of their own
MOST_RETURNS = 1 << 24  # of running episodes: a policy that scales rewards keeps one of each environment

_ODD = (  # what data of another shape causes
    *(LookupError, ValueError, TypeError, AttributeError, AssertionError, RuntimeError, OverflowError, MemoryError),
)

SavedPath = str | Path | io.BufferedIOBase


@dataclass(frozen=True)
class SavedModel:
    """What a saved model holds beside its weights; `task` is None where nobody knows its name.

    `env_steps`, `updates` and the weights β of divergences (`kl_coef`, `reference_coef`) have one entry per replica,
    as have `names` and `settings` where replicas have numbers of their own; see `PolicyGradient.give_numbers`.
    """

    arm: Arm
    seeds: Sequence[int]
    seed_pool: str
    env_steps: Sequence[int]
    updates: Sequence[int]
    kl_coef: Sequence[float]
    reference_coef: Sequence[float]
    task: str | None
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    names: Sequence[int] = ()
    settings: Sequence[Settings] = ()


@dataclass(frozen=True)
class _Description:
    """A `SavedModel` as JSON has it."""

    arm: Mapping[str, Any]
    seeds: tuple[int, ...]
    seed_pool: str
    env_steps: tuple[int, ...]
    updates: tuple[int, ...]
    kl_coef: tuple[float, ...]
    reference_coef: tuple[float, ...]
    task: str | None
    observation_space: Mapping[str, Any]
    action_space: Mapping[str, Any]
    names: tuple[int, ...] = ()
    settings: tuple[Mapping[str, Any], ...] = ()


def write(path: SavedPath, model: SavedModel, weights: Weights) -> None:
    """Write what a model is and its weights; see `bench.learner.archive`. Raises `OSError`.

    Where the arm names the path of a reference, it is written as in a record: see `bench.paths.private`.
    """
    reference = model.arm.reference
    where = None if reference.path is None else private(reference.path)
    arm = dataclasses.replace(model.arm, reference=dataclasses.replace(reference, path=where))
    description = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)} | {
        "format": FORMAT,
        "arm": arm_to_mapping(arm, [field.name for field in dataclasses.fields(Arm)]),
        "observation_space": space_to_json(model.observation_space),
        "action_space": space_to_json(model.action_space),
    }
    own = {name: description.pop(name) for name in _OWN}
    archive.write(_with_suffix(path), description | (own if model.settings else {}), weights)


def read(path: SavedPath) -> tuple[SavedModel, Weights]:
    """Return what `write` wrote. Raises `UserError`; a plug-in that the file names must have been imported before."""
    data, weights = archive.read(_with_suffix(path))
    with loading(path):
        if data["format"] != FORMAT:
            raise UserError(f"{path} has format {data['format']}: this version reads {FORMAT}")
        known = {field.name: data[field.name] for field in dataclasses.fields(_Description) if field.name not in _OWN}
        known |= {name: data[name] for name in _OWN if name in data}
        found = build(_Description, known)
        model = SavedModel(
            **{
                **{field.name: getattr(found, field.name) for field in dataclasses.fields(_Description)},
                "arm": parse_arm(found.arm),
                "observation_space": space_from_json(dict(found.observation_space)),
                "action_space": space_from_json(dict(found.action_space)),
            }
        )
        _check_size(model, weights)
    return model, weights


def refuse_other_networks(arm: Arm, saved: Arm) -> None:
    """Refuse settings that a saved model's weights do not fit. Raises `UserError`."""
    for name in ("hidden", "policy", "exploration", "norm_obs", "norm_reward", "critic.network"):
        given, there = (attrgetter(name)(each) for each in (arm, saved))
        if given != there:
            raise UserError(f"{name}={given}: the saved model has {there}, and its weights belong to it")


@contextmanager
def loading(path: SavedPath) -> Iterator[None]:
    """Say of whatever a file of another shape causes that it is no saved model. Raises `UserError`."""
    try:
        yield
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from error
    except _ODD as error:
        raise UserError(f"{path} is not a saved model ({type(error).__name__}: {first_line(error)})") from error


def _check_size(model: SavedModel, weights: Weights) -> None:
    """Refuse networks that are larger than their weights in the file, before they are made. Raises `ValueError`."""
    arm, space = model.arm, model.action_space
    if min((*arm.hidden, len(model.seeds), arm.n_envs)) < 1:
        raise ValueError("a width, the number of seeds or of environments is below 1")
    inputs = model.observation_space.shape or ()
    networks = [(*inputs, *arm.actor_hidden, int(space.n) if isinstance(space, spaces.Discrete) else 1)]
    if arm.has_critic:
        networks += [(arm.hidden[-1], 1) if arm.shares_layers else (*inputs, *arm.hidden, 1)]
    layers = [pair for widths in networks for pair in itertools.pairwise(widths)]
    if not {len(own) for own in (model.names, model.settings)} <= {0, len(model.seeds)}:
        raise ValueError("its replicas do not each have a name and numbers")
    needed = len(model.seeds) * sum((inside + 1) * outside for inside, outside in layers)
    there = sum(math.prod(tensor.shape) for part in weights.values() for tensor in part.values())
    if needed > there or (arm.norm_reward and len(model.seeds) * arm.n_envs > MOST_RETURNS):
        raise ValueError(f"{needed} parameters and {arm.n_envs} environments in a file of {there} numbers")


def load_policy(path: SavedPath, device: str = "cpu") -> StackedPolicy:
    """Return the networks of a saved model, without the algorithm that trained them. Raises `UserError`."""
    model, weights = read(path)
    with loading(path):
        seeds, pool = model.seeds, model.seed_pool
        policy = StackedPolicy(model.observation_space, model.action_space, model.arm, seeds, pool, device)
        shapes = _shapes(policy)
        policy.load_weights(weights)
        if _shapes(policy) != shapes:
            raise ValueError("its scales are of another shape")
        policy.names = tuple(model.names) or policy.seeds
    return policy


def _shapes(policy: StackedPolicy) -> list[Any]:
    return [tensor.shape for part in policy.weights().values() for tensor in part.values()]


def load_actor(path: SavedPath, seeds: Sequence[int], device: str = "cpu") -> Actor:
    """Return what acts for each of these seeds of a saved model. Raises `UserError`."""
    policy = load_policy(path, device)
    return policy.acting().select([replica(policy, seed, path) for seed in seeds])


def replica(policy: StackedPolicy, seed: int, path: SavedPath) -> int:
    """Return the index of a seed, or the name, among the replicas of the policy saved at `path`. Raises `UserError`."""
    if seed not in policy.names:
        raise UserError(f"{path} has no seed {seed}: it holds {', '.join(map(str, policy.names))}")
    return policy.names.index(seed)


def read_checkpoint(file: BinaryIO) -> dict[str, Any]:
    """Return what was saved in a checkpoint's file; nothing in it is executed. Raises `DamagedCheckpoint`."""
    try:
        state = archive.tensors(file)
    except BadArchive as error:
        raise DamagedCheckpoint(first_line(error)) from error
    if not isinstance(state, dict):
        raise DamagedCheckpoint("it is no mapping")
    return state


@contextmanager
def restoring(saved: Mapping[str, Any]) -> Iterator[None]:
    """Refuse a checkpoint of another format, and say of whatever one of another model causes that it is damaged."""
    with taking_state():
        if saved["format"] != CHECKPOINT_FORMAT:
            raise DamagedCheckpoint(f"it has format {saved['format']}, this version reads {CHECKPOINT_FORMAT}")
        yield


@contextmanager
def taking_state() -> Iterator[None]:
    """Say of whatever the state of another model causes that the checkpoint is damaged. Raises `DamagedCheckpoint`."""
    try:
        yield
    except _ODD as error:
        raise DamagedCheckpoint(f"it is not one of this model ({type(error).__name__}: {first_line(error)})") from error


def _with_suffix(path: SavedPath) -> SavedPath:
    return Path(path).with_suffix(".zip") if isinstance(path, str | Path) and not Path(path).suffix else path
