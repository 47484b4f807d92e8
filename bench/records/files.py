"""Writing so that a reader, or a crash, never meets half a file; and reading what may be damaged all the same."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from bench.paths import open_file, read_file

SEAL = "record_checksum"  # in a JSON file that is sealed, the checksum of all its other entries
LARGEST = 1 << 25  # bytes of a JSON file that are read
LARGEST_FILE = 1 << 32  # bytes of any file that is held against its checksum
LARGEST_YAML = 1 << 20  # bytes of a YAML file that are read: its reader is slow
CHUNK = 1 << 16  # bytes of a file that are read at once
LOCK = ".lock"
SHOWN = 60  # letters of a value in a message
DEPTH = 20  # of lists and mappings in one another
ENTRIES = 2_000_000  # of all lists and mappings of a file together, as often as aliases name them
SCHEMA = 1  # of the indexes of a study
WRITING = ".writing-"  # before the name of a file that is being written
ROOM = 1 << 20  # bytes that a disk which is not full has left
_NESTED = (list, dict)

Lasting = Literal["whole", "content", "nothing"]  # what of a file survives a power cut


class Damaged(Exception):
    """Why a file of results cannot be used."""


class OtherSchema(Damaged):
    """It was written by a version of this suite that says things otherwise."""

    def __init__(self, found: int, read: int) -> None:
        super().__init__(f"schema {found}, this version reads schema {read}")
        self.found, self.read = found, read


def write_atomic(path: Path, write: Callable[[Path], None], *, lasting: Lasting = "whole") -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    What survives a power cut is the `whole` of it, its `content` alone (`sync_folder` then sees to the names of several
    files at once), or `nothing`.

    Whoever writes has claimed the folder, so a fixed temporary name will do, and formats that store their own name
    store the same one every time.

    Raises:
        OSError: where the disk is full or the folder is read-only; `path` is then as it was.
    """
    temporary = path.with_name(f"{WRITING}{path.name}")
    try:
        temporary.unlink(missing_ok=True)  # a killed process has left it, or it is a link
        try:
            write(temporary)
        except RuntimeError:  # how torch tells of a full disk, as a position in a file
            refuse_full_disk(temporary)
            raise
        if lasting != "nothing":
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failing write names nothing
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if lasting == "whole":
        sync_folder(path.parent)


def refuse_full_disk(begun: Path) -> None:
    """Raise `OSError` where a file that was begun, or is not there yet, cannot grow."""
    with begun.open("ab") as file:
        file.write(bytes(ROOM))
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str, lasting: Lasting = "whole") -> None:
    """Write `text` atomically. Raises `OSError` as `write_atomic` does."""
    write_atomic(path, lambda temporary: _write(temporary, text), lasting=lasting)


def write_json(path: Path, data: Mapping[str, Any], lasting: Lasting = "whole") -> None:
    """Write `data` atomically, readable by people. Raises `OSError` as `write_atomic` does."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n", lasting)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of an index. Raises `Damaged`."""
    try:
        return parse_json(read_file(path, LARGEST), SCHEMA)
    except OSError as error:
        raise Damaged(f"not readable as JSON ({error.strerror})") from error


def parse_json(content: bytes, schema: int) -> dict[str, Any]:
    """A JSON object of the schema this version reads. Raises `Damaged`, and `OtherSchema` for another number."""
    if len(content) > LARGEST:
        raise Damaged(f"not readable as JSON (it has more than {LARGEST} bytes)")
    try:
        data = json.loads(content.decode(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not readable as JSON ({error})") from error
    if not isinstance(data, dict):
        raise Damaged("not a JSON object")
    found = data.get("schema")
    if type(found) is not int:
        raise Damaged(f"schema {shown(found)}, this version reads schema {schema}")
    if found != schema:
        raise OtherSchema(found, schema)
    check_plain(data, texts=b"\\u" in content)
    return data


def parse_yaml(content: bytes) -> dict[str, Any]:
    """A YAML mapping of plain data, none of which is executed. Raises `Damaged`."""
    if len(content) > LARGEST_YAML:
        raise Damaged(f"it has more than {LARGEST_YAML} bytes")
    try:
        data = yaml.safe_load(content.decode())
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Damaged(f"{type(error).__name__}") from error  # whatever the reader raises for an odd text
    if not isinstance(data, dict):
        raise Damaged(f"it is {shown(data)}, no mapping")
    check_plain(data)
    return data


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises `ValueError` for a key that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(shown(name) for name in names if names.count(name) > 1)} is there twice")
    return found


def check_plain(data: object, *, texts: bool = True) -> None:
    """Refuse what is nested deeply, is far larger than its text, or has text that cannot be written. Raises `Damaged`.

    An alias of YAML stands for a whole value in a few letters, be it the value that it is in: so its entries count as
    often as it is named. `texts` is False where it is known that every text can be written.
    """
    left: list[tuple[Any, int]] = [([data], 0)]  # lists and mappings, and how deep their entries lie
    entries = 0
    while left:
        found, depth = left.pop()
        inside = found.values() if isinstance(found, dict) else found
        if inside and depth > DEPTH:
            raise Damaged("it is nested too deeply")
        left += [(value, depth + 1) for value in inside if isinstance(value, _NESTED)]
        if texts:
            _refuse_other_than_text([*found, *inside] if isinstance(found, dict) else inside)
        entries += len(found)
        if entries > ENTRIES:
            raise Damaged(f"it has more than {ENTRIES} entries")


def _refuse_other_than_text(values: Iterable[object]) -> None:
    for value in values:
        if isinstance(value, str) and not _is_text(value):
            raise Damaged(f"{shown(value)} is no text")


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: half of a pair of surrogates cannot be written."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object) -> str:
    """A value of a damaged file as a message has it: in one line, and no longer than that."""
    text = ascii(value) if not isinstance(value, list | dict) else f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a JSON file with the checksum of all of them as they are read back."""
    return {**data, SEAL: _seal(data)}


def is_intact(data: Mapping[str, Any]) -> bool:
    """Whether the entries of a JSON file are those that were sealed; one without a seal is not."""
    return data.get(SEAL) == _seal(data)


def _seal(data: Mapping[str, Any]) -> str:
    entries = {key: value for key, value in data.items() if key != SEAL}
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The checksum of a file's bytes.

    Raises:
        OSError: where it cannot be read, is a link or no file, or has more than `LARGEST_FILE` bytes.
    """
    found = hashlib.sha256()
    with open_file(path, LARGEST_FILE) as file:  # a larger one is of holes, perhaps, which take no room on a disk
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`'s lock, creating the folder; the system frees it when the holder dies.

    Raises:
        OSError: where the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)) as file:
        with contextlib.suppress(OSError):  # a network file system without locks: `Index.update` looks again
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def sync_folder(folder: Path) -> None:
    """Make the new names in a folder survive a power cut. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
