"""From a command line to the cells it asks for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from bench.cells.composition import Composition
from bench.cells.grids import Cell, plan, read_grids
from bench.cells.mistakes import explained
from bench.cells.overrides import values_of, written
from bench.config.schema import Config
from bench.errors import UserError


def plan_studies(arguments: Sequence[str], load: Callable[[list[str]], DictConfig]) -> list[Cell]:
    """The cells a command line asks for, with the overrides that compose them. Raises `UserError`."""
    fixed, asked = _split(arguments)
    studies = [[] if study is None else [f"study={written(study)}"] for study in asked.pop("study", [None])]
    with explained():
        bases = [Composition(load(fixed + study)) for study in studies]
    planned: list[Cell] = []
    for study, base in zip(studies, bases, strict=True):
        composer = Composer(load, fixed + study, list(base.options))
        name = str(base.value("study.name"))
        cells = plan(read_grids(base.value("study.grids"), name), asked, composer, name, base.options)
        planned += [composer.cell(cell.choices, cell.config) for cell in cells]
    return planned


def _split(arguments: Sequence[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """Overrides taken as they are (additions, deletions), and those of existing keys with their values."""
    fixed: list[str] = []
    asked: dict[str, list[Any]] = {}
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        key = override.get_key_element()
        if override.is_sweep_override():
            asked[key] = values_of(override)
            if key == "seeds":
                raise UserError(
                    f"{override.input_line}: seeds are no factor; write seeds={written(asked[key])} for these"
                )
        elif override.is_add() or override.is_force_add() or override.is_delete():
            fixed.append(str(override.input_line))
        else:
            asked[key] = [override.value()]
    return fixed, asked


class Composer:
    """Composes cells of one command line. A composition takes a tenth of a second, so one per choice of options."""

    def __init__(self, load: Callable[[list[str]], DictConfig], fixed: Sequence[str], groups: Sequence[str]) -> None:
        self._load, self._fixed, self._groups = load, list(fixed), frozenset(groups)
        self._cache: dict[tuple[str, ...], Composition] = {}

    def __call__(self, choices: Mapping[str, Any]) -> Composition:
        """The cell of these choices. Raises `UserError`."""
        settings = {key: value for key, value in choices.items() if key not in self._groups}
        options = tuple(self.overrides({key: value for key, value in choices.items() if key not in settings}))
        if options not in self._cache:
            with explained():
                self._cache[options] = Composition(self._load(list(options)))
        return self._cache[options].with_values(settings) if settings else self._cache[options]

    def overrides(self, choices: Mapping[str, Any]) -> list[str]:
        """The overrides that compose the cell of these choices anywhere else."""
        return self._fixed + [f"{key}={written(value)}" for key, value in choices.items()]

    def cell(self, choices: Mapping[str, Any], config: Config | None = None) -> Cell:
        """The cell of these choices (whose `config` may be there already). Raises `UserError`."""

        def vary(values: Mapping[str, Any]) -> Cell:
            return self.cell({**choices, **values})

        return Cell(config or self(choices).parse(), choices, self.overrides(choices), vary)
