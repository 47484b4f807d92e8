"""Exact returns against an independent solver, against sampled episodes, and of every way a block can come about.

The solver here plays a world's own `step` through every outcome of its chances, which it takes from the world's rules.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import bench
from bench.config.schema import Config
from bench.errors import RunWarning
from bench.learner import train as training
from bench.learner.actor import Actor
from bench.learner.distributions import Categorical
from bench.learner.evaluate import evaluate, exact_returns, judge
from bench.learner.network import Stack
from bench.learner.train import train
from bench.records import exact_values
from bench.tasks.delayed_exam import DelayedExam
from bench.tasks.exact import ExactTask
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.random_walk import N_STATES, RandomWalk
from bench.tasks.registry import make
from bench.tasks.weekly_exam import LEARNING, SICK, WEEKS, WeeklyExam, WeeklyExamCheat
from tests.learner.probes import Notes
from tests.tasks.simulation import standard_errors

SMALL = ("evaluation.points=2", "evaluation.episodes=2", "hidden=[16,16]", "collect=episodes", "group.groups=2",
         "group.size=2")  # fmt: skip
CELLS = {
    "exam_question": ("task=exam_question", "budget=64"),
    "weekly_exam": ("task=weekly_exam", "budget=600", "norm_obs=true"),
    "weekly_exam_cheat": ("task=weekly_exam_cheat", "task.reward_shift=-0.5", "budget=600"),
    "random_walk": ("task=random_walk", "task.time_limit=30", "budget=600"),
    "delayed_exam": ("task=delayed_exam", "task.delay=3", "task.hidden=true", "budget=600"),
}
Sums = dict[str, float]


def by_enumeration(
    task: ExactTask, policy: np.ndarray, chances: Callable[[Any, Any], Any], steps: int, kind: int | None = None
) -> Sums:
    """The expected sums of rewards and extras over an episode, every chance of every step followed.

    `chances` gives the noises (K, M) that a column may meet, given its state and action, and how likely each is.
    `kind` is the last number of a start state, where only those with it count.
    """
    sums: Sums = dict.fromkeys(("reward", "length", *task.extras), 0.0)
    rng = np.random.default_rng(0)
    starts = {tuple(state) for state in task.start(rng, 500).T if kind in (None, state[3 if len(state) > 3 else -1])}
    reached = {state: 1 / len(starts) for state in starts}
    for _ in range(steps):
        columns = []
        for state, likely in reached.items():
            taken = policy[task.index(np.array(state)[:, None])][0]
            for action in np.flatnonzero(taken):
                noises, shares = chances(state, action)
                here = np.repeat(np.array(state)[:, None], len(shares), axis=1)
                columns.append((here, np.full(len(shares), action), noises, likely * taken[action] * shares))
        if not columns:
            break
        states, actions, noises, weights = (np.concatenate(part, axis=-1) for part in zip(*columns, strict=True))
        outcome = task.step(states, actions, noises)
        for name, values in {"reward": outcome.reward, "length": np.ones(weights.shape), **outcome.extras}.items():
            sums[name] += float((weights * values).sum())
        reached = {}
        for state, ended, weight in zip(outcome.state.T, outcome.terminated, weights, strict=True):
            if weight > 0 and not ended:
                reached[tuple(state)] = reached.get(tuple(state), 0.0) + weight
    return sums


def of_a_week(task: WeeklyExam) -> Callable[[Any, Any], Any]:
    """The chances of a week: fatigue, level, sickness; luck is at its mean."""

    @functools.cache
    def of(tired: int, action: int) -> Any:
        plan, found = task.plans[action], []
        gain = plan.gain * LEARNING[tired]
        loss = plan.forget * (1 - gain)
        levels = ((gain / 2, gain), (gain + loss / 2, loss), ((1 + gain + loss) / 2, 1 - gain - loss))
        more = ((plan.tires_more / 2, plan.tires_more), ((1 + plan.tires_more) / 2, 1 - plan.tires_more))
        for (tires, p_tires), (level, p_level) in itertools.product(more, levels):
            fatigue = int(np.clip(tired + plan.tires + (tires < plan.tires_more), 0, 4))
            sick = task.luck * SICK[fatigue]
            found.append((tires, level, sick / 2, 0.0, p_tires * p_level * sick))
            found.append((tires, level, (1 + sick) / 2, 0.0, p_tires * p_level * (1 - sick)))
        *noises, shares = np.array(found).T
        return np.array(noises), shares

    return lambda state, action: of(int(state[2]), int(action))


def solved(task: ExactTask, policy: np.ndarray) -> Sums:
    """J, and the expected sums of the task's extras, by enumeration."""
    if isinstance(task, WeeklyExam):
        return by_enumeration(task, policy, of_a_week(task), task.time_limit or WEEKS)
    if isinstance(task, RandomWalk):
        return by_enumeration(task, policy, lambda *_: (np.empty((0, 1)), np.ones(1)), task.time_limit or 0)
    if isinstance(task, DelayedExam):
        return by_enumeration(task, policy, lambda *_: (np.zeros((1, 1)), np.ones(1)), task.horizon)
    assert isinstance(task, ExamQuestion)
    return {"reward": float((policy * task.setting.points / 100).sum(axis=-1).mean()), "length": 1.0}


def table(task: ExactTask, *, seed: int) -> np.ndarray:
    logits = 2 * np.random.default_rng(seed).standard_normal((*task.model.table, task.model.n_actions))
    likely = np.exp(logits)
    return np.asarray(likely / likely.sum(axis=-1, keepdims=True))


def of_brothers(task: ExactTask, policy: np.ndarray) -> dict[str, float]:
    """J of each brother alone, by enumeration; nothing where there are no brothers."""
    if isinstance(task, WeeklyExam):
        weeks = task.time_limit or WEEKS
        each = [by_enumeration(task, policy, of_a_week(task), weeks, brother)["reward"] for brother in (0, 1)]
    elif isinstance(task, ExamQuestion) and task.answers == "four":
        each = (policy * task.setting.points / 100).sum(axis=-1).reshape(2, -1).mean(axis=-1).tolist()
    else:
        return {}
    return dict(zip(("return_of_elder", "return_of_younger"), each, strict=True))


@dataclasses.dataclass(frozen=True)
class BrokenOff(WeeklyExam):
    """A world of one's own: the weekly exam, cut off after five weeks."""

    time_limit: int | None = 5  # type: ignore[assignment]  # the exam itself has none


WORLDS: dict[str, ExactTask] = {
    "exam_question": ExamQuestion(),
    "two answers": ExamQuestion(answers="two"),
    "weekly_exam": WeeklyExam(),
    "shift and luck": WeeklyExam(luck=2.0, reward_shift=0.25),
    "cheat": WeeklyExamCheat(),
    "random_walk": RandomWalk(time_limit=37),
    "broken off": BrokenOff(),
    "delayed_exam": DelayedExam(delay=6),
    "hidden fatigue": WeeklyExam(hide_fatigue=True),
}


@pytest.mark.parametrize("name", WORLDS)
def test_random_policies_have_the_returns_of_the_independent_solver(name: str) -> None:
    task = WORLDS[name]
    policies = np.stack([table(task, seed=seed) for seed in range(2)])
    found = task.expected_totals(policies)
    for index, policy in enumerate(policies):
        expected = solved(task, policy)
        assert found["return"][index] == pytest.approx(expected["reward"], rel=0, abs=1e-12)
        for name in ("length", *task.extras):
            assert found[name][index] == pytest.approx(expected[name], rel=0, abs=1e-11)
        brothers = of_brothers(task, policy)
        for name, value in brothers.items():
            assert found[name][index] == pytest.approx(value, rel=0, abs=1e-12)
        assert set(found) == {"return", "length", *task.extras, *brothers}


@pytest.mark.parametrize("name", WORLDS)
def test_an_episode_comes_to_the_states_that_are_said_to_be_reached_and_to_no_others(name: str) -> None:
    """The uniformly random policy visits exactly these; what a policy would do elsewhere changes no bit."""
    task = WORLDS[name]
    visited = task.visits("uniform").ravel() > 0
    assert task.reached.tolist() == np.flatnonzero(visited).tolist()
    assert task.reached_observations.tobytes() == task.observations()[:, visited].tobytes()
    policy = table(task, seed=5).reshape(len(visited), -1)
    elsewhere = np.where(visited[:, None], policy, 0).reshape(1, *task.model.table, -1)
    whole = policy.reshape(elsewhere.shape)
    for name, total in task.expected_totals(whole).items():
        assert task.expected_totals(elsewhere)[name].tobytes() == total.tobytes(), name


def test_money_held_back_until_the_end_is_the_same_money() -> None:
    policy = table(WeeklyExam(), seed=3)[None]
    weekly, final = (WeeklyExam(pay=pay).expected_totals(policy)["return"] for pay in ("weekly", "final"))
    assert final == weekly
    assert BrokenOff(pay="final").expected_totals(policy)["return"] == 0  # it is never paid


@pytest.mark.parametrize("right", [0.5, 0.3, 0.9])
def test_a_walk_without_a_limit_is_the_gamblers_ruin(right: float) -> None:
    policy = np.broadcast_to([1 - right, right], (1, N_STATES, 2))
    odds, middle = (1 - right) / right, (N_STATES + 1) // 2
    ruin = 0.5 if right == 0.5 else (1 - odds**middle) / (1 - odds ** (N_STATES + 1))
    found = RandomWalk(time_limit=None).expected_totals(policy)["return"]
    assert found == pytest.approx(2 * ruin - 1, abs=1e-12)


def test_who_walks_in_circles_has_no_return_without_a_limit_and_0_with_one() -> None:
    circles = np.eye(2)[[step % 2 for step in range(N_STATES)]][None]
    assert np.isnan(RandomWalk(time_limit=None).expected_totals(circles)["return"]).all()
    assert RandomWalk(time_limit=1001).expected_totals(circles)["return"] == 0


def test_of_equal_actions_the_deterministic_policy_takes_the_first() -> None:
    """A network of zeros: all actions are equally likely everywhere. The episodes do the same."""
    task = WeeklyExamCheat()
    actor = Actor(Stack(1, 4, (8,), 5), Categorical, None)
    rows = {row["mode"]: row for row in exact_returns(actor, task, [0])}
    for mode, policy in (("deterministic", np.eye(5)[0]), ("stochastic", np.full(5, 0.2))):
        expected = solved(task, np.broadcast_to(policy, (*task.model.table, 5)))
        assert rows[mode]["exact_return"] == pytest.approx(expected["reward"], rel=0, abs=1e-12)
        assert rows[mode]["exact_true_return"] == pytest.approx(expected["true_score"], rel=0, abs=1e-12)


class Seen(Notes):
    """Keeps the policies that are judged, by index on the grid and seed, beside what was reported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.actors: dict[tuple[int, int], Actor] = {}

        def kept(actor: Actor, task: Any, seeds: Sequence[int], places: Sequence[int], *how: Any, **more: Any) -> Any:
            for number, key in enumerate(zip(places, seeds, strict=True)):
                self.actors[key] = actor.select([number])
            return judge(actor, task, seeds, places, *how, **more)

        monkeypatch.setattr(training, "judge", kept)


def cell(name: str, *overrides: str, seeds: tuple[int, ...] = (0, 3, 8)) -> Config:
    return dataclasses.replace(bench.compose([*SMALL, *CELLS[name], *overrides]), seeds=seeds)


def table_of(actor: Actor, task: ExactTask, mode: str) -> np.ndarray:
    """The policy of an actor of one replica, (*table, A)."""
    policies = actor.probabilities(task.observations())
    if mode == "deterministic":
        seen = torch.from_numpy(task.observations()).expand(actor.stack.replicas, -1, -1)
        policies = np.eye(task.model.n_actions)[actor.policy(seen).mode()[:, 0].numpy()]
    return policies.reshape(*task.model.table, task.model.n_actions)


@pytest.mark.parametrize("name", CELLS)
def test_every_grid_point_of_a_training_has_the_return_of_its_policies(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, notes = cell(name, seeds=(0, 3)), Seen(monkeypatch)
    block, task = train(config, config.seeds, notes), make(config.task)
    assert isinstance(task, ExactTask)
    points = [(row["step"], row["seed"], row["mode"]) for row in notes.exact_returns]
    steps = (0, config.budget // 2, config.budget)
    assert points == list(itertools.product(steps, config.seeds, ("deterministic", "stochastic")))
    assert notes.evaluations == []  # exact returns replace episodes
    extras = {"exact_true_return"} if task.extras else set()
    for row in notes.exact_returns:
        policy = table_of(notes.actors[steps.index(int(row["step"])), int(row["seed"])], task, str(row["mode"]))
        expected = solved(task, policy)
        assert row["exact_return"] == pytest.approx(expected["reward"], rel=0, abs=1e-12)
        assert row["exact_length"] == pytest.approx(expected["length"], rel=0, abs=1e-12)
        brothers = of_brothers(task, policy)
        for key, value in brothers.items():
            assert row[f"exact_{key}"] == pytest.approx(value, rel=0, abs=1e-12)
        own = {f"exact_{key}" for key in brothers}
        assert set(row) == {"seed", "step", "mode", "exact_return", "exact_length", *extras, *own}
        if extras:
            assert row["exact_true_return"] == pytest.approx(expected["true_score"], rel=0, abs=1e-12)
    if name == "weekly_exam_cheat":  # what the record says of the policy in the end
        of_record = exact_values.of(config, block)
        assert of_record is not None
        for row in notes.exact_returns:
            if (row["step"], row["mode"]) != (config.budget, "stochastic"):
                continue
            learned = of_record[str(row["seed"])]["learned"]
            assert learned["true_score"] == pytest.approx(row["exact_true_return"], rel=0, abs=1e-9)


@pytest.mark.parametrize("episodes", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CELLS)
def test_sampled_episodes_have_the_exact_mean(name: str, episodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 4 standard errors at each point: by chance alone in less than one of 500 such trainings."""
    config, notes = cell(name), Seen(monkeypatch)
    train(config, config.seeds, notes)
    task, exact = make(config.task), iter(notes.exact_returns)
    for (index, seed), actor in notes.actors.items():
        rows = evaluate(actor, task, [seed], 100 + index, episodes)
        for mode in ("deterministic", "stochastic"):
            for column, expected in next(exact).items():
                if column.startswith("exact_"):
                    name = column.removeprefix("exact_")
                    sample = np.array([row[name] for row in rows if row["mode"] == mode and name in row])
                    if np.ptp(sample) == 0:  # a walk in circles, or straight to an end
                        assert expected == pytest.approx(sample[0], abs=1e-9)
                    else:
                        assert abs(standard_errors(sample, expected)) < 4


@pytest.mark.parametrize("name", CELLS)
def test_a_block_of_three_seeds_has_the_bits_of_each_alone(name: str) -> None:
    together = Notes()
    train(cell(name), (0, 3, 8), together)
    for seed in (0, 3, 8):
        alone = Notes()
        train(cell(name, seeds=(seed,)), (seed,), alone)
        assert alone.exact_returns == [row for row in together.exact_returns if row["seed"] == seed]


@pytest.mark.parametrize("name", CELLS)
def test_episodes_are_sampled_too_where_they_are_asked_for(name: str) -> None:
    """With the same exact returns, but for the lengths, which the episodes have."""
    asked, not_asked = Notes(), Notes()
    train(cell(name, "sample_solved=true"), (0, 3), asked)
    train(cell(name), (0, 3), not_asked)
    assert len(asked.evaluations) == 3 * 2 * 2 * 2
    without = [{key: row[key] for key in row if key != "exact_length"} for row in not_asked.exact_returns]
    assert asked.exact_returns == without
    assert asked.updates == not_asked.updates


def test_what_a_policy_sees_beyond_the_table_is_sampled_only() -> None:
    with pytest.warns(RunWarning, match="is not solved, so each evaluation samples 2 episodes of both policies"):
        config, notes = cell("weekly_exam", "task.observe_last_score=true", "norm_obs=false"), Notes()
    train(config, config.seeds, notes)
    assert notes.evaluations
    assert notes.exact_returns == []
    for row in notes.evaluations:  # an episode is either brother's
        (own,) = row.keys() & {"return_of_elder", "return_of_younger"}
        assert row[own] == row["return"]
    assert len({frozenset(row) for row in notes.evaluations}) == 2


def test_a_world_that_is_not_solved_is_sampled_only() -> None:
    config, notes = bench.compose(["task=cartpole", "task.time_limit=20", "budget=100", *SMALL, "seeds=1"]), Notes()
    train(config, config.seeds, notes)
    assert notes.evaluations
    assert notes.exact_returns == []
