"""Pages of documentation, followed in an empty folder as a reader would.

What a page's blocks of code mean, in their order:

- a block whose first line is a comment with a path (`# my_arms.py`) is that file; Hydra's `# @package` comes before it;
- `python` is run, all blocks of a page in one session;
- `pycon` is a session with its answers (doctest);
- `console` holds commands behind `$ `, with what they print. Where nothing is shown anything may be printed; `…` stands
  for what differs from time to time, on a line of its own for any number of lines. A command may only fail where the
  page shows the line `error: …`. README.md shows real numbers, so there only the shape is compared: the words, and
  where numbers are;
- anything else (`sh`, `text`, `yaml` without a path) is shown and not run: cluster jobs, installations, overviews.
"""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RUN = ("python", "pycon", "console")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:# @package \w+\n)?# ([\w./]+\.(?:py|yaml|sh))\n")


@dataclass(frozen=True)
class Command:
    """A line to type, and what the page shows of its output."""

    text: str
    shown: str


def pages() -> list[Path]:
    """All pages of the repository with something to follow."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(page for page in found if any(language in RUN for language, _ in blocks(page)))


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of a page's blocks of code."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def shape(text: str) -> str:
    """A text with a zero for each number, and one space for several: what two machines have in common."""
    return re.sub(r" +", " ", re.sub(r"−?\d+(?:[.,:]\d+)*", "0", text))


def follow(page: Path, folder: Path) -> None:
    """Do in `folder`, the current one, what the page says; raises `AssertionError` where it turns out differently."""
    session: dict[str, Any] = {"__name__": "__page__"}
    for language, text in blocks(page):
        if file := FILE.match(text):
            path = folder / file[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, str(page), "exec"), session)
        elif language == "pycon":
            test = doctest.DocTestParser().get_doctest(text, session, page.name, str(page), 0)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0, text
            session.update(test.globs)
        elif language == "console":
            for command in commands(text):
                run(command, folder, shape if page.name == "README.md" else str)


def commands(block: str) -> Iterator[Command]:
    """The commands of a console block; a backslash goes on in the next line."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.split("\n")
        length = next(number for number, line in enumerate(lines, 1) if not line.endswith("\\"))
        yield Command("\n".join(lines[:length]), "\n".join(lines[length:]).strip())


def run(command: Command, folder: Path, compared: Callable[[str], str] = str) -> None:
    """Run a command in a shell whose `python` is this one, without a network to W&B, and compare what it prints.

    `compared` is what is kept of a text for that.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "WANDB_MODE": "offline", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-c", command.text], cwd=folder, env=environment, text=True, timeout=300, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    told = f"$ {command.text}\n{done.stdout}"
    assert done.returncode == (2 if command.shown.startswith("error: ") else 0), told
    if command.shown:
        assert matches(compared(command.shown), compared(done.stdout.strip())), (
            f"the page shows\n{command.shown}\nnot\n{told}"
        )


def matches(shown: str, printed: str) -> bool:
    """Whether a text is what a page shows of it, `…` standing for anything."""
    if shown == "…":
        return True
    whole_lines = re.escape(shown).replace(re.escape("…"), "…")
    pattern = re.sub(r"^…\\\n", r"(?:.*\\n)*?", whole_lines, flags=re.MULTILINE)  # lines, perhaps none
    pattern = re.sub(r"\\\n…\Z", r"(?:\\n.*)*", pattern).replace("…", ".*")
    return re.fullmatch(pattern, printed) is not None
