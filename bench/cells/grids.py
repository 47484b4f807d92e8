"""Which cells a command asks for: products of values, unions of grids, restrictions. Knows no files and no Hydra."""

import itertools
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from bench import errors
from bench.config.identity import BOOKKEEPING, cell_hash
from bench.config.schema import Config
from bench.errors import UserError, counted, nearest

Grid = Mapping[str, Sequence[Any]]  # key -> the values it takes
_KNOB = "task."  # what the knobs of a task begin with: other values make another environment
MOST_CELLS = 20_000  # of one command: more take hours to compose, and are a slip of the hand


@dataclass(frozen=True)
class Cell:
    """A validated configuration, the choices that compose it, and the overrides that compose it anywhere else.

    `vary` composes the same cell with other values of some choices; `base` is the cell of the study that a cell of a
    design was made from.
    """

    config: Config
    choices: Mapping[str, Any]
    overrides: Sequence[str] = ()
    vary: "Callable[[Mapping[str, Any]], Cell] | None" = field(default=None, compare=False, repr=False)
    base: "Cell | None" = field(default=None, compare=False, repr=False)


class Composed(Protocol):
    """A composed configuration that is asked for single values before it is validated."""

    def value(self, key: str) -> Any:
        """What `key` ended up as: the option of a factor, or a setting."""

    def parse(self) -> Config:
        """Validate it. Raises `UserError`."""


Compose = Callable[[Mapping[str, Any]], Composed]
Check = Callable[[Config], None]  # raises UserError


@dataclass(frozen=True)
class Illegal:
    """A cell that is not legal: the choices that tell it from the others of its product, and the reason."""

    choices: str
    reason: str


def listed(illegal: Sequence[Illegal]) -> list[str]:
    """Return a line for each illegal cell, as far as they are shown."""
    return errors.shortened([f"{each.choices}: {each.reason}" if each.choices else each.reason for each in illegal])


def refusal(illegal: Sequence[Illegal], cells: int) -> UserError:
    """Return the error for the illegal ones among a number of cells."""
    leave = "" if len(illegal) == cells else f"; illegal=skip leaves {'it' if len(illegal) == 1 else 'them'} out"
    if len({each.reason for each in illegal}) == 1:
        count = "" if len(illegal) == cells else f" ({len(illegal)} of {cells} cells{leave})"
        return UserError(illegal[0].reason + count)
    return UserError(f"{len(illegal)} of {counted(cells, 'cell')} are not legal{leave}:", listed(illegal))


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


def plan(
    grids: Sequence[Grid],
    asked: Grid,
    compose: Compose,
    study: str,
    groups: Container[str],
    check: Check | None = None,
    skipped: list[Illegal] | None = None,
) -> list[Cell]:
    """The cells of a study's grids under what the command line asks for, each once, in order.

    A key that the grids sweep (an option of one of the `groups`, a setting with several values, a knob of the task that
    has another value in another grid) restricts the study to the cells that have one of the values asked for. Any other
    applies to every cell, in place of what a grid fixes (several values: to a copy of every cell each). Without grids,
    the product of what is asked.

    `check` refuses what cannot be trained here. Cells that are not legal are added to `skipped`, and left out.

    Raises:
        UserError: for a value no cell has, and, without `skipped`, for all cells that are not legal.
    """
    swept = _swept(grids, groups)
    restrictions = {key: values for key, values in asked.items() if key in swept}
    added = {key: values for key, values in asked.items() if key not in swept}
    products = [{**grid, **added} for grid in grids or [{}]]
    _refuse_products(products, study)
    candidates = [_Candidate(choices, compose) for grid in products for choices in product(grid)]
    candidates = _restrict(candidates, restrictions, study)
    illegal: list[Illegal] = []
    cells: dict[tuple[str, str, tuple[int, ...]], Cell] = {}
    for candidate in candidates:
        try:
            config = candidate.composed.parse()
            if check is not None:
                check(config)
        except UserError as error:
            illegal.append(Illegal(_apart(candidate, candidates), str(error)))
        else:
            cells.setdefault((cell_hash(config), config.arm_name, config.seeds), Cell(config, candidate.choices))
    if illegal and (skipped is None or not cells):
        raise refusal(illegal, len(candidates))
    if skipped is not None:
        skipped += illegal
    return list(cells.values())


def _swept(grids: Sequence[Grid], groups: Container[str]) -> set[str]:
    """The keys by whose values cells are chosen."""
    values_of: dict[str, set[str]] = {}
    for grid in grids:
        for key, values in grid.items():
            values_of.setdefault(key, set()).update(map(_text, values))
    several = {key for grid in grids for key, values in grid.items() if key in groups or len(values) > 1}
    return several | {key for key, values in values_of.items() if key.startswith(_KNOB) and len(values) > 1}


def _refuse_products(grids: Sequence[Grid], study: str) -> None:
    """Refuse several values of what makes no other cell, and more cells than anybody wants. Raises `UserError`."""
    for grid in grids:
        for key, values in grid.items():
            if len(values) > 1 and key.partition(".")[0] in BOOKKEEPING and key != "name":
                shown = f"{key}={','.join(map(_text, values))}"
                hint = f"write seeds=[{','.join(map(_text, values))}] for these" if key == "seeds" else "give one value"
                raise UserError(f"{shown}: {key} {'are' if key == 'seeds' else 'is'} no factor; {hint}")
    number = sum(math.prod(len(values) for values in grid.values()) for grid in grids)
    if number > MOST_CELLS:
        raise UserError(f"study {study}: {number} cells are asked for; at most {MOST_CELLS} are planned at once")


def _apart(candidate: "_Candidate", candidates: Sequence["_Candidate"]) -> str:
    """The choices of a cell that not all the others have."""
    varied = []
    for key, value in candidate.choices.items():
        if any(key not in other.choices or other.choices[key] != value for other in candidates):
            varied.append(f"{key}={_text(value)}")
    return " ".join(varied)


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
