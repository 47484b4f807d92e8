"""What may be given as `env`, what becomes of it, and which spaces there may be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, TimeLimit
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnvWrapper,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

import bench
from bench.learner import PolicyGradient
from bench.tasks.batched import BatchedEnv
from bench.tasks.cartpole import CartPole
from bench.tasks.copied import limit_of
from bench.tasks.foreign import ForeignEnv
from bench.tasks.registry import GYMNASIUM_TASKS
from bench.tasks.vec_env import BatchedVecEnv
from tests.learner.habits import BATCH, SMALL, Count, habit, refused, register, small

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


def same_weights(one: PolicyGradient, other: PolicyGradient) -> bool:
    theirs = other.policy.state_dict()
    return all(torch.equal(weights, theirs[name]) for name, weights in one.policy.state_dict().items())


class FirstStep(BaseCallback):
    """Keeps the observations after the first step."""

    def _on_step(self) -> bool:
        if self.n_calls == 1:
            self.seen = self.locals["new_obs"][:, 0].tolist()
        return True


@habit(
    "environments", '`env="CartPole-v1"`, an id of a task of the suite', "works", "its fast form, all columns at once"
)
def test_an_id_of_a_task() -> None:
    env = small("CartPole-v1").get_env()
    assert isinstance(env, BatchedVecEnv)
    assert isinstance(env.batched, BatchedEnv)
    assert isinstance(env.batched.task, CartPole)


@habit(
    "environments", "any other id of Gymnasium's, also `module:id`", "works", "slower: one environment for each column"
)
def test_any_other_id() -> None:
    model = small(register("Count", max_episode_steps=9)).learn(BATCH)
    assert model.env_steps == [BATCH, BATCH]
    assert isinstance(model.env.batched, ForeignEnv)  # type: ignore[union-attr]
    assert {episode["l"] for episode in model.ep_info_buffer} == {5}  # type: ignore[union-attr]
    named = small(f"tests.learner.habits:{register('Count')}").learn(BATCH)
    assert same_weights(model, named)


def _not_installed(**_: Any) -> Any:
    raise gymnasium.error.DependencyNotInstalled("Box3D is not installed, run `pip install box3d`")


@habit("environments", "an id whose package is not installed", "refused", "Gymnasium says what to install")
def test_an_id_whose_package_is_missing() -> None:
    with refused("pip install box3d"):
        small(register("NotInstalled", _not_installed))


@habit("environments", "an id that is not registered", "refused", "with the nearest one")
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("CartPole-v7", "CartPole-v"),
        ("Pendulm-v1", "Pendulum-v1"),
        ("cartpol", "cartpole"),
        ("weekly-exam", "weekly_exam"),
    ],
)
def test_an_id_that_does_not_exist(given: str, meant: str) -> None:
    with refused(f"{given}.*did you mean .*{meant}"):
        small(given)


@habit("environments", "an environment, such as `gym.make(…)`", "works", "each seed has copies; yours is never stepped")
def test_an_environment_is_copied() -> None:
    id = register("Limited", max_episode_steps=9)
    original = gymnasium.make(id)
    model = small(original).learn(2 * BATCH)
    assert original.unwrapped.played == 0  # type: ignore[attr-defined]
    by_id = small(id).learn(2 * BATCH)  # made anew for each column, with the same seeds
    assert same_weights(model, by_id)
    alone = small(original, seeds=[1]).learn(2 * BATCH)
    assert torch.equal(alone.policy.actor.stack.flat[0], model.policy.actor.stack.flat[1])


@habit("environments", "its attributes and wrappers", "works", "they are copied with it")
def test_what_was_set_on_it_is_copied() -> None:
    original = gymnasium.make(register("Limited", max_episode_steps=9))
    original.unwrapped.length = 3  # type: ignore[attr-defined]
    model = small(Monitor(gymnasium.wrappers.TransformReward(original, lambda _: 7.0))).learn(BATCH)
    assert {(episode["r"], episode["l"]) for episode in model.ep_info_buffer} == {(21.0, 3)}  # type: ignore[union-attr]


@habit(
    "environments", "one without `TimeLimit`, without `arm`", "differs", "the arm collects segments, not whole episodes"
)
def test_without_a_limit_segments_are_collected() -> None:
    assert PolicyGradient(env=Count()).arm.collect.name == "segments"
    limited = PolicyGradient(env=TimeLimit(Count(), 40))
    assert (limited.arm.collect.name, limited.batch_limit()) == ("episodes", limited.arm.n_envs * 40)


@habit("environments", "one without `TimeLimit`, with an arm of whole episodes", "refused", "they might never end")
def test_without_a_limit_episodes_are_refused() -> None:
    with refused("nothing limits its episodes.*TimeLimit.*collect=segments"):
        PolicyGradient(env=Count(), arm=bench.compose(["group.start=independent"]))
    with refused("group.start=shared with task=Count: its states cannot be copied"):
        PolicyGradient(env=TimeLimit(Count(), 40), arm=bench.compose())
    with refused("baseline=vine with task=Count: its states cannot be restored"):
        PolicyGradient(
            env=TimeLimit(Count(), 40), arm=bench.compose(["baseline=vine", "group.start=independent", "budget=1e6"])
        )


class Uncopyable(Count):
    """Holds what cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot pickle 'generator' object")


@habit("environments", "one that Python cannot copy", "works", "if Gymnasium can make it again; else refused")
def test_one_that_cannot_be_copied() -> None:
    made_again = gymnasium.make(register("Uncopyable", Uncopyable, max_episode_steps=9), first=2.0)
    first = FirstStep()
    small(made_again).learn(BATCH, callback=first)
    assert first.seen == [3.0] * 4
    with refused("Uncopyable.*needs a copy of its own.*cannot pickle 'generator' object.*register it"):
        small(Uncopyable())


@habit("environments", '`render_mode="human"`', "refused", "every copy would open a window; other modes work")
def test_windows_are_refused() -> None:
    windowed = Count()
    windowed.render_mode = "human"
    with refused("opens windows"):
        small(windowed)
    windowed.render_mode = "rgb_array"
    assert small(windowed).learn(BATCH).env_steps == [BATCH] * 2


@habit("environments", "`DummyVecEnv` of one environment", "works", "as that environment")
def test_a_vectorised_environment_of_one() -> None:
    assert small(DummyVecEnv([lambda: Count(4.0)]), seeds=3).learn(BATCH).n_envs == 6


@habit(
    "environments",
    "`DummyVecEnv` of several, `make_vec_env(…, n_envs=4)`",
    "differs",
    "each seed has copies of all four",
)
def test_each_seed_gets_all_environments() -> None:
    several = DummyVecEnv([lambda: Count(10.0), lambda: Count(20.0), lambda: Count(30.0)])
    first, settings = (
        FirstStep(),
        {name: value for name, value in SMALL.items() if name not in ("n_envs", "batch_size")},
    )
    model = PolicyGradient(env=several, seeds=2, **settings).learn(3 * 16, callback=first)
    assert first.seen == [11.0, 21.0, 31.0, 11.0, 21.0, 31.0]  # replica-major
    assert (model.arm.collect.n_envs, model.env_steps) == (3, [48, 48])
    assert PolicyGradient(env=make_vec_env("CartPole-v1", n_envs=4), **settings).arm.n_envs == 4


@habit("environments", "`DummyVecEnv` of another number than the arm's, or of different spaces", "refused")
def test_another_number_of_environments_is_refused() -> None:
    with refused(r"env: it has 4 environments for each seed, the arm 2 \(collect.n_envs\)"):
        small(make_vec_env("CartPole-v1", n_envs=4))
    with refused(r"env: it has 4 environments for each seed, the arm 16 \(group.groups times group.size\)"):
        PolicyGradient(env=make_vec_env("CartPole-v1", n_envs=4), arm=bench.compose(["group.start=independent"]))
    with refused("different spaces"):
        unlike = spaces.Box(-1.0, 1.0, (2,))
        small(DummyVecEnv([Count, lambda: Count(observation=unlike)]))


@habit(
    "environments", "`VecMonitor`", "works", "it is taken off: episodes are counted anyhow. With a file it is refused"
)
def test_a_monitor_is_taken_off(tmp_path: Path) -> None:
    assert small(VecMonitor(DummyVecEnv([Count]))).learn(BATCH).env_steps == [BATCH] * 2
    with refused("VecMonitor cannot be used: it writes a file"):
        small(VecMonitor(DummyVecEnv([Count]), str(tmp_path / "monitor")))


def _image() -> Count:
    return Count(observation=spaces.Box(0, 255, (36, 36, 3), np.uint8))


def _of_parts() -> Count:
    return Count(observation=spaces.Dict({"a": BOX}))


class Mine(VecEnvWrapper):
    """A wrapper of one's own."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


WRAPPED: dict[str, tuple[Callable[[], Any], str]] = {
    "VecNormalize": (lambda: VecNormalize(DummyVecEnv([Count])), "each seed has scales of its own; .*normalize=True"),
    "SubprocVecEnv": (lambda: object.__new__(SubprocVecEnv), "other processes"),  # which need not run for this
    "VecFrameStack": (lambda: VecFrameStack(DummyVecEnv([Count]), 2), "FrameStackObservation"),
    "VecTransposeImage": (lambda: VecTransposeImage(DummyVecEnv([_image])), "observations must be flat"),
    "VecExtractDictObs": (lambda: VecExtractDictObs(DummyVecEnv([_of_parts]), "a"), "FilterObservation"),
    "Mine": (lambda: Mine(DummyVecEnv([Count])), "give the environments that it wraps"),
    "VecCheckNan": (lambda: VecCheckNan(DummyVecEnv([Count])), "fails by itself"),
}


@habit("environments", "`VecNormalize`", "refused", "`normalize=True`: each seed has running scales of its own")
@habit("environments", "`SubprocVecEnv`", "refused", "its environments cannot be reached; give one of them")
@habit(
    "environments", "`VecFrameStack`, `VecExtractDictObs`", "refused", "Gymnasium's wrappers do it in each environment"
)
@habit("environments", "`VecCheckNan`, `VecTransposeImage`, any other wrapper", "refused", "the message says why")
@pytest.mark.parametrize("kind", WRAPPED)
def test_other_vectorised_environments_are_refused(kind: str) -> None:
    make, why = WRAPPED[kind]
    with refused(f"{kind} cannot be used: .*{why}"):
        small(make())


@habit("environments", "`gym.make_vec(…)`, a class, a function that makes one", "refused", "give one environment")
@pytest.mark.parametrize(
    "given",
    [lambda: Count(), Count, 7, gymnasium.make_vec("CartPole-v1", num_envs=2)],
    ids=["a function", "a class", "a number", "a vector"],
)
def test_what_is_no_environment_is_refused(given: object) -> None:
    with refused("env=.*must be the id of a task or of Gymnasium, an environment of Gymnasium's, or a DummyVecEnv"):
        small(given)


@habit("environments", "Discrete or Box actions, observations in a flat Box, also without bounds", "works")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("action", [spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float64), BOX], ids=str)
def test_spaces(action: Any, dtype: Any) -> None:
    env = Count(observation=spaces.Box(-np.inf, np.inf, (3,), dtype), action=action)
    model = small(env).learn(BATCH)
    actions, _ = model.predict(np.zeros((4, 3), dtype))
    assert all(action.contains(one) for one in actions)
    assert np.asarray(actions).dtype == action.dtype


@habit("environments", "actions in MultiDiscrete, MultiBinary, whole numbers, or without bounds", "refused")
@pytest.mark.parametrize(
    "action",
    [
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Discrete(3, start=1),
        spaces.Box(0, 5, (2,), np.int64),
        spaces.Box(-np.inf, np.inf, (2,), np.float32),
        spaces.Box(-1, 1, (2, 2), np.float32),
        spaces.Dict({"a": spaces.Discrete(2)}),
    ],
    ids=str,
)
def test_other_actions_are_refused(action: Any) -> None:
    with refused("env=Count: actions are .*must be Discrete from 0 or a flat Box"):
        small(Count(action=action))


@habit(
    "environments", "observations in Discrete, Dict, Tuple, MultiBinary, or images", "refused", "`FlattenObservation`"
)
@pytest.mark.parametrize(
    "observation",
    [
        spaces.Discrete(4),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Dict({"a": BOX, "b": spaces.Discrete(3)}),
        spaces.Tuple((spaces.Discrete(2), BOX)),
        spaces.Box(0, 255, (8, 8, 3), np.uint8),
    ],
    ids=["Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple", "image"],
)
def test_other_observations_are_refused(observation: Any) -> None:
    with refused("env=Count: observations are .*FlattenObservation"):
        small(Count(observation=observation))
    flat = FlattenObservation(Count(observation=observation))  # as the message says
    assert small(flat).learn(BATCH).env_steps == [BATCH] * 2


@habit("environments", "`check_env` on the suite's worlds", "works", "they are registered with Gymnasium")
@pytest.mark.parametrize("id", [id for id in GYMNASIUM_TASKS if id.startswith("bench/")])
@pytest.mark.filterwarnings("error")
def test_the_worlds_pass_the_checker(id: str) -> None:
    check_env(gymnasium.make(id).unwrapped)


@habit("environments", "`get_env()`", "differs", "a `BatchedVecEnv`, replica-major; `get_vec_normalize_env()` is None")
def test_what_the_model_trains_in() -> None:
    model = small("CartPole-v1", seeds=3)
    env = model.get_env()
    assert isinstance(env, BatchedVecEnv)
    assert (env.num_envs, model.n_envs, env.reset().shape) == (6, 6, (6, 4))
    assert model.get_vec_normalize_env() is None


@habit("environments", "`set_env(…)`", "works", "as in the constructor; the next `learn` begins there")
def test_set_env() -> None:
    model = small(Count(), seeds=2).learn(BATCH)
    other = Count(50.0)
    model.set_env(other)
    first = FirstStep()
    model.learn(BATCH, reset_num_timesteps=False, callback=first)
    assert first.seen == [51.0] * 4
    assert model.num_timesteps == 2 * BATCH
    model.set_env(DummyVecEnv([lambda: Count(1.0), lambda: Count(2.0)]))
    model.learn(BATCH, callback=first)
    assert first.seen == [51.0] * 4, "it counts calls over all of its life"
    assert model.num_timesteps == BATCH


@habit("environments", "`set_env(model.get_env(), force_reset=False)`", "works", "goes on in the same episodes")
def test_keeping_the_environment() -> None:
    whole = small(Count(), seeds=2).learn(2 * BATCH)
    model = small(Count(), seeds=2).learn(BATCH)
    model.set_env(model.get_env(), force_reset=False)  # type: ignore[arg-type]
    model.learn(BATCH, reset_num_timesteps=False)
    assert same_weights(whole, model)
    with refused("force_reset=False: other environments can only begin anew"):
        model.set_env(Count(), force_reset=False)


@habit(
    "environments", "`set_env` with other spaces or another number", "refused", "for spaces with a `ValueError`, as SB3"
)
def test_set_env_of_another_kind() -> None:
    model = small(Count(), seeds=2).learn(BATCH)
    weights = model.policy.actor.stack.flat.clone()
    with refused("Action spaces do not match: the model's is Discrete", ValueError):
        model.set_env(Count(action=BOX))
    with refused("it has 3 environments for each seed, the arm 2"):
        model.set_env(DummyVecEnv([Count] * 3))
    with refused("set_env"):
        model.set_env(None)  # type: ignore[arg-type]
    model.learn(BATCH, reset_num_timesteps=False)
    assert not torch.equal(weights, model.policy.actor.stack.flat), "it goes on where it was"


def test_the_limit_is_the_tightest_of_the_wrappers() -> None:
    assert limit_of(Count()) is None
    assert limit_of(TimeLimit(TimeLimit(Count(), 7), 9)) == 7


def test_a_batched_environment_says_which_seeds_there_are() -> None:
    env = BatchedVecEnv(BatchedEnv(CartPole(), [3, 8], 4))
    model = PolicyGradient(env=env)
    assert (model.seeds, model.arm.collect.n_envs) == ((3, 8), 4)
    with refused(r"its seeds are \(3, 8\), the model's are \(0, 1\)"):
        PolicyGradient(env=env, seeds=2)
