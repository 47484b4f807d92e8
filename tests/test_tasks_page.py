"""docs/tasks.md does what it says."""

import doctest
from pathlib import Path

from bench.tasks import GYMNASIUM_TASKS, TASKS

PAGE = Path(__file__).parents[1] / "docs" / "tasks.md"


def test_its_examples_give_what_it_shows() -> None:
    results = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert results.attempted > 10
    assert results.failed == 0


def test_it_names_every_task_and_every_world_of_our_own() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = [*TASKS, *(id for id in GYMNASIUM_TASKS if id.startswith("bench/"))]
    assert [name for name in names if f"`{name}`" not in text] == []
