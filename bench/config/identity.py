"""What makes a cell the cell it is: the settings that can change a number, and their names in tables.

A setting counts where its arm reads it, and a setting that was added later counts where it differs from its frozen
default (see `bench.config.schema`). So neither a new setting nor an edited value of conf moves the hash of a cell that
does not read it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from bench.config import design
from bench.config.notes import ReadIf, about, resolved
from bench.config.parse import FACTORS
from bench.config.schema import Config, Reference

# What a Config needs beside the arm, none of which changes a training number.
BOOKKEEPING = (
    "seeds", "name", "study", "results", "wandb", "wandb_project", "wandb_timeout", "tensorboard", "checkpoint_minutes",
    "retry", "dry_run", "keep_episodes", "sample_solved", "plugins", "illegal", "until", "max_pairs",
)  # fmt: skip
_OF_TASK = ("name", "time_limit", "knobs")  # its other keys are read from the top level, or by the analysis
_HASH = "_cell_hash"  # no field, so no copy with other settings takes it over
_OF_PEERS = ("algorithm", "budget", "norm_obs", "norm_reward", "seed_pool", "evaluation")


def cell_hash(config: Config) -> str:
    """Return eight hex digits of everything that can change a number, and of nothing else.

    It is kept beside the fields of the configuration, which never change: a sweep asks some thirty times for each cell.
    """
    found: str | None = vars(config).get(_HASH)
    if found is None:
        text = json.dumps(identity(config), sort_keys=True, separators=(",", ":"))
        found = vars(config)[_HASH] = hashlib.sha256(text.encode()).hexdigest()[:8]
    return found


def identity(config: Config) -> dict[str, Any]:
    """Return what can change a number of this cell: no book-keeping, and no setting its arm never reads."""
    if config.is_peer:
        return _peer_identity(config)
    plugins = [key for key in FACTORS if getattr(config, key).name == "plugin"]
    data = _settings(config, config, every=bool(plugins))  # a plug-in may read any setting
    for key in BOOKKEEPING:
        data.pop(key, None)
    if config.design is not None:
        data = _without(data, next(iter(config.design.drawn.values()), {}))
        data["design"] = design.identity(config.design)
    for key in plugins:
        factor = getattr(config, key)
        data[key] |= {"plugin": factor.plugin, "options": factor.options, "code": factor.code}
    return data | {
        "algorithm": {"name": config.algorithm.name},
        "task": _task_identity(config),
        "reference": _reference_identity(config.reference),
    }


def _without(data: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return an identity without the numbers that a design gives its runs."""
    found = {key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()}
    for key in keys:
        section, _, name = key.rpartition(".")
        (found[section] if section else found).pop(name, None)
    return found


def read_numbers(config: Config, keys: Iterable[str]) -> list[str]:
    """Return those of these keys, such as `critic.learning_rate`, that the arm reads."""
    data = identity(config)
    return [key for key in keys if _is_there(data, key)]


def _is_there(data: Mapping[str, Any], key: str) -> bool:
    section, _, name = key.rpartition(".")
    return name in (data.get(section, {}) if section else data)


def said(config: Config) -> Any:
    """Return everything of a cell that changes what a command does: two cells that say the same are one cell."""
    return identity(config), [getattr(config, key) for key in BOOKKEEPING], config.task.score


def _settings(section: Any, config: Config, *, every: bool) -> dict[str, Any]:
    """Return the settings of a section that the arm reads, those at a frozen default left out."""
    hidden, read_if = resolved(type(section)), about(type(section), ReadIf)
    data: dict[str, Any] = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        unread = field.name in read_if and not every and not _is_read(read_if[field.name], config)
        if field.name in hidden or unread or value == _frozen_default(field):
            continue
        data[field.name] = _settings(value, config, every=every) if dataclasses.is_dataclass(value) else value
    return data


def _frozen_default(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a setting that was added later; `MISSING`, which no value equals, for any other."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _is_read(read_if: ReadIf, config: Config) -> bool:
    return all(_value(config, key) in values for key, values in read_if.keys.items())


def _value(config: Config, key: str) -> Any:
    """Return the value of a dotted key; of a choice, its name."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return getattr(value, "name", value)


def _task_identity(config: Config) -> dict[str, Any]:
    task = {key: getattr(config.task, key) for key in _OF_TASK}
    return task if config.task.code is None else task | {"knobs": {**config.task.knobs, "code": config.task.code}}


def _reference_identity(reference: Reference) -> dict[str, Any]:
    if reference.name == "none":
        return {"name": "none"}
    data = dataclasses.asdict(reference)
    del data["path"]  # a policy is what it computes, not where it lies
    if reference.policy is None:
        del data["policy"]
    if reference.veto is None:
        del data["veto"]
    if reference.placement == "reward":
        del data["importance"], data["negative_control"]
    return data


def _peer_identity(config: Config) -> dict[str, Any]:
    """Return what a library's algorithm reads, which is nothing of the arm; its version is provenance."""
    data = _settings(config, config, every=True)
    read = {key: data[key] for key in _OF_PEERS} | {"task": _task_identity(config)}
    if config.algorithm._target_ is None:
        del read["algorithm"]["_target_"]
    if config.norm_reward and "gamma" not in config.algorithm.parameters:
        read["gamma"] = config.gamma  # of the scale of rewards
    return read


def factors(config: Config) -> dict[str, Any]:
    """Return the identity as flat, dotted columns for tables: `baseline`, `critic.target`, `group.size`, …"""
    flat: dict[str, Any] = {"task": config.task.name}
    for key, value in identity(config).items():
        if key == "design" and config.design is not None:  # its record has the whole of it
            flat |= {"design": config.design.name, "stratum": config.design.stratum}
        elif not isinstance(value, Mapping):
            flat[key] = list(value) if isinstance(value, tuple) else value
        else:
            flat |= _of_section(key, value)
    return flat


def _of_section(key: str, section: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in section.items():
        if name == "name":
            flat[key] = item if item != "plugin" else section["plugin"]
        elif name == "knobs":
            flat |= {f"{key}.{knob}": value for knob, value in item.items()}
        elif name == "parameters":
            flat |= {f"{key}.{name}.{parameter}": value for parameter, value in item.items()}
        else:
            flat[f"{key}.{name}"] = item
    return flat
