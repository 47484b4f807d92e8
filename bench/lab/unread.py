"""Settings of the laboratory that nothing would read: refused, so that no wish is passed over in silence."""

from collections.abc import Callable, Mapping
from typing import Any

from gymnasium import spaces

from bench.config.build import written
from bench.errors import UserError
from bench.lab.plan import Plan
from bench.lab.settings import Settings
from bench.lab.sizing import CRITIC
from bench.tasks.exact import ExactTask
from bench.tasks.registry import make


def refuse_unread(given: Mapping[str, Any], planned: Mapping[str, tuple[Settings, Plan]]) -> None:
    """Refuse a setting of the laboratory that was given and that no task's measurement reads. Raises `UserError`."""
    for key, value in given.items():
        if key in _READ_BY:
            reason, reads = _READ_BY[key]
            if not any(reads(settings, plan) for settings, plan in planned.values()):
                raise UserError(f"{key}={written(value)} on {', '.join(planned)}: {reason}; leave {key} out")


def _has_target(name: str) -> Callable[[Settings, Plan], bool]:
    def reads(_: Settings, plan: Plan) -> bool:
        arms = [variant.arm for variant in plan.variants]
        return any(arm.baseline.name == CRITIC and arm.advantage.name == name for arm in arms)

    return reads


def _solved(plan: Plan) -> bool:
    return isinstance(make(plan.config.task), ExactTask)


_IN_COMPANY = "no estimator that is measured reads other episodes"
_READ_BY: Mapping[str, tuple[str, Callable[[Settings, Plan], bool]]] = {
    "critics": (
        "none of these arms has a critic; add baselines=critic or advantages=gae",
        lambda _, plan: any(variant.arm.has_critic for variant in plan.variants),
    ),
    "critic_error": (
        "no critic with a known error is measured; add critics=error",
        lambda _, plan: any(variant.critic == "error" for variant in plan.variants),
    ),
    "gae_lambdas": ("baseline critic with advantage gae is not measured", _has_target("gae")),
    "n_steps": ("baseline critic with advantage nstep is not measured", _has_target("nstep")),
    "group_sizes": ("no group is measured", lambda settings, plan: not settings.group_sizes or bool(plan.sizes)),
    "accompanied": (_IN_COMPANY, lambda _, plan: not all(variant.alone for variant in plan.variants)),
    "companions": (_IN_COMPANY, lambda _, plan: not all(variant.alone for variant in plan.variants)),
    "exact": ("no world that is measured is solved", lambda _, plan: _solved(plan)),
    "truth_precision": ("the truth is exact", lambda _, plan: not _solved(plan)),
    "truth_steps": ("the truth is exact", lambda _, plan: not _solved(plan)),
    "precision": (
        "it is about differences between targets under the critic; add baselines=critic",
        lambda own, plan: own.precision is None or any(each.arm.baseline.name == CRITIC for each in plan.variants),
    ),
    "max_steps": ("without a precision nothing reads it; add precision=…", lambda own, _: own.precision is not None),
    "shortfall": (
        "the truth is exact, and no precision is asked for",
        lambda own, plan: own.precision is not None or not _solved(plan),
    ),
    "actions": (
        "all actions of a state are measured",
        lambda _, plan: not isinstance(make(plan.config.task).action_space, spaces.Discrete),
    ),
    "stages": ("policy=… has policies of one stage", lambda own, _: own.policy is None),
}
