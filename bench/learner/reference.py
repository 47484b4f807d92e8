"""The frozen policies that replicas are held to: which ones they are, and whether they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gymnasium import spaces
from torch import Tensor

from bench.config import saved_policies as policies
from bench.config.schema import Reference
from bench.errors import UserError
from bench.learner import checkpoint as saving
from bench.learner.actor import Actor
from bench.learner.spaces import space_from_json

if TYPE_CHECKING:
    from bench.learner.policy_gradient import PolicyGradient


@dataclass(frozen=True)
class Hold:
    """What holds S replicas to a reference: its policies, one per replica, and the weight β of each, (S, 1)."""

    policy: Actor
    coef: Tensor


@dataclass(frozen=True)
class World:
    """What a reference must have been trained for; `task` is None where nobody knows its name."""

    task: str | None
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]


def reference_policy(model: PolicyGradient) -> Actor | None:
    """The policies that `arm.reference` names, one for each replica of the model, frozen. Raises `UserError`."""
    reference = model.arm.reference
    if reference.name == "none":
        return None
    if reference.name == "initial":
        return model.policy.initial()
    world = World(model.task_name, model.observation_space, model.action_space)
    rows = check_reference(reference, world, model.seeds)
    held_to = type(model).load(policies.find(str(reference.path)), device=str(model.device))
    return held_to.policy.acting().select(rows)


def check_reference(reference: Reference, world: World, seeds: Sequence[int]) -> list[int]:
    """Which replica of the saved policy each of `seeds` is held to.

    Raises `UserError` for a file that is damaged, a policy of another task or shape, and a seed it does not have.
    """
    description, _ = saving.read(policies.find(str(reference.path)))
    where = f"reference.path={reference.path}"
    trained_on = description["task"]
    if None not in (trained_on, world.task) and trained_on != world.task:
        raise UserError(
            f"{where}: its policy was trained on {trained_on}, this is {world.task}; use one of {world.task}"
        )
    for name in ("observation_space", "action_space"):
        theirs, ours = space_from_json(description[name]), getattr(world, name)
        if theirs != ours:
            raise UserError(f"{where}: its {name.replace('_', ' ')} is {theirs}, this task's is {ours}")
    saved: list[int] = description["seeds"]
    wanted = [seed if reference.seed is None else reference.seed for seed in seeds]
    missing = sorted(set(wanted) - set(saved))
    if missing:
        key = "seed" if reference.seed is None else "reference.seed"
        raise UserError(f"{where}: it has no {key} {missing[0]}, only {saved}; set reference.seed to one of them")
    return [saved.index(seed) for seed in wanted]
