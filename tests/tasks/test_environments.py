"""What no task may do, and no caller: a fault fails its seed alone, an action outside the space is refused."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from bench.learner import train as training
from bench.learner.evaluate import EvaluationFaults, play
from bench.seeding import stream
from bench.tasks import Array, BatchedEnv, Step, Task, environments
from bench.tasks.column_env import ColumnEnv
from bench.tasks.environments import TaskFault
from bench.tasks.foreign import GymTask
from bench.tasks.vec_env import BatchedVecEnv
from tests.learner.probes import Notes, settings
from tests.tasks.zoo import Sound, registered


@dataclass(frozen=True)
class Cliff(Task):
    """Starts at a random place and goes right; where it comes to stand beyond 1, a `value` befalls it. Four steps.

    State: the place, the steps. The value is that of the reward, of the observation or of the extra.
    """

    what: str = "reward"
    value: float = float("nan")
    observation_space = spaces.Box(0.0, 10.0, (1,))
    action_space = spaces.Discrete(2)
    time_limit = 4
    extras = ("height",)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.stack([rng.random(n), np.zeros(n)])

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002 - whatever one does
        assert np.isfinite(state).all(), "a state that is not finite is stepped"
        place, steps = state[0] + 0.25, state[1] + 1
        numbers = {name: np.where(place > 1, self.value, 1.0) for name in (self.what,)}
        if self.what == "observation":
            place = np.where(place > 1, self.value, place)
        ones = np.ones(len(place))
        return Step(
            np.stack([place, steps]), numbers.get("reward", ones), steps >= 4, {"height": numbers.get("extra", ones)}
        )

    def observe(self, state: Array) -> Array:
        return state[:1].astype(np.float32)


def falls(seed: int, *, evaluation: int | None = None) -> int:
    """The step at which the one environment of a seed goes beyond 1."""
    keys = ("reset", 0) if evaluation is None else ("evaluation", evaluation, 0, 0)
    first, *further = keys
    return int((1 - stream(seed, first, *further).random()) / 0.25) + 1  # type: ignore[arg-type]  # as BatchedEnv has it


NUMBERS = [("reward", np.nan), ("reward", -np.inf), ("reward", 1e39), ("observation", np.inf), ("extra", np.nan)]


@pytest.mark.parametrize(("what", "value"), NUMBERS)
def test_a_fault_is_that_of_its_seed_and_leaves_the_others_alone(what: str, value: float) -> None:
    one, other = BatchedEnv(Cliff(what, value), [0, 1], 1), BatchedEnv(Cliff(what, 1.0), [0, 1], 1)
    steps = sorted((falls(seed), seed) for seed in (0, 1))
    assert steps[0][0] < steps[1][0] <= 4
    (first, faulty), (_, sound) = steps
    for env in (one, other):
        env.restart()
    for step in range(1, steps[1][0]):
        told, expected = one.step(np.zeros(2, int)), other.step(np.zeros(2, int))
        assert list(one.faults) == ([faulty] if step >= first else [])
        assert told.reward[sound] == expected.reward[sound]
        assert told.observation[:, sound] == expected.observation[:, sound]
        assert told.terminated.tolist() == [seed == faulty and step >= first for seed in (0, 1)]
        assert not told.truncated.any()
        for numbers in (told.reward, told.observation, one.observation, told.extras["height"]):
            assert np.isfinite(numbers).all()
    name = "height" if what == "extra" else what
    shown = f"the {name} is {np.float32(value) if what == 'observation' else value} at step {first} of an episode"
    assert one.faults == {faulty: f"{Cliff(what, value)}: {shown} in training"}
    assert not other.faults


@pytest.mark.parametrize(("what", "value"), NUMBERS)
def test_an_evaluation_gives_the_rows_of_the_other_seeds(what: str, value: float) -> None:
    def act(observations: Array, _live: Array) -> Array:
        return np.zeros(observations.shape[1], int)

    seeds = [0, 1, 2]
    with pytest.raises(EvaluationFaults) as found:
        play(act, Cliff(what, value), seeds, index=3, episodes=1)
    starts = {seed: [stream(seed, "evaluation", 3, 0, env).random() for env in (0, 1)] for seed in seeds}
    faulty = {seed for seed in seeds if max(starts[seed]) > 0}  # four steps lead everybody beyond 1
    assert set(found.value.causes) == faulty
    assert all(cause.endswith("in evaluation") for cause in found.value.causes.values())
    assert found.value.rows == []
    sound = play(act, Cliff(what, 1.0), seeds, index=3, episodes=1)
    assert [row["return"] for row in sound] == [4.0] * 6


def test_a_vec_env_raises_instead_of_inventing_numbers() -> None:
    env = BatchedVecEnv(BatchedEnv(Cliff(), [0], 1))
    env.reset()
    for _ in range(min(falls(0), 4) - 1):
        env.step(np.zeros(1, int))
    fault = rf"Cliff\(.*\): the reward is nan at step {falls(0)} of an episode in training"
    with pytest.raises(TaskFault, match=fault):
        env.step(np.zeros(1, int))


def outside(space: spaces.Space[Any]) -> list[Any]:
    """Single actions outside a space."""
    if isinstance(space, spaces.Discrete):
        return [99, -1, int(space.n), 0.5, "left", None]
    assert isinstance(space, spaces.Box)
    return [np.full(space.shape, np.nan), np.zeros(space.shape[0] + 1), np.array(["left"])]


def test_an_action_outside_the_space_is_one_clear_error(task: Task) -> None:
    """From the task itself, from all columns at once, and from one as a Gymnasium environment."""
    batched, column = BatchedEnv(task, [0], 2), ColumnEnv(task)
    batched.restart()
    column.reset(seed=0)
    inside = np.zeros(task.action_space.shape or ())
    for action in outside(task.action_space):
        pair = np.stack([np.broadcast_to(inside, np.shape(action)), action], axis=-1)
        for step in (
            lambda pair=pair: batched.step(pair),
            lambda pair=pair: task.step(batched.state, pair, np.zeros((4, 2))),
            lambda action=action: column.step(action),
        ):
            with pytest.raises(ValueError, match=r"^(an )?actions? ") as refused:
                step()
            assert "\n" not in str(refused.value)
    assert (batched.elapsed == 0).all()


def test_somebody_elses_environment_meets_no_action_outside_its_space() -> None:
    with registered(Sound) as id:
        env = environments(GymTask(id), [0], 2)
        env.restart()
        with pytest.raises(ValueError, match="action 2 is not one of the whole numbers 0 to 1"):
            env.step(np.array([0, 2]))
        assert (env.elapsed == 0).all()


@pytest.mark.parametrize(("what", "value"), NUMBERS)
def test_training_on_a_task_of_ours_names_the_fault_too(
    monkeypatch: pytest.MonkeyPatch, what: str, value: float
) -> None:
    monkeypatch.setattr(training, "make", lambda _: Cliff(what, value))
    config = settings("task=exam_question", "hidden=[8]", "budget=200", "seeds=2", "evaluation.episodes=1")
    trained = training.train(config, config.seeds, Notes())
    name = "height" if what == "extra" else what
    for outcome in trained.outcomes.values():
        assert outcome.status == "failed"
        assert re.fullmatch(
            rf"Cliff\(.*\): the {name} is \S+ at step \d of an episode in (training|evaluation)", str(outcome.cause)
        )
