"""Whatever lies in a results folder, each command answers in lines and goes on with the rest: never a traceback.

`BENCH_FUZZ_FILES=1000` takes that many cases in place of those of every run; the same number is the same case.
"""

import functools
import importlib.abc
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest

from analysis import cli as analysis
from analysis import load
from analysis.report import files as report_files
from bench import interruption
from bench.cells.composition import compose
from bench.commands.main import main as bench
from bench.config.schema import Config
from bench.errors import UserError
from bench.execution import execute
from bench.records import block as blocks
from bench.records import index
from tests.fake_learner import FakeLearner
from tests.records.damages import DAMAGES, EVIL, FILES, Case

SMALL = ["task=weekly_exam", "budget=600", "group.groups=1", "group.size=2", "evaluation.points=1",
         "evaluation.episodes=1", "wandb=disabled", "hidden=[4]", "update.epochs=1", "critic.epochs=1",
         "hydra.launcher.n_jobs=1"]  # fmt: skip
ONE = [*SMALL, "seeds=3", "baseline=critic", "retry=damaged"]
INTERRUPTED = [*SMALL, "seeds=[5]", "baseline=critic", "gamma=0.9", "checkpoint_minutes=0"]
PEER = ["task=cartpole", "algorithm=sb3_a2c", "budget=80", "seeds=1", "evaluation.points=1", "evaluation.episodes=1",
        "wandb=disabled"]  # fmt: skip
LAB = ["tasks=exam_question", "stages=start", "seeds=1", "baselines=none,critic", "advantages=monte_carlo",
       "batches=8", "batch_multiples=[1,2]", "times=1", "anchors=3", "futures=2", "jobs=1"]  # fmt: skip
FEW, MORE = 12, 30  # cases of every run, and of the slow tests


class Importing(importlib.abc.MetaPathFinder):
    """Notes who asks for a module that only a record names."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        if name.partition(".")[0] in EVIL:
            self.asked.append(name)


@pytest.fixture(scope="module")
def importing() -> Iterator[Importing]:
    finder = Importing()
    sys.meta_path.insert(0, finder)
    yield finder
    sys.meta_path.remove(finder)


def run(main, words: Sequence[str]) -> tuple[int, str]:
    """Run a command in this process; → its exit code and what it printed."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            code = main(list(words))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return code, said.getvalue()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A study with cells of ours and of a library, one that was interrupted, a measured stage, and its packs."""
    root = tmp_path_factory.mktemp("recorded")
    results = f"results={root}/results"
    assert run(bench, ["lab", *LAB, results])[0] == 0
    for words in ([*ONE, "seeds=2"], [*ONE, "seeds=2", "baseline=group"], PEER):
        assert run(train, [*words, results]) == (0, "")
    for name in ("lab", "lab.json"):
        (root / "results" / "lab" / name).rename(root / "results" / "adhoc" / name)
    shutil.rmtree(root / "results" / "lab")
    assert run(bench, ["pack", "study=adhoc", results])[0] == 0
    config = compose([*INTERRUPTED, results])
    index.plan([config])
    asked = iter([None] * 8)
    stopping = mock.patch.object(interruption, "asked", side_effect=lambda: next(asked, signal.SIGTERM))
    with stopping, pytest.raises(interruption.Interrupted):
        execute.train_missing(config)
    assert list(root.rglob("partial.zip"))
    return root


def outside_of(case: Case) -> dict[str, bytes | str]:
    """Everything beside the results, as it is."""
    found: dict[str, bytes | str] = {}
    for top in ("outside", "moved", "cwd"):
        for path in (case.root / top).rglob("*"):
            name = str(path.relative_to(case.root))
            found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
    return found


def foreign(case: Case) -> int:
    """The number of files of others in the results."""
    kept = 0
    for path in case.results.rglob("*"):
        with suppress(OSError):
            kept += (
                path.is_file() and not path.is_symlink() and path.stat().st_size < 100 and b"mine" in path.read_bytes()
            )
    return kept


def commands(case: Case) -> Iterator[tuple[str, object, list[str]]]:
    """Every command, in an order in which those that write come last."""
    results, rng = f"results={case.results}", case.rng
    yield "status", bench, ["status", "study=adhoc", results]
    yield "verify", bench, ["verify", str(case.study), f"rerun={int(rng.random() < 0.2)}"]
    yield "analysis", analysis.main if rng.random() < 0.3 else read_only, ["study=adhoc", results]
    yield "pack", bench, ["pack", "study=adhoc", results]
    paths = sorted(case.results.glob("*/runs/*/*/seeds-*")) or [case.study]
    for verb in ("rerun", "enjoy"):
        yield verb, bench, [verb, str(rng.choice(paths))]
    if rng.random() < 0.03:
        yield "wandb-sync", bench, ["wandb-sync", "study=adhoc", results, "wandb=offline"]
    if rng.random() < 0.05:
        yield "list", bench, ["list"]
    words = [*(INTERRUPTED if rng.random() < 0.5 else ONE), results]
    yield "train", bench if rng.random() < 0.2 else train, words


def read_only(words: Sequence[str]) -> int:
    """The part of the analysis that reads."""
    try:
        study, results = (word.partition("=")[2] for word in words)
        return int(bool(load.read([study], results).problems))
    except UserError as error:
        print(error)
        return 2


def train(words: Sequence[str]) -> int:
    """Training without Hydra, which takes longer than all the rest."""
    try:
        config = replace(composed(tuple(words[:-1])), results=words[-1].partition("=")[2])
        index.plan([config])
        if config.retry == "damaged":
            execute.set_aside(config)
        execute.train_missing(config)
        return 0
    except UserError as error:
        print(error)
        return 2


@functools.cache
def composed(words: tuple[str, ...]) -> Config:
    return compose(words)


def problems_of(number: int, recorded: Path, root: Path, importing: Importing) -> list[str]:
    """What goes wrong with one case, a line or a traceback each."""
    rng = random.Random(f"case {number}")
    case = Case(root, rng)
    shutil.copytree(recorded / "results", case.results)
    (case.outside / "deep").mkdir(parents=True)
    (case.outside / "thesis.txt").write_text("outside")
    (case.root / "cwd").mkdir()
    kind = rng.choice(sorted(DAMAGES))
    what = f"case {number}, {kind}: {DAMAGES[kind](case)}"
    before, kept = outside_of(case), foreign(case)
    problems = []
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(report_files.sheets, "draw", return_value=[]))
        stack.enter_context(mock.patch.object(report_files.lab_figures, "drawings", return_value={}))
        if kind != "partial":
            stack.enter_context(mock.patch.object(execute, "train", FakeLearner()))
        for name, main, words in commands(case):
            try:
                code, said = run(main, words)
            except BaseException:  # the very thing that is looked for
                problems.append(f"{what}\n{name}:\n{traceback.format_exc(limit=-6)}")
                continue
            if code not in (0, 1, 2) or "Traceback" in said:
                problems.append(f"{what}\n{name}: exit code {code}: {said[-2000:]}")
            if any(not line.isprintable() for line in said.replace("\t", " ").split("\n")):
                problems.append(f"{what}\n{name}: {said[-500:]!a}")
            if (
                name == "verify"
                and code == 0
                and kind in ("flip", "cut", "grow", "encoding", "sparse")
                and covered(what)
            ):
                problems.append(f"{what}\n{name}: not named: {said}")
    if importing.asked:
        problems.append(f"{what}: imported {importing.asked}")
        importing.asked.clear()
    changed = sorted(name for name, _ in before.items() ^ outside_of(case).items())
    if changed:
        problems.append(f"{what}: changed outside of the results: {changed}")
    if foreign(case) < kept:
        problems.append(f"{what}: a file of somebody else is gone")
    return problems


def covered(what: str) -> bool:
    """Whether a change of the file is one that `verify` must name: that of a finished block, an index or a pack."""
    name = what.rpartition("/")[2].rpartition(": ")[2]
    unfinished = "seeds-005" in what or "/lab/" in what or "adhoc/lab" in what
    of_runs = name in (*blocks.FILES, blocks.RECORD, "study.json", "lab.json", "runs.tar.xz")
    return of_runs and not unfinished and ": lab/" not in what


@pytest.mark.parametrize(("first", "number"), [(0, FEW), pytest.param(FEW, MORE, marks=pytest.mark.slow)])
def test_no_damage_costs_a_traceback_an_import_or_a_file_of_somebody_else(
    recorded, importing, tmp_path, monkeypatch, first, number
):
    number, first = int(os.environ.get("BENCH_FUZZ_FILES", number)), int(os.environ.get("BENCH_FUZZ_FIRST", first))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    found: list[str] = []
    for each in range(first, first + number):
        root = tmp_path / "case"
        problems = problems_of(each, recorded, root, importing)
        shutil.rmtree(root, ignore_errors=True)
        if "BENCH_FUZZ_FILES" in os.environ:  # it takes long
            print(each, *problems, sep="\n" if problems else " ", end=" ", flush=True)
        found += problems
    assert not found, "\n\n".join(found)
    assert list((tmp_path / "cwd").iterdir()) == []


def test_every_kind_of_damage_is_drawn():
    drawn = {random.Random(f"case {number}").choice(sorted(DAMAGES)) for number in range(200)}
    assert drawn == set(DAMAGES) > set(FILES)
