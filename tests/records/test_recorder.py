"""Whatever is measured of a cell is recorded in the same way."""

import json
import os
import signal
from functools import partial

import pytest

from bench import interruption
from bench.errors import UserError
from bench.records import block as blocks
from bench.records import lease
from bench.records.files import Damaged
from bench.records.recorder import Busy, Recorder, Subject, recording
from bench.records.tables import write_table

TABLE = "quantities.parquet"
STAGE = {"study": "s", "task": "t", "stage": "end", "hash": "0123abcd", "factors": {}}


def recorder(tmp_path, *seeds: int, **changes) -> Recorder:
    outcomes = {seed: {"status": "running", "cause": None} for seed in seeds or (0,)}
    directory = tmp_path / "s" / "lab" / "t" / "end-0123abcd" / blocks.seeds_name(list(outcomes))
    return Recorder(Subject(str(tmp_path), directory, outcomes, STAGE, {"lab": {"seed": 0}}, **changes))


def finish(made: Recorder, value: float = 1.5, status: str = "done", **entries) -> None:
    outcomes = {seed: {"status": status, "cause": None} for seed in made.subject.seeds}
    made.finish({TABLE: partial(write_table, [{"value": value, "name": "x"}])}, outcomes, **entries)


def test_a_finished_block_is_sealed_whole_and_read_back(tmp_path):
    with recording(recorder(tmp_path, 0, 3)) as made:
        assert blocks.read(made.directory).state == "running"
        finish(made, notes={"precise": True})
    block = blocks.load(made.directory)
    blocks.check(block)
    assert (block.state, block.seeds, block.record["notes"]) == ("done", {0, 3}, {"precise": True})
    assert list(block.record["checksums"]) == [blocks.CONFIG, TABLE]
    assert (made.directory / blocks.CONFIG).read_text() == "lab:\n  seed: 0\n"
    assert blocks.table(block, TABLE, ["value"]).to_pylist() == [{"value": 1.5, "name": "x"}]
    assert sorted(path.name for path in made.directory.iterdir()) == [blocks.CONFIG, TABLE, blocks.RECORD]
    for key in ("command", "git", "versions", "host", "started", "finished", "wall_seconds", "cpu_seconds", "threads"):
        assert key in block.record
    assert "process" not in block.record


def test_seeds_that_are_finished_or_at_work_are_refused(tmp_path):
    with recording(recorder(tmp_path, 0, 1)) as made:
        with pytest.raises(Busy, match="another process works on some of its seeds"):
            recorder(tmp_path, 1, 2).begin()
        finish(made)
    with pytest.raises(Busy, match="seeds-000-001 is done"):
        recorder(tmp_path, 1, 2).begin()
    assert not recorder(tmp_path, 1, 2).directory.exists()
    with recording(recorder(tmp_path, 2)) as made:
        finish(made)


def test_what_breaks_off_is_recorded_with_its_cause_and_begun_again(tmp_path):
    def broken():
        with recording(recorder(tmp_path)) as made:
            made.progress(0.5)
            raise ValueError("two\nlines")

    with pytest.raises(ValueError, match="two"):
        broken()
    block = blocks.read(recorder(tmp_path).directory)
    assert (block.state, block.causes, block.finished) == ("failed", {0: "ValueError: two"}, False)
    assert "in broken" in block.record["traceback"]
    assert sorted(path.name for path in block.path.iterdir()) == [blocks.CONFIG, blocks.RECORD]
    with recording(recorder(tmp_path)) as made:
        finish(made)
    assert "traceback" not in blocks.read(made.directory).record


def test_tables_without_a_record_are_not_kept(tmp_path):
    def fails(_):
        raise OSError(28, "No space left on device")

    made = recorder(tmp_path)
    with pytest.raises(OSError, match="No space"), recording(made):
        made.finish({TABLE: partial(write_table, [{"value": 1.0}]), "states.parquet": fails}, {})
    assert sorted(path.name for path in made.directory.iterdir()) == [blocks.CONFIG, blocks.RECORD]
    assert blocks.read(made.directory).state == "failed"


def test_a_signal_stops_what_cannot_be_saved_and_it_is_nobodys_then(tmp_path):
    made = recorder(tmp_path)

    def stopped():
        with recording(made):
            os.kill(os.getpid(), signal.SIGTERM)
            made.progress(0.1)

    with pytest.raises(interruption.Interrupted):
        stopped()
    assert blocks.read(made.directory).state == "stale"
    assert list((made.directory.parent / lease.FOLDER).iterdir()) == []


def test_a_damaged_neighbour_is_named_and_nothing_begins(tmp_path):
    with recording(recorder(tmp_path)) as made:
        finish(made)
    (made.directory / blocks.RECORD).write_text("{")
    with pytest.raises(UserError, match="damaged block"):
        recorder(tmp_path, 1).begin()
    assert list((made.directory.parent / lease.FOLDER).iterdir()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": None}, "run.json: 'task' is None"),
        ({"status": "odd"}, "run.json: 'status' is 'odd'"),
        ({"seeds": {"a": {"status": "done"}}}, "run.json: seed 'a' is"),
        ({"seeds": {}}, "run.json: it has no seeds"),
        ({"checksums": {}}, "run.json: done without checksums"),
    ],
)
def test_a_record_that_cannot_be_used_is_refused_with_the_reason(tmp_path, change, reason):
    with recording(recorder(tmp_path)) as made:
        finish(made)
    record = json.loads((made.directory / blocks.RECORD).read_text())
    (made.directory / blocks.RECORD).write_text(json.dumps(record | change))
    with pytest.raises(Damaged, match=r"run\.json does not match its own checksum"):
        blocks.load(made.directory)
    (made.directory / blocks.RECORD).write_text(json.dumps(blocks.sealed(record | change)))
    with pytest.raises(Damaged, match=reason):
        blocks.load(made.directory)


def test_a_table_is_refused_where_it_is_not_what_was_written(tmp_path):
    with recording(recorder(tmp_path)) as made:
        made.finish({TABLE: partial(write_table, [{"seed": 4}])}, {0: {"status": "done", "cause": None}})
    block, path = blocks.load(made.directory), made.directory / TABLE
    for columns, reason in ((["seed"], "has seed 4, which run.json does not know"), (["x"], "has no column 'x'")):
        with pytest.raises(Damaged, match=f"{TABLE} {reason}"):
            blocks.table(block, TABLE, columns)
    path.write_bytes(b"x")
    with pytest.raises(Damaged, match=f"{TABLE} does not match its checksum"):
        blocks.table(block, TABLE, [])
    path.unlink()
    with pytest.raises(Damaged, match=f"{TABLE} is not there"):
        blocks.table(block, TABLE, [])


def test_the_blocks_of_a_study_are_found_and_what_else_lies_there(tmp_path):
    with recording(recorder(tmp_path)) as made:
        finish(made)
    note = made.directory.parent / "notes.txt"
    note.write_text("mine")
    assert blocks.walk(tmp_path / "s", blocks.LAB) == ([made.directory], [note])
    assert blocks.walk(tmp_path / "s", blocks.RUNS) == ([], [])
