"""The policies that are examined: stages of a training run of this suite, a recorded run, or the exact optimum."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from bench.config.schema import Arm, Config
from bench.errors import UserError
from bench.execution.execute import recorded_config
from bench.lab.policies import NetworkCritic, NetworkPolicy, Policy, TabularPolicy, table_of
from bench.lab.simulate import RewardProcess
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
CANDIDATES = 1.15  # how many times as many steps a policy has behind it as the candidate before
_STREAM = 1000  # of the episodes that scores are means of; measurements have streams of smaller numbers
EPISODES = 64  # from which the score of a policy is known where it cannot be computed


@dataclass(frozen=True)
class Stage:
    """A policy, the critic it was trained beside (None without one), and the scale of the rewards that critic saw.

    `seed` is that of its training run. `score` is J, the expected undiscounted return, and `learned` is which part of
    the way from the first to the last policy's score lies behind it: NaN where it is not known.
    """

    name: str
    policy: Policy
    critic: NetworkCritic | None
    reward_scale: float
    env_steps: int
    seed: int = 0
    score: float = math.nan
    learned: float = math.nan


class Training:
    """The training runs of an arm with some seeds, whose policies are the stages: they run when first asked for."""

    def __init__(self, config: Config, seeds: Sequence[int]) -> None:
        self.config, self.seeds = config, seeds
        self._kept: list[list[Stage]] | None = None

    def stage(self, name: str, progress: Callable[[float], None] = lambda _: None) -> list[Stage]:
        """Return a stage of each run; for what `halfway` is and for errors see `trained`."""
        if name == START:
            kept = [[stage] for stage in _untrained(self.config, self.seeds)]
        else:
            kept = self._kept = self._kept or _candidates(self.config, self.seeds, progress)
        found = []
        for seed, candidates in zip(self.seeds, kept, strict=True):
            judged = candidates if name == HALFWAY else [candidates[0], candidates[-1]]
            scores = _scores(judged, seed, lambda: progress(1.0))
            chosen = {START: 0, HALFWAY: halfway(scores), END: len(scores) - 1}[name]
            way = scores[-1] - scores[0]
            learned = (scores[chosen] - scores[0]) / way if way != 0 and name != START else math.nan
            found.append(replace(judged[chosen], name=name, score=scores[chosen], learned=learned))
        return found


def trained(
    config: Config, seeds: Sequence[int], name: str, progress: Callable[[float], None] = lambda _: None
) -> list[Stage]:
    """Train the configuration's arm with these seeds and return a stage of each run.

    `halfway` is halfway through learning, not through the budget, where a policy may long have learned what there is:
    of the candidates, it is the policy whose score is nearest to the middle between the first and the last policy's
    (the first of equals). Candidates are the policies that collected the first batch, the last one, and between them
    the first to have `CANDIDATES` times as many steps behind it as the candidate before. Scores are exact in solved
    worlds, elsewhere means of `EPISODES` episodes with the same random numbers for all candidates of a run.

    Raises:
        UserError: where a run fails.
    """
    return Training(config, seeds).stage(name, progress)


def halfway(scores: Sequence[float]) -> int:
    """Return which of these scores is nearest to the middle between the first and the last: the first of equals."""
    middle = (scores[0] + scores[-1]) / 2
    return min(range(len(scores)), key=lambda index: abs(scores[index] - middle))


def _model(config: Config, seeds: Sequence[int]) -> tuple[Task, PolicyGradient]:
    task = make(config.task)
    env = BatchedVecEnv(environments(task, seeds, config.n_envs, config.seed_pool))
    return task, PolicyGradient("MlpPolicy", env, config, list(seeds), config.seed_pool)


def _untrained(config: Config, seeds: Sequence[int]) -> list[Stage]:
    """Return the policies that training begins with."""
    task, model = _model(config, seeds)
    return [stage_of(START, task, model.policy, config, row, 0, seed) for row, seed in enumerate(seeds)]


def _candidates(config: Config, seeds: Sequence[int], progress: Callable[[float], None]) -> list[list[Stage]]:
    """Train, and return the policies that may stand for a stage, from first to last, of every seed.

    Raises `UserError` where a run fails.
    """
    task, model = _model(config, seeds)
    keeping = _Keeping(task, config, seeds, progress)
    model.learn(config.budget, callback=[keeping], log_interval=None)
    for row, cause in model.failures.items():
        raise UserError(
            f"seeds={list(seeds)}: training {config.task.name} failed with seed {seeds[row]} ({cause}); choose others"
        )
    return keeping.kept


class _Keeping(BaseCallback):
    """Keeps the candidates of every replica: see `trained`."""

    model: PolicyGradient

    def __init__(self, task: Task, config: Config, seeds: Sequence[int], progress: Callable[[float], None]) -> None:
        super().__init__()
        self.task, self.config, self.seeds, self.progress = task, config, seeds, progress
        self.kept: list[list[Stage]] = [[] for _ in seeds]

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.progress(max(self.model.env_steps) / self.config.budget)
        for row in self.model.active:
            before = self.kept[row][-1].env_steps if self.kept[row] else -1
            if self.model.env_steps[row] >= max(before + 1, CANDIDATES * before):
                self._keep(row)

    def _on_training_end(self) -> None:
        for row in range(len(self.seeds)):
            self._keep(row)

    def _keep(self, row: int) -> None:
        now = self.model.env_steps[row]
        stage = stage_of(HALFWAY, self.task, self.model.policy, self.config, row, now, self.seeds[row])
        self.kept[row].append(stage)


def _scores(stages: Sequence[Stage], seed: int, beat: Callable[[], None] = lambda: None) -> list[float]:
    """Return J of policies of one run; `beat` is called at every step."""
    policies = [stage.policy for stage in stages if isinstance(stage.policy, NetworkPolicy)]
    task = policies[0].task
    if isinstance(task, ExactTask) and task.is_tabular:
        totals = task.expected_totals(np.stack([table_of(task, policy) for policy in policies]))
        return [float(score) for score in totals["return"]]
    sequence = np.random.SeedSequence(seed, spawn_key=(_STREAM,))
    found = []
    for policy in policies:
        episodes = RewardProcess(policy, 1.0, beat=beat).from_start(np.random.default_rng(sequence), EPISODES)
        found.append(float(episodes.returns(1.0).mean()))
    return found


def stage_of(name: str, task: Task, policy: StackedPolicy, arm: Arm, replica: int, env_steps: int, seed: int) -> Stage:
    """Return a copy of what one replica is now, after `env_steps` of training as `arm`."""
    actor = policy.acting().select([replica])
    values = policy.select([replica]).values()
    critic = None if values is None else NetworkCritic(task, values.select([0]), actor)
    scale = 1.0
    if policy.reward_scale is not None:
        scale = math.sqrt(float(policy.reward_scale.ret_rms.variance[replica, 0]))
    return Stage(name, NetworkPolicy(task, actor, arm), critic, scale, env_steps, seed)


def recorded(path: Path, task_name: str, seeds: Sequence[int] | None) -> tuple[Config, list[Stage]]:
    """Return final policies of a recorded block, and the configuration that trained them.

    Args:
        path: the block's folder.
        task_name: the task they must act in.
        seeds: those whose policies are asked for; None: all that did not fail.

    Raises:
        UserError: where `path` holds no finished block, or one of another task or without these seeds.
    """
    block = blocks.read(path.expanduser())
    if block is None or not block.finished:
        raise UserError(f"policy={path}: no finished block; give the folder that holds its {blocks.RECORD}")
    if block.record["task"] != task_name:
        raise UserError(
            f"policy={path}: it acts in {block.record['task']}, not in {task_name}; "
            f"use task={block.record['task']}, or a run of {task_name}"
        )
    usable = [seed for seed in sorted(block.seeds) if seed not in block.causes]
    for seed in usable if seeds is None else seeds:
        if seed not in usable:
            there = ", ".join(map(str, usable))
            raise UserError(f"seeds: {path} has no policy of seed {seed}; it has those of {there}")
    blocks.check(block)
    config = recorded_config(block.path)
    if config.design is not None:
        raise UserError(f"{path}: a block of a design, whose runs have numbers of their own; name one of a single cell")
    saved = blocks.needed(block, blocks.POLICY)
    policy, task = checkpoint.load_policy(saved), make(config.task)
    found = []
    for seed in usable if seeds is None else seeds:
        env_steps, row = block.record["seeds"][str(seed)].get("env_steps") or 0, checkpoint.replica(policy, seed, saved)
        stage = stage_of(RECORDED, task, policy, config, row, env_steps, seed)
        found.append(replace(stage, score=_scores([stage], seed)[0]))
    return config, found


def optimum(task: Task, task_name: str, gamma: float) -> Stage:
    """Return the exact optimum. Raises `UserError` for a task that is not solved."""
    if not isinstance(task, ExactTask):
        raise UserError(f"stages={OPTIMUM}: {task_name} has no exact solution; use {', '.join(TRAINED)}")
    solved = task.solve("optimal", gamma)
    score = float(task.expected_totals(solved.policy[None])["return"][0])
    return Stage(OPTIMUM, TabularPolicy(task, solved.policy), None, 1.0, 0, score=score)
