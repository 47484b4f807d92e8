"""Composing the configuration of one cell with Hydra.

Only this package, `bench.commands.train` and the sweeper plug-in know Hydra.
"""

import contextlib
import functools
import os
import re
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from gymnasium.spaces import Discrete
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from bench.cells import plain, presets
from bench.cells.mistakes import check, explained
from bench.config import options
from bench.config.legality import check_task
from bench.config.parse import parse
from bench.config.schema import Config, Study
from bench.errors import UserError
from bench.paths import CONF
from bench.tasks.registry import knobs, make, score_bounds

W_AND_B: Mapping[str, Mapping[str, str]] = {"MODE": {"dryrun": "offline", "run": "online"}, "PROJECT": {}}
PATHS = ("results", "reference.path")  # recorded without the home folder and the user's name


def _of_wandb(name: str, default: str) -> str:
    """Return what W&B's variable of this name says, in this suite's words; see conf/config.yaml."""
    given = os.environ.get(f"WANDB_{name}", "")
    return W_AND_B[name].get(given, given) or default


RESOLVERS = {"wandb": _of_wandb}
for _name, _resolver in RESOLVERS.items():
    OmegaConf.register_new_resolver(_name, _resolver, replace=True)


def compose(overrides: Sequence[str] = ()) -> Config:
    """The configuration of one cell, also in the middle of a command of Hydra's. Raises `UserError`."""
    check(overrides)
    choices, settings = _split(overrides)
    with explained():
        composed = _composed(choices, (_files(CONF), _variables()))
    return (composed.with_values(settings) if settings else composed).parse()


def _split(overrides: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the overrides that Hydra must compose, and the settings that can be set afterwards with the same result.

    Beside an addition, a deletion or a sweep, whose place among the others matters, Hydra composes all of them.
    """
    with explained():
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    if any(each.is_add() or each.is_force_add() or each.is_delete() or each.is_sweep_override() for each in parsed):
        return tuple(overrides), {}
    later = [is_setting(each) for each in parsed]
    choices = tuple(line for line, is_later in zip(overrides, later, strict=True) if not is_later)
    settings = [override for override, is_later in zip(parsed, later, strict=True) if is_later]
    return choices, {override.key_or_group: override.value() for override in settings}


def is_setting(override: Override) -> bool:
    """Whether an override changes a value that there is, and not which files of conf are read."""
    key = override.key_or_group
    of_hydra = key.partition(".")[0] == "hydra"
    if override.is_add() or override.is_force_add() or override.is_delete():
        return False
    return override.package is None and "/" not in key and not of_hydra and key not in options.groups()


@functools.lru_cache(maxsize=256)
def _composed(overrides: tuple[str, ...], given: Hashable) -> "Composition":  # noqa: ARG001 - part of the key
    """Compose with Hydra, which takes a tenth of a second: once, while what is `given` otherwise stays as it is."""
    with _apart(), initialize_config_dir(str(CONF), version_base="1.3"):
        return Composition(hydra_compose("config", overrides=list(overrides), return_hydra_config=True))


def _files(folder: Path) -> tuple[tuple[Path, int], ...]:
    """Return the files of conf with the times of their last change."""
    return tuple((file, file.stat().st_mtime_ns) for file in folder.rglob("*.yaml"))


def _variables() -> tuple[str | None, ...]:
    """Return what W&B's variables say."""
    return tuple(os.environ.get(f"WANDB_{name}") for name in W_AND_B)


@contextmanager
def _apart() -> Iterator[None]:
    """Put Hydra's one instance aside."""
    instance = GlobalHydra.instance()
    before, instance.hydra = instance.hydra, None
    try:
        yield
    finally:
        instance.hydra = before


class Composed:
    """What Hydra composed, with its choices of options and the keys that were typed; Hydra's section is taken away."""

    def __init__(self, config: DictConfig) -> None:
        self.options: Mapping[str, str | None] = dict(config.hydra.runtime.choices)
        self.typed = frozenset(word.partition("=")[0].lstrip("+~") for word in config.hydra.overrides.task)
        with open_dict(config):
            config.pop("hydra")  # four fifths of it
        self.config = config

    @functools.cached_property
    def mapping(self) -> Mapping[str, Any]:
        """All settings, with references to others as they are written."""
        return _unresolved(self.config)


def _unresolved(config: DictConfig) -> Mapping[str, Any]:
    mapping = OmegaConf.to_container(config, resolve=False)
    assert isinstance(mapping, dict)
    return {str(key): value for key, value in mapping.items()}


class Composition:
    """What Hydra composed, with other values of some settings."""

    def __init__(self, composed: DictConfig | Composed, values: Sequence[tuple[str, Any]] = ()) -> None:
        """`values` are given by the command line or a grid, as if they had been overridden, the last of a key last."""
        self._composed = composed if isinstance(composed, Composed) else Composed(composed)
        self._values = tuple(values)
        self.options = self._composed.options
        self._typed = self._composed.typed | {key for key, _ in self._values}

    @functools.cached_property
    def _config(self) -> DictConfig:
        """All settings, as OmegaConf has them. Raises `UserError` for a value of a key that there is not."""
        if not self._values:
            return self._composed.config
        config = deepcopy(self._composed.config)
        with explained():
            for key, value in self._values:
                OmegaConf.update(config, key, value)
        return config

    @functools.cached_property
    def _mapping(self) -> Mapping[str, Any]:
        """All settings, with references to others as they are written. Raises `UserError` as `_config` does."""
        mapping = self._composed.mapping
        try:
            for key, value in self._values:
                mapping = plain.with_value(mapping, key, value)
        except plain.NotPlain:
            return _unresolved(self._config)
        return mapping

    @functools.cached_property
    def _plain(self) -> Mapping[str, Any] | None:
        """All settings; None where it takes OmegaConf to say what they are. Raises `UserError` as `_config` does."""
        try:
            return plain.resolved(self._mapping, RESOLVERS)
        except plain.NotPlain:
            return None

    def _resolved(self) -> Mapping[str, Any]:
        """All settings. Raises `UserError` as `_config` does, and for a reference that leads nowhere."""
        if self._plain is not None:
            return self._plain
        with explained():
            mapping = OmegaConf.to_container(self._config, resolve=True)
        assert isinstance(mapping, dict)
        return {str(key): value for key, value in mapping.items()}

    def value(self, key: str) -> Any:
        """The option chosen of a group, or the value of a setting. Raises `UserError` for a key there is not."""
        if key in self.options:
            return self.options[key]
        if self._plain is not None:
            with contextlib.suppress(plain.NotPlain):
                return plain.value_of(self._plain, key)
        with explained():
            value = OmegaConf.select(self._config, key, throw_on_missing=True)
        return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value

    def with_values(self, values: Mapping[str, Any]) -> "Composition":
        """A copy with other values of some settings; whoever reads it is told of a key that there is not."""
        return Composition(self._composed, (*self._values, *values.items()))

    def parse(self) -> Config:
        """Validate it, its task included. Raises `UserError`, which names what was typed."""
        self._refuse_missing_settings()
        self._refuse_environment()
        mapping = self._resolved()
        self._refuse_wrong_files(mapping)
        try:
            return self._parsed(mapping)
        except UserError as error:
            raise self._about_what_was_typed(error) from error

    def _parsed(self, mapping: Mapping[str, Any]) -> Config:
        parsed = parse(mapping, recorded=False)
        task = make(parsed.task)
        described = replace(parsed.task, score=score_bounds(parsed.task, task), knobs=knobs(parsed.task, task))
        parsed = replace(parsed, task=described, name=self._name(parsed.name))
        discrete = isinstance(task.action_space, Discrete)
        check_task(parsed, horizon=task.horizon, restorable=task.restorable, discrete=discrete)
        return parsed

    def _name(self, given: str | None) -> str | None:
        """The name of the arm; a preset's only while it is what the preset is."""
        preset = self.options.get("preset")
        return given if preset is None else presets.arm_name(preset, given, self.value)

    def _about_what_was_typed(self, error: UserError) -> UserError:
        """The same error, about the typed key that a setting takes its value from: `critic.learning_rate` has one."""
        key, equals, rest = str(error).partition("=")
        source = key
        while equals and source not in self._typed:
            node = self._node(source)
            if node is None or not (reference := re.fullmatch(r"\$\{([\w.]+)\}", str(node))):
                return error
            source = reference[1]
            if "." not in source:
                break  # a setting of the cell itself
        return UserError(f"{source}={rest}") if source != key and equals else error

    def _node(self, key: str) -> object:
        """What the configuration has for a key, before interpolations are replaced; None for no key of it."""
        section, _, last = key.rpartition(".")
        try:
            parent = OmegaConf.select(self._config, section) if section else self._config
        except OmegaConfBaseException:
            return None
        if not isinstance(parent, DictConfig) or last not in parent:
            return None
        content = OmegaConf.to_container(parent, resolve=False)
        assert isinstance(content, dict)
        return content[last]

    def _refuse_wrong_files(self, mapping: Mapping[str, Any]) -> None:
        """Refuse an option of the user's own whose file would set nothing, or set it in the wrong place."""
        for group in options.optional():
            name = self.options.get(group)
            if name is None or name in options.options(group):
                continue
            section = mapping.get(group) or {}
            misplaced = _misplaced(group, section)
            if misplaced:
                raise UserError(
                    f"{group}={name}: its file sets {group}.{min(misplaced)}; begin it with the line "
                    f"'# @package _global_', so that its keys are those of a cell"
                )
            if group == "study" and section.get("name") == "adhoc" and "study.name" not in self._typed:
                raise UserError(f"study={name}: its file gives the study no name; write study: {{name: {name}, ...}}")

    def _refuse_environment(self) -> None:
        """Refuse values from the environment: they may be secrets, and records are handed on. Paths are private."""
        left: list[tuple[str, Any]] = [("", self._mapping)]
        while left:
            key, value = left.pop()
            if isinstance(value, dict | list):
                inside = value.items() if isinstance(value, dict) else enumerate(value)
                left += [(f"{key}.{name}".lstrip("."), item) for name, item in inside]
            elif isinstance(value, str) and "${" in value and "oc.env" in value and key not in PATHS:
                raise UserError(
                    f"{key}={value}: the environment's values are not recorded, since records are handed on; write the "
                    f"value itself (only {' and '.join(PATHS)} may name it)"
                )

    def _refuse_missing_settings(self) -> None:
        """Hydra passes over settings that a task has none of."""
        settings, task = self.options.get("settings"), self.options.get("task")
        if settings is None or (CONF / "settings" / settings / f"{task}.yaml").exists():
            return
        known = ", ".join(sorted(path.stem for path in (CONF / "settings" / settings).glob("*.yaml")))
        raise UserError(f"settings={settings} with task={task}: there are none for it; allowed are {known}")


def _misplaced(group: str, section: Mapping[str, Any]) -> Collection[str]:
    """The keys of an optional group's section that its file meant for a cell."""
    if group == "design":  # what else is wrong with it, whoever parses it says
        return section.keys() & {group}
    return section.keys() - {field.name for field in fields(Study)} if group == "study" else section.keys()
