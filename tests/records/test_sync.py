"""What W&B does not have is made up for, each run once."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.commands.main import main
from bench.errors import UserError
from bench.execution import execute
from bench.records import block as blocks
from bench.records import index, mirror, mirroring
from tests.wandb_server import HANG, WandbServer


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


def sync(study: Path, *, upload: bool = False, timeout: float = 60.0) -> tuple[int, int, int]:
    """How many runs were written, there before, and sent."""
    return mirroring.sync(study.parent, study.name, upload=upload, timeout=timeout)[:3]


def test_missing_and_broken_off_mirrors_are_written_once(study):
    assert sync(study) == (2, 0, 0)
    whole = runs(study)
    assert len(whole) == 2
    (whole[0] / mirror.COMPLETE).unlink()  # of another version, or somebody's
    assert sync(study) == (1, 1, 0)
    assert len(runs(study)) == 2
    assert sync(study) == (0, 2, 0)


@pytest.fixture
def server(monkeypatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def assert_whole(server: WandbServer, study: Path) -> None:
    """The server has each row of each seed once, the end of each, and nothing of the machine."""
    blocks_of = [blocks.read(path) for path in blocks.walk(study)[0]]
    sent = {run.id: run for block in blocks_of for run in mirror.runs(block, sorted(block.seeds)).values()}
    assert server.unknown == []
    assert server.runs.keys() == sent.keys()
    for id, run in server.runs.items():
        assert [json.loads(line)["step"] for line in run.history] == [row["step"] for row in sent[id].history]
        assert run.summary["block"] == sent[id].summary["block"]
        assert run.summary["final_stochastic"] == sent[id].summary["final_stochastic"]
        assert run.config["gamma"] == sent[id].config["gamma"]
        assert (run.group, run.job_type, run.host) == (sent[id].group, sent[id].job_type, None)
        assert run.state == "finished"
        steps = [json.loads(line)["_step"] for line in run.history]
        assert steps == sorted(set(steps))


def test_what_is_sent_is_sent_once_and_no_log_is_kept(study, server, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert sync(study, upload=True) == (2, 0, 2)
    assert_whole(server, study)
    assert not list(elsewhere.iterdir())  # W&B's program writes logs where it is called
    for file in (file for run in runs(study) for file in run.iterdir()):
        assert file.suffix != ".log"
        assert str(Path.home()).encode() not in file.read_bytes()
    asked = len(server.asked)
    assert sync(study, upload=True) == (0, 2, 0)
    assert len(server.asked) == asked
    for run in runs(study):
        (run / mirror.SENT).unlink()  # as if this process had been killed before it could know
    assert sync(study, upload=True) == (0, 2, 2)
    assert "upsert" not in [kind for kind, _ in server.asked[asked:]]
    assert_whole(server, study)


ANSWERS = [("file_stream", 500), ("file_stream", 409), ("file_stream", 404), ("upsert", 404), ("all", 404)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "status"), ANSWERS)
def test_what_the_server_refuses_is_said_and_made_up_for(study, server, kind, status):
    server.answers = {kind: status}
    said = rf"not mirrored \(.*{status}.*\); 2 runs written, 0 sent, nothing is lost"
    with pytest.raises(UserError, match=said):
        sync(study, upload=True)
    server.answers = {}
    assert sync(study, upload=True) == (0, 2, 2)
    assert_whole(server, study)


@pytest.mark.parametrize("hangs", ["all", "file_stream"])
def test_a_server_that_does_not_answer_is_given_up_after_the_stated_time(study, server, hangs):
    server.answers = {hangs: HANG}
    with pytest.raises(UserError, match=r"not mirrored \(it did not take everything within 6 seconds\)"):
        sync(study, upload=True, timeout=6.0)
    assert server.asked  # it was begun


def test_of_half_a_history_the_rest_is_sent_later_and_no_row_twice(study, server):
    server.kept = 2
    with pytest.raises(UserError, match=r"not mirrored \(it does not show all of .* which was sent\)"):
        sync(study, upload=True)
    assert {len(run.history) for run in server.runs.values()} == {2}
    server.kept = None
    assert sync(study, upload=True) == (0, 2, 2)
    assert_whole(server, study)


def test_a_signal_ends_it_while_the_server_does_not_answer(study, server):
    server.answers = {"all": HANG}
    words = [sys.executable, "-m", "bench", "wandb-sync", f"study={study.name}", f"results={study.parent}"]
    command = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not server.asked:
        assert command.poll() is None
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 128 + signal.SIGINT
    assert said.splitlines()[-1].startswith("interrupted: ")
    assert len(runs(study)) == 2
    assert sync(study) == (0, 2, 0)


def test_without_a_key_it_says_so(study, monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match=r"not mirrored .*wandb login"):
        sync(study, upload=True)


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_a_time_that_is_none_is_refused(timeout, capsys):
    assert main(["wandb-sync", "study=adhoc", f"timeout={timeout}"]) == 2
    assert f"timeout={timeout:g}: must be more than 0 seconds" in capsys.readouterr().err


def test_an_unknown_study_is_named(study):
    with pytest.raises(UserError, match="unknown study"):
        mirroring.sync(study.parent, "other", upload=False, timeout=1.0)


def test_a_folder_that_cannot_be_written_is_said_so(study):
    """W&B itself would write somewhere else, and the runs would count as written."""
    (study / "wandb").write_text("a file")
    with pytest.raises(UserError, match=r"not mirrored \(.*File exists"):
        sync(study)


def test_a_link_in_place_of_wandbs_folder_is_refused(study, tmp_path):
    elsewhere = tmp_path / "thesis"
    elsewhere.mkdir()
    (study / "wandb").symlink_to(elsewhere)
    with pytest.raises(UserError, match="it is a link"):
        sync(study)
    assert not list(elsewhere.iterdir())
