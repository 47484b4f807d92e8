"""What a run spends on anything but learning: start-up, diagnostics, evaluations, records and their mirror."""

import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cells.composition import compose
from bench.execution import execute
from bench.learner import distributions, estimation, policy_gradient, update
from bench.learner import train as learner
from bench.records import block as blocks
from bench.records.mirroring import MirrorProcess
from bench.records.training import TrainingRecorder
from bench.speed.lockstep import overrides
from bench.speed.workload import BATCH, Measurement, Workload

LOOK_EVERY = 0.01  # seconds between two looks at whether training has begun

# Where the time goes, by name; none of these calls another.
PLACES: dict[str, tuple[tuple[Any, str], ...]] = {
    "diagnostics": (
        (estimation, "rollout_diagnostics"),
        *((update, name) for name in ("epoch_diagnostics", "policy_change")),
        (distributions.Categorical, "summary"),
        *((policy_gradient, name) for name in ("training_rows", "log_means")),
    ),
    "evaluation": ((learner, "judge"),),
    "records": tuple(
        (TrainingRecorder, name)
        for name in (
            *("begin", "on_update", "on_evaluation", "on_exact_returns", "on_progress", "on_checkpoint"),
            *("finish_training", "close"),
        )
    ),
    "wandb": tuple((MirrorProcess, name) for name in ("__init__", "finish", "close")),  # what the run waits for
}


def recorded(workload: Workload) -> Measurement:
    """Measure a cell from its claim to its mirror, with default evaluations and W&B offline, as `bench.run` runs it.

    `spent` also has `startup`, the command's. This process ends with the measurement, so what is wrapped stays so.
    """
    spent = {"startup": startup(workload)} | dict.fromkeys(PLACES, 0.0)
    for name, places in PLACES.items():
        for owner, attribute in places:
            setattr(owner, attribute, _timed(getattr(owner, attribute), name, spent))
    with tempfile.TemporaryDirectory() as results:
        config = compose([*overrides(workload), f"budget={workload.steps}", f"results={results}", "wandb=offline"])
        began = time.perf_counter()
        execute.run(config)
        seconds = time.perf_counter() - began
    return Measurement(len(workload.seeds) * workload.steps, seconds, spent=spent)


def _timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.perf_counter() - began

    return timed


def startup(workload: Workload) -> float:
    """Return the seconds from the command line until the first rollout is there, the first sign of life others can see.

    Raises RuntimeError where the command ends before.
    """
    with tempfile.TemporaryDirectory() as results:
        given = [*overrides(workload), f"budget={20 * BATCH}", f"results={results}", "wandb=disabled"]
        few = ("evaluation.points=1", "evaluation.episodes=1")  # there is one before training
        began = time.perf_counter()
        command = subprocess.Popen(
            [sys.executable, "-m", "bench", *given, *few], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            while not any(Path(results).rglob(blocks.PROGRESS)):
                if command.poll() is not None:
                    said = command.stderr.read() if command.stderr else ""
                    raise RuntimeError(f"the command ended before its first rollout: {said}")
                time.sleep(LOOK_EVERY)
            return time.perf_counter() - began
        finally:
            command.communicate()
