"""Gymnasium ids through SB3's VecEnvs, held against the batched tasks and against Gymnasium itself."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from bench.config.schema import TaskConfig
from bench.errors import UserError
from bench.seeding import stream
from bench.tasks import BatchedEnv, Environments, environments, make
from bench.tasks.foreign import ForeignEnv, GymTask
from bench.tasks.vec_env import BatchedVecEnv

Configure = Callable[..., TaskConfig]


class Countdown(gymnasium.Env[Any, Any]):
    """Observes how many steps are left, from a random start; action 1 stalls. Reward is the action. Ends at 0."""

    observation_space = spaces.Box(0.0, 9.0, (1,), dtype=np.float64)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.left = int(self.np_random.integers(2, 10))
        return np.array([self.left], dtype=np.float64), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1 - int(action)
        return np.array([self.left], dtype=np.float64), float(action), self.left == 0, False, {}


@pytest.fixture(autouse=True)
def countdown() -> Any:
    gymnasium.register("tests/Countdown-v0", entry_point=Countdown, max_episode_steps=12)
    yield
    gymnasium.registry.pop("tests/Countdown-v0")


@pytest.fixture
def env() -> Environments:
    return environments(GymTask("tests/Countdown-v0"), seeds=[0, 1], n_envs=3)


COUNT, STALL = np.zeros(6, dtype=int), np.ones(6, dtype=int)


def test_made_from_a_configuration(configure: Configure) -> None:
    task = make(configure("gym", id="tests/Countdown-v0"))
    assert isinstance(environments(task, [0], 2), ForeignEnv)
    assert task.time_limit == task.horizon == 12
    assert make(configure("gym", id="tests/Countdown-v0", time_limit=5)).time_limit == 5
    assert isinstance(environments(make(configure("cartpole")), [0], 2), BatchedEnv)


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("CartPole-v9", "unknown Gymnasium id 'CartPole-v9'; did you mean 'CartPole-v1'"),
        ("no/such-thing-v0", "unknown Gymnasium id"),
        (None, "task.id=null: must be text"),
    ],
)
def test_unknown_ids_are_refused(configure: Configure, id: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(configure("gym", id=id))


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (spaces.Discrete(3), spaces.Discrete(2), "observations are Discrete.*; must be a flat Box"),
        (spaces.Box(0, 1, (8, 8)), spaces.Discrete(2), "observations are Box.*; must be a flat Box"),
        (spaces.Box(0, 1, (2,)), spaces.MultiBinary(2), "actions are MultiBinary.*; must be Discrete from 0 or"),
        (spaces.Box(0, 1, (2,)), spaces.Discrete(2, start=1), "actions are Discrete.*; must be Discrete from 0 or"),
        (spaces.Box(0, 1, (2,)), spaces.Box(0, 1, (2, 2)), "actions are Box.*; must be Discrete from 0 or a flat Box"),
    ],
)
def test_unsupported_spaces_are_refused(
    monkeypatch: pytest.MonkeyPatch, observation: spaces.Space[Any], action: spaces.Space[Any], message: str
) -> None:
    monkeypatch.setattr(Countdown, "observation_space", observation)
    monkeypatch.setattr(Countdown, "action_space", action)
    with pytest.raises(UserError, match=message):
        _ = GymTask("tests/Countdown-v0").action_space


def test_the_observation_of_an_end_is_that_of_the_true_successor(env: Environments) -> None:
    env.restart()
    left = env.observation[0]
    for step in range(1, 10):
        transition = env.step(COUNT, live=left >= step)
        ends = left == step
        np.testing.assert_array_equal(transition.terminated, ends)
        np.testing.assert_array_equal(transition.observation[0], np.maximum(left - step, 0))
    env.restart(left < 9)
    assert (env.elapsed == np.where(left < 9, 0, 9)).all()
    assert (env.observation[0, left < 9] >= 2).all()


def test_time_limits_are_told_apart(env: Environments) -> None:
    env.restart()
    left = env.observation[0]
    for step in range(1, 13):
        transition = env.step(STALL)
        assert (transition.truncated == (step == 12)).all()
    assert not transition.terminated.any()
    assert (transition.reward == 1.0).all()
    np.testing.assert_array_equal(transition.observation[0], left)


def test_ending_at_the_limit_is_terminated_not_truncated(env: Environments) -> None:
    env.restart()
    left = env.observation[0]
    for step in range(1, 13):
        transition = env.step((step <= 12 - left).astype(int))
        assert (transition.terminated == (step == 12)).all()
        assert not transition.truncated.any()


def test_starts_are_those_of_gymnasium_under_the_columns_own_seeds(env: Environments) -> None:
    env.restart()
    env.step(COUNT, live=np.arange(6) == 4)
    env.restart([4])
    for column, (seed, index) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]):
        reset, episodes = stream(seed, "reset", index), 2 if column == 4 else 1
        for _ in range(episodes):
            expected, _ = gymnasium.make("tests/Countdown-v0").reset(seed=int(reset.integers(2**31)))
        assert env.observation[0, column] == expected[0]


def test_a_replica_is_the_same_alone_beside_others_and_selected() -> None:
    def history(env: Environments, replica: int, select: bool = False) -> list[Any]:
        env.restart()
        columns = slice(replica * 3, replica * 3 + 3)
        result = []
        for step in range(40):
            if select and step == 15:
                env, columns = env.select([replica]), slice(0, 3)
            transition = env.step(np.full(env.n_columns, step % 2))
            result.append([env.observation[:, columns], transition.reward[columns], transition.terminated[columns]])
            env.restart(transition.terminated | transition.truncated)
        return result

    task = GymTask("tests/Countdown-v0")
    alone = history(environments(task, [7], 3), 0)
    among = history(environments(task, [2, 7], 3), 1)
    selected = history(environments(task, [2, 7, 5], 3), 1, select=True)
    for other in (among, selected):
        for one_step, other_step in zip(alone, other, strict=True):
            for one, two in zip(one_step, other_step, strict=True):
                np.testing.assert_array_equal(one, two)


def test_waiting_columns_stay_as_they_are(env: Environments) -> None:
    env.restart()
    live = np.array([True, False, True, False, False, True])
    before = env.observation
    for _ in range(15):
        transition = env.step(STALL, live)
    assert (transition.reward == live).all()
    np.testing.assert_array_equal(transition.observation[:, ~live], before[:, ~live])
    assert env.elapsed.tolist() == [15, 0, 15, 0, 0, 15]
    assert not transition.truncated[~live].any()
    env.restart()
    assert (env.elapsed == 0).all()
    assert (env.observation[0] == env.step(STALL).observation[0]).all()


@pytest.mark.parametrize("id", ["CartPole-v1", "MountainCarContinuous-v0"])
def test_equal_to_the_batched_task_from_the_same_states(id: str, configure: Configure) -> None:
    """The same episodes through Gymnasium and SB3 as through NumPy, to the float32 of SB3's rewards."""
    names = {"CartPole-v1": "cartpole", "MountainCarContinuous-v0": "mountain_car_continuous"}
    batched = BatchedEnv(make(configure(names[id])), [3], 4)
    foreign = environments(GymTask(id), [3], 4)
    batched.restart()
    foreign.restart()
    batched.state[:] = foreign.observation  # float32: the two part by rounding alone
    rng = np.random.default_rng(0)
    live = np.ones(4, dtype=bool)
    for _ in range(8):
        if isinstance(batched.task.action_space, spaces.Discrete):
            actions = rng.integers(2, size=4)
        else:
            actions = rng.uniform(-1, 1, (1, 4)).astype(np.float32)
        ours, theirs = batched.step(actions, live), foreign.step(actions, live)
        np.testing.assert_allclose(theirs.observation, ours.observation, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(theirs.reward, ours.reward, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(theirs.terminated, ours.terminated)
        assert theirs.observation.dtype == ours.observation.dtype
        assert theirs.reward.dtype == ours.reward.dtype


def test_what_needs_the_state_is_refused(env: Environments) -> None:
    with pytest.raises(UserError, match=r"group\.start=shared with GymTask.*use independent"):
        env.restart(share=3)
    with pytest.raises(UserError, match="cannot be restored"):
        env.set_state(env.get_state())
    with pytest.raises(UserError, match="out of reach"):
        BatchedEnv(env.task, [0], 1)


def test_as_a_vec_env(env: Environments) -> None:
    venv = BatchedVecEnv(env)
    assert venv.reset().shape == (6, 1)
    ended = 0
    for _ in range(20):
        observation, _, done, infos = venv.step(COUNT)
        for column in np.flatnonzero(done):
            ended += 1
            assert infos[column]["terminal_observation"] == [0.0]
            assert infos[column]["episode"]["r"] == 0.0
            assert observation[column] >= 2
    assert ended >= 6
