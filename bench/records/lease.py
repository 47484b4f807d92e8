"""Who works on which seeds of a cell: one file per seed, made by any number of processes and machines, without locks.

The file `.leases/003` below the cell's folder says that a process works on seed 3. It names its host and process and is
touched while that process lives. It is written under another name and then linked to its own, which fails where there
is one already, on network file systems as well: so one process alone makes it, and it is never half written. It is
removed when the work is over.

A lease whose process is dead is taken over by its successor, a file named after the digest of the lease: `.leases/003`
by `.leases/003.5f1c…`. Of several that try, one succeeds. Only who has created the successor of a
lease may remove that lease, also when it is its own: so nobody removes a lease that has meanwhile become another's. A
process that wakes up after it was taken for dead finds the successor of its lease and writes nothing more.
"""

import contextlib
import datetime
import errno
import hashlib
import json
import math
import os
import re
import threading
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from bench.paths import read_file, refuse_links
from bench.records import provenance

FOLDER = ".leases"
HEARTBEAT = 15.0  # seconds between two touches of a lease whose process is alive
STALE_AFTER = 300.0  # seconds without one after which another machine's process counts as dead
LARGEST = 1 << 12  # bytes of a lease
UNREADABLE_FOR = 30.0  # seconds without one for a lease that names no process: it is empty for a moment without links


@dataclass(frozen=True)
class Link:
    """One file of a seed's chain: the first lease, or the successor of the one before."""

    path: Path
    content: bytes

    @property
    def first(self) -> Path:
        """Where its chain begins."""
        return self.path.with_name(self.path.name.partition(".")[0])

    @property
    def successor(self) -> Path:
        """The file that takes it over. No other lease ever has that successor: each has a content of its own."""
        digest = hashlib.sha256(self.path.name.encode() + b"\n" + self.content).hexdigest()
        return self.path.with_name(f"{self.first.name}.{digest[:16]}")

    @property
    def owner(self) -> tuple[str, str] | None:
        """Its host and process; None where it does not say."""
        try:
            data = json.loads(self.content)
            host, process = str(data["host"]), str(data["process"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return (host, process) if re.fullmatch(r"[1-9][0-9]{0,8}(-.*)?", process) else None

    def is_alive(self) -> bool:
        """Whether its process is at work: asked for on this machine, elsewhere known by the age of its last touch."""
        if self.owner is None:
            return age(self.path) < UNREADABLE_FOR
        alive = provenance.alive(*self.owner)
        return age(self.path) < STALE_AFTER if alive is None else alive


@dataclass(frozen=True)
class Lease:
    """This process's lease of some seeds of a cell."""

    links: list[Link]
    _over: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> None:
        """Show from a thread that this process is alive, until the lease ends."""

        def touch_again() -> None:
            while not self._over.wait(HEARTBEAT):
                self.touch()

        threading.Thread(target=touch_again, daemon=True).start()

    def touch(self) -> None:
        """Show that this process is alive, while the seeds are its own."""
        with contextlib.suppress(OSError):
            if self.stands():
                for link in self.links:
                    os.utime(link.path)

    def stands(self) -> bool:
        """Whether nobody, taking this process for dead, has taken one of its seeds over."""
        return all(_chain(link.first)[-1:] == [link] for link in self.links)

    def end(self) -> None:
        """Give the seeds back."""
        self._over.set()
        for link in self.links:
            with contextlib.suppress(OSError):
                _remove(link)


def take(cell: Path, seeds: Collection[int]) -> Lease | None:
    """The lease of all these seeds; None, and of none, where a living process has one of them.

    Raises:
        OSError: where the folder cannot be written.
    """
    refuse_links(cell / FOLDER, 1)
    (cell / FOLDER).mkdir(parents=True, exist_ok=True)
    _clear(cell / FOLDER)
    at = datetime.datetime.now(datetime.UTC).isoformat()
    owner = {"host": provenance.host()["id"], "process": provenance.process(), "at": at}
    content = json.dumps(owner).encode()
    lease = Lease([])
    try:
        for seed in sorted(seeds):  # all in the same order: of any that overlap, one gets all of its own
            link = _take(_place(cell, seed), content)
            if link is None:
                lease.end()
                return None
            lease.links.append(link)
    except OSError:
        lease.end()
        raise
    return lease


def holder(cell: Path, seed: int) -> tuple[str, str] | None:
    """The host and the process that hold a seed; None where no living process does."""
    chain = _chain(_place(cell, seed))
    return chain[-1].owner if chain and chain[-1].is_alive() else None


def age(path: Path) -> float:
    """Seconds since a file was touched, both moments by the file system's clock: hosts' own may disagree by hours.

    A moment that is still to come is as far away: nobody who lives has touched the file then, for that clock was wrong.
    """
    try:
        return abs(_clock(path.parent) - path.lstat().st_mtime)
    except FileNotFoundError:
        return math.inf


def _clock(folder: Path) -> float:
    """What time the folder's file system believes it is; this machine's where nothing can be written to it."""
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        probe.touch(exist_ok=False)
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove what killed processes have left that were about to make a lease, or to ask for the time."""
    for name in os.listdir(folder):
        if name.startswith(".") and age(folder / name) > STALE_AFTER:
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def _place(cell: Path, seed: int) -> Path:
    return cell / FOLDER / f"{seed:03d}"


def _chain(first: Path) -> list[Link]:
    """The leases of a seed, each the successor of the one before; the last one counts."""
    chain: list[Link] = []
    path = first
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        while True:
            chain.append(Link(path, _content(path)))
            path = chain[-1].successor
    return chain


def _content(path: Path) -> bytes:
    """What a lease says; nothing where something else lies in its place, which then is the lease of nobody."""
    try:
        return read_file(path, LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError:
        return b""


def _take(first: Path, content: bytes) -> Link | None:
    """Make the next lease of a seed; None where somebody has it, or was quicker."""
    before = _chain(first)
    if before and before[-1].is_alive():
        return None
    mine = Link(before[-1].successor if before else first, content)
    try:
        _create(mine)
    except FileExistsError:
        return None
    # In between, others may have taken the lease over, ended it and begun anew, or its process may have woken up.
    if _chain(first) == [*before, mine] and not (before and before[-1].is_alive()):
        return mine
    _remove(mine, withdrawn=True)
    return None


def _create(link: Link) -> None:
    """Make a lease, with its content, in one step: whoever is killed on the way leaves none that is empty.

    Raises:
        FileExistsError: where it is there already.
        OSError: where it cannot be written.
    """
    draft = link.path.with_name(f".{uuid.uuid4().hex}")
    try:
        _write(draft, link)
        try:
            os.link(draft, link.path)
        except FileExistsError:
            if draft.stat().st_nlink == 1:  # or else a server has made it, and was asked again as its answer was lost
                raise
        except OSError:  # a file system without links
            _write(link.path, link)
    finally:
        draft.unlink(missing_ok=True)


def _write(path: Path, link: Link) -> None:
    """Raises `FileExistsError` where it is there already, and `OSError` about the lease where it cannot be written."""
    try:
        with path.open("xb", buffering=0) as file:
            try:
                if file.write(link.content) < len(link.content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                path.unlink(missing_ok=True)
                raise
    except OSError as error:
        error.filename = str(link.path)  # a failing write names nothing
        raise


def _remove(link: Link, *, withdrawn: bool = False) -> None:
    """Remove a lease of this process, unless somebody has taken it over.

    With it go those it had taken over; where it is `withdrawn`, it leaves the one before it as it was.
    """
    end = Link(link.successor, link.content)
    try:
        _create(end)
    except FileExistsError:
        return
    except OSError:  # a full disk: removing takes no room
        pass
    chain = _chain(link.first)
    if link in chain:
        before = [] if withdrawn else chain[: chain.index(link)]
        for each in (*before, link):  # the first one first: then the rest is no chain any more
            each.path.unlink(missing_ok=True)
    elif _chain(link.path)[:1] == [link]:  # it was made too late to belong to the chain
        link.path.unlink()
    end.path.unlink(missing_ok=True)
