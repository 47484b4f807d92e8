"""Recording a block that is trained: the learner's rows, and moments from which an interrupted training goes on."""

import dataclasses
import functools
import io
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from bench import interruption
from bench.config import design
from bench.config.identity import cell_hash, factors
from bench.config.schema import Config
from bench.errors import RunWarning, UserError
from bench.observer import Row, Save, Trained
from bench.records import block as blocks
from bench.records import metrics, partial, provenance, scalars, summaries
from bench.records.fields import DESIGN
from bench.records.files import Damaged
from bench.records.recorder import Recorder, Subject, costs, now
from bench.records.tables import CURVES, EPISODES, TRAINING, curve_rows, write_rows
from bench.tasks.registry import kind_bounds, make

CHECKPOINT_SHARE = 0.02  # of the time, at most, goes into checkpoints: after a slow one, the next waits for longer


def subject(config: Config, directory: Path, overrides: Sequence[str] = ()) -> Subject:
    """What the record of a trained block says from its beginning."""
    outcome = {"status": "running", "cause": None, "env_steps": 0, "updates": 0, "unused_budget": 0}
    entries = {
        "study": config.study.name,
        "task": config.task_name,
        "arm": config.arm_name,
        "hash": cell_hash(config),
        "factors": factors(config),
        "seed_pool": config.seed_pool,
        "budget": config.budget,
        "score": dataclasses.asdict(config.task.score),
        **({} if config.design is None else {DESIGN: design.of_block(config.design, config.seeds)}),
        **_of_kinds(config),
        "overrides": [provenance.private(override) for override in overrides],
    }
    seeds = dict.fromkeys(config.seeds, outcome)
    return Subject(config.results, directory, seeds, entries, provenance.settings(config), config.retry)


def _of_kinds(config: Config) -> dict[str, Any]:
    """The bounds of each kind of episode, where there are several kinds."""
    bounds = kind_bounds(make(config.task))
    return {"kinds": {kind: dataclasses.asdict(score) for kind, score in bounds.items()}} if bounds else {}


class TrainingRecorder(Recorder):
    """The observer of a training: `begin`, the learner's calls, `finish_training` or `fail` or `release`, `close`."""

    resumable = (partial.PARTIAL,)

    def __init__(self, config: Config, directory: Path, overrides: Sequence[str] = ()) -> None:
        super().__init__(subject(config, directory, overrides))
        self.config = config
        self.checkpoint: BinaryIO | None = None  # what training goes on from, None for a beginning
        self._last_checkpoint, self._checkpoint_cost = time.monotonic(), 0.0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._training: list[Row] = []
        self._episodes: list[Row] = []
        self._exact_returns: list[Row] = []
        self._wall_before = self._cpu_before = 0.0
        self._scalars: scalars.Scalars | None = None
        self._batch_ended: float | None = None
        self._update_seconds, self._timed_updates = 0.0, 0

    def resume(self) -> bool:
        """Take up the moment an earlier process saved."""
        found = self._left_behind()
        self._last_checkpoint = time.monotonic()
        if found is None:
            return False
        resumed = {"at": now(), "after_seconds": found.header.wall_seconds, "host": provenance.host()}
        self.record |= {"started": found.header.started, "resumed": [*found.header.resumed, resumed]}
        self._training, self._episodes = list(found.training), list(found.episodes)
        self._exact_returns = list(found.exact_returns)
        self._wall_before, self._cpu_before = found.header.wall_seconds, found.header.cpu_seconds
        self.checkpoint = io.BytesIO(found.state)
        return True

    def _left_behind(self) -> partial.Partial | None:
        """The moment an earlier process saved, if the same code can go on from it to the same numbers."""
        try:
            found = partial.read(self.directory / partial.PARTIAL)
        except Damaged as error:
            self._set_aside(str(error))
            return None
        if found is None:
            return None
        header = found.header
        if header.git.get("commit") != provenance.git()["commit"] or dict(header.versions) != provenance.versions():
            self._warn("begun by another version of the code or its packages, so trained from the beginning")
            return None
        if header.hash != cell_hash(self.config) or tuple(header.seeds) != self.config.seeds:
            self._set_aside("it is not of this cell and these seeds")
            return None
        return found

    def discard(self, reason: str) -> None:
        """The learner cannot go on from what was found: set it aside and begin anew. Raises `UserError`."""
        try:
            self._set_aside(reason)
        except OSError as error:
            raise UserError(f"cannot move {self.directory / partial.PARTIAL}: {error.strerror}") from error
        self._begin_anew()
        self.record.pop("resumed", None)

    def _set_aside(self, reason: str) -> None:
        aside = blocks.set_aside(self.directory / partial.PARTIAL)
        self._warn(f"damaged checkpoint ({reason}), set aside as {aside}; trained from the beginning")

    def _warn(self, text: str) -> None:
        warnings.warn(f"{self.directory}: {text}", RunWarning, stacklevel=2)

    def _live(self) -> scalars.Scalars | None:
        """What writes scalars for TensorBoard, from behind what an earlier process has written; None if nobody asks."""
        if self._scalars is None and self.config.tensorboard:
            known = [int(row["step"]) for rows in (self._training, self._episodes, self._exact_returns) for row in rows]
            self._scalars = scalars.Scalars(self.config, max(known, default=-1) + 1)
        return self._scalars

    def on_update(self, rows: Sequence[Row]) -> None:
        """Keep the diagnostics of one update, and count its time: our learner reports progress as a batch ends."""
        if self._batch_ended is not None:
            self._update_seconds += time.perf_counter() - self._batch_ended
            self._timed_updates += 1
            self._batch_ended = None
        if (written := self._live()) is not None:
            written.update(rows)
        self._training.extend(rows)

    def on_evaluation(self, rows: Sequence[Row]) -> None:
        """Keep the episodes of one evaluation."""
        if (written := self._live()) is not None:
            written.evaluation(rows)
        self._episodes.extend(rows)

    def on_exact_returns(self, rows: Sequence[Row]) -> None:
        """Keep the exact returns of one evaluation."""
        if (written := self._live()) is not None:
            written.evaluation(rows)
        self._exact_returns.extend(rows)

    def on_progress(self, fraction: float, current_return: float | None) -> None:
        """As `progress`."""
        self.progress(fraction, current_return)
        self._batch_ended = None if self.config.is_peer else time.perf_counter()

    def on_checkpoint(self, save: Save | None) -> None:
        """Save the block now and then, and where a signal asks for it; then, stop.

        Raises:
            Interrupted: where this process was asked to stop.
            Busy: where another process, taking this one for dead, has taken the seeds over.
        """
        asked = interruption.asked()
        self.savable = save is not None
        if save is not None and (asked is not None or self._checkpoint_due()):
            self._save(save)
        if asked is not None:
            raise interruption.Interrupted(asked)

    def _checkpoint_due(self) -> bool:
        pause = max(self.config.checkpoint_minutes * 60, self._checkpoint_cost / CHECKPOINT_SHARE)
        return time.monotonic() - self._last_checkpoint >= pause

    def _save(self, save: Save) -> None:
        self.check_lease()
        began = time.monotonic()
        state = io.BytesIO()
        save(state)
        wall, cpu = self.spent()
        header = partial.Header(
            hash=cell_hash(self.config),
            seeds=tuple(self.config.seeds),
            git=provenance.git(),
            versions=provenance.versions(),
            started=self.record["started"],
            wall_seconds=wall,
            cpu_seconds=cpu,
            resumed=tuple(self.record.get("resumed", ())),
        )
        moment = partial.Partial(header, state.getvalue(), self._episodes, self._training, self._exact_returns)
        partial.write(self.directory / partial.PARTIAL, moment)
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = self._last_checkpoint - began

    def spent(self) -> tuple[float, float]:
        """Wall and CPU seconds, those of earlier processes included."""
        wall, cpu = super().spent()
        return self._wall_before + wall, self._cpu_before + cpu

    def finish_training(self, trained: Trained) -> None:
        """Write every file, the record with their checksums last. Raises `OSError` where that fails, and `Busy`."""
        from bench.records import exact_values  # imports torch, which takes seconds: the learner has done so by now

        wall, cpu = self.spent()
        outcomes = self._outcomes(trained)
        steps = sum(outcome["env_steps"] for outcome in outcomes.values())
        further: dict[str, Any] = {
            "parameters": dict(trained.parameters),
            "seconds_per_update": round(self._update_seconds / self._timed_updates, 6) if self._timed_updates else None,
            "exact_values": exact_values.of(self.config, trained),
            **costs(wall, cpu),
            "steps_per_second": round(steps / max(wall, 1e-9), 1),
        }
        rows: dict[str, Sequence[Row]] = {
            CURVES: curve_rows(self._episodes, self._exact_returns),
            EPISODES: self._episodes,
            TRAINING: self._training,
        }
        tables: dict[str, Callable[[Path], None]] = {
            name: functools.partial(write_rows, name, rows[name])
            for name in rows
            if name != EPISODES or (self._episodes and self.config.keep_episodes)
        }
        tables |= {blocks.POLICY: trained.save_policy, blocks.CHECKPOINT: trained.save_checkpoint}
        self.finish(tables, outcomes, **further)

    def _outcomes(self, trained: Trained) -> dict[int, dict[str, Any]]:
        """How each seed ended, and what its updates and single episodes came to."""
        score, budget = self.config.task.score, self.config.budget
        found = summaries.summaries(self._training, budget, score.random)
        names = [name for name in metrics.COLUMNS if self._episodes and name in self._episodes[0]]
        columns = {name: [row[name] for row in self._episodes] for name in names}
        played = metrics.of_episodes(columns, dataclasses.asdict(score), budget) if columns else {}
        return {
            seed: dataclasses.asdict(trained.outcomes[seed])
            | found.get(seed, summaries.empty())
            | played.get(seed, metrics.empty())
            for seed in self.config.seeds
        }
