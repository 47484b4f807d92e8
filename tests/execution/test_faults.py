"""Whatever breaks, no finished number is lost, changed or counted twice, and what stopped is said in a line."""

import errno
import multiprocessing
import os
import signal
import time
import warnings
from pathlib import Path

import pytest

from bench.cells.grids import Cell
from bench.commands.status import status
from bench.config.identity import cell_hash
from bench.errors import RunWarning, UserError
from bench.execution import dry_run as estimate
from bench.execution import execute
from bench.interruption import Interrupted
from bench.records import block as blocks
from bench.records import files, index, lease, partial
from bench.records import training as record
from bench.records.tables import EPISODES
from tests.fake_learner import FakeLearner


def numbers(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in blocks.NUMBERS}


def interrupted(cell, learner, *overrides: str) -> Path:
    """A block that was stopped at its second checkpoint."""
    config = cell("seeds=2", *overrides)

    def stop():
        learner.after_progress = lambda: None
        os.kill(os.getpid(), signal.SIGTERM)

    learner.after_progress = stop
    with pytest.raises(Interrupted):
        execute.run(config)
    return blocks.cell_directory(config) / "seeds-000-001"


def test_a_disk_that_is_full_at_any_write_loses_nothing(cell, monkeypatch):
    """The disk fills up at the first write of a run, at the second, and so on, until a run has room enough."""
    finished = execute.run(cell("seeds=2", "gamma=0.5"))
    before = {path: path.read_bytes() for path in finished.iterdir()}
    whole = numbers(execute.run(cell("seeds=2", "results=whole")))
    config = cell("seeds=2", "checkpoint_minutes=0")
    write_atomic, room = files.write_atomic, 0

    for room in range(100):
        writes = iter(range(100))

        def write(path, fill, writes=writes, room=room, **keys):
            if next(writes) >= room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            write_atomic(path, fill, **keys)

        with monkeypatch.context() as patch:
            patch.setattr(files, "write_atomic", write)
            try:
                path = execute.run(config)
                break
            except (OSError, UserError) as error:
                assert "No space left on device" in str(error)  # noqa: PT017 - which of the two it is may differ
        states = [block.state for block in blocks.blocks(config)]
        assert "done" not in states
    assert room > 5
    assert numbers(path) == whole
    assert {path: path.read_bytes() for path in finished.iterdir()} == before


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_set_aside_and_begun_again(cell, learner, damage):
    whole = numbers(execute.run(cell("seeds=2", "results=whole")))
    path = interrupted(cell, learner) / partial.PARTIAL
    content = path.read_bytes()
    middle = content.index(b"PAR1") + 40  # inside the rows
    flipped = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
    damaged = {"truncated": content[:-30], "flipped": flipped, "empty": b""}[damage]
    path.write_bytes(damaged)
    with pytest.warns(RunWarning, match=r"damaged checkpoint .* set aside as .*damaged.*; trained from the beginning"):
        assert execute.run(cell("seeds=2")) == path.parent
    assert numbers(path.parent) == whole
    (aside,) = (blocks.study_directory(cell()) / "damaged").rglob("partial.zip-1")
    assert aside.read_bytes() == damaged


def test_a_checkpoint_the_learner_cannot_read_is_begun_again(cell, learner):
    whole = numbers(execute.run(cell("seeds=2", "results=whole")))
    path = interrupted(cell, learner)
    found = partial.read(path / partial.PARTIAL)
    partial.write(path / partial.PARTIAL, partial.Partial(found.header, b"odd", found.episodes, found.training))
    with pytest.warns(RunWarning, match="not one of the fake learner's"):
        execute.run(cell("seeds=2"))
    assert numbers(path) == whole


def test_another_version_of_the_code_begins_again(cell, learner, monkeypatch):
    path = interrupted(cell, learner)
    monkeypatch.setattr(record.provenance, "versions", lambda: {"torch": "0"})
    with pytest.warns(RunWarning, match="begun by another version"):
        execute.run(cell("seeds=2"))
    assert learner.begun_at == [0, 0]
    assert blocks.read(path).state == "done"


def test_more_seeds_go_on_with_the_block_that_was_begun(cell, learner):
    path = interrupted(cell, learner)
    execute.run(cell("seeds=5"))
    assert learner.calls == [(0, 1), (0, 1), (2, 3, 4)]
    assert learner.begun_at == [0, 1, 0]
    assert blocks.read(path).state == "done"


@pytest.mark.parametrize("name", [blocks.RECORD, EPISODES, blocks.POLICY])
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_block_is_set_aside_on_request_and_trained_again(cell, name, damage):
    path = execute.run(cell("seeds=2"))
    before = numbers(path)
    content = (path / name).read_bytes()
    place = len(content) // 2
    changed = content[:-20] if damage == "truncated" else content[:place] + bytes([content[place] ^ 128])
    (path / name).write_bytes(changed)
    with pytest.raises(UserError, match=f"damaged block {path}.*retry=damaged"):
        execute.run(cell("seeds=2"))
    (line,) = execute.set_aside(cell("seeds=2"))
    assert line.startswith(f"damaged block {path}: {name}")
    assert execute.run(cell("seeds=2")) == path
    assert numbers(path) == before
    (aside,) = (blocks.study_directory(cell()) / "damaged").rglob(name)
    assert aside.read_bytes() == changed


def test_failed_seeds_are_retried_in_a_block_of_their_own(cell, learner):
    learner.causes = {1: "loss is NaN"}
    path = execute.run(cell("seeds=3"))
    before = numbers(path)
    learner.causes = {}
    assert execute.run(cell("seeds=4", "retry=failed")) == path.with_name("seeds-001")
    assert learner.calls == [(0, 1, 2), (1,)]  # not the seed that is missing
    assert numbers(path) == before
    execute.run(cell("seeds=3", "retry=failed"))
    assert len(learner.calls) == 2
    index.plan([cell("seeds=3")])
    text, _ = status(blocks.study_directory(cell()).parent, "adhoc")
    assert text == "adhoc: 3 done (seeds of cells)"


def test_a_block_that_failed_in_all_its_seeds_keeps_its_folder(cell, learner):
    learner.causes = {0: "NaN", 1: "NaN"}
    path = execute.run(cell("seeds=2"))
    before = numbers(path)
    again = execute.run(cell("seeds=2", "retry=failed"))
    assert again.name == "seeds-000-001-retry-1"
    assert numbers(path) == before


def test_an_environment_that_raises_fails_its_block_with_the_cause(cell, learner):
    def breaks():
        raise RuntimeError("the simulator fell over")

    learner.after_progress = breaks
    with pytest.raises(RuntimeError):
        execute.run(cell("seeds=2"))
    (block,) = blocks.blocks(cell("seeds=2"))
    assert block.causes == dict.fromkeys((0, 1), "RuntimeError: the simulator fell over")
    learner.after_progress = lambda: None
    execute.run(cell("seeds=2", "retry=failed"))
    assert blocks.read(block.path).state == "done"


def _sweep_once(config, log: Path) -> None:
    class Logged(FakeLearner):
        def __call__(self, config, seeds, observer, checkpoint=None):
            with log.open("a") as file:
                file.write(f"{cell_hash(config)} {list(seeds)}\n")
            time.sleep(0.05)
            return super().__call__(config, seeds, observer, checkpoint)

    execute.train = Logged()
    for gamma in (0.5, 0.6, 0.7, 0.8):
        execute.run(config(f"gamma={gamma}", "seeds=2"))


def test_two_identical_sweeps_at_once_train_every_seed_once(cell, tmp_path):
    for gamma in (0.5, 0.6, 0.7, 0.8):
        cell(f"gamma={gamma}", "seeds=2")  # composed before the fork
    context = multiprocessing.get_context("fork")
    sweeps = [context.Process(target=_sweep_once, args=(cell, tmp_path / "log")) for _ in range(4)]
    for process in sweeps:
        process.start()
    for process in sweeps:
        process.join(60)
    assert [process.exitcode for process in sweeps] == [0] * 4
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 4
    for gamma in (0.5, 0.6, 0.7, 0.8):
        (block,) = blocks.blocks(cell(f"gamma={gamma}"))
        assert block.state == "done"


def test_a_clock_that_jumps_changes_no_block(cell, learner, monkeypatch):
    """A day back and forth while a block trains, and while another process looks at it."""
    whole = numbers(execute.run(cell("seeds=2", "results=whole")))
    now, jumps = time.time(), iter([-86_400, 86_400, 0])
    looked: list[tuple[int, ...]] = []

    def jump():
        shift = next(jumps)
        monkeypatch.setattr(time, "time", lambda: now + shift)
        looked.append(execute.missing(cell("seeds=2")))

    learner.after_progress = jump
    path = execute.run(cell("seeds=2"))
    assert looked == [()] * 3
    assert numbers(path) == whole


def test_a_folder_outside_the_results_is_never_written(cell):
    for key in ("study.name", "name"):
        for value in ("../outside", "/outside", ".."):
            with pytest.raises(UserError):
                cell(f"{key}='{value}'")


def test_no_key_reaches_a_file(cell, monkeypatch, learner):
    secret = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    monkeypatch.setenv(record.provenance.COMMAND, f"python -m bench token={secret} password=hunter2 api_key={secret}")

    def breaks():
        raise RuntimeError(f"401 for key {secret}")

    learner.before = breaks
    with pytest.raises(RuntimeError):
        execute.run(cell("seeds=1"))
    for path in blocks.study_directory(cell()).rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()


def test_the_index_survives_a_lock_that_cannot_be_had(cell, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    index.plan([cell("seeds=2")])
    assert len(index.STUDY.read(blocks.study_directory(cell()))["cells"]) == 1


def test_leases_are_let_go_when_a_block_ends(cell):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = execute.run(cell("seeds=2"))
    assert list((path.parent / lease.FOLDER).iterdir()) == []


@pytest.mark.parametrize("change", [('"budget": 1000', '"budget": 1001'), ('"checksums"', '"checksuns"')])
def test_a_record_that_still_reads_is_held_against_its_checksum(cell, learner, change):
    """A number, or the list of checksums, without which the block would be trained again over its own."""
    path = execute.run(cell("seeds=2"))
    text = (path / blocks.RECORD).read_text()
    assert change[0] in text
    (path / blocks.RECORD).write_text(text.replace(*change))
    with pytest.raises(UserError, match=rf"damaged block {path}: run.json .*retry=damaged"):
        execute.run(cell("seeds=2"))
    assert len(learner.calls) == 1


def test_torchs_way_of_telling_of_a_full_disk_is_said_in_words(tmp_path):
    """/dev/full is a disk without room; the folder's own disk has some, so there the error is what it was."""

    def fill(temporary: Path) -> None:
        if full:
            temporary.symlink_to("/dev/full")
        else:
            temporary.write_bytes(b"begun")
        raise RuntimeError("unexpected pos 23360 vs 23248")

    full = True
    with pytest.raises(OSError, match="No space left on device") as raised:
        files.write_atomic(tmp_path / "checkpoint.pt", fill)
    assert raised.value.filename == str(tmp_path / "checkpoint.pt")
    full = False
    with pytest.raises(RuntimeError, match="unexpected pos"):
        files.write_atomic(tmp_path / "checkpoint.pt", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_found_no_room_frees_what_it_wrote_and_is_nobodys(cell, monkeypatch):
    """Numbers without a record are worth nothing: in their place there is room for the cause."""
    write_atomic = files.write_atomic

    def write(path, fill, **keys):
        if path.name == blocks.CHECKPOINT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_atomic(path, fill, **keys)

    monkeypatch.setattr(files, "write_atomic", write)
    with pytest.raises(OSError, match="No space left"):
        execute.run(cell("seeds=2"))
    (block,) = blocks.blocks(cell("seeds=2"))
    assert block.state == "failed"
    assert "No space left" in block.causes[0]
    assert sorted(path.name for path in block.path.iterdir()) == [blocks.CONFIG, blocks.RECORD]


def test_a_lease_ends_on_a_disk_without_a_byte(tmp_path, monkeypatch):
    taken = lease.take(tmp_path, [0])

    def refuse(link):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(link.path))

    with monkeypatch.context() as patch:
        patch.setattr(lease, "_create", refuse)
        taken.end()
    assert lease.holder(tmp_path, 0) is None
    assert lease.take(tmp_path, [0]) is not None


def test_a_dry_run_tells_what_would_be_set_aside(cell):
    path = execute.run(cell("seeds=2"))
    execute.run(cell("seeds=3"))
    (path / blocks.RECORD).write_text("{")
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    text = estimate.dry_run([Cell(cell("seeds=3", "retry=damaged"), {})], 1)
    assert text.splitlines()[0].endswith(": 1 seed of cells done")
    assert text.splitlines()[1].startswith(f"to be set aside: damaged block {path}: run.json cannot be read")
    assert text.splitlines()[2].startswith("train  weekly_exam critic-gae-clip seeds 000-001: ")
    assert {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()} == before
