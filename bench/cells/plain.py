"""What Hydra composed as plain mappings, in a hundredth of the time that copying and resolving it takes OmegaConf.

A command may ask for thousands of cells that differ in a few numbers. Everything here does what OmegaConf does where
that is simple, and nothing else: `NotPlain` says that OmegaConf is to be asked.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
_CALL = re.compile(r"\$\{([A-Za-z_]\w*):([\w, -]*)\}")  # of a resolver, with words for arguments
_MISSING = "???"
_DEEPEST = 20  # of references to references
Resolvers = Mapping[str, Callable[..., Any]]
_SCALARS = (str, bool, int, float, type(None))


class NotPlain(Exception):
    """It takes OmegaConf."""


def with_value(mapping: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a mapping with another value of a setting that it has; the parts that stay are shared with it.

    Raises:
        NotPlain: where there is no such setting, or the old or the new value is more than a scalar or a list of them.
    """
    first, _, rest = key.partition(".")
    if first not in mapping:
        raise NotPlain
    inside = mapping[first]
    if rest:
        if not isinstance(inside, Mapping):
            raise NotPlain
        return {**mapping, first: with_value(inside, rest, value)}
    if isinstance(inside, Mapping) or not all(map(_is_scalar, value if isinstance(value, list) else [value])):
        raise NotPlain
    return {**mapping, first: value}


def resolved(mapping: Mapping[str, Any], resolvers: Resolvers) -> dict[str, Any]:
    """Return a mapping with the settings that its references name in their place, or what its resolvers return.

    Raises:
        NotPlain: for any other use of `${…}`.
    """
    return {key: _resolved(value, mapping, resolvers, 0) for key, value in mapping.items()}


def value_of(mapping: Mapping[str, Any], key: str) -> Any:
    """Return the value of a setting. Raises `NotPlain` where it has none."""
    value: Any = mapping
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise NotPlain
        value = value[part]
    if value == _MISSING:
        raise NotPlain
    return value


def _is_scalar(value: Any) -> bool:
    return isinstance(value, _SCALARS) and not (isinstance(value, str) and ("${" in value or value == _MISSING))


def _resolved(value: Any, root: Mapping[str, Any], resolvers: Resolvers, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _resolved(item, root, resolvers, depth) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, root, resolvers, depth) for item in value]
    if isinstance(value, str) and "${" in value:
        call = _CALL.fullmatch(value)
        if call is not None and call[1] in resolvers:
            try:
                return resolvers[call[1]](*(word.strip() for word in call[2].split(",")))
            except (LookupError, TypeError) as error:  # OmegaConf says what is wrong with it
                raise NotPlain from error
        reference = _REFERENCE.fullmatch(value)
        if reference is None or depth == _DEEPEST:
            raise NotPlain
        return _resolved(value_of(root, reference[1]), root, resolvers, depth + 1)
    return value
