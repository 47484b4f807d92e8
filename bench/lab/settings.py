"""What a laboratory study measures: its settings, read from conf/lab."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from bench.arms.advantage import BASELINES, TARGETS
from bench.config.build import build
from bench.config.parse import seeds_of
from bench.errors import UserError, unknown
from bench.lab.simulate import TruthKind
from bench.lab.stages import OPTIMUM, TRAINED
from bench.paths import CONF
from bench.tasks.registry import TASKS

FOLDER = CONF / "lab"
CRITICS = ("exact", "learned", "error")
STAGES = (*TRAINED, OPTIMUM)
LEAST = {
    "times": 1, "anchors": 3, "accompanied": 3, "actions": 2, "futures": 2, "companions": 1, "batches": 4,
    "truth_steps": 1, "max_steps": 1,
}  # fmt: skip
BY_TASK = ("seeds", *LEAST, "precision", "truth_precision")


@dataclass(frozen=True)
class Settings:
    """See conf/lab/default.yaml, which says what each is for."""

    tasks: tuple[str, ...]
    stages: tuple[str, ...]
    policy: str | None
    seeds: tuple[int, ...]
    baselines: tuple[str, ...]
    advantages: tuple[str, ...]
    critics: tuple[str, ...]
    critic_error: float
    gae_lambdas: tuple[float, ...]
    n_steps: tuple[int, ...]
    group_sizes: tuple[int, ...]
    exact: bool
    truth: TruthKind | None
    precision: float | None
    max_steps: int
    truth_precision: float
    truth_steps: int
    shortfall: Literal["refuse", "report"]
    times: int
    anchors: int
    accompanied: int
    actions: int
    futures: int
    companions: int
    batches: int
    batch_multiples: tuple[int, ...]
    by_task: Mapping[str, Mapping[str, Any]]
    overrides: Mapping[str, Any]

    def of(self, task: str) -> "Settings":
        """Return what holds for a task: `by_task` has the settings that are another for it. Raises `UserError`."""
        own = dict(self.by_task.get(task, {}))
        for key in own:
            if key not in BY_TASK:
                raise unknown(f"setting of lab by_task.{task}", key, BY_TASK)
        data = dataclasses.asdict(self) | own | {"by_task": {}}
        found = build(Settings, {key: _listed(key, value) for key, value in data.items()})
        _check(found)
        return found


def read(study: str, given: Mapping[str, Any]) -> Settings:
    """Return the defaults, changed by the study's file in conf/lab, and by what was given, which is for all tasks.

    Raises:
        UserError: for an unknown setting, or a value that cannot be.
    """
    known = [field.name for field in dataclasses.fields(Settings)]
    usual, own = _file("default"), _file(study) if (FOLDER / f"{study}.yaml").exists() else {}
    by_task = {task: {**usual["by_task"].get(task, {}), **own.get("by_task", {}).get(task, {})} for task in TASKS}
    data = usual | own | {"by_task": {task: keys for task, keys in by_task.items() if keys}} | dict(given)
    for key in given:
        if key not in known:
            raise unknown("setting of lab", key, known)
    if "by_task" not in given:
        by_task = data["by_task"].items()
        data["by_task"] = {task: {k: v for k, v in own.items() if k not in given} for task, own in by_task}
    settings = build(Settings, {key: _listed(key, value) for key, value in data.items()})
    _check(settings)
    return settings


def _file(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return data


def _listed(key: str, value: Any) -> Any:
    """Make a list of one value where several may stand, and one of the seeds that are meant by their number."""
    if key == "seeds":
        return seeds_of(list(value) if isinstance(value, tuple) else value)
    several = {field.name for field in dataclasses.fields(Settings) if str(field.type).startswith("tuple")}
    return [value] if key in several and not isinstance(value, list | tuple) else value


def _check(settings: Settings) -> None:
    for key, values, allowed in (
        ("stages", settings.stages, STAGES),
        ("critics", settings.critics, CRITICS),
        ("baselines", settings.baselines, BASELINES),
        ("advantages", settings.advantages, TARGETS),
    ):
        for value in values:
            if value not in allowed:
                raise unknown(key, value, allowed)
    for key, minimum in LEAST.items():
        if getattr(settings, key) < minimum:
            raise UserError(f"{key}={getattr(settings, key)}: must be at least {minimum}")
    for key in ("precision", "truth_precision"):
        number = getattr(settings, key)
        if number is not None and not number > 0:
            raise UserError(f"{key}={number}: must be greater than 0")
    for size in settings.group_sizes:
        if size < 2 or max(settings.group_sizes) % size:
            raise UserError(
                f"group_sizes={list(settings.group_sizes)}: each must be at least 2 and divide the largest, so that "
                f"all are compared in batches of as many episodes"
            )
    for multiple in settings.batch_multiples:
        if multiple < 1 or settings.batches // multiple < 4:
            raise UserError(
                f"batch_multiples={list(settings.batch_multiples)} with batches={settings.batches}: {multiple} times "
                f"larger leaves {settings.batches // max(multiple, 1)} batches; at least 4 are needed: raise batches"
            )
