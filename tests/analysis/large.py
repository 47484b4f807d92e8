"""Measure a report of 300 cells × 20 seeds: seconds and peak memory of `python -m analysis` on synthetic results.

Run from the repository's root:

    python -m tests.analysis.large FOLDER     # writes FOLDER/large once, then reports on it and prints what that took
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.analysis.conftest import ResultsWriter, write_parquet

SEEDS, POINTS, EPISODES, UPDATES, BUDGET = 20, 20, 20, 100, 100_000
TASKS = ("cartpole", "acrobot", "mountain_car", "pendulum", "weekly_exam")
DIAGNOSTICS = (
    "rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/live_share", "train/kl", "train/final_clip_fraction",
    "train/approx_kl", "train/clip_fraction", "train/entropy_loss", "train/policy_gradient_loss", "train/value_loss",
    "train/actor_grad_norm", "train/critic_grad_norm", "train/actor_grad_clipped", "train/critic_grad_clipped",
    "train/explained_variance", "train/advantage_mean", "train/advantage_rms", "train/dead_groups",
)  # fmt: skip


def cells() -> list[dict[str, Any]]:
    """60 arms on 5 tasks."""
    return [
        {
            "task": task,
            "arm": f"{baseline}-{advantage}-clip",
            "seeds": range(SEEDS),
            "baseline": baseline,
            "advantage": advantage,
            "update": "clip",
            "collect": "episodes",
            "truncation": "end",
            "group.size": size,
        }
        for task in TASKS
        for baseline in ("none", "critic", "group")
        for advantage in ("td0", "nstep", "gae", "monte_carlo")
        for size in (2, 4, 8, 16, 32)
    ]


def curves(level: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of one block whose seeds end at `level`."""
    seed, step, mode = (axis.ravel() for axis in np.indices((SEEDS, POINTS + 1, 2)))
    noise = rng.normal(0, 0.05, (seed.size, EPISODES))
    names = np.array(["deterministic", "stochastic"], object)
    return pd.DataFrame(
        {
            "seed": seed.astype(np.int32),
            "step": (step * (BUDGET // POINTS)).astype(np.int64),
            "mode": names[mode],
            "episodes": np.full(seed.size, EPISODES, np.int32),
            "return": level[seed] * (1 - np.exp(-4 * step / POINTS)) + noise.mean(1),
            "return_variance": noise.var(1, ddof=1),
            "length": np.full(seed.size, 16.0),
            "length_variance": np.zeros(seed.size),
        }
    )


def training(rng: np.random.Generator) -> pd.DataFrame:
    """Rows of one block."""
    seed, update = (axis.ravel() for axis in np.indices((SEEDS, UPDATES)))
    steps = (update + 1) * (BUDGET // UPDATES)
    known = {"seed": seed.astype(np.int32), "step": steps, "update": update.astype(np.int32)}
    return pd.DataFrame(known | {name: rng.random(seed.size) for name in DIAGNOSTICS})


def write(root: Path) -> None:
    """The study `large` below `root`."""
    writer, planned = ResultsWriter(root), cells()
    writer.study("large", planned, control=planned[0]["arm"])
    for place, cell in enumerate(planned):
        rng = np.random.default_rng(place)
        factors = {key: value for key, value in cell.items() if key not in ("task", "arm", "seeds")}
        block = writer.block(
            "large", cell["task"], cell["arm"], cell["seeds"], lambda *_: 0.0, points=1, budget=BUDGET, **factors
        )
        level = rng.normal(rng.uniform(0.2, 1.0), 0.1, SEEDS)
        write_parquet(block, {"curves.parquet": curves(level, rng), "training.parquet": training(rng)})


def main(folder: Path) -> None:
    """Write the results where they are not there yet, then time their report in a process of its own."""
    if not (folder / "large").exists():
        write(folder)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "study=large", f"results={folder}"], stdout=subprocess.DEVNULL, check=False
    )
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6  # kilobytes on Linux
    print(f"exit code {done.returncode}, {seconds:.1f} s ({processor:.1f} s of processor time), peak {peak:.2f} GB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
