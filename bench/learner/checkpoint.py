"""Saved models and checkpoints: weights, numbers and text. Nothing in them is executed when they are loaded."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from bench.config.schema import Arm
from bench.errors import DamagedCheckpoint, UserError, first_line
from bench.learner import archive
from bench.learner.spaces import space_to_json

if TYPE_CHECKING:
    from bench.learner.policy_gradient import PolicyGradient

FORMAT = 1  # of saved models and checkpoints

Weights = Mapping[str, Mapping[str, Tensor]]  # part of the model → name → tensor


def save(model: PolicyGradient, path: str | Path | io.BufferedIOBase) -> None:
    """Write what the model is and its weights; see `bench.learner.archive`. Raises `OSError`."""
    archive.write(_with_suffix(path), _description(model), weights(model))


def read(path: str | Path | io.BufferedIOBase) -> tuple[dict[str, Any], Weights]:
    """The description and the weights that `save` wrote. Raises `UserError`."""
    data, content = archive.read(_with_suffix(path))
    if data["format"] != FORMAT:
        raise UserError(f"{path} has format {data['format']}: this version reads {FORMAT}")
    return data, content


def _with_suffix(path: str | Path | io.BufferedIOBase) -> str | Path | io.BufferedIOBase:
    return Path(path).with_suffix(".zip") if isinstance(path, str | Path) and not Path(path).suffix else path


def _description(model: PolicyGradient) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "arm": {name: asdict(model.arm)[name] for name in Arm.__dataclass_fields__},
        "seeds": model.seeds,
        "seed_pool": model.seed_pool,
        "env_steps": model.env_steps,
        "updates": model.updates,
        "kl_coef": model.kl_coef.tolist(),
        "reference_coef": model.reference_coef.tolist(),
        "task": model.task_name,
        "observation_space": space_to_json(model.observation_space),
        "action_space": space_to_json(model.action_space),
    }


def weights(model: PolicyGradient) -> dict[str, dict[str, Tensor]]:
    """Parameters, optimiser state and normalisers."""
    found = {
        name: {"parameters": network.stack.flat.clone(), **network.adam.state_dict()}
        for name, network in model.networks().items()
    }
    if model.policy.moments is not None:
        found["observations"] = model.policy.moments.state_dict()
    if model.policy.reward_scale is not None:
        scale = model.policy.reward_scale
        found["rewards"] = {**scale.moments.state_dict(), "running": scale.running}
    return found


def load_weights(model: PolicyGradient, saved: Weights) -> None:
    """Copy what `weights` returned into a model of the same shape."""
    for name, network in model.networks().items():
        network.stack.flat.copy_(saved[name]["parameters"])
        network.adam.load_state_dict(saved[name])
    if model.policy.moments is not None:
        model.policy.moments.load_state_dict(saved["observations"])
    if model.policy.reward_scale is not None:
        model.policy.reward_scale.running = saved["rewards"]["running"].to(model.device, copy=True)
        model.policy.reward_scale.moments.load_state_dict(saved["rewards"])


def checkpoint(model: PolicyGradient) -> dict[str, Any]:
    """Everything a run needs to go on bit for bit, taken between two updates: numbers, text, lists and tensors."""
    return {
        "format": FORMAT,
        "weights": weights(model),
        "num_timesteps": model.num_timesteps,
        "env_steps": list(model.env_steps),
        "updates": list(model.updates),
        "active": list(model.active),
        "failures": dict(model.failures),
        "kl_coef": model.kl_coef.tolist(),
        "reference_coef": model.reference_coef.tolist(),
        "streams": {
            name: [generator.bit_generator.state for generator in streams]
            for name, streams in model.random_streams().items()
        },
        "collector": model.collector.get_state() if model.active else None,
    }


def read_checkpoint(file: BinaryIO) -> dict[str, Any]:
    """What was saved in a checkpoint's file; nothing in it is executed. Raises `DamagedCheckpoint`."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DamagedCheckpoint(first_line(error)) from error
    return state


def restore(model: PolicyGradient, saved: Mapping[str, Any]) -> None:
    """Put a model of the same arm, seeds and environments into the state that `checkpoint` described.

    Raises:
        UserError: for environments whose state is out of reach.
        DamagedCheckpoint: where the checkpoint is not one of such a model.
    """
    try:
        _restore(model, saved)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DamagedCheckpoint(f"it is not one of this model ({type(error).__name__}: {first_line(error)})") from error


def _restore(model: PolicyGradient, saved: Mapping[str, Any]) -> None:
    if saved["format"] != FORMAT:
        raise DamagedCheckpoint(f"it has format {saved['format']}, this version reads {FORMAT}")
    load_weights(model, saved["weights"])
    model.num_timesteps = saved["num_timesteps"]
    model.env_steps, model.updates = list(saved["env_steps"]), list(saved["updates"])
    model.failures = dict(saved["failures"])
    model.kl_coef = np.array(saved["kl_coef"])
    model.reference_coef = np.array(saved["reference_coef"])
    model.activate(saved["active"])
    for name, streams in model.random_streams().items():
        for generator, position in zip(streams, saved["streams"][name], strict=True):
            generator.bit_generator.state = position
    if saved["collector"] is not None:
        model.collector.set_state(saved["collector"])
