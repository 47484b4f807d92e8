"""What a folder's files say about its block."""

import json
import os
import subprocess
import sys
import time

import pytest

from bench.errors import UserError
from bench.execution import execute
from bench.records import block as blocks
from bench.records import lease as claims
from bench.records import provenance


@pytest.mark.parametrize(
    ("seeds", "name"),
    [
        (range(10), "seeds-000-009"),
        (range(10, 20), "seeds-010-019"),
        ([3], "seeds-003"),
        ([0, 1, 2, 7], "seeds-000-002+007"),
        ([5, 3], "seeds-003+005"),
        ([1234, 1235], "seeds-1234-1235"),
    ],
)
def test_a_block_is_called_by_its_seeds(seeds, name):
    assert blocks.seeds_name(list(seeds)) == name


def test_long_lists_of_seeds_get_short_names_of_their_own():
    even, other = list(range(0, 200, 2)), [*range(0, 196, 2), 197, 198]
    assert len(blocks.seeds_name(even)) < 50
    assert blocks.seeds_name(even) != blocks.seeds_name(other)


def running(path, **changes):
    path.mkdir(parents=True)
    seed = {"status": "running", "cause": None}
    record = {
        "schema": 1,
        "status": "running",
        "seeds": {"0": seed},
        "host": provenance.host(),
        "process": provenance.process(),
    }
    (path / blocks.RECORD).write_text(json.dumps(record | changes))
    return path


def test_a_block_of_a_living_process_is_running(tmp_path):
    assert blocks.read(running(tmp_path / "b")).state == "running"


def test_a_block_of_a_dead_process_is_stale(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert blocks.read(running(tmp_path / "b", process=f"{child.pid}-x-1")).state == "stale"


def test_a_dead_child_nobody_has_collected_is_dead(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    birth = provenance._birth(child.pid)
    path = running(tmp_path / "b", process=f"{child.pid}-{birth}")
    assert blocks.read(path).state == "running"
    child.kill()
    deadline = time.monotonic() + 10
    while blocks.read(path).state == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert blocks.read(path).state == "stale"
    child.wait()


def test_a_number_given_to_a_later_process_does_not_revive_a_block(tmp_path):
    assert blocks.read(running(tmp_path / "b", process=f"{os.getpid()}-another-birth")).state == "stale"


def test_an_interrupted_block_is_stale_though_its_process_lives_on(tmp_path):
    assert blocks.read(running(tmp_path / "b", process=None)).state == "stale"


def test_another_machine_is_believed_for_a_while(tmp_path):
    path = running(tmp_path / "b", host={"id": "elsewhere"})
    assert blocks.read(path).state == "running"
    long_ago = time.time() - claims.STALE_AFTER - 1
    os.utime(path / blocks.RECORD, (long_ago, long_ago))
    assert blocks.read(path).state == "stale"
    (path / blocks.PROGRESS).write_text("{}")
    assert blocks.read(path).state == "running"


def test_a_folder_nobody_wrote_to_is_no_block(tmp_path):
    (tmp_path / "b").mkdir()
    assert blocks.read(tmp_path / "b") is None
    assert blocks.read(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"schema": 2, "status": "done", "seeds": {"0": {}}}', '{"schema": 1, "status": "odd"}'],
)
def test_an_unreadable_record_is_named(text, tmp_path):
    (tmp_path / blocks.RECORD).write_text(text)
    with pytest.raises(UserError, match=f"damaged block {tmp_path}: run.json cannot be read"):
        blocks.read(tmp_path)


def test_numbers_without_a_record_are_damage(tmp_path):
    (tmp_path / "evaluations.parquet").write_text("numbers")
    with pytest.raises(UserError, match=r"run\.json is missing"):
        blocks.read(tmp_path)


@pytest.mark.parametrize("name", blocks.FILES)
def test_every_file_is_checked(name, cell):
    path = execute.run(cell("seeds=2"))
    block = blocks.read(path)
    blocks.check(block)
    content = (path / name).read_bytes()
    (path / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(UserError, match=f"{name} is not the file that was written"):
        blocks.check(block)
    (path / name).unlink()
    if name in ("policy.zip", "checkpoint.pt"):  # which results may be handed on without
        blocks.check(block)
        assert block.left_out == [name]
    else:
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            blocks.check(block)
