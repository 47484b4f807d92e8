"""Studies with a design in a folder of their own, whose learner's returns depend on the learning rate alone."""

from collections.abc import Callable, Mapping, Sequence
from math import log10
from pathlib import Path
from typing import BinaryIO

import pytest

from bench.commands.main import main
from bench.config.design import setting_of
from bench.config.schema import Config
from bench.execution import execute
from bench.observer import Observer
from bench.records import block as blocks
from bench.records import provenance
from tests.fake_learner import FakeLearner, FakeTrained

STUDY = (
    "study=tuned", "task=weekly_exam", "baseline=critic", "budget=2000", "seeds=2", "design.settings=4",
    "design.judged=3", "wandb=disabled", "hydra/launcher=basic",
)  # fmt: skip
ARMS = 2  # critic-monte_carlo and critic-gae, each with a cell of its settings, one of its own numbers, one that judges


class RatedLearner(FakeLearner):
    """A policy's normalised return is 0 at a learning rate of 1e-4 and 1 at 1e-2, whatever the seed."""

    def __call__(
        self, config: Config, seeds: Sequence[int], observer: Observer, checkpoint: BinaryIO | None = None
    ) -> FakeTrained:
        assert checkpoint is None  # none is written
        self.calls.append(tuple(seeds))
        self.before()
        low, high = config.task.score.random, config.task.score.reference
        for step in (0, config.budget // 2, config.budget):
            for run in seeds:
                value = low + (high - low) * height(rate_of(config, run)) * step / config.budget
                rows = [{"seed": run, "step": step, "mode": mode, "episode": 0, "return": value, "length": 16}
                        for mode in ("deterministic", "stochastic")]  # fmt: skip
                observer.on_evaluation(rows)
                observer.on_update([{"seed": run, "step": step + 1, "update": step, "train/kl": 0.0}])
            observer.on_progress(step / config.budget, float(step))
            self.after_progress()
        causes = {run: cause for run, cause in self.causes.items() if run in seeds and config.seed_pool == "tuning"}
        return FakeTrained(seeds, causes)


def rate_of(config: Config, run: int) -> float:
    """The learning rate of a run, which a design gives it, or the cell has."""
    if config.design is None:
        return config.learning_rate
    return float(config.design.drawn[str(setting_of(run))]["learning_rate"])


def height(rate: float) -> float:
    """The normalised return at a learning rate."""
    return (log10(rate) + 4) / 2


@pytest.fixture(autouse=True)
def learner(monkeypatch) -> RatedLearner:
    fake = RatedLearner()
    monkeypatch.setattr(execute, "train", fake)
    return fake


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the study, trained once for all tests: to be read, or copied."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "train", RatedLearner())
        _clean(patch, folder)
        assert main(STUDY) == 0
    return folder / "results"


def _clean(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Work in a folder, with the environment variables that commands set as they were before the first."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "HYDRA_FULL_ERROR", provenance.COMMAND):
        patch.setenv(name, "")
    patch.chdir(folder)


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in a folder of its own; → exit code, stdout, stderr."""
    _clean(monkeypatch, tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


def finished(results: Path) -> dict[Path, bytes]:
    """The records of the finished blocks."""
    found = {path: blocks.read(path.parent) for path in sorted(results.rglob(blocks.RECORD))}
    return {path: path.read_bytes() for path, block in found.items() if block is not None and block.finished}


def numbers(results: Path) -> Mapping[str, bytes]:
    """Everything the blocks of a results folder say, by place."""
    return {str(path.relative_to(results)): path.read_bytes() for path in sorted(results.rglob("*.parquet"))}
