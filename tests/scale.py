"""Measure the suite on thousands of cells: a sweep that trains them, and what reads their records.

Run from the repository's root:

    python -m tests.scale sweep FOLDER cells=1000     # trains tiny cells, and says what each cost beyond training
    python -m tests.scale records FOLDER cells=5000   # writes FOLDER/many once: records made from one trained block
    python -m tests.scale read FOLDER                 # times status, the analysis and verify of FOLDER/many
"""

import dataclasses
import itertools
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import pyarrow.parquet as pq

import bench
from bench.config.schema import Config
from bench.execution import execute
from bench.observer import Observer, Row, SeedOutcome
from bench.paths import ROOT
from bench.records import block as blocks
from bench.records import index
from bench.records.tables import EPISODES, TRAINING

STUDY = "many"
BLOCK = (
    *("task=weekly_exam", "budget=4000", "hidden=[4,4]", "group.groups=1", "group.size=8"),
    *("sample_solved=true", "wandb=disabled"),
)
CONTROL = "advantage=td0"  # the one arm with a name of its own
TINY = ("task=weekly_exam", "budget=64", "seeds=1", "hidden=[8,8]", "group.groups=1", "group.size=2")
SAMPLED_EVERY = 0.5  # seconds


class Replayed:
    """A learner that reports what one trained block recorded, each cell at a level of its own."""

    def __init__(self, block: Path) -> None:
        self._rows = {name: pq.read_table(block / name).to_pylist() for name in (EPISODES, TRAINING)}
        self._saved = {name: (block / name).read_bytes() for name in (blocks.POLICY, blocks.CHECKPOINT)}
        found = blocks.load(block)
        self.parameters: Mapping[str, int] = found.record["parameters"]
        kept = [field.name for field in dataclasses.fields(SeedOutcome)]
        self.outcomes = {
            int(seed): SeedOutcome(**{name: outcome[name] for name in kept})
            for seed, outcome in found.record["seeds"].items()
        }

    def __call__(
        self,
        config: Config,
        seeds: Sequence[int],
        observer: Observer,
        checkpoint: BinaryIO | None = None,  # noqa: ARG002
    ) -> "Replayed":
        level = 1 - abs(config.gamma - 0.96) - 0.1 * abs(config.gae_lambda - 0.9) - 20 * config.ent_coef
        observer.on_update([row for row in self._rows[TRAINING] if row["seed"] in seeds])
        observer.on_evaluation([_raised(row, level) for row in self._rows[EPISODES] if row["seed"] in seeds])
        observer.on_progress(1.0, None)
        return self

    def save_policy(self, path: Path) -> None:
        path.write_bytes(self._saved[blocks.POLICY])

    def save_checkpoint(self, path: Path) -> None:
        path.write_bytes(self._saved[blocks.CHECKPOINT])


def _raised(row: Row, level: float) -> dict[str, Any]:
    return {**row, "return": float(row["return"]) * level}


def settings(base: Config, cells: int) -> Iterator[Config]:
    """Cells that differ from `base` in one to four settings."""
    gammas = (0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0)
    lambdas = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0)
    entropies = (0.0, 0.001, 0.003, 0.01, 0.03)
    rates = [1e-4 * (1 + number) for number in range(-(-cells // 300))]
    for rate, entropy, gae_lambda, gamma in itertools.islice(
        itertools.product(rates, entropies, lambdas, gammas), cells
    ):
        yield dataclasses.replace(base, learning_rate=rate, ent_coef=entropy, gae_lambda=gae_lambda, gamma=gamma)


def write(root: Path, cells: int, seeds: int = 2) -> list[Config]:
    """The study `STUDY` below `root`: blocks made from the numbers of a trained one by the suite's own recorder.

    Every record is one that the suite could have written: its hash is that of its settings, its checksums fit.
    """
    words = [*BLOCK, f"seeds={seeds}", f"study.name={STUDY}-trained", f"results={root}"]
    trained, control = bench.compose(words), bench.compose([*words, CONTROL])
    replayed = Replayed(bench.run(trained))
    study = dataclasses.replace(trained.study, name=STUDY, control=control.arm_name)
    others = settings(dataclasses.replace(trained, study=study), cells - 1)
    planned = [dataclasses.replace(control, study=study), *others]
    with mock.patch.object(execute, "train", replayed), mock.patch.object(os, "fsync"):
        for config in planned:
            execute.run_block(config, blocks.directory(config, config.seeds))
    index.plan(planned)
    return planned


@contextmanager
def sampled() -> Iterator[list[tuple[int, dict[int, int]]]]:
    """Resident bytes of every process below this one, again and again while the body runs."""
    found: list[tuple[int, dict[int, int]]] = []
    over = threading.Event()

    def sample() -> None:
        began = time.monotonic()
        while not over.wait(SAMPLED_EVERY):
            found.append((round(time.monotonic() - began), dict(_below(os.getpid()))))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _below(parent: int) -> Iterator[tuple[int, int]]:
    """The processes below one, and their resident bytes without what they share with files."""
    parents: dict[int, int] = {}
    memory: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(re.findall(r"^(\w+):\s+(\d+)", (folder / "status").read_text(), re.MULTILINE))
            parents[int(folder.name)] = int(status["PPid"])
            memory[int(folder.name)] = int(status.get("RssAnon", 0)) * 1024
        except OSError:  # it has ended
            continue
    for process in parents:
        above = process
        while above in parents and above != parent:
            above = parents[above]
        if above == parent and process != parent:
            yield process, memory[process]


def timed(words: Sequence[str], folder: Path) -> tuple[float, float, float, str]:
    """Run a command: wall seconds, processor seconds, peak memory in MB of its largest process, what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(done.stdout[-2000:], done.stderr[-2000:], f"exit code {done.returncode}", sep="\n")
    return wall, spent, after.ru_maxrss / 1e3, done.stdout


def _said(what: str, wall: float, spent: float, peak: float) -> None:
    print(f"{what}: {wall:.2f} s, {spent:.2f} s of processors, peak {peak:.0f} MB", flush=True)


def sweep(folder: Path, cells: int, *words: str) -> None:
    """Train tiny cells by one command: seconds a cell beyond training, and the memory of its processes over time."""
    folder.mkdir(parents=True, exist_ok=True)
    rates = ",".join(f"{1e-5 * (1 + number):.6g}" for number in range(cells))
    with sampled() as memory:
        wall, spent, _, _ = timed(["bench", *TINY, f"learning_rate={rates}", *words], folder)
    for share in (0.15, 0.5, 0.95):
        second, by_process = memory[int(share * len(memory))]
        largest = [f"{number / 1e6:.0f}" for number in sorted(by_process.values(), reverse=True) if number > 5e7]
        print(f"after {second} s: {', '.join(largest)} MB")
    _said(f"{cells} cells", wall, spent, 0)
    print(f"{wall / cells * 1000:.0f} ms and {spent / cells * 1000:.0f} ms of processors a cell, training included")


def read(folder: Path) -> None:
    """Time what reads the records."""
    study = f"study={STUDY}"
    commands: Mapping[str, Sequence[str]] = {
        "status": ("bench", "status", study, f"results={folder}"),
        "verify": ("bench", "verify", f"{folder / STUDY}", "rerun=0"),
        "analysis": ("analysis", study, f"results={folder}"),
    }
    for name, words in commands.items():
        wall, spent, peak, _ = timed(words, ROOT)
        _said(name, wall, spent, peak)
    report = folder / STUDY / "report"
    for path in sorted(report.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def main(words: Sequence[str]) -> None:
    """What the words ask for."""
    what, folder, *others = words
    root = Path(folder).resolve()
    given = dict(word.split("=") for word in others if word.startswith(("cells=", "seeds=")))
    rest = [word for word in others if not word.startswith(("cells=", "seeds="))]
    cells, seeds = int(given.get("cells", 1000)), int(given.get("seeds", 2))
    commands: Mapping[str, Callable[[], object]] = {
        "sweep": lambda: sweep(root, cells, *rest),
        "records": lambda: write(root, cells, seeds),
        "read": lambda: read(root),
    }
    commands[what]()


if __name__ == "__main__":
    main(sys.argv[1:])
