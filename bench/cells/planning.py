"""From a command line to the cells it asks for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from bench.cells.composition import Composition
from bench.cells.designs import expanded
from bench.cells.grids import Cell, Check, Grid, Illegal, listed, plan, read_grids
from bench.cells.mistakes import check, explained
from bench.cells.overrides import values_of, written
from bench.config.identity import BOOKKEEPING, said
from bench.config.options import optional
from bench.config.schema import Config
from bench.errors import UserError, counted, unknown

Load = Callable[[list[str]], DictConfig]


@dataclass
class Plan:
    """The cells a command line asks for, what the user should know of it, a line each, and the values it gives keys."""

    cells: list[Cell] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    asked: Grid = field(default_factory=dict)


def plan_studies(arguments: Sequence[str], load: Load) -> list[Cell]:
    """The cells a command line asks for, with the overrides that compose them. Raises `UserError`."""
    return plan_command(arguments, load).cells


def plan_command(arguments: Sequence[str], load: Load, may_train: Check | None = None) -> Plan:
    """As `plan_studies`, with what is to be warned of; `may_train` refuses what cannot be trained here."""
    warnings = check(arguments)
    fixed, asked = _split(arguments)
    studies = [[] if study is None else [f"study={written(study)}"] for study in asked.pop("study", [None])]
    planned = Plan(warnings=warnings, asked=asked)
    with explained():
        bases = [Composition(load(fixed + study)) for study in studies]
    for study, base in zip(studies, bases, strict=True):
        composer = Composer(load, fixed + study, list(base.options))
        found = _plan_study(base, composer, asked, may_train)
        planned.cells += found.cells
        planned.warnings += [line for line in found.warnings if line not in planned.warnings]
    return planned


def _plan_study(base: Composition, composer: "Composer", asked: Grid, may_train: Check | None) -> Plan:
    """The cells of one study, or those without a study, under what is asked."""
    name = str(base.value("study.name"))
    grids = read_grids(base.value("study.grids"), name)
    skip = asked.get("illegal", [base.value("illegal")])[-1] == "skip"
    skipped: list[Illegal] | None = [] if skip else None
    cells = plan(grids, asked, composer, name, base.options, may_train, skipped)
    _check_control(cells, grids, composer, name, base.options)
    swept = {key for grid in grids for key in grid}
    whole, left_out = expanded([composer.cell(cell.choices, cell.config) for cell in cells])
    warnings = list(_unread(whole, {key: values for key, values in asked.items() if key not in swept}, composer))
    if skipped:
        warnings += [
            f"{counted(len(skipped), 'cell')} left out (illegal=skip):",
            *_indented(listed(skipped)),
        ]
    if left_out:
        warnings += ["not legal in some strata of the design, so left out there:", *_indented(left_out)]
    return Plan(whole, warnings)


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _check_control(
    cells: Sequence[Cell], grids: Sequence[Grid], composer: "Composer", study: str, groups: Mapping[str, str | None]
) -> None:
    """Refuse a control that is no arm of the study, to which nothing would be compared. Raises `UserError`.

    Without grids a study has the arms that it is given over time, of which these may not be all.
    """
    controls = {cell.config.study.control for cell in cells} - {None}
    arms = {cell.config.arm_name: None for cell in cells}
    if not grids or controls <= arms.keys():
        return
    every = plan(grids, {}, composer, study, groups, skipped=[])
    arms |= {cell.config.arm_name: None for cell in every}
    for control in controls - arms.keys():
        raise unknown("study.control", control, arms)


def _unread(cells: Sequence[Cell], asked: Grid, composer: "Composer") -> Iterator[str]:
    """A line for every setting that was given a value and that no cell reads."""
    for key, values in asked.items():
        if key in composer.groups or key.startswith("+") or key.partition(".")[0] in BOOKKEEPING:
            continue
        if not any(_reads(cell, key, composer) for cell in cells):
            yield f"{key}={','.join(map(written, values))} changes nothing: no cell asked for reads it"


def _reads(cell: Cell, key: str, composer: "Composer") -> bool:
    """Whether the cell would be another one without what was asked for a key, or the key has that value anyhow."""
    rest = composer({name: value for name, value in cell.choices.items() if name != key})
    if rest.value(key) == cell.choices.get(key):
        return True
    try:
        # That of a design's cell is compared before its numbers are drawn.
        with_it = cell.config if cell.base is None else composer(cell.choices).parse()
        return bool(said(rest.parse()) != said(with_it))
    except UserError:  # it is not legal without
        return True


def _split(arguments: Sequence[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """Overrides taken as they are (additions, deletions), and those of existing keys with their values."""
    fixed: list[str] = []
    asked: dict[str, list[Any]] = {}
    with explained():
        parsed = OverridesParser.create().parse_overrides(list(arguments))
    for override in parsed:
        key = override.get_key_element()
        if override.is_sweep_override():
            values = values_of(override)
            asked[key] = [values] if key.lstrip("+") == "plugins" else values
        elif override.is_add() or override.is_force_add() or override.is_delete():
            fixed.append(str(override.input_line))
        else:
            asked[key] = [override.value()]
    return fixed, asked


class Composer:
    """Composes cells of one command line. A composition takes a tenth of a second, so one per choice of options."""

    def __init__(self, load: Load, fixed: Sequence[str], groups: Sequence[str]) -> None:
        self._load, self._fixed, self.groups = load, list(fixed), frozenset(groups)
        self._cache: dict[tuple[str, ...], Composition] = {}

    def __call__(self, choices: Mapping[str, Any]) -> Composition:
        """The cell of these choices. Raises `UserError`."""
        # Hydra itself composes options, and adds keys that there are not.
        settings = {key: value for key, value in choices.items() if key not in self.groups and not key.startswith("+")}
        options = tuple(self.overrides({key: value for key, value in choices.items() if key not in settings}))
        if options not in self._cache:
            with explained():
                self._cache[options] = Composition(self._load(list(options)))
        return self._cache[options].with_values(settings) if settings else self._cache[options]

    def overrides(self, choices: Mapping[str, Any]) -> list[str]:
        """The overrides that compose the cell of these choices anywhere else."""
        chosen = [(key, value) for key, value in choices.items() if value is not None or key not in optional()]
        return self._fixed + [f"{key}={written(value)}" for key, value in chosen]

    def cell(self, choices: Mapping[str, Any], config: Config | None = None) -> Cell:
        """The cell of these choices (whose `config` may be there already). Raises `UserError`."""

        def vary(values: Mapping[str, Any]) -> Cell:
            return self.cell({**choices, **values})

        return Cell(config or self(choices).parse(), choices, self.overrides(choices), vary)
