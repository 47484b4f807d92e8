"""A sweep goes on after failures and dead workers, and says what happened."""

import io
import json

import pytest
from rich.console import Console

from bench.cells.grids import Cell
from bench.config.identity import cell_hash
from bench.errors import UserError
from bench.execution import execute, progress
from bench.execution.launch import DEATH, Outcome, sweep
from bench.records import block as blocks
from bench.records import index
from bench.records.training import subject


@pytest.fixture
def cells(cell):
    return [Cell(cell("seeds=2", f"gamma={gamma}"), {}) for gamma in (0.5, 0.6, 0.7)]


@pytest.fixture
def display():
    return progress.Display(Console(file=io.StringIO()))


class Launcher:
    """Runs cells here; `fatal` are the gammas at which the whole pool dies, as if the system had killed a worker."""

    def __init__(self, fatal=()):
        self.fatal = fatal
        self.launches: list[list[float]] = []

    def __call__(self, cells):
        self.launches.append([cell.config.gamma for cell in cells])
        outcomes = []
        for cell in cells:
            if cell.config.gamma in self.fatal:
                left_by_a_dead_process(cell.config)
                raise RuntimeError("a worker process was terminated")
            outcomes.append(self.run(cell))
        return outcomes

    def run(self, cell):
        try:
            execute.run(cell.config)
        except Exception as error:
            return Outcome(str(error))
        return Outcome()


def left_by_a_dead_process(config):
    path = blocks.cell_directory(config) / blocks.seeds_name(config.seeds)
    path.mkdir(parents=True, exist_ok=True)
    seeds = {str(seed): {"status": "running", "cause": None} for seed in config.seeds}
    begun = {**subject(config, path).entries, "seeds": seeds, "process": None, "host": {"id": "x"}}
    record = {"schema": 2, "status": "running", **begun}
    (path / blocks.RECORD).write_text(json.dumps(record))


def states(cells):
    return [[block.state for block in blocks.blocks(cell.config)] for cell in cells]


def test_every_cell_is_run_and_indexed(cells, display, learner):
    report = sweep(cells, Launcher(), display)
    assert (report.cells, report.skipped, report.failures) == (3, 0, [])
    assert states(cells) == [["done"]] * 3
    entries = index.STUDY.read(report.directory)["cells"]
    assert [entry["hash"] for entry in entries] == [cell_hash(cell.config) for cell in cells]
    assert all((report.directory / entry["path"] / "seeds-000-001").is_dir() for entry in entries)
    assert len(learner.calls) == 3


def test_what_is_done_is_not_launched(cells, display):
    launcher = Launcher()
    sweep(cells[:2], launcher, display)
    report = sweep(cells, launcher, display)
    assert launcher.launches == [[0.5, 0.6], [0.7]]
    assert report.skipped == 2
    assert sweep(cells, launcher, display).skipped == 3
    assert len(launcher.launches) == 2


def test_a_cell_another_process_trains_is_left_to_it_and_said_so(cells, display, learner):
    inner = []
    learner.before = lambda: inner.append(sweep(cells[:1], Launcher(), display)) if not inner else None
    assert sweep(cells[:1], Launcher(), display).elsewhere == 0
    assert inner[0].elsewhere == 1
    assert len(learner.calls) == 1


def test_the_longest_goes_first(cell, display):
    launcher = Launcher()
    cells = [
        Cell(cell("seeds=1", f"gamma={gamma}", f"budget={budget}"), {}) for gamma, budget in ((0, 1000), (1, 2000))
    ]
    sweep(cells, launcher, display)
    assert launcher.launches == [[1.0, 0.0]]


def test_how_long_a_sweep_takes_is_said_before_it_starts(cells, learner):
    def how_long(todo):
        assert len(todo) == 2
        return "6,000 environment steps: about 2 minutes"

    out = io.StringIO()
    display = progress.Display(Console(file=out, width=300))
    heard = []
    said = "2 blocks to train, 6,000 environment steps: about 2 minutes\n"
    learner.before = lambda: heard.append(out.getvalue() == said)
    assert sweep(cells[:2], Launcher(), display, how_long).failures == []
    assert heard == [True, True]


def test_a_failure_stops_nobody_and_is_listed_once(cells, display, learner):
    def second_fails():
        if len(learner.calls) == 2:
            raise ValueError("broken")

    learner.before = second_fails
    report = sweep(cells, Launcher(), display)
    assert report.failures == ["weekly_exam critic-gae-clip (gamma=0.6) seeds 0,1: ValueError: broken"]
    assert states(cells) == [["done"], ["failed"], ["done"]]
    assert sweep(cells, Launcher(), display).failures == []


def test_failed_seeds_are_listed_though_their_block_is_done(cells, display, learner):
    learner.causes = {1: "loss is NaN"}
    expected = ["weekly_exam critic-gae-clip seeds 1: loss is NaN"]
    assert sweep(cells[:1], Launcher(), display).failures == expected
    assert sweep(cells[:1], Launcher(), display).failures == expected


def test_a_failure_before_anything_was_recorded_is_listed(cells, display):
    report = sweep(cells[:1], lambda cells: [Outcome("ImportError: no such module") for _ in cells], display)
    assert report.failures == ["weekly_exam critic-gae-clip: ImportError: no such module"]


def test_warnings_come_once(cells, display):
    launcher = Launcher()
    report = sweep(cells, lambda some: [Outcome(launcher.run(cell).error, ("no W&B",)) for cell in some], display)
    assert report.warnings == ["no W&B"]


def test_a_dead_worker_costs_its_own_cell_only(cells, display):
    launcher = Launcher(fatal=(0.6,))
    report = sweep(cells, launcher, display)
    assert launcher.launches == [[0.5, 0.6, 0.7], [0.7], [0.6]]
    assert report.failures == [f"weekly_exam critic-gae-clip (gamma=0.6) seeds 0,1: {DEATH}"]
    assert states(cells) == [["done"], ["failed"], ["done"]]
    again = sweep(cells, Launcher(), display)
    assert (again.skipped, again.failures) == (2, [])


def test_a_cell_that_died_for_another_ones_sake_is_run_again(cells, display):
    launcher = Launcher(fatal=[0.6])

    def once(some):
        try:
            return launcher(some)
        finally:
            launcher.fatal = []

    assert sweep(cells, once, display).failures == []
    assert states(cells) == [["done"]] * 3


def test_a_launcher_that_never_starts_anything_is_an_error(cells, display):
    def broken(_):
        raise RuntimeError("no such queue")

    with pytest.raises(UserError, match=r"nothing could be launched \(RuntimeError: no such queue\)"):
        sweep(cells, broken, display)


def test_damage_is_found_before_anything_starts(cells, display, learner):
    sweep(cells[2:], Launcher(), display)
    (record,) = blocks.cell_directory(cells[2].config).glob("*/run.json")
    record.write_text("{")
    with pytest.raises(UserError, match="damaged block"):
        sweep(cells, Launcher(), display)
    assert len(learner.calls) == 1


def test_two_labels_of_one_cell_are_trained_once_and_both_indexed(cell, display, learner):
    cells = [Cell(cell("seeds=2", f"name={name}"), {}) for name in ("one", "two")]
    report = sweep(cells, Launcher(), display)
    assert len(learner.calls) == 1
    entries = index.STUDY.read(report.directory)["cells"]
    assert [entry["arm"] for entry in entries] == ["one", "two"]
    assert len({entry["path"] for entry in entries}) == 1
    assert (report.directory / entries[1]["path"] / "seeds-000-001" / "run.json").exists()


def test_the_index_keeps_what_was_planned_before(cell, display):
    sweep([Cell(cell("seeds=[0,1]"), {})], Launcher(), display)
    sweep([Cell(cell("seeds=[1,5]"), {}), Cell(cell("seeds=1", "gamma=0.5"), {})], Launcher(), display)
    entries = index.STUDY.read(blocks.study_directory(cell()))["cells"]
    assert [entry["seeds"] for entry in entries] == [[0, 1, 5], [0]]


def test_a_damaged_index_is_named_and_kept(cells, display):
    study = blocks.study_directory(cells[0].config)
    study.mkdir(parents=True)
    (study / index.STUDY.file).write_text("{")
    with pytest.raises(UserError, match=r"damaged index .*study\.json"):
        sweep(cells, Launcher(), display)
    assert (study / index.STUDY.file).read_text() == "{"
