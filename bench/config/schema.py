"""The typed configuration of one cell: its schema.

The values live in `conf/`, one comment per key. A key has no default here, so a forgotten or misspelt one fails. One
exception: a key that was added later has a frozen default, the behaviour before it existed. Records of earlier
versions do without the key, and `bench.config.identity` leaves it out while it has that value. Such a default never
changes.

What a number may be, and which choices read a setting, stands beside it: `bench.config.legality` refuses what is out of
range, and `bench.config.identity` leaves out what an arm does not read. `bench.config.parse` turns mappings into it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from bench.config import names
from bench.config.notes import Range, ReadIf, Resolved

RUNS_OF_SEED = 10_000  # numbers of runs of a design that belong to one seed; see `bench.config.design`
REFERENCE_CLIP_RANGE = 0.2  # the ε at which every arm's clip fraction is logged, so that arms can be compared

Schedule = Literal["constant", "linear"]


POSITIVE, NOT_NEGATIVE, UNIT = Range(0, open=True), Range(0), Range(0, 1)
GROUPED = {"group_baseline": (True,)}
OF_GROUPS, OF_STD = ReadIf(GROUPED), ReadIf({**GROUPED, "group.scale": ("std",)})
OF_RANK = ReadIf({**GROUPED, "group.scale": ("rank",)})
OF_CLIP, OF_PENALTY = ReadIf({"update": ("clip", "clip_without_min")}), ReadIf({"update": ("kl_penalty",)})


@dataclass(frozen=True)
class Factor:
    """What every factor can be: an option of conf, or a `plugin` (`module:name`) with its `options`.

    `needs` is what the option's file in conf or the plug-in's decorator says; `code` is the digest of its source.
    """

    name: str
    plugin: str | None = field(default=None, kw_only=True)
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    needs: Annotated[tuple[str, ...], Resolved] = field(default=(), kw_only=True, repr=False)
    code: Annotated[str | None, Resolved] = field(default=None, kw_only=True, repr=False)

    @property
    def label(self) -> str:
        """The option, or the name of the plug-in."""
        return self.name if self.name != "plugin" else (self.plugin or "plugin").rpartition(":")[2]


@dataclass(frozen=True)
class Baseline(Factor):
    """What is subtracted from the advantage's target."""

    @property
    def uses_values(self) -> bool:
        """Whether it reads V(s_t)."""
        return "values" in self.needs

    @property
    def needs_episodes(self) -> bool:
        """Whether it compares complete episodes, or restores their states."""
        return "episodes" in self.needs


@dataclass(frozen=True)
class Advantage(Factor):
    """The return target an action is credited with."""

    @property
    def bootstraps(self) -> bool:
        """Whether it reads V of later states."""
        return "values" in self.needs


@dataclass(frozen=True)
class Update(Factor):
    """The objective, and how often a batch is used."""

    epochs: Annotated[int, POSITIVE]
    minibatches: Annotated[int, POSITIVE]


@dataclass(frozen=True)
class Reference:
    """The frozen policy the trained one is held to.

    `coef` is the weight β of the KL estimate `kind`, placed in the `loss` or in the `reward`; `target` makes β adapt.
    `importance` weighs the samples of the loss by π/π_old. An episode that is further than `veto` nats away, on average
    over its steps, is paid nothing. `path` and `seed` belong to reference=checkpoint;
    `policy` is the digest of the policy that lies there.
    """

    name: Literal["none", "initial", "checkpoint"]
    kind: Literal["k1", "k2", "k3"]
    placement: Literal["loss", "reward"]
    coef: Annotated[float, NOT_NEGATIVE]
    target: Annotated[float | None, POSITIVE]
    importance: bool
    negative_control: bool
    path: str | None
    seed: int | None
    veto: Annotated[float | None, NOT_NEGATIVE] = field(default=None, kw_only=True)
    policy: Annotated[str | None, Resolved] = field(default=None, kw_only=True, repr=False)


@dataclass(frozen=True)
class Exploration:
    """Where the noise of a Box's actions comes from: drawn anew at each step, or state-dependent (`sde`).

    `sample_freq` is the number of steps between two noise matrices of `sde`, None: one for each rollout.
    """

    name: Literal["gaussian", "sde"]
    sample_freq: Annotated[int | None, POSITIVE]
    log_std_init: float

    @property
    def hold(self) -> int | None:
        """The number of steps that noise is held for, None for as long as a rollout lasts."""
        return self.sample_freq if self.name == "sde" else 1


GAUSSIAN = Exploration("gaussian", None, 0.0)


@dataclass(frozen=True)
class Vine:
    """Where baseline=vine restores states and how many episodes it runs from each."""

    every: Annotated[int, POSITIVE]
    rollouts: Annotated[int, POSITIVE]


@dataclass(frozen=True)
class Critic:
    """How V is trained, apart from how it is used.

    Its network is its own (`separate`), or a head on the policy's hidden layers (`shared`).
    """

    target: Literal["same", "td0", "gae", "monte_carlo"]
    gae_lambda: Annotated[float, UNIT, ReadIf({"critic.target": ("gae",)})]
    epochs: Annotated[int, POSITIVE]
    minibatches: Annotated[int, POSITIVE]
    learning_rate: Annotated[float, POSITIVE]
    vf_coef: Annotated[float, NOT_NEGATIVE]
    max_grad_norm: Annotated[float | None, POSITIVE]
    network: Literal["separate", "shared"] = field(default="separate", kw_only=True)


@dataclass(frozen=True)
class Group:
    """The episodes of an update and how a group's members are compared."""

    groups: Annotated[int, POSITIVE]
    size: Annotated[int, POSITIVE]
    start: Literal["shared", "independent"]
    credit: Annotated[Literal["outcome", "reward_to_go", "process"], OF_GROUPS]
    scale: Annotated[Literal["none", "std", "rank"], OF_GROUPS]
    leave_one_out: Annotated[bool, OF_GROUPS]
    ddof: Annotated[int, NOT_NEGATIVE, OF_STD]
    eps: Annotated[float, NOT_NEGATIVE, OF_STD]
    alive_only: Annotated[bool, OF_GROUPS]
    temperature: Annotated[float, NOT_NEGATIVE, OF_RANK] = field(default=0.0, kw_only=True)


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
    critic: Annotated[Critic, ReadIf({"has_critic": (True,)})]
    group: Annotated[Group, ReadIf({"collect": ("episodes",)})]
    vine: Annotated[Vine, ReadIf({"baseline": ("vine",)})]
    collect: Collect
    algorithm: Algorithm
    gamma: Annotated[float, UNIT]
    gae_lambda: Annotated[float, UNIT, ReadIf({"advantage": ("gae",)})]
    n_step: Annotated[int, POSITIVE, ReadIf({"advantage": ("nstep",)})]
    truncation: Literal["end", "bootstrap"]
    advantage_norm: Literal["none", "rms", "mean_std"]
    aggregate: Literal["step", "episode"]
    grad_clip: Literal["separate", "joint"]
    max_grad_norm: Annotated[float | None, POSITIVE]
    learning_rate: Annotated[float, POSITIVE]
    learning_rate_schedule: Schedule
    clip_range: Annotated[float, POSITIVE, OF_CLIP]
    clip_range_schedule: Annotated[Schedule, OF_CLIP]
    kl_coef: Annotated[float, POSITIVE, OF_PENALTY]
    kl_target: Annotated[float, POSITIVE, OF_PENALTY]
    ent_coef: Annotated[float, NOT_NEGATIVE]
    hidden: Annotated[tuple[int, ...], POSITIVE]
    policy: Literal["mlp", "linear"]
    exploration: Exploration = field(default=GAUSSIAN, kw_only=True)
    norm_obs: bool
    norm_reward: bool
    budget: Annotated[int, POSITIVE]

    @property
    def has_critic(self) -> bool:
        """Whether the arm trains a value network: as its baseline, to bootstrap, or both."""
        return self.baseline.uses_values or self.advantage.bootstraps

    @property
    def shares_layers(self) -> bool:
        """Whether its critic is a head on the policy's hidden layers."""
        return self.has_critic and self.critic.network == "shared" and bool(self.actor_hidden)

    @property
    def is_peer(self) -> bool:
        """Whether a library's algorithm trains: it reads none of the arm's factors."""
        return self.algorithm.name != "policy_gradient"

    @property
    def group_baseline(self) -> bool:
        """Whether the baseline compares complete episodes with one another."""
        return "group" in self.baseline.needs

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

    points: Annotated[int, POSITIVE]
    episodes: Annotated[int, POSITIVE]


@dataclass(frozen=True)
class Score:
    """The fixed bounds of a task's normalised score; None stands for the exact ones, until `compose` puts them in."""

    random: float | None
    reference: float | None


@dataclass(frozen=True)
class TaskConfig:
    """The task. `knobs` are the fields of its own class.

    Of a plug-in, `code` is the digest of its source and `usual` has the defaults of its knobs.
    """

    name: str
    budget: int
    gamma: float
    norm_obs: bool
    norm_reward: bool
    time_limit: int | None
    score: Score
    knobs: Mapping[str, Any]
    code: Annotated[str | None, Resolved] = field(default=None, kw_only=True, repr=False)
    usual: Annotated[Mapping[str, Any], Resolved] = field(default_factory=dict, kw_only=True, repr=False)


@dataclass(frozen=True)
class Design:
    """A design of settings; see `bench.config.design`.

    `space` maps a number of the arm to its distribution: `{uniform: [low, high]}`, `{log_uniform: [low, high]}` or
    `{choice: [...]}`; `strata` a name to the structure that its settings have: `{weight: 1, keys: {...}}`. Each stratum
    has as many `settings`. Those that readings choose are judged on as many fresh seeds as `judged` says. Of a cell,
    `stratum` is the one that it is in and `place` its number, and `drawn` has by setting the numbers of its arm.
    """

    name: str
    settings: int
    scramble: Annotated[int, NOT_NEGATIVE]
    space: Mapping[str, Any]
    strata: Mapping[str, Any] = field(default_factory=dict)
    judged: Annotated[int, NOT_NEGATIVE] = 20
    stratum: str | None = None
    place: int = 0
    drawn: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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
    seed_pool: Literal["main", "tuning", "confirmation"]
    name: str | None
    study: Study
    results: str
    wandb: Literal["offline", "online", "live", "disabled"]
    wandb_project: str
    wandb_timeout: Annotated[float, POSITIVE] = field(default=60.0, kw_only=True)
    tensorboard: bool = field(default=False, kw_only=True)
    checkpoint_minutes: Annotated[float, NOT_NEGATIVE]
    device: Literal["cpu", "cuda"] = field(default="cpu", kw_only=True)
    engine: Literal["kernel", "torch"] = field(default="kernel", kw_only=True)
    retry: Literal["nothing", "failed", "damaged"]
    dry_run: bool
    keep_episodes: bool = field(default=True, kw_only=True)
    sample_solved: bool = field(default=True, kw_only=True)
    plugins: tuple[str, ...] = field(default=(), kw_only=True)
    illegal: Literal["refuse", "skip"] = field(default="refuse", kw_only=True)
    design: Design | None = field(default=None, kw_only=True)
    until: Literal["seeds", "decided"] = field(default="seeds", kw_only=True)
    max_pairs: Annotated[int | None, POSITIVE] = field(default=None, kw_only=True)

    @property
    def task_name(self) -> str:
        """The task in tables and folders: its name, with the knobs that make another environment of it."""
        return names.task_name(self.task.name, self.task.knobs, self.task.time_limit, self.task.usual)

    @property
    def stream_seeds(self) -> tuple[int, ...]:
        """The seeds that random streams are made of: `seeds`, or those that the runs of a design have."""
        return self.seeds if self.design is None else tuple(run // RUNS_OF_SEED for run in self.seeds)

    @property
    def arm_name(self) -> str:
        """The arm in tables and folders: the name it was given, or the three factors; a peer's own name."""
        if self.is_peer:
            return f"{self.algorithm.label}-{self.name}" if self.name else self.algorithm.label
        return self.name or f"{self.baseline.label}-{self.advantage.label}-{self.update.label}"
