"""Whether a preset is still what its name says."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.config import names, options


def arm_name(preset: str, name: str | None, value: Callable[[str], Any]) -> str | None:
    """Return the name of an arm that a preset was chosen for: `name`, unless that is the preset's and says too much.

    A preset keeps its bare name while every setting of its file has the file's value and every other choice of an
    option is the usual one. Else the settings that differ are part of the name: `ppo-baseline-none`.

    Args:
        preset: the option chosen.
        name: what the arm was to be called.
        value: gives the option that was chosen of a group, or the value of a setting.
    """
    if preset not in options.options("preset"):
        return name  # of a folder of the user's own
    content = options.content("preset", preset)
    if name is None or name != content.get("name"):
        return name  # of the user's or the study's own, or none
    given = {**options.usual(), **dict(_settings(content))}
    changed = {key: found for key, usual in given.items() if (found := value(key)) != usual}
    return names.joined(name, changed)


def _settings(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the options and the settings that a preset's file gives."""
    for key, value in content.items():
        if key == "defaults":
            for entry in value:
                yield from ((group.removeprefix("override /"), option) for group, option in entry.items())
        elif isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        elif prefix + key != "name":
            yield prefix + key, value
