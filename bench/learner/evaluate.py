"""Evaluation: own environments and streams, so that evaluating more often changes no training number.

It takes place at points of a grid over the budget; `index` is a point's number on it.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard

import numpy as np

from bench.config.schema import Config
from bench.learner.acting import Acting
from bench.learner.actor import Actor
from bench.learner.distributions import Categorical, env_actions
from bench.observer import EXACT, Row
from bench.seeding import stream
from bench.tasks.base import Array, Task
from bench.tasks.environments import Environments
from bench.tasks.exact import ExactTask
from bench.tasks.registry import environments

MODES = ("deterministic", "stochastic")
TOTALS = {"true_score": "true_return"}  # what the episode's sum of a task's extra is called


class EvaluationFaults(Exception):
    """Some seeds met a fault of the task in their evaluation: `causes` by seed, and the `rows` of the others."""

    def __init__(self, causes: Mapping[int, str], rows: list[dict[str, float | int | str]]) -> None:
        super().__init__("; ".join(causes.values()))
        self.causes, self.rows = causes, rows


def grid_of(config: Config) -> list[int]:
    """Return the environment steps at which a cell is evaluated."""
    points = config.evaluation.points
    return [round(config.budget * index / points) for index in range(points + 1)]


def evaluate(
    actor: Actor, task: Task, seeds: Sequence[int], index: int, episodes: int, pool: str = "main"
) -> list[dict[str, float | int | str]]:
    """Run `episodes` complete episodes per seed and mode; return the rows of `play`. Raises `EvaluationFaults`."""
    streams = [stream(seed, "evaluation", index, 2, pool=pool) for seed in seeds]
    noise = actor.noise_without_end(streams, 2 * episodes)
    acting = Acting(actor, 2 * episodes)
    acts = acting.room(1)

    def act(observations: Array) -> Array:
        acts.observations[0] = observations
        acting.act(acts, 0, next(noise), likeliest=episodes)
        return env_actions(acts.actions[0], task.action_space)

    return play(act, task, seeds, index, episodes, pool)


def exact_returns(actor: Actor, task: Task, seeds: Sequence[int]) -> list[dict[str, float | int | str]]:
    """Return the rows of `exact_rows` of an actor's replicas, one for each of `seeds`; none where it has no table.

    The deterministic policy takes the very actions that `evaluate` takes.
    """
    if not has_table(task) or not issubclass(actor.distribution, Categorical):
        return []
    seen = task.observations()
    acting, n_states = Acting(actor, seen.shape[1]), seen.shape[1]
    acts = acting.room(1)
    acts.observations[0] = np.tile(seen, len(seeds))
    acting.act(acts, 0, acts.outputs.new_zeros(len(seeds), 1, n_states), likeliest=n_states)
    policy = Categorical(acts.outputs[0], actor.stack.extras)
    return exact_rows(task, seeds, acts.actions[0, :, 0].cpu().numpy(), policy.probabilities().swapaxes(1, 2))


def has_table(task: Task) -> TypeGuard[ExactTask]:
    """Whether every policy of a task is a table, whose returns can be computed."""
    return isinstance(task, ExactTask) and task.is_tabular


def exact_rows(
    task: ExactTask, seeds: Sequence[int], likeliest: Array, probabilities: Array
) -> list[dict[str, float | int | str]]:
    """Return a row per seed and mode: what the episodes that `play` samples bring in the mean, undiscounted.

    Args:
        task: whose policies are tables.
        seeds: S of them.
        likeliest: (S, n) integers, the action the deterministic policy takes in each of `ExactTask.states`.
        probabilities: (S, n, A), of the stochastic policy.

    Returns:
        `seed`, `mode`, `exact_return`, and the exact sums of the extras whose means are known, as `exact_true_return`;
        NaN where the episodes need not end.
    """
    policies = np.concatenate([np.eye(probabilities.shape[-1])[likeliest], probabilities])
    totals = {f"{EXACT}{TOTALS.get(name, name)}": total for name, total in task.expected_totals(policies).items()}
    found = []
    for index, (mode, seed) in enumerate(itertools.product(MODES, seeds)):
        row: dict[str, float | int | str] = {"seed": int(seed), "mode": mode}
        found.append(row | {name: float(total[index]) for name, total in totals.items()})
    return found


def play(
    act: Callable[[Array], Array], task: Task, seeds: Sequence[int], index: int, episodes: int, pool: str = "main"
) -> list[dict[str, float | int | str]]:
    """Run two times `episodes` complete episodes per seed in the environments that belong to `index`.

    `act` takes the observations of all columns, (O, C), to their actions, (C,) or (A, C). The first `episodes` columns
    of each seed count as deterministic, the others as stochastic.

    Returns:
        One row per episode: seed, mode, episode, return (undiscounted), length, and the sums of the task's extras, the
        true score's as `true_return`.

    Raises:
        EvaluationFaults: where the task did what no task may do; the seeds that met none have been played to the end.
    """
    env = environments(task, seeds, 2 * episodes, pool, evaluation=index)
    try:
        totals = _totals(act, env)
    finally:
        env.close()
    rows = [_row(env, totals, seed, column, episodes) for column, seed in enumerate(np.repeat(seeds, 2 * episodes))]
    if env.faults:
        raise EvaluationFaults(env.faults, [row for row in rows if row["seed"] not in env.faults])
    return rows


def _totals(act: Callable[[Array], Array], env: Environments) -> dict[str, Array]:
    """Play an episode in every column; return the sums (C,) of the rewards and of the task's extras."""
    env.restart()
    live = np.ones(env.n_columns, dtype=bool)
    extras = {name: TOTALS.get(name, name) for name in env.task.extras}
    totals = {name: np.zeros(env.n_columns) for name in ("return", *extras.values())}
    while live.any():
        transition = env.step(act(env.observation), live)
        totals["return"] += transition.reward
        for name, total in extras.items():
            totals[total] += transition.extras[name]
        live = live & ~(transition.terminated | transition.truncated)
    return totals


def _row(
    env: Environments, totals: dict[str, np.ndarray], seed: int, column: int, episodes: int
) -> dict[str, float | int | str]:
    mode, episode = divmod(column % env.n_envs, episodes)
    row: dict[str, float | int | str] = {"seed": int(seed), "mode": MODES[mode], "episode": episode}
    row |= {name: float(values[column]) for name, values in totals.items()}
    return row | {"length": int(env.elapsed[column])}


def mean_return(rows: Sequence[Row]) -> float:
    """Return the mean deterministic return of evaluation rows."""
    return float(np.mean([row["return"] for row in rows if row["mode"] == "deterministic"]))
