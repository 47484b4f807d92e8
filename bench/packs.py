"""Packs: the finished blocks of a study in one zip file, `runs.zip` or `lab.zip`, so that a study can be handed on.

A packed file has the path that it would have as a file, `<study>/runs/<task>/<cell>/<block>/run.json`, and is read by
it. Where a block also lies in a folder, the folder counts.
"""

import errno
import functools
import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError

RUNS, LAB = "runs", "lab"  # the parts of a study, each of which has a pack of its own
RECORD = "run.json"
DEPTH = 5  # of a file: part, task, cell, block, name
LARGEST_PACK = 1 << 30  # bytes: more is not read
LARGEST_FILE = 1 << 26  # bytes of a packed file, by the pack's own directory: more is not read
DATE = (1980, 1, 1, 0, 0, 0)  # of every packed file, so that the same content is the same bytes
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


class DamagedPack(UserError):
    """A pack that cannot be read at all."""


@dataclass(frozen=True)
class _Pack:
    """The content of a pack; `children` are the names in each of its folders."""

    name: str
    archive: zipfile.ZipFile
    children: Mapping[str, frozenset[str]]


def read_bytes(file: Path) -> bytes:
    """Return the content of a block's file: that in its folder, or where that has no record that in the pack.

    Raises:
        OSError: where there is none, or it cannot be read.
        DamagedPack: where the pack cannot be read.
    """
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        found = _packed(file)
        if found is None:
            raise
        return _content(*found)


def exists(file: Path) -> bool:
    """Whether `read_bytes` would find the file. Raises `DamagedPack`."""
    return file.exists() or _packed(file) is not None


def is_packed(block: Path) -> bool:
    """Whether a block's record is that in the pack. Raises `DamagedPack`."""
    return not (block / RECORD).exists() and _packed(block / RECORD) is not None


def children(folder: Path) -> frozenset[str]:
    """Return the names that lie packed in a folder of a study. Raises `DamagedPack`."""
    found = _located(folder)
    return frozenset() if found is None else found[0].children.get(found[1], frozenset())


def blocks_below(folder: Path, part: str = RUNS) -> list[Path]:
    """Return the folders of packed blocks at or below one of a block, cell, task, part or study, or of all studies.

    Raises:
        DamagedPack: where a pack cannot be read.
    """
    found = _located(folder)
    if found is not None:
        return _blocks(folder, found[1].count("/") + 1) if found[1].split("/")[0] == part else []
    packs = (pack for pattern in (f"{part}.zip", f"*/{part}.zip") for pack in sorted(folder.glob(pattern)))
    return [block for pack in packs for block in _blocks(pack.with_suffix(""), 1)]


def write(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a pack of files, by their paths below the study. The same files in the same order give the same bytes.

    Raises:
        OSError: where `path` cannot be written.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, content, compresslevel=9)


def _blocks(folder: Path, level: int) -> list[Path]:
    names = sorted(children(folder))
    if level == DEPTH - 1:
        return [folder] if names else []
    return [block for name in names for block in _blocks(folder / name, level + 1)]


def _packed(file: Path) -> tuple[_Pack, str] | None:
    """The pack that holds a file, and the file's name in it; None where there is none, or the block's folder counts."""
    found = _located(file)
    if found is None or file.name not in found[0].children.get(found[1].rpartition("/")[0], ()):
        return None
    return found if file.name == RECORD or not file.with_name(RECORD).exists() else None


def _located(path: Path) -> tuple[_Pack, str] | None:
    """The pack of the study that a path belongs to, and the path below the study; None where there is no pack."""
    parts = Path(os.path.abspath(path)).parts
    for level in range(1, min(DEPTH, len(parts) - 1) + 1):
        if parts[-level] in (RUNS, LAB):
            pack = _pack(Path(*parts[:-level], f"{parts[-level]}.zip"))
            if pack is not None:
                return pack, "/".join(parts[-level:])
    return None


def _pack(path: Path) -> _Pack | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _opened(path, found.st_size, found.st_mtime_ns, found.st_ino)


@functools.lru_cache(maxsize=8)
def _opened(path: Path, size: int, *_: int) -> _Pack:
    """The pack as it was at this time; it is held in memory, so that it stays whole when it is replaced."""
    if size > LARGEST_PACK:
        raise DamagedPack(f"damaged pack {path}: {size} bytes, at most {LARGEST_PACK} are read")
    try:
        archive = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    except _UNREADABLE as error:
        raise DamagedPack(f"damaged pack {path}: not readable as a zip file ({error})") from error
    found: dict[str, set[str]] = {}
    for entry in archive.infolist():
        if not entry.is_dir():
            _add(entry.filename, path, found)
    return _Pack(path.name, archive, {folder: frozenset(names) for folder, names in found.items()})


def _add(name: str, path: Path, found: dict[str, set[str]]) -> None:
    parts = name.split("/")
    if len(parts) != DEPTH or parts[0] != path.stem or not {"", ".", ".."}.isdisjoint(parts):
        raise DamagedPack(f"damaged pack {path}: {name!r} is no file of a block")
    if parts[-1] in found.get("/".join(parts[:-1]), ()):
        raise DamagedPack(f"damaged pack {path}: {name!r} is there twice")
    for level in range(1, DEPTH):
        found.setdefault("/".join(parts[:level]), set()).add(parts[level])


def _content(pack: _Pack, name: str) -> bytes:
    entry = pack.archive.getinfo(name)
    if entry.file_size > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"{entry.file_size} bytes in {pack.name}, at most {LARGEST_FILE} are read", name)
    try:
        with pack.archive.open(entry) as file:
            return file.read(entry.file_size + 1)  # never more than the directory says; one more, to see its checksum
    except _UNREADABLE as error:
        raise OSError(errno.EIO, f"damaged in {pack.name}", name) from error
