"""The policies that are examined: stages of a training run of this suite, a recorded run, or the exact optimum."""

from dataclasses import dataclass
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback

from bench.config import Config
from bench.errors import UserError
from bench.lab.policies import NetworkCritic, NetworkPolicy, Policy, TabularPolicy
from bench.learner.policy_gradient import PolicyGradient
from bench.runs import block as blocks
from bench.runs.execute import recorded_config
from bench.tasks.base import Task
from bench.tasks.exact import ExactTask
from bench.tasks.registry import environments, make
from bench.tasks.vec_env import BatchedVecEnv

SHARES = {"start": 0.0, "middle": 0.5, "end": 1.0}  # of the training budget
OPTIMUM = "optimum"
RECORDED = "recorded"


@dataclass(frozen=True)
class Stage:
    """A policy, the critic it was trained beside (None without one), and the scale of the rewards that critic saw."""

    name: str
    policy: Policy
    critic: NetworkCritic | None
    reward_scale: float
    env_steps: int


def trained(config: Config, seed: int, name: str) -> Stage:
    """Train the configuration's arm with one seed up to a stage. Raises `UserError` where training fails before."""
    task = make(config.task)
    env = BatchedVecEnv(environments(task, [seed], config.n_envs, config.seed_pool))
    model = PolicyGradient("MlpPolicy", env, config, [seed], config.seed_pool)
    if SHARES[name] > 0:
        stop = _Stop(SHARES[name] * config.budget)
        model.learn(config.budget, callback=stop, log_interval=None)  # type: ignore[arg-type]  # SB3's own default
    if model.failures:
        raise UserError(f"seed={seed}: training {config.task.name} failed ({model.failures[0]}); choose another seed")
    return stage_of(name, task, model, 0)


class _Stop(BaseCallback):
    """Ends training with the first batch that would begin after a number of steps."""

    model: PolicyGradient

    def __init__(self, after: float) -> None:
        super().__init__()
        self.after = after

    def _on_step(self) -> bool:
        return self._going

    def _on_rollout_start(self) -> None:
        self._going = self.model.env_steps[0] < self.after


def stage_of(name: str, task: Task, model: PolicyGradient, replica: int) -> Stage:
    """A copy of what a model is now."""
    policy = model.policy
    actor = policy.acting().select([replica])
    critic = None if policy.critic is None else NetworkCritic(task, policy.critic.stack.select([replica]), actor)
    scale = 1.0
    if policy.reward_scale is not None:
        scale = float(policy.reward_scale.moments.variance[replica, 0]) ** 0.5
    return Stage(name, NetworkPolicy(task, actor, model.arm), critic, scale, model.env_steps[replica])


def recorded(path: Path, task_name: str, seed: int | None) -> tuple[Config, Stage]:
    """The final policy of a seed of a recorded block, and the configuration that trained it.

    Raises:
        UserError: where `path` holds no finished block, or one of another task or without this seed.
    """
    block = blocks.read(path.expanduser())
    if block is None or not block.finished:
        raise UserError(f"policy={path}: no finished block; give the folder that holds its {blocks.RECORD}")
    if block.record["task"] != task_name:
        raise UserError(
            f"policy={path}: it acts in {block.record['task']}, not in {task_name}; "
            f"use task={block.record['task']}, or a run of {task_name}"
        )
    seeds = sorted(block.seeds)
    seed = seeds[0] if seed is None else seed
    if seed not in block.seeds or seed in block.causes:
        usable = ", ".join(str(number) for number in seeds if number not in block.causes)
        raise UserError(f"seed={seed}: no such policy in {path}; it has {usable}")
    blocks.check(block)
    config = recorded_config(block.path)
    model = PolicyGradient.load(blocks.needed(block, blocks.POLICY))
    return config, stage_of(RECORDED, make(config.task), model, seeds.index(seed))


def optimum(task: Task, task_name: str, gamma: float) -> Stage:
    """The exact optimum. Raises `UserError` for a task that is not solved."""
    if not isinstance(task, ExactTask):
        raise UserError(f"stages={OPTIMUM}: {task_name} has no exact solution; use {', '.join(SHARES)}")
    return Stage(OPTIMUM, TabularPolicy(task, task.solve("optimal", gamma).policy), None, 1.0, 0)
