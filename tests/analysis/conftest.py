"""A writer of result folders in the record format, so that the analysis is tested without training anything."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

BOUNDS = {"cartpole": (22.2, 500.0), "weekly_exam": (54.1, 71.36)}
Curve = Callable[[int, float], float]  # seed, share of the budget -> return


class ResultsWriter:
    """Writes studies below `root`; every block has 5 evaluations of 2 episodes per mode unless told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def study(self, name: str, cells: Sequence[Mapping[str, Any]], control: str | None = None) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        planned = [
            {
                "task": cell["task"],
                "arm": cell["arm"],
                "hash": cell_hash(cell),
                "seeds": list(cell["seeds"]),
                "path": f"runs/{cell['task']}/{cell['arm']}-{cell_hash(cell)}",
            }
            for cell in cells
        ]
        study = {"schema": 1, "name": name, "title": f"The study {name}", "control": control, "cells": planned}
        (folder / "study.json").write_text(json.dumps(study))
        return folder

    def block(
        self,
        study: str,
        task: str,
        arm: str,
        seeds: Sequence[int],
        curve: Curve,
        *,
        status: str = "done",
        failed: Mapping[int, str] | None = None,
        points: int = 5,
        episodes: int = 2,
        budget: int = 1000,
        true: Curve | None = None,
        **factors: Any,
    ) -> Path:
        cell = {"task": task, "arm": arm, **factors}
        folder = self.root / study / "runs" / task / f"{arm}-{cell_hash(cell)}"
        folder = folder / f"seeds-{min(seeds):03d}-{max(seeds):03d}"
        folder.mkdir(parents=True)
        failed = failed or {}
        if status != "running":
            trained = [seed for seed in seeds if seed not in failed]
            tables = {
                "evaluations.parquet": evaluation_rows(trained, curve, points, episodes, budget),
                "training.parquet": training_rows(trained, points, budget),
            }
            if true is not None:  # a task whose rewards are not what was meant
                worth = evaluation_rows(trained, true, points, episodes, budget)["return"]
                tables["evaluations.parquet"] = tables["evaluations.parquet"].assign(true_return=worth)
        record = self._record(study, cell, seeds, status, failed, budget)
        if status == "running":  # costs and checksums are written at the end
            for key in (
                "parameters",
                "threads",
                "wall_seconds",
                "cpu_seconds",
                "steps_per_second",
                "peak_memory_bytes",
            ):
                del record[key]
        (folder / "run.json").write_text(json.dumps(record))
        if status != "running":
            write_parquet(folder, tables)
        return folder

    def _record(
        self,
        study: str,
        cell: Mapping[str, Any],
        seeds: Sequence[int],
        status: str,
        failed: Mapping[int, str],
        budget: int,
    ) -> dict[str, Any]:
        random, reference = BOUNDS.get(cell["task"], (0.0, 1.0))
        outcome = {"status": status, "cause": None, "env_steps": budget, "updates": 10, "unused_budget": 0}
        return {
            "schema": 1,
            "status": status,
            "study": study,
            "task": cell["task"],
            "arm": cell["arm"],
            "hash": cell_hash(cell),
            "factors": {key: value for key, value in cell.items() if key != "arm"} | {"budget": budget},
            "seeds": {
                str(seed): outcome | ({"status": "failed", "cause": failed[seed]} if seed in failed else {})
                for seed in seeds
            },
            "seed_pool": "main",
            "budget": budget,
            "score": {"random": random, "reference": reference},
            "parameters": {"actor": 4610, "critic": 4545},
            "command": f"python -m bench study={study}",
            "overrides": [],
            "git": {"commit": "0123456789abcdef", "dirty": False},
            "versions": {"python": "3.11.2", "torch": "2.13.0"},
            "host": {"cpu": "a processor", "cores": 2},
            "threads": 1,
            "wall_seconds": 30.0,
            "cpu_seconds": 28.0,
            "steps_per_second": 30000.0,
            "peak_memory_bytes": 4 * 10**8,
            "started": "2026-01-01T00:00:00+00:00",
            "finished": "2026-01-01T00:00:30+00:00",
        }


def write_parquet(block: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Put `tables` into a block, with their checksums."""
    checksums = {}
    for file, table in tables.items():
        table.to_parquet(block / file, index=False)
        checksums[file] = hashlib.sha256((block / file).read_bytes()).hexdigest()
    record = json.loads((block / "run.json").read_text())
    (block / "run.json").write_text(json.dumps(record | {"checksums": checksums}))


def cell_hash(cell: Mapping[str, Any]) -> str:
    known = {key: value for key, value in cell.items() if key not in ("arm", "seeds")}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:8]


def evaluation_rows(seeds: Sequence[int], curve: Curve, points: int, episodes: int, budget: int) -> pd.DataFrame:
    """Stochastic returns are 1 below the deterministic ones; episodes lie symmetrically around the curve."""
    steps = np.linspace(0, budget, points + 1).astype(int)
    spread = np.linspace(-1.0, 1.0, episodes)
    rows = [
        (seed, step, mode, episode, curve(seed, step / budget) + offset + spread[episode], 10)
        for seed in seeds
        for step in steps
        for mode, offset in (("deterministic", 0.0), ("stochastic", -1.0))
        for episode in range(episodes)
    ]
    return pd.DataFrame(rows, columns=["seed", "step", "mode", "episode", "return", "length"])


def training_rows(seeds: Sequence[int], points: int, budget: int) -> pd.DataFrame:
    rows = [
        {
            "seed": seed,
            "step": (update + 1) * budget // points,
            "update": update,
            "train/approx_kl": 0.01 * (seed + 1),
            "train/clip_fraction": 0.1,
            "train/entropy_loss": -0.69 + 0.1 * update,
        }
        for seed in seeds
        for update in range(points)
    ]
    return pd.DataFrame(rows, columns=None if rows else ["seed", "step", "update"])


@pytest.fixture
def results(tmp_path: Path) -> ResultsWriter:
    return ResultsWriter(tmp_path / "results")


@pytest.fixture
def quick_like(results: ResultsWriter) -> ResultsWriter:
    """The shape of the suite's first study: the 3 × 3 grid and three presets, on two tasks, 10 seeds."""
    rng = np.random.default_rng(0)
    shared = {"collect": "episodes", "truncation": "end"}
    arms = [
        (f"{baseline}-{advantage}-clip", shared | {"baseline": baseline, "advantage": advantage, "update": "clip"})
        for baseline in ("none", "critic", "group")
        for advantage in ("td0", "gae", "monte_carlo")
    ]
    arms += [
        ("reinforce", shared | {"baseline": "none", "advantage": "monte_carlo", "update": "vanilla"}),
        ("grpo", shared | {"baseline": "grpo", "advantage": "monte_carlo", "update": "clip"}),
        (
            "ppo",
            {
                "baseline": "critic",
                "advantage": "gae",
                "update": "clip",
                "collect": "segments",
                "truncation": "bootstrap",
            },
        ),
    ]
    cells = [{"task": task, "arm": arm, "seeds": range(10), **factors} for task in BOUNDS for arm, factors in arms]
    results.study("quick", cells, control="critic-gae-clip")
    for cell in cells:
        low, high = BOUNDS[cell["task"]]
        top, speed, noise = rng.uniform(0.3, 1.0), rng.uniform(2, 8), rng.normal(0, 0.08, (10, 64))

        def curve(seed: int, share: float, low=low, high=high, top=top, speed=speed, noise=noise) -> float:
            level = top * (1 - np.exp(-speed * share)) + noise[seed, int(share * 20)] * share
            return float(low + (high - low) * min(level, 1.0))

        known = {key: value for key, value in cell.items() if key not in ("task", "arm", "seeds")}
        results.block(
            "quick", cell["task"], cell["arm"], range(10), curve, points=20, episodes=20, budget=100_000, **known
        )
    return results
