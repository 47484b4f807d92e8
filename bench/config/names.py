"""What tasks, arms and cells are called: the words of folders, records, reports, progress and mirrors are made here.

A name says what makes another task or another arm: a knob that makes another environment is part of a task's name, and
a preset whose own settings were overridden does not keep its bare name. A label tells cells that are seen together
apart.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import one_line

LONGEST = 64  # letters of a name that is a folder
WIDEST, WIDEST_VALUE = 160, 40  # letters of a label, and of a setting's value in it
_FOLDER = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.+-]{{0,{LONGEST - 1}}}")
_KNOB = "task."  # the factors of a cell that are knobs of its task
_EXAM = {"luck": 1.0, "reward_shift": 0.0, "reward_cap": None, "pay": "weekly", "observe_last_score": False}
# What a task's bare name stands for. This list never changes: later knobs are absent while they have their default.
_USUAL: Mapping[str, Mapping[str, Any]] = {
    "cartpole": {"time_limit": 500},
    "acrobot": {"time_limit": 500},
    "mountain_car": {"time_limit": 200},
    "mountain_car_continuous": {"time_limit": 999},
    "pendulum": {"time_limit": 200},
    "weekly_exam": _EXAM,
    "weekly_exam_cheat": {**_EXAM, "reward": "reported"},
    "exam_question": {"answers": "four"},
    "random_walk": {"time_limit": 1000},
}


def is_folder(name: str) -> bool:
    """Return whether a folder may be called so on every system."""
    return _FOLDER.fullmatch(name) is not None


def joined(name: str, settings: Mapping[str, Any]) -> str:
    """Return `ppo-baseline-none`: a name with the settings that make it another, as a folder may be called.

    Where signs are replaced or cut off, a digest stands at the end, so that two names never become one.
    """
    said = {key: value_text(value) for key, value in settings.items()}
    text = "-".join([name, *(value if key == "id" else f"{key}-{value}" for key, value in said.items())])
    if not settings or is_folder(text):
        return text
    return f"{re.sub('[^A-Za-z0-9_.+-]', '-', text)[: LONGEST - 9]}-{_digest(text)}"


def task_name(name: str, knobs: Mapping[str, Any], time_limit: object, usual: Mapping[str, Any] | None = None) -> str:
    """Return a task's name with every knob that makes another environment or another reward of it.

    `knobs` are those of its class, of a plug-in with the `usual` values. Which plug-in it is says the user's name for
    it.
    """
    if "plugin" in knobs:
        limit = {} if time_limit is None else {"time_limit": time_limit}  # none: its own
        return _named(name, {key: value for key, value in {**knobs, **limit}.items() if key != "plugin"}, usual or {})
    return _named(name, {**knobs, "time_limit": time_limit}, {"time_limit": None, **_USUAL.get(name, {})})


def _named(name: str, knobs: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    return joined(name, {key: value for key, value in knobs.items() if key not in usual or value != usual[key]})


def recorded_task(task: str, factors: Mapping[str, Any]) -> str:
    """Return the name of a record's task, which earlier versions wrote without its knobs.

    A plug-in's is as it was written, since no record knows the usual values of its knobs.
    """
    knobs = {key.removeprefix(_KNOB): value for key, value in factors.items() if key.startswith(_KNOB)}
    if task != factors.get("task") or "plugin" in knobs:
        return task
    return _named(task, knobs, {"time_limit": None, **_USUAL.get(task, {})})


def value_text(value: object) -> str:
    """Return a setting's value as one writes it; a number without digits that say nothing."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    return "+".join(map(value_text, value)) if isinstance(value, list | tuple) else str(value)


@dataclass(frozen=True)
class Named:
    """A cell to be told apart from others. `factors` are its settings; none where nobody knows them."""

    task: str
    arm: str
    hash: str
    factors: Mapping[str, Any]


def task_labels(cells: Sequence[Named]) -> list[str]:
    """Return a label for the task of each cell: cells whose knobs differ are not of one task.

    It is the name, with the knobs that differ between tasks of that name: `maze (size=5)`.
    """
    found = [cell.task for cell in cells]
    for name, places in _places(found).items():
        known = [place for place in places if cells[place].factors]
        knobs = sorted({key for place in known for key in cells[place].factors if key.startswith(_KNOB)})
        differing = [knob for knob in knobs if len({repr(cells[place].factors.get(knob)) for place in known}) > 1]
        for place in known:
            found[place] = _with_values(name, cells[place].factors, differing, _KNOB)
    return found


def arm_labels(cells: Sequence[Named]) -> list[str]:
    """Return a label for each cell, the same for the same arm on every task.

    Cells of one task that share a name but not a hash are told apart by the factors that differ between them,
    `ppo (gamma=0.9)`; what is still ambiguous (a missing cell, whose factors nobody knows) by its hash.
    """
    found = [cell.arm for cell in cells]
    for places in _places(found).values():
        for place, label in zip(places, _labels([cells[place] for place in places]), strict=True):
            found[place] = label
    return found


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        places[name].append(place)
    return places


def _labels(cells: Sequence[Named]) -> list[str]:
    """Return the labels of cells that share the name of their arm."""
    known = [cell for cell in cells if cell.factors]
    by_task = [[known[place] for place in places] for places in _places([cell.task for cell in known]).values()]
    factors = sorted({key for cell in known for key in cell.factors})
    differing = [key for key in factors if any(len({_text(cell, key) for cell in task}) > 1 for task in by_task)]
    told = _without_repetition(known, differing)
    found = [_with_values(cell.arm, cell.factors, told) for cell in cells]
    hashes: dict[tuple[str, str], set[str]] = defaultdict(set)
    of_task: dict[str, set[str]] = defaultdict(set)
    for cell, label in zip(cells, found, strict=True):
        hashes[cell.task, label].add(cell.hash)
        of_task[cell.task].add(cell.hash)
    return [
        f"{label} #{cell.hash}"
        if len(hashes[cell.task, label]) > 1 or (not cell.factors and len(of_task[cell.task]) > 1)
        else label
        for cell, label in zip(cells, found, strict=True)
    ]


def _text(cell: Named, factor: str) -> str | None:
    value = cell.factors.get(factor)
    return None if value is None else repr(value)


def _without_repetition(cells: Sequence[Named], factors: Sequence[str]) -> list[str]:
    """Return, of factors that tell the same cells apart, the one with the shortest name: others say it again."""
    groups: dict[tuple[int, ...], str] = {}
    for factor in sorted(factors, key=len):
        texts = [_text(cell, factor) for cell in cells]
        order = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        groups.setdefault(tuple(order[text] for text in texts), factor)
    return sorted(groups.values())


def _with_values(name: str, factors: Mapping[str, Any], shown: Sequence[str], prefix: str = "") -> str:
    values = [
        f"{factor.removeprefix(prefix)}={_short_value(factor, factors[factor])}"
        for factor in shown
        if factors.get(factor) is not None
    ]
    return bounded(f"{name} ({', '.join(values)})" if values else name, WIDEST)


def _short_value(factor: str, value: object) -> str:
    return str(value)[:8] if factor == f"{_KNOB}code" else bounded(value_text(value), WIDEST_VALUE)


def bounded(text: str, most: int) -> str:
    """Return text of others as one line of at most so many letters; what is cut off is a digest of the whole."""
    text = one_line(text)
    return text if len(text) <= most else f"{text[: most - 9]}…{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
