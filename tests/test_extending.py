"""docs/extending.md, followed to the letter in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def follow(folder: Path, command: str) -> str:
    arguments = command.replace("python", sys.executable, 1).split()
    environment = {**os.environ, "WANDB_MODE": "offline"}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    files = blocks("python") + blocks("yaml")
    assert len(files) == 5
    for text in files:
        name, _, content = text.partition("\n")
        file = tmp_path / name.removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    commands = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
    assert len(commands) == 6
    for command in commands:
        follow(tmp_path, command + (" wandb=disabled" if "-m bench" in command else ""))
    runs = {path.name.rpartition("-")[0] for path in (tmp_path / "results" / "adhoc" / "runs").glob("*/*")}
    assert runs == {"none-half_lambda-clip", "median-monte_carlo-clip", "critic-gae-smooth_clip", "critic-gae-clip"}
    study = {path.parent.name for path in (tmp_path / "results" / "medians" / "runs").glob("*/*")}
    assert study == {"thermostat", "weekly_exam"}
    report = (tmp_path / "results" / "medians" / "report" / "report.md").read_text(encoding="utf-8")
    assert "median-monte_carlo-clip" in report
