"""What Stable-Baselines3's constructors take, and what it is here."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import LinearSchedule

import bench
from bench.config.schema import Arm
from bench.errors import RunWarning
from bench.learner import PolicyGradient
from bench.learner.sb3_settings import ARGUMENTS, POLICY_KWARGS, applied
from tests.learner.habits import BATCH, SMALL, Count, habit, refused, small

Keys = Mapping[str, Any]
SEGMENTS = {"collect.name": "segments", "collect.n_envs": 8, "collect.n_steps": 128}  # 1,024 steps

# Argument → value → the keys of the arm, or the line that refuses it.
CASES: Mapping[str, list[tuple[Any, Keys | str]]] = {
    "n_envs": [(4, {**SEGMENTS, "collect.n_envs": 4}), (0, "n_envs=0: collect=segments needs at least 1")],
    "n_steps": [
        (32, {**SEGMENTS, "collect.n_steps": 32}),
        (np.int64(32), {**SEGMENTS, "collect.n_steps": 32}),
        (2.5, "n_steps=2.5: must be a whole number"),
        (0, "n_steps=0: collect=segments needs at least 1"),
    ],
    "batch_size": [(64, "batch_size=64: batches of complete episodes differ in size.*batch.minibatches")],
    "n_epochs": [(3, {"update.epochs": 3, "critic.epochs": 3}), (0, "update.epochs=0: must be greater than 0")],
    "learning_rate": [
        (3e-4, {"learning_rate": 3e-4, "critic.learning_rate": 3e-4, "learning_rate_schedule": "constant"}),
        (-1, "^learning_rate=-1.0: must be greater than 0$"),
        (None, "^learning_rate=null: must be a number$"),
        (True, "^learning_rate=true: must be a number$"),
        (float("nan"), "^learning_rate=nan: must be finite$"),
        ("fast", "learning_rate='fast': must be a number, a function, or a text such as 'lin_0.001'"),
    ],
    "gamma": [(0.9, {"gamma": 0.9}), (1.5, r"^gamma=1.5: must lie in \[0, 1\]$")],
    "gae_lambda": [(0.8, {"gae_lambda": 0.8, "critic.gae_lambda": 0.8}), (-1, "^gae_lambda=-1.0: must lie in")],
    "clip_range": [(0.1, {"clip_range": 0.1, "clip_range_schedule": "constant"}), (-0.2, "^clip_range=-0.2: must be")],
    "clip_range_vf": [(None, {}), (0.2, "clip_range_vf=0.2: the critic's loss is not clipped")],
    "normalize_advantage": [
        (True, {"advantage_norm": "mean_std"}),
        (False, {"advantage_norm": "none"}),
        ("rms", "normalize_advantage='rms': must be True or False"),
    ],
    "ent_coef": [(0.01, {"ent_coef": 0.01}), ("auto", "^ent_coef=auto: must be a number$")],
    "vf_coef": [
        (0.25, {"critic.vf_coef": 0.25}),
        (0, {"critic.vf_coef": 0.0}),
        (-1, "^vf_coef=-1.0: must be at least 0$"),
    ],
    "max_grad_norm": [
        (1.0, {"max_grad_norm": 1.0, "critic.max_grad_norm": 1.0}),
        (float("inf"), {"max_grad_norm": None, "critic.max_grad_norm": None}),
        (0, "^max_grad_norm=0.0: must be greater than 0$"),
    ],
    "use_sde": [(True, {"exploration.name": "sde"}), (False, {"exploration.name": "gaussian"}), (1, "must be True or")],
    "sde_sample_freq": [
        (-1, {"exploration.sample_freq": None}),
        (4, "exploration.sample_freq=4 with exploration=gaussian"),
    ],
    "target_kl": [(None, {}), (0.01, "target_kl=0.01: no epoch is left out; update=kl_penalty holds a divergence")],
    "policy_kwargs": [
        (None, {}),
        ({"net_arch": [32]}, {"hidden": (32,)}),
        ("dict(net_arch=[64])", "policy_kwargs='dict.*': must be a dict; rl-zoo's files have its text"),
    ],
    "rollout_buffer_class": [(None, {}), (dict, "rollout_buffer_class=.*: there is no rollout buffer")],
    "rollout_buffer_kwargs": [(None, {}), ({}, {}), ({"a": 1}, "there is no rollout buffer")],
    "seed": [(None, {}), (7, {})],
    "normalize": [
        (True, {"norm_obs": True, "norm_reward": True}),
        ({"norm_obs": True}, {"norm_obs": True, "norm_reward": False}),
        ("dict(norm_obs=True)", "normalize='dict.*': must be True, False, or a dict of norm_obs and norm_reward"),
    ],
    "n_timesteps": [(1e5, r"n_timesteps=100000.0: give it to learn \(rl-zoo\)")],
    "use_rms_prop": [(False, {}), (True, r"use_rms_prop=True: the optimiser is Adam \(A2C\)")],
    "rms_prop_eps": [(1e-5, {}), (1e-8, r"rms_prop_eps=1e-08: the optimiser is Adam \(A2C\)")],
}
POLICY_CASES: Mapping[str, list[tuple[Any, Keys | str]]] = {
    "net_arch": [
        ([32, 16], {"hidden": (32, 16), "policy": "mlp"}),
        ({"pi": [32], "vf": [32]}, {"hidden": (32,), "policy": "mlp"}),
        ([{"pi": [32], "vf": [32]}], {"hidden": (32,), "policy": "mlp"}),  # as in earlier versions of SB3
        ({"pi": [], "vf": [32]}, {"hidden": (32,), "policy": "linear"}),
        ({"pi": [32], "vf": [64]}, "net_arch={.*}: actor and critic have the same widths"),
        ([], "hidden=.*: must have at least one width; policy=linear"),
        (64, "policy_kwargs.net_arch=64: must be a list of widths"),
        ([0], "hidden=0: must be greater than 0"),
    ],
    "log_std_init": [(-1.0, {"exploration.log_std_init": -1.0})],
    "activation_fn": [(torch.nn.Tanh, {}), (torch.nn.ReLU, "activation_fn=.*ReLU.*: hidden layers are tanh")],
    "ortho_init": [(True, {}), (False, "policy_kwargs.ortho_init=False: weights begin orthogonal")],
    "optimizer_class": [(torch.optim.Adam, {}), (torch.optim.SGD, "the optimiser is Adam")],
    "optimizer_kwargs": [({"eps": 1e-5}, {}), ({"eps": 1e-8}, "Adam's eps is 1e-5")],
    "features_extractor_class": [(FlattenExtractor, {}), (dict, "observations are flat already")],
    "features_extractor_kwargs": [({}, {}), ({"features_dim": 3}, "observations are flat already")],
    "share_features_extractor": [(True, {}), (False, {})],
    "normalize_images": [(True, {}), (False, {})],
    "squash_output": [(False, {}), (True, "actions are clipped to their bounds")],
    "full_std": [(True, {}), (False, "state-dependent noise has a matrix")],
    "use_expln": [(False, {}), (True, r"standard deviations are exp\(log_std\)")],
}


def value(arm: Arm, key: str) -> Any:
    found: Any = arm
    for part in key.split("."):
        found = getattr(found, part)
    return found


def differences(one: Any, other: Any, prefix: str = "") -> dict[str, Any]:
    """The keys whose values differ, with those of `other`."""
    found = {}
    for name, mine in vars(one).items():
        theirs = getattr(other, name)
        if hasattr(mine, "__dataclass_fields__"):
            found |= differences(mine, theirs, f"{prefix}{name}.")
        elif mine != theirs:
            found[prefix + name] = theirs
    return found


CASE = [(name, given, expected) for name, cases in CASES.items() for given, expected in cases]
POLICY_CASE = [(name, given, expected) for name, cases in POLICY_CASES.items() for given, expected in cases]


def test_every_argument_has_a_case() -> None:
    assert CASES.keys() == ARGUMENTS.keys()
    assert POLICY_CASES.keys() == POLICY_KWARGS.keys()


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_every_argument_of_theirs_is_known(algorithm: type[Any]) -> None:
    """What is not in the table is a parameter by the same name."""
    theirs = algorithm.__init__.__code__.co_varnames[: algorithm.__init__.__code__.co_argcount]
    own = PolicyGradient.__init__.__code__.co_varnames[: PolicyGradient.__init__.__code__.co_argcount]
    assert set(theirs) <= {*ARGUMENTS, *own}


@habit("constructor", "the arguments of PPO and A2C", "works", "as settings of the arm, or they are refused: see below")
@pytest.mark.parametrize(("name", "given", "expected"), CASE, ids=[f"{name}-{given}" for name, given, _ in CASE])
def test_arguments(name: str, given: Any, expected: Keys | str) -> None:
    before = bench.compose()
    if isinstance(expected, str):
        with refused(expected):
            applied(before, {name: given})
        return
    after = applied(before, {name: given})
    assert differences(before, after).keys() <= expected.keys(), "and nothing else"
    assert {key: value(after, key) for key in expected} == expected


@habit(
    "constructor",
    "`policy_kwargs=dict(net_arch=…)`",
    "works",
    "its other entries are accepted where they ask for what there is",
)
@pytest.mark.parametrize(("name", "given", "expected"), POLICY_CASE, ids=[f"{n}-{g}" for n, g, _ in POLICY_CASE])
def test_entries_of_policy_kwargs(name: str, given: Any, expected: Keys | str) -> None:
    before = bench.compose(["task=pendulum"])
    if isinstance(expected, str):
        with refused(expected):
            applied(before, {"policy_kwargs": {name: given}})
        return
    after = applied(before, {"policy_kwargs": {name: given}})
    assert differences(before, after).keys() <= expected.keys()
    assert {key: value(after, key) for key in expected} == expected


@habit("constructor", "`batch_size=`", "works", "where it divides a seed's batch, `n_envs` × `n_steps`; else refused")
def test_the_size_of_minibatches() -> None:
    arm = small(n_envs=4, n_steps=32, batch_size=16).arm
    assert (arm.update.minibatches, arm.critic.minibatches) == (8, 8)
    assert small(n_envs=4, n_steps=32, batch_size=128).arm.update.minibatches == 1
    for size in (48, 256, 0, -4, 2.0, True):
        with refused(f"batch_size={size}: must divide the batch, n_envs=4 times n_steps=32, 128 in all"):
            small(n_envs=4, n_steps=32, batch_size=size)


SCHEDULES: Mapping[str, tuple[Any, tuple[float, str] | str]] = {
    "constant": (lambda _: 0.25, (0.25, "constant")),
    "linear": (lambda left: 0.5 * left, (0.5, "linear")),
    "SB3's": (LinearSchedule(0.5, 0.0, 1.0), (0.5, "linear")),
    "text of rl-zoo": ("lin_0.5", (0.5, "linear")),
    "number as text": ("0.5", (0.5, "constant")),
    "to a tenth": (
        LinearSchedule(0.5, 0.05, 1.0),
        "linear from its first value to 0; this function gives 0.5, 0.275 and 0.05",
    ),
    "early": (LinearSchedule(0.5, 0.0, 0.5), "linear from its first value to 0; this function gives 0.5, 0 and 0"),
    "square": (lambda left: left**2, "this function gives 1, 0.25 and 0"),
    "nan": (lambda _: float("nan"), "this function gives nan"),
    "of nothing": (lambda: 0.5, "its function raised TypeError"),
}


@habit(
    "constructor",
    "schedules: functions of the share left, `LinearSchedule`, rl-zoo's `lin_0.001`",
    "works",
    "constant, or linear to 0; other shapes are refused",
)
@pytest.mark.parametrize("argument", ["learning_rate", "clip_range"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, argument: str) -> None:
    given, expected = SCHEDULES[name]
    if isinstance(expected, str):
        with refused(f"{argument}: .*{expected}"):
            small(**{argument: given})
        return
    arm = small(**{argument: given}).arm
    assert (value(arm, argument), value(arm, f"{argument}_schedule")) == pytest.approx(expected)


def test_a_schedule_reaches_the_optimiser() -> None:
    model = small(learning_rate=lambda left: 0.01 * left).learn(4 * BATCH)
    model.env_steps = [BATCH, 4 * BATCH]
    assert model._rates().actor.ravel() == pytest.approx([0.0075, 0.0])


@habit(
    "constructor",
    "settings beside `arm=bench.compose(…)`",
    "works",
    "they change the arm; what it does not read is warned of",
)
def test_settings_change_a_given_arm() -> None:
    arm = bench.compose(["preset=reinforce", "task=cartpole"])
    with pytest.warns(RunWarning, match="gae_lambda=0.5: the arm does not read it") as caught:
        model = PolicyGradient(env="CartPole-v1", arm=arm, gae_lambda=0.5, learning_rate=1e-4)
    assert len(caught) == 1
    assert (model.arm.learning_rate, model.arm.baseline.name, model.arm.name) == (1e-4, "none", "reinforce")  # type: ignore[attr-defined]
    with refused("baseline=group with collect=segments: it compares complete episodes"):
        PolicyGradient(env="CartPole-v1", arm=bench.compose(["baseline=group"]), n_steps=16)


@habit("constructor", "`use_sde=True`", "works", "with Box actions; refused with Discrete ones, as `log_std_init`")
def test_state_dependent_noise() -> None:
    noisy = small("Pendulum-v1", use_sde=True, sde_sample_freq=4).learn(BATCH)
    assert noisy.policy.exploration.hold == 4
    with refused("exploration=sde with task=CartPole: its actions are discrete and have no noise"):
        small(use_sde=True)
    with refused("exploration.log_std_init=-2 with task=CartPole: its actions are discrete"):
        small(policy_kwargs={"log_std_init": -2})


@habit("constructor", '`"MlpPolicy"`', "works")
@habit(
    "constructor",
    "other policies, a policy class, `MlpLstmPolicy`",
    "refused",
    "observations are flat, and the arm says what the networks are",
)
@pytest.mark.parametrize("given", ["CnnPolicy", "MultiInputPolicy", "MlpLstmPolicy", ActorCriticPolicy, None])
def test_other_policies_are_refused(given: Any) -> None:
    with refused(f"policy='?{getattr(given, '__name__', given)}'?: must be 'MlpPolicy'"):
        PolicyGradient(given, "CartPole-v1")


@habit("constructor", "the learning rate as third argument", "refused", "the third is `arm`")
def test_the_third_argument_is_the_arm() -> None:
    with refused("arm=0.0003: must be what bench.compose returns; .*by name, such as learning_rate=0.001"):
        PolicyGradient("MlpPolicy", "CartPole-v1", 3e-4)  # type: ignore[arg-type]
    with refused("algorithm=sb3_ppo is a library's own; bench.run trains it"):
        PolicyGradient("MlpPolicy", "CartPole-v1", bench.compose(["algorithm=sb3_ppo"]))


@habit("constructor", "`seed=7`", "works", "`seeds=[7]`")
def test_a_seed() -> None:
    assert small(seeds=None, seed=7).seeds == (7,)
    assert small(seeds=None, seed=None).seeds == (0,)
    assert small(seeds=np.arange(2)).seeds == (0, 1)
    one, other = small(seeds=None, seed=7).learn(BATCH), small(seeds=[7]).learn(BATCH)
    assert torch.equal(one.policy.actor.stack.flat, other.policy.actor.stack.flat)


@habit("constructor", "seeds that are negative, equal, or no whole numbers; `seed` and `seeds` at once", "refused")
@pytest.mark.parametrize("given", [0, -1, [], [1, 1], [-1], [0.5], "ab", [True], 10**6, None.__class__])
def test_other_seeds_are_refused(given: Any) -> None:
    with refused("seeds="):
        small(seeds=given)


def test_one_way_to_give_seeds() -> None:
    with refused("seed=7, seeds=2: give one of them"):
        small(seeds=2, seed=7)


@habit("constructor", '`device="auto"`, `torch.device("cpu")`', "works", 'the CPU; `cuda` with `engine="torch"`')
def test_devices() -> None:
    for device in ("auto", "cpu", torch.device("cpu")):
        assert small(device=device).device.type == "cpu"
    with refused("device=cuda with engine=kernel: the kernel computes on the CPU; use engine=torch"):
        small(device="cuda")


@pytest.mark.parametrize(("key", "allowed"), [("engine", "kernel, torch"), ("seed_pool", "main, tuning")])
def test_names_that_do_not_exist(key: str, allowed: str) -> None:
    with refused(f"unknown {key} 'other': allowed are {allowed}"):
        small(**{key: "other"})


ZOO = {
    "n_envs": 8, "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20, "ent_coef": 0.0,
    "learning_rate": "lin_0.001", "clip_range": "lin_0.2", "policy": "MlpPolicy", "normalize": True,
}  # fmt: skip


@habit(
    "constructor",
    "a dict of hyperparameters of rl-zoo's",
    "works",
    "`n_timesteps` belongs to `learn`, texts of code are refused",
)
def test_hyperparameters_of_the_zoo() -> None:
    arm = PolicyGradient(env="CartPole-v1", **ZOO).arm  # type: ignore[arg-type]
    assert (arm.batch_limit(500), arm.update.minibatches, arm.update.epochs) == (256, 1, 20)
    assert (arm.learning_rate_schedule, arm.clip_range_schedule) == ("linear", "linear")
    assert (arm.norm_obs, arm.norm_reward) == (True, True)


UNKNOWN = {
    "learning_rat": "did you mean 'learning_rate'",
    "lr": "did you mean 'learning_rate'",
    "hidden_size": "did you mean 'hidden'.*arm=bench.compose",
    "norm_obs": r"a setting of the suite's own, arm=bench.compose\(\['norm_obs=…'\]\)",
    "buffer_size": "allowed are seed, n_envs, n_steps",
    "cg_max_steps": "allowed are seed, n_envs, n_steps",  # sb3-contrib's TRPO
}


@habit(
    "constructor",
    "arguments of other algorithms (`buffer_size`, sb3-contrib's `cg_max_steps`), misspelt ones",
    "refused",
    "with the nearest one, or those there are",
)
@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_arguments(name: str) -> None:
    with refused(f"PolicyGradient takes no argument '{name}'.*{UNKNOWN[name]}"):
        small(**{name: 3})
    with refused("no argument 'policy_kwargs.net_arc'; did you mean 'net_arch'"):
        small(policy_kwargs={"net_arc": [8]})


@habit(
    "constructor",
    "`model.gamma`, `.learning_rate`, `.n_steps`, `.ent_coef`, …",
    "works",
    "to be read; `model.arm` has them all",
)
def test_settings_can_be_read() -> None:
    model = small(gamma=0.9, learning_rate=0.01, ent_coef=0.1, max_grad_norm=0.7, vf_coef=0.3, gae_lambda=0.6)
    assert (model.gamma, model.learning_rate, model.n_steps, model.ent_coef) == (0.9, 0.01, 16, 0.1)
    assert (model.max_grad_norm, model.vf_coef, model.gae_lambda) == (0.7, 0.3, 0.6)
    with pytest.raises(AttributeError, match=r"model\.clip_range: see model\.arm; clip_range, clip_range_schedule"):
        _ = model.clip_range  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="object has no attribute 'nothing'"):
        _ = model.nothing  # type: ignore[attr-defined]


@habit(
    "constructor",
    "`model.learning_rate = …` after it was made, and the like",
    "refused",
    "it would change nothing: give it to `load`",
)
@pytest.mark.parametrize(
    "name", ["learning_rate", "gamma", "clip_range", "n_steps", "ent_coef", "batch_size", "seed", "lr_schedule"]
)
def test_settings_cannot_be_set(name: str) -> None:
    model = small()
    with refused(f"model.{name} cannot be set: the model follows its arm"):
        setattr(model, name, 0.5)
    model.verbose = 1
    assert model.learn(BATCH).arm == small().arm


def test_the_default_arm_is_that_of_compose() -> None:
    assert PolicyGradient(env="CartPole-v1").arm == bench.compose(["task=cartpole"])
    assert PolicyGradient(env=Count(), **{k: v for k, v in SMALL.items() if k != "policy_kwargs"}).arm.hidden == (
        64,
        64,
    )
