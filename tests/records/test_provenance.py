"""Where a block came from: code that was changed since its commit is told apart from results that were added."""

import os
import subprocess
from pathlib import Path

import pytest

from bench.records import provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, taken for the suite's own."""
    for name in ("bench", "results", "conf"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("as committed")
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "c"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        (None, False),
        ("results/new", False),
        ("results/file", False),
        ("bench/file", True),
        ("conf/new", True),
    ],
)
def test_code_is_dirty_when_anything_but_results_was_changed(checkout: Path, changed: str | None, dirty: bool) -> None:
    if changed is not None:
        (checkout / changed).write_text("something else")
    found = provenance.git.__wrapped__()
    assert found["dirty"] is dirty
    assert len(found["commit"]) == 40


def test_looking_at_a_checkout_leaves_its_index_alone(checkout: Path) -> None:
    """git would write it anew, under a lock that stays where the process is killed meanwhile."""
    index = checkout / ".git" / "index"
    before = index.read_bytes()
    os.utime(checkout / "bench" / "file", (1e9, 1e9))  # the index has another time of it
    assert provenance.git.__wrapped__()["dirty"] is False
    assert index.read_bytes() == before
