"""Where the suite's own files are; and paths of others: what of them may be written down, what of them is read.

A results folder may come from anybody. So nothing in it is read through a link, and nothing that is no file: reading a
pipe waits for ever, and writing through a link changes what lies elsewhere.
"""

import errno
import getpass
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

SHORTEST_SECRET = 8  # a shorter value of the environment is no key, and may be a common word

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent  # of the checkout; the folder of all packages where it is installed


def _conf() -> Path:
    """Return the folder of the configuration: a wheel holds it inside the package, a checkout beside it."""
    packed = PACKAGE / "conf"
    return packed if packed.is_dir() else ROOT / "conf"


CONF = _conf()


def private(text: str) -> str:
    """Return `text` without keys, the home folder, and the user's name as part of a path."""
    for value in secrets().values():
        text = text.replace(value, "SECRET")
    text = text.replace(str(Path.home()), "~") if Path.home() != Path("/") else text
    try:
        user = re.escape(getpass.getuser())
    except (KeyError, OSError):  # no such user in a container
        return text
    return re.sub(rf"(?<=/){user}(?=/|\s|$)", "USER", text)


def secrets() -> dict[str, str]:
    """Return what the environment holds under names such as TOKEN or KEY."""
    named = {name: value for name, value in os.environ.items() if re.search("KEY|TOKEN|SECRET|PASSWORD", name)}
    return {name: value for name, value in named.items() if len(value) >= SHORTEST_SECRET}


def expanded(path: str) -> Path:
    """Return a path with `~` in place of the home folder it stands for; as it is where nobody has such a home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def refuse_links(path: Path, levels: int) -> None:
    """Refuse a path of which one of the last `levels` parts is a link.

    Raises:
        OSError: with the link as its file name.
    """
    part = os.fspath(path)
    for _ in range(levels):
        if os.path.islink(part):
            raise OSError(errno.ELOOP, "it is a link, and links are not followed", part)
        part = os.path.dirname(part)
        if part in ("", os.sep):
            return


def read_file(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises:
        OSError: where there is none, or it is larger, or a link, or no regular file.
    """
    with open_file(path, most) as file:
        return file.read(min(most, os.fstat(file.fileno()).st_size + 1))


def open_file(path: Path, most: int) -> BinaryIO:
    """Open a regular file of at most `most` bytes for reading. Raises `OSError` as `read_file` does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, and links are not followed", str(path)) from error
        raise
    file = os.fdopen(descriptor, "rb")
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
    except OSError:
        file.close()
        raise
    return file
