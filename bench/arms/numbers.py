"""The numbers of an arm that each replica of one stack may have of its own; the arm's structure is common to all."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.config.build import checked
from bench.config.design import KEYS
from bench.config.legality import ranges, validate
from bench.config.schema import Arm, Config
from bench.errors import UserError, nearest

Array = npt.NDArray[Any]
Settings = Mapping[str, Any]  # dotted key → value

NONE: Mapping[str, float] = {  # what a number that is None stands for
    "max_grad_norm": math.inf,
    "critic.max_grad_norm": math.inf,
    "reference.target": math.nan,
}


@dataclass(frozen=True)
class Numbers:
    """The numbers of S replicas, `KEYS` of their arms: `numbers["critic.learning_rate"]` is (S, 1), float64.

    A limit of gradients that is None is infinite here, a target of divergences that is None is NaN.
    """

    arms: tuple[Arm, ...]
    columns: Mapping[str, Array]

    @classmethod
    def of(cls, arms: Sequence[Arm]) -> "Numbers":
        """Return the numbers of replicas that have these arms."""
        table = np.array([_values(arm) for arm in arms]).reshape(len(arms), len(KEYS))
        return cls(tuple(arms), {key: table[:, [column]] for column, key in enumerate(KEYS)})

    def __getitem__(self, key: str) -> Array:
        return self.columns[key]

    def column(self, key: str, like: Tensor) -> Tensor:
        """Return the numbers of a key (S, 1), float64, on the device of a tensor."""
        return torch.from_numpy(self[key]).to(like.device)

    def select(self, rows: Sequence[int]) -> "Numbers":
        """Return the numbers of these replicas only."""
        chosen = list(rows)
        columns = {key: values[chosen] for key, values in self.columns.items()}
        return Numbers(tuple(self.arms[row] for row in chosen), columns)

    def alike(self) -> Iterator[tuple[Arm, list[int]]]:
        """Yield each arm that there is, with the replicas that have it."""
        rows: dict[bytes, list[int]] = {}
        for row, values in enumerate(np.concatenate([self[key] for key in KEYS], axis=1)):
            rows.setdefault(values.tobytes(), []).append(row)
        for same in rows.values():
            yield self.arms[same[0]], same


def _values(arm: Arm) -> list[float]:
    """Return the numbers of an arm, in the order of `KEYS`."""
    found = ((key, _value(arm, key)) for key in KEYS)
    return [NONE[key] if value is None else float(value) for key, value in found]


def _value(arm: Arm, key: str) -> Any:
    value: Any = arm
    for part in key.split("."):
        value = getattr(value, part)
    return value


def with_settings(arm: Arm, settings: Settings) -> Arm:
    """Return an arm with other numbers.

    Raises:
        UserError: for a key that is none of `KEYS`, and for a number that the arm may not have.
    """
    for key, value in settings.items():
        if key not in KEYS:
            allowed = f"these are: {', '.join(KEYS)}{nearest(key, KEYS)}"
            raise UserError(f"settings: {key}={value} is no number that replicas of one stack may differ in; {allowed}")
        arm = _replaced(arm, key, value)
    if isinstance(arm, Config):
        validate(arm)
    elif message := ranges(arm):
        raise UserError(message)
    return arm


def differing(arm: Arm, usual: Arm) -> dict[str, Any]:
    """Return the settings by which an arm differs from the usual one: `with_settings` takes them."""
    found = {key: (_value(arm, key), _value(usual, key)) for key in KEYS}
    return {key: own for key, (own, common) in found.items() if own != common}


def _replaced(arm: Arm, key: str, value: Any) -> Arm:
    section, _, name = key.rpartition(".")
    owner = getattr(arm, section) if section else arm
    changed: Any = dataclasses.replace(owner, **{name: checked(type(owner), name, value, key)})
    return dataclasses.replace(arm, **{section: changed}) if section else changed
