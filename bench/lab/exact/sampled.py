"""Gradients of batches in a solved world that have no exact moments: sampled, through the arms' own functions.

What comes out are single gradients. `Vectors` and `gradient_estimates` of `bench.lab.statistics` make quantities of
them, each with its standard error, which says how far it is known.
"""

import numpy as np

from bench.config.schema import Config
from bench.kernel import arrays
from bench.lab.estimators import NO_CRITIC, Batches, Variant, gradients
from bench.lab.exact.process import Process, Values
from bench.lab.policies import NetworkPolicy, Policy, TableCritic, TabularPolicy
from bench.lab.simulate import Episodes, RewardProcess
from bench.tasks.base import Array

CRITIC = "given"


def sampled_gradients(
    process: Process,
    arm: Config,
    count: int,
    rng: np.random.Generator,
    *,
    policy: Policy | None = None,
    critic: Values | None = None,
    state_gamma: float = 1.0,
) -> Array:
    """Return the gradients of `count` independent batches of an arm, (count, P).

    Args:
        process: the policy in its world, with rewards on their own scale.
        arm: baseline, advantage and group, which also lays out the batch.
        count: the number of batches.
        rng: where the episodes come from.
        policy: the network behind the process, for gradients by its parameters; else they are by the table's logits.
        critic: V, where the arm needs one.
        state_gamma: weights of the steps; 1 is what programs estimate.

    Raises:
        UserError: for a critic of another shape.
    """
    task, group = process.task, arm.group
    acting = policy if isinstance(policy, NetworkPolicy) else TabularPolicy(task, process.tabled(process.policy))
    size = group.size if group.start == "shared" else 1
    episodes = RewardProcess(acting, process.gamma).from_start(rng, count * group.groups * group.size // size, size)
    critics = {} if critic is None else {CRITIC: TableCritic(task, process.tabled(process.values(critic)))}
    batches = Batches.of(episodes, group.groups * group.size, critics)
    advantages = batches.advantages(Variant(arm, CRITIC if critics else NO_CRITIC))
    weights = arrays.powers(state_gamma, episodes.length)
    if isinstance(acting, NetworkPolicy):
        found: Array = gradients(acting, episodes, advantages, weights).numpy()
        return found
    return _by_logits(process, episodes, advantages.numpy() * weights[:, None, None])


def _by_logits(process: Process, episodes: Episodes, advantages: Array) -> Array:
    """Return the mean over a batch's episodes of Σ_t Â_t ∇log π by the logits, for advantages (T, S, N): (S, P)."""
    actions = process.shape[2]
    length, count, size = advantages.shape
    flat = process.policy.reshape(-1, actions)
    found = np.zeros((count, len(flat), actions))
    batch = np.repeat(np.arange(count), size)
    for step in range(length):
        live = np.flatnonzero(episodes.live[step])
        place = np.ravel_multi_index(process.task.index(episodes.states[step][:, live]), process.model.table)
        taken = np.eye(actions)[episodes.actions[0, step].numpy()[live]]
        term = advantages[step].ravel()[live, None] / size * (taken - flat[place])
        np.add.at(found, (batch[live], place), term)
    return found.reshape(count, -1)
