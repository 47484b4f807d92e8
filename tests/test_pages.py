"""Every page of documentation does what it says; `tests/pages.py` tells how pages are read."""

import re
from pathlib import Path

import pytest

from bench.tasks import GYMNASIUM_TASKS, TASKS
from tests import pages

PAGES = {page.relative_to(pages.ROOT).as_posix(): page for page in pages.pages()}
GUIDES = ("docs/guides/reproduce.md", "docs/guides/cluster.md", "docs/guides/figure.md", "docs/extending.md")
TRAINED = re.compile(r"^\d+ cells?, .*failures?: (\S+)$", re.MULTILINE)  # into which folder
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")  # relative ones


def test_there_is_a_guide_for_every_kind_of_user() -> None:
    assert set(PAGES) >= {*GUIDES, "README.md", "docs/sb3.md", "docs/tasks.md"}


def test_what_the_guides_train_lies_in_folders_of_their_own() -> None:
    """Also apart from what is committed, for they are followed in a checkout."""
    folders = {name: set(TRAINED.findall(PAGES[name].read_text(encoding="utf-8"))) for name in (*GUIDES, "README.md")}
    assert all(folders.values())
    listed = [folder for found in folders.values() for folder in found]
    assert sorted(listed) == sorted(set(listed))
    assert not {"results/adhoc", *(f"results/{path.name}" for path in (pages.ROOT / "results").iterdir())} & set(listed)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAGES if name not in GUIDES])
def test_the_page_does_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pages.follow(PAGES[name], tmp_path)


@pytest.mark.slow
def test_the_guides_can_be_followed_one_after_the_other_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in GUIDES:
        pages.follow(PAGES[name], tmp_path)


@pytest.mark.parametrize(
    "page", [*pages.ROOT.glob("*.md"), *pages.ROOT.glob("docs/**/*.md")], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    found = [link for link, _ in LINK.findall(page.read_text(encoding="utf-8"))]
    assert [link for link in found if not (page.parent / link).exists()] == []


def test_the_page_of_tasks_names_every_task_and_every_world_of_our_own() -> None:
    text = PAGES["docs/tasks.md"].read_text(encoding="utf-8")
    names = [*TASKS, *(id for id in GYMNASIUM_TASKS if id.startswith("bench/"))]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("one\ntwo", "one\ntwo", True),
        ("one\ntwo", "one\nthree", False),
        ("2 cells, … failures", "2 cells, 0 failures", True),
        ("2 cells, … failures", "3 cells, 0 failures", False),
        ("…\nlast", "last", True),
        ("…\nlast", "first\nsecond\nlast", True),
        ("…\nlast", "first\nlast\nmore", False),
        ("first\n…", "first\nsecond\nthird", True),
        ("first\n…", "first", True),
        ("first\n…\nlast", "first\nlast", True),
        ("a (b) …", "a (b) c\nd", False),
    ],
)
def test_what_a_page_shows_is_compared_line_by_line(shown: str, printed: str, same: bool) -> None:
    assert pages.matches(shown, printed) is same


def test_the_shape_of_a_text_is_its_words_and_where_its_numbers_are() -> None:
    row = "cartpole  none-td0-clip  153.3   [82.8, 277.1]  5"
    assert pages.shape(row) == pages.shape("cartpole  none-td0-clip   −9.75  [−12.0, 1,277.1]  10")
    assert pages.shape(row) != pages.shape("cartpole  none-td0-clip  153.3   –  5")
    assert pages.shape(row) != pages.shape("cartpole  critic-td0-clip  153.3   [82.8, 277.1]  5")


def test_commands_are_read_with_what_they_print() -> None:
    block = "$ one \\\n    more\n$ two\nshown\n\n$ three\n"
    assert list(pages.commands(block)) == [
        pages.Command("one \\\n    more", ""),
        pages.Command("two", "shown"),
        pages.Command("three", ""),
    ]


def test_a_command_that_fails_or_prints_something_else_is_found(tmp_path: Path) -> None:
    pages.run(pages.Command("python -c 'print(1)'", "1"), tmp_path)
    pages.run(pages.Command("echo error: no; exit 2", "error: …"), tmp_path)
    for text, shown in (("exit 1", ""), ("echo 2", "1"), ("echo error:", "error: …")):
        with pytest.raises(AssertionError):
            pages.run(pages.Command(text, shown), tmp_path)
