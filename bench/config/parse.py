"""From the composed mapping to a validated `Config`, and back to the mapping that a record keeps."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from bench import plugin
from bench.config import legality, options, peer_settings, saved_policies
from bench.config.build import build
from bench.config.notes import resolved
from bench.config.schema import Advantage, Arm, Baseline, Config, Factor, TaskConfig, Update
from bench.errors import UserError, unknown

A = TypeVar("A", bound=Arm)
FACTORS: Mapping[plugin.Factor, type[Factor]] = {"baseline": Baseline, "advantage": Advantage, "update": Update}
# Keys of earlier versions, which changed no number: records that have them are read without.
REMOVED = ("study.tuning.sampler", "study.tuning.startup", "study.tuning.overlays")


def parse(mapping: Mapping[str, Any], *, recorded: bool = True) -> Config:
    """Return the validated configuration of a recorded or composed mapping. Raises `UserError` with one clear line.

    What a recorded one names as code of others must have been imported: only its reader can say that it is wanted.
    """
    data = _without_removed(mapping)
    data.pop("batch", None)  # what the options of collect and update were made from
    data["seeds"] = _seeds(data.get("seeds"))
    data["task"] = _with_knobs(data.get("task"))
    for key in FACTORS:
        data[key] = _without_needs(key, data.get(key))
    config = build(Config, data)
    if recorded:
        plugin.refuse_recorded(_code_of_others(config))
    config = _with_task_code(_with_reference_code(_with_needs(config)))
    legality.validate(config)
    return peer_settings.resolved(config) if config.is_peer else config


def parse_arm(mapping: Mapping[str, Any]) -> Arm:
    """Return the arm of a saved policy, which was validated when it was trained. Raises `UserError`.

    Which policy its own reference was is left open: it may no longer lie where it lay.
    """
    return _with_needs(build(Arm, mapping))


def to_mapping(config: Config) -> dict[str, Any]:
    """Return the plain mapping (dicts, lists, numbers, text) that `parse` turns into the same configuration."""
    data = arm_to_mapping(config)
    data["task"] |= data["task"].pop("knobs")
    return data


def arm_to_mapping(arm: Arm, keys: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the plain mapping of an arm, or of some of its keys, without what `parse` finds out."""
    names = [field.name for field in dataclasses.fields(arm)] if keys is None else keys
    return {name: _plain(getattr(arm, name)) for name in names}


def option(factor: plugin.Factor, name: str, **settings: Any) -> Any:
    """Return an option of a factor as `parse` would: `option("advantage", "gae")`. Raises `UserError`."""
    return _resolved_factor(factor, FACTORS[factor](name, **settings))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        hidden = resolved(type(value))
        shown = [field.name for field in dataclasses.fields(value) if field.name not in hidden]
        return {name: _plain(getattr(value, name)) for name in shown}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _without_removed(mapping: Mapping[str, Any]) -> dict[str, Any]:
    data = dict(mapping)
    for path in REMOVED:
        *sections, key = path.split(".")
        inner: Any = data
        for section in sections:
            if not isinstance(inner.get(section), Mapping):
                break
            inner[section] = dict(inner[section])
            inner = inner[section]
        else:
            inner.pop(key, None)
    return data


def _without_needs(factor: str, section: Any) -> Any:
    """Leave out what the option's file in conf says for the suite and not for the user. Raises `UserError`."""
    if not isinstance(section, Mapping) or "needs" not in section:
        return section
    name, given = section.get("name"), section["needs"]
    if name in options.options(factor) and given != list(options.needs(factor, str(name))):
        raise UserError(f"{factor}.needs={given}: belongs to {factor}={name} and cannot be set")
    return {key: value for key, value in section.items() if key != "needs"}


def _code_of_others(config: Config) -> dict[str, object]:
    """Return every key that may name a function or a class outside the suite, and what it names."""
    factors = {f"{key}.plugin": getattr(config, key).plugin for key in FACTORS}
    return factors | {
        "task.plugin": config.task.knobs.get("plugin"),
        "algorithm._target_": config.algorithm._target_,
    }


def _with_needs(arm: A) -> A:
    """Find out what the options of factors need, and what plug-ins are. Raises `UserError`."""
    found: dict[str, Any] = {key: _resolved_factor(key, getattr(arm, key)) for key in FACTORS}
    return replace(arm, **found)


def _with_reference_code(config: Config) -> Config:
    """Find out which policy the reference is. Raises `UserError`."""
    reference = config.reference
    if reference.name != "checkpoint" or reference.path is None:
        return config
    return replace(config, reference=replace(reference, policy=saved_policies.digest(reference.path)))


def _resolved_factor(key: plugin.Factor, factor: Factor) -> Factor:
    if factor.name not in options.options(key):
        raise unknown(f"{key}.name", factor.name, options.options(key))
    if factor.name != "plugin":
        return replace(factor, needs=options.needs(key, factor.name))
    found = plugin.load(key, factor.plugin)
    needs = tuple({"bootstraps": "values"}.get(need, need) for need, needed in found.needs.items() if needed)
    return replace(factor, needs=needs, code=found.digest)


def _with_task_code(config: Config) -> Config:
    if "plugin" not in config.task.knobs:
        return config
    code = plugin.load("task", config.task.knobs["plugin"]).digest
    return replace(config, task=replace(config.task, code=code))


def _seeds(value: Any) -> list[int]:
    """`20` means seeds 0 to 19; a list names them."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise UserError(f"seeds={value}: at least 1 seed is needed (a count, or a list such as [3,5])")
        return list(range(value))
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise UserError(f"seeds={value}: give a count such as 10, or a list such as [3,5]")
    seeds = list(value)
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"seeds={seeds}: seed {seed} is not a whole number of at least 0")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"seeds={seeds}: a seed is named twice")
    return sorted(seeds)


def _with_knobs(task: Any) -> Any:
    """Move the keys of the task section that only that task has into `knobs`."""
    if not isinstance(task, Mapping):
        return task
    common = {field.name for field in dataclasses.fields(TaskConfig)} - {"knobs", *resolved(TaskConfig)}
    knobs = dict(task.get("knobs", {})) | {k: v for k, v in task.items() if k not in common | {"knobs"}}
    return {k: v for k, v in task.items() if k in common} | {"knobs": knobs}
