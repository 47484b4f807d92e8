"""Copies, parameters and files, as Stable-Baselines3's users know them."""

import copy
import dataclasses
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv

import bench
from bench.learner import PolicyGradient
from bench.learner.spaces import space_from_json, space_to_json
from tests.learner.habits import BATCH, Count, habit, refused, small
from tests.learner.probes import Matching, learner, settings

SAVED = Path(__file__).parent / "saved" / "cartpole.zip"  # by the version before infinite bounds were read
SEEN = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)


def parameters(model: PolicyGradient) -> dict[str, torch.Tensor]:
    """Copies of everything that learning changes."""
    return {
        f"{part}.{name}": value.clone()
        for part, values in model.policy.weights().items()
        for name, value in values.items()
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


KINDS: dict[str, Callable[[], PolicyGradient]] = {
    "that has not learned": lambda: small(),
    "that has": lambda: small().learn(2 * BATCH),
    "with a log": lambda: small(verbose=1).learn(BATCH),
    "with scales": lambda: small("Pendulum-v1", normalize=True).learn(BATCH),
    "with held noise": lambda: small("Pendulum-v1", use_sde=True).learn(BATCH),
    "with a reference": lambda: small(arm=bench.compose(["reference=initial", "task=cartpole"])).learn(BATCH),
    "in copied environments": lambda: small(Count(observation=spaces.Box(-np.inf, np.inf, (4,)))).learn(BATCH),
    "of whole episodes": lambda: learner(Matching(steps=4), settings("hidden=[32]"), [0, 1]).learn(BATCH),
}
COPY: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@habit(
    "copies and files",
    "`copy.deepcopy(model)`",
    "works",
    "it goes on by itself, from where the model is; it has no open logs",
)
@habit(
    "copies and files",
    "`pickle`, `multiprocessing`",
    "works",
    "as a copy. Only unpickle what is yours: `load` is safe, pickle is not",
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", COPY)
def test_a_copy_learns_by_itself(way: str, kind: str) -> None:
    """It does what the model would have done, bit for bit, and neither changes the other."""
    model = KINDS[kind]()
    other = COPY[way](model)
    before = parameters(model)
    assert same(parameters(other), before)
    other.learn(2 * BATCH, reset_num_timesteps=False)
    after = parameters(other)
    assert same(parameters(model), before), "the model has not moved"
    assert not same(after, before), "the copy has"
    for name, value in other.get_parameters()["policy"].items():
        assert torch.equal(value, other.policy.networks()[name.partition("_")[0]].stack.flat), "they are its own"
    model.learn(2 * BATCH, reset_num_timesteps=False)
    assert same(parameters(model), after)
    assert same(parameters(other), after)
    assert other.num_timesteps == model.num_timesteps


def test_a_copy_of_a_copy() -> None:
    model = small().learn(BATCH)
    again = copy.deepcopy(pickle.loads(pickle.dumps(copy.deepcopy(model))))
    assert same(parameters(again.learn(BATCH)), parameters(model.learn(BATCH)))
    assert (again.replica(1).predict(SEEN)[0].shape, again.latest) == ((4,), model.latest)


def test_a_policy_can_be_copied_alone() -> None:
    policy = small("Pendulum-v1", use_sde=True).learn(BATCH).policy
    for other in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        seen = SEEN[:, :3]
        assert (other.predict(seen, deterministic=True)[0] == policy.predict(seen, deterministic=True)[0]).all()
        other.actor.stack.flat.zero_()
        assert not other.state_dict()["actor_parameters"].any()
        assert policy.state_dict()["actor_parameters"].any()


# --- parameters


@habit(
    "copies and files",
    "`set_parameters(model.get_parameters())`",
    "works",
    "networks, both optimisers and the running scales, of all seeds",
)
def test_parameters_go_from_model_to_model() -> None:
    one, other = small("Pendulum-v1", normalize=True).learn(4 * BATCH), small("Pendulum-v1", normalize=True)
    given = one.get_parameters()
    assert list(given) == [
        "policy", "policy.optimizer", "policy.critic_optimizer", "policy.obs_rms", "policy.reward_scale",
    ]  # fmt: skip
    other.set_parameters(copy.deepcopy(given))
    assert same(parameters(one), parameters(other))
    seen = SEEN[:, :3]
    assert (one.predict(seen, deterministic=True)[0] == other.predict(seen, deterministic=True)[0]).all()
    without = PolicyGradient(env="CartPole-v1", arm=bench.compose(["preset=reinforce", "task=cartpole"]))
    assert list(without.get_parameters()) == ["policy", "policy.optimizer"]


@habit(
    "copies and files",
    "`get_parameters()`",
    "differs",
    "a row for each seed; like SB3's, they are the model's own: copy them to keep them",
)
def test_parameters_have_a_row_for_each_seed() -> None:
    model = small(seeds=3)
    shapes = {name: tuple(value.shape) for name, value in model.get_parameters()["policy"].items()}
    actor, critic = 4 * 8 + 8 + 8 * 2 + 2, 4 * 8 + 8 + 8 + 1
    assert shapes == {"actor_parameters": (3, actor), "critic_parameters": (3, critic)}
    model.get_parameters()["policy"]["actor_parameters"].zero_()
    assert not model.policy.actor.stack.flat.any()


@habit(
    "copies and files",
    "`set_parameters` with a part too many, or without one",
    "refused",
    "by SB3; `exact_match=False` takes what there is",
)
def test_other_parameters_are_refused() -> None:
    model = small("Pendulum-v1", normalize=True).learn(BATCH)
    whole = copy.deepcopy(model.get_parameters())
    before = parameters(model)
    with pytest.raises(ValueError, match="nothing is an invalid object name"):
        model.set_parameters(whole | {"nothing": {}})
    with pytest.raises(ValueError, match="Names of parameters do not match"):
        model.set_parameters({name: part for name, part in whole.items() if name != "policy.obs_rms"})
    for part, values in whole.items():
        lacking = {name: dict(each) for name, each in whole.items()}
        missing = list(values)[-1]
        del lacking[part][missing]
        with pytest.raises((RuntimeError, KeyError), match=missing):
            model.set_parameters(lacking)
        model.set_parameters(lacking, exact_match=False)
    assert same(parameters(model), before)


def test_some_parameters_are_taken_and_others_stay() -> None:
    model = small("Pendulum-v1", normalize=True).learn(BATCH)
    before = parameters(model)
    model.set_parameters(
        {"policy": {"actor_parameters": torch.zeros_like(before["actor.parameters"])},
         "policy.obs_rms": {"mean": torch.full_like(before["observations.mean"], 5.0)}},
        exact_match=False,
    )  # fmt: skip
    after = parameters(model)
    assert not after["actor.parameters"].any()
    assert (after["observations.mean"] == 5).all()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"actor.parameters", "observations.mean"}


@habit("copies and files", "`set_parameters(path)`", "works", "of a file of the same seeds and networks")
def test_parameters_from_a_file(tmp_path: Path) -> None:
    one, other = small().learn(BATCH), small()
    one.save(tmp_path / "one")
    other.set_parameters(tmp_path / "one")  # type: ignore[arg-type]
    assert same(parameters(one), parameters(other))
    with refused(r"its seeds are \[0, 1\], the model's \[0, 1, 2\]"):
        small(seeds=3).set_parameters(tmp_path / "one")  # type: ignore[arg-type]
    with refused("is not a saved model"):
        small(policy_kwargs={"net_arch": [9]}).set_parameters(tmp_path / "one")  # type: ignore[arg-type]


@habit(
    "copies and files",
    "`model.policy.parameters()`, `.state_dict()`",
    "differs",
    "stacked, of all seeds; without autograd (`requires_grad` is False)",
)
def test_parameters_of_the_policy() -> None:
    model = small(seeds=3)
    assert sum(each.numel() for each in model.policy.parameters()) == 3 * (58 + 49)
    assert not any(each.requires_grad for each in model.policy.parameters())


@habit(
    "copies and files",
    "`policy.predict_values`, `.evaluate_actions`, `.get_distribution`, …",
    "refused",
    "an `AttributeError`: `replica(i).policy` has them",
)
@pytest.mark.parametrize("name", ["predict_values", "evaluate_actions", "get_distribution", "mlp_extractor"])
def test_what_a_stack_of_policies_has_not(name: str) -> None:
    model = small()
    if name != "mlp_extractor":  # which SB3's policies have from their making on
        with pytest.raises(AttributeError, match=rf"policy\.{name}: .*replica\(i\)\.policy has"):
            getattr(model.policy, name)
    with refused(r"policy\(…\): .*model\.replica\(i\)\.policy returns values too"):
        model.policy(torch.zeros(2, 4))
    assert hasattr(model.replica(0).policy, name)
    assert not hasattr(model.policy, "no_such_thing")


@habit("copies and files", "`policy.save`, `policy.load`", "refused", "`model.save` writes no code")
def test_a_policy_is_not_saved_alone(tmp_path: Path) -> None:
    with refused(r"policy\.save\(.*\): use model\.save"):
        small().policy.save(str(tmp_path / "policy"))
    with refused(r"policy\.load\(.*\): use PolicyGradient\.load"):
        small().policy.load(str(tmp_path / "policy"))


@habit("copies and files", "`model.replica(i)`", "works", "a stock `PPO` of one seed; another number is refused")
@pytest.mark.parametrize("index", [2, 5, -1, 1.0, "0", None, True])
def test_a_replica_out_of_range(index: Any) -> None:
    model = small()
    assert type(model.replica(np.int64(1))) is PPO  # type: ignore[arg-type]
    with refused(rf"replica {index}: must be from 0 to 1; the seeds are \[0, 1\]"):
        model.replica(index)
    with refused("must be from 0 to 1"):
        model.replica_normalisation(index, make_vec_env("CartPole-v1"))


# --- files


@habit(
    "copies and files",
    '`save("folder/model")`, `load("folder/model")`',
    "works",
    "`.zip` is added, folders are made, an older file is replaced in one step",
)
def test_paths(tmp_path: Path) -> None:
    model = small().learn(BATCH)
    for path in (tmp_path / "a" / "b" / "model", str(tmp_path / "model"), tmp_path / "model.v1"):
        model.save(path)
        assert same(parameters(PolicyGradient.load(path)), parameters(model))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "model.v1", "model.zip"]
    small(seeds=3).save(tmp_path / "model")
    assert PolicyGradient.load(tmp_path / "model").seeds == (0, 1, 2)


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small().save(tmp_path / "model")
    before, write = (tmp_path / "model.zip").read_bytes(), Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        small(seeds=3).save(tmp_path / "model")
    assert (tmp_path / "model.zip").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]

    def elsewhere(path: Path, data: bytes) -> int:
        assert path.name != "model.zip", "nobody writes into the file itself"
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", elsewhere)
    small(seeds=3).save(tmp_path / "model")
    assert PolicyGradient.load(tmp_path / "model").seeds == (0, 1, 2)


@habit("copies and files", "`save` and `load` with an open file, or `io.BytesIO`", "works")
def test_open_files(tmp_path: Path) -> None:
    model, memory = small().learn(BATCH), io.BytesIO()
    model.save(memory)
    memory.seek(0)
    assert same(parameters(PolicyGradient.load(memory)), parameters(model))
    with (tmp_path / "model.zip").open("wb") as file:
        model.save(file)
    with (tmp_path / "model.zip").open("rb") as file:
        assert same(parameters(PolicyGradient.load(file, env="CartPole-v1").learn(BATCH)), parameters(
            PolicyGradient.load(memory, env="CartPole-v1").learn(BATCH)
        ))  # fmt: skip


@habit("copies and files", "`load(path)` without an environment", "works", "it predicts; it learns after `set_env`")
def test_loading_without_environments(tmp_path: Path) -> None:
    model = small().learn(BATCH)
    model.save(tmp_path / "model")
    loaded = PolicyGradient.load(tmp_path / "model")
    assert (loaded.predict(SEEN, deterministic=True)[0] == model.predict(SEEN, deterministic=True)[0]).all()
    assert loaded.get_env() is None
    loaded.set_env("CartPole-v1")  # type: ignore[arg-type]
    assert loaded.learn(BATCH, reset_num_timesteps=False).num_timesteps == 2 * BATCH


GIVEN: dict[str, Callable[[], Any]] = {
    "id": lambda: "CartPole-v1",
    "environment": lambda: gymnasium.make("CartPole-v1"),
    "vectorised": lambda: make_vec_env("CartPole-v1", n_envs=2),
}


@habit(
    "copies and files",
    "`load(path, env=…)`",
    "works",
    "an id, an environment, a `DummyVecEnv`; also where bounds are infinite",
)
@pytest.mark.parametrize("kind", GIVEN)
def test_loading_with_environments(kind: str, tmp_path: Path) -> None:
    small().learn(BATCH).save(tmp_path / "model")
    loaded = PolicyGradient.load(tmp_path / "model", env=GIVEN[kind]())
    before = parameters(loaded)
    assert loaded.observation_space == gymnasium.make("CartPole-v1").observation_space
    assert loaded.learn(BATCH, reset_num_timesteps=False).env_steps == [2 * BATCH] * 2
    assert not same(before, parameters(loaded))


@habit(
    "copies and files",
    "`load` with an environment of other spaces, or of another number",
    "refused",
    "for spaces with a `ValueError`, as SB3",
)
def test_loading_with_other_environments(tmp_path: Path) -> None:
    small().save(tmp_path / "model")
    with refused("Observation spaces do not match: the model's is Box", ValueError):
        PolicyGradient.load(tmp_path / "model", env="Pendulum-v1")
    wide = Count(observation=spaces.Box(-np.inf, np.inf, (50,)))  # whose text takes several lines
    with refused("Observation spaces do not match"):
        PolicyGradient.load(tmp_path / "model", env=wide)
    other = Count(observation=small().observation_space, action=spaces.Discrete(3))
    with refused("Action spaces do not match", ValueError):
        PolicyGradient.load(tmp_path / "model", env=other)
    with refused("it has 3 environments for each seed, the arm 2"):
        PolicyGradient.load(tmp_path / "model", env=DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * 3))
    with refused("unknown Gymnasium id 'CartPole-v9'"):
        PolicyGradient.load(tmp_path / "model", env="CartPole-v9")


@habit("copies and files", "files of earlier versions", "works")
@pytest.mark.parametrize("env", [None, "CartPole-v1"])
def test_a_file_of_an_earlier_version(env: str | None) -> None:
    """The probabilities of action 1 are those that version printed."""
    model = PolicyGradient.load(SAVED, env=env)
    observations = np.array([[0.1, -0.4, 0.02, 0.3], [-0.2, 0.5, -0.05, -0.8]], np.float32)
    with torch.no_grad():
        found = model.policy.acting().probabilities(observations.T)[:, :, 1]
    assert found.ravel() == pytest.approx([0.4959449, 0.4917875, 0.5164351, 0.4780650], abs=1e-6)
    assert (model.seeds, model.env_steps) == ((3, 8), [320, 320])
    if env is not None:
        assert model.learn(64, reset_num_timesteps=False).env_steps == [384, 384]


def test_a_policy_of_cartpole_can_be_a_reference() -> None:
    held = ["reference=checkpoint", f"reference.path={SAVED}", "reference.coef=0.1", "seeds=[3,8]"]
    arm = bench.compose(["task=cartpole", *held])
    model = PolicyGradient(env="CartPole-v1", arm=arm, seeds=[3, 8], n_envs=2, n_steps=16).learn(32)
    assert all(row["train/reference_kl"] > 0 for row in model.latest)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bounds_survive(dtype: Any) -> None:
    largest = np.finfo(dtype).max
    for low, high in (
        ([-np.inf] * 3, [np.inf] * 3),
        ([-1, -np.inf, 0], [1, np.inf, 0.5]),
        ([-largest] * 2, [largest] * 2),
        ([-largest, -np.inf], [np.inf, largest]),
    ):
        space = spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)
        text = json.dumps(space_to_json(space), allow_nan=False)
        assert space_from_json(json.loads(text)) == space


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Discrete(2, start=1), spaces.Box(0, 255, (3,), np.uint8)])
def test_other_spaces_survive(space: Any) -> None:
    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space


def test_bounds_of_earlier_versions_are_infinite() -> None:
    written = {
        "type": "Box",
        "dtype": "float32",
        "low": [-3.4028234663852886e38, -1],
        "high": [3.4028234663852886e38, 1],
    }
    assert space_from_json(written) == spaces.Box(np.array([-np.inf, -1]), np.array([np.inf, 1]), dtype=np.float32)
    wide = {"type": "Box", "dtype": "float64", "low": [-1.7976931348623157e308], "high": [1.7976931348623157e308]}
    assert space_from_json(wide) == spaces.Box(-np.inf, np.inf, (1,), np.float64)


@habit(
    "copies and files",
    "`load(path, learning_rate=…)`, and other settings",
    "works",
    "for what it learns on; networks, scales and seeds are the file's",
)
def test_loading_with_other_settings(tmp_path: Path) -> None:
    small().learn(BATCH).save(tmp_path / "model")
    loaded = PolicyGradient.load(tmp_path / "model", env="CartPole-v1", learning_rate=1e-5, n_steps=8, batch_size=8)
    assert (loaded.learning_rate, loaded.arm.batch_limit(500), loaded.arm.update.minibatches) == (1e-5, 16, 2)
    assert loaded.learn(16).env_steps == [16, 16]
    four = PolicyGradient.load(tmp_path / "model", env=make_vec_env("CartPole-v1", n_envs=4), n_envs=4)
    assert four.learn(64).env_steps == [64, 64]
    with refused(r"hidden=\(9,\): the saved model has \(8,\), and its weights belong to it"):
        PolicyGradient.load(tmp_path / "model", policy_kwargs={"net_arch": [9]})
    with refused("seed=5: the seeds of a saved model are its own"):
        PolicyGradient.load(tmp_path / "model", seed=5)
    with refused("no argument 'foo'"):
        PolicyGradient.load(tmp_path / "model", foo=5)


def test_other_numbers_of_environments_with_scales(tmp_path: Path) -> None:
    small("Pendulum-v1", normalize=True).learn(BATCH).save(tmp_path / "model")
    loaded = PolicyGradient.load(tmp_path / "model", env="Pendulum-v1", n_envs=4)
    assert loaded.learn(64).env_steps == [64, 64]


@habit(
    "copies and files",
    "`load(…, custom_objects=…)`, `save(…, exclude=…)`, `include=`",
    "refused",
    "nothing is unpickled, and a file is always whole",
)
def test_filters_are_refused(tmp_path: Path) -> None:
    model = small()
    for name in ("exclude", "include"):
        with refused(rf"{name}=\['verbose'\]: a saved model is always whole"):
            model.save(tmp_path / "model", **{name: ["verbose"]})
    model.save(tmp_path / "model", exclude=None, include=[])
    with refused(r"custom_objects: nothing in the file is unpickled; give settings as load\(…, learning_rate=…\)"):
        PolicyGradient.load(tmp_path / "model", custom_objects={"learning_rate": 0.0, "lr_schedule": lambda _: 0.0})
    assert PolicyGradient.load(tmp_path / "model", custom_objects={}).seeds == (0, 1)


@habit(
    "copies and files",
    '`load(…, device="auto", print_system_info=True)`, `verbose=`, `tensorboard_log=`',
    "works",
    "the last two are not saved",
)
def test_other_arguments_of_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small(verbose=1).save(tmp_path / "model")
    loaded = PolicyGradient.load(tmp_path / "model", None, "auto", None, True, tensorboard_log="runs")
    assert (loaded.device.type, loaded.verbose, loaded.tensorboard_log) == ("cpu", 0, "runs")
    assert "Stable-Baselines3: " in capsys.readouterr().out
    assert PolicyGradient.load(tmp_path / "model", verbose=2).verbose == 2


@habit(
    "copies and files", "`load(…, force_reset=False)`", "refused", "environments begin anew; `resume` goes on exactly"
)
def test_loading_without_a_reset(tmp_path: Path) -> None:
    small().save(tmp_path / "model")
    with refused("force_reset=False: a file holds no environments"):
        PolicyGradient.load(tmp_path / "model", force_reset=False)


@habit(
    "copies and files",
    "a file of SB3's own, a damaged one, none at all",
    "refused",
    "and `PPO.load` refuses a file of the suite",
)
def test_other_files(tmp_path: Path) -> None:
    small().replica(0).save(tmp_path / "stock")
    with refused("stock.zip is not a saved model.*files of Stable-Baselines3's own classes are loaded by these"):
        PolicyGradient.load(tmp_path / "stock")
    with refused("none.zip is not a saved model.*No such file"):
        PolicyGradient.load(tmp_path / "none")
    with refused("is not a saved model"):
        PolicyGradient.load(io.BytesIO(b"nothing"))
    small().save(tmp_path / "ours")
    with pytest.raises(AssertionError, match="No data found"):
        PPO.load(tmp_path / "ours")
    with zipfile.ZipFile(tmp_path / "ours.zip") as archive:
        description = json.loads(archive.read("model.json"))
    assert description["seeds"] == [0, 1]


@habit(
    "copies and files",
    "what a file keeps",
    "differs",
    "arm, seeds, steps, weights, optimisers, scales; not `verbose`, the log, or the place in an episode",
)
def test_what_a_file_keeps(tmp_path: Path) -> None:
    model = small("Pendulum-v1", normalize=True, verbose=0).learn(4 * BATCH)
    model.save(tmp_path / "model")
    loaded = PolicyGradient.load(tmp_path / "model")
    assert same(parameters(loaded), parameters(model))
    assert (loaded.seeds, loaded.env_steps, loaded.updates, loaded.num_timesteps) == ((0, 1), [128] * 2, [4] * 2, 128)
    assert {name: getattr(loaded.arm, name) for name in ("hidden", "norm_obs", "learning_rate", "collect")} == {
        name: getattr(model.arm, name) for name in ("hidden", "norm_obs", "learning_rate", "collect")
    }
    assert dataclasses.is_dataclass(loaded.arm)
