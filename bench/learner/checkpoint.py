"""Saved models and checkpoints: weights, numbers and text. Nothing in them is executed when they are loaded.

A saved model (`policy.zip`) acts, and learns on with fresh streams and environments; a checkpoint (`checkpoint.pt`)
holds all that a run needs to go on bit for bit. Both are plain state, which `PolicyGradient` writes and takes back.
"""

import dataclasses
import io
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from gymnasium import spaces

from bench.config.parse import arm_to_mapping, parse_arm
from bench.config.schema import Arm
from bench.errors import DamagedCheckpoint, UserError, first_line
from bench.learner import archive
from bench.learner.actor import Actor
from bench.learner.policy import StackedPolicy, Weights
from bench.learner.spaces import space_from_json, space_to_json

FORMAT = 1  # of saved models
CHECKPOINT_FORMAT = 2

SavedPath = str | Path | io.BufferedIOBase


@dataclass(frozen=True)
class SavedModel:
    """What a saved model holds beside its weights; `task` is None where nobody knows its name.

    `env_steps`, `updates` and the weights β of divergences (`kl_coef`, `reference_coef`) have one entry per seed.
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


def write(path: SavedPath, model: SavedModel, weights: Weights) -> None:
    """Write what a model is and its weights; see `bench.learner.archive`. Raises `OSError`."""
    description = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)} | {
        "format": FORMAT,
        "arm": arm_to_mapping(model.arm, [field.name for field in dataclasses.fields(Arm)]),
        "observation_space": space_to_json(model.observation_space),
        "action_space": space_to_json(model.action_space),
    }
    archive.write(_with_suffix(path), description, weights)


def read(path: SavedPath) -> tuple[SavedModel, Weights]:
    """Return what `write` wrote. Raises `UserError`."""
    data, weights = archive.read(_with_suffix(path))
    if data["format"] != FORMAT:
        raise UserError(f"{path} has format {data['format']}: this version reads {FORMAT}")
    _refuse_unknown_plugins(data["arm"], path)
    found = {field.name: data[field.name] for field in dataclasses.fields(SavedModel)} | {
        "arm": parse_arm(data["arm"]),
        "observation_space": space_from_json(data["observation_space"]),
        "action_space": space_from_json(data["action_space"]),
    }
    return SavedModel(**found), weights


def load_policy(path: SavedPath, device: str = "cpu") -> StackedPolicy:
    """Return the networks of a saved model, without the algorithm that trained them. Raises `UserError`."""
    model, weights = read(path)
    policy = StackedPolicy(model.observation_space, model.action_space, model.arm, model.seeds, model.seed_pool, device)
    policy.load_weights(weights)
    return policy


def load_actor(path: SavedPath, seeds: Sequence[int], device: str = "cpu") -> Actor:
    """Return what acts for each of these seeds of a saved model. Raises `UserError`."""
    policy = load_policy(path, device)
    return policy.acting().select([policy.seeds.index(seed) for seed in seeds])


def read_checkpoint(file: BinaryIO) -> dict[str, Any]:
    """Return what was saved in a checkpoint's file; nothing in it is executed. Raises `DamagedCheckpoint`."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DamagedCheckpoint(first_line(error)) from error
    return state


@contextmanager
def restoring(saved: Mapping[str, Any]) -> Iterator[None]:
    """Refuse a checkpoint of another format, and say of whatever one of another model causes that it is damaged."""
    try:
        if saved["format"] != CHECKPOINT_FORMAT:
            raise DamagedCheckpoint(f"it has format {saved['format']}, this version reads {CHECKPOINT_FORMAT}")
        yield
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DamagedCheckpoint(f"it is not one of this model ({type(error).__name__}: {first_line(error)})") from error


def _with_suffix(path: SavedPath) -> SavedPath:
    return Path(path).with_suffix(".zip") if isinstance(path, str | Path) and not Path(path).suffix else path


def _refuse_unknown_plugins(arm: Mapping[str, Any], path: SavedPath) -> None:
    """Refuse to import what a file names: a plug-in must have been imported before. Raises `UserError`."""
    for factor in ("baseline", "advantage", "update"):
        name = dict(arm.get(factor, {})).get("plugin")
        module = str(name or "").partition(":")[0]
        if module and module not in sys.modules:
            raise UserError(f"{path} uses the plug-in {name}: import {module} before loading it")
