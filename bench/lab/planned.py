"""A stage of a task that is measured, and what its block says.

`results/<study>/lab/<task>/<stage>-<hash8>/seeds-000-004/` holds, of the policies of these training runs,

- `run.json`: status, what was measured (`factors`), the precision of the truth, provenance, costs, checksums
- `config.yaml`: the laboratory's settings and the configuration of the arm that trained the policy
- `quantities.parquet`: every quantity of every policy with its standard error and interval, one row each
- `states.parquet`: bias and variance of every estimator in every state they were measured in
- `costs.parquet`: environment steps and seconds of every estimator for a batch, seconds being the machine's

`results/<study>/lab.json` lists the stages that were planned, as `study.json` does for training.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.config.identity import cell_hash, factors, identity
from bench.lab.plan import Plan
from bench.lab.rows import Measured
from bench.lab.settings import Settings
from bench.records import block as blocks
from bench.records import files, provenance
from bench.records.index import LAB
from bench.records.recorder import Recorder, Subject
from bench.records.tables import COSTS, QUANTITIES, STATES, write_table

_BOOKKEEPING = ("tasks", "stages", "policy", "overrides", "by_task", "seeds")  # said otherwise in its identity


@dataclass(frozen=True)
class PlannedStage:
    """One stage of one task, to be measured for the policies of some seeds."""

    plan: Plan
    settings: Settings
    stage: str
    seeds: tuple[int, ...]
    study: str
    results: str

    @property
    def task(self) -> str:
        """The task's name."""
        return self.plan.config.task_name

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"{self.task} {self.stage} {blocks.seeds_name(self.seeds)}"

    @property
    def identity(self) -> dict[str, Any]:
        """What can change a measured number, and nothing else."""
        settings = dataclasses.asdict(self.settings)
        for key in _BOOKKEEPING:
            del settings[key]
        policy = self.settings.policy
        return settings | {
            "stage": self.stage,
            "truth": self.plan.truth,
            "trained": identity(self.plan.config),
            "variants": [[cell_hash(variant.arm), variant.critic] for variant in self.plan.variants],
            "policy": None if policy is None else files.sha256(Path(policy).expanduser() / blocks.POLICY),
        }

    @property
    def hash(self) -> str:
        """Eight hex digits of the identity."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def study_directory(self) -> Path:
        """The folder of everything the study writes."""
        return Path(self.results).expanduser() / self.study

    @property
    def directory(self) -> Path:
        """The folder of its block."""
        folder = self.study_directory / blocks.LAB / self.task / f"{self.stage}-{self.hash}"
        return folder / blocks.seeds_name(self.seeds)

    @property
    def done(self) -> bool:
        """Whether it is measured. Raises `UserError` where its block is damaged."""
        block = blocks.read(self.directory)
        if block is None or not block.finished:
            return False
        blocks.check(block)
        return True


def add_to_index(wanted: Sequence[PlannedStage]) -> None:
    """Add stages to the study's index; those planned before stay. Raises `UserError`."""
    study = wanted[0].study_directory

    def merged(index: Mapping[str, Any]) -> dict[str, Any]:
        known = {entry["path"]: entry for entry in index["cells"]}
        for each in wanted:
            path = each.directory.relative_to(study).as_posix()
            known[path] = {"task": each.task, "stage": each.stage, "hash": each.hash, "path": path}
        return {"name": wanted[0].study, "cells": list(known.values())}

    LAB.update(study, merged)


def subject(planned: PlannedStage) -> Subject:
    """What the record of a measured stage says from its beginning."""
    config = dataclasses.replace(planned.plan.config, results=planned.results)
    settings = json.loads(json.dumps(dataclasses.asdict(planned.settings)))
    if settings["policy"] is not None:
        settings["policy"] = provenance.private(settings["policy"])
    own = {"stages": [planned.stage], "seeds": list(planned.seeds)}
    entries = {
        "study": planned.study,
        "task": planned.task,
        "stage": planned.stage,
        "hash": planned.hash,
        "truth": planned.plan.truth,
        "left_out": dict(planned.plan.left_out),
        "factors": factors(planned.plan.config),
    }
    return Subject(
        results=planned.results,
        directory=planned.directory,
        seeds={seed: {"status": "running", "cause": None} for seed in planned.seeds},
        entries=entries,
        config={"lab": settings | own, "trained": provenance.settings(config)},
    )


def finish(recorder: Recorder, measured: Measured, env_steps: Mapping[int, int]) -> None:
    """Write what was measured of policies trained for `env_steps`, by seed. Raises as `Recorder.finish` does."""
    rows = {QUANTITIES: measured.quantities, STATES: measured.states, COSTS: measured.costs}
    recorder.finish(
        {name: partial(write_table, each) for name, each in rows.items()},
        {seed: {"status": "done", "cause": None, "env_steps": steps} for seed, steps in env_steps.items()},
    )
