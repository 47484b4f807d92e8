"""What is shown of a sweep comes from the files its workers write."""

import io
import re
import time

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
    monkeypatch.setattr(record.files, "write_json", lambda path, data: (written.append(1), write(path, data)))
    execute.run(cell("seeds=1"))
    assert len(written) == 3  # the record twice, and of three reports of progress the first
