"""Restarts, streams, saving, selecting and waiting, for every task."""

import io
import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from bench.tasks import BatchedEnv, Task, Transition
from bench.tasks.cartpole import CartPole
from bench.tasks.weekly_exam import WeeklyExam

N_ENVS = 4


def make_env(task: Task, seeds: Sequence[int], n_envs: int = N_ENVS) -> BatchedEnv:
    env = BatchedEnv(task, seeds, n_envs)
    env.restart()
    return env


def actions_of(env: BatchedEnv, step: int) -> np.ndarray:
    """Arbitrary actions that depend on the seed, the environment and the step, not on the column."""
    columns = []
    for seed in env.seeds:
        space_rng = np.random.default_rng([seed, step])
        space = env.task.action_space
        if hasattr(space, "n"):
            columns.append(space_rng.integers(space.n, size=env.n_envs))
        else:
            columns.append(space_rng.uniform(space.low[:, None], space.high[:, None], (*space.shape, env.n_envs)))
    return np.concatenate(columns, axis=-1)


def run(env: BatchedEnv, steps: range) -> list[tuple[np.ndarray, ...]]:
    """Step and restart what ends; per step the state, elapsed steps, observation, reward and flags, column last."""
    history = []
    for step in steps:
        transition = env.step(actions_of(env, step))
        ended = transition.terminated | transition.truncated
        history.append((env.state.copy(), env.elapsed.copy(), *arrays(transition)))
        env.restart(ended)
    return history


def arrays(transition: Transition) -> tuple[np.ndarray, ...]:
    return transition.observation, transition.reward, transition.terminated, transition.truncated


def columns_of(history: list[tuple[np.ndarray, ...]], columns: slice) -> list[tuple[np.ndarray, ...]]:
    return [tuple(array[..., columns] for array in step) for step in history]


def assert_same(one: list[tuple[np.ndarray, ...]], other: list[tuple[np.ndarray, ...]]) -> None:
    assert len(one) == len(other)
    for step_one, step_other in zip(one, other, strict=True):
        for array_one, array_other in zip(step_one, step_other, strict=True):
            np.testing.assert_array_equal(array_one, array_other)


def test_shapes_and_types(task: Task) -> None:
    env = make_env(task, [3, 9])
    transition = env.step(actions_of(env, 0))
    assert transition.observation.shape == env.observation.shape == (*task.observation_space.shape, 8)
    assert transition.observation.dtype == env.observation.dtype == np.float32
    assert (transition.reward.shape, transition.reward.dtype) == ((8,), np.float64)
    assert (transition.terminated.shape, transition.terminated.dtype) == ((8,), np.bool_)
    assert (transition.truncated.shape, transition.truncated.dtype) == ((8,), np.bool_)
    assert set(transition.extras) == set(task.extras)
    assert (env.elapsed == 1).all()
    for column in range(8):
        assert task.observation_space.contains(env.observation[:, column])


def test_a_step_changes_no_argument(task: Task) -> None:
    env = make_env(task, [0])
    state, actions = env.state, actions_of(env, 0)
    noise = task.noise(np.random.default_rng(0), N_ENVS)
    copies = state.copy(), actions.copy(), noise.copy()
    task.step(state, actions, noise)
    for array, copy in zip((state, actions, noise), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_columns_numbers_do_not_depend_on_how_many_there_are(task: Task) -> None:
    """To the last bit: vectorised instructions work on the rest of an array in another way than on its bulk."""
    env = make_env(task, range(21))
    run(env, range(3))
    actions, noise = actions_of(env, 3), task.noise(np.random.default_rng(0), env.n_columns)
    together = task.step(env.state, actions, noise)
    for width in (1, 3, 8):
        for first in range(0, env.n_columns - width + 1, width):
            part = slice(first, first + width)
            alone = task.step(env.state[:, part].copy(), actions[..., part], noise[:, part])
            np.testing.assert_array_equal(alone.state, together.state[:, part])
            np.testing.assert_array_equal(alone.reward, together.reward[part])
            np.testing.assert_array_equal(task.observe(alone.state), task.observe(together.state)[:, part])


def test_before_the_first_restart_there_is_no_state(task: Task) -> None:
    assert np.isnan(BatchedEnv(task, [0], 2).state).all()


def test_nothing_restarts_by_itself(task: Task) -> None:
    env = make_env(task, [0])
    env.step(actions_of(env, 0))
    state = env.state.copy()
    restarted = np.array([False, True, False, True])
    env.restart(restarted)
    assert env.elapsed.tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(env.state[:, ~restarted], state[:, ~restarted])
    assert (env.state[:, restarted] != state[:, restarted]).any(axis=0).all()


def test_columns_by_index_or_by_mask(task: Task) -> None:
    by_index, by_mask = make_env(task, [0]), make_env(task, [0])
    by_index.restart([0, 2])
    by_mask.restart(np.array([True, False, True, False]))
    by_mask.restart(np.zeros(4, dtype=bool))
    np.testing.assert_array_equal(by_index.state, by_mask.state)


def test_a_replica_is_the_same_alone_beside_others_and_in_another_order(task: Task) -> None:
    steps = range(60)
    alone = run(make_env(task, [7]), steps)
    among = run(make_env(task, [1, 7, 4]), steps)
    reordered = run(make_env(task, [7, 4, 1]), steps)
    assert_same(alone, columns_of(among, slice(4, 8)))
    assert_same(alone, columns_of(reordered, slice(0, 4)))


def test_starts_depend_on_seed_environment_and_episode_alone() -> None:
    task = CartPole()
    few, many = make_env(task, [2], n_envs=2), make_env(task, [5, 2], n_envs=3)
    many.restart([3])  # environment 0 of seed 2: its second episode
    few.restart([0])
    np.testing.assert_array_equal(few.state[:, :2], many.state[:, 3:5])
    assert len(np.unique(many.state[0])) == 6


def test_seeds_environments_pools_and_evaluations_have_streams_of_their_own() -> None:
    envs = [
        BatchedEnv(CartPole(), [0, 1], 2),
        BatchedEnv(CartPole(), [0, 1], 2, pool="tuning"),
        BatchedEnv(CartPole(), [0, 1], 2, evaluation=0),
        BatchedEnv(CartPole(), [0, 1], 2, evaluation=1),
    ]
    for env in envs:
        env.restart()
        env.restart()
    positions = np.concatenate([env.state[0] for env in envs])
    assert len(np.unique(positions)) == positions.size

    noise = []
    for kind in ({}, {"pool": "tuning"}, {"evaluation": 0}, {"evaluation": 1}):
        env = BatchedEnv(WeeklyExam(), [0, 1], 2, **kind)
        env.restart()
        noise.append(env.step(np.zeros(4, dtype=int)).reward)
    assert len(np.unique(noise)) == 16


class TestSharedStarts:
    def test_runs_of_environments_share_the_first_ones_start(self) -> None:
        shared, own = make_env(CartPole(), [0, 1], n_envs=6), make_env(CartPole(), [0, 1], n_envs=6)
        shared.restart(share=3)
        own.restart()
        np.testing.assert_array_equal(shared.state, np.repeat(own.state[:, ::3], 3, axis=1))

    def test_only_the_first_ones_stream_is_drawn_from(self) -> None:
        shared, own = BatchedEnv(CartPole(), [0], 4), BatchedEnv(CartPole(), [0], 4)
        shared.restart(share=2)
        shared.restart()
        own.restart()
        first = own.state.copy()
        own.restart()
        np.testing.assert_array_equal(shared.state[:, [0, 2]], own.state[:, [0, 2]])
        np.testing.assert_array_equal(shared.state[:, [1, 3]], first[:, [1, 3]])

    def test_one_group_alone(self) -> None:
        env = make_env(CartPole(), [0, 1], n_envs=4)
        before = env.state.copy()
        env.restart([2, 3], share=2)
        assert (env.state[:, 2] == env.state[:, 3]).all()
        np.testing.assert_array_equal(env.state[:, [0, 1, 4, 5, 6, 7]], before[:, [0, 1, 4, 5, 6, 7]])

    def test_members_share_the_state_never_the_noise(self) -> None:
        env = make_env(WeeklyExam(), [0], n_envs=4)
        env.restart(share=4)
        assert len(np.unique(env.step(np.zeros(4, dtype=int)).reward)) == 4

    @pytest.mark.parametrize(
        ("columns", "share"), [(None, 3), ([0], 2), ([1, 2], 2), ([0, 2], 2), ([3, 4], 2), (None, 8)]
    )
    def test_split_runs_are_refused(self, columns: list[int] | None, share: int) -> None:
        env = make_env(CartPole(), [0, 1], n_envs=4)
        with pytest.raises(ValueError, match=f"share={share} of 4 environments: columns must be whole runs"):
            env.restart(columns, share)


class TestSaving:
    def test_a_restored_environment_goes_on_bit_for_bit(self, task: Task) -> None:
        env = make_env(task, [1, 2])
        run(env, range(20))
        saved = env.get_state()
        expected = run(env, range(20, 40))
        fresh = BatchedEnv(task, [1, 2], N_ENVS)
        fresh.set_state(saved)
        assert_same(run(fresh, range(20, 40)), expected)

    def test_json_and_weights_only_loading_keep_every_bit(self, task: Task) -> None:
        env = make_env(task, [1, 2])
        run(env, range(20))
        saved = env.get_state()
        file = io.BytesIO()
        torch.save(saved, file)
        file.seek(0)
        assert torch.load(file, weights_only=True) == saved
        assert json.loads(json.dumps(saved)) == saved

    def test_saving_is_a_snapshot(self, task: Task) -> None:
        env = make_env(task, [0])
        saved = env.get_state()
        copy = json.dumps(saved)
        run(env, range(5))
        assert json.dumps(saved) == copy

    def test_another_number_of_columns_is_refused(self, task: Task) -> None:
        saved = make_env(task, [0, 1]).get_state()
        with pytest.raises(ValueError, match="the saved state is of shape"):
            make_env(task, [0]).set_state(saved)

    def test_copying_columns_restores_a_state(self, task: Task) -> None:
        """The same state, action and noise give the same successor: a state is nothing but its column."""
        env = make_env(task, [0])
        run(env, range(3))
        noise = task.noise(np.random.default_rng(0), 1)
        actions = actions_of(env, 3)
        apart = task.step(env.state[:, :1], actions[..., :1], noise)
        env.state[:] = env.state[:, :1]
        together = task.step(env.state, np.repeat(actions[..., :1], N_ENVS, axis=-1), np.repeat(noise, N_ENVS, axis=1))
        np.testing.assert_array_equal(together.state, np.repeat(apart.state, N_ENVS, axis=1))
        np.testing.assert_array_equal(together.reward, np.repeat(apart.reward, N_ENVS))


class TestSelecting:
    def test_the_selected_replicas_go_on_as_if_nothing_had_happened(self, task: Task) -> None:
        whole, stack = make_env(task, [5, 6, 7]), make_env(task, [5, 6, 7])
        run(whole, range(10))
        run(stack, range(10))
        part = stack.select([2, 0])
        assert part.seeds == (7, 5)
        assert part.n_columns == 2 * N_ENVS
        expected = run(whole, range(10, 40))
        got = run(part, range(10, 40))
        assert_same(columns_of(got, slice(0, 4)), columns_of(expected, slice(8, 12)))
        assert_same(columns_of(got, slice(4, 8)), columns_of(expected, slice(0, 4)))

    def test_states_are_copied_and_streams_shared(self) -> None:
        stack, reference = make_env(WeeklyExam(), [0, 1]), make_env(WeeklyExam(), [0, 1])
        before = stack.state.copy()
        part = stack.select([1])
        part.step(np.zeros(N_ENVS, dtype=int))
        np.testing.assert_array_equal(stack.state, before)
        first = reference.step(np.zeros(8, dtype=int)).reward
        second = reference.step(np.zeros(8, dtype=int)).reward
        drawn = stack.step(np.zeros(8, dtype=int)).reward
        np.testing.assert_array_equal(drawn[:4], first[:4])  # the first replica's noise is untouched
        assert not np.isin(drawn[4:], first[4:]).any()  # the second's has moved on
        assert not np.array_equal(first, second)


class TestWaiting:
    def test_columns_that_wait_stay_as_they_are(self, task: Task) -> None:
        env, reference = make_env(task, [0, 1]), make_env(task, [0, 1])
        live = np.array([True, False, True, False, False, True, True, True])
        before, actions = env.state.copy(), actions_of(env, 0)
        transition, expected = env.step(actions, live), reference.step(actions)
        np.testing.assert_array_equal(env.state[:, live], reference.state[:, live])
        np.testing.assert_array_equal(env.state[:, ~live], before[:, ~live])
        np.testing.assert_array_equal(transition.reward, np.where(live, expected.reward, 0.0))
        np.testing.assert_array_equal(transition.observation, env.observation)
        assert env.elapsed.tolist() == live.astype(int).tolist()
        assert not transition.terminated[~live].any()
        assert not transition.truncated[~live].any()

    @pytest.mark.filterwarnings("error")
    def test_an_ended_episode_may_wait_for_as_long_as_it_takes(self, task: Task) -> None:
        env = make_env(task, [0, 1])
        live = np.ones(8, dtype=bool)
        ended_at = np.zeros((len(env.state), 8))
        lengths = np.zeros(8)
        for step in range(1100):
            transition = env.step(actions_of(env, step), live)
            assert not ((transition.terminated | transition.truncated) & ~live).any()
            lengths += live
            ended = transition.terminated | transition.truncated
            ended_at[:, ended] = env.state[:, ended]
            live = live & ~ended
        assert not live.any()
        np.testing.assert_array_equal(env.state, ended_at)
        np.testing.assert_array_equal(env.elapsed, lengths)

    def test_a_waiting_replica_draws_no_noise(self) -> None:
        """How long the others take does not move its stream: complete episodes are the same alone and beside others."""
        env, reference = make_env(WeeklyExam(), [0, 1]), make_env(WeeklyExam(), [0, 1])
        rest = np.zeros(8, dtype=int)
        env.step(rest, live=np.array([True] * 4 + [False] * 4))
        first, second = reference.step(rest).reward, reference.step(rest).reward
        drawn = env.step(rest).reward
        np.testing.assert_array_equal(drawn, [*second[:4], *first[4:]])

    def test_a_replica_draws_for_all_its_columns_while_one_is_live(self) -> None:
        env, reference = make_env(WeeklyExam(), [0]), make_env(WeeklyExam(), [0])
        rest = np.zeros(4, dtype=int)
        drawn = env.step(rest, live=np.array([False, True, False, False])).reward
        np.testing.assert_array_equal(drawn, reference.step(rest).reward * [0, 1, 0, 0])
        env.state[:] = reference.state
        np.testing.assert_array_equal(env.step(rest).reward, reference.step(rest).reward)


def test_episodes_without_a_limit_are_never_truncated() -> None:
    env = make_env(WeeklyExam(), [0])
    env.elapsed[:] = 10**6
    assert not env.step(np.zeros(4, dtype=int)).truncated.any()


def test_seeding_starts_the_streams_again(task: Task) -> None:
    env, other = make_env(task, [3, 4]), make_env(task, [8, 9])
    expected = run(env, range(10))
    run(other, range(5))
    other.seed([3, 4])
    other.restart()
    assert_same(run(other, range(10)), expected)
    with pytest.raises(ValueError, match="3 seeds for 8 columns of 4 environments"):
        other.seed([1, 2, 3])
