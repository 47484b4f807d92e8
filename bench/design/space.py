"""Which settings are tried: draws from the distributions of `study.tuning.space`, the same on each call.

Draws are common to all arms and tasks, so that arms differ in what they are and not in what they were given; an arm
takes those of the keys it reads.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.config.schema import Tuning
from bench.errors import UserError, unknown

Values = Mapping[str, Any]  # key -> value: a setting
DIGITS = 3  # of a drawn number: enough to tell settings apart, few enough to be copied by hand
_KINDS = ("uniform", "log_uniform", "choice")
_PHASES = ("seeds", "seed_pool", "name")  # keys that tuning sets itself


@dataclass(frozen=True)
class Distribution:
    """Of one key: `uniform` or `log_uniform` between two bounds, or one of the options of a `choice`."""

    kind: str
    arguments: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The quantile of `share` in [0, 1)."""
        if self.kind == "choice":
            return self.arguments[int(share * len(self.arguments))]
        low, high = self.arguments
        if self.kind == "log_uniform":
            return self.rounded(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        return self.rounded(low + share * (high - low))

    def rounded(self, value: float) -> float:
        """To `DIGITS` significant digits, inside the bounds."""
        low, high = map(float, self.arguments)
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)

    def __str__(self) -> str:
        return f"{self.kind} [{', '.join(map(str, self.arguments))}]"


def distributions(tuning: Tuning, study: str) -> dict[str, Distribution]:
    """The distribution of every key that is tuned. Raises `UserError` where the section says anything else."""
    where = f"study {study}: study.tuning"
    for key in ("settings", "seeds"):
        if getattr(tuning, key) < 1:
            raise UserError(f"{where}.{key}={getattr(tuning, key)}: must be at least 1")
    if not tuning.space:
        raise UserError(f"{where}.space: name at least one key and its distribution")
    return {key: _distribution(given, f"{where}.space.{key}", key) for key, given in tuning.space.items()}


def _distribution(given: Any, where: str, key: str) -> Distribution:
    if key in _PHASES:
        raise UserError(f"{where}: tuning sets {key} itself")
    if not isinstance(given, Mapping) or len(given) != 1:
        raise UserError(f"{where}={given}: write one of {', '.join(f'{kind}: [...]' for kind in _KINDS)}")
    ((kind, arguments),) = given.items()
    if kind not in _KINDS:
        raise unknown(f"distribution of {where}", kind, _KINDS)
    if not isinstance(arguments, Sequence) or isinstance(arguments, str) or not arguments:
        raise UserError(f"{where}.{kind}={arguments}: must be a list")
    if kind == "choice":
        return Distribution(kind, tuple(arguments))
    numbers = [float(each) for each in arguments if isinstance(each, int | float) and not isinstance(each, bool)]
    least = 0.0 if kind == "log_uniform" else -math.inf
    if len(numbers) != len(arguments) or len(numbers) != 2 or not least < numbers[0] < numbers[1] < math.inf:
        positive = ", above 0" if kind == "log_uniform" else ""
        raise UserError(f"{where}.{kind}={list(arguments)}: must be two rising numbers{positive}")
    return Distribution(kind, tuple(numbers))


def draw(seed: int, space: Mapping[str, Distribution], number: int) -> dict[str, Any]:
    """The `number`-th random setting: it depends on the `seed` of the draws and each key's name, and on nothing else.

    More settings leave the first ones as they are, and another key leaves the draws of the others.
    """
    return {key: each.at(_share(seed, key, number)) for key, each in space.items()}


def _share(seed: int, key: str, number: int) -> float:
    """A uniform number in [0, 1)."""
    digest = hashlib.sha256(f"{key}\x1f{number}".encode()).digest()
    sequence = np.random.SeedSequence([seed, *np.frombuffer(digest, np.uint32).tolist()])
    return float(np.random.Generator(np.random.PCG64(sequence)).random())
