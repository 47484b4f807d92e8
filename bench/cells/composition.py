"""Composing configurations with Hydra, and saying in one line what was wrong with an override.

Only this module, `bench.commands.train` and the sweeper plugin know Hydra.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from bench.cells.grids import Cell, plan, read_grids
from bench.config import options
from bench.config.legality import check_task
from bench.config.parse import parse, to_mapping
from bench.config.schema import Config
from bench.errors import UserError, nearest, unknown
from bench.paths import CONF

LAUNCHERS = {
    "submitit_slurm": "slurm",
    "ray": "ray",
}  # Hydra's name → the option of `cluster`, and the extra to install


def compose(overrides: Sequence[str] = ()) -> Config:
    """The configuration of one cell, also in the middle of a command of Hydra's. Raises `UserError`."""
    with explained(), _apart(), initialize_config_dir(str(CONF), version_base="1.3"):
        return Composition(hydra_compose("config", overrides=list(overrides), return_hydra_config=True)).parse()


@contextmanager
def _apart() -> Iterator[None]:
    """Put Hydra's one instance aside."""
    instance = GlobalHydra.instance()
    before, instance.hydra = instance.hydra, None
    try:
        yield
    finally:
        instance.hydra = before


class Composition:
    """What Hydra composed, with its choices of options."""

    def __init__(self, config: DictConfig, options: Mapping[str, str | None] | None = None) -> None:
        """`options` are those chosen of every group; None: what Hydra says in the configuration's own section."""
        if options is None:
            options = dict(config.hydra.runtime.choices)
            config = deepcopy(config)
            with open_dict(config):
                config.pop("hydra")  # four fifths of what would be copied for every cell
        self._config, self.options = config, options

    def value(self, key: str) -> Any:
        """The option chosen of a group, or the value of a setting. Raises `UserError` for a key there is not."""
        if key in self.options:
            return self.options[key]
        with explained():
            value = OmegaConf.select(self._config, key, throw_on_missing=True)
        return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value

    def with_values(self, values: Mapping[str, Any]) -> "Composition":
        """A copy with other values of some settings, as if they had been overridden. Raises `UserError`."""
        config = deepcopy(self._config)
        with explained():
            for key, value in values.items():
                OmegaConf.update(config, key, value)
        return Composition(config, self.options)

    def parse(self) -> Config:
        """Validate it, its task included. Raises `UserError`."""
        from gymnasium.spaces import Discrete

        from bench.tasks.registry import knobs, make, score_bounds  # half a second of Gymnasium

        self._refuse_missing_settings()
        with explained():
            mapping = OmegaConf.to_container(self._config, resolve=True)
        assert isinstance(mapping, dict)
        parsed = parse({str(key): value for key, value in mapping.items()})
        task = make(parsed.task)
        described = replace(parsed.task, score=score_bounds(parsed.task, task), knobs=knobs(parsed.task, task))
        parsed = replace(parsed, task=described)
        discrete = isinstance(task.action_space, Discrete)
        check_task(parsed, horizon=task.horizon, restorable=task.restorable, discrete=discrete)
        return parsed

    def _refuse_missing_settings(self) -> None:
        """Hydra passes over settings that a task has none of."""
        settings, task = self.options.get("settings"), self.options.get("task")
        if settings is None or (CONF / "settings" / settings / f"{task}.yaml").exists():
            return
        known = ", ".join(sorted(path.stem for path in (CONF / "settings" / settings).glob("*.yaml")))
        raise UserError(f"settings={settings} with task={task}: there are none for it; allowed are {known}")


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


def job(cell: Cell) -> list[str]:
    """What a launcher is given of a cell: its overrides, for the record, and last its settings, for `JobLoader`."""
    return [*cell.overrides, json.dumps(to_mapping(cell.config))]


class JobLoader:
    """Hydra's loader of configurations, in a launcher's jobs: composes nothing, which would be half of a tiny cell.

    A job's configuration holds the cell's settings as one text, and only Hydra's section beside it: launchers keep a
    copy of it of every job, and there may be thousands.
    """

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The configuration of the job that `job` described."""
        *overrides, settings = sweep_overrides
        config = OmegaConf.masked_copy(master_config, "hydra")
        with read_write(config), open_dict(config):
            config.hydra.overrides.task = overrides
            config.hydra.runtime.choices, config.hydra.runtime.config_sources = {}, []  # what nothing was composed from
            config.settings = settings
        return config


def settings_of(job: DictConfig) -> Config:
    """The cell of a job's configuration, which was validated when it was planned."""
    return parse(json.loads(job.settings))


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
    parser = OverridesParser.create()
    fixed: list[str] = []
    asked: dict[str, list[Any]] = {}
    for override in parser.parse_overrides(list(arguments)):
        key = override.get_key_element()
        if override.is_interval_sweep():
            raise UserError(f"{override.input_line}: name the values, an interval has no end of them")
        if override.is_sweep_override():
            texts = override.sweep_string_iterator()
            asked[key] = [parser.parse_override(f"{key}={text}").value() for text in texts]
            if key == "seeds":
                raise UserError(
                    f"{override.input_line}: seeds are no factor; write seeds={written(asked[key])} for these"
                )
        elif override.is_add() or override.is_force_add() or override.is_delete():
            fixed.append(str(override.input_line))
        else:
            asked[key] = [override.value()]
    return fixed, asked


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


@contextmanager
def explained() -> Iterator[None]:
    """Turn what Hydra, OmegaConf and YAML raise into a `UserError` of one line."""
    try:
        yield
    except MissingConfigException as error:
        raise _missing(error) from error
    except OverrideParseException as error:
        reason = str(error).splitlines()[1:2]  # the first line repeats the override
        raise UserError(f"cannot read '{error.override}': write KEY=VALUE ({' '.join(reason)})") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise _misfit(error) from error
    except yaml.YAMLError as error:
        raise UserError(f"cannot read a file of conf: {' '.join(str(error).split())}") from error


def _missing(error: MissingConfigException) -> UserError:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    for launcher, cluster in LAUNCHERS.items():
        if group == "hydra/launcher" and option == launcher:
            return UserError(f"cluster={cluster} needs a package more: pip install 'policy-gradient-bench[{cluster}]'")
    top, _, rest = str(error.missing_cfg_file).partition("/")
    if not error.options and top in options.groups():  # Hydra lists no options in folders (tuned=cartpole/...)
        return unknown(top, rest, options.options(top))
    return unknown(group or "configuration", option, error.options or [])


def _misfit(error: Exception) -> UserError:
    """The line for an override that fits nothing, or a value that cannot be had."""
    cause = error.__cause__ or error
    if isinstance(cause, InterpolationResolutionError):
        return UserError(f"{cause.full_key}: {_first_line(cause)}")
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None and cause.full_key:
        keys = [str(key) for key in getattr(cause.parent_node, "keys", list)() if key != "hydra"]
        section, _, key = str(cause.full_key).rpartition(".")
        where = f"in '{section}': allowed are {', '.join(keys)}" if section else "('python -m bench list' shows them)"
        if key not in keys:
            return UserError(f"unknown key '{cause.full_key}' {where}{nearest(key, keys)}")
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return UserError(f"{_first_line(error)}: {_first_line(cause)}")
    return UserError(_first_line(cause))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
