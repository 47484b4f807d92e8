"""Whatever ends a command, the same command goes on, to the same bytes: signals, kill -9, disks without room."""

import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.analysis.load.mirrored import mirrored, stored
from tests.kills import Scene, Undisturbed, finds_no_room, survives
from tests.wandb_server import WandbServer

STRIKES = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
CELLS = (
    "bench", "task=weekly_exam", "advantage=gae,td0", "budget=2000", "seeds=2", "evaluation.episodes=5", "hidden=[8]",
    "wandb=disabled", "checkpoint_minutes=0", "hydra.launcher.n_jobs=2",
)  # fmt: skip
TRAINING = Scene(CELLS, "adhoc", "0 failures: ", beside=("runs",))
TUNED = Scene(
    (
        "bench", "study=tuned", "task=weekly_exam", "baseline=critic", "budget=2000", "seeds=2",
        "design.settings=2", "design.judged=2", "evaluation.episodes=5", "hidden=[8]", "wandb=disabled",
        "checkpoint_minutes=0", "hydra/launcher=basic",
    ),
    "tuned",
    "0 failures: ",
    beside=("runs",),
)  # fmt: skip
LAB = Scene(
    (
        "bench", "lab", "task=exam_question", "stages=start,optimum", "jobs=2", "baselines=none,critic,rloo",
        "advantages=monte_carlo", "critics=exact", "anchors=3", "times=1", "futures=3", "batches=8",
        "batch_multiples=1,2", "group_sizes=2", "seeds=1",
    ),
    "lab",
    "0 failures: ",
    beside=("lab",),
)  # fmt: skip


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scene]]:
    """Every command that writes results, with what it needs."""
    trained, written = tmp_path_factory.mktemp("trained"), tmp_path_factory.mktemp("mirrored")
    with WandbServer(map(stored, mirrored(written / "results"))) as server:
        yield {"training": TRAINING, "tuned": TUNED, "lab": LAB, "analysis": analysis(trained), "pull": pull(server)}


def analysis(trained: Path) -> Scene:
    """The report of a study that was trained before."""
    before = Scene((*CELLS, "study.name=mine"), "mine", "0 failures: ")

    def prepare(folder: Path) -> None:
        if not (trained / "results").exists():
            before.begin(trained)
            assert before.run(trained)[0] == 0
        shutil.copytree(trained / "results" / "mine", folder / "results" / "mine")

    return Scene(("analysis", "study=mine"), "mine", "in a browser", prepare=prepare, beside=("report",))


def pull(server: WandbServer) -> Scene:
    """A study that comes from Weights & Biases."""
    words = ("analysis", "pull", "somebody/policy-gradient-bench", "study=pulled")
    return Scene(words, "pulled", "wrote ", environment=server.environment, creates=True)


NAMES = ("training", "tuned", "lab", "analysis", "pull")


@pytest.fixture(scope="session", params=NAMES)
def command(request, scenes, tmp_path_factory) -> tuple[Scene, Undisturbed]:
    """A command, and what it does undisturbed."""
    scene = scenes[request.param]
    return scene, Undisturbed.of(scene, tmp_path_factory.mktemp(request.param) / "whole")


@pytest.mark.slow
def test_a_command_that_is_stopped_again_and_again_ends_with_the_same_bytes(command, tmp_path):
    survives(*command, tmp_path, STRIKES, random.Random(5))


@pytest.mark.slow
def test_a_command_without_room_says_so_and_ends_with_the_same_bytes_once_there_is_some(command, tmp_path):
    finds_no_room(*command, tmp_path, shares=(0.4,))
