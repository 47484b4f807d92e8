"""Evaluation: own environments and streams, so that evaluating more often changes no training number.

It takes place at points of a grid over the budget; `index` is a point's number on it.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from bench.config.schema import Config
from bench.learner.acting import Acting
from bench.learner.actor import Actor
from bench.learner.distributions import Categorical, env_actions
from bench.observer import EXACT, RETURN_OF, Row
from bench.seeding import streams
from bench.tasks.base import Array, Task
from bench.tasks.batched import BatchedEnv
from bench.tasks.environments import Environments
from bench.tasks.exact import LENGTH, ExactTask
from bench.tasks.registry import environments

MODES = ("deterministic", "stochastic")
TOTALS = {"true_score": "true_return"}  # what the episode's sum of a task's extra is called


class EvaluationFaults(Exception):
    """Some policies met a fault of the task in their evaluation: `causes` by number, and the `rows` of the others."""

    def __init__(self, causes: Mapping[int, str], rows: list[dict[str, float | int | str]]) -> None:
        super().__init__("; ".join(causes.values()))
        self.causes, self.rows = causes, rows


def grid_of(config: Config) -> list[int]:
    """Return the environment steps at which a cell is evaluated."""
    points = config.evaluation.points
    return [round(config.budget * index / points) for index in range(points + 1)]


@dataclass(frozen=True)
class Judged:
    """What was found of one policy: rows of episodes, exact ones, and what went wrong, in which case there are none."""

    episodes: list[dict[str, float | int | str]]
    exact: list[dict[str, float | int | str]]
    fault: str | None = None


def judge(
    actor: Actor,
    task: Task,
    seeds: Sequence[int],
    places: Sequence[int],
    episodes: int,
    pool: str = "main",
    *,
    sample_solved: bool = False,
) -> list[Judged]:
    """Judge each replica of an actor at its place on the grid: by exact returns where there are any, or by episodes.

    With `sample_solved` episodes are sampled in any case.
    """
    exact = exact_returns(actor, task, seeds, lengths=not sample_solved)
    each = range(len(seeds))
    if exact and not sample_solved:
        return [Judged([], exact[number :: len(seeds)]) for number in each]
    try:
        rows, faults = evaluate(actor, task, seeds, places, episodes, pool), {}
    except EvaluationFaults as found:
        rows, faults = found.rows, dict(found.causes)
    remaining = iter(rows)
    return [
        Judged([], [], faults[number])
        if number in faults
        else Judged(list(itertools.islice(remaining, 2 * episodes)), exact[number :: len(seeds)])
        for number in each
    ]


def evaluate(
    actor: Actor, task: Task, seeds: Sequence[int], index: int | Sequence[int], episodes: int, pool: str = "main"
) -> list[dict[str, float | int | str]]:
    """Run `episodes` complete episodes of each replica and mode; return the rows of `play`. Raises `EvaluationFaults`.

    `seeds` and, where there are several, the grid's `index` have an entry for each replica of the actor.
    """
    places = [index] * len(seeds) if isinstance(index, int) else index
    drawn = streams(seeds, "evaluation", [(place, 2) for place in places], pool)
    noise = actor.noise_without_end(drawn, 2 * episodes)
    acting = Acting(actor, 2 * episodes)
    acts = acting.room(1)

    def act(observations: Array, live: Array) -> Array:
        acts.observations[0] = observations
        acting.act(acts, 0, next(noise), likeliest=episodes, live=live)
        return env_actions(acts.actions[0], task.action_space)

    return play(act, task, seeds, index, episodes, pool)


def exact_returns(
    actor: Actor, task: Task, seeds: Sequence[int], *, lengths: bool = False
) -> list[dict[str, float | int | str]]:
    """Return the rows of `exact_rows` of an actor's replicas, one for each of `seeds`; none where it has no table.

    The deterministic policy takes the very actions that `evaluate` takes.
    """
    if not has_table(task) or not issubclass(actor.distribution, Categorical):
        return []
    seen = task.reached_observations
    acting, n_states = Acting(actor, seen.shape[1]), seen.shape[1]
    acts = acting.room(1)
    acts.observations[0] = np.tile(seen, len(seeds))
    acting.act(acts, 0, acts.outputs.new_zeros(len(seeds), 1, n_states), likeliest=n_states)
    policy = Categorical(acts.outputs[0], actor.stack.extras)
    probabilities = policy.probabilities().swapaxes(1, 2)
    return exact_rows(task, seeds, acts.actions[0, :, 0].cpu().numpy(), probabilities, lengths=lengths)


def has_table(task: Task) -> TypeGuard[ExactTask]:
    """Whether every policy of a task is a table, whose returns can be computed."""
    return isinstance(task, ExactTask) and task.is_tabular


def exact_rows(
    task: ExactTask, seeds: Sequence[int], likeliest: Array, probabilities: Array, *, lengths: bool = False
) -> list[dict[str, float | int | str]]:
    """Return a row per seed and mode: what the episodes that `play` samples bring in the mean, undiscounted.

    Args:
        task: whose policies are tables.
        seeds: S of them.
        likeliest: (S, m) integers, the action the deterministic policy takes in each state of `ExactTask.reached`.
        probabilities: (S, m, A), of the stochastic policy.
        lengths: whether the mean length is asked for, which the curves of episodes do without.

    Returns:
        `seed`, `mode`, `exact_return`, the same of each kind of episode where there are several, as
        `exact_return_of_younger`, and the exact sums of the extras whose means are known, as `exact_true_return`;
        where `lengths` are asked for, `exact_length`. NaN where the episodes need not end.
    """
    count, reached = len(seeds), task.reached
    policies = np.zeros(
        (2 * count, int(np.prod(task.model.table)), probabilities.shape[-1])
    )  # 0 where no episode ever comes
    policies[np.arange(count)[:, None], reached, likeliest] = 1
    policies[count:, reached] = probabilities
    known = task.expected_totals(policies)
    totals = {f"{EXACT}{TOTALS.get(name, name)}": known[name] for name in known if lengths or name != LENGTH}
    found = []
    for index, (mode, seed) in enumerate(itertools.product(MODES, seeds)):
        row: dict[str, float | int | str] = {"seed": int(seed), "mode": mode}
        found.append(row | {name: float(total[index]) for name, total in totals.items()})
    return found


def play(
    act: Callable[[Array, Array], Array],
    task: Task,
    seeds: Sequence[int],
    index: int | Sequence[int],
    episodes: int,
    pool: str = "main",
) -> list[dict[str, float | int | str]]:
    """Run two times `episodes` complete episodes per seed in the environments that belong to `index`, or to each one's.

    `act` takes the observations of all columns, (O, C), to their actions, (C,) or (A, C); of a mask of columns (C,), it
    is told which episodes still run, and only their actions are looked at. The first `episodes` columns of each seed
    count as deterministic, the others as stochastic.

    Returns:
        One row per episode: seed, mode, episode, return (undiscounted), length, and the sums of the task's extras, the
        true score's as `true_return`. Where there are several kinds of episodes, a row has the return a second time by
        the name of its kind, as `return_of_younger`.

    Raises:
        EvaluationFaults: where the task did what no task may do, with the causes by number among `seeds`; those that
            met none have been played to the end.
    """
    env = environments(task, seeds, 2 * episodes, pool, evaluation=index)
    try:
        totals, kinds = _totals(act, env)
    finally:
        env.close()
    rows = [_row(env, totals, seed, column, episodes) for column, seed in enumerate(np.repeat(seeds, 2 * episodes))]
    for row, kind in zip(rows, kinds, strict=False):  # none where all are of one
        row[f"{RETURN_OF}{kind}"] = row["return"]
    if env.faults:
        sound = (column // env.n_envs not in env.faults for column in range(env.n_columns))
        raise EvaluationFaults(env.faults, [row for row, is_sound in zip(rows, sound, strict=True) if is_sound])
    return rows


def _totals(act: Callable[[Array, Array], Array], env: Environments) -> tuple[dict[str, Array], list[str]]:
    """Play an episode in every column; return the sums (C,) of the rewards and of the task's extras, and the kinds."""
    env.restart()
    kinds = _kinds(env)
    observation, live = env.observation, np.ones(env.n_columns, dtype=bool)
    extras = {name: TOTALS.get(name, name) for name in env.task.extras}
    totals = {name: np.zeros(env.n_columns) for name in ("return", *extras.values())}
    while live.any():
        transition = env.step(act(observation, live), live)
        observation = transition.observation
        totals["return"] += transition.reward
        for name, total in extras.items():
            totals[total] += transition.extras[name]
        live = live & ~(transition.terminated | transition.truncated)
    return totals, kinds


def _kinds(env: Environments) -> list[str]:
    """Which kind of episode each column has begun; empty where there is but one."""
    task = env.task
    if not isinstance(env, BatchedEnv) or not isinstance(task, ExactTask) or not task.kinds:
        return []
    return [task.kinds[number] for number in task.kind(env.state)]


def _row(
    env: Environments, totals: dict[str, np.ndarray], seed: int, column: int, episodes: int
) -> dict[str, float | int | str]:
    mode, episode = divmod(column % env.n_envs, episodes)
    row: dict[str, float | int | str] = {"seed": int(seed), "mode": MODES[mode], "episode": episode}
    row |= {name: float(values[column]) for name, values in totals.items()}
    return row | {"length": int(env.elapsed[column])}


def mean_return(rows: Sequence[Row]) -> float | None:
    """Return the mean deterministic return of evaluation rows, of episodes or exact ones; None where it has no end."""
    column = "return" if "return" in rows[0] else f"{EXACT}return"
    returns = [float(row[column]) for row in rows if row["mode"] == "deterministic"]
    found = float(np.mean(returns))
    return found if math.isfinite(found) else None
