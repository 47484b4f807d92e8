"""Tuned studies in a folder of their own, whose learner's returns depend on the seed and the learning rate."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from bench.commands.main import main
from bench.config.schema import Config
from bench.execution import execute
from bench.observer import Observer
from bench.records import block as blocks
from bench.records import provenance
from tests.fake_learner import FakeLearner, FakeTrained

STUDY = (
    "study=tuned", "task=weekly_exam", "baseline=critic", "budget=2000", "seeds=3", "study.tuning.settings=3",
    "study.tuning.seeds=2", "wandb=disabled", "hydra/launcher=basic",
)  # fmt: skip
TRIALS, JUDGED = 6, 2  # three settings of critic-monte_carlo and of critic-gae, and their winners


class RatedLearner(FakeLearner):
    """The fake learner, with other numbers at another learning rate."""

    def __call__(
        self, config: Config, seeds: Sequence[int], observer: Observer, checkpoint: BinaryIO | None = None
    ) -> FakeTrained:
        self.offset = round(config.learning_rate * 1e6)
        return super().__call__(config, seeds, observer, checkpoint)


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
