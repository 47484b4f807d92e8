"""The typed configuration of one cell: its schema, the rules between its fields, and its identity.

The values live in `conf/`, one comment per key; the schema has no defaults, so a forgotten or misspelt key fails.
`parse` turns the composed mapping into a `Config` and refuses what cannot run or would not mean what it says.
"""

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from bench.errors import UserError, nearest, unknown

GROUP_BASELINES = ("group", "grpo", "rloo", "time_mean")  # baselines computed from several complete episodes
REFERENCE_CLIP_RANGE = 0.2  # the ε at which every arm's clip fraction is logged, so that arms can be compared

Schedule = Literal["constant", "linear"]
T = TypeVar("T")


@dataclass(frozen=True)
class Baseline:
    """What is subtracted from the advantage's target."""

    name: Literal["none", "batch_mean", "time_mean", "critic", "group", "grpo", "rloo"]


@dataclass(frozen=True)
class Advantage:
    """The return target an action is credited with."""

    name: Literal["td0", "nstep", "gae", "monte_carlo"]


@dataclass(frozen=True)
class Update:
    """The objective, and how often a batch is used."""

    name: Literal["vanilla", "unclipped", "clip", "clip_without_min", "kl_penalty"]
    epochs: int
    minibatches: int


@dataclass(frozen=True)
class Reference:
    """The frozen policy the trained one is held to."""

    name: Literal["none"]


@dataclass(frozen=True)
class Critic:
    """How V is trained, apart from how it is used."""

    target: Literal["same", "td0", "gae", "monte_carlo"]
    gae_lambda: float
    epochs: int
    minibatches: int
    learning_rate: float
    vf_coef: float
    max_grad_norm: float


@dataclass(frozen=True)
class Group:
    """The episodes of an update and how a group's members are compared."""

    groups: int
    size: int
    start: Literal["shared", "independent"]
    credit: Literal["outcome", "reward_to_go"]
    scale: Literal["none", "std", "rank"]
    leave_one_out: bool
    ddof: int
    eps: float
    alive_only: bool


@dataclass(frozen=True)
class Collect:
    """Complete episodes, or segments of running ones."""

    name: Literal["episodes", "segments"]
    n_envs: int | None
    n_steps: int | None


@dataclass(frozen=True)
class Algorithm:
    """Whose learner trains."""

    name: Literal["policy_gradient"]


@dataclass(frozen=True)
class Arm:
    """Everything the learner needs to know; the same keys as on the command line."""

    baseline: Baseline
    advantage: Advantage
    update: Update
    reference: Reference
    critic: Critic
    group: Group
    collect: Collect
    algorithm: Algorithm
    gamma: float
    gae_lambda: float
    n_step: int
    truncation: Literal["end", "bootstrap"]
    advantage_norm: Literal["none", "rms", "mean_std"]
    aggregate: Literal["step", "episode"]
    grad_clip: Literal["separate", "joint"]
    max_grad_norm: float
    learning_rate: float
    learning_rate_schedule: Schedule
    clip_range: float
    clip_range_schedule: Schedule
    kl_coef: float
    kl_target: float
    ent_coef: float
    hidden: tuple[int, int]
    norm_obs: bool
    norm_reward: bool
    budget: int

    @property
    def has_critic(self) -> bool:
        """Whether the arm trains a value network: as its baseline, to bootstrap, or both."""
        return self.baseline.name == "critic" or self.advantage.name != "monte_carlo"

    @property
    def group_baseline(self) -> bool:
        """Whether the baseline compares complete episodes with one another."""
        return self.baseline.name in GROUP_BASELINES

    @property
    def n_envs(self) -> int:
        """Environments per replica: parallel segments, or the episodes of one update."""
        if self.collect.name == "episodes":
            return self.group.groups * self.group.size
        assert self.collect.n_envs is not None  # parse() refuses segments without it
        return self.collect.n_envs


@dataclass(frozen=True)
class Evaluation:
    """How often and on how many episodes a policy is judged."""

    points: int
    episodes: int


@dataclass(frozen=True)
class Score:
    """The fixed bounds of a task's normalised score."""

    random: float
    reference: float


@dataclass(frozen=True)
class TaskConfig:
    """`knobs` are the fields of the task's own class; the task refuses those it does not have."""

    name: str
    budget: int
    gamma: float
    norm_obs: bool
    norm_reward: bool
    time_limit: int | None
    score: Score
    knobs: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """What the cells belong to; `grids` map keys to a value or a list of values."""

    name: str
    title: str
    control: str | None
    grids: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Config(Arm):
    """One cell (arm × task), the seeds to train, and where the records go."""

    task: TaskConfig
    evaluation: Evaluation
    seeds: tuple[int, ...]
    seed_pool: Literal["main", "tuning"]
    name: str | None
    study: Study
    results: str
    wandb: Literal["offline", "online", "disabled"]
    wandb_project: str

    @property
    def arm_name(self) -> str:
        """The arm's label in tables and figures: the preset's name, or the three factors."""
        return self.name or f"{self.baseline.name}-{self.advantage.name}-{self.update.name}"

    @property
    def hash(self) -> str:
        """Eight hex digits of everything that can change a number, and of nothing else."""
        text = json.dumps(identity(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]


# What a Config needs beside the arm, none of which changes a training number.
_BOOKKEEPING = ("seeds", "name", "study", "results", "wandb", "wandb_project")


def parse(mapping: Mapping[str, Any]) -> Config:
    """The validated configuration of a composed mapping. Raises `UserError` with one clear line."""
    data = dict(mapping)
    data["seeds"] = _seeds(data.get("seeds"))
    data["task"] = _with_knobs(data.get("task"))
    config = build(Config, data)
    validate(config)
    return config


def to_mapping(config: Config) -> dict[str, Any]:
    """The plain mapping (dicts, lists, numbers, text) that `parse` turns into the same configuration."""
    data: dict[str, Any] = _plain(dataclasses.asdict(config))
    data["task"] |= data["task"].pop("knobs")
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _seeds(value: Any) -> list[int]:
    """`20` means seeds 0 to 19; a list names them."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise UserError(f"seeds={value}: at least 1 seed is needed (a count, or a list such as [3,5])")
        return list(range(value))
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise UserError(f"seeds={value}: give a count such as 10, or a list such as [3,5]")
    seeds = list(value)
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"seeds={seeds}: seed {seed} is not a whole number of at least 0")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"seeds={seeds}: a seed is named twice")
    return sorted(seeds)


def _with_knobs(task: Any) -> Any:
    """Move the keys of the task section that only that task has into `knobs`."""
    if not isinstance(task, Mapping):
        return task
    common = {field.name for field in dataclasses.fields(TaskConfig)} - {"knobs"}
    knobs = dict(task.get("knobs", {})) | {k: v for k, v in task.items() if k not in common | {"knobs"}}
    return {k: v for k, v in task.items() if k in common} | {"knobs": knobs}


def build(cls: type[T], data: Any, path: str = "") -> T:
    """A dataclass from a mapping, every key checked for existence and type. Raises `UserError`."""
    if not isinstance(data, Mapping):
        raise UserError(f"{path or 'the configuration'} must be a section with keys, not {data!r}")
    hints = typing.get_type_hints(cls)
    prefix = f"{path}." if path else ""
    for key in data:
        if key not in hints:
            raise UserError(f"unknown key '{prefix}{key}'{nearest(key, hints)}")
    missing = [prefix + key for key in hints if key not in data]
    if missing:
        raise UserError(f"missing key '{missing[0]}'")
    return cls(**{key: _value(hint, data[key], prefix + key) for key, hint in hints.items()})


def _value(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type `hint`, or a `UserError` that names the key and what it takes."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise unknown(path, value, arguments)
        return value
    if origin is types.UnionType:
        return None if value is None else _value(arguments[0], value, path)
    if origin is tuple:
        return _tuple(arguments, value, path)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type[Any], hint), value, path)
    if origin is not None or hint is Any:
        return value
    return _scalar(hint, value, path)


def _tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise UserError(f"{path}={value}: must be a list")
    if arguments[-1] is Ellipsis:
        return tuple(_value(arguments[0], item, path) for item in value)
    if len(value) != len(arguments):
        raise UserError(f"{path}={list(value)}: must have {len(arguments)} entries")
    return tuple(_value(hint, item, path) for hint, item in zip(arguments, value, strict=True))


def _scalar(hint: type, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[hint]
        raise UserError(f"{path}={value}: must be {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path}={value}: must be finite")
    return value


def validate(config: Config) -> None:
    """Refuse, with the reason and the nearest legal setting, what cannot run or would not mean what it says."""
    _check_names(config)
    _check_ranges(config)
    _check_collect(config)
    _check_group(config)
    _check_truncation(config)
    _check_update(config)


def _check_names(config: Config) -> None:
    """Names become folders: they must stay inside the results and mean the same on every system."""
    for key, name in {"study.name": config.study.name, "task.name": config.task.name, "name": config.name}.items():
        if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", name):
            raise UserError(
                f"{key}={name}: it names a folder; use up to 64 letters, digits, '_', '.', '+' or '-', "
                f"beginning with a letter or digit"
            )


def _check_ranges(config: Config) -> None:
    unit = {"gamma": config.gamma, "gae_lambda": config.gae_lambda, "critic.gae_lambda": config.critic.gae_lambda}
    positive = {
        "learning_rate": config.learning_rate,
        "critic.learning_rate": config.critic.learning_rate,
        "clip_range": config.clip_range,
        "kl_coef": config.kl_coef,
        "kl_target": config.kl_target,
        "max_grad_norm": config.max_grad_norm,
        "critic.max_grad_norm": config.critic.max_grad_norm,
        "critic.vf_coef": config.critic.vf_coef,
        "n_step": config.n_step,
        "budget": config.budget,
        "update.epochs": config.update.epochs,
        "update.minibatches": config.update.minibatches,
        "critic.epochs": config.critic.epochs,
        "critic.minibatches": config.critic.minibatches,
        "group.groups": config.group.groups,
        "group.size": config.group.size,
        "hidden": min(config.hidden),
        "evaluation.points": config.evaluation.points,
        "evaluation.episodes": config.evaluation.episodes,
    }
    not_negative = {"ent_coef": config.ent_coef, "group.eps": config.group.eps, "group.ddof": config.group.ddof}
    for key, number in unit.items():
        if not 0 <= number <= 1:
            raise UserError(f"{key}={number}: must lie in [0, 1]")
    for key, number in positive.items():
        if number <= 0:
            raise UserError(f"{key}={number}: must be greater than 0")
    for key, number in not_negative.items():
        if number < 0:
            raise UserError(f"{key}={number}: must be at least 0")


def _check_collect(config: Config) -> None:
    collect = config.collect
    if collect.name == "episodes":
        for key in ("n_envs", "n_steps"):
            if getattr(collect, key) is not None:
                raise UserError(
                    f"collect.{key}={getattr(collect, key)}: collect=episodes runs group.groups x group.size episodes "
                    f"at once; set those, or use collect=segments"
                )
        return
    for key in ("n_envs", "n_steps"):
        if (getattr(collect, key) or 0) < 1:
            raise UserError(f"collect.{key}={getattr(collect, key)}: collect=segments needs at least 1")
    if config.group_baseline:
        raise UserError(
            f"baseline={config.baseline.name} with collect=segments: it compares complete episodes; "
            f"use collect=episodes, or baseline=batch_mean"
        )
    if config.advantage.name == "monte_carlo" and not config.has_critic:
        raise UserError(
            f"advantage=monte_carlo with collect=segments and baseline={config.baseline.name}: without a critic a "
            f"segment's end has no value; use collect=episodes, or baseline=critic"
        )
    if config.aggregate == "episode":
        raise UserError("aggregate=episode with collect=segments: a segment has no whole episodes; use aggregate=step")


def _check_group(config: Config) -> None:
    group, name = config.group, config.baseline.name
    if not config.group_baseline:
        return
    if group.size < 2:
        raise UserError(
            f"group.size={group.size} with baseline={name}: a group of one is its own mean; "
            f"use at least 2, or baseline=none"
        )
    if group.credit == "outcome" and config.advantage.name != "monte_carlo":
        raise UserError(
            f"group.credit=outcome with advantage={config.advantage.name}: the outcome is the whole episode's return; "
            f"use advantage=monte_carlo, or group.credit=reward_to_go"
        )
    if group.scale == "std" and group.ddof >= group.size:
        raise UserError(f"group.ddof={group.ddof} with group.size={group.size}: must be smaller than the group")
    if group.scale == "rank" and (group.leave_one_out or group.alive_only):
        option = "leave_one_out" if group.leave_one_out else "alive_only"
        raise UserError(
            f"group.scale=rank with group.{option}=true: ranks compare every member with the others as they are; "
            f"use group.{option}=false, or group.scale=none"
        )
    if group.alive_only and group.credit == "outcome":
        raise UserError(
            "group.alive_only=true with group.credit=outcome: whole returns have no living and finished members; "
            "use group.credit=reward_to_go"
        )
    _check_group_name(config)


def _check_group_name(config: Config) -> None:
    """The named baselines are points of one family: a name must say what is computed."""
    group, name = config.group, config.baseline.name
    if name == "grpo" and group.scale != "std":
        raise UserError(f"baseline=grpo with group.scale={group.scale}: grpo divides by the std; use baseline=group")
    if name == "rloo" and not group.leave_one_out:
        raise UserError("baseline=rloo with group.leave_one_out=false: that is baseline=group")
    if name == "time_mean" and (group.groups, group.start, group.credit) != (1, "independent", "reward_to_go"):
        raise UserError(
            f"baseline=time_mean with group.groups={group.groups}, group.start={group.start}, "
            f"group.credit={group.credit}: it is one group of independent starts, compared step by step "
            f"(1, independent, reward_to_go); use baseline=group"
        )


def _check_truncation(config: Config) -> None:
    if config.truncation == "end":
        return
    if not config.has_critic:
        raise UserError(
            f"truncation=bootstrap with baseline={config.baseline.name} and advantage={config.advantage.name}: there "
            f"is no critic to bootstrap from; use truncation=end, or baseline=critic"
        )
    if config.gamma == 1 and config.task.time_limit is not None:
        raise UserError(
            f"truncation=bootstrap with gamma=1 on {config.task.name}: the continuing value is infinite; "
            f"use truncation=end, or gamma below 1"
        )


def _check_update(config: Config) -> None:
    update, critic = config.update, config.critic
    if update.name == "vanilla" and (update.epochs, update.minibatches) != (1, 1):
        raise UserError(
            f"update=vanilla with update.epochs={update.epochs} and update.minibatches={update.minibatches}: vanilla "
            f"is one full-batch step (1 and 1); use update=unclipped for several"
        )
    if config.grad_clip == "joint":
        if not config.has_critic:
            raise UserError("grad_clip=joint without a critic: there is nothing to join; use grad_clip=separate")
        if (update.epochs, update.minibatches) != (critic.epochs, critic.minibatches):
            raise UserError(
                f"grad_clip=joint with update.epochs={update.epochs}, update.minibatches={update.minibatches} but "
                f"critic.epochs={critic.epochs}, critic.minibatches={critic.minibatches}: actor and critic must take "
                f"the same minibatches; make them equal, or use grad_clip=separate"
            )


def check_budget(config: Config, horizon: int | None) -> None:
    """Refuse a budget in which nothing could be learned: a batch that might not fit is never started.

    `horizon` is the most steps one episode of the task can take, None where there is no bound. Raises `UserError`.
    """
    collect = config.collect
    length = collect.n_steps if collect.name == "segments" else horizon
    if length is not None and config.budget < config.n_envs * length:
        what = "segments of" if collect.name == "segments" else "episodes of at most"
        raise UserError(
            f"budget={config.budget}: not one batch of {config.n_envs} {what} {length} steps fits; "
            f"use at least {config.n_envs * length}, or smaller batches"
        )


def identity(config: Config) -> dict[str, Any]:
    """What can change a number of this cell: no book-keeping, and no setting its arm never reads."""
    data = dataclasses.asdict(config)
    for key in _BOOKKEEPING:
        del data[key]
    for key in (
        "budget",
        "gamma",
        "norm_obs",
        "norm_reward",
        "score",
    ):  # read from the top level; bounds: by the analysis
        del data["task"][key]
    if not config.has_critic:
        del data["critic"]
    elif config.critic.target != "gae":
        del data["critic"]["gae_lambda"]
    if config.advantage.name != "gae":
        del data["gae_lambda"]
    if config.advantage.name != "nstep":
        del data["n_step"]
    if config.update.name not in ("clip", "clip_without_min"):
        del data["clip_range"], data["clip_range_schedule"]
    if config.update.name != "kl_penalty":
        del data["kl_coef"], data["kl_target"]
    if config.collect.name == "segments":
        del data["group"]
    elif not config.group_baseline:
        for key in ("credit", "scale", "leave_one_out", "ddof", "eps", "alive_only"):
            del data["group"][key]
    elif config.group.scale != "std":
        del data["group"]["ddof"], data["group"]["eps"]
    return data


def factors(config: Config) -> dict[str, Any]:
    """The identity as flat, dotted columns for tables: `baseline`, `critic.target`, `group.size`, …"""
    flat: dict[str, Any] = {"task": config.task.name}
    for key, value in identity(config).items():
        if not isinstance(value, Mapping):
            flat[key] = list(value) if isinstance(value, tuple) else value
            continue
        for name, item in value.items():
            if name == "name":
                flat[key] = item
            elif name == "knobs":
                flat |= {f"{key}.{knob}": knob_value for knob, knob_value in item.items()}
            else:
                flat[f"{key}.{name}"] = item
    return flat
