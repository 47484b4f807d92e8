"""A study of one cell as W&B has it, without W&B: what the mirror sends, and what W&B's client gives back of that."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import bench
from analysis.load import pull
from bench.execution import execute
from bench.records import block as blocks
from bench.records import mirror, wandb_file
from tests.fake_learner import FakeLearner
from tests.wandb_server import StoredRun


def mirrored(results: Path) -> list[wandb_file.Run]:
    """Write the study `mine`, two seeds of which are done and one failed, below `results`; its runs for W&B."""
    learner = FakeLearner()
    learner.causes, learner.solves = {2: "loss is NaN"}, True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "train", learner)
        config = bench.compose(["task=weekly_exam", "budget=1000", "seeds=3", "wandb=offline", "study.name=mine"])
        path = execute.train_missing(dataclasses.replace(config, results=str(results)))
    block = blocks.read(path)
    assert block is not None
    return list(mirror.runs(block, sorted(block.seeds)).values())


def stored(run: wandb_file.Run, **changed: Any) -> StoredRun:
    """It as a server has it."""
    rows = [json.dumps({**row, "_step": place}) for place, row in enumerate(run.history)]
    latest = {key: value for row in run.history for key, value in row.items()}
    as_sent = StoredRun(run.id, run.project, run.group, run.job_type, None, list(run.tags), dict(run.config))
    return dataclasses.replace(as_sent, **{"summary": {**latest, **run.summary}, "history": rows, **changed})


def read(run: wandb_file.Run, **changed: Any) -> pull.Run:
    """It as W&B's client gives it back."""
    config: Mapping[str, Any] = json.loads(json.dumps(run.config))
    found = pull.Run(run.id, run.job_type, run.group, config, dict(run.summary), tuple(run.history))
    return dataclasses.replace(found, **changed)
