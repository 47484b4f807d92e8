"""Arms and tasks of your own, named in the configuration as `module:name`; see docs/extending.md.

    from bench import plugin

    @plugin.target(bootstraps=True)
    def two_step(batch, arm): ...

    python -m bench advantage=plugin advantage.plugin=my_module:two_step

Only what one of these decorators has marked can be named, so a configuration cannot call anything else. The decorators
also declare what a function needs, which decides where it is legal and whether a critic is built.

`import_module` is the one place that imports what a name says. It imports what the user has named (`allow`), and
nothing that only a record, a saved policy or another file names.
"""

import hashlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from bench.errors import UserError, nearest

Factor = Literal["advantage", "baseline", "update", "task"]
F = TypeVar("F", bound=Callable[..., Any])
_MARK = "_bench_plugin"

_allowed: set[str] = set()  # modules that the user of this process has named


@dataclass(frozen=True)
class Plugin:
    """A marked function or task class, and what it needs."""

    factor: Factor
    function: Callable[..., Any]
    needs: Mapping[str, bool] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of its module's source: a changed plug-in is another cell."""
        file = sys.modules[self.function.__module__].__file__
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""


def target(*, bootstraps: bool) -> Callable[[F], F]:
    """Mark an option of `advantage`: `f(batch, arm, **options)` → return targets (T, S, N).

    `batch` is a `bench.arms.advantage.Batch`. `bootstraps`: it reads `batch.next_values`, so the arm trains a critic.
    """
    return _marker("advantage", {"bootstraps": bootstraps})


advantage = target  # its name in earlier versions


def baseline(*, values: bool = False, episodes: bool = False) -> Callable[[F], F]:
    """Mark an option of `baseline`: `f(targets, batch, arm, **options)` turns targets into advantages, both (T, S, N).

    `values`: it reads `batch.values`, so the arm trains a critic. `episodes`: it compares complete episodes.
    """
    return _marker("baseline", {"values": values, "episodes": episodes})


def update() -> Callable[[F], F]:
    """Mark `f(log_prob, log_prob_old, advantage, *, clip_range, kl_coef, kl, **options)` → objective per sample.

    To be maximised, and differentiable by `log_prob`; all shapes (S, B), see `bench.arms.objectives.surrogate`. The
    three keywords are None where nothing sets them.
    """
    return _marker("update", {})


def task(cls: F) -> F:
    """Mark a frozen dataclass derived from `bench.tasks.base.Task`; its fields are the task's knobs."""
    return _marker("task", {})(cls)


def _marker(factor: Factor, needs: Mapping[str, bool]) -> Callable[[F], F]:
    def mark(function: F) -> F:
        setattr(function, _MARK, Plugin(factor, function, needs))
        return function

    return mark


def load(factor: Factor, name: str | None) -> Plugin:
    """The plug-in `module:name` of a factor, imported from Python's path; see `import_module`. Raises `UserError`."""
    key = f"{factor}.plugin"
    if name is None or not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise UserError(f"{key}={name}: name what you wrote as module:name, such as {key}=my_module:my_{factor}")
    module_name, _, attribute = name.partition(":")
    refuse_recorded({key: name})
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever a user's module raises while it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"{key}={name}: cannot import '{module_name}' from this folder or Python's path ({reason})"
        ) from error
    marked = {entry: found for entry, value in vars(module).items() if (found := _plugin(value)) is not None}
    if attribute not in marked:
        have = ", ".join(marked) or "nothing"
        raise UserError(
            f"{key}={name}: '{module_name}' marks {have} with bench.plugin, not '{attribute}'"
            f"{nearest(attribute, marked)}"
        )
    if marked[attribute].factor != factor:
        raise UserError(f"{key}={name}: it is marked as {marked[attribute].factor}, not as {factor}")
    return marked[attribute]


def import_module(name: str) -> ModuleType:
    """Import a module that the user has named: from Python's path, or else from the current folder.

    Python itself looks there first for `python -m`, and not at all for scripts and for `python -P`.

    Raises:
        UserError: for a module that was not imported before and that the user has not named; see `allow`.
        Exception: whatever the module raises while it is imported.
    """
    if not _may_be_imported(name):
        raise UserError(f"only a record names the module {name}; if you trust it, add plugins={name} to the command")
    if name not in sys.modules:
        folder = os.getcwd()
        if folder not in map(os.path.abspath, sys.path):
            sys.path.append(folder)  # last, so that its files stand in for no library
    return importlib.import_module(name)


def allow(modules: Iterable[str]) -> None:
    """Let `import_module` import these modules from now on.

    For words of a command line and arguments from Python only: what was read from a results folder is never allowed.
    """
    _allowed.update(modules)


def refuse_recorded(named: Mapping[str, object], modules: Sequence[str] = ()) -> None:
    """Refuse code that a record names and that the user has neither named nor imported.

    `named` maps keys of the configuration to `module:name` or `package.module.Class`, or to None. `modules` are those
    that the record's own `plugins` names.

    Raises:
        UserError: with the argument that says one wants it.
    """
    wanted: list[tuple[str, object, str]] = [("plugins", module, module) for module in modules]
    wanted += [(key, name, module) for key, name in named.items() if (module := module_of(name))]
    missing = [each for each in wanted if not _may_be_imported(each[2])]
    if missing:
        key, name, _ = missing[0]
        needed = ",".join(dict.fromkeys(module for *_, module in missing))
        raise UserError(
            f"the record names code outside the suite, {key}={name}; "
            f"if you trust it, add plugins={needed} to the command"
        )


def _may_be_imported(module: str) -> bool:
    return module in _allowed or module in sys.modules


def module_of(name: object) -> str:
    """Return the module of `module:name` or `package.module.Class`; empty for anything else."""
    module, colon, _ = str(name or "").partition(":")
    return module if colon else module.rpartition(".")[0]


def import_modules(names: str) -> None:
    """Import the modules of `plugins=a,b`, which whoever gives the command names. Raises `UserError`."""
    for name in filter(None, names.split(",")):
        allow([name])
        try:
            import_module(name)
        except Exception as error:  # whatever a user's module raises while it is imported
            raise UserError(f"plugins={name}: cannot be imported ({type(error).__name__}: {error})") from error


def _plugin(value: Any) -> Plugin | None:
    """The mark of a function or class itself: a task class does not inherit its parent's."""
    found = vars(value).get(_MARK) if hasattr(value, "__dict__") else None
    return found if isinstance(found, Plugin) else None
