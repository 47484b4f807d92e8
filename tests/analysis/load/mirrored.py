"""A study of one cell as W&B has it, without W&B: what the mirror sends, and what W&B's client gives back of that."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import bench
from analysis.load import pull
from bench.execution import execute
from bench.records import block as blocks
from bench.records import mirror
from tests.fake_learner import FakeLearner


class WrittenRun:
    """What the mirror sends of one seed."""

    def __init__(self, **labels: Any) -> None:
        self.labels, self.history, self.summary = labels, [], {}

    def define_metric(self, *_: str, **__: str) -> None:
        pass

    def log(self, row: Mapping[str, Any]) -> None:
        self.history.append(row)

    def finish(self) -> None:
        pass

    def read(self) -> pull.Run:
        """What W&B's client gives of it."""
        name, task, arm, config = (self.labels[key] for key in ("id", "job_type", "group", "config"))
        return pull.Run(name, task, arm, config, self.summary, tuple(self.history))


class WrittenProject:
    """A stand-in for the library `wandb`, as far as the mirror uses it: keeps the runs that are written."""

    Settings = staticmethod(dict)

    def __init__(self) -> None:
        self.runs: list[WrittenRun] = []

    def init(self, **labels: Any) -> WrittenRun:
        self.runs.append(WrittenRun(**labels))
        return self.runs[-1]


def mirrored(results: Path) -> list[pull.Run]:
    """Write the study `mine`, two seeds of which are done and one failed, below `results`; its runs on W&B."""
    project, learner = WrittenProject(), FakeLearner()
    learner.causes, learner.solves = {2: "loss is NaN"}, True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "train", learner)
        patch.setattr(mirror, "_wandb", lambda _: project)
        config = bench.compose(["task=weekly_exam", "budget=1000", "seeds=3", "wandb=offline", "study.name=mine"])
        path = execute.train_missing(dataclasses.replace(config, results=str(results)))
        block = blocks.read(path)
        assert block is not None
        list(mirror.write(block, results / "mine", "offline"))
    return [run.read() for run in project.runs]
