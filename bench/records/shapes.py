"""What values of a record may be: a test for each kind, so that a file of another shape is named and not believed."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from bench.records.files import shown

Shape = Callable[[Any], bool]

LARGEST = 1 << 53  # of whole numbers: a float64 holds each of them
LONGEST = 300  # letters of a name
MANY = 100_000  # entries of a list or a mapping
MOST_SEEDS = 100_000  # of a cell
_MAPPINGS = (dict, Mapping)  # the usual one first: every value of thousands of records is asked
_PLAIN = (str, float, bool, list, dict, type(None))


def misfit(data: Mapping[str, Any], required: Mapping[str, Shape], further: Mapping[str, Shape] | None = None) -> str:
    """Return what of a mapping does not have its shape, `"'budget' is None"`; empty where nothing is wrong.

    `required` keys must be there, `further` ones may be; other keys are not looked at.
    """
    for key, has_shape in required.items():
        if key not in data:
            return f"it has no '{key}'"
        if not has_shape(data[key]):
            return f"'{key}' is {shown(data[key])}"
    for key, has_shape in (further or {}).items():
        if key in data and not has_shape(data[key]):
            return f"'{key}' is {shown(data[key])}"
    return ""


def name(value: Any) -> bool:
    """Text of one line, as of an arm or a task."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()


def prose(value: Any) -> bool:
    """Any text."""
    return isinstance(value, str)


def matching(pattern: str) -> Shape:
    """Text that is of a pattern as a whole."""
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def folder(value: Any) -> bool:
    """A path below a study's folder, as POSIX writes it."""
    return name(value) and not value.startswith("/") and {"", ".", ".."}.isdisjoint(value.split("/"))


def whole(value: Any) -> bool:
    """A whole number of at least 0."""
    return type(value) is int and 0 <= value <= LARGEST


def number(value: Any) -> bool:
    """A finite number."""
    return whole(abs(value)) if type(value) is int else isinstance(value, float) and math.isfinite(value)


def seeds(value: Any) -> bool:
    """A list of seeds, each once."""
    return isinstance(value, list) and len(value) <= MOST_SEEDS and all(map(whole, value)) and _unique(value)


def _unique(value: list[int]) -> bool:
    return len(set(value)) == len(value)


def optional(shape: Shape) -> Shape:
    """What has the shape, or None."""
    return lambda value: value is None or shape(value)


def either(*shapes: Shape) -> Shape:
    """What has one of the shapes."""
    return lambda value: any(shape(value) for shape in shapes)


def listed(shape: Shape) -> Shape:
    """A list of what has the shape."""
    return lambda value: isinstance(value, list) and len(value) <= MANY and all(map(shape, value))


def pair(shape: Shape) -> Shape:
    """A list of two of what has the shape."""
    return lambda value: isinstance(value, list) and len(value) == 2 and all(map(shape, value))


def mapped(shape: Shape, key: Shape = name) -> Shape:
    """A mapping of names to what has the shape."""
    return lambda value: (
        isinstance(value, _MAPPINGS) and len(value) <= MANY and all(map(key, value)) and all(map(shape, value.values()))
    )


def section(required: Mapping[str, Shape], further: Mapping[str, Shape] | None = None) -> Shape:
    """A mapping of which nothing is a `misfit`."""
    return lambda value: isinstance(value, _MAPPINGS) and not misfit(value, required, further)


def anything(value: Any) -> bool:  # noqa: ARG001 - a shape
    """Whatever JSON can hold."""
    return True


def plain(value: Any) -> bool:
    """A setting or a note: text, a number, be it infinite or none, a truth value, nothing, or a list or mapping."""
    return isinstance(value, _PLAIN) or number(value) or isinstance(value, Mapping)
