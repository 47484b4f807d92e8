"""Writing is all or nothing."""

import threading

import pytest

from bench.records import files


def test_what_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "run.json"
    files.write_text(path, "old")

    def half(temporary):
        temporary.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, half)
    assert path.read_text() == "old"
    assert [left.name for left in tmp_path.iterdir()] == ["run.json"]


def test_a_reader_never_meets_half_a_file(tmp_path):
    path = tmp_path / "run.json"
    files.write_text(path, "a" * 100_000)
    stop = threading.Event()
    seen: set[str] = set()

    def read():
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for letter in "bcdefghij":
        files.write_text(path, letter * 100_000)
    stop.set()
    reader.join()
    assert {len(text) for text in seen} == {100_000}
    assert {len(set(text)) for text in seen} == {1}


def test_the_lock_lets_one_in_at_a_time(tmp_path):
    inside: list[int] = []
    most: list[int] = []

    def enter(number):
        for _ in range(20):
            with files.locked(tmp_path / "study"):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
