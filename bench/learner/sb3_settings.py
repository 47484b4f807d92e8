"""What Stable-Baselines3 calls the settings of an arm: one table for the constructor, its messages and docs/sb3.md."""

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor

from bench.config import legality
from bench.config.aliases import keys, meant_flag
from bench.config.identity import identity
from bench.config.parse import arm_to_mapping, parse_arm
from bench.config.schema import Arm, Collect, Config
from bench.errors import RunWarning, UserError, nearest
from bench.tasks.spaces import shown

A = TypeVar("A", bound=Arm)
Data = dict[str, Any]  # an arm as a nested mapping
Change = Callable[[Data, str, Any], None]  # what a value of an argument, of this name, does to an arm

FIELDS = tuple(field.name for field in dataclasses.fields(Arm))
LEFT = np.linspace(1, 0, 33)  # shares of the budget left, where a schedule is looked at


@dataclass(frozen=True)
class Setting:
    """An argument of an algorithm of Stable-Baselines3, or of a file of rl-zoo, and what it is `here`.

    `change` is None where the suite has nothing of the kind. Values in `neutral` ask for nothing.
    """

    here: str
    change: Change | None = None
    neutral: tuple[Any, ...] = ()


def applied(arm: A, given: Mapping[str, Any]) -> A:
    """Return the arm with the settings that these arguments of Stable-Baselines3's stand for.

    What the arm does not read is a `RunWarning`.

    Raises:
        UserError: for an argument or a value that means nothing here, and for an arm that is not legal.
    """
    if not given:
        return arm
    changed = _changed(arm, given)
    try:
        legality.validate(as_config(changed))
    except UserError as error:
        raise _by_its_own_name(error, given) from error
    for name in given:
        if _is_unread(name, arm, given, changed):
            warnings.warn(f"{name}={shown(given[name])}: the arm does not read it", RunWarning, stacklevel=4)
    return changed


def _changed(arm: A, given: Mapping[str, Any]) -> A:
    """Return the arm with these settings, whether it is legal or not. Raises `UserError`."""
    data = arm_to_mapping(arm, FIELDS)
    _change(ARGUMENTS, data, given, "")
    try:
        built = parse_arm(data)
    except UserError as error:
        raise _by_its_own_name(error, given) from error
    kept: dict[str, Any] = {name: getattr(built, name) for name in FIELDS}
    return dataclasses.replace(arm, **kept | {"reference": arm.reference})


def _by_its_own_name(error: UserError, given: Mapping[str, Any]) -> UserError:
    """Return an error about critic.learning_rate, say, as one about learning_rate, where that was given for both."""
    key, equals, rest = str(error).partition("=")
    name = key.rpartition(".")[2]
    return UserError(f"{name}={rest}") if equals and name in given else error


def _is_unread(name: str, arm: Arm, given: Mapping[str, Any], changed: Arm) -> bool:
    """Return whether a setting changes the arm, and none of its numbers."""
    try:
        without = _changed(arm, {each: value for each, value in given.items() if each != name})
    except UserError:
        return False  # another needs it
    return without != changed and identity(as_config(without)) == identity(as_config(changed))


def as_config(arm: Arm) -> Config:
    """Return an arm as a cell, on the default task where it has none."""
    if isinstance(arm, Config):
        return arm
    return dataclasses.replace(composed(), **{name: getattr(arm, name) for name in FIELDS})


def composed(*overrides: str) -> Config:
    """Return what `bench.compose` returns, unchecked."""
    from bench.cells.composition import compose  # imports Hydra, which takes a third of a second

    return compose(overrides)


def _change(table: Mapping[str, Setting], data: Data, given: Mapping[str, Any], prefix: str) -> None:
    for name in given:
        if name not in table:
            raise _unknown(f"{prefix}{name}", table)
    for name, setting in table.items():
        if name not in given or _is_one_of(given[name], setting.neutral):
            continue
        value = given[name].item() if isinstance(given[name], np.generic) else given[name]
        if setting.change is None:
            raise UserError(f"{prefix}{name}={shown(value)}: {setting.here.replace('`', '')}")
        setting.change(data, f"{prefix}{name}", value)


def _is_one_of(value: Any, neutral: tuple[Any, ...]) -> bool:
    return any(value is each or (type(value) is type(each) and value == each) for each in neutral)


def _unknown(name: str, table: Mapping[str, Setting]) -> UserError:
    what = f"PolicyGradient takes no argument '{name}'"
    if near := nearest(name.rpartition(".")[2], table, cutoff=0.75):
        return UserError(f"{what}{near}")
    if name in keys():
        return UserError(f"{what}: it is a setting of the suite's own, arm=bench.compose(['{name}=…'])")
    if meant := meant_flag(name, None):
        here = any(f"'{each}'" in meant for each in table)
        how = "" if here else " It is given in arm=bench.compose(['KEY=VALUE'])"
        return UserError(f"{what}{meant}{how}")
    return UserError(f"{what}: allowed are {', '.join(table)}")


def _put(data: Data, key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        data = data[section]
    data[last] = value


def _to(*keys: str) -> Change:
    def change(data: Data, name: str, value: Any) -> None:  # noqa: ARG001 - the key says what is wrong with a value
        for key in keys:
            _put(data, key, value)

    return change


def _one_of(values: Mapping[Any, Mapping[str, Any]]) -> Change:
    def change(data: Data, name: str, value: Any) -> None:
        if not isinstance(value, bool):
            raise UserError(f"{name}={shown(value)}: must be True or False")
        for key, put in values[value].items():
            _put(data, key, put)

    return change


def _scheduled(*keys: str, schedule: str) -> Change:
    def change(data: Data, name: str, value: Any) -> None:
        first, kind = _schedule(name, value)
        for key in keys:
            _put(data, key, first)
        _put(data, schedule, kind)

    return change


def _schedule(name: str, value: Any) -> tuple[Any, str]:
    """Return the first value and the kind of a schedule: a number, rl-zoo's `lin_…`, or a function of what is left."""
    if isinstance(value, str):
        kind, text = ("linear", value[4:]) if value.startswith("lin_") else ("constant", value)
        try:
            return float(text), kind
        except ValueError:
            raise UserError(f"{name}='{value}': must be a number, a function, or a text such as 'lin_0.001'") from None
    if not callable(value):
        return value, "constant"
    try:
        values = np.array([float(value(float(left))) for left in LEFT])
    except Exception as error:  # whatever a user's function raises
        raise UserError(f"{name}: its function raised {type(error).__name__}: {error}") from error
    for kind, expected in (("constant", np.full_like(LEFT, values[0])), ("linear", values[0] * LEFT)):
        if np.isfinite(values).all() and np.allclose(values, expected, rtol=1e-6, atol=1e-9 * abs(values[0])):
            return float(values[0]), kind
    raise UserError(
        f"{name}: a schedule is constant, or linear from its first value to 0; this function gives {values[0]:g}, "
        f"{values[len(LEFT) // 2]:g} and {values[-1]:g} at the beginning, in the middle and at the end"
    )


@functools.cache
def _segments() -> Collect:
    return composed("collect=segments").collect


def _of_segments(key: str) -> Change:
    def change(data: Data, name: str, value: Any) -> None:  # noqa: ARG001 - a `Change`; nothing can be wrong here
        if data["collect"]["name"] != "segments":
            data["collect"] = dataclasses.asdict(_segments())
        data["collect"][key] = value

    return change


def _batch_size(data: Data, name: str, value: Any) -> None:
    collect = data["collect"]
    if collect["name"] != "segments":
        raise UserError(
            f"{name}={shown(value)}: batches of complete episodes differ in size and are cut into a number of parts; "
            f"give n_steps too, or arm=bench.compose(['batch.minibatches=…'])"
        )
    steps = collect["n_envs"] * collect["n_steps"]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or steps % value:
        raise UserError(
            f"{name}={shown(value)}: must divide the batch, n_envs={collect['n_envs']} times "
            f"n_steps={collect['n_steps']}, {steps} in all"
        )
    _to("update.minibatches", "critic.minibatches")(data, name, steps // value)


def _max_grad_norm(data: Data, name: str, value: Any) -> None:
    limit = None if value == math.inf else value
    _to("max_grad_norm", "critic.max_grad_norm")(data, name, limit)


def _sde_sample_freq(data: Data, name: str, value: Any) -> None:
    _to("exploration.sample_freq")(data, name, None if value == -1 else value)


def _normalize(data: Data, name: str, value: Any) -> None:
    wanted = {"norm_obs": value, "norm_reward": value} if isinstance(value, bool) else value
    if not isinstance(wanted, Mapping) or not set(wanted) <= {"norm_obs", "norm_reward"}:
        raise UserError(f"{name}={shown(value)}: must be True, False, or a dict of norm_obs and norm_reward")
    data.update(wanted)


def _net_arch(data: Data, name: str, value: Any) -> None:
    given = value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping) else value
    widths = (given.get("pi", []), given.get("vf", [])) if isinstance(given, Mapping) else (given, given)
    if not all(isinstance(each, list | tuple) for each in widths):
        raise UserError(f"{name}={shown(value)}: must be a list of widths, or a dict of two such lists, pi and vf")
    actor, critic = (list(each) for each in widths)
    if actor and actor != critic:
        raise UserError(
            f"{name}={shown(value)}: actor and critic have the same widths (hidden), or the actor has none (pi=[])"
        )
    data["hidden"], data["policy"] = critic, "mlp" if actor else "linear"


def _policy_kwargs(data: Data, name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        hint = "; rl-zoo's files have its text: give what it stands for" if isinstance(value, str) else ""
        raise UserError(f"{name}={shown(value)}: must be a dict{hint}")
    _change(POLICY_KWARGS, data, value, f"{name}.")


def _elsewhere(data: Data, name: str, value: Any) -> None:
    """It is no setting of an arm, and was looked at before."""


POLICY_KWARGS: Mapping[str, Setting] = {
    "net_arch": Setting("`hidden`; with `pi=[]`, `policy=linear`. Actor and critic have the same widths", _net_arch),
    "log_std_init": Setting("`exploration.log_std_init`", _to("exploration.log_std_init")),
    "activation_fn": Setting("hidden layers are tanh", neutral=(torch.nn.Tanh,)),
    "ortho_init": Setting("weights begin orthogonal", neutral=(True,)),
    "optimizer_class": Setting("the optimiser is Adam", neutral=(torch.optim.Adam,)),
    "optimizer_kwargs": Setting("Adam's `eps` is 1e-5", neutral=(None, {}, {"eps": 1e-5})),
    "features_extractor_class": Setting("observations are flat already", neutral=(FlattenExtractor,)),
    "features_extractor_kwargs": Setting("observations are flat already", neutral=(None, {})),
    "share_features_extractor": Setting("observations are flat already", neutral=(True, False)),
    "normalize_images": Setting("there are no images", neutral=(True, False)),
    "squash_output": Setting("actions are clipped to their bounds", neutral=(False,)),
    "full_std": Setting("state-dependent noise has a matrix of its own for each component", neutral=(True,)),
    "use_expln": Setting("standard deviations are exp(log_std)", neutral=(False,)),
}

# In the order in which they are applied.
ARGUMENTS: Mapping[str, Setting] = {
    "seed": Setting("`seeds=[seed]`", _elsewhere),
    "n_envs": Setting("`collect=segments`, `collect.n_envs`: of each seed", _of_segments("n_envs")),
    "n_steps": Setting("`collect=segments`, `collect.n_steps`", _of_segments("n_steps")),
    "batch_size": Setting(
        "`update.minibatches`, `critic.minibatches`: a seed's batch divided by it; must divide it", _batch_size
    ),
    "n_epochs": Setting("`update.epochs`, `critic.epochs`", _to("update.epochs", "critic.epochs")),
    "learning_rate": Setting(
        "`learning_rate`, `critic.learning_rate`, `learning_rate_schedule`: a number, or a function that is constant "
        "or linear to 0",
        _scheduled("learning_rate", "critic.learning_rate", schedule="learning_rate_schedule"),
    ),
    "gamma": Setting("`gamma`", _to("gamma")),
    "gae_lambda": Setting("`gae_lambda`, `critic.gae_lambda`", _to("gae_lambda", "critic.gae_lambda")),
    "clip_range": Setting(
        "`clip_range`, `clip_range_schedule`: as `learning_rate`",
        _scheduled("clip_range", schedule="clip_range_schedule"),
    ),
    "clip_range_vf": Setting("the critic's loss is not clipped", neutral=(None,)),
    "normalize_advantage": Setting(
        "`advantage_norm`: `mean_std`, or `none`",
        _one_of({True: {"advantage_norm": "mean_std"}, False: {"advantage_norm": "none"}}),
    ),
    "ent_coef": Setting("`ent_coef`", _to("ent_coef")),
    "vf_coef": Setting("`critic.vf_coef`", _to("critic.vf_coef")),
    "max_grad_norm": Setting("`max_grad_norm`, `critic.max_grad_norm`", _max_grad_norm),
    "use_sde": Setting(
        "`exploration`: `sde`, or `gaussian`",
        _one_of({True: {"exploration.name": "sde"}, False: {"exploration.name": "gaussian"}}),
    ),
    "sde_sample_freq": Setting("`exploration.sample_freq`", _sde_sample_freq),
    "target_kl": Setting("no epoch is left out; `update=kl_penalty` holds a divergence", neutral=(None,)),
    "policy_kwargs": Setting("see below", _policy_kwargs, neutral=(None,)),
    "rollout_buffer_class": Setting("there is no rollout buffer", neutral=(None,)),
    "rollout_buffer_kwargs": Setting("there is no rollout buffer", neutral=(None, {})),
    "normalize": Setting("`norm_obs`, `norm_reward` (rl-zoo)", _normalize),
    "n_timesteps": Setting("give it to `learn` (rl-zoo)"),
    "use_rms_prop": Setting("the optimiser is Adam (A2C)", neutral=(False,)),
    "rms_prop_eps": Setting("the optimiser is Adam (A2C)", neutral=(1e-5,)),
}
