"""What Hydra, OmegaConf and YAML raise, as one line for whoever made the mistake."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from bench.cells.overrides import values_of, written
from bench.config import options
from bench.errors import UserError, first_line, install, nearest, unknown

LAUNCHERS = {
    "submitit_slurm": "slurm",
    "ray": "ray",
}  # Hydra's name → the option of `cluster`, and the extra to install


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
            return UserError(f"cluster={cluster} needs a package more: {install(cluster)}")
    top, _, rest = str(error.missing_cfg_file).partition("/")
    if not error.options and top in options.groups():  # Hydra lists no options in folders (task=cartpole/...)
        return unknown(top, rest, options.options(top))
    return unknown(group or "configuration", option, error.options or [])


def check_choices(overrides: Sequence[str]) -> None:
    """Refuse what is no name of an option where a group of conf is chosen, on which Hydra would trace back.

    Raises:
        UserError: for the first such value, with the options, or with the settings that it may be meant for.
    """
    with explained():
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            if override.is_delete():
                continue
            for value in values_of(override):
                _check_choice(override.get_key_element().lstrip("+"), value)


def _check_choice(group: str, value: Any) -> None:
    shown = written(value)
    if isinstance(value, str):
        return
    if group.startswith("hydra/"):
        raise UserError(f"{group}={shown}: must be the name of an option")
    if group not in options.groups():
        return
    if settings := options.settings_like(group, value):
        meant = ", ".join(f"{group}.{setting}={shown}" for setting in settings)
        raise UserError(f"{group}={shown}: {group} is a section of settings; write {meant}")
    raise unknown(group, shown, options.options(group))


def _misfit(error: Exception) -> UserError:
    """The line for an override that fits nothing, or a value that cannot be had."""
    cause = error.__cause__ or error
    if isinstance(cause, InterpolationResolutionError):
        return UserError(f"{cause.full_key}: {first_line(cause)}")
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None and cause.full_key:
        keys = [str(key) for key in getattr(cause.parent_node, "keys", list)() if key != "hydra"]
        section, _, key = str(cause.full_key).rpartition(".")
        where = f"in '{section}': allowed are {', '.join(keys)}" if section else "('python -m bench list' shows them)"
        if key not in keys:
            return UserError(f"unknown key '{cause.full_key}' {where}{nearest(key, keys)}")
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return UserError(f"{first_line(error)}: {first_line(cause)}")
    return UserError(first_line(cause))
