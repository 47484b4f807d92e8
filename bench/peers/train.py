"""Training a block of a peer: seed after seed, recorded like our own.

It is judged like an arm of ours: in the same evaluation environments, with the same streams, at the same steps.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from bench.config.schema import Config
from bench.learner.device import one_thread
from bench.learner.evaluate import EvaluationFaults, grid_of, mean_return
from bench.learner.spaces import space_to_json
from bench.observer import Observer, SeedOutcome
from bench.peers.evaluate import evaluate, exact_returns
from bench.peers.library import EpisodeLog, batch_steps, build, class_name, library_streams, peer_seed
from bench.peers.saved import FORMAT, TrainedPeers
from bench.tasks.base import Task
from bench.tasks.environments import TaskFault
from bench.tasks.registry import make

MOST_ROWS = 1000  # of diagnostics a seed leaves


def train(config: Config, seeds: Sequence[int], observer: Observer) -> TrainedPeers:
    """Train the peer with one seed after another, telling `observer` what a block of our own would tell.

    A seed that raises, that meets a fault of the task or whose weights are not finite is marked failed; the others go
    on.
    """
    task = make(config.task)
    description = {
        "format": FORMAT,
        "class": class_name(config),
        "parameters": dict(config.algorithm.parameters),
        "seeds": {str(seed): peer_seed(seed, config.seed_pool) for seed in seeds},
        "observation_space": space_to_json(task.observation_space),
        "action_space": space_to_json(task.action_space),
    }
    trained = TrainedPeers(description)
    for index, seed in enumerate(seeds):
        share = (index / len(seeds), 1 / len(seeds))
        with one_thread(), library_streams(peer_seed(seed, config.seed_pool)):
            trained.outcomes[seed] = _train_seed(config, task, seed, observer, share, trained)
    return trained


def _train_seed(
    config: Config, task: Task, seed: int, observer: Observer, share: tuple[float, float], trained: TrainedPeers
) -> SeedOutcome:
    callback: _SeedCallback | None = None
    cause: str | None = None
    try:
        model, log = build(config, task, seed)
        callback = _SeedCallback(config, task, seed, observer, log, share)
        with suppress(_BudgetUsed):
            model.learn(config.budget, callback, log_interval=sys.maxsize)
        callback.finish()
        trained.keep(seed, model)
        if not all(bool(value.isfinite().all()) for value in model.policy.parameters()):
            cause = "the weights were not finite at the end"
    except TaskFault as fault:
        cause = f"{fault} in training"
    except EvaluationFaults as faults:
        cause = str(faults)
    except Exception as error:  # whatever a library raises while it trains: the other seeds go on
        cause = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    steps, updates = (callback.num_timesteps, callback.updates) if callback else (0, 0)
    return SeedOutcome("failed" if cause else "done", cause, steps, updates, max(0, config.budget - steps))


class _BudgetUsed(Exception):
    """What comes next would not fit the budget. Not every library stops when a callback returns False."""


class _SeedCallback(BaseCallback):
    """Reports one seed's updates, judges its policy at every grid step, and ends it with its budget.

    A grid step is judged with the policy that step was taken with, as for our own learner.
    """

    def __init__(
        self, config: Config, task: Task, seed: int, observer: Observer, log: EpisodeLog, share: tuple[float, float]
    ) -> None:
        super().__init__()
        self.config, self.task, self.seed, self.observer, self.log = config, task, seed, observer, log
        self.before, self.share = share  # of the block's work: done by other seeds, and this seed's
        self.grid = grid_of(config)
        self.next_index = 0
        self.current_return: float | None = None
        self.updates = 0
        self._learned = 0  # the library's own count of updates when we last looked
        self._reported = 0  # the step of the last row

    def _on_rollout_start(self) -> None:
        self._report()
        fits = self.num_timesteps + batch_steps(self.model) <= self.config.budget
        if not fits and isinstance(self.model, OnPolicyAlgorithm):
            raise _BudgetUsed

    def _on_step(self) -> bool:
        self.num_timesteps = self.model.num_timesteps  # ARS counts on after it has called
        self._judge(self.num_timesteps)
        self._progress(self.num_timesteps / self.config.budget)
        fits = self.num_timesteps + self.training_env.num_envs <= self.config.budget
        if not fits and not isinstance(self.model, OnPolicyAlgorithm):
            raise _BudgetUsed
        return True

    def finish(self) -> None:
        """Judge the final policy at what is left of the grid."""
        self._report(last=True)
        self._judge(self.config.budget + 1)
        self._progress(1.0)

    def _progress(self, used: float) -> None:
        self.observer.on_progress(min(1.0, self.before + self.share * min(1.0, used)), self.current_return)

    def _report(self, *, last: bool = False) -> None:
        """Report a row of diagnostics where the library has learned since the last; few enough for a quick learner."""
        if self.model._n_updates == self._learned:
            return
        self._learned = self.model._n_updates
        self.updates += 1
        if not last and self.num_timesteps - self._reported < self.config.budget // MOST_ROWS:
            return
        self._reported = self.num_timesteps
        logged = {name: _number(value) for name, value in self.logger.name_to_value.items() if "/" in name}
        row: dict[str, float] = {"seed": self.seed, "step": self.num_timesteps, "update": self.updates}
        kept = {name: value for name, value in logged.items() if value is not None and not name.startswith("time/")}
        self.observer.on_update([row | kept | self.log.take()])

    def _judge(self, steps: int) -> None:
        """Evaluate at the grid steps before `steps`."""
        evaluation, pool = self.config.evaluation, self.config.seed_pool
        while self.next_index < len(self.grid) and self.grid[self.next_index] < steps:
            index = self.next_index
            exact = exact_returns(self.model, self.task, self.seed, lengths=not self.config.sample_solved)
            rows = []
            if self.config.sample_solved or not exact:
                rows = evaluate(self.model, self.task, self.seed, index, evaluation.episodes, pool)
                self.observer.on_evaluation([{"step": self.grid[index], **row} for row in rows])
            self.current_return = mean_return(rows or exact)
            if exact:
                self.observer.on_exact_returns([{"step": self.grid[index], **row} for row in exact])
            self.next_index += 1


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
