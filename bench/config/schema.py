"""The typed configuration of one cell: its schema, and the way from the composed mapping to it.

The values live in `conf/`, one comment per key; the schema has no defaults, so a forgotten or misspelt key fails.
`parse` turns the composed mapping into a `Config`; what cannot run or would not mean what it says is refused by the
rules of `bench.config.legality`. What makes two configurations the same cell is in `bench.config.identity`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench import plugin
from bench.config import peer_settings as library
from bench.config.build import build
from bench.errors import UserError

GROUP_BASELINES = ("group", "grpo", "rloo", "time_mean")  # baselines computed from several complete episodes
REFERENCE_CLIP_RANGE = 0.2  # the ε at which every arm's clip fraction is logged, so that arms can be compared

BaselineName = Literal["none", "batch_mean", "time_mean", "critic", "group", "grpo", "rloo", "vine", "plugin"]
AdvantageName = Literal["td0", "nstep", "gae", "monte_carlo", "plugin"]
Schedule = Literal["constant", "linear"]


@dataclass(frozen=True, kw_only=True)
class Factor:
    """What every factor can be: one of its own options, or a `plugin` (`module:name`) with its `options`."""

    plugin: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Baseline(Factor):
    """What is subtracted from the advantage's target."""

    name: BaselineName

    @property
    def label(self) -> str:
        """The option, or the name of the plug-in."""
        return self.name if self.name != "plugin" else _plugin_label(self)

    @property
    def uses_values(self) -> bool:
        """Whether it reads V(s_t)."""
        return self.name == "critic" or (self.name == "plugin" and self._needs("values"))

    @property
    def needs_episodes(self) -> bool:
        """Whether it compares complete episodes, or restores their states."""
        return self.name in (*GROUP_BASELINES, "vine") or (self.name == "plugin" and self._needs("episodes"))

    def _needs(self, what: str) -> bool:
        return plugin.load("baseline", self.plugin).needs[what]


@dataclass(frozen=True)
class Advantage(Factor):
    """The return target an action is credited with."""

    name: AdvantageName

    @property
    def label(self) -> str:
        """The option, or the name of the plug-in."""
        return self.name if self.name != "plugin" else _plugin_label(self)

    @property
    def bootstraps(self) -> bool:
        """Whether it reads V of later states."""
        if self.name == "plugin":
            return plugin.load("advantage", self.plugin).needs["bootstraps"]
        return self.name != "monte_carlo"


@dataclass(frozen=True)
class Update(Factor):
    """The objective, and how often a batch is used."""

    name: Literal["vanilla", "unclipped", "clip", "clip_without_min", "kl_penalty", "plugin"]
    epochs: int
    minibatches: int

    @property
    def label(self) -> str:
        """The option, or the name of the plug-in."""
        return self.name if self.name != "plugin" else _plugin_label(self)


def _plugin_label(factor: Factor) -> str:
    return (factor.plugin or "plugin").rpartition(":")[2]


@dataclass(frozen=True)
class Reference:
    """The frozen policy the trained one is held to.

    `coef` is the weight β of the KL estimate `kind`, placed in the `loss` or in the `reward`; `target` makes β adapt.
    `importance` weighs the samples of the loss by π/π_old. `path` and `seed` belong to reference=checkpoint.
    """

    name: Literal["none", "initial", "checkpoint"]
    kind: Literal["k1", "k2", "k3"]
    placement: Literal["loss", "reward"]
    coef: float
    target: float | None
    importance: bool
    negative_control: bool
    path: str | None
    seed: int | None


@dataclass(frozen=True)
class Exploration:
    """Where the noise of a Box's actions comes from: drawn anew at each step, or state-dependent (`sde`).

    `sample_freq` is the number of steps between two noise matrices of `sde`, None: one for each rollout.
    """

    name: Literal["gaussian", "sde"]
    sample_freq: int | None
    log_std_init: float

    @property
    def hold(self) -> int | None:
        """The number of steps that noise is held for, None for as long as a rollout lasts."""
        return self.sample_freq if self.name == "sde" else 1


GAUSSIAN = Exploration("gaussian", None, 0.0)


@dataclass(frozen=True)
class Vine:
    """Where baseline=vine restores states and how many episodes it runs from each."""

    every: int
    rollouts: int


@dataclass(frozen=True)
class Critic:
    """How V is trained, apart from how it is used."""

    target: Literal["same", "td0", "gae", "monte_carlo"]
    gae_lambda: float
    epochs: int
    minibatches: int
    learning_rate: float
    vf_coef: float
    max_grad_norm: float | None


@dataclass(frozen=True)
class Group:
    """The episodes of an update and how a group's members are compared."""

    groups: int
    size: int
    start: Literal["shared", "independent"]
    credit: Literal["outcome", "reward_to_go", "process"]
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
    """Whose learner trains: ours, or a library's, the class `_target_` where it has no name of its own here.

    `parameters` are the keyword arguments of the library's class; see `bench.config.peer_settings`.
    """

    name: Literal["policy_gradient", "sb3_ppo", "sb3_a2c", "contrib_trpo", "contrib_ars", "library"]
    _target_: str | None
    n_envs: int | None
    parameters: Any

    @property
    def label(self) -> str:
        """The option, or the name of the library's class."""
        return self.name if self._target_ is None else self._target_.replace(":", ".").rpartition(".")[2]


@dataclass(frozen=True)
class Arm:
    """Everything the learner needs to know; the same keys as on the command line."""

    baseline: Baseline
    advantage: Advantage
    update: Update
    reference: Reference
    critic: Critic
    group: Group
    vine: Vine
    collect: Collect
    algorithm: Algorithm
    gamma: float
    gae_lambda: float
    n_step: int
    truncation: Literal["end", "bootstrap"]
    advantage_norm: Literal["none", "rms", "mean_std"]
    aggregate: Literal["step", "episode"]
    grad_clip: Literal["separate", "joint"]
    max_grad_norm: float | None
    learning_rate: float
    learning_rate_schedule: Schedule
    clip_range: float
    clip_range_schedule: Schedule
    kl_coef: float
    kl_target: float
    ent_coef: float
    hidden: tuple[int, ...]
    policy: Literal["mlp", "linear"]
    exploration: Exploration = field(default=GAUSSIAN, kw_only=True)  # not in files of earlier versions
    norm_obs: bool
    norm_reward: bool
    budget: int

    @property
    def has_critic(self) -> bool:
        """Whether the arm trains a value network: as its baseline, to bootstrap, or both."""
        return self.baseline.uses_values or self.advantage.bootstraps

    @property
    def is_peer(self) -> bool:
        """Whether a library's algorithm trains: it reads none of the arm's factors."""
        return self.algorithm.name != "policy_gradient"

    @property
    def group_baseline(self) -> bool:
        """Whether the baseline compares complete episodes with one another."""
        return self.baseline.name in GROUP_BASELINES

    @property
    def shares_starts(self) -> bool:
        """Whether several episodes begin in copies of one state."""
        return self.collect.name == "episodes" and self.group.start == "shared" and self.group.size > 1

    @property
    def actor_hidden(self) -> tuple[int, ...]:
        """Widths of the policy's hidden layers."""
        return () if self.policy == "linear" else self.hidden

    @property
    def n_envs(self) -> int:
        """Environments per replica: parallel segments, or the episodes of one update."""
        if self.collect.name == "episodes":
            return self.group.groups * self.group.size
        assert self.collect.n_envs is not None  # parse() refuses segments without it
        return self.collect.n_envs

    def batch_limit(self, horizon: int | None) -> int:
        """The most steps one batch can take of a replica; `horizon` bounds an episode's, None where nothing does."""
        if self.collect.name == "segments":
            assert self.collect.n_steps is not None  # parse() refuses segments without it
            return self.n_envs * self.collect.n_steps
        if horizon is None:
            return 1
        restored = sum(horizon - t for t in range(0, horizon, self.vine.every)) if self.baseline.name == "vine" else 0
        return self.n_envs * (horizon + self.vine.rollouts * restored)


@dataclass(frozen=True)
class Evaluation:
    """How often and on how many episodes a policy is judged."""

    points: int
    episodes: int


@dataclass(frozen=True)
class Score:
    """The fixed bounds of a task's normalised score; None stands for the exact ones, until `compose` puts them in."""

    random: float | None
    reference: float | None


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
class Tuning:
    """How a study's cells are tuned before they are judged; see `bench.design.space`.

    `space` maps a key to its distribution: `{uniform: [low, high]}`, `{log_uniform: [low, high]}` or `{choice: [...]}`.
    """

    settings: int
    seeds: int
    design: int
    sampler: Literal["random", "optuna"]
    startup: int
    overlays: Literal["keep", "replace", "none"]
    space: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """What the cells belong to; `grids` map keys to a value or a list of values."""

    name: str
    title: str
    control: str | None
    grids: tuple[Mapping[str, Any], ...]
    tuning: Tuning | None = None


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
    checkpoint_minutes: float
    device: Literal["cpu", "cuda"] = field(default="cpu", kw_only=True)  # not in files of earlier versions
    retry: Literal["nothing", "failed", "damaged"]
    dry_run: bool

    @property
    def arm_name(self) -> str:
        """The arm's label in tables and figures: the preset's name, or the three factors; a peer's own name."""
        if self.is_peer:
            return f"{self.algorithm.label}-{self.name}" if self.name else self.algorithm.label
        return self.name or f"{self.baseline.label}-{self.advantage.label}-{self.update.label}"


def parse(mapping: Mapping[str, Any]) -> Config:
    """The validated configuration of a composed mapping. Raises `UserError` with one clear line."""
    from bench.config.legality import validate  # which needs this module's types

    data = dict(mapping)
    data.pop("batch", None)  # what the options of collect and update were made from
    data["seeds"] = _seeds(data.get("seeds"))
    data["task"] = _with_knobs(data.get("task"))
    config = build(Config, data)
    validate(config)
    return library.resolved(config) if config.is_peer else config


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
