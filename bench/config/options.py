"""The groups of conf, their options, and what an option of a factor needs: read from conf, where each is named once."""

import functools
from pathlib import Path
from typing import Any

import yaml

from bench.paths import CONF

OF_ARMS = ("baseline", "advantage", "update", "reference", "exploration", "collect")  # groups that make an arm
SINGLE = "default"  # a group with this option only holds settings, not a choice


@functools.cache
def groups() -> tuple[str, ...]:
    """Return the names of the groups in the defaults list of conf/config.yaml, sorted."""
    return tuple(sorted(_defaults()))


@functools.cache
def optional() -> tuple[str, ...]:
    """Return the groups of which nothing need be chosen, whose files hold keys of any section."""
    return tuple(name for name, option in _defaults().items() if option is None)


@functools.cache
def _defaults() -> dict[str, str | None]:
    """Return the groups in the defaults list of conf/config.yaml with their usual options."""
    entries = (entry for entry in _content(CONF / "config.yaml")["defaults"] if isinstance(entry, dict))
    pairs = (pair for entry in entries for pair in entry.items())
    return {name: option for name, option in pairs if not name.startswith(("override ", "optional "))}


@functools.cache
def files(group: str) -> tuple[Path, ...]:
    """Return the files of a group's options; what lies in a folder named like one of them is that option's own."""
    found = sorted((CONF / group).rglob("*.yaml"))
    return tuple(file for file in found if not file.parent.with_suffix(".yaml").exists())


def option(file: Path, group: str) -> str:
    """Return what to write behind `group=` for a file; options may lie in folders."""
    return file.relative_to(CONF / group).as_posix().removesuffix(".yaml")


def options(group: str) -> list[str]:
    """Return everything that can be written behind `group=`."""
    return [option(file, group) for file in files(group) if file.stem != SINGLE]


@functools.cache
def needs(factor: str, name: str) -> tuple[str, ...]:
    """Return what an option of a factor needs: `values` (a critic), `episodes` (complete ones), `group` (its settings).

    The file conf/<factor>/<name>.yaml says so under the key `needs`.
    """
    content = _content(CONF / factor / f"{name}.yaml")
    return tuple(content.get(factor, content).get("needs", ()))


@functools.cache
def usual() -> dict[str, str]:
    """Return the option of every choice that makes an arm, as the defaults list of conf/config.yaml has it."""
    return {group: str(option) for group, option in _defaults().items() if group in OF_ARMS}


@functools.cache
def content(group: str, name: str) -> dict[str, Any]:
    """Return what the file of an option says."""
    return _content(CONF / group / f"{name}.yaml")


def _content(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content
