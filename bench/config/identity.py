"""What makes a cell the cell it is: the settings that can change a number, and their names in tables."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bench import plugin
from bench.config import saved_policies as policies
from bench.config.schema import GAUSSIAN, Config, Reference

# What a Config needs beside the arm, none of which changes a training number.
_BOOKKEEPING = (
    "seeds", "name", "study", "results", "wandb", "wandb_project", "checkpoint_minutes", "retry", "dry_run"
)  # fmt: skip


def cell_hash(config: Config) -> str:
    """Eight hex digits of everything that can change a number, and of nothing else."""
    text = json.dumps(identity(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def identity(config: Config) -> dict[str, Any]:
    """What can change a number of this cell: no book-keeping, and no setting its arm never reads."""
    data = dataclasses.asdict(config)
    if config.is_peer:
        return _peer_identity(config, data)
    data["algorithm"] = {"name": config.algorithm.name}
    for key in _BOOKKEEPING:
        del data[key]
    if config.device == "cpu":
        del data["device"]
    for key in ("budget", "gamma", "norm_obs", "norm_reward", "score"):  # read from the top level, or by the analysis
        del data["task"][key]
    _identify_plugins(config, data)
    data["reference"] = _reference_identity(config.reference)
    if config.exploration == GAUSSIAN:
        del data["exploration"]
    if not any(factor.name == "plugin" for factor in (config.baseline, config.advantage, config.update)):
        _drop_unread(config, data)  # a plug-in may read any setting
    return data


def _identify_plugins(config: Config, data: dict[str, Any]) -> None:
    """A plug-in is its code; an option of the suite's own has none."""
    for key in ("baseline", "advantage", "update"):
        if data[key]["name"] == "plugin":
            data[key]["code"] = plugin.load(key, getattr(config, key).plugin).digest
        else:
            del data[key]["plugin"], data[key]["options"]
    if "plugin" in config.task.knobs:
        data["task"]["knobs"]["code"] = plugin.load("task", config.task.knobs["plugin"]).digest


def _reference_identity(reference: Reference) -> dict[str, Any]:
    if reference.name == "none":
        return {"name": "none"}
    data = dataclasses.asdict(reference)
    path = data.pop("path")
    if reference.name == "checkpoint" and path is not None:
        data["policy"] = policies.digest(path)
    if reference.placement == "reward":
        del data["importance"], data["negative_control"]
    return data


def _drop_unread(config: Config, data: dict[str, Any]) -> None:
    if not config.has_critic:
        del data["critic"]
    elif config.critic.target != "gae":
        del data["critic"]["gae_lambda"]
    if config.advantage.name != "gae":
        del data["gae_lambda"]
    if config.advantage.name != "nstep":
        del data["n_step"]
    if config.update.name not in ("clip", "clip_without_min"):
        del data["clip_range"], data["clip_range_schedule"]
    if config.update.name != "kl_penalty":
        del data["kl_coef"], data["kl_target"]
    if config.baseline.name != "vine":
        del data["vine"]
    if config.collect.name == "segments":
        del data["group"]
    elif not config.group_baseline:
        for key in ("credit", "scale", "leave_one_out", "ddof", "eps", "alive_only"):
            del data["group"][key]
    elif config.group.scale != "std":
        del data["group"]["ddof"], data["group"]["eps"]


def _peer_identity(config: Config, data: dict[str, Any]) -> dict[str, Any]:
    """What a library's algorithm reads: nothing of the arm's."""
    read = {key: data[key] for key in ("algorithm", "budget", "norm_obs", "norm_reward", "seed_pool", "evaluation")}
    read["task"] = {key: data["task"][key] for key in ("name", "time_limit", "knobs")}
    if config.algorithm._target_ is None:
        del read["algorithm"]["_target_"]
    if config.norm_reward and "gamma" not in config.algorithm.parameters:
        read["gamma"] = config.gamma  # of the scale of rewards
    return read


def factors(config: Config) -> dict[str, Any]:
    """The identity as flat, dotted columns for tables: `baseline`, `critic.target`, `group.size`, …"""
    flat: dict[str, Any] = {"task": config.task.name}
    for key, value in identity(config).items():
        if not isinstance(value, Mapping):
            flat[key] = list(value) if isinstance(value, tuple) else value
            continue
        for name, item in value.items():
            if name == "name":
                flat[key] = item if item != "plugin" else value["plugin"]
            elif name == "knobs":
                flat |= {f"{key}.{knob}": knob_value for knob, knob_value in item.items()}
            elif name == "parameters":
                flat |= {f"{key}.{name}.{parameter}": value for parameter, value in item.items()}
            else:
                flat[f"{key}.{name}"] = item
    return flat
