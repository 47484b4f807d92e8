"""From the composed mapping to a validated `Config`, and back to the mapping that a record keeps."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from bench import plugin
from bench.config import legality, options, peer_settings, saved_policies
from bench.config.aliases import unknown_value
from bench.config.build import build, whole, written
from bench.config.notes import resolved
from bench.config.schema import Advantage, Arm, Baseline, Config, Factor, TaskConfig, Update
from bench.errors import UserError

A = TypeVar("A", bound=Arm)
FACTORS: Mapping[plugin.Factor, type[Factor]] = {"baseline": Baseline, "advantage": Advantage, "update": Update}
MOST_SEEDS = 10_000  # of a cell: more would fill any memory, and be a slip of the hand
LARGEST_SEED = 2**31 - 1  # that every library takes
# Keys of earlier versions, which changed no number: records that have them are read without.
REMOVED = ("study.tuning",)


def parse(mapping: Mapping[str, Any], *, recorded: bool = True) -> Config:
    """Return the validated configuration of a recorded or composed mapping. Raises `UserError` with one clear line.

    What a recorded one names as code of others must have been imported, or named by the user: only its reader can say
    that it is wanted. The code that any other names may be imported: the user has written it. Its `plugins` are, before
    anything else is looked at.
    """
    data = _without_removed(mapping) if recorded else dict(mapping)
    data.pop("batch", None)  # what the options of collect and update were made from
    data["seeds"] = seeds_of(data.get("seeds"))
    data["plugins"] = _plugins(data.get("plugins"))
    if not recorded:
        plugin.import_modules(",".join(data["plugins"]))
    data["task"] = _with_knobs(data.get("task"))
    for key in FACTORS:
        data[key] = _without_needs(key, data.get(key))
    config = build(Config, data)
    if recorded:
        plugin.refuse_recorded(_code_of_others(config), config.plugins)
    else:
        allow_code(config)
    config = _with_task_code(_with_reference_code(_with_needs(config)))
    legality.validate(config)
    return peer_settings.resolved(config) if config.is_peer else config


def allow_code(config: Config) -> None:
    """Let the code be imported that a configuration names which the user has written, and no record."""
    plugin.allow(plugin.module_of(name) for name in _code_of_others(config).values())


def parse_arm(mapping: Mapping[str, Any]) -> Arm:
    """Return the arm of a saved policy, which was validated when it was trained. Raises `UserError`.

    Plug-ins that it names must have been imported. Which policy its own reference was is left open: it may no longer
    lie where it lay.
    """
    arm = build(Arm, mapping)
    plugin.refuse_recorded({f"{key}.plugin": getattr(arm, key).plugin for key in FACTORS})
    return _with_needs(arm)


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
    plugin.allow([plugin.module_of(settings.get("plugin"))])
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
        "task.id": id if ":" in (id := str(config.task.knobs.get("id"))) else None,  # Gymnasium imports what it names
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
        raise unknown_value(f"{key}.name", factor.name, options.options(key))
    if factor.name != "plugin":
        return replace(factor, needs=options.needs(key, factor.name))
    found = plugin.load(key, factor.plugin)
    needs = tuple({"bootstraps": "values"}.get(need, need) for need, needed in found.needs.items() if needed)
    return replace(factor, needs=needs, code=found.digest)


def _with_task_code(config: Config) -> Config:
    if "plugin" not in config.task.knobs:
        return config
    found = plugin.load("task", config.task.knobs["plugin"])
    fields: Sequence[Any] = dataclasses.fields(found.function) if dataclasses.is_dataclass(found.function) else ()
    usual = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    return replace(config, task=replace(config.task, code=found.digest, usual=usual))


def seeds_of(value: Any) -> list[int]:
    """`20` means seeds 0 to 19; a list names them. Raises `UserError`."""
    shown, value = written(value), whole(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise UserError(f"seeds={shown}: at least 1 seed is needed (a count, or a list such as [3,5])")
        if value > MOST_SEEDS:
            raise UserError(f"seeds={shown}: at most {MOST_SEEDS} seeds; for one of that number write seeds=[{shown}]")
        return list(range(value))
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise UserError(f"seeds={shown}: give a count such as 10, or a list such as [3,5]")
    if len(value) > MOST_SEEDS:
        raise UserError(f"seeds: {len(value)} are named, and at most {MOST_SEEDS} are allowed")
    seeds = [whole(seed) for seed in value]
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"seeds={shown}: seed {written(seed)} is not a whole number of at least 0")
        if seed > LARGEST_SEED:
            raise UserError(f"seeds: seed {seed:.3g} is too large; the largest is {LARGEST_SEED}")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"seeds={shown}: a seed is named twice")
    return sorted(seeds)


def _plugins(value: Any) -> list[str]:
    """The modules that `plugins` names, in a list or as `a,b`. Raises `UserError` for what is no module's name."""
    names = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise UserError(f"plugins={written(value)}: name modules, such as plugins=my_envs or plugins=[my_envs,my_arms]")
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UserError(
                f"plugins={written(value)}: '{name}' is not the name of a module; write my_envs for the file my_envs.py"
            )
    return list(dict.fromkeys(names))


def _with_knobs(task: Any) -> Any:
    """Move the keys of the task section that only that task has into `knobs`."""
    if not isinstance(task, Mapping):
        return task
    common = {field.name for field in dataclasses.fields(TaskConfig)} - {"knobs", *resolved(TaskConfig)}
    knobs = dict(task.get("knobs", {})) | {k: v for k, v in task.items() if k not in common | {"knobs"}}
    return {k: v for k, v in task.items() if k in common} | {"knobs": knobs}
