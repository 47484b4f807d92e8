"""Typed sections from plain mappings: every key and every value is checked, and a mistake costs one line."""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from bench.config.aliases import section_given, settings, unknown_key, unknown_value
from bench.errors import UserError

T = TypeVar("T")

_SIGNS = {"k": 1e3, "m": 1e6, "%": 0.01}
LARGEST = 2**63 - 1  # the largest whole number that files and libraries can hold


def build(cls: type[T], data: Any, path: str = "") -> T:
    """A dataclass from a mapping, every key checked for existence and type. Raises `UserError`."""
    if not isinstance(data, Mapping):
        if not path:
            raise UserError(f"the configuration must be a mapping of keys to values, not {data!r}")
        raise section_given(path, data, written(data), settings(cls))
    hints = settings(cls)
    prefix = f"{path}." if path else ""
    for key in data:
        if key not in hints:
            raise unknown_key(f"{prefix}{key}", hints)
    missing = [prefix + key for key in hints if key not in data and key not in _optional(cls)]
    if missing:
        raise UserError(f"missing key '{missing[0]}': it has no default, give {missing[0]}=VALUE")
    return cls(**{key: _value(hints[key], data[key], prefix + key) for key in hints if key in data})


def checked(cls: type[Any], key: str, value: Any, path: str) -> Any:
    """The value of one key of a section as its type. Raises `UserError`, which names `path`."""
    return _value(settings(cls)[key], value, path)


def _optional(cls: type[Any]) -> set[str]:
    """The keys a section can do without: those of plug-ins, and those that earlier versions did not write."""
    none, given = dataclasses.MISSING, dataclasses.fields(cls)
    return {entry.name for entry in given if not entry.default is entry.default_factory is none}


def _value(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type `hint`, or a `UserError` that names the key and what it takes."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if isinstance(value, bool):
            value = str(value).lower()  # YAML takes the word true for a truth value
        if value not in arguments:
            raise unknown_value(path, value, arguments)
        return value
    if origin is types.UnionType:
        return None if value is None else _value(arguments[0], value, path)
    if origin is tuple:
        return _tuple(arguments, value, path)
    if origin is Mapping and arguments[1] is not Any:
        return _mapping(arguments[1], value, path)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type[Any], hint), value, path)
    if origin is not None or hint is Any:
        return value
    return _scalar(hint, value, path)


def _tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise UserError(f"{path}={value}: must be a list")
    if arguments[-1] is Ellipsis:
        return tuple(_value(arguments[0], item, path) for item in value)
    if len(value) != len(arguments):
        raise UserError(f"{path}={list(value)}: must have {len(arguments)} entries")
    return tuple(_value(hint, item, path) for hint, item in zip(arguments, value, strict=True))


def _mapping(hint: Any, value: Any, path: str) -> dict[str, Any]:
    """Names with values of one type."""
    if not isinstance(value, Mapping):
        raise UserError(f"{path}={written(value)}: must be names and their values, such as cartpole: 5")
    return {str(name): _value(hint, each, f"{path}.{name}") for name, each in value.items()}


def written(value: Any) -> str:
    """A value as one writes it on a command line, without quotes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    return str(value)


def whole(value: Any) -> Any:
    """A whole number that is written as another one, such as 1e4, as what it is; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _scalar(hint: type, value: Any, path: str) -> Any:
    if hint is int:
        value = whole(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        shown = str(value) if abs(value) < 10**30 else "a number of more than 30 digits"
        raise UserError(f"{path}={shown}: must be at most {LARGEST}, the largest whole number of 64 bits")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path}={value}: must be finite")
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[hint]
        raise UserError(f"{path}={written(value)}: must be {kind}{_meant_number(hint, path, value)}")
    return value


def _meant_number(hint: type, path: str, value: Any) -> str:
    """The hint for a number with a sign behind it that no number has here: `100k`, `1M`, `95%`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKmM%])", value) if isinstance(value, str) else None
    if found is None or hint not in (int, float):
        return ""
    number = float(found[1]) * _SIGNS[found[2].lower()]
    if hint is int and not number.is_integer():
        return ""
    return f"; did you mean {path}={number:.15g}?" if hint is float else f"; did you mean {path}={number:.0f}?"
