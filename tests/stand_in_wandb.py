"""A stand-in for the library `wandb`, for other processes: a module in a folder that their PYTHONPATH names."""

import os
from pathlib import Path

MODULE = """
import os
import time
from pathlib import Path

FOLDER = Path(__file__).parent


def Settings(**_):
    return None


class Run:
    summary = {}

    def define_metric(self, *_, **__):
        pass

    log = define_metric
    finish = define_metric


def init(dir, id, **_):
    folder = Path(dir) / "wandb" / f"offline-run-{os.getpid()}-{id}"
    folder.mkdir(parents=True)
    if id != "rehearsal":
        begin()
    return Run()


def teardown():
    pass


def begin():
"""


def stand_in(folder: Path, monkeypatch, body: str) -> Path:
    """Let other processes import it; each run begins with `body`. → its folder, which `body` knows as FOLDER."""
    folder.mkdir()
    (folder / "wandb.py").write_text(MODULE + "".join(f"    {line}\n" for line in body.splitlines()))
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{path}" if path else str(folder))
    return folder


def missing(folder: Path, monkeypatch) -> None:
    """Let other processes find a library that cannot be imported."""
    stand_in(folder, monkeypatch, "pass")
    (folder / "wandb.py").write_text("raise ImportError('no wandb here')\n")
