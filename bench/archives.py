"""The zip files that the suite writes: a few files of known names, not compressed, so that they are what they weigh."""

import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO


class BadArchive(Exception):
    """Why a file is no archive that the suite wrote."""


def read(file: str | Path | BinaryIO | io.BufferedIOBase, names: Iterable[str]) -> dict[str, bytes]:
    """Return the files of an archive that have these names.

    Raises:
        OSError: where it cannot be read.
        BadArchive: where it is none, or a file in it is missing, there twice, or compressed.
    """
    if isinstance(file, str | Path) and os.path.lexists(file) and not os.path.isfile(file):
        raise BadArchive("it is no file")  # a pipe would be waited for
    try:
        with zipfile.ZipFile(file) as archive:
            check(archive)
            return {name: archive.read(name) for name in names}
    except OSError:
        raise
    except Exception as error:  # whatever zipfile raises for bytes that are not what was written
        raise BadArchive(" ".join(f"{type(error).__name__}: {error}".split())) from error


def check(archive: zipfile.ZipFile) -> None:
    """Refuse an archive whose files would be larger than it is. Raises `BadArchive`."""
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise BadArchive("a file in it is there twice")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise BadArchive(f"{entry.filename!a} in it is compressed, which the suite's own are not")
