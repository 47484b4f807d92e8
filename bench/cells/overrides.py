"""Overrides of a command line: the values that one names, and a value as Hydra's grammar writes it."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep

from bench.config import options
from bench.config.names import WIDEST, bounded
from bench.errors import UserError

MOST_VALUES = 1000  # of one key


def values_of(override: Override) -> list[Any]:
    """The values of a sweep, or the one value. Raises `UserError` for a sweep whose values cannot be named."""
    key, value = override.get_key_element(), override.value()
    if override.is_interval_sweep():
        raise UserError(f"{override.input_line}: name the values, an interval has no end of them")
    if isinstance(value, Glob):
        if key not in options.groups():
            raise UserError(f"{override.input_line}: name the values, only groups have options to choose among")
        return list(value.filter(list(options.options(key))))
    if not override.is_sweep_override():
        return [value]
    # Hydra makes a list of a range that is shuffled, however long it is.
    listed = value.range() if isinstance(value, RangeSweep) else override.sweep_string_iterator()
    if len(list(itertools.islice(listed, MOST_VALUES + 1))) > MOST_VALUES:
        line = bounded(str(override.input_line), WIDEST)
        raise UserError(f"{line}: more than {MOST_VALUES} values are too many for one key")
    parser, texts = OverridesParser.create(), override.sweep_string_iterator()
    return [parser.parse_override(f"{key}={text}").value() for text in texts]


def written(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
    if not isinstance(value, str):
        return repr(value)
    if re.fullmatch(r"[A-Za-z_][\w./+-]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"'{escaped}'"
