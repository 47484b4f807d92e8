"""What is shown of a sweep comes from the files its workers write."""

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from bench.execution import execute, progress
from bench.records import block as blocks
from bench.records import recorder as record


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(progress, "SCREEN_EVERY", 0.02)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.02)


def shown(cell, learner, terminal):
    stream = io.StringIO()
    config = cell("seeds=2")
    path = blocks.cell_directory(config) / "seeds-000-001"
    learner.after_progress = lambda: time.sleep(0.3)
    display = progress.Display(Console(file=stream, force_terminal=terminal, width=100))
    with display.watching([progress.Item("weekly_exam mine", path, 10.0)], done_before=4):
        execute.run(config)
        time.sleep(0.2)
    return stream.getvalue()


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("terminal", [True, False])
def test_cells_returns_and_time_left_are_shown(cell, learner, terminal):
    text = shown(cell, learner, terminal)
    assert "4/5 blocks" in text
    assert re.search(r"weekly_exam mine.*return 0", text)
    assert "5/5 blocks" in text
    assert re.search(r"\d:\d\d:\d\d left", text)


@pytest.mark.usefixtures("learner")
@pytest.mark.parametrize("begun", [False, True])
def test_the_last_line_tells_the_end_where_a_line_was_printed_before(cell, monkeypatch, begun):
    """A sweep that is shorter than the time between two lines has none."""
    monkeypatch.setattr(progress, "LINE_EVERY", 0.1 if begun else 60.0)
    stream, config = io.StringIO(), cell("seeds=2")
    path = blocks.cell_directory(config) / "seeds-000-001"
    with progress.Display(Console(file=stream)).watching([progress.Item("mine", path, 10.0)], done_before=4):
        time.sleep(0.2)
        execute.run(config)
    told = stream.getvalue().splitlines()
    assert (len(told) >= 2) == begun
    assert told[-1:] == (["5/5 blocks, 0:00:00 left"] if begun else [])


def test_a_failed_attempt_of_yesterday_is_not_todays_news(cell, learner):
    def breaks():
        raise ValueError("broken")

    config = cell("seeds=2")
    learner.before = breaks
    with pytest.raises(ValueError, match="broken"):
        execute.run(config)
    path = blocks.cell_directory(config) / "seeds-000-001"
    watch = progress._Watch([progress.Item("x", path, 1.0)], done_before=0)
    assert watch.snapshot().done == 0
    learner.before = lambda: None
    execute.run(config)
    assert watch.snapshot().done == 1


def test_progress_is_written_at_most_twice_a_second(cell, monkeypatch):
    written: list[float] = []
    write = record.files.write_json
    monkeypatch.setattr(
        record.files, "write_json", lambda path, data, **keys: (written.append(1), write(path, data, **keys))
    )
    execute.run(cell("seeds=1"))
    assert len(written) == 3  # the record twice, and of three reports of progress the first


def test_of_many_blocks_at_work_some_are_shown_and_the_number_of_the_others(monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.02)
    at_work = [progress.Running(Path(f"{number}"), f"cell {number}", 0.5, 1.0) for number in range(300)]
    monkeypatch.setattr(progress._Watch, "snapshot", lambda _: progress.Snapshot(100, at_work, 0.25))
    stream = io.StringIO()
    with progress.Display(Console(file=stream)).watching([], done_before=1000):
        time.sleep(0.2)
    line = stream.getvalue().splitlines()[0]
    assert line.startswith("100/1000 blocks")
    assert line.count("cell ") == progress.MOST_SHOWN
    assert line.endswith("; 292 more at work")


def test_a_record_is_read_where_it_has_changed(cell, monkeypatch):
    """Of a thousand blocks that wait, none is read, however often one looks."""
    configs = [cell("seeds=1", f"gamma={number / 10}") for number in range(5)]
    items = [progress.Item("x", blocks.cell_directory(config) / "seeds-000", 1.0) for config in configs]
    read: list[Path] = []
    monkeypatch.setattr(
        progress.blocks, "read", lambda path, read_block=blocks.read: (read.append(path), read_block(path))[1]
    )
    watch = progress._Watch(items, done_before=0)
    for config in configs:
        watch.snapshot()
        read.clear()
        execute.run(config)
        read.clear()
        watch.snapshot()
        assert read == [blocks.cell_directory(config) / "seeds-000"]
    read.clear()
    assert watch.snapshot().done == 5
    assert read == []


def test_looking_never_takes_more_than_its_share():
    watch = progress._Watch([], done_before=0)
    assert watch.pause(0.5) == 0.5
    watch._looked_for = 0.4
    assert watch.pause(0.5) == pytest.approx(0.4 / progress.LOOKING_SHARE)
