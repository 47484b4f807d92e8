"""Result folders, written by the suite's own recorder, so that the analysis is tested without training anything."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from analysis.figures import sheets
from analysis.report import files as report_files
from bench.records import block as blocks
from bench.records import files, metrics, provenance
from bench.records.index import STUDY
from bench.records.recorder import Recorder, Subject
from bench.records.summaries import summaries
from bench.records.tables import CURVES, EPISODES, QUANTITIES, TRAINING, curve_rows, write_rows, write_table

BOUNDS = {"cartpole": (22.2, 500.0), "weekly_exam": (54.1, 71.36)}
COMMIT = {"commit": "0123456789abcdef", "dirty": False}
ENDED = {
    "started": "2026-01-01T00:00:00+00:00",
    "wall_seconds": 30.0,
    "cpu_seconds": 28.0,
    "steps_per_second": 30000.0,
    "peak_memory_bytes": 4 * 10**8,
    "parameters": {"actor": 4610, "critic": 4545},
}
Curve = Callable[[int, float], float]  # seed, share of the budget -> return


class ResultsWriter:
    """Writes studies below `root`; every block has 5 evaluations of 2 episodes per mode unless told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def study(self, name: str, cells: Sequence[Mapping[str, Any]], control: str | None = None) -> Path:
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
        header = {"name": name, "title": f"The study {name}", "control": control}
        STUDY.update(self.root / name, lambda _: header | {"cells": planned})
        return self.root / name

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
        exact: bool = False,
        counted: bool = True,
        seed_pool: str = "main",
        **factors: Any,
    ) -> Path:
        """`counted` says whether the record tells what single episodes come to, which older ones do not."""
        cell = {"task": task, "arm": arm, **factors} | ({"pool": seed_pool} if seed_pool != "main" else {})
        random, reference = BOUNDS.get(task, (0.0, 1.0))
        header = {
            "study": study,
            "task": task,
            "arm": arm,
            "hash": cell_hash(cell),
            "factors": {"task": task, **factors, "budget": budget},
            "seed_pool": seed_pool,
            "budget": budget,
            "score": {"random": random, "reference": reference},
        }
        recorder = self._begun(study, f"runs/{task}/{arm}-{cell_hash(cell)}", seeds, header)
        if status != "running":
            outcome = {"status": status, "cause": None, "env_steps": budget, "unused_budget": 0}
            outcome["updates"] = max(10, points)
            causes = failed or {}
            outcomes = {
                seed: outcome | ({"status": "failed", "cause": causes[seed]} if seed in causes else {})
                for seed in seeds
            }
            trained = [seed for seed in seeds if seed not in causes]
            played, updates = (
                episode_rows(trained, curve, points, episodes, budget, true),
                training_rows(trained, points, budget),
            )
            found = summaries(updates, budget, random)
            outcomes = {seed: outcomes[seed] | found.get(seed, {}) for seed in seeds}
            if counted and played:
                columns = {column: [row[column] for row in played] for column in played[0]}
                apart = metrics.of_episodes(columns, header["score"], budget)
                outcomes = {seed: outcomes[seed] | apart.get(seed, metrics.empty()) for seed in seeds}
            solved = exact_rows(trained, curve, points, budget, true) if exact else []
            rows = {CURVES: curve_rows(played, solved), EPISODES: played, TRAINING: updates}
            recorder.finish({name: partial(write_rows, name, rows[name]) for name in rows}, outcomes, **ENDED)
        recorder.close()
        return recorder.directory

    def stage(
        self, study: str, task: str, name: str, digest: str, rows: Sequence[Mapping[str, Any]], **factors: Any
    ) -> Path:
        """Policies of a stage of training that the laboratory measured."""
        header = {"study": study, "task": task, "stage": name, "hash": digest, "factors": factors}
        seeds = sorted({int(row.get("seed", 0)) for row in rows})
        recorder = self._begun(study, f"lab/{task}/{name}-{digest}", seeds, header)
        done = {seed: {"status": "done"} for seed in seeds}
        recorder.finish({QUANTITIES: partial(write_table, rows)}, done, cpu_seconds=0.0)
        recorder.close()
        return recorder.directory

    def _begun(self, study: str, cell: str, seeds: Sequence[int], header: Mapping[str, Any]) -> Recorder:
        directory = self.root / study / cell / blocks.seeds_name(seeds)
        running = {seed: {"status": "running", "cause": None} for seed in seeds}
        recorder = Recorder(Subject(str(self.root), directory, running, header, {}))
        with mock.patch.object(provenance, "git", return_value=COMMIT):
            recorder.begin()
        return recorder


def edit(block: Path, **values: Any) -> None:
    """Change entries of a record, as if they had been written so."""
    record = json.loads((block / blocks.RECORD).read_text())
    files.write_json(block / blocks.RECORD, blocks.sealed(record | values))


def write_parquet(block: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Put `tables` into a block, with their checksums."""
    for file, table in tables.items():
        table.to_parquet(block / file, index=False)
    edit(block, checksums={file: files.sha256(block / file) for file in tables})


def cell_hash(cell: Mapping[str, Any]) -> str:
    known = {key: value for key, value in cell.items() if key not in ("arm", "seeds")}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:8]


def episode_rows(
    seeds: Sequence[int], curve: Curve, points: int, episodes: int, budget: int, true: Curve | None = None
) -> list[dict[str, Any]]:
    """Stochastic returns are 1 below the deterministic ones; episodes lie symmetrically around the curve.

    `true` is of a task whose rewards are not what was meant.
    """
    curves = {"return": curve} | ({} if true is None else {"true_return": true})
    spread = np.linspace(-1.0, 1.0, episodes).tolist()
    rows = []
    for seed in seeds:
        for step in np.linspace(0, budget, points + 1).astype(int).tolist():
            values = {
                (column, mode): each(seed, step / budget) + offset
                for mode, offset in (("deterministic", 0.0), ("stochastic", -1.0))
                for column, each in curves.items()
            }
            rows += [
                {"seed": seed, "step": step, "mode": mode, "episode": episode, "length": 10}
                | {column: values[column, mode] + spread[episode] for column in curves}
                for mode in ("deterministic", "stochastic")
                for episode in range(episodes)
            ]
    return rows


def exact_rows(
    seeds: Sequence[int], curve: Curve, points: int, budget: int, true: Curve | None = None
) -> list[dict[str, Any]]:
    """Exact returns a tenth above the means of the episodes that `episode_rows` makes."""
    curves = {"exact_return": curve} | ({} if true is None else {"exact_true_return": true})
    return [
        {"seed": seed, "step": step, "mode": mode}
        | {column: each(seed, step / budget) + offset + 0.1 for column, each in curves.items()}
        for seed in seeds
        for step in np.linspace(0, budget, points + 1).astype(int).tolist()
        for mode, offset in (("deterministic", 0.0), ("stochastic", -1.0))
    ]


def training_rows(seeds: Sequence[int], points: int, budget: int) -> list[dict[str, Any]]:
    return [
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


def draw_svg_only(patch: pytest.MonkeyPatch) -> None:
    """Save the figures of reports as SVG alone, for tests that are not about formats: PDF takes most of the time."""
    for module in (report_files, sheets):
        patch.setattr(module, "FORMATS", ("svg",))


@pytest.fixture
def svg_only(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_svg_only(monkeypatch)


@pytest.fixture
def results(tmp_path: Path) -> ResultsWriter:
    return ResultsWriter(tmp_path / "results")


@pytest.fixture
def quick_like(results: ResultsWriter) -> ResultsWriter:
    """The shape of the suite's first study: the 3 × 3 grid and three presets, on two tasks, 10 seeds."""
    write_quick(results)
    return results


def write_quick(results: ResultsWriter) -> None:
    """Write what `quick_like` has."""
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
