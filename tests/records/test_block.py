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
from bench.records import lease, provenance


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


@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        ("seeds-000-009", list(range(10))),
        ("seeds-003", [3]),
        ("seeds-000-002+007", [0, 1, 2, 7]),
        ("seeds-003+005+1000-1002", [3, 5, 1000, 1001, 1002]),
        ("seeds-000-001-retry-1", [0, 1]),
        ("seeds-003-retry-12", [3]),
        ("seeds-003-007-3-0123abcd", [3, 4, 5, 6, 7]),  # a list too long for a name: what lies between its ends
        ("seeds-", None),
        ("seeds-a", None),
        ("seeds-000-001-2", None),
        ("notes", None),
    ],
)
def test_the_name_of_a_folder_tells_its_seeds(name, seeds):
    assert blocks.seeds_of(name) == seeds


@pytest.mark.parametrize("seeds", [[3], [0, 1, 2, 7], [5, 3, 12], list(range(20)), [*range(9), 1234]])
def test_names_and_seeds_are_inverse(seeds):
    assert blocks.seeds_of(blocks.seeds_name(seeds)) == sorted(seeds)


OF_A_CELL = {  # what every record of a trained block has
    "schema": 2, "study": "s", "task": "t", "arm": "a", "hash": "0123abcd", "factors": {}, "budget": 100,
    "score": {"random": 0.0, "reference": 1.0},
}  # fmt: skip


def running(path, process=None, host=None, *, lease_of=None):
    """A block that says it is running, and a lease of its first seed."""
    path.mkdir(parents=True)
    owner = {"host": host or provenance.host()["id"], "process": process or provenance.process()}
    record = {
        **OF_A_CELL,
        "status": "running",
        "seeds": {"0": {"status": "running", "cause": None}},
        "host": {"id": owner["host"]},
        "process": owner["process"],
    }
    (path / blocks.RECORD).write_text(json.dumps(record))
    place = path.parent / lease.FOLDER / "000"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(owner | (lease_of or {})))
    return path


def test_a_block_of_a_living_process_is_running(tmp_path):
    assert blocks.read(running(tmp_path / "b")).state == "running"


def test_a_block_of_a_dead_process_is_stale(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert blocks.read(running(tmp_path / "b", f"{child.pid}-x-1")).state == "stale"


def test_a_dead_child_nobody_has_collected_is_dead(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    path = running(tmp_path / "b", f"{child.pid}-{provenance._birth(child.pid)}")
    assert blocks.read(path).state == "running"
    child.kill()
    deadline = time.monotonic() + 10
    while blocks.read(path).state == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert blocks.read(path).state == "stale"
    child.wait()


def test_a_block_whose_lease_is_over_is_stale_though_its_process_lives_on(tmp_path):
    path = running(tmp_path / "b")
    (tmp_path / lease.FOLDER / "000").unlink()
    assert blocks.read(path).state == "stale"


def test_a_block_whose_seeds_another_process_works_on_is_stale(tmp_path):
    path = running(tmp_path / "b", f"{os.getpid()}-another-birth", lease_of={"process": provenance.process()})
    assert blocks.read(path).state == "stale"


def test_another_machine_is_believed_for_a_while(tmp_path):
    path = running(tmp_path / "b", host="elsewhere")
    assert blocks.read(path).state == "running"
    long_ago = time.time() - lease.STALE_AFTER - 1
    os.utime(tmp_path / lease.FOLDER / "000", (long_ago, long_ago))
    assert blocks.read(path).state == "stale"


def test_a_folder_nobody_wrote_to_is_no_block(tmp_path):
    (tmp_path / "b").mkdir()
    assert blocks.read(tmp_path / "b") is None
    assert blocks.read(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"schema": 2, "status": "done", "seeds": {"0": {}}}', '{"schema": 2, "status": "odd"}'),
        '{"schema": 2, "status": "failed", "seeds": {}}',
        '{"schema": 2, "status": "done", "seeds": {"0": {"status": "done", "cause": null}}}',
        *('{"schema": "2"}', '{"schema": null}', '{"schema": true}', "[" * 100_000),
    ],
)
def test_an_unreadable_record_is_named(text, tmp_path):
    (tmp_path / blocks.RECORD).write_text(text)
    with pytest.raises(UserError, match=f"damaged block {tmp_path}: run.json cannot be read"):
        blocks.read(tmp_path)


@pytest.mark.parametrize(
    ("schema", "which"), [(1, "an earlier"), (-1, "an earlier"), (3, "a later"), (2**70, "a later")]
)
def test_a_record_of_another_version_is_no_damage(schema, which, tmp_path):
    (tmp_path / blocks.RECORD).write_text(json.dumps({"schema": schema, "status": "odd"}))
    for read in (blocks.read, blocks.load):
        with pytest.raises(blocks.OtherVersion) as refused:
            read(tmp_path)
        expected = f"{tmp_path}: written by {which} version (schema {schema}); this version reads schema 2: "
        assert str(refused.value).startswith(expected)


def test_numbers_without_a_record_are_damage(tmp_path):
    (tmp_path / "episodes.parquet").write_text("numbers")
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
    if name in ("policy.zip", "checkpoint.pt", "episodes.parquet"):  # which results may be handed on without
        blocks.check(block)
        assert block.left_out == [name]
    else:
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            blocks.check(block)
