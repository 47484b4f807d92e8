"""Packs: the finished blocks of a study in one file, `runs.tar.xz` or `lab.tar.xz`, so that a study can be handed on.

A packed file has the path that it would have as a file, `<study>/runs/<task>/<cell>/<block>/run.json`, and is read by
it. Where a block also lies in a folder, the folder counts. Small files that are alike are packed together, which
takes two thirds of the space of a zip file, and a pack is read whole.
"""

import errno
import functools
import io
import lzma
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.paths import read_file

RUNS, LAB = "runs", "lab"  # the parts of a study, each of which has a pack of its own
RECORD = "run.json"
DEPTH = 5  # of a file: part, task, cell, block, name
SUFFIX = ".tar.xz"
LARGEST = 1 << 28  # bytes of a pack's content: more is not read
MEMORY = 1 << 27  # bytes that unpacking may take beside them
_UNREADABLE = (  # what lzma and tarfile raise for bytes that `write` did not write
    *(lzma.LZMAError, tarfile.TarError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError),
    *(OverflowError, RecursionError, MemoryError),
)


class DamagedPack(UserError):
    """A pack that cannot be read at all."""


@dataclass(frozen=True)
class _Pack:
    """The content of a pack: its files by their names, and the names in each of its folders."""

    files: Mapping[str, bytes]
    children: Mapping[str, frozenset[str]]


def read_bytes(file: Path) -> bytes:
    """Return the content of a block's file: that in its folder, or where that has no record that in the pack.

    Raises:
        OSError: where there is none, or it cannot be read; see `bench.paths.read_file`.
        DamagedPack: where the pack cannot be read.
    """
    try:
        return read_file(file, LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        found = _packed(file)
        if found is None:
            raise
        pack, name = found
        return pack.files[name]


def exists(file: Path) -> bool:
    """Whether `read_bytes` would find something there. Raises `DamagedPack`."""
    return os.path.lexists(file) or _packed(file) is not None


def is_packed(block: Path) -> bool:
    """Whether a block's record is that in the pack. Raises `DamagedPack`."""
    return not os.path.lexists(block / RECORD) and _packed(block / RECORD) is not None


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
    packs = (pack for level in ("", "*/") for pack in sorted(folder.glob(f"{level}{part}{SUFFIX}")))
    return [block for pack in packs for block in _blocks(pack.with_name(part), 1)]


def write(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a pack of files, by their paths below the study. The same files in the same order give the same bytes.

    Raises:
        OSError: where `path` cannot be written, or nobody would read what is written.
    """
    with tarfile.open(path, "w:xz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)  # of nobody, and without a date
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
            if archive.offset > LARGEST:
                raise OSError(errno.EFBIG, f"more than {LARGEST} bytes, which are not read", str(path))


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
    return found if file.name == RECORD or not os.path.lexists(file.with_name(RECORD)) else None


def _located(path: Path) -> tuple[_Pack, str] | None:
    """The pack of the study that a path belongs to, and the path below the study; None where there is no pack."""
    parts = os.path.abspath(path).split(os.sep)
    for level in range(1, min(DEPTH, len(parts) - 1) + 1):
        if parts[-level] in (RUNS, LAB):
            pack = _pack(os.sep.join((*parts[:-level], f"{parts[-level]}{SUFFIX}")))
            if pack is not None:
                return pack, "/".join(parts[-level:])
    return None


def _pack(path: str) -> _Pack | None:
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _opened(Path(path), found.st_size, found.st_mtime_ns, found.st_ino)


@functools.lru_cache(maxsize=8)
def _opened(path: Path, *_: int) -> _Pack:
    """The pack as it was at this time."""
    try:
        files = dict(_unpacked(path))
    except _UNREADABLE as error:
        raise DamagedPack(f"damaged pack {path}: not readable as a {SUFFIX} file ({error})") from error
    children: dict[str, set[str]] = {}
    for name in files:
        parts = name.split("/")
        for level in range(1, DEPTH):
            children.setdefault("/".join(parts[:level]), set()).add(parts[level])
    return _Pack(files, {folder: frozenset(names) for folder, names in children.items()})


def _unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a pack. Raises `DamagedPack` for what `write` would not write, and what `_UNREADABLE` names."""
    found: set[str] = set()
    with tarfile.open(fileobj=io.BytesIO(_decompressed(path)), mode="r:") as archive:
        for entry in archive:
            parts = entry.name.split("/")
            expected = len(parts) == DEPTH and f"{parts[0]}{SUFFIX}" == path.name and {"", ".", ".."}.isdisjoint(parts)
            if not expected or not entry.isreg() or entry.issparse():
                raise DamagedPack(f"damaged pack {path}: {entry.name!r} is no file of a block")
            if entry.name in found:
                raise DamagedPack(f"damaged pack {path}: {entry.name!r} is there twice")
            found.add(entry.name)
            file = archive.extractfile(entry)
            assert file is not None  # a regular file has content
            yield entry.name, file.read()


def _decompressed(path: Path) -> bytes:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, MEMORY)
    content = decompressor.decompress(read_file(path, LARGEST), LARGEST)
    if not decompressor.eof:
        whole = len(content) < LARGEST
        raise lzma.LZMAError("it ends too early" if whole else f"more than {LARGEST} bytes, which are not read")
    if decompressor.unused_data:
        raise lzma.LZMAError("more bytes follow its end")
    return content
