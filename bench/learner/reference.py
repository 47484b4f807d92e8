"""The frozen policies that replicas are held to: which ones they are, and whether they fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gymnasium import spaces
from torch import Tensor

from bench.config import saved_policies
from bench.config.schema import Reference
from bench.errors import UserError
from bench.learner import checkpoint
from bench.learner.actor import Actor
from bench.learner.policy import StackedPolicy


@dataclass(frozen=True)
class FrozenReference:
    """What S replicas are held to: the reference policy of each, and the weight β of its divergence, (S, 1)."""

    actor: Actor
    coef: Tensor


def reference_actor(reference: Reference, policy: StackedPolicy, task: str | None) -> Actor | None:
    """Return the policies that `reference` names, one for each replica of `policy`, which is trained on `task`.

    None where nothing is held to anything. Raises `UserError` as `check_reference` does.
    """
    if reference.name == "none":
        return None
    if reference.name == "initial":
        return policy.initial()
    check_reference(reference, task, policy.observation_space, policy.action_space, policy.seeds)
    path = saved_policies.find(str(reference.path))
    return checkpoint.load_actor(path, _own(reference, policy.seeds), str(policy.actor.stack.flat.device))


def check_reference(
    reference: Reference,
    task: str | None,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    seeds: Sequence[int],
) -> None:
    """Refuse a reference that is not one for these seeds in this task; `task` is None where nobody knows its name.

    Raises:
        UserError: for a file that is damaged, a policy of another task or shape, and a seed it does not have.
    """
    saved, _ = checkpoint.read(saved_policies.find(str(reference.path)))
    where = f"reference.path={reference.path}"
    if None not in (saved.task, task) and saved.task != task:
        raise UserError(f"{where}: its policy was trained on {saved.task}, this is {task}; use one of {task}")
    for name, theirs, ours in (
        ("observation space", saved.observation_space, observation_space),
        ("action space", saved.action_space, action_space),
    ):
        if theirs != ours:
            raise UserError(f"{where}: its {name} is {theirs}, this task's is {ours}")
    if saved.settings and reference.seed is None:
        some = f"{saved.names[0]}, {saved.names[-1]}"
        raise UserError(f"{where}: it holds runs of a design; set reference.seed to the number of one, such as {some}")
    missing = sorted(set(_own(reference, seeds)) - set(saved.names or saved.seeds))
    if missing:
        key = "seed" if reference.seed is None else "reference.seed"
        only = f"only {list(saved.names or saved.seeds)}; set reference.seed to one of them"
        raise UserError(f"{where}: it has no {key} {missing[0]}, {only}")


def _own(reference: Reference, seeds: Sequence[int]) -> list[int]:
    """Return which of the saved seeds each of `seeds` is held to."""
    return [seed if reference.seed is None else reference.seed for seed in seeds]
