"""Which cells a command asks for: products of values, unions of grids, restrictions. Knows no files and no Hydra."""

import itertools
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError, nearest

Grid = Mapping[str, Sequence[Any]]  # key -> the values it takes


@dataclass(frozen=True)
class Cell:
    """A validated configuration, the choices that compose it, and the overrides that compose it anywhere else.

    `vary` composes the same cell with other values of some choices.
    """

    config: Config
    choices: Mapping[str, Any]
    overrides: Sequence[str] = ()
    vary: "Callable[[Mapping[str, Any]], Cell] | None" = field(default=None, compare=False, repr=False)


class Composed(Protocol):
    """A composed configuration that is asked for single values before it is validated."""

    def value(self, key: str) -> Any:
        """What `key` ended up as: the option of a factor, or a setting."""

    def parse(self) -> Config:
        """Validate it. Raises `UserError`."""


Compose = Callable[[Mapping[str, Any]], Composed]


def read_grids(grids: Any, study: str) -> list[Grid]:
    """A study's grids with every value in a list. Raises `UserError` where they are anything else than mappings."""
    if not isinstance(grids, Sequence) or not all(isinstance(grid, Mapping) for grid in grids):
        raise UserError(
            f"study {study}: study.grids must be a list of mappings of a key to a value or a list of values"
        )
    read: list[Grid] = [
        {str(key): value if isinstance(value, list) else [value] for key, value in grid.items()} for grid in grids
    ]
    for grid in read:
        for key, values in grid.items():
            if not values:
                raise UserError(f"study {study}: a grid gives {key} no value")
    return read


def plan(grids: Sequence[Grid], asked: Grid, compose: Compose, study: str, groups: Container[str]) -> list[Cell]:
    """The cells of a study's grids under what the command line asks for, each once, in order.

    A key that the grids sweep (an option of one of the `groups`, or a setting with several values) restricts the study
    to the cells that have one of the values asked for. Any other applies to every cell, in place of what a grid fixes
    (several values: to a copy of every cell each). Without grids, the product of what is asked.

    Raises:
        UserError: for a value no cell has, and for the first cell that is not valid.
    """
    swept = {key for grid in grids for key, values in grid.items() if key in groups or len(values) > 1}
    restrictions = {key: values for key, values in asked.items() if key in swept}
    added = {key: values for key, values in asked.items() if key not in swept}
    candidates = [_Candidate(choices, compose) for grid in grids or [{}] for choices in product({**grid, **added})]
    cells: dict[tuple[str, str, tuple[int, ...]], Cell] = {}
    for candidate in _restrict(candidates, restrictions, study):
        config = candidate.composed.parse()
        cells.setdefault((cell_hash(config), config.arm_name, config.seeds), Cell(config, candidate.choices))
    return list(cells.values())


@dataclass(frozen=True)
class _Candidate:
    """A cell that may yet be restricted away, so composed (a tenth of a second) only when that is needed."""

    choices: Mapping[str, Any]
    compose: Compose

    @cached_property
    def composed(self) -> Composed:
        return self.compose(self.choices)

    def text(self, key: str) -> str:
        """The value of `key` as one writes it."""
        return _text(self.choices[key] if key in self.choices else self.composed.value(key))


def product(grid: Grid) -> Iterator[dict[str, Any]]:
    """Every combination of the grid's values."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _restrict(candidates: list[_Candidate], restrictions: Grid, study: str) -> list[_Candidate]:
    """The candidates that have one of the values asked for, of every key."""
    for key, values in restrictions.items():
        wanted = {_text(value): None for value in values}
        found = {candidate.text(key): None for candidate in candidates}
        for value in wanted:
            if value not in found:
                has = ", ".join(text for text in found if text != "null")
                near = nearest(value, found)
                raise UserError(f"{key}={value}: no cell of study {study} asked for has it; they have {has}{near}")
        candidates = [candidate for candidate in candidates if candidate.text(key) in wanted]
    return candidates


def _text(value: Any) -> str:
    """A value as one writes it on the command line, so that 1 and 1.0 and null compare as people expect."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.15g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_text, value)) + "]"
    return str(value)
