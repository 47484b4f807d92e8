"""From cells of a study to those of a design of settings: an arm on a task, once for each stratum."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bench.cells.grids import Cell
from bench.config import aliases, options
from bench.config.design import (
    KEYS,
    MOST_SETTINGS,
    Distribution,
    Stratum,
    distributions,
    in_stratum,
    points,
    run_number,
    strata,
)
from bench.config.identity import BOOKKEEPING, read_numbers
from bench.config.parse import LARGEST_SEED, MOST_SEEDS
from bench.config.schema import RUNS_OF_SEED, Config, Design
from bench.errors import UserError, nearest

FRESH: Final = "confirmation"  # the pool whose seeds judge what was chosen: nobody has looked at any of them
_NO_STRUCTURE = {  # sections and settings that are none of an arm's
    *BOOKKEEPING,
    *("seed_pool", "budget", "evaluation", "task", "algorithm", "design", "preset", "settings", "device", "engine"),
}


def expanded(cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """The cells with those of a design in place of each that has one; and a line for each reason why strata lack arms.

    Raises:
        UserError: for a design that cannot be, or that leaves what is legal for an arm.
    """
    found: list[Cell] = []
    left_out: dict[str, dict[str, set[str]]] = {}  # reason -> stratum -> arms
    for cell in cells:
        if cell.config.design is None:
            found.append(cell)
            continue
        _refuse_unfit(cell, cell.config.design)
        reasons: dict[str, str] = {}
        for stratum in strata(cell.config.design):
            try:
                structured = _varied(cell, stratum.keys)
            except UserError as error:
                reasons[stratum.name] = str(error)
            else:
                found.append(dataclasses.replace(_in_stratum(structured, stratum), base=cell))
        if len(reasons) == len(strata(cell.config.design)):
            arm, first = f"{cell.config.arm_name} on {cell.config.task_name}", next(iter(reasons.values()))
            raise UserError(f"design {cell.config.design.name}: no stratum is legal for {arm}: {first}")
        for name, reason in reasons.items():
            left_out.setdefault(reason, {}).setdefault(name, set()).add(cell.config.arm_name)
    return found, [_of_reason(reason, strata) for reason, strata in left_out.items()]


def _of_reason(reason: str, arms: Mapping[str, set[str]]) -> str:
    """A line for the arms that are left out of some strata for one reason."""
    return f"{', '.join(sorted(set().union(*arms.values())))} in {', '.join(arms)}: {reason}"


def judged(cell: Cell, settings: Sequence[int], seeds: Sequence[int]) -> Cell:
    """A design's cell with fresh seeds of some of its settings only."""
    runs = tuple(sorted(run_number(setting, seed) for setting in settings for seed in seeds))
    return dataclasses.replace(cell, config=dataclasses.replace(cell.config, seed_pool=FRESH, seeds=runs))


def at_default(cell: Cell, seeds: Sequence[int]) -> Cell:
    """The cell that a design's cell was made from, with its own numbers and structure, on fresh seeds."""
    base = cell.base or cell
    return dataclasses.replace(
        base, config=dataclasses.replace(base.config, design=None, seed_pool=FRESH, seeds=tuple(seeds))
    )


def _refuse_unfit(cell: Cell, design: Design) -> None:
    """Raise `UserError` for a design that cannot be, or that sets what the command line or a grid sets too."""
    where = f"design {design.name}"
    if design.stratum is not None or design.place or design.drawn:
        raise UserError(
            f"{where}: design.stratum, place and drawn are found out; its strata are named in design.strata"
        )
    if not 2 <= design.settings <= MOST_SETTINGS:
        raise UserError(f"design.settings={design.settings}: {where} must have 2 to {MOST_SETTINGS} in each stratum")
    for key in distributions(design):
        if key not in KEYS:
            raise UserError(f"design.space.{key}: {_no_number(key)}; it may vary {', '.join(KEYS)}{nearest(key, KEYS)}")
        if key in cell.choices:
            raise UserError(f"{key}={cell.choices[key]}: {where} varies it (design.space), so it cannot be set")
    for stratum in strata(design):
        for key, value in stratum.keys.items():
            _refuse_structure(f"design.strata.{stratum.name}.keys.{key}", key, value)
            if key in cell.choices:
                raise UserError(f"{key}={cell.choices[key]}: {where} sets it in its strata, so it cannot be set")
    largest, most = max(cell.config.seeds), LARGEST_SEED // RUNS_OF_SEED - 1
    if largest > most:
        raise UserError(f"seeds: seed {largest} is too large for a design; the largest is {most}")
    if len(cell.config.seeds) * design.settings > MOST_SEEDS:
        count = f"{design.settings} settings of {len(cell.config.seeds)} seeds"
        raise UserError(f"{where}: {count} are more than {MOST_SEEDS} runs of a cell")


def _no_number(key: str) -> str:
    return "it is structural: give its values as strata (design.strata)" if _is_known(key) else "unknown key"


def _is_known(key: str) -> bool:
    return key in {*aliases.keys(), *options.groups()}


def _refuse_structure(where: str, key: str, value: Any) -> None:
    """Raise `UserError` for a key of a stratum that is no structure of an arm."""
    if key in KEYS:
        raise UserError(f"{where}: it is a number that may differ within a block; it belongs to design.space")
    if not _is_known(key):
        raise aliases.unknown_key(where, ())
    if key.partition(".")[0] in _NO_STRUCTURE:
        raise UserError(f"{where}: it is no structure of an arm, so it cannot differ between strata")
    if isinstance(value, Mapping | list) and key != "hidden":
        raise UserError(f"{where}={value}: give one value")
    if key in options.groups() and value not in options.options(key):
        raise aliases.unknown_value(where, value, options.options(key))


def _in_stratum(cell: Cell, stratum: Stratum) -> Cell:
    """The cell of one stratum, all its settings drawn."""
    design = cell.config.design
    assert design is not None
    space = distributions(design)
    sources = dict(_sources(cell, space))
    if not sources:
        raise UserError(f"design {design.name}: {cell.config.arm_name} reads no key of its space: {', '.join(space)}")
    drawn = points(design, stratum)
    values = {setting: {number: point[key] for number, key in sources.items()} for setting, point in drawn.items()}
    runs = tuple(sorted(run_number(setting, seed) for setting in values for seed in cell.config.seeds))
    config = dataclasses.replace(cell.config, design=in_stratum(design, stratum, values), seeds=runs)
    return dataclasses.replace(cell, config=config)


def _sources(cell: Cell, space: Mapping[str, Distribution]) -> Iterator[tuple[str, str]]:
    """Each number that the arm reads and the space varies, with its key: itself, or the one that conf takes it from.

    Raises:
        UserError: where a distribution leaves what is legal for the arm.
    """
    first, *_, last = [_at(cell, space, place) for place in range(max(len(each.extremes) for each in space.values()))]
    for number in read_numbers(first, KEYS):
        if number in space:
            yield number, number
            continue
        moved = [key for key, each in space.items() if _ends(number, first, last) == _ends_of(each)]
        if len(moved) > 1:  # alone, only one of them moves it
            moved = [key for key in moved if _ends(number, *_alone(cell, key, space[key])) == _ends_of(space[key])]
        yield from ((number, key) for key in moved)


def _at(cell: Cell, space: Mapping[str, Distribution], place: int) -> Config:
    """The cell where every key has an extreme of its distribution: that at this place, or its last.

    Raises:
        UserError: where one is not legal for the arm.
    """
    values = {key: each.extremes[min(place, len(each.extremes) - 1)] for key, each in space.items()}
    try:
        return _varied(cell, values).config
    except UserError as error:
        key = next((key for key in space if str(error).startswith(f"{key}=")), None)
        what = "design.space" if key is None else f"design.space.{key}={space[key]}"
        arm = f"{cell.config.arm_name} on {cell.config.task_name}"
        raise UserError(f"{what}: not legal for {arm}: {error}") from error


def _alone(cell: Cell, key: str, distribution: Distribution) -> tuple[Config, Config]:
    """The cell where one key has the first and the last extreme of its distribution, the others what they have."""
    first, last = (_varied(cell, {key: value}).config for value in _ends_of(distribution))
    return first, last


def _ends_of(distribution: Distribution) -> tuple[Any, Any]:
    return distribution.extremes[0], distribution.extremes[-1]


def _ends(number: str, first: Config, last: Config) -> tuple[Any, Any]:
    return _value(first, number), _value(last, number)


def _varied(cell: Cell, values: Mapping[str, Any]) -> Cell:
    assert cell.vary is not None  # cells planned from a command line have it
    return cell.vary(values)


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
