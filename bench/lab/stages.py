"""The policies that are examined: stages of a training run of this suite, a recorded run, or the exact optimum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from bench.config.schema import Arm, Config
from bench.errors import UserError
from bench.execution.execute import recorded_config
from bench.lab.policies import NetworkCritic, NetworkPolicy, Policy, TabularPolicy
from bench.learner import checkpoint
from bench.learner.policy import StackedPolicy
from bench.learner.policy_gradient import PolicyGradient
from bench.records import block as blocks
from bench.tasks.base import Task
from bench.tasks.exact import ExactTask
from bench.tasks.registry import environments, make
from bench.tasks.vec_env import BatchedVecEnv

START, HALFWAY, END = "start", "halfway", "end"
TRAINED = (START, HALFWAY, END)
OPTIMUM = "optimum"
RECORDED = "recorded"
WINDOW = 100  # episodes whose mean return says how far learning has come


@dataclass(frozen=True)
class Stage:
    """A policy, the critic it was trained beside (None without one), and the scale of the rewards that critic saw."""

    name: str
    policy: Policy
    critic: NetworkCritic | None
    reward_scale: float
    env_steps: int


def trained(config: Config, seed: int, name: str) -> Stage:
    """Train the configuration's arm with one seed up to a stage. Raises `UserError` where training fails before.

    `halfway` is where the return has made half of its way from the first to the last episodes: at half of the budget,
    a policy may long have learnt what there is. Only the finished run tells, so it is trained again up to there.
    """
    if name == START:
        return _after(config, seed, name, 0)
    seen = _Returns()
    stage = _after(config, seed, name, config.budget, seen)
    return stage if name == END else _after(config, seed, name, halfway(seen.begun, seen.returns))


def _after(config: Config, seed: int, name: str, steps: int, *watching: BaseCallback) -> Stage:
    """Return the policy that collects the first batch to begin at `steps` or later, or the last one."""
    task = make(config.task)
    env = BatchedVecEnv(environments(task, [seed], config.n_envs, config.seed_pool))
    model = PolicyGradient("MlpPolicy", env, config, [seed], config.seed_pool)
    if steps > 0:
        callbacks = [_Stop(steps), *watching]
        model.learn(config.budget, callback=callbacks, log_interval=None)
    if model.failures:
        raise UserError(f"seed={seed}: training {config.task.name} failed ({model.failures[0]}); choose another seed")
    return stage_of(name, task, model.policy, config, 0, model.env_steps[0])


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


class _Returns(BaseCallback):
    """Keeps the return of every finished episode, and the environment steps before the batch it ended in."""

    model: PolicyGradient

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[int] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.begun.append(self.model.env_steps[0])
                self.returns.append(float(info["episode"]["r"]))
        return True


def halfway(begun: Sequence[int], returns: Sequence[float]) -> int:
    """Return the environment steps after which half of what is learned is learned.

    Args:
        begun: (episodes,) in the order they ended; the environment steps before the batch each ended in.
        returns: (episodes,), their returns.

    Returns:
        `begun` of the episode around which a mean of `WINDOW` is for the first time as near to the last as to the
        first such mean; 0 where no episode ended.
    """
    if not returns:
        return 0
    width = min(WINDOW, len(returns))
    means = np.lib.stride_tricks.sliding_window_view(np.array(returns), width).mean(axis=1)
    first, last = means[0], means[-1]
    beyond = (means - (first + last) / 2) * np.sign(last - first) >= 0
    return begun[int(beyond.argmax()) + width // 2]


def stage_of(name: str, task: Task, policy: StackedPolicy, arm: Arm, replica: int, env_steps: int) -> Stage:
    """Return a copy of what one replica is now, after `env_steps` of training as `arm`."""
    actor = policy.acting().select([replica])
    critic = None if policy.critic is None else NetworkCritic(task, policy.critic.stack.select([replica]), actor)
    scale = 1.0
    if policy.reward_scale is not None:
        scale = math.sqrt(float(policy.reward_scale.ret_rms.variance[replica, 0]))
    return Stage(name, NetworkPolicy(task, actor, arm), critic, scale, env_steps)


def recorded(path: Path, task_name: str, seed: int | None) -> tuple[Config, Stage]:
    """Return the final policy of a seed of a recorded block, and the configuration that trained it.

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
    saved = blocks.needed(block, blocks.POLICY)
    policy = checkpoint.load_policy(saved)
    env_steps, replica = block.record["seeds"][str(seed)].get("env_steps") or 0, checkpoint.replica(policy, seed, saved)
    return config, stage_of(RECORDED, make(config.task), policy, config, replica, env_steps)


def optimum(task: Task, task_name: str, gamma: float) -> Stage:
    """Return the exact optimum. Raises `UserError` for a task that is not solved."""
    if not isinstance(task, ExactTask):
        raise UserError(f"stages={OPTIMUM}: {task_name} has no exact solution; use {', '.join(TRAINED)}")
    return Stage(OPTIMUM, TabularPolicy(task, task.solve("optimal", gamma).policy), None, 1.0, 0)
