"""The best policies that act on what they see now, in worlds that hide a part of their state."""

import numpy as np

from bench.tasks.base import Array
from bench.tasks.exact import ExactTask, Solution, solve, visits

MAX_SWEEPS = 1000  # through all steps; a handful settles


def best_memoryless(task: ExactTask, gamma: float = 1.0, starts: int = 100, seed: int = 0) -> Solution:
    """The best found of the deterministic policies that are functions of the present observation.

    From each of `starts` random policies, one step of the episode after the other is given its best actions while all
    other steps keep theirs. States of one step follow no choice made at that step, so J is linear in its actions, each
    change is an improvement, and the end is a policy that no change at a single step improves: a local optimum. No
    method finds the global one in reasonable time for all worlds (Littman, 1994), so the result is a lower bound;
    `task.solve()`, which sees everything, is an upper one.

    Raises:
        UserError: for a policy that sees more than a table holds.
        ValueError: for a world without a step axis, or whose observations do not tell the step.
    """
    model = task.model
    if model.horizon is None:
        raise ValueError("the best memoryless policy needs a world with a step axis")
    seen, place = np.unique(task.observations().T, axis=0, return_inverse=True)
    places = place.reshape(model.steps, -1)
    if sum(len(np.unique(own)) for own in places) > len(seen):
        raise ValueError("the best memoryless policy needs observations that tell the step")
    rng = np.random.default_rng(seed)
    found = [_climb(task, gamma, rng.integers(model.n_actions, size=len(seen)), places) for _ in range(starts)]
    return max(found, key=lambda solution: solution.objective)


def _climb(task: ExactTask, gamma: float, actions: Array, places: Array) -> Solution:
    """The local optimum that a policy, an action for each observation, leads to; `places` are those of states."""
    model = task.model
    for _ in range(MAX_SWEEPS):
        before = actions.copy()
        for step in reversed(range(model.steps)):
            table = actions[places].reshape(model.table)
            frequency = visits(model, table, gamma).reshape(places.shape)[step]
            q_values = solve(model, table, gamma).q_values.reshape(*places.shape, -1)[step]
            brings = np.zeros((len(actions), model.n_actions))
            np.add.at(brings, places[step], frequency[:, None] * q_values)
            here = np.unique(places[step])
            now = brings[here, actions[here]]
            better = brings[here].max(axis=-1) > now + 1e-12  # equals stay, so that it ends
            actions[here[better]] = brings[here[better]].argmax(axis=-1)
        if (actions == before).all():
            return solve(model, actions[places].reshape(model.table), gamma)
    raise RuntimeError(f"a memoryless policy did not settle in {MAX_SWEEPS} sweeps")
