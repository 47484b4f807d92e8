"""docs/sb3.md says of every habit what the tests show, and nothing else."""

import importlib
from collections.abc import Mapping
from typing import Any

import pytest

from bench.learner.sb3_settings import ARGUMENTS, POLICY_KWARGS, Setting
from bench.paths import ROOT
from tests.learner.habits import HABITS, SECTIONS, Habit

MODULES = (
    "test_sb3",
    *(f"test_sb3_{name}" for name in ("environments", "constructor", "training", "prediction", "copies")),
)
for _module in MODULES:
    importlib.import_module(f"tests.learner.{_module}")

PAGE = (ROOT / "docs" / "sb3.md").read_text(encoding="utf-8")


def argument_rows(table: Mapping[str, Setting]) -> list[str]:
    return [f"| `{name}` | {_outcome(setting)} | {setting.here} |" for name, setting in table.items()]


def _outcome(setting: Setting) -> str:
    if setting.change is not None:
        return "works"
    if not setting.neutral:
        return "refused"
    return f"only {' or '.join(f'`{_shown(each)}`' for each in setting.neutral)}"


def _shown(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)


def habits(section: str) -> list[Habit]:
    return [each for each in HABITS.values() if each.section == section]


def shown(section: str) -> list[str]:
    """The rows of the tables below a heading, without their heads."""
    below = PAGE.partition(f"\n## {section.capitalize()}\n")[2].partition("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith("| what one does |") and not line.startswith("| argument |")]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_tables_are_what_the_tests_show(section: str) -> None:
    expected = [each.row for each in habits(section)]
    if section == "constructor":
        expected += argument_rows(ARGUMENTS) + argument_rows(POLICY_KWARGS)
    assert sorted(shown(section)) == sorted(expected)


def test_the_page_counts_them() -> None:
    counts = {kind: sum(each.outcome == kind for each in HABITS.values()) for kind in ("works", "refused", "differs")}
    said = f"{len(HABITS)} habits: {counts['works']} work, {counts['refused']} are refused, {counts['differs']} differ"
    assert said in " ".join(PAGE.split())


def test_no_habit_is_told_twice() -> None:
    told = [(each.section, each.what) for each in HABITS.values()]
    assert len(set(told)) == len(told)
