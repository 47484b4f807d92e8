"""What users type and what Hydra, OmegaConf and YAML raise about it, as one line for whoever made the mistake."""

import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from bench.cells.overrides import values_of, written
from bench.config import options
from bench.config.aliases import BATCH, keys, meant_value, section_given, settings, unknown_key, unknown_value
from bench.config.design import KEYS, KINDS
from bench.config.names import is_folder
from bench.config.schema import Config
from bench.errors import UserError, first_line, install, nearest

LAUNCHERS = {
    "submitit_slurm": "slurm",
    "ray": "ray",
}  # Hydra's name → the option of `cluster`, and the extra to install
READ_OF_HYDRA = ("hydra.launcher.", "hydra.job.env_set.", "hydra.job.env_copy.", "hydra.searchpath.", "hydra/launcher.")
_FOREIGN = ("hydra", "omegaconf", "antlr4", "yaml")  # whose exceptions are about what was typed


@contextmanager
def explained() -> Iterator[None]:
    """Turn whatever Hydra, OmegaConf and YAML raise into a `UserError` of one line."""
    try:
        yield
    except MissingConfigException as error:
        raise _missing(error) from error
    except OverrideParseException as error:
        raise _unreadable(error) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise _misfit(error) from error
    except yaml.YAMLError as error:
        raise UserError(f"cannot read a file of conf: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {_file_of(error)}: it is not UTF-8 ({error.reason})") from error
    except Exception as error:
        if isinstance(error, BrokenPipeError) or not _is_foreign(error):
            raise
        raise UserError(f"cannot compose what was typed ({type(error).__name__}: {first_line(error)})") from error


def _file_of(error: Exception) -> str:
    """The file that Hydra was reading, which its exception does not name."""
    read = [frame.f_locals.get("full_path") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(next((path for path in reversed(read) if path), "a file of conf"))


def _is_foreign(error: Exception) -> bool:
    """Whether an exception was raised in the code of Hydra, OmegaConf or YAML, and not in ours or anybody else's."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [name for name in frames if name.partition(".")[0] in ("bench", *_FOREIGN)]
    return bool(ours) and ours[-1].partition(".")[0] in _FOREIGN


def _unreadable(error: OverrideParseException) -> UserError:
    """The line for a word that is no KEY=VALUE of Hydra's grammar."""
    word = str(error.override)
    key, equals, value = word.partition("=")
    reasons = [line.strip() for line in str(error).splitlines() if " while evaluating " in line]
    if not equals:
        hint = "write KEY=VALUE"
    elif not key:
        hint = "there is no key before the ="
    elif reasons:
        hint = reasons[0]
        if called := re.search(r"evaluating '(.+)': Unknown function", hint):  # td(0), which Hydra takes for a call
            allowed = options.options(key) if key in options.groups() else ()
            hint = f"'{called[1]}' is no value{meant_value(key, called[1], allowed)}"
    else:
        odd = [name for name, signs in _PAIRS.items() if value.count(signs[0]) != value.count(signs[1])]
        odd += [name for name, sign in _QUOTES.items() if value.count(sign) % 2]
        quoted = f"""'{key}="{value}"'""" if '"' not in value else f'''"{key}='{value}'"'''
        hint = f"its {' and '.join(odd)} are not closed" if odd else f"text with other signs needs quotes: {quoted}"
    return UserError(f"cannot read '{word}': {hint}")


_PAIRS = {"brackets": "[]", "braces": "{}", "parentheses": "()"}
_QUOTES = {"single quotes": "'", "double quotes": '"'}


def _missing(error: MissingConfigException) -> UserError:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    for launcher, cluster in LAUNCHERS.items():
        if group == "hydra/launcher" and option == launcher:
            return UserError(f"cluster={cluster} needs a package more: {install(cluster)}")
    top, _, rest = str(error.missing_cfg_file).partition("/")
    if top in options.groups() and not options.options(top):
        return _section_given(top, rest)
    if not error.options and top in options.groups():  # Hydra lists no options in folders (task=cartpole/...)
        return unknown_value(top, rest, options.options(top))
    unknown = unknown_value(group or "configuration", option, error.options or [])
    if group == "study" and is_folder(option) and not nearest(option, error.options or []):
        return UserError(f"{unknown}; study.name={option} puts what you run into a study of your own")
    return unknown


def check(overrides: Sequence[str]) -> list[str]:
    """Refuse what names nothing, or nothing that is read, before Hydra composes it; return what is to be warned of.

    These are keys and options that there are not, keys of Hydra's without an effect here, and values that are no name
    of an option where one is chosen.

    Raises:
        UserError: for the first such override, with what is allowed and what was probably meant.
    """
    with explained():
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        _check_key(override)
        if not override.is_delete():
            with explained():
                values = values_of(override)
            if values == [None] and override.key_or_group in options.optional():
                raise UserError(f"{override.input_line}: nothing is chosen without it; leave it out")
            for value in values:
                _check_choice(override.get_key_element().lstrip("+"), value)
    return [f"{key} is given several times: only the last counts, {last}" for key, last in _overridden(parsed)]


def _overridden(parsed: Sequence[Override]) -> Iterator[tuple[str, str]]:
    """Yield the keys that are given different values, and the last; one that is deleted first may be added again."""
    lines: dict[str, list[str]] = {}
    for override in parsed:
        lines.setdefault(override.get_key_element().lstrip("+~"), []).append(str(override.input_line))
    for key, found in lines.items():
        if len(set(found)) > 1 and not any(line.startswith("~") for line in found):
            yield key, found[-1]


def _check_key(override: Override) -> None:
    key, line = override.key_or_group, override.input_line
    if not key:
        raise UserError(f"cannot read '{line}': there is no key before the =")
    if override.package is not None:
        raise UserError(f"{line}: where an option is put cannot be chosen; write {key}={written(override.value())}")
    root = key.replace("/", ".").partition(".")[0]
    if root == "hydra":
        _check_key_of_hydra(override)
    elif root not in keys():
        raise unknown_key(key, _roots(), " ('python -m bench list' shows them)", override.value())
    elif override.is_delete() and key in options.groups() and key not in options.optional():
        choice = f"; choose another: {key}={'|'.join(options.options(key))}" if options.options(key) else ""
        raise UserError(f"{line}: every cell needs {key}, so it cannot be left out{choice}")


def _roots() -> list[str]:
    return [key for key in keys() if "." not in key]


def _check_key_of_hydra(override: Override) -> None:
    key, line = override.key_or_group, override.input_line
    if key == "hydra.mode":
        raise UserError("hydra.mode: cannot be chosen; one cell is a sweep of one, several values are a sweep of all")
    if not f"{key}.".startswith(READ_OF_HYDRA):
        read = ", ".join(each.rstrip(".") for each in READ_OF_HYDRA)
        hint = "; cells are written to results=FOLDER" if key.endswith("dir") else ""
        raise UserError(f"{line}: has no effect here; of Hydra's own keys {read} are read{hint}")
    if override.is_sweep_override():
        raise UserError(f"{line}: settings of the launcher are no factor; give one value")


def _check_choice(group: str, value: Any) -> None:
    if group.startswith("hydra/") and not isinstance(value, str):
        raise UserError(f"{group}={written(value)}: must be the name of an option")
    if group == "batch" and not isinstance(value, dict):
        raise _section_given(group, value)
    if group not in options.groups() or isinstance(value, str) or (value is None and group in options.optional()):
        return
    if not options.options(group):
        raise _section_given(group, value)
    raise unknown_value(group, written(value), options.options(group))


def _section_given(group: str, value: Any) -> UserError:
    """The line for a group that is no choice, but a section of settings."""
    return section_given(group, value, written(value), BATCH if group == "batch" else settings(settings(Config)[group]))


def _in_a_space(key: str) -> str:
    """What to write for a key below `design.space`, which takes keys and distributions that conf does not have."""
    path = key.split(".")
    if path[:2] != ["design", "space"]:
        return ""
    if path[-1] in KINDS:
        there = key.removesuffix(f".{path[-1]}")
        return f"{there}: it has another distribution; a design of your own may have this one, see docs/settings.md"
    name = ".".join(path[2:])
    if name in KEYS or len(path) == 3:  # of a key with a dot, what is typed before the second is all that Hydra tells
        added = f"'+design.space={{{name if name in KEYS else 'KEY'}: {{uniform: [...]}}}}'"
        return f"{key}: there is no such key in this design; write {added} to add one"
    return f"{key}: a distribution is one of {', '.join(f'{kind}: [...]' for kind in KINDS)}"


def _misfit(error: Exception) -> UserError:
    """The line for an override that fits nothing, or a value that cannot be had."""
    cause = error.__cause__ or error
    if isinstance(cause, InterpolationResolutionError):
        return UserError(f"{cause.full_key}: {first_line(cause)}")
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None and cause.full_key:
        names = [str(key) for key in getattr(cause.parent_node, "keys", list)() if key != "hydra"]
        section, _, key = str(cause.full_key).rpartition(".")
        if str(cause.full_key) in keys() and key not in names:
            return UserError(f"{cause.full_key}: conf does not set it; add it with a plus sign, +{cause.full_key}")
        if open_to := _in_a_space(str(cause.full_key)):
            return UserError(open_to)
        if not section:
            where = " ('python -m bench list' shows them)"
        elif names:
            where = f" in '{section}': allowed are {', '.join(names)}"
        else:
            where = f": '{section}' is a value and has no keys"
        if key not in names:
            return unknown_key(str(cause.full_key), names, where)
    if there := re.match(r".*already at '([^']+)'|Multiple values for ([^ .]+)\.", first_line(cause)):
        key = there[1] or there[2]
        return UserError(f"+{key}: there is {key} already, so it cannot be added; write {key}=VALUE without a +")
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return UserError(f"{first_line(error)}: {first_line(cause)}")
    lines = str(cause).strip().splitlines()
    if "Cannot merge DictConfig with ListConfig" in str(cause):
        return UserError(
            f"{lines[0].split(':')[0]}: there is a list in the place of a mapping, or a mapping in that of a list; "
            f"grids, for one, is a list of mappings: [{{gamma: [0.9, 1]}}]"
        )
    if len(lines) > 1 and lines[0].endswith(":"):  # "... raised while composing config:"
        return UserError(f"{lines[0]} {lines[1].strip()}")
    return UserError(first_line(cause))
