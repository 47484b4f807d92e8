"""Writing so that a reader, or a crash, never meets half a file; and reading what may be damaged all the same."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMA = 1  # of the indexes of a study
ROOM = 1 << 20  # bytes that a disk which is not full has left


class Damaged(Exception):
    """Why a file of results cannot be used."""


class OtherSchema(Damaged):
    """It was written by a version of this suite that says things otherwise."""

    def __init__(self, found: int, read: int) -> None:
        super().__init__(f"schema {found}, this version reads schema {read}")
        self.found, self.read = found, read


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    Whoever writes has claimed the folder, so a fixed temporary name will do, and formats that store their own name
    store the same one every time.

    Raises:
        OSError: where the disk is full or the folder is read-only; `path` is then as it was.
    """
    temporary = path.with_name(f".writing-{path.name}")
    try:
        try:
            write(temporary)
        except RuntimeError:  # how torch tells of a full disk, as a position in a file
            _refuse_full_disk(temporary)
            raise
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failing write names nothing
        raise
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _refuse_full_disk(begun: Path) -> None:
    """Raise `OSError` where what was begun cannot grow."""
    with begun.open("ab") as file:
        file.write(bytes(ROOM))
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically. Raises `OSError` as `write_atomic` does."""
    write_atomic(path, lambda temporary: _write(temporary, text))


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` atomically, readable by people. Raises `OSError` as `write_atomic` does."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of an index. Raises `Damaged`."""
    try:
        return parse_json(path.read_bytes(), SCHEMA)
    except OSError as error:
        raise Damaged(f"not readable as JSON ({error})") from error


def parse_json(content: bytes, schema: int) -> dict[str, Any]:
    """A JSON object of the schema this version reads. Raises `Damaged`, and `OtherSchema` for another number."""
    try:
        data = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not readable as JSON ({error})") from error
    if not isinstance(data, dict):
        raise Damaged("not a JSON object")
    found = data.get("schema")
    if type(found) is not int:
        raise Damaged(f"schema {found}, this version reads schema {schema}")
    if found != schema:
        raise OtherSchema(found, schema)
    return data


def sha256(path: Path) -> str:
    """The checksum of a file's bytes. Raises `OSError` where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`'s lock, creating the folder; the system frees it when the holder dies.

    Raises:
        OSError: where the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        with contextlib.suppress(OSError):  # a network file system without locks: `Index.update` looks again
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _sync_directory(folder: Path) -> None:
    """Make the new name itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
