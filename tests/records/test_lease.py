"""Of any number of processes, on any number of machines, one works on a seed."""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.execution import execute
from bench.records import block as blocks
from bench.records import lease, partial, provenance
from bench.records import training as record
from bench.records.training import TrainingRecorder

FORK = multiprocessing.get_context("fork")
HOURS = 3 * 3600.0


def another(host: str = "elsewhere", process: str = "1-x-1") -> bytes:
    """The content of a lease of another process, by default of another machine's."""
    return json.dumps({"host": host, "process": process, "at": "2026-01-01T00:00:00+00:00"}).encode()


def write(cell: Path, seed: int, content: bytes) -> lease.Lease:
    """A lease as another process would have left it."""
    path = cell / lease.FOLDER / f"{seed:03d}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return lease.Lease([lease.Link(path, content)])


def silent(found: lease.Lease, seconds: float) -> None:
    """Nobody has touched it for so long."""
    for link in found.links:
        at = link.path.stat().st_mtime - seconds
        os.utime(link.path, (at, at))


def dead_process() -> str:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return f"{child.pid}-x-1"


def names(cell: Path) -> list[str]:
    """Of the leases."""
    return sorted(name for name in os.listdir(cell / lease.FOLDER) if not name.startswith("."))


def drafts(cell: Path) -> list[Path]:
    """What is not yet a lease, or was to tell the time."""
    return sorted((cell / lease.FOLDER).glob(".*"))


def test_a_seed_is_given_once_and_again_when_it_is_over(tmp_path):
    first = lease.take(tmp_path, [0, 1])
    assert names(tmp_path) == ["000", "001"]
    assert lease.take(tmp_path, [1]) is None
    assert lease.holder(tmp_path, 1) == (provenance.host()["id"], provenance.process())
    assert first.stands()
    first.end()
    assert names(tmp_path) == []
    assert lease.holder(tmp_path, 1) is None
    assert lease.take(tmp_path, [1]).stands()


def test_all_seeds_of_a_block_or_none(tmp_path):
    first = lease.take(tmp_path, [1, 2])
    assert lease.take(tmp_path, [2, 0]) is None
    assert names(tmp_path) == ["001", "002"]
    assert lease.take(tmp_path, [0, 3]) is not None
    assert first.stands()


def _race(cells, start, over, wins):
    for cell in cells:
        start.wait()
        taken = lease.take(cell, [0, 3])
        wins.put((cell.name, taken is not None))
        over.wait()  # nobody lets go before all have tried


@pytest.mark.parametrize("left_behind", [False, True])
def test_of_many_at_once_exactly_one_gets_a_lease(tmp_path, left_behind):
    """One that nobody has, and one of a dead process, which all of them find stale."""
    racers, cells = 8, [tmp_path / str(number) for number in range(25)]
    if left_behind:
        for cell in cells:
            write(cell, 0, another(provenance.host()["id"], dead_process()))
    start, over, wins = FORK.Barrier(racers), FORK.Barrier(racers), FORK.Queue()
    processes = [FORK.Process(target=_race, args=(cells, start, over, wins)) for _ in range(racers)]
    for process in processes:
        process.start()
    found = [wins.get(timeout=60) for _ in range(racers * len(cells))]
    for process in processes:
        process.join()
    assert sorted(cell for cell, won in found if won) == sorted(cell.name for cell in cells)


def _hold_again_and_again(cell, number, taken):
    rng = random.Random(number)
    for _ in range(150):
        seeds = rng.sample(range(4), rng.choice([1, 2, 3]))
        mine = lease.take(cell, seeds)
        if mine is None:
            continue
        taken.put(1)
        marks = [cell / f"held-{seed}" for seed in seeds]
        for mark in marks:
            mark.touch(exist_ok=False)  # raises where another holds the seed
        assert mine.stands()
        for mark in marks:
            mark.unlink()
        if rng.random() < 0.1:  # as if it were killed: the lease stays, of a process that is no more
            for link in mine.links:
                dead = link.path.with_name(f".dead-{number}")
                dead.write_bytes(another(provenance.host()["id"], f"{DEAD}-{rng.random()}"))
                os.replace(dead, link.path)
        else:
            mine.end()


DEAD = 999_999_999  # no process has this number


def test_overlapping_sets_of_seeds_are_never_held_twice(tmp_path):
    """Takers of 1 to 3 of 4 seeds; some die holding them."""
    (tmp_path / lease.FOLDER).mkdir()
    taken = FORK.Queue()
    takers = [FORK.Process(target=_hold_again_and_again, args=(tmp_path, number, taken)) for number in range(6)]
    for taker in takers:
        taker.start()
    count = 0
    while any(taker.is_alive() for taker in takers) or not taken.empty():
        with contextlib.suppress(Exception):
            count += taken.get(timeout=0.1)
    assert [taker.exitcode for taker in takers] == [0] * 6
    assert count > 100


@pytest.mark.parametrize("alive", [False, True])
def test_a_process_of_this_machine_is_asked_for(tmp_path, alive):
    """A dead one's lease is free at once, however young; a living one's is held, however old."""
    process = provenance.process() if alive else dead_process()
    left = write(tmp_path, 0, another(provenance.host()["id"], process))
    silent(left, HOURS if alive else 0)
    taken = lease.take(tmp_path, [0])
    assert (taken is None) == alive
    assert left.stands() == alive


def test_a_number_given_to_a_later_process_does_not_revive_a_lease(tmp_path):
    write(tmp_path, 0, another(provenance.host()["id"], f"{os.getpid()}-another-birth"))
    assert lease.take(tmp_path, [0]) is not None


@pytest.mark.parametrize("unknown", ["of another boot", "of a system that tells nothing of others"])
def test_a_process_that_cannot_be_asked_for_is_believed_until_it_is_silent(tmp_path, monkeypatch, unknown):
    """Two machines may have one name, as copies of one image do: no process of this one is taken for the other's."""
    process = provenance.process()
    if unknown == "of another boot":
        process = f"{DEAD}-{'0' * 8}-{process.rpartition('-')[2]}"
    else:
        monkeypatch.setattr(provenance, "_birth", lambda _: "")
    left = write(tmp_path, 0, another(provenance.host()["id"], process))
    assert provenance.alive(provenance.host()["id"], process) is None
    assert lease.take(tmp_path, [0]) is None
    silent(left, lease.STALE_AFTER + 1)
    assert lease.take(tmp_path, [0]).stands()


def test_another_machine_is_believed_until_it_is_silent_for_the_stated_time(tmp_path):
    left = write(tmp_path, 0, another())
    silent(left, lease.STALE_AFTER - 10)
    assert lease.take(tmp_path, [0]) is None
    left.touch()
    silent(left, lease.STALE_AFTER - 10)
    assert lease.take(tmp_path, [0]) is None
    silent(left, 20)
    assert lease.take(tmp_path, [0]) is not None


@pytest.mark.parametrize("ahead", [-HOURS, HOURS])
def test_clocks_that_disagree_by_hours_change_nothing(tmp_path, monkeypatch, ahead):
    """The clock of whoever looks is hours ahead of the file system's, or behind it."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + ahead)
    living, dead = write(tmp_path, 0, another()), write(tmp_path, 1, another())
    silent(dead, lease.STALE_AFTER + 1)
    assert lease.take(tmp_path, [0]) is None
    assert lease.take(tmp_path, [1]) is not None
    assert living.stands()


def test_a_touch_in_the_future_holds_no_seed_for_ever(tmp_path):
    """The clock was set back since: a process that lives touches its lease again, and soon."""
    left = write(tmp_path, 0, another())
    silent(left, -HOURS)
    assert lease.age(left.links[0].path) == pytest.approx(HOURS, abs=60)
    assert lease.take(tmp_path, [0]) is not None


def test_a_clock_that_is_a_little_fast_takes_no_seed_away(tmp_path):
    silent(write(tmp_path, 0, another()), -lease.HEARTBEAT)
    assert lease.take(tmp_path, [0]) is None


def test_who_wakes_up_after_it_was_taken_over_has_lost_and_harms_nobody(tmp_path):
    old = write(tmp_path, 0, another())
    silent(old, lease.STALE_AFTER + 1)
    new = lease.take(tmp_path, [0])
    assert not old.stands()
    assert new.stands()
    old.touch()
    old.end()
    assert new.stands()
    assert lease.take(tmp_path, [0]) is None
    new.end()
    assert names(tmp_path) == []
    third = lease.take(tmp_path, [0])
    old.end()  # its file now has the name of another's lease
    assert third.stands()


def test_who_wakes_up_while_it_is_taken_over_keeps_its_lease(tmp_path, monkeypatch):
    old = write(tmp_path, 0, another())
    silent(old, lease.STALE_AFTER + 1)
    create = lease._create

    def create_later(link):
        monkeypatch.setattr(lease, "_create", create)
        old.touch()
        create(link)

    monkeypatch.setattr(lease, "_create", create_later)
    assert lease.take(tmp_path, [0]) is None
    assert old.stands()
    assert names(tmp_path) == ["000"]


@pytest.mark.parametrize("content", [another("elsewhere", "1-x-1"), b""])
def test_who_is_late_takes_nobodys_lease_over(tmp_path, monkeypatch, content):
    """Between its look at a stale lease and its move, others take it over, end it, and begin a lease of that name."""
    silent(write(tmp_path, 0, content), lease.STALE_AFTER + 1)
    create, others = lease._create, []

    def create_late(link):
        monkeypatch.setattr(lease, "_create", create)
        lease.take(tmp_path, [0]).end()
        others.append(lease.take(tmp_path, [0]) if content else write(tmp_path, 0, b""))
        create(link)

    monkeypatch.setattr(lease, "_create", create_late)
    assert lease.take(tmp_path, [0]) is None
    assert others[0].stands()
    assert names(tmp_path) == ["000"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 3}', b'{"host": "x", "process": "y"}', b"\xff"])
def test_a_lease_that_names_no_process_is_believed_for_a_moment(tmp_path, content):
    """Its owner is about to write it; or was killed before it could."""
    left = write(tmp_path, 0, content)
    assert lease.take(tmp_path, [0]) is None
    silent(left, lease.UNREADABLE_FOR + 1)
    assert lease.take(tmp_path, [0]).stands()
    assert not left.stands()


def test_leases_of_many_that_were_killed_in_turn_go_with_the_last(tmp_path):
    for number in range(5):
        taken = lease.take(tmp_path, [0])
        taken.links[0].path.write_bytes(another(provenance.host()["id"], f"{DEAD}-{number}"))
    assert len(names(tmp_path)) == 5
    lease.take(tmp_path, [0]).end()
    assert names(tmp_path) == []


def test_who_is_killed_while_it_lets_go_leaves_a_lease_that_can_be_taken(tmp_path, monkeypatch):
    dead = another(provenance.host()["id"], dead_process())
    left = write(tmp_path, 0, dead)

    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(Killed):
            left.end()
    assert len(names(tmp_path)) == 2
    lease.take(tmp_path, [0]).end()
    assert names(tmp_path) == []


@pytest.mark.parametrize("moment", ["open", "link", "unlink"])
def test_who_is_killed_while_it_makes_a_lease_holds_nothing_and_leaves_nothing_for_long(tmp_path, monkeypatch, moment):
    """Not even for a moment is there an empty lease, which one would have to believe."""

    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(lease.provenance, "process", lambda: f"{DEAD}-x-1")
        patch.setattr(lease.os, "link", die) if moment == "link" else None
        patch.setattr(Path, "open", die) if moment == "open" else None
        patch.setattr(Path, "unlink", die)
        with pytest.raises(Killed):
            lease.take(tmp_path, [0])
    taken = lease.take(tmp_path, [0])
    assert taken.stands()
    taken.end()
    assert names(tmp_path) == []
    for draft in drafts(tmp_path):
        at = draft.stat().st_mtime - lease.STALE_AFTER - 1
        os.utime(draft, (at, at))
    lease.take(tmp_path, [0]).end()
    assert drafts(tmp_path) == []


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
def test_a_file_system_without_links_gives_leases_too(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(lease.os, "link", refuse)
    first = lease.take(tmp_path, [0])
    assert lease.take(tmp_path, [0]) is None
    assert first.stands()
    first.end()
    assert names(tmp_path) == drafts(tmp_path) == []


def test_a_lease_that_a_server_has_made_though_its_answer_was_lost_is_ones_own(tmp_path, monkeypatch):
    link = os.link

    def made_twice(*words):
        link(*words)
        raise FileExistsError

    with monkeypatch.context() as patch:
        patch.setattr(lease.os, "link", made_twice)
        mine = lease.take(tmp_path, [0])
    assert mine.stands()
    assert lease.take(tmp_path, [0]) is None


def test_a_full_disk_gives_no_lease_and_keeps_none(tmp_path, monkeypatch):
    """A disk has room for the name of a file before it has none for its content."""
    mine = lease.take(tmp_path, [0])
    opened = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            return len(content) - 1

    def open_full(path, mode="r", *args, **kwargs):
        file = opened(path, mode, *args, **kwargs)
        return Full(file) if "x" in mode else file

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OSError, match="No space left") as raised:
        lease.take(tmp_path, [1, 2])
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(tmp_path / lease.FOLDER / "001")
    assert names(tmp_path) == ["000"]
    mine.end()
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_gives_none(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        lease.take(tmp_path, [0])


def test_claims_of_an_earlier_version_are_ignored(cell):
    config = cell("seeds=2")
    claims = blocks.cell_directory(config) / ".claims"
    claims.mkdir(parents=True)
    claim = {"seeds": [0, 1], "host": provenance.host()["id"], "process": provenance.process(), "over": False}
    (claims / "000001.json").write_text(json.dumps(claim))
    path = execute.run(config)
    old = json.loads((path / blocks.RECORD).read_text()) | {"claim": 1}
    (path / blocks.RECORD).write_text(json.dumps(blocks.sealed(old)))
    assert execute.run(config) == path
    blocks.check(blocks.read(path))


def test_a_process_that_was_taken_for_dead_writes_nothing_more(learner, cell):
    """Another machine has taken its seeds over, as after a long suspension."""
    config = cell("seeds=2", "checkpoint_minutes=0")
    directory = blocks.cell_directory(config) / "seeds-000-001"
    taken: list[bytes] = []

    def take_over():
        if not taken:
            mine = directory.parent / lease.FOLDER / "001"
            lease.Link(mine, mine.read_bytes()).successor.write_bytes(another())
            taken.append((directory / blocks.RECORD).read_bytes())

    learner.after_progress = take_over
    with pytest.raises(execute.Busy, match="taken over"):
        execute.run_block(config, directory)
    assert (directory / blocks.RECORD).read_bytes() == taken[0]
    assert not (directory / "episodes.parquet").exists()


@pytest.mark.parametrize("ends", [KeyboardInterrupt, ValueError])
def test_however_it_then_ends_the_record_is_the_others(learner, cell, ends):
    config = cell("seeds=2")
    directory = blocks.cell_directory(config) / "seeds-000-001"

    def take_over():
        mine = directory.parent / lease.FOLDER / "000"
        lease.Link(mine, mine.read_bytes()).successor.write_bytes(another())
        (directory / blocks.RECORD).write_text("the other's")
        raise ends

    learner.after_progress = take_over
    with pytest.raises(ends):
        execute.run_block(config, directory)
    assert (directory / blocks.RECORD).read_text() == "the other's"


def test_a_stale_lease_is_taken_over_and_its_checkpoint_gone_on_with(learner, cell, monkeypatch):
    monkeypatch.setattr(record, "CHECKPOINT_SHARE", 1e9)  # as often as asked for
    config = cell("seeds=2", "checkpoint_minutes=0")
    directory = blocks.cell_directory(config) / "seeds-000-001"
    uninterrupted = execute.run(cell("seeds=2", "results=whole"))

    class Killed(BaseException):
        pass

    def die():
        if (directory / partial.PARTIAL).exists() and partial.read(directory / partial.PARTIAL).state == bytes([2]):
            raise Killed

    learner.after_progress = die
    recorder = TrainingRecorder(config, directory)
    recorder.begin()
    with pytest.raises(Killed):
        learner(config, config.seeds, recorder)
    recorder.close()
    learner.after_progress = lambda: None
    # As another machine, silent for longer than the stated time, would have left it.
    left = json.loads((directory / blocks.RECORD).read_text())
    (directory / blocks.RECORD).write_text(json.dumps(left | {"host": {"id": "elsewhere"}, "process": "1-x-1"}))
    for seed in (0, 1):
        silent(write(directory.parent, seed, another()), lease.STALE_AFTER + 1)
    assert blocks.read(directory).state == "stale"
    assert execute.run(config) == directory
    assert learner.begun_at == [0, 0, 2]
    for name in blocks.NUMBERS:
        assert (directory / name).read_bytes() == (uninterrupted / name).read_bytes()
