"""What W&B does not have is made up for, each run once."""

import subprocess
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.execution import execute
from bench.records import block as blocks
from bench.records import index, mirror


@pytest.fixture
def study(cell):
    """A study of two cells that was never mirrored."""
    configs = [cell("seeds=1", f"gamma={gamma}") for gamma in (0.5, 0.6)]
    index.plan(configs)
    for config in configs:
        execute.run(config)
    return blocks.study_directory(configs[0])


def runs(study: Path) -> list[Path]:
    return sorted((study / "wandb").glob("offline-run-*"))


def test_missing_and_broken_off_mirrors_are_written_once(study):
    assert mirror.sync(study.parent, study.name, upload=False)[:2] == (2, 0)
    whole = runs(study)
    assert len(whole) == 2
    (whole[0] / mirror.COMPLETE).unlink()  # killed while it was written
    assert mirror.sync(study.parent, study.name, upload=False)[:2] == (1, 1)
    assert len(runs(study)) == 2
    assert mirror.sync(study.parent, study.name, upload=False)[:2] == (0, 2)


def test_only_what_was_not_sent_is_sent_and_an_outage_loses_nothing(study, monkeypatch):
    sent: list[str] = []
    reachable = [True, False]

    def send(command, **_):
        run = Path(command[-1])
        assert command[2:4] == ["wandb", "sync"]
        if not (reachable.pop(0) if reachable else True):
            return subprocess.CompletedProcess(command, 1, "", "Network error: unreachable\n")
        sent.append(run.name)
        (run / f"{run.name}.wandb.synced").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(mirror.subprocess, "run", send)
    with pytest.raises(UserError, match=r"did not take .*unreachable.*nothing is lost"):
        mirror.sync(study.parent, study.name, upload=True)
    mirror.sync(study.parent, study.name, upload=True)
    mirror.sync(study.parent, study.name, upload=True)
    assert sorted(sent) == [run.name for run in runs(study)]


def test_an_unknown_study_is_named(study):
    with pytest.raises(UserError, match="unknown study"):
        mirror.sync(study.parent, "other", upload=False)


def test_a_folder_that_cannot_be_written_is_said_so(study):
    """W&B itself would write somewhere else, and the runs would count as written."""
    (study / "wandb").write_text("a file")
    with pytest.raises(UserError, match=r"not mirrored \(.*File exists"):
        mirror.sync(study.parent, study.name, upload=False)


def test_a_link_in_place_of_wandbs_folder_is_refused(study, tmp_path):
    elsewhere = tmp_path / "thesis"
    elsewhere.mkdir()
    (study / "wandb").symlink_to(elsewhere)
    with pytest.raises(UserError, match="it is a link"):
        mirror.sync(study.parent, study.name, upload=False)
    assert not list(elsewhere.iterdir())
