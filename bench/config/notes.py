"""What stands beside the type of a setting in the schema: the numbers it may be, and where it is read."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; without `low` itself where it is `open`."""

    low: float
    high: float | None = None
    open: bool = False

    def refusal(self, key: str, value: float) -> str | None:
        """Return what is wrong with `key=value`, None where it lies in the range."""
        if self.high is not None:
            legal, allowed = self.low <= value <= self.high, f"must lie in [{self.low:g}, {self.high:g}]"
        elif self.open:
            legal, allowed = value > self.low, f"must be greater than {self.low:g}"
        else:
            legal, allowed = value >= self.low, f"must be at least {self.low:g}"
        return None if legal else f"{key}={value}: {allowed}"


@dataclass(frozen=True)
class ReadIf:
    """A setting is read only where every one of these keys of the configuration has one of its values."""

    keys: Mapping[str, Sequence[object]]


class Resolved:
    """What `bench.config.parse` finds out: no key of conf, of a command line or of a record."""


def about(cls: type[Any], kind: type[T]) -> dict[str, T]:
    """Return what of a `kind` (`Range`, `ReadIf`) stands beside the keys of a section."""
    notes = _notes(cast(Any, cls))
    return {key: note for key, beside in notes.items() for note in beside if isinstance(note, kind)}


def resolved(cls: type[Any]) -> set[str]:
    """Return the keys of a section that `bench.config.parse` finds out."""
    return {key for key, beside in _notes(cast(Any, cls)).items() if Resolved in beside}


@functools.cache  # it takes a tenth of a millisecond, and every hash of a cell asks of every section
def _notes(cls: Any) -> dict[str, tuple[Any, ...]]:
    """Return everything that stands beside the keys of a section."""
    hints = get_type_hints(cls, include_extras=True)
    return {key: getattr(hint, "__metadata__", ()) for key, hint in hints.items()}
