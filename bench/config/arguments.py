"""The one grammar of commands: words such as `results/quick`, then KEY=VALUE, read into a typed dataclass.

A field without a default is a word without a key, in the order of the fields; a field with a default is a KEY=VALUE.
`python -m bench KEY=VALUE` itself, which trains, is read by Hydra, whose grammar writes values the same way.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from bench.config.build import build
from bench.errors import UserError, nearest

T = TypeVar("T")


def word(missing: str) -> Any:
    """A field that is given as a word without a key; `missing` is what to say where it was not given."""
    return dataclasses.field(metadata={"missing": missing})


def read(command: str, words: Sequence[str], schema: type[T]) -> T:
    """What the words of a command ask for, as the dataclass `schema`.

    Raises:
        UserError: for a word too many, a missing one, an unknown key, and a value of another type than its field's.
    """
    given, missing = pairs(command, words, schema)
    if missing:
        raise UserError(f"{command}: {missing[0].metadata.get('missing', f'give {missing[0].name}')}")
    return build(schema, typed(given, schema))


def pairs(command: str, words: Sequence[str], schema: type[Any]) -> tuple[dict[str, str], list[dataclasses.Field[Any]]]:
    """The text of every field that the words give, and the fields they had to give and do not. Raises `UserError`."""
    fields = dataclasses.fields(schema)
    positional = [field for field in fields if _is_word(field)]
    keys = [field.name for field in fields if not _is_word(field)]
    given: dict[str, str] = {}
    for text in words:
        key, equals, value = text.partition("=")
        if equals and key in keys:
            if given.get(key, value) != value:
                raise UserError(f"{command}: {key} is given twice, {key}={given[key]} and {text}")
            given[key] = value
        elif not equals and positional:
            given[positional.pop(0).name] = text
        elif keys:
            allowed = ", ".join(f"{name}=…" for name in keys)
            raise UserError(f"unknown argument of {command} '{text}': allowed are {allowed}{_meant(text, keys, given)}")
        else:
            raise UserError(f"{command} takes no arguments, not {text!r}")
    return given, positional


def _meant(text: str, keys: Sequence[str], given: Mapping[str, str]) -> str:
    """The hint for a word that no command takes: the first key, for one without a key."""
    key, equals, value = text.lstrip("-").partition("=")
    if not equals and key in keys:
        return f"; did you mean '{key}=…'?"
    if not equals and text and not text.startswith("-") and keys[0] not in given:
        return f"; did you mean '{keys[0]}={text}'?"
    if key in keys:
        return f"; did you mean '{key}={value}'?"
    return nearest(f"{key}=…", [f"{name}=…" for name in keys])


def _is_word(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def typed(given: Mapping[str, str], schema: type[Any]) -> dict[str, Any]:
    """Texts as the types of their fields, as far as they can be read so: `build` refuses what is left."""
    hints = typing.get_type_hints(schema)
    return {key: value_of(text, hints[key]) for key, text in given.items()}


def value_of(text: str, hint: Any) -> Any:
    """A text as a value of the type `hint`; the text itself where it is none."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return None if text in ("null", "") else value_of(text, arguments[0])
    if origin is tuple:
        inside = text[1:-1] if text[:1] + text[-1:] == "[]" else text
        return [value_of(item.strip(), arguments[0]) for item in inside.split(",")] if inside.strip() else []
    if origin is Literal:
        return text
    try:
        readers: dict[Any, Callable[[str], Any]] = {bool: _bool, int: int, float: float}
        return readers.get(hint, str)(text)
    except ValueError:
        return text


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"
