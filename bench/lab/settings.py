"""What a laboratory study measures: its settings, read from conf/lab, and the arms they amount to."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import yaml

from bench.arms.advantage import BASELINES, TARGETS
from bench.cells.composition import compose
from bench.config.build import build
from bench.config.legality import validate
from bench.config.parse import option
from bench.config.schema import Config
from bench.errors import UserError, unknown
from bench.execution.checks import check
from bench.lab.estimators import Variant
from bench.lab.stages import OPTIMUM, TRAINED
from bench.lab.truth import Kind
from bench.paths import CONF
from bench.tasks.exact import ExactTask
from bench.tasks.foreign import GymTask
from bench.tasks.registry import make

FOLDER = CONF / "lab"
CRITICS = ("exact", "learned", "error")
STAGES = (*TRAINED, OPTIMUM)
NO_CRITIC = "none"
BY_TASK = ("times", "anchors", "actions", "futures", "companions", "batches", "precision", "truth_steps")
SAMPLED_GROUPS = ("group", "grpo", "rloo")


@dataclass(frozen=True)
class Settings:
    """See conf/lab/default.yaml, which says what each is for."""

    tasks: tuple[str, ...]
    stages: tuple[str, ...]
    policy: str | None
    seed: int
    baselines: tuple[str, ...]
    advantages: tuple[str, ...]
    critics: tuple[str, ...]
    critic_error: float
    gae_lambdas: tuple[float, ...]
    n_steps: tuple[int, ...]
    group_sizes: tuple[int, ...]
    truth: Literal["time_limited", "continuing"] | None
    precision: float
    truth_steps: int
    shortfall: Literal["refuse", "report"]
    times: int
    anchors: int
    actions: int
    futures: int
    companions: int
    batches: int
    batch_multiples: tuple[int, ...]
    by_task: Mapping[str, Mapping[str, Any]]
    overrides: Mapping[str, Any]

    def of(self, task: str) -> "Settings":
        """What holds for a task: `by_task` has the settings that are another for it. Raises `UserError`."""
        own = dict(self.by_task.get(task, {}))
        for key in own:
            if key not in BY_TASK:
                raise unknown(f"setting of lab by_task.{task}", key, BY_TASK)
        found = build(Settings, dataclasses.asdict(self) | own | {"by_task": {}})
        _check(found)
        return found


def read(study: str, given: Mapping[str, Any]) -> Settings:
    """The defaults, what the study's file in conf/lab changes, and what was given, which is for all tasks.

    Raises:
        UserError: for an unknown setting, or a value that cannot be.
    """
    known = [field.name for field in dataclasses.fields(Settings)]
    data = _file("default") | (_file(study) if (FOLDER / f"{study}.yaml").exists() else {}) | dict(given)
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
    """One value where several may stand is a list of one."""
    several = {field.name for field in dataclasses.fields(Settings) if str(field.type).startswith("tuple")}
    return [value] if key in several and not isinstance(value, list) else value


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
    least = {"times": 1, "anchors": 3, "actions": 2, "futures": 2, "companions": 1, "batches": 4, "truth_steps": 1}
    for key, minimum in least.items():
        if getattr(settings, key) < minimum:
            raise UserError(f"{key}={getattr(settings, key)}: must be at least {minimum}")
    if not settings.precision > 0:
        raise UserError(f"precision={settings.precision}: must be greater than 0")
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


@dataclass(frozen=True)
class Plan:
    """One task of a study: the arm that trains its policies, and the variants that are measured."""

    config: Config
    kind: Kind
    variants: tuple[Variant, ...]
    sizes: tuple[Variant, ...]  # of groups, at equal numbers of episodes
    left_out: Mapping[str, str]  # why, by the name of each arm that was asked for and is refused


def plan(settings: Settings, task: str) -> Plan:
    """What is measured on a task. Raises `UserError` where settings do not fit it."""
    given = [f"{key}={value}" for key, value in {"task": task, **_of(settings.overrides, task)}.items()]
    config = compose(given)
    check(config)
    built = make(config.task)
    if isinstance(built, GymTask):
        raise UserError(
            f"task={task}: its states cannot be restored; the laboratory needs a batched task of this suite"
        )
    kind: Kind = settings.truth or ("continuing" if config.truncation == "bootstrap" else "time_limited")
    if kind == "continuing" and config.gamma == 1:
        raise UserError(
            f"truth=continuing with gamma=1 on {task}: it is infinite; use truth=time_limited, or gamma=0.99"
        )
    exact = isinstance(built, ExactTask)
    critics = _critics(settings, exact, task)
    left_out: dict[str, str] = {}
    arms = _arms(settings, given, left_out)
    variants = [Variant(arm, critic) for arm in arms for critic in (critics if arm.has_critic else [NO_CRITIC])]
    if not variants:
        why = next(iter(left_out.values()), "none was asked for")
        raise UserError(
            f"baselines={list(settings.baselines)} with advantages={list(settings.advantages)} on {task}: no legal arm "
            f"is left ({why}); `python -m bench list` shows what there is"
        )
    return Plan(config, kind, tuple(variants), tuple(_sizes(settings, given)), left_out)


def _of(overrides: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The overrides for a task: those of all tasks, then those below its name."""
    common = {key: value for key, value in overrides.items() if not isinstance(value, Mapping)}
    own = overrides.get(task, {})
    return common | dict(own)


def _critics(settings: Settings, exact: bool, task: str) -> list[str]:
    """The critics a task can have. Raises `UserError` where none is left."""
    possible = [name for name in settings.critics if exact or name == "learned"]
    if not possible:
        raise UserError(
            f"critics={list(settings.critics)} on {task}: its values are not known exactly; use critics=learned"
        )
    return possible


def _arms(settings: Settings, given: Sequence[str], left_out: dict[str, str]) -> list[Config]:
    """Every legal arm, then the sweeps of λ and n under the critic baseline, and outcome credit for groups.

    The others go to `left_out`, with the reason.
    """
    arms = []
    for baseline in settings.baselines:
        for arm in _legal(given, baseline, settings.advantages, left_out):
            arms.append(arm)
            name = (baseline, arm.advantage.name)
            if name == ("critic", "gae"):
                arms += [replace(arm, gae_lambda=value) for value in settings.gae_lambdas if value != arm.gae_lambda]
            if name == ("critic", "nstep"):
                arms += [replace(arm, n_step=value) for value in settings.n_steps if value != arm.n_step]
            if baseline in SAMPLED_GROUPS and arm.advantage.name == "monte_carlo":
                arms.append(replace(arm, group=replace(arm.group, credit="outcome")))
    return arms


def _legal(given: Sequence[str], baseline: str, advantages: Sequence[str], left_out: dict[str, str]) -> list[Config]:
    """The arms of a baseline that the configuration does not refuse; composed once, since that takes its time."""
    found: list[Config] = []
    for advantage in advantages:
        try:
            if found:
                arm = replace(found[0], advantage=option("advantage", advantage))
                validate(arm)
            else:
                arm = compose([*given, f"baseline={baseline}", f"advantage={advantage}"])
        except UserError as refused:
            left_out[f"{baseline}-{advantage}"] = str(refused)
            continue
        found.append(arm)
    return found


def _sizes(settings: Settings, given: Sequence[str]) -> list[Variant]:
    """Groups of several sizes."""
    names = [name for name in SAMPLED_GROUPS if name in settings.baselines]
    arms = [arm for name in names for arm in _legal(given, name, ["monte_carlo"], {})]
    return [
        Variant(replace(arm, group=replace(arm.group, size=size)), NO_CRITIC)
        for size in settings.group_sizes
        for arm in arms
    ]
