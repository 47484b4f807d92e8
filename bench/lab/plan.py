"""The arms that a laboratory study's settings amount to, and the critics they are given."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.config.build import written
from bench.config.identity import BOOKKEEPING
from bench.config.legality import validate
from bench.config.parse import option
from bench.config.schema import Config
from bench.errors import UserError
from bench.execution.checks import check
from bench.lab.estimators import NO_CRITIC, Variant
from bench.lab.settings import Settings
from bench.lab.simulate import TruthKind
from bench.tasks.exact import ExactTask
from bench.tasks.foreign import GymTask
from bench.tasks.registry import make

SAMPLED_GROUPS = ("group", "grpo", "rloo")
# Keys of training, or what they begin with, that neither its policies nor its estimators hang on: they are about
# records, evaluations and the processes of a sweep. `plugins` names the code of a task or an arm.
OF_SWEEPS = (*(key for key in BOOKKEEPING if key != "plugins"), "evaluation", "device", "cluster", "hydra")


@dataclass(frozen=True)
class Plan:
    """One task of a study: the arm that trains its policies, and the variants that are measured."""

    config: Config
    truth: TruthKind
    variants: tuple[Variant, ...]
    sizes: tuple[Variant, ...]  # of groups, at equal numbers of episodes
    left_out: Mapping[str, str]  # why, by the name of each arm that was asked for and is refused


def plan(settings: Settings, task: str) -> Plan:
    """Return what is measured on a task. Raises `UserError` where settings do not fit it."""
    overrides = _of(settings.overrides, task)
    _refuse_of_sweeps(overrides)
    given = [f"{key}={value}" for key, value in {"task": task, **overrides}.items()]
    config = _compose(*given)
    if config.is_peer:
        raise UserError(
            f"algorithm={config.algorithm.name}: the laboratory measures policies that this suite trains; leave "
            f"algorithm out"
        )
    check(config)
    built = make(config.task)
    if isinstance(built, GymTask):
        raise UserError(
            f"task={task}: its states cannot be restored; the laboratory needs a batched task of this suite"
        )
    truth: TruthKind = settings.truth or ("continuing" if config.truncation == "bootstrap" else "time_limited")
    if truth == "continuing" and config.gamma == 1:
        raise UserError(
            f"truth=continuing with gamma=1 on {task}: it is infinite; use truth=time_limited, or gamma=0.99"
        )
    critics = _critics(settings, task, exact=isinstance(built, ExactTask))
    arms, left_out = _arms(settings, given)
    variants = [Variant(arm, critic) for arm in arms for critic in (critics if arm.has_critic else [NO_CRITIC])]
    if not variants:
        why = next(iter(left_out.values()), "none was asked for")
        raise UserError(
            f"baselines={list(settings.baselines)} with advantages={list(settings.advantages)} on {task}: no legal arm "
            f"is left ({why}); `python -m bench list` shows what there is"
        )
    return Plan(config, truth, tuple(variants), tuple(_sizes(settings, given)), left_out)


def _refuse_of_sweeps(overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        if key.lstrip("+~").partition(".")[0] in OF_SWEEPS:
            raise UserError(
                f"{key}={written(value)}: the laboratory does not read it, since it trains without records and "
                f"evaluations; leave {key} out"
            )


def _of(overrides: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return the overrides for a task: those of all tasks, then those below its name."""
    common = {key: value for key, value in overrides.items() if not isinstance(value, Mapping)}
    own = overrides.get(task, {})
    return common | dict(own)


def _critics(settings: Settings, task: str, *, exact: bool) -> list[str]:
    """Return the critics a task can have. Raises `UserError` where none is left."""
    possible = [name for name in settings.critics if exact or name == "learned"]
    if not possible:
        raise UserError(
            f"critics={list(settings.critics)} on {task}: its values are not known exactly; use critics=learned"
        )
    return possible


def _arms(settings: Settings, given: Sequence[str]) -> tuple[list[Config], dict[str, str]]:
    """Return every legal arm, with sweeps of λ and n under the critic baseline, and outcome credit for groups.

    With them come those that are left out, by name, with the reason.
    """
    arms: list[Config] = []
    left_out: dict[str, str] = {}
    for baseline in settings.baselines:
        legal, refused = _legal(given, baseline, settings.advantages)
        left_out |= refused
        for arm in legal:
            arms.append(arm)
            name = (baseline, arm.advantage.name)
            if name == ("critic", "gae"):
                arms += [replace(arm, gae_lambda=value) for value in settings.gae_lambdas if value != arm.gae_lambda]
            if name == ("critic", "nstep"):
                arms += [replace(arm, n_step=value) for value in settings.n_steps if value != arm.n_step]
            if baseline in SAMPLED_GROUPS and arm.advantage.name == "monte_carlo":
                arms.append(replace(arm, group=replace(arm.group, credit="outcome")))
    return arms, left_out


def _legal(given: Sequence[str], baseline: str, advantages: Sequence[str]) -> tuple[list[Config], dict[str, str]]:
    """Return the arms of a baseline that the configuration does not refuse, and why it refuses the others."""
    found: list[Config] = []
    refused: dict[str, str] = {}
    for advantage in advantages:
        try:
            if found:  # only the first is composed, since that takes its time
                arm = replace(found[0], advantage=option("advantage", advantage))
                validate(arm)
            else:
                arm = _compose(*given, f"baseline={baseline}", f"advantage={advantage}")
            if arm.group.temperature > 0:
                raise UserError(
                    f"group.temperature={arm.group.temperature:g}: the laboratory draws no errors of comparisons; "
                    f"use group.temperature=0"
                )
        except UserError as error:
            refused[f"{baseline}-{advantage}"] = str(error)
        else:
            found.append(arm)
    return found, refused


@functools.cache  # a composition takes a tenth of a second, and `_sizes` asks for the same ones as `_arms`
def _compose(*overrides: str) -> Config:
    from bench.cells.composition import compose  # Hydra takes a third of a second to import; measuring needs none

    return compose(overrides)


def _sizes(settings: Settings, given: Sequence[str]) -> list[Variant]:
    """Return groups of several sizes, under full returns."""
    names = [name for name in SAMPLED_GROUPS if name in settings.baselines]
    advantages = dict.fromkeys([*settings.advantages, "monte_carlo"])  # in this order they are composed already
    arms = [arm for name in names for arm in _legal(given, name, list(advantages))[0]]
    return [
        Variant(replace(arm, group=replace(arm.group, size=size)), NO_CRITIC)
        for size in settings.group_sizes
        for arm in arms
        if arm.advantage.name == "monte_carlo"
    ]
