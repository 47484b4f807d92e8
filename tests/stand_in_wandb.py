"""A stand-in for the process that mirrors blocks, which does something of its own as each run begins."""

import os
from pathlib import Path

from bench.records import mirroring

MODULE = """
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
sys.modules["wandb"] = None  # it takes a second to import

from bench.records import mirror_process, wandb_file


def content(run):
BODY
    return b"made up"


wandb_file.content = content
mirror_process.main()
"""


def stand_in(folder: Path, monkeypatch, body: str) -> Path:
    """Let it be the process that is started; each run begins with `body`, to which FOLDER is the folder returned."""
    folder.mkdir()
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (folder / "made_up_mirror.py").write_text(MODULE.replace("BODY\n", lines))
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{path}" if path else str(folder))
    monkeypatch.setattr(mirroring, "PROCESS", "made_up_mirror")
    return folder


def missing(folder: Path, monkeypatch) -> None:
    """Let it find no library of W&B's."""
    stand_in(folder, monkeypatch, "raise ImportError('no wandb here')")
