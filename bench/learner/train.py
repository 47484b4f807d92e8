"""Training a block: the seeds of a cell in lockstep, evaluated on a fixed grid of steps.

`PolicyGradient.learn` is the loop; the callback here evaluates in it, and reports everything to an observer.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from stable_baselines3.common.callbacks import BaseCallback

from bench.config.design import setting_of
from bench.config.schema import Config, Design
from bench.errors import UserError
from bench.learner.actor import Actor, joined
from bench.learner.checkpoint import read_checkpoint, taking_state
from bench.learner.evaluate import grid_of, judge, mean_return
from bench.learner.policy_gradient import PolicyGradient
from bench.observer import Observer, Row, SeedOutcome
from bench.tasks.base import Task
from bench.tasks.foreign import GymTask
from bench.tasks.registry import environments, make
from bench.tasks.vec_env import BatchedVecEnv

ENOUGH = 2000  # episodes that are worth a pass through their environments


@dataclass(frozen=True)
class TrainedBlock:
    """A finished block; see `bench.observer.Trained`."""

    model: PolicyGradient
    outcomes: dict[int, SeedOutcome] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters of one replica, by network."""
        return {name: network.stack.used for name, network in self.model.policy.networks().items()}

    def save_policy(self, path: Path) -> None:
        """Write the stacked policy; see `PolicyGradient.save`."""
        self.model.save(path)

    def save_checkpoint(self, path: Path) -> None:
        """Write everything needed to go on training; loadable with `weights_only`."""
        content = io.BytesIO()  # torch would write the file's name into it
        torch.save(self.model.get_checkpoint(), content)
        path.write_bytes(content.getvalue())


def train(config: Config, seeds: Sequence[int], observer: Observer, checkpoint: BinaryIO | None = None) -> TrainedBlock:
    """Train one replica per seed for the configured budget, telling `observer` every update and evaluation.

    In a cell of a design of settings, `seeds` are the numbers of runs, each of which has its own setting and seed; see
    `bench.config.design`. Rows call a run by its number.

    With a `checkpoint` that an `Observer.on_checkpoint` had written, go on from there: `observer` is told what follows,
    with the same bits as in a run that was never interrupted.

    Raises:
        UserError: where the task's settings are wrong, or a run has no setting that its design has drawn.
        DamagedCheckpoint: where the checkpoint cannot be read, or is not one of this cell and these seeds.
    """
    task = make(config.task)
    streams = replace(config, seeds=tuple(seeds)).stream_seeds
    env = BatchedVecEnv(environments(task, streams, config.n_envs, config.seed_pool))
    model = PolicyGradient("MlpPolicy", env, config, None, config.seed_pool, config.device, engine=config.engine)
    if config.design is not None:
        model.give_numbers(_drawn(config.design, seeds), seeds)
    callback = GridEvalCallback(config, task, observer)
    if checkpoint is None:
        model.learn(config.budget, callback, log_interval=None)
    else:
        state = read_checkpoint(checkpoint)
        with taking_state():
            callback.resume_from, of_model = state["watch"], state["model"]
        model.resume(of_model, config.budget, callback)
    return TrainedBlock(model, {name: _outcome(model, replica) for replica, name in enumerate(model.names)})


def _drawn(design: Design, runs: Sequence[int]) -> list[dict[str, float]]:
    """The numbers of each run."""
    names = {run: str(setting_of(run)) for run in runs}
    undrawn = [run for run, name in names.items() if name not in design.drawn]
    if undrawn:
        raise UserError(
            f"run {undrawn[0]} has no setting that design={design.name} has drawn; python -m bench draws them all"
        )
    return [dict(design.drawn[name]) for name in names.values()]


def _outcome(model: PolicyGradient, replica: int) -> SeedOutcome:
    cause = model.failures.get(replica)
    return SeedOutcome(
        status="failed" if cause else "done",
        cause=cause,
        env_steps=model.env_steps[replica],
        updates=model.updates[replica],
        unused_budget=max(0, model.arm.budget - model.env_steps[replica]),
    )


class Waiting(NamedTuple):
    """A policy that is yet to be evaluated: where on the grid, whose it is, and what acted then."""

    place: int
    replica: int
    actor: Actor


class GridEvalCallback(BaseCallback):
    """Reports updates, and evaluates each replica at every grid step with the policy that took that step.

    Replicas reach a grid step at different times. Copies of their actors are kept until all have reached it, and until
    there are so many that a step of all their episodes at once is mostly arithmetic: `ENOUGH`.
    """

    model: PolicyGradient

    def __init__(self, config: Config, task: Task, observer: Observer) -> None:
        super().__init__()
        self.config, self.task, self.observer = config, task, observer
        self.grid = grid_of(config)
        self.kept: list[dict[int, Actor]] = [{} for _ in self.grid]  # index on the grid → replica → what acted then
        self.current_return: float | None = None
        self.resume_from: Mapping[str, Any] | None = None

    def _on_training_start(self) -> None:
        self.next_index = [0] * len(self.model.seeds)  # of each replica, the first grid step it has not reached
        self.complete = self.evaluated = 0  # grid steps that all replicas have reached, and those that are done with
        if self.resume_from is not None:
            with taking_state():
                self._restore(self.resume_from)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self._report_update()
        self.observer.on_checkpoint(self._save if self.model.resumable else None)

    def _on_rollout_end(self) -> None:
        """Before the update: the policy in force at a grid step has learned from the steps before it only."""
        for replica in self.model.active:
            if replica not in self.model.failures:
                self._keep(replica, self.model.env_steps[replica])
        self._evaluate_complete()
        used = sum(self.model.env_steps) / (len(self.model.seeds) * self.config.budget)
        self.observer.on_progress(used, self.current_return)

    def _on_training_end(self) -> None:
        self._report_update()
        self._keep_final(range(len(self.model.seeds)))
        self._evaluate_complete(last=True)
        self.observer.on_progress(1.0, self.current_return)

    def _save(self, file: BinaryIO) -> None:
        torch.save({"model": self.model.get_checkpoint(), "watch": self._state()}, file)

    def _state(self) -> dict[str, Any]:
        """Return what `_restore` needs, as numbers and tensors; the keys are those of files that users have."""
        return {
            "next_place": list(self.next_index),
            "complete": self.complete,
            "evaluated": self.evaluated,
            "current_return": self.current_return,
            "waiting": [{replica: actor.state_dict() for replica, actor in kept.items()} for kept in self.kept],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.next_index, self.evaluated = list(state["next_place"]), state["evaluated"]
        self.complete = state.get("complete", self.evaluated)
        reached = [self.evaluated, self.complete, *self.next_index]
        if not all(type(index) is int and 0 <= index <= len(self.grid) for index in reached):
            raise ValueError(f"grid steps {reached} of {len(self.grid)}")
        self.current_return = state["current_return"]
        like = self.model.policy.acting()
        self.kept = [{replica: like.with_state(actor) for replica, actor in kept.items()} for kept in state["waiting"]]

    def _report_update(self) -> None:
        if self.model.latest:
            self.observer.on_update(self.model.latest)
            self.model.latest = []
        self._keep_final(set(range(len(self.model.seeds))) - set(self.model.active))

    def _keep_final(self, replicas: Iterable[int]) -> None:
        """Keep the final policy for what is left of the grid."""
        for replica in replicas:
            if replica not in self.model.failures:
                self._keep(replica, self.config.budget + 1)

    def _keep(self, replica: int, env_steps: int) -> None:
        """Keep a copy of the replica's actor for every grid step it has reached since."""
        while self.next_index[replica] < len(self.grid) and self.grid[self.next_index[replica]] < env_steps:
            self.kept[self.next_index[replica]][replica] = self.model.policy.acting().select([replica])
            self.next_index[replica] += 1

    def _evaluate_complete(self, *, last: bool = False) -> None:
        """Evaluate at the grid steps that all replicas have reached, where enough policies wait; the last time, all."""
        expected = [r for r in range(len(self.model.seeds)) if r not in self.model.failures]
        while self.complete < len(self.grid) and all(self.next_index[r] > self.complete for r in expected):
            kept = self.kept[self.complete]
            self.kept[self.complete] = {r: kept[r] for r in sorted(kept) if r not in self.model.failures}
            self.complete += 1
        indices = range(self.evaluated, self.complete)
        waiting = [Waiting(index, replica, actor) for index in indices for replica, actor in self.kept[index].items()]
        enough = 1 if isinstance(self.task, GymTask) else ENOUGH  # a column of somebody else's may be large
        if waiting and (last or len(waiting) * 2 * self.config.evaluation.episodes >= enough):
            self._evaluate(waiting)
        elif waiting:
            return
        for index in indices:
            self.kept[index] = {}
        self.evaluated = self.complete

    def _evaluate(self, waiting: Sequence["Waiting"]) -> None:
        """Evaluate these policies, and tell the rows of those that meet no fault."""
        settings, model = self.config.evaluation, self.model
        seeds, places = [model.seeds[each.replica] for each in waiting], [each.place for each in waiting]
        actor = joined([each.actor for each in waiting])
        with torch.no_grad():
            found = judge(
                actor, self.task, seeds, places, settings.episodes, self.config.seed_pool,
                sample_solved=self.config.sample_solved,
            )  # fmt: skip
        episodes: list[Row] = []
        exact: list[Row] = []
        faulty = set[int]()
        for each, judged in zip(waiting, found, strict=True):
            if judged.fault is not None:
                faulty.add(each.replica)
                model.failures.setdefault(each.replica, judged.fault)
            if each.replica not in faulty:  # what it would do at later steps, nobody asks
                named = {"step": self.grid[each.place]}, {"seed": model.names[each.replica]}
                episodes += [named[0] | row | named[1] for row in judged.episodes]
                exact += [named[0] | row | named[1] for row in judged.exact]
        if latest := [row for row in episodes or exact if row["step"] == self.grid[places[-1]]]:
            self.current_return = mean_return(latest)
        if episodes:
            self.observer.on_evaluation(episodes)
        if exact:
            self.observer.on_exact_returns(exact)
